//! Facts that threads and reactors wait for: an eventfd(2) that is readable while they hold. And waiting for
//! whichever of several descriptors comes first.

use core::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::clock::monotonic_ms;
use crate::error::Errno;

/// Something that is so, or is not.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// It is not so.
    pub fn new() -> Result<Event, Errno> {
        Ok(Event(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// The same one, by another descriptor.
    pub fn try_clone(&self) -> Result<Event, Errno> {
        Ok(Event(rustix::io::fcntl_dupfd_cloexec(&self.0, 0)?))
    }

    /// It can fail only where it is set already, more often than anybody counts.
    pub fn set(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// It can fail only where it is not set.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub fn is_set(&self) -> bool {
        wait_any([self.0.as_fd()], Some(Duration::ZERO)).is_ok_and(|[set]| set)
    }
}

/// For who tells others.
impl From<Event> for OwnedFd {
    fn from(event: Event) -> OwnedFd {
        event.0
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of these have something to read, or are at their end, as soon as one has; none once the time has
/// passed. `None` is for ever.
pub fn wait_any<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    limit: Option<Duration>,
) -> Result<[bool; N], Errno> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let ms = |limit: Duration| u64::try_from(limit.as_nanos().div_ceil(1_000_000));
    let deadline = limit.map(|limit| monotonic_ms().saturating_add(ms(limit).unwrap_or(u64::MAX)));
    loop {
        // Longer than a month is as good as for ever, and old kernels count in 31 bits.
        let left = deadline.map(|at| at.saturating_sub(monotonic_ms()).min(i32::MAX as u64));
        let time = left
            .map(|ms| Timespec { tv_sec: (ms / 1000) as _, tv_nsec: (ms % 1000 * 1_000_000) as _ });
        match poll(&mut polled, time.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) if left.is_some_and(|ms| ms > 0) => {}
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_set_until_it_is_cleared() {
        let event = Event::new().expect("there are descriptors");
        let same = event.try_clone().expect("there are descriptors");
        assert!(!event.is_set());
        event.set();
        event.set();
        assert!(event.is_set() && same.is_set());
        let other = Event::new().expect("there are descriptors");
        assert_eq!(wait_any([other.as_fd(), same.as_fd()], None), Ok([false, true]));
        same.clear();
        assert!(!event.is_set());
        let short = Some(Duration::from_micros(1));
        assert_eq!(wait_any([other.as_fd(), same.as_fd()], short), Ok([false, false]));
    }
}
