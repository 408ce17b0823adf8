//! Waiting, level-triggered, with a deadline.

use core::mem::MaybeUninit;

use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};

use super::checked;
use super::signal::{SET_BYTES, WORDS};
use crate::error::Errno;

/// What has happened.
pub use rustix::event::epoll::Event;
/// What is waited for.
pub use rustix::event::epoll::EventFlags as Interest;

/// Events taken from the kernel at once.
const BATCH: usize = 64;

pub struct Epoll {
    fd: OwnedFd,
    ready: Vec<epoll::Event>,
    /// Where signals come by handlers: what stays blocked while it waits.
    blocked: Option<[u64; WORDS]>,
}

impl Epoll {
    pub fn new() -> Result<Epoll, Errno> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Epoll { fd, ready: Vec::with_capacity(BATCH), blocked: None })
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
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

    /// What one of the ready ones is about, without waiting: each in its turn, however often one is.
    pub fn next(&self) -> Option<u64> {
        let mut room = [MaybeUninit::uninit()];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (ready, _) = epoll::wait(&self.fd, &mut room, Some(&at_once)).ok()?;
        ready.first().map(|event| event.data.u64())
    }

    /// Signals other than these may run their handlers while it waits.
    pub(super) fn let_in(&mut self, blocked: [u64; WORDS]) {
        self.blocked = Some(blocked);
    }

    /// Waits for events, for at most `timeout_ms`; `None` is for ever. Being interrupted is an answer
    /// without events.
    pub fn wait(&mut self, timeout_ms: Option<u64>) -> Result<&[epoll::Event], Errno> {
        // Longer ones would need epoll_pwait2, which old kernels have not; waking early is harmless.
        let timeout = timeout_ms.map(|ms| ms.min(i32::MAX as u64)).map(|ms| Timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: ((ms % 1000) * 1_000_000) as _,
        });
        self.ready.clear();
        let room = rustix::buffer::spare_capacity(&mut self.ready);
        let waited = match &self.blocked {
            Some(blocked) if cfg!(feature = "init") => {
                return self.wait_for_handlers(timeout_ms, *blocked);
            }
            Some(_) | None => epoll::wait(&self.fd, room, timeout.as_ref()).map(drop),
        };
        match waited {
            Ok(()) | Err(rustix::io::Errno::INTR) => Ok(&self.ready),
            Err(errno) => Err(errno.into()),
        }
    }

    #[inline(never)]
    fn wait_for_handlers(
        &mut self,
        timeout_ms: Option<u64>,
        blocked: [u64; WORDS],
    ) -> Result<&[epoll::Event], Errno> {
        let timeout = timeout_ms.map_or(-1, |ms| ms.min(i32::MAX as u64) as i32);
        let mut ready = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // SAFETY: the kernel writes at most BATCH events to ready, and reads SET_BYTES from blocked.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                self.fd.as_raw_fd(),
                ready.as_mut_ptr(),
                BATCH,
                timeout,
                blocked.as_ptr(),
                SET_BYTES,
            )
        };
        match checked(count as i32) {
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
            Ok(count) => {
                for event in ready.iter().take(count as usize) {
                    self.ready.push(epoll::Event {
                        flags: Interest::from_bits_retain(event.events),
                        data: epoll::EventData::new_u64(event.u64),
                    });
                }
            }
        }
        Ok(&self.ready)
    }
}
