//! The control socket: hears orders, answers whoever waits for one. Decides nothing but who is heard.
//!
//! A client costs a descriptor and a line's worth of memory, and there is a limit to both. Nothing here
//! waits: a client that is silent, deaf or gone holds nobody up and wakes nobody.

use rustix::fd::{AsFd, OwnedFd, RawFd};

use super::children::OVERFLOW_USER;
use super::listen::{self, Fresh};
use super::{EventLoop, Token, process};
use crate::error::{Errno, Error};
use crate::plan::Control as Plan;
use crate::protocol::address::{Address, Listen, Options, UnixKind, UnixName};
use crate::protocol::control::{self, CONTROL_LINE_MAX, Request, Verdict, Wait};
use crate::supervisor::{Event, Outcome};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::stream::{self, Peer};
use crate::sys::unix_path::BoundPath;
use crate::sys::{fd, socket};
use crate::units::{Asker, Pid};

/// Clients at once; further ones are sent away.
const CLIENTS_MAX: usize = 16;
/// Clients let in, or sent away, in one turn.
const ACCEPTED_AT_ONCE: usize = 16;
/// For a path: who else could connect would not be answered.
const MODE: u32 = 0o600;

pub(super) struct Control {
    fd: OwnedFd,
    path: Option<BoundPath>,
    clients: Vec<Client>,
    /// Clients so far.
    serial: u32,
    /// Descriptors below are the workers'.
    lowest: RawFd,
    door: Door,
}

/// Whether clients get in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// The last accept(2) failed, which would wake us for ever: not watched until something else happens.
    Shut,
    /// To be tried again. That it failed was told already.
    Ajar,
}

struct Client {
    number: u32,
    fd: OwnedFd,
    stage: Stage,
}

enum Stage {
    /// What it said of its line so far.
    Asking(Vec<u8>),
    /// For what comes of it. Only its end wakes us.
    Waiting,
}

/// What came of listening to a client.
enum Heard {
    Nothing,
    Gone,
    Line(Result<Request, String>),
}

impl EventLoop {
    /// At the start. An address that was asked for must be had; one that was not is a comfort.
    #[inline(never)]
    pub(super) fn open_control(&mut self, plan: &Plan, lowest: RawFd) -> Result<(), Error> {
        let opened = match plan {
            Plan::Nowhere => return Ok(()),
            Plan::At(listen) => Control::open(listen, lowest, &self.epoll),
            Plan::Automatic => Control::open_automatic(self.own_pid, lowest, &self.epoll),
        };
        match (opened, plan) {
            (Ok((control, address)), _) => {
                self.log.control(&address);
                self.control = Some(control);
                Ok(())
            }
            (Err(error), Plan::Automatic) => {
                self.log.no_control(&error);
                Ok(())
            }
            (Err(error), Plan::At(_) | Plan::Nowhere) => Err(error),
        }
    }

    /// Clients that have something to say first: whoever is gone makes room for who comes.
    #[inline(never)]
    pub(super) fn hear_clients(&mut self, due: &[Token]) {
        for token in due {
            if let Token::Client(number) = token {
                self.hear(*number);
            }
        }
        let Some(control) = &mut self.control else { return };
        if !due.contains(&Token::Control) {
            control.try_again(&self.epoll);
        } else if let Err(errno) = control.accept(&self.epoll) {
            self.log.cannot_accept(errno);
        }
    }

    #[inline(never)]
    fn hear(&mut self, number: u32) {
        let Some(control) = &mut self.control else { return };
        let (epoll, asker) = (&self.epoll, Asker(u64::from(number)));
        let asker = match control.hear(number) {
            Heard::Nothing => return,
            Heard::Gone => return control.close(epoll, number),
            Heard::Line(Err(wrong)) => {
                let wrong = control::answer(Verdict::Error, &wrong);
                return control.answer(epoll, number, &wrong);
            }
            Heard::Line(Ok(Request::Reload(Wait::No))) => {
                let asked = control::answer(Verdict::Ok, &"asked for");
                control.answer(epoll, number, &asked);
                None
            }
            Heard::Line(Ok(Request::Reload(Wait::ForTheOutcome))) => {
                control.wait(epoll, number);
                Some(asker)
            }
        };
        self.tell(Event::ReloadAsked { asker });
    }

    /// Tells whoever asked what came of it.
    pub(super) fn answer(&mut self, asker: Asker, outcome: &Outcome) {
        if let (Some(control), Ok(number)) = (&mut self.control, u32::try_from(asker.0)) {
            control.answer(&self.epoll, number, &control::reloaded(outcome));
        }
    }

    /// The end of everything: who still waits sees the connection end.
    pub(super) fn close_control(&mut self) {
        if let Some(mut path) = self.control.take().and_then(|control| control.path) {
            path.remove();
        }
    }
}

impl Control {
    /// At the first of its names that is free: PIDs of another PID namespace may be the same, and their
    /// abstract names, which go by the network namespace, taken.
    #[inline(never)]
    fn open_automatic(pid: Pid, lowest: RawFd, epoll: &Epoll) -> Result<(Control, Address), Error> {
        let mut last = Err(Error::refused("make", "a control socket", "it has no name"));
        for name in control::names(pid) {
            let name = UnixName::Abstract(name.into_bytes());
            let address = Address::Unix { kind: UnixKind::Stream, name };
            let text = String::new();
            let listen = Listen { text, address, options: Options::default() };
            last = Control::open(&listen, lowest, epoll);
            let taken = |error: &Error| error.errno() == Some(Errno(libc::EADDRINUSE));
            if !last.as_ref().is_err_and(taken) {
                break;
            }
        }
        last
    }

    fn open(listen: &Listen, lowest: RawFd, epoll: &Epoll) -> Result<(Control, Address), Error> {
        let mut private = listen.clone();
        private.options.mode = Some(listen.options.mode.unwrap_or(MODE));
        let Fresh { fd, address, mut path } = listen::open(&listen.address, &private)?;
        let ready = socket::set_nonblocking(fd.as_fd())
            .and_then(|()| fd::copy_above(&fd, lowest))
            .and_then(|fd| epoll.add(&fd, Token::Control.bits(), Interest::IN).map(|()| fd));
        match ready {
            Ok(fd) => {
                let (clients, door) = (Vec::new(), Door::Open);
                Ok((Control { fd, path, clients, serial: 0, lowest, door }, address))
            }
            Err(errno) => {
                path.iter_mut().for_each(BoundPath::remove);
                Err(listen::cannot_bind(&address, errno))
            }
        }
    }

    /// An error is one that was not told before.
    #[inline(never)]
    fn accept(&mut self, epoll: &Epoll) -> Result<(), Errno> {
        for _ in 0..ACCEPTED_AT_ONCE {
            let next = stream::accept(self.fd.as_fd());
            let door = if next.is_ok() { Door::Open } else { Door::Shut };
            let before = core::mem::replace(&mut self.door, door);
            match next {
                // Out of descriptors, or of memory: it sees the connection end.
                Ok(Some(fd)) => drop(self.let_in(fd, epoll)),
                Ok(None) => break,
                Err(errno) => {
                    let _ = epoll.delete(&self.fd);
                    return if before == Door::Open { Err(errno) } else { Ok(()) };
                }
            }
        }
        Ok(())
    }

    /// Something else has happened: perhaps there is room for a client now.
    fn try_again(&mut self, epoll: &Epoll) {
        if self.door == Door::Shut {
            let watched = epoll.add(&self.fd, Token::Control.bits(), Interest::IN);
            self.door = if watched.is_ok() { Door::Ajar } else { Door::Shut };
        }
    }

    #[inline(never)]
    fn let_in(&mut self, fd: OwnedFd, epoll: &Epoll) -> Result<(), Errno> {
        let own = process::own_user();
        if !is_heard(stream::peer(fd.as_fd())?, own) {
            let why = format_args!("not permitted: only user {own} and root are answered");
            return stream::send(fd, control::answer(Verdict::Error, &why).as_bytes());
        }
        if self.clients.len() >= CLIENTS_MAX {
            let why = format_args!("busy: {CLIENTS_MAX} clients are connected");
            return stream::send(fd, control::answer(Verdict::Error, &why).as_bytes());
        }
        self.serial = self.serial.wrapping_add(1);
        let (number, stage) = (self.serial, Stage::Asking(Vec::new()));
        let fd = fd::copy_above(fd, self.lowest)?;
        epoll.add(&fd, Token::Client(number).bits(), Interest::IN)?;
        self.clients.push(Client { number, fd, stage });
        Ok(())
    }

    fn client(&mut self, number: u32) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.number == number)
    }

    fn hear(&mut self, number: u32) -> Heard {
        let Some(client) = self.client(number) else { return Heard::Nothing };
        let Stage::Asking(line) = &mut client.stage else { return Heard::Gone };
        let mut room = [0; CONTROL_LINE_MAX + 1];
        match stream::receive(&client.fd, &mut room) {
            Err(Errno(libc::EAGAIN)) => Heard::Nothing,
            Err(_) => Heard::Gone,
            Ok(0) if line.is_empty() => Heard::Gone,
            Ok(0) => Heard::Line(Err("half a line: its end is missing".to_string())),
            Ok(count) => {
                line.extend_from_slice(room.get(..count).unwrap_or_default());
                control::hear(line).map_or(Heard::Nothing, Heard::Line)
            }
        }
    }

    /// What it says from now on does not count; that it has no more to say does not either (a hangup is
    /// told unasked, half of one is not).
    fn wait(&mut self, epoll: &Epoll, number: u32) {
        if let Some(client) = self.client(number) {
            client.stage = Stage::Waiting;
            // It cannot fail: the client is watched, and there is nothing to allocate.
            let _ = epoll.change(&client.fd, Token::Client(number).bits(), Interest::empty());
        }
    }

    /// One answer, and the end.
    fn answer(&mut self, epoll: &Epoll, number: u32, text: &str) {
        if let Some(client) = self.client(number) {
            // Who is gone needs none.
            let _ = stream::send(&client.fd, text.as_bytes());
        }
        self.close(epoll, number);
    }

    fn close(&mut self, epoll: &Epoll, number: u32) {
        if let Some(client) = self.client(number) {
            // A child that hangs before its exec may still hold a copy, which epoll would go on watching.
            let _ = epoll.delete(&client.fd);
        }
        if let Some(place) = self.clients.iter().position(|client| client.number == number) {
            drop(self.clients.remove(place));
        }
    }
}

/// Where every unknown user of a user namespace looks like ours, it has to be somebody of our PID
/// namespace.
fn is_heard(peer: Peer, own: u32) -> bool {
    let known = peer.user != OVERFLOW_USER || peer.pid != 0;
    peer.user == 0 || known && peer.user == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_user_and_root_are_heard() {
        let table = [
            (0, 7, 1000, true),
            (0, 0, 1000, true),
            (1000, 7, 1000, true),
            (1000, 0, 1000, true),
            (1001, 7, 1000, false),
            (1000, 7, 0, false),
            (OVERFLOW_USER, 7, OVERFLOW_USER, true),
            (OVERFLOW_USER, 0, OVERFLOW_USER, false),
            (OVERFLOW_USER, 7, 0, false),
        ];
        for (user, pid, own, heard) in table {
            assert_eq!(is_heard(Peer { pid, user }, own), heard, "{user} {pid} {own}");
        }
    }
}
