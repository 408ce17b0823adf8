//! Talks to a running fd3: finds it, asks, shows what it answers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use rustix::fd::{AsFd, OwnedFd};

use super::typed::{Given, Typed, command_line};
use super::{fail, nothing_after, options, show, show_help};
use crate::error::{Errno, Error};
use crate::plan::LogFormat;
use crate::protocol::address::{self, Address, UnixKind, UnixName};
use crate::protocol::control::{self, Verdict};
use crate::protocol::joined;
use crate::sys::socket::Name;
use crate::sys::{file, process, signal, stream};
use crate::units::Pid;

/// It was found, and did not do it.
const NOT_DONE: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;

/// /proc/net/unix is longer only where it is no such thing.
const TABLE_MAX: usize = 64 << 20;
/// The longest line of an answer; whoever sends a longer one is no fd3.
const ANSWER_MAX: usize = 64 << 10;

/// Why it ends, with the exit status that says so.
type Ended = (u8, Error);

/// `fd3 reload`.
#[inline(never)]
pub(super) fn reload(words: Vec<OsString>) -> Result<u8, Error> {
    let typed = command_line("reload", options::RELOAD, words)?;
    if typed.get("help").is_some() {
        return show_help(&["reload".into()]);
    }
    nothing_after("reload", &typed.command)?;
    // There is nothing to clean up: whoever waits may be ended by any signal.
    signal::unblock_all_but_pipe();
    let request = match typed.get("no-wait") {
        Some(_) => "reload --no-wait\n",
        None => "reload\n",
    };
    match find(&typed).and_then(|fd3| ask("reload", &fd3, request)) {
        Ok(()) => Ok(0),
        Err((status, error)) => {
            fail(&error, LogFormat::Text);
            Ok(status)
        }
    }
}

/// Asks, and shows what is answered.
#[inline(never)]
fn ask(verb: &str, fd3: &OwnedFd, request: &str) -> Result<(), Ended> {
    // Who hangs up on us has said why before.
    let _ = stream::send(fd3, request.as_bytes());
    let (mut heard, mut room) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
            let rest = heard.split_off(end + 1);
            let line = core::mem::replace(&mut heard, rest);
            let line = String::from_utf8_lossy(&line);
            // It may be another than fd3 who answers.
            if let Some(end) = answered(verb, &control::one_line(line.trim_ascii_end())) {
                return end;
            }
        }
        match stream::receive(fd3, &mut room) {
            Ok(count @ 1..) if heard.len() <= ANSWER_MAX => {
                heard.extend_from_slice(room.get(..count).unwrap_or_default());
            }
            Ok(_) | Err(_) => {
                return Err((NOT_DONE, Error::usage(verb, "fd3 ended without an answer")));
            }
        }
    }
}

/// Shows one line; what came of it all, if it is the last one.
#[inline(never)]
fn answered(verb: &str, line: &str) -> Option<Result<(), Ended>> {
    let (verdict, text) = control::verdict(line).unzip();
    let word = match verdict {
        None | Some(Verdict::Ok) => {
            let shown =
                show(&format!("{line}\n")).map(drop).map_err(|error| (error.exit_status(), error));
            return if verdict.is_some() || shown.is_err() { Some(shown) } else { None };
        }
        Some(Verdict::Failed) => "failed",
        Some(Verdict::Refused) => "refused",
        Some(Verdict::Error) => "not asked for",
    };
    let error = Error::usage(format_args!("{verb} {word}"), text.unwrap_or_default());
    Some(Err((NOT_DONE, error)))
}

fn usage(error: Error) -> Ended {
    (USAGE, error)
}

/// A connection to the fd3 that is meant.
#[inline(never)]
fn find(typed: &Typed) -> Result<OwnedFd, Ended> {
    match (typed.get("pid"), typed.get("control")) {
        (Some(pid), Some(_)) => Err(usage(pid.wrong("contradicts --control"))),
        (None, Some(given)) => connect(given),
        (None, None) => the_only(search(None)),
        (Some(given), None) => {
            let pid = pid(given).map_err(usage)?;
            let found = search(Some(pid)).into_iter().next();
            let none = || given.wrong("no fd3 found; one with --control wants the same here");
            found.map(|(_, fd3)| fd3).ok_or_else(|| (NOT_FOUND, none()))
        }
    }
}

fn pid(given: &Given) -> Result<Pid, Error> {
    let text = given.text()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number > 0);
    number.map(Pid).ok_or_else(|| given.wrong("accepted: the PID of a running fd3"))
}

/// At the address that was given.
#[inline(never)]
fn connect(given: &Given) -> Result<OwnedFd, Ended> {
    let wrong = || usage(given.wrong("accepted: unix:/PATH, unix:@NAME"));
    let listen = address::parse(given.value.as_bytes()).map_err(|_| wrong())?;
    let name = match listen.address {
        Address::Unix { kind: UnixKind::Stream, name: UnixName::Path(path) } => Name::Path(path),
        Address::Unix { kind: UnixKind::Stream, name: UnixName::Abstract(name) } => {
            Name::Abstract(name)
        }
        Address::Unix { .. }
        | Address::Tcp { .. }
        | Address::Udp { .. }
        | Address::Vsock { .. }
        | Address::Inherited(_) => return Err(wrong()),
    };
    stream::connect(&name).map_err(|errno| {
        let nobody = matches!(errno, Errno(libc::ENOENT | libc::ECONNREFUSED));
        let status = if nobody { NOT_FOUND } else { NOT_DONE };
        (
            status,
            Error::system("connect to", String::from_utf8_lossy(given.value.as_bytes()), errno),
        )
    })
}

/// Connections to every fd3 that this process can see, or to the one with this PID. Who is at the other
/// end the kernel tells: the name is only where to look, as other PID namespaces have the same.
fn search(wanted: Option<Pid>) -> Vec<(Pid, OwnedFd)> {
    let names = match file::read(b"/proc/net/unix", TABLE_MAX) {
        Ok(table) => control::listed(&table),
        // In a container without /proc fd3 is most likely PID 1.
        Err(_) => control::names(wanted.unwrap_or(Pid(1))),
    };
    let (mut found, mut mine, own) = (Vec::new(), false, process::own_user());
    for name in names {
        let Ok(fd3) = stream::connect(&Name::Abstract(name.into_bytes())) else { continue };
        let Ok(peer) = stream::peer(fd3.as_fd()) else { continue };
        let pid = Pid(peer.pid);
        if wanted.map_or(pid.0 > 0, |wanted| wanted == pid) {
            found.push((peer.user, pid, fd3));
            mine |= peer.user == own;
        }
    }
    // Others' would not answer anybody but root.
    let mut answering = Vec::new();
    for (user, pid, fd3) in found {
        if own == 0 || !mine || user == own {
            answering.push((pid, fd3));
        }
    }
    answering
}

#[inline(never)]
fn the_only(mut found: Vec<(Pid, OwnedFd)>) -> Result<OwnedFd, Ended> {
    match (found.pop(), found.is_empty()) {
        (Some((_, fd3)), true) => Ok(fd3),
        (None, _) => {
            let wrong = "no running fd3 found; one with --control wants the same here";
            Err((NOT_FOUND, Error::usage("fd3 reload", wrong)))
        }
        (Some(last), false) => {
            found.push(last);
            let pids = joined(found.iter().map(|(pid, _)| *pid));
            let wrong = format_args!("there are several; accepted: one of {pids}");
            Err(usage(Error::usage("--pid", wrong)))
        }
    }
}
