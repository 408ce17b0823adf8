//! Waiting, level-triggered, with a deadline.

use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};

use super::memory;
use crate::error::Errno;

/// What is waited for.
pub use rustix::event::epoll::EventFlags as Interest;

/// Events taken from the kernel at once.
const BATCH: usize = 64;

pub struct Epoll {
    fd: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl Epoll {
    pub fn new() -> Result<Epoll, Errno> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Epoll { fd, ready: Vec::with_capacity(BATCH) })
    }

    pub fn add(&self, fd: impl AsFd, token: u64, for_what: Interest) -> Result<(), Errno> {
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(token), for_what)?)
    }

    pub fn change(&self, fd: impl AsFd, token: u64, for_what: Interest) -> Result<(), Errno> {
        Ok(epoll::modify(&self.fd, fd, epoll::EventData::new_u64(token), for_what)?)
    }

    pub fn delete(&self, fd: impl AsFd) -> Result<(), Errno> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits for events, for at most `timeout_ms`; `None` is for ever. Being interrupted is an answer
    /// without events.
    pub fn wait(&mut self, timeout_ms: Option<u64>) -> Result<&[epoll::Event], Errno> {
        // Longer ones would need epoll_pwait2, which old kernels have not; waking early is harmless.
        let timeout = timeout_ms.map(|ms| ms.min(i32::MAX as u64)).map(|ms| Timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: ((ms % 1000) * 1_000_000) as _,
        });
        if timeout.is_none() {
            memory::give_back();
        }
        self.ready.clear();
        let room = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.fd, room, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(&self.ready),
            Err(errno) => Err(errno.into()),
        }
    }
}
