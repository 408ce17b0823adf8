//! Connections to any server, each step within a deadline.

use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno as Code;
use rustix::net::sockopt::{self, Timeout, set_socket_timeout};

use super::clock::monotonic_ms;
use super::socket::{self, Kind, Name};
use crate::error::Errno;

/// Not blocking. ETIMEDOUT at the deadline, which is a time of the monotonic clock's.
pub fn connect(name: &Name, deadline: u64) -> Result<OwnedFd, Errno> {
    let fd = socket::open(name, Kind::Stream)?;
    let address = socket::encode(name)?;
    let is_inet = matches!(name, Name::V4(_) | Name::V6(_));
    if is_inet {
        socket::set_nonblocking(fd.as_fd())?;
    }
    loop {
        if !is_inet {
            // A full queue can be waited for in the call alone. No time at all would be no limit.
            let left = Duration::from_millis(left(deadline).max(1));
            set_socket_timeout(&fd, Timeout::Send, Some(left))?;
        }
        match rustix::net::connect(&fd, &address) {
            Ok(()) => break,
            Err(Code::INPROGRESS) => {
                wait(&fd, PollFlags::OUT, deadline)?;
                sockopt::socket_error(&fd)??;
                break;
            }
            Err(Code::INTR) => {}
            Err(Code::AGAIN) if !is_inet => return Err(Errno(libc::ETIMEDOUT)),
            Err(errno) => return Err(errno.into()),
        }
    }
    socket::set_nonblocking(fd.as_fd())?;
    Ok(fd)
}

/// Some bytes; 0 at the end. ETIMEDOUT at the deadline.
pub fn receive(fd: &OwnedFd, room: &mut [u8], deadline: u64) -> Result<usize, Errno> {
    loop {
        match rustix::io::read(fd, &mut *room) {
            Err(Code::INTR) => {}
            Err(Code::AGAIN) => wait(fd, PollFlags::IN, deadline)?,
            done => return Ok(done?),
        }
    }
}

/// What is there by then is there, however late we come to look.
fn wait(fd: &OwnedFd, what: PollFlags, deadline: u64) -> Result<(), Errno> {
    loop {
        let left = left(deadline);
        let time =
            Timespec { tv_sec: (left / 1_000) as _, tv_nsec: (left % 1_000 * 1_000_000) as _ };
        match poll(&mut [PollFd::new(fd, what)], Some(&time)) {
            Ok(0) if left == 0 => return Err(Errno(libc::ETIMEDOUT)),
            Ok(0) | Err(Code::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn left(deadline: u64) -> u64 {
    deadline.saturating_sub(monotonic_ms())
}
