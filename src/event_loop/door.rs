//! A listener of fd3's own, and the clients that came in there: so many at once, numbered as they come. What they want
//! is known to whoever keeps the door. Decides nothing.

use rustix::fd::{AsFd, OwnedFd, RawFd};

use super::listen::{self, Fresh};
use super::{Token, now};
use crate::error::{Errno, Error};
use crate::protocol::address::{Address, Options};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::unix_path::BoundPath;
use crate::sys::{fd, socket, stream};
use crate::units::Millis;

/// How long nobody is let in after a failure: out of descriptors, or of memory, which others may give back, and
/// nobody tells.
const SHUT_FOR: Millis = Millis::seconds(1);
/// Clients let in, or sent away, in one turn.
const ACCEPTED_AT_ONCE: usize = 16;
/// Clients at once.
pub(super) const CLIENTS_MAX: usize = 16;

/// `S` is what a client is about.
pub(super) struct Door<S> {
    fd: OwnedFd,
    path: Option<BoundPath>,
    tokens: Tokens,
    state: State,
    /// In the order in which they came.
    clients: Vec<Client<S>>,
    /// Clients so far.
    serial: u32,
    /// Descriptors below are the workers'.
    lowest: RawFd,
}

/// The same as numbers, for the program that this process becomes.
#[cfg(feature = "upgrade")]
pub(super) struct Handed<S> {
    pub(super) fd: RawFd,
    pub(super) path: Option<BoundPath>,
    pub(super) serial: u32,
    /// Number, descriptor and stage of each client.
    pub(super) clients: Vec<(u32, RawFd, S)>,
}

/// What epoll tells when somebody knocks, and when the client of this number has something.
#[derive(Clone, Copy)]
pub(super) struct Tokens(pub(super) Token, pub(super) fn(u32) -> Token);

pub(super) struct Client<S> {
    pub(super) number: u32,
    pub(super) fd: OwnedFd,
    pub(super) stage: S,
}

/// Whether clients get in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The last accept(2) failed, which would wake us for ever: not watched until then.
    Shut {
        until: Millis,
    },
    /// To be tried again. That it failed was told already.
    Ajar,
}

impl<S> Door<S> {
    /// Above the descriptors that are the workers'.
    pub(super) fn at(
        address: &Address,
        options: &Options,
        tokens: Tokens,
        lowest: RawFd,
        epoll: &Epoll,
    ) -> Result<(Door<S>, Address), Error> {
        let Fresh { fd, address, mut path } = listen::open(address, options)?;
        let ready = socket::set_nonblocking(fd.as_fd())
            .and_then(|()| fd::copy_above(&fd, lowest))
            .and_then(|fd| epoll.add(&fd, tokens.0.bits(), Interest::IN).map(|()| fd));
        match ready {
            Ok(fd) => {
                let (state, clients) = (State::Open, Vec::new());
                Ok((Door { fd, path, tokens, state, clients, serial: 0, lowest }, address))
            }
            Err(errno) => {
                path.iter_mut().for_each(BoundPath::remove);
                Err(listen::cannot_bind(&address, errno))
            }
        }
    }

    #[cfg(feature = "upgrade")]
    pub(super) fn hand_over(&self) -> Handed<S>
    where
        S: Clone,
    {
        let mut clients = Vec::new();
        for client in &self.clients {
            clients.push((client.number, fd::number(&client.fd), client.stage.clone()));
        }
        Handed { fd: fd::number(&self.fd), path: self.path.clone(), serial: self.serial, clients }
    }

    /// One whose clients are watched as `interest` says of their stages, beside their end.
    #[cfg(feature = "upgrade")]
    pub(super) fn take_over(
        handed: Handed<S>,
        tokens: Tokens,
        lowest: RawFd,
        epoll: &Epoll,
        interest: fn(&S) -> Interest,
    ) -> Result<Door<S>, Errno> {
        let fd = fd::take_inherited(handed.fd)?;
        let (path, serial, state) = (handed.path, handed.serial, State::Open);
        epoll.add(&fd, tokens.0.bits(), Interest::IN)?;
        let mut clients = Vec::new();
        for (number, fd, stage) in handed.clients {
            let fd = fd::take_inherited(fd)?;
            epoll.add(&fd, (tokens.1)(number).bits(), interest(&stage))?;
            clients.push(Client { number, fd, stage });
        }
        Ok(Door { fd, path, tokens, state, clients, serial, lowest })
    }

    /// Whoever waits gets in by `let_in`, which is told the latest client that was listened to: those after it were not
    /// yet. An error is one that was not told before.
    pub(super) fn let_all_in(
        &mut self,
        epoll: &Epoll,
        let_in: fn(&mut Door<S>, OwnedFd, u32, &Epoll) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let heard = self.serial;
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.accept(epoll)? {
                // Out of descriptors, or of memory: it sees the connection end.
                Some(fd) => drop(let_in(self, fd, heard, epoll)),
                None => break,
            }
        }
        Ok(())
    }

    fn accept(&mut self, epoll: &Epoll) -> Result<Option<OwnedFd>, Errno> {
        let next = stream::accept(self.fd.as_fd());
        let shut = State::Shut { until: now().plus(SHUT_FOR) };
        let state = if next.is_ok() { State::Open } else { shut };
        let before = core::mem::replace(&mut self.state, state);
        next.or_else(|errno| {
            let _ = epoll.delete(&self.fd);
            if before == State::Open { Err(errno) } else { Ok(None) }
        })
    }

    /// When it is to be tried again.
    pub(super) fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Shut { until } => Some(until),
            State::Open | State::Ajar => None,
        }
    }

    /// Perhaps there is room for a client now.
    pub(super) fn try_again(&mut self, epoll: &Epoll) {
        let now = now();
        if self.deadline().is_some_and(|until| until <= now) {
            let watched = epoll.add(&self.fd, self.tokens.0.bits(), Interest::IN);
            let shut = State::Shut { until: now.plus(SHUT_FOR) };
            self.state = if watched.is_ok() { State::Ajar } else { shut };
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.clients.len() >= CLIENTS_MAX
    }

    /// From now on one of the clients, of whom it tells when there is something to read.
    pub(super) fn seat(&mut self, fd: OwnedFd, stage: S, epoll: &Epoll) -> Result<(), Errno> {
        self.serial = self.serial.wrapping_add(1);
        let (number, fd) = (self.serial, fd::above(fd, self.lowest)?);
        epoll.add(&fd, (self.tokens.1)(number).bits(), Interest::IN)?;
        self.clients.push(Client { number, fd, stage });
        Ok(())
    }

    pub(super) fn client(&mut self, number: u32) -> Option<&mut Client<S>> {
        self.clients.iter_mut().find(|client| client.number == number)
    }

    pub(super) fn clients(&self) -> &[Client<S>] {
        &self.clients
    }

    /// The one who came first of those that were listened to, and are such.
    pub(super) fn oldest(&self, heard: u32, is_such: fn(&S) -> bool) -> Option<u32> {
        let such = |client: &&Client<S>| is_such(&client.stage) && is_before(client.number, heard);
        self.clients.iter().find(such).map(|client| client.number)
    }

    /// What it is told of from now on, beside its end. It cannot fail: the client is watched, and there is nothing to
    /// allocate.
    pub(super) fn watch(&self, number: u32, interest: Interest, epoll: &Epoll) {
        if let Some(client) = self.clients.iter().find(|client| client.number == number) {
            let _ = epoll.change(&client.fd, (self.tokens.1)(number).bits(), interest);
        }
    }

    pub(super) fn dismiss(&mut self, number: u32, epoll: &Epoll) {
        if let Some(place) = self.clients.iter().position(|client| client.number == number) {
            let client = self.clients.remove(place);
            // A child that hangs before its exec may still hold a copy, which epoll would go on watching.
            let _ = epoll.delete(&client.fd);
        }
    }

    /// For ever. Those who are still here.
    pub(super) fn close(self) -> Vec<Client<S>> {
        if let Some(mut path) = self.path {
            path.remove();
        }
        self.clients
    }
}

/// Whether this client came first, or is the same one. Clients are numbered as they come; those that are here at
/// once are few, and the numbers may have begun anew.
fn is_before(one: u32, other: u32) -> bool {
    other.wrapping_sub(one) < u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round() {
        for (one, other, before) in [(1, 1, true), (1, 2, true), (2, 1, false), (u32::MAX, 3, true)]
        {
            assert_eq!(is_before(one, other), before, "{one} {other}");
        }
    }
}
