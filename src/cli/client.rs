//! Talks to a running fd3: finds it, asks, and hears what it answers.

use std::os::unix::ffi::OsStrExt;

use rustix::fd::{AsFd, OwnedFd};

use super::typed::{Given, Typed};
use crate::error::{Errno, Error};
use crate::protocol::address::{self, Address, UnixKind, UnixName};
use crate::protocol::control::{self, Verdict};
use crate::protocol::{joined, whole};
use crate::sys::socket::Name;
use crate::sys::{file, process, stream};
use crate::units::Pid;

/// It was found, and did not do it.
pub(super) const NOT_DONE: u8 = 1;
pub(super) const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;

/// /proc/net/unix is longer only where it is no such thing.
const TABLE_MAX: usize = 64 << 20;
/// The longest line of an answer, which is JSON; whoever sends a longer one is no fd3.
const LINE_MAX: usize = 64 << 20;

/// Why it ends, with the exit status that says so.
pub(super) type Ended = (u8, Error);

/// How much of an answer a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Part,
    Whole,
}

/// Asks for something at the fd3 that is meant, and returns the last line, and the connection. `tell` gets the lines
/// before it, and says of each whether it was all there is to come.
#[inline(never)]
pub(super) fn ask(
    verb: &str,
    typed: &Typed,
    request: &str,
    tell: &mut dyn FnMut(&str) -> Answer,
) -> Result<(String, OwnedFd), Ended> {
    let fd3 = find(verb, typed)?;
    match stream::send_all(&fd3, request.as_bytes()) {
        // Who hangs up on us has said why before.
        Ok(()) | Err(Errno(libc::EPIPE | libc::ECONNRESET)) => {}
        Err(errno) => return Err((NOT_DONE, Error::system("ask", "fd3", errno))),
    }
    let (mut heard, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let known = heard.len();
        match stream::receive(&fd3, &mut room) {
            Ok(count @ 1..) if known <= LINE_MAX => {
                heard.extend_from_slice(room.get(..count).unwrap_or_default());
            }
            Ok(_) | Err(_) => {
                return Err((NOT_DONE, Error::usage(verb, "fd3 ended without an answer")));
            }
        }
        let mut new = known;
        while let Some(end) = heard.iter().skip(new).position(|byte| *byte == b'\n') {
            let rest = heard.split_off(new + end + 1);
            let line = core::mem::replace(&mut heard, rest);
            new = 0;
            let line = String::from_utf8_lossy(&line);
            // It may be another than fd3 who answers.
            let line = control::one_line(line.trim_ascii_end());
            match control::verdict(&line) {
                Some((verdict, text)) => {
                    return answered(verb, verdict, text, &line).map(|line| (line, fd3));
                }
                None if tell(&line) == Answer::Whole => return Ok((line, fd3)),
                None => {}
            }
        }
    }
}

/// Waits for the end of the process that has said that it ends; of PID 1, until nothing else is left to wait for.
pub(super) fn await_end(fd3: &OwnedFd) {
    while stream::receive(fd3, &mut [0; 64]).is_ok_and(|count| count > 0) {}
}

/// The last line: what came of it all.
#[inline(never)]
fn answered(verb: &str, verdict: Verdict, text: &str, line: &str) -> Result<String, Ended> {
    let word = match verdict {
        Verdict::Ok => return Ok(line.to_string()),
        Verdict::Failed => "failed",
        Verdict::Refused => "refused",
        Verdict::Error => "not asked for",
    };
    Err((NOT_DONE, Error::usage(format_args!("{verb} {word}"), text)))
}

fn usage(error: Error) -> Ended {
    (USAGE, error)
}

/// A connection to the fd3 that is meant.
#[inline(never)]
fn find(verb: &str, typed: &Typed) -> Result<OwnedFd, Ended> {
    match (typed.get("pid"), typed.get("control")) {
        (Some(pid), Some(_)) => Err(usage(pid.wrong("contradicts --control"))),
        (None, Some(given)) => connect(given),
        (None, None) => the_only(verb, search(None)),
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
    let number = whole(text.as_bytes(), 10).and_then(|number| i32::try_from(number).ok());
    number
        .filter(|number| *number > 0)
        .map(Pid)
        .ok_or_else(|| given.wrong("accepted: the PID of a running fd3"))
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
        if wanted.map_or(pid.0 <= 0, |wanted| wanted != pid) {
            continue;
        }
        // Beside one of ours others' do not count: they would not answer anybody but root.
        if own != 0 && !mine && peer.user == own {
            found.clear();
        }
        mine |= peer.user == own;
        if own == 0 || !mine || peer.user == own {
            found.push((pid, fd3));
        }
    }
    found
}

#[inline(never)]
fn the_only(verb: &str, mut found: Vec<(Pid, OwnedFd)>) -> Result<OwnedFd, Ended> {
    match (found.pop(), found.is_empty()) {
        (Some((_, fd3)), true) => Ok(fd3),
        (None, _) => {
            let wrong = "no running fd3 found; one with --control wants the same here";
            Err((NOT_FOUND, Error::usage(verb, wrong)))
        }
        (Some(last), false) => {
            found.push(last);
            let pids = joined(found.iter().map(|(pid, _)| *pid));
            let wrong = format_args!("there are several; accepted: one of {pids}");
            Err(usage(Error::usage("--pid", wrong)))
        }
    }
}
