//! `fd3 check`: connects to a server, and if it is to speak HTTP asks it; for images in which nothing else could.

use std::ffi::OsString;
use std::net::SocketAddr;

use super::typed::{Given, Typed, command_line};
use super::{fail, nothing_after, options, show_help};
use crate::error::{Errno, Error};
use crate::plan::LogFormat;
use crate::protocol::check::{self, ANSWER_MAX, Answer, Place, Target};
use crate::protocol::duration;
use crate::sys::socket::Name;
use crate::sys::{client, clock, signal, stream};

/// It does not serve.
const UNHEALTHY: u8 = 1;
const TIMEOUT_MS: u64 = 5_000;
const STATUSES: (u16, u16) = (200, 399);

#[inline(never)]
pub(super) fn check(words: Vec<OsString>) -> Result<u8, Error> {
    let typed = command_line("check", options::CHECK, words)?;
    if typed.get("help").is_some() {
        return show_help(&["check".into()]);
    }
    let (text, target) = target(&typed)?;
    let timeout = typed.get("timeout").map_or(Ok(TIMEOUT_MS), timeout)?;
    let statuses = typed.get("status").map_or(Ok(STATUSES), statuses)?;
    // There is nothing to clean up: whoever waits may be ended by any signal.
    signal::unblock_all_but_pipe();
    let deadline = clock::monotonic_ms().saturating_add(timeout);
    match ask(&text, &target, statuses, deadline) {
        Ok(()) => Ok(0),
        Err(error) => {
            fail(&error, LogFormat::Text);
            Ok(UNHEALTHY)
        }
    }
}

fn target(typed: &Typed) -> Result<(String, Target), Error> {
    let Some(word) = typed.command.first() else {
        return Err(Error::usage("ADDR", format_args!("missing; {}", check::ACCEPTED)));
    };
    nothing_after("check ADDR", typed.command.get(1..).unwrap_or_default())?;
    let text = word.to_string_lossy();
    let target = check::parse(&text);
    let target = target.map_err(|wrong| Error::usage(format_args!("\"{text}\""), wrong))?;
    Ok((text.into_owned(), target))
}

fn timeout(given: &Given) -> Result<u64, Error> {
    let span = duration::parse(given.text()?).filter(|span| span.0 > 0);
    let wrong = || given.wrong(format_args!("accepted: from 1ms on, {}", duration::ACCEPTED));
    span.map(|span| span.0).ok_or_else(wrong)
}

fn statuses(given: &Given) -> Result<(u16, u16), Error> {
    let wrong = || given.wrong("accepted: N or N-N (200-399), from 200 to 599");
    check::range(given.text()?).ok_or_else(wrong)
}

/// Of several places, the first one that takes a connection; that none does is told of the first.
#[inline(never)]
fn ask(text: &str, target: &Target, statuses: (u16, u16), deadline: u64) -> Result<(), Error> {
    let mut failed = None;
    for place in &target.places {
        match client::connect(&name(place), deadline) {
            Ok(server) => {
                let Some(request) = &target.request else { return Ok(()) };
                let cannot_get = |errno| Error::system("get", text, errno);
                stream::send(&server, request.as_bytes()).map_err(cannot_get)?;
                let bad = |why: &str| Error::refused("get", text, why);
                let answer = read(&mut |room| client::receive(&server, room, deadline));
                return match answer.map_err(cannot_get)? {
                    Answer::Status(status) if (statuses.0..=statuses.1).contains(&status) => Ok(()),
                    Answer::Status(status) => {
                        let (least, most) = statuses;
                        let wrong = format_args!("status {status}; accepted: {least}-{most}");
                        Err(Error::usage(text, wrong))
                    }
                    Answer::Strange => Err(bad("the answer is not HTTP/1")),
                    Answer::More => Err(bad("the connection ended before an answer")),
                };
            }
            Err(errno) => failed = failed.or(Some(errno)),
        }
    }
    let errno = failed.unwrap_or(Errno(libc::EADDRNOTAVAIL));
    Err(Error::system("connect to", text, errno))
}

/// What there is of an answer: as much as is needed, or all.
fn read(receive: &mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Answer, Errno> {
    let mut bytes = [0; ANSWER_MAX];
    let mut len = 0;
    loop {
        match check::answer(&bytes[..len]) {
            Answer::More if len == ANSWER_MAX => return Ok(Answer::Strange),
            Answer::More => {}
            answer @ (Answer::Status(_) | Answer::Strange) => return Ok(answer),
        }
        match receive(&mut bytes[len..])? {
            0 => return Ok(Answer::More),
            some => len += some,
        }
    }
}

fn name(place: &Place) -> Name {
    match place {
        Place::Inet(SocketAddr::V4(address)) => Name::V4(*address),
        Place::Inet(SocketAddr::V6(address)) => Name::V6(*address),
        Place::Path(path) => Name::Path(path.clone()),
        Place::Abstract(name) => Name::Abstract(name.clone()),
    }
}
