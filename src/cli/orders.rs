//! What can be asked of a running fd3, each from its words to its exit status. How fd3 is found, and what it
//! answers, is `client`'s.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;

use rustix::stdio::{stderr, stdout};

use super::client::{Answer, Ended, NOT_DONE, USAGE, ask, await_end};
use super::options::{self, Table, by_long};
use super::typed::{Typed, command_line};
use super::{fail, nothing_after, show, show_help};
use crate::error::Error;
use crate::plan::LogFormat;
use crate::protocol::{control, status};
use crate::sys::stderr::Stderr;
use crate::sys::{environment, fd, signal};

/// One thing that can be asked for.
pub(super) struct Order {
    pub(super) verb: &'static str,
    pub(super) options: Table,
    /// The words behind it, as the help has them.
    pub(super) takes: &'static str,
    run: fn(&Order, &Typed) -> Result<(), Ended>,
}

pub(super) const ORDERS: &[Order] = if !cfg!(feature = "control") {
    &[]
} else {
    &[
        Order {
            verb: "reload",
            options: options::RELOAD,
            takes: " [-- COMMAND [ARG]...]",
            run: order,
        },
        Order { verb: "status", options: options::STATUS, takes: "", run: status },
        Order { verb: "scale", options: options::SCALE, takes: " N", run: order },
        Order { verb: "restart", options: options::RESTART, takes: " SLOT", run: order },
        #[cfg(feature = "upgrade")]
        Order { verb: "upgrade", options: options::SCALE, takes: " [PATH]", run: order },
        Order { verb: "stop", options: options::STOP, takes: "", run: stop },
        Order { verb: "log-level", options: options::LOG_LEVEL, takes: " [LEVEL]", run: order },
    ]
};

/// How often `fd3 status --watch` looks.
const WATCH_MS: u64 = 1_000;
/// To the first column of the first line, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) fn find(verb: Option<&str>) -> Option<&'static Order> {
    ORDERS.iter().find(|order| verb == Some(order.verb))
}

#[inline(never)]
pub(super) fn carry_out(order: &Order, words: Vec<OsString>) -> Result<u8, Error> {
    // A COMMAND is deployed only where that cannot be a slip.
    let dashes = words.iter().position(|word| word == "--");
    let behind = dashes.map(|place| words.len() - place - 1);
    let typed = command_line(order.verb, order.options, words)?;
    if typed.get("help").is_some() {
        return show_help(&[order.verb.into()]);
    }
    let brings_command = order.verb == "reload" && behind == Some(typed.command.len());
    if brings_command && typed.command.is_empty() {
        return Err(Error::usage("COMMAND", "missing behind --"));
    }
    if order.takes.is_empty() || order.verb == "reload" && !brings_command {
        nothing_after(order.verb, &typed.command)?;
    }
    // There is nothing to clean up: whoever waits may be ended by any signal.
    signal::unblock_all_but_pipe();
    match (order.run)(order, &typed) {
        Ok(()) => Ok(0),
        Err((status, error)) => {
            fail(&error, LogFormat::Text);
            Ok(status)
        }
    }
}

/// The exit status tells what came of it also where the line cannot be shown.
fn show_last(line: &str) -> Result<(), Ended> {
    show(&format!("{line}\n")).map(drop).map_err(|error| (0, error))
}

/// Waits for what comes of it, and shows that.
fn order(order: &Order, typed: &Typed) -> Result<(), Ended> {
    let (last, _) = ask(order.verb, typed, &request(order, typed)?, &mut show_progress)?;
    show_last(&last)
}

/// The same, and until its process has gone: what follows may want its files.
fn stop(order: &Order, typed: &Typed) -> Result<(), Ended> {
    let (last, fd3) = ask(order.verb, typed, &request(order, typed)?, &mut show_progress)?;
    await_end(&fd3);
    // It is closed by our end: PID 1 waits for that, and then nobody lives on.
    core::mem::forget(fd3);
    show_last(&last)
}

fn show_progress(line: &str) -> Answer {
    let _ = Stderr::new().write(format!("{line}\n").as_bytes());
    Answer::Part
}

/// The line that asks. What fd3 would not understand is not even sent.
#[inline(never)]
fn request(order: &Order, typed: &Typed) -> Result<String, Ended> {
    let mut line = order.verb.to_string();
    for given in &typed.given {
        if order.options.iter().skip(1).any(|part| part.contains(given.opt)) {
            line.extend([" --", given.opt.long]);
            if given.opt.value.is_some() {
                line.extend([" ", &control::encoded(given.value.as_bytes())]);
            }
        }
    }
    let takes_verbose = by_long(order.options, "verbose").is_some();
    if takes_verbose && typed.get("verbose").is_none() && stderr().is_terminal() {
        line.push_str(" --verbose");
    }
    if order.verb == "reload" && !typed.command.is_empty() {
        line.push_str(" --");
    }
    for word in &typed.command {
        line.extend([" ", &control::encoded(&sent(order, word))]);
    }
    line.push('\n');
    match control::hear(line.as_bytes()) {
        Some(Err(wrong)) => {
            let (what, wrong) = wrong.split_once(": ").unwrap_or((order.verb, &wrong));
            Err((USAGE, Error::usage(what, wrong)))
        }
        Some(Ok(_)) | None => Ok(line),
    }
}

/// A word as fd3 is to get it, which may be in another folder.
fn sent(order: &Order, word: &OsStr) -> Vec<u8> {
    #[cfg(feature = "upgrade")]
    if order.verb == "upgrade" {
        let path = std::ffi::CString::new(word.as_bytes()).ok();
        let path = path.and_then(|path| crate::sys::handover::absolute(&path));
        return path.map_or(word.as_bytes().to_vec(), std::ffi::CString::into_bytes);
    }
    let _ = order;
    word.as_bytes().to_vec()
}

fn status(_: &Order, typed: &Typed) -> Result<(), Ended> {
    let watches = typed.get("watch").is_some();
    let mut was_told = false;
    loop {
        let looked = if typed.get("json").is_some() { json(typed) } else { table(typed) };
        let text = match looked {
            // It may have ended just then: the next look finds nobody, which is an outcome of its own.
            Err((NOT_DONE, _)) if was_told => {
                was_told = false;
                fd::wait_while_read(WATCH_MS);
                continue;
            }
            looked => looked?,
        };
        was_told = watches;
        let clears = watches && typed.get("json").is_none() && stdout().is_terminal();
        let text = if clears { redrawn(&text) } else { text };
        match fd::write_stdout(text.as_bytes()) {
            Ok(()) if watches => fd::wait_while_read(WATCH_MS),
            Ok(()) => return Ok(()),
            // Its reader has seen enough.
            Err(errno) if errno.0 == libc::EPIPE => return Ok(()),
            Err(errno) => return Err((NOT_DONE, Error::system("write to", "stdout", errno))),
        }
    }
}

fn json(typed: &Typed) -> Result<String, Ended> {
    let whole = |line: &str| if line.starts_with('{') { Answer::Whole } else { Answer::Part };
    let (line, _) = ask("status", typed, "status --json\n", &mut |line| whole(line))?;
    Ok(line + "\n")
}

fn table(typed: &Typed) -> Result<String, Ended> {
    let (mut table, colours) = (String::new(), wants_colours());
    ask("status", typed, "status\n", &mut |line| {
        table.push_str(&if colours { status::coloured(line) } else { line.to_string() });
        table.push('\n');
        Answer::Part
    })?;
    Ok(table)
}

/// By <https://no-color.org>, and not where a terminal says that it understands nothing.
fn wants_colours() -> bool {
    let is_set = |name| environment::variable(name).is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !is_set("NO_COLOR") && environment::variable("TERM") != Some(b"dumb")
}

/// As much as the terminal has room for.
fn redrawn(table: &str) -> String {
    let rows = fd::rows_of_stdout().unwrap_or(usize::MAX);
    let mut text = CLEAR.to_string();
    let lines = table.lines().count();
    // The cursor stands below the last line.
    let kept = if lines < rows { lines } else { rows.saturating_sub(2) };
    for line in table.lines().take(kept) {
        text.extend([line, "\n"]);
    }
    if kept < lines {
        text.push_str("...\n");
    }
    text
}
