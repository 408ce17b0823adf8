//! The command line: from words to what is done, and from what came of it to an exit status.
//! The only place that knows every other.

#[cfg(feature = "init")]
mod called;
#[cfg(feature = "check")]
mod check;
mod client;
mod help;
#[cfg(feature = "init")]
mod init;
mod meant;
mod options;
mod orders;
mod settings;
mod sources;
#[cfg(feature = "starter")]
mod starter;
mod typed;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use self::sources::Sources;
use crate::error::{Errno, Error};
use crate::event_loop::EventLoop;
#[cfg(feature = "upgrade")]
use crate::event_loop::{self, ASK};
use crate::plan::{Level, LogFormat};
use crate::protocol::log_line::LogLine;
use crate::sys;
use crate::sys::signal::Manners;

/// The program, from its arguments (with its own name first) to its exit status.
pub fn main(words: Vec<OsString>) -> u8 {
    match sys::start().and_then(|found| dispatch(words, found)) {
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

/// From the name that was used, the words behind it, and what signals were to fd3, to an exit status.
type Main = fn(OsString, Vec<OsString>, Manners) -> u8;

/// The names of other programs, in whose place fd3 stands when it is called by one of them.
const NAMES: &[(&str, Main)] = &[
    #[cfg(feature = "init")]
    ("tini", called::tini),
    #[cfg(feature = "init")]
    ("docker-init", called::tini),
    #[cfg(feature = "init")]
    ("dumb-init", called::dumb_init),
    #[cfg(feature = "init")]
    ("catatonit", called::catatonit),
    #[cfg(feature = "starter")]
    ("start_server", starter::main),
];

fn dispatch(mut rest: Vec<OsString>, found: Manners) -> Result<u8, Error> {
    let name = next(&mut rest);
    #[cfg(feature = "starter")]
    if rest.first().is_some_and(|word| word == starter::worker::NAME) {
        return Ok(starter::worker::become_server(rest.split_off(1)));
    }
    let bytes = name.as_bytes();
    let called = bytes.split(|byte| *byte == b'/').next_back().unwrap_or_default();
    if let Some((_, main)) = NAMES.iter().find(|(known, _)| known.as_bytes() == called) {
        return Ok(main(name, rest, found));
    }
    let command = next(&mut rest);
    match command.to_str() {
        Some("run") => run(name, rest),
        #[cfg(feature = "upgrade")]
        Some(ASK) => event_loop::answer(understands),
        #[cfg(feature = "init")]
        Some("init") => init::init(rest),
        #[cfg(feature = "check")]
        Some("check") => check::check(rest),
        Some("help" | "--help" | "-h") => show_help(&rest),
        Some("version" | "--version" | "-V") => {
            nothing_after("version", &rest)?;
            show(concat!("fd3 ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        verb if let Some(order) = orders::find(verb) => orders::carry_out(order, rest),
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
fn next(words: &mut Vec<OsString>) -> OsString {
    if words.is_empty() { OsString::new() } else { words.remove(0) }
}

#[inline(never)]
fn run(name: OsString, words: Vec<OsString>) -> Result<u8, Error> {
    #[cfg(feature = "upgrade")]
    let called = [&[name, "run".into()], &words[..]].concat();
    #[cfg(not(feature = "upgrade"))]
    drop(name);
    let typed = typed::command_line("run", options::RUN, words)?;
    if typed.get("help").is_some() {
        return show_help(&["run".into()]);
    }
    machine_init(&typed)?;
    let mut sources = Sources::new(typed);
    #[cfg(feature = "upgrade")]
    if let Some(handed) = event_loop::left_to_us() {
        let service = handed.and_then(|mut handed| {
            sources.take_over(core::mem::take(&mut handed.kept));
            EventLoop::take_over(handed, Box::new(sources))
        });
        return service.map(EventLoop::run);
    }
    let (format, plan) = sources.plan();
    let begun = plan.and_then(|plan| EventLoop::set_up(plan, Box::new(sources)));
    Ok(match begun {
        Ok(service) => {
            #[cfg(feature = "upgrade")]
            service.called(&called);
            service.run()
        }
        // A stop came while it waited for a file: nothing was started.
        Err(error) if error.errno() == Some(Errno(libc::EINTR)) => 0,
        Err(error) => fail(&error, format),
    })
}

/// Whether this binary can be called so, in place of another one.
#[cfg(feature = "upgrade")]
fn understands(words: &[std::ffi::CString]) -> Result<(), Error> {
    let mut rest = Vec::new();
    for word in words {
        rest.push(std::ffi::OsStr::from_bytes(word.to_bytes()).to_owned());
    }
    next(&mut rest);
    if next(&mut rest) != "run" {
        return Err(Error::refused("take over", "the state", "it is of another command"));
    }
    typed::command_line("run", options::RUN, rest).map(drop)
}

/// Whoever starts a machine with fd3 by mistake learns of it before the kernel panics at its end.
fn machine_init(typed: &typed::Typed) -> Result<(), Error> {
    if sys::process::is_machines_first() && typed.get("machine-init").is_none() {
        let wrong =
            "fd3 is no init for a machine; --machine-init makes it the first process even so";
        return Err(Error::usage("PID 1", wrong));
    }
    Ok(())
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
