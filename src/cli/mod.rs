//! The command line: from words to what is done, and from what came of it to an exit status.
//! The only place that knows every other.

mod client;
mod help;
mod meant;
mod options;
mod sources;
mod typed;

use std::ffi::OsString;

use self::sources::Sources;
use crate::error::Error;
use crate::event_loop::EventLoop;
use crate::plan::{Level, LogFormat};
use crate::protocol::log_line::LogLine;
use crate::sys;

/// The program, from its arguments (with its own name first) to its exit status.
pub fn main(words: Vec<OsString>) -> u8 {
    match sys::start().and_then(|()| dispatch(words)) {
        Ok(status) => status,
        Err(error) => fail(&error, LogFormat::Text),
    }
}

/// Tells why fd3 ends, in the form of its other lines.
#[inline(never)]
fn fail(error: &Error, format: LogFormat) -> u8 {
    let at = sys::clock::realtime_ms();
    let mut line = LogLine::new(format, Level::Error, at);
    line.message(&error.to_string());
    // If stderr is gone, the exit status still tells.
    let _ = sys::stderr::Stderr::new().write(line.finish().as_bytes());
    error.exit_status()
}

fn dispatch(mut rest: Vec<OsString>) -> Result<u8, Error> {
    // Without fd3's own name.
    rest.drain(..rest.len().min(1));
    let command = rest.first().cloned().unwrap_or_default();
    rest.drain(..rest.len().min(1));
    match command.to_str() {
        Some("run") => run(rest),
        Some("reload") => client::reload(rest),
        Some("help" | "--help" | "-h") => show_help(&rest),
        Some("version" | "--version" | "-V") => {
            nothing_after("version", &rest)?;
            show(concat!("fd3 ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Some("") => Err(Error::usage("COMMAND", "missing; \"fd3 help\" lists them")),
        name => {
            let what = format!("\"{}\"", command.to_string_lossy());
            let wrong = match name.map(str::as_bytes) {
                Some([b'-', ..]) => "an option before its command; did you mean \"fd3 run\"?",
                Some(_) | None => "unknown command; \"fd3 help\" lists them",
            };
            Err(Error::usage(what, wrong))
        }
    }
}

#[inline(never)]
fn run(words: Vec<OsString>) -> Result<u8, Error> {
    let typed = typed::command_line("run", options::RUN, words)?;
    if typed.get("help").is_some() {
        return show_help(&["run".into()]);
    }
    let mut sources = Sources::new(typed);
    let (format, plan) = sources.plan();
    let begun = plan.and_then(|plan| EventLoop::set_up(plan, Box::new(move || sources.plan().1)));
    Ok(match begun {
        Ok(service) => service.run(),
        Err(error) => fail(&error, format),
    })
}

fn nothing_after(command: &str, words: &[OsString]) -> Result<(), Error> {
    match words.first() {
        None => Ok(()),
        Some(word) => {
            let what = format!("{command} \"{}\"", word.to_string_lossy());
            Err(Error::usage(what, "one word too many; accepted: nothing more"))
        }
    }
}

fn show_help(about: &[OsString]) -> Result<u8, Error> {
    nothing_after("help COMMAND", about.get(1..).unwrap_or_default())?;
    let about = about.first().map(|word| word.to_string_lossy());
    match help::text(about.as_deref()) {
        Some(text) => show(&text),
        None => {
            let what = format!("help \"{}\"", about.unwrap_or_default());
            Err(Error::usage(what, "no such command; \"fd3 help\" lists them"))
        }
    }
}

/// An answer goes to stdout. A reader that is gone has seen enough.
fn show(text: &str) -> Result<u8, Error> {
    match sys::fd::write_stdout(text.as_bytes()) {
        Ok(()) => Ok(0),
        Err(errno) if errno.0 == libc::EPIPE => Ok(0),
        Err(errno) => Err(Error::system("write to", "stdout", errno)),
    }
}
