//! What waits to be sent on a connection, and how it is sent: at once as far as there is room.

use std::os::fd::{AsFd, OwnedFd};

use crate::balance::exchange::Out;
use crate::error::Errno;
use crate::sys::conn::{self, Follows, Moved};
use crate::sys::epoll::{Epoll, Interest};

/// Bytes that are not copied where they can be sent from where they are.
const DIRECT_MIN: usize = 4096;
/// Buffers that were larger are given back when they are empty.
const BUFFER_KEPT: usize = 16 << 10;

/// Bytes that could not be sent yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    sent: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_KEPT);
        self.sent = 0;
    }

    /// Sends what there is room for. How many bytes went.
    pub(super) fn flush(&mut self, fd: &OwnedFd, follows: Follows) -> Result<usize, Errno> {
        let begun = self.sent;
        while self.sent < self.bytes.len() {
            match conn::send(fd, self.bytes.get(self.sent..).unwrap_or_default(), follows)? {
                Moved::Bytes(count) => self.sent = self.sent.saturating_add(count),
                Moved::Later => break,
            }
        }
        let went = self.sent.saturating_sub(begun);
        if self.sent >= self.bytes.len() {
            self.clear();
        }
        Ok(went)
    }
}

impl Out for Pending {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// The way to a connection that is open. Large parts are sent as they pass; the rest waits for `flush`.
pub(super) struct Pipe<'a> {
    pub fd: &'a OwnedFd,
    pub pending: &'a mut Pending,
    /// Bytes that went.
    pub went: usize,
    /// After it nothing goes any more.
    pub error: Option<Errno>,
}

impl<'a> Pipe<'a> {
    pub(super) fn new(fd: &'a OwnedFd, pending: &'a mut Pending) -> Pipe<'a> {
        Pipe { fd, pending, went: 0, error: None }
    }

    /// How many bytes went since it was made.
    pub(super) fn finish(mut self) -> Result<usize, Errno> {
        self.flush(Follows::Nothing);
        match self.error {
            None => Ok(self.went),
            Some(errno) => Err(errno),
        }
    }

    fn flush(&mut self, follows: Follows) {
        if self.error.is_some() {
            self.pending.clear();
        } else if !self.pending.is_empty() {
            match self.pending.flush(self.fd, follows) {
                Ok(went) => self.went = self.went.saturating_add(went),
                Err(errno) => self.fail(errno),
            }
        }
    }

    fn fail(&mut self, errno: Errno) {
        self.error = Some(errno);
        self.pending.clear();
    }
}

impl Out for Pipe<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() < DIRECT_MIN {
            return self.pending.put(bytes);
        }
        self.flush(Follows::More);
        let mut rest = bytes;
        if self.pending.is_empty() && self.error.is_none() {
            match conn::send(self.fd, bytes, Follows::Nothing) {
                Ok(Moved::Bytes(count)) => {
                    rest = bytes.get(count..).unwrap_or_default();
                    self.went = self.went.saturating_add(count);
                }
                Ok(Moved::Later) => {}
                Err(errno) => self.fail(errno),
            }
        }
        if self.error.is_none() {
            self.pending.put(rest);
        }
    }

    fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending.bytes
    }
}

/// What epoll is told to watch of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Watch(Option<Interest>);

impl Watch {
    pub(super) const NONE: Watch = Watch(None);

    /// Whether it waits for this.
    pub(super) fn has(self, what: Interest) -> bool {
        self.0.is_some_and(|watched| watched.contains(what))
    }

    /// From now on `wanted`. What is watched beyond it stays, until it is told in vain (`in_vain`): so a connection that
    /// goes between reading and waiting costs nothing.
    pub(super) fn set(
        &mut self,
        epoll: &Epoll,
        fd: &OwnedFd,
        token: u64,
        wanted: Interest,
        in_vain: bool,
    ) -> Result<(), Errno> {
        match self.0 {
            Some(watched) if watched == wanted || watched.contains(wanted) && !in_vain => {
                return Ok(());
            }
            Some(_) => epoll.change(fd, token, wanted)?,
            None => epoll.add(fd, token, wanted)?,
        }
        self.0 = Some(wanted);
        Ok(())
    }

    /// No longer at all: an end is told even to who does not ask.
    pub(super) fn stop(&mut self, epoll: &Epoll, fd: impl AsFd) {
        if self.0.take().is_some() {
            let _ = epoll.delete(fd);
        }
    }
}
