//! The command line: from words to what is done, and from what came of it to an exit status.
//! The only place that knows every other.

mod help;
mod meant;
mod options;
mod typed;

use std::ffi::OsString;

use self::typed::{Given, Typed};
use crate::error::{Error, Kind};
use crate::event_loop::EventLoop;
use crate::plan::{Level, LogFormat};
use crate::protocol::log_line::LogLine;
use crate::sys;

/// A configuration file is not longer than this, in bytes.
const CONFIG_MAX: usize = 1 << 20;

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
    let line = LogLine::new(format, Level::Error, at, &error.to_string()).finish();
    // If stderr is gone, the exit status still tells.
    let _ = sys::stderr::Stderr::new().write(line.as_bytes());
    error.exit_status()
}

fn dispatch(words: Vec<OsString>) -> Result<u8, Error> {
    let mut words = words.into_iter().skip(1);
    let command = words.next().unwrap_or_default();
    let rest: Vec<OsString> = words.collect();
    match command.to_str() {
        Some("run") => run(rest),
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

fn run(words: Vec<OsString>) -> Result<u8, Error> {
    let mut typed = typed::command_line("run", options::RUN, words)?;
    if typed.get("help").is_some() {
        return show_help(&["run".into()]);
    }
    let begun = add_config(&mut typed).and_then(|()| EventLoop::set_up(meant::run(&typed)?));
    Ok(match begun {
        Ok(service) => service.run(),
        Err(error) => fail(&error, meant::log_format_of(&typed)),
    })
}

fn add_config(typed: &mut Typed) -> Result<(), Error> {
    if let Some(given) = typed.get("config") {
        let file = typed::file(&given.value, options::RUN, &read_config(given)?)?;
        typed.add_weaker(file);
    }
    Ok(())
}

fn read_config(given: &Given) -> Result<Vec<u8>, Error> {
    let path = typed::c_string(&given.value)?;
    sys::file::read(path.to_bytes(), CONFIG_MAX)
        .map_err(|errno| Error::system("read", given.told(), errno).of_kind(Kind::Usage))
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
