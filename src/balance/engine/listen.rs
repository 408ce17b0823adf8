//! The listeners: whom they let in, and when they do not.

use std::os::fd::{AsFd, OwnedFd};

use super::flow::{Client, Stage};
use super::wire::Watch;
use super::{Engine, Kind, Phase};
use crate::balance::ConnId;
use crate::balance::timers::Due;
use crate::error::{Errno, Error};
use crate::sys::conn::{self, Accepted};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::socket::{self, Name};
use crate::sys::{fd, process};
use crate::units::Millis;

/// Connections taken in a row, so that those that are open get their turn.
const ACCEPTS: usize = 16;
/// Of those that wait when it is told to stop.
const LAST_ONES: usize = 4096;
/// After a failure that may pass.
const REST: Millis = Millis::seconds(1);
/// A failure that goes on is told so often.
const QUIET: Millis = Millis::seconds(10);
/// Descriptors for all that is no client and no backend's connection.
const DESCRIPTORS_KEPT: u64 = 64;
/// What the limit of descriptors is raised to, if it may be.
const DESCRIPTORS_WANTED: u64 = 1 << 20;
/// Where nobody tells a limit.
const DESCRIPTORS_USUAL: u64 = 1024;

/// A socket that listens.
#[derive(Debug)]
pub struct Source {
    pub fd: OwnedFd,
    /// For the log.
    pub address: String,
    /// Nobody else has it: who waits at it when it is closed is lost.
    pub is_own: bool,
}

#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Source>,
    max_clients: usize,
    is_watched: bool,
    /// When to try again after a failure.
    resume_at: Option<Millis>,
    /// Until then a failure is not told again.
    is_told_until: Millis,
}

impl Listeners {
    pub(super) fn new(all: Vec<Source>, max_clients: Option<u32>) -> Result<Listeners, Error> {
        for source in &all {
            socket::set_nonblocking(source.fd.as_fd())
                .map_err(|errno| Error::system("listen at", &source.address, errno))?;
            conn::send_at_once(&source.fd);
        }
        let _ = process::raise_descriptor_limit(DESCRIPTORS_WANTED);
        let limit = process::descriptors().unwrap_or(DESCRIPTORS_USUAL);
        // Each client may need a backend's connection.
        let fits = limit.saturating_sub(DESCRIPTORS_KEPT) / 2;
        let fits = usize::try_from(fits.max(1)).unwrap_or(usize::MAX);
        let max_clients = max_clients.map_or(fits, |asked| fits.min(asked as usize));
        Ok(Listeners {
            all,
            max_clients,
            is_watched: false,
            resume_at: None,
            is_told_until: Millis(0),
        })
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.all.iter().map(|source| source.address.clone()).collect()
    }

    pub(super) fn resume_at(&self) -> Option<Millis> {
        self.resume_at
    }

    pub(super) fn close(&mut self, epoll: &Epoll) {
        self.stop(epoll);
        self.resume_at = None;
        self.all.clear();
    }

    fn stop(&mut self, epoll: &Epoll) {
        if core::mem::take(&mut self.is_watched) {
            for source in &self.all {
                // One that is not watched is none that would be told.
                let _ = epoll.delete(&source.fd);
            }
        }
    }
}

impl Engine {
    pub(super) fn watch_listeners(&mut self) {
        self.listeners.is_watched = true;
        for (index, source) in (0..).zip(&self.listeners.all) {
            let id = ConnId { slot: index, generation: 0 };
            if let Err(errno) = self.watch(&source.fd, Kind::Listener, id, Interest::IN) {
                self.log.failed(&Error::system("watch", &source.address, errno));
                self.listeners.resume_at = Some(self.now.plus(REST));
            }
        }
        if self.listeners.resume_at.is_some() {
            self.listeners.stop(&self.epoll);
        }
    }

    /// When there is room again, or time has passed since a failure.
    pub(super) fn resume_accepting(&mut self) {
        if self.phase != Phase::Serving || self.listeners.is_watched {
            return;
        }
        let is_due = self.listeners.resume_at.is_none_or(|at| at <= self.now);
        if is_due && self.clients.len() < self.listeners.max_clients {
            self.listeners.resume_at = None;
            self.watch_listeners();
        }
    }

    /// A connection has ended: what failed for want of descriptors may go now.
    pub(super) fn descriptor_is_free(&mut self) {
        if self.listeners.resume_at.is_some() {
            self.listeners.resume_at = Some(self.now);
        }
    }

    pub(super) fn accept(&mut self, index: usize) {
        self.accept_some(index, ACCEPTS);
    }

    fn accept_some(&mut self, index: usize, most: usize) {
        for _ in 0..most {
            if self.clients.len() >= self.listeners.max_clients {
                return self.listeners.stop(&self.epoll);
            }
            let Some(source) = self.listeners.all.get(index) else { return };
            match conn::accept(source.fd.as_fd()) {
                Ok(Accepted::Some(fd, from)) => self.welcome(fd, &from),
                Ok(Accepted::Gone) => {}
                Ok(Accepted::None) => return,
                Err(errno) => return self.cannot_accept(errno),
            }
        }
    }

    fn cannot_accept(&mut self, errno: Errno) {
        if self.now >= self.listeners.is_told_until {
            self.log.not_accepting(&Error::system("accept", "connections", errno));
            self.listeners.is_told_until = self.now.plus(QUIET);
        }
        self.listeners.stop(&self.epoll);
        self.listeners.resume_at = Some(self.now.plus(REST));
    }

    pub(super) fn accept_last_ones(&mut self) {
        for index in 0..self.listeners.all.len() {
            let is_own = self.listeners.all.get(index).is_some_and(|source| source.is_own);
            if self.phase == Phase::Serving && is_own {
                self.accept_some(index, LAST_ONES);
            }
        }
    }

    fn welcome(&mut self, fd: OwnedFd, from: &Name) {
        let from = match from {
            Name::V4(address) => Some((*address.ip()).into()),
            Name::V6(address) => Some(address.ip().to_canonical()),
            Name::Path(_) | Name::Abstract(_) | Name::Vsock { .. } | Name::Unknown => None,
        };
        let client = Client {
            fd,
            from,
            watch: Watch::NONE,
            due: Due::default(),
            has_ended: false,
            has_asked: false,
            stage: Stage::Idle,
        };
        let id = self.clients.insert(client);
        self.client_waits(id, self.plan.times.head);
        // Mostly it has said something by now.
        self.read_client(id);
        self.watch_client(id, false);
    }
}

/// For messages: where a socket listens.
pub fn address_of(fd: &OwnedFd) -> String {
    match socket::name(fd.as_fd()) {
        Ok(Name::V4(address)) => format!("tcp://{address}"),
        Ok(Name::V6(address)) => format!("tcp://{address}"),
        Ok(Name::Path(path)) => format!("unix:{}", String::from_utf8_lossy(&path)),
        Ok(Name::Abstract(name)) => format!("unix:@{}", String::from_utf8_lossy(&name)),
        Ok(Name::Vsock { .. } | Name::Unknown) | Err(_) => format!("fd {}", fd::number(fd)),
    }
}
