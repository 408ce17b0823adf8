//! Writes to stderr and stdout without ever blocking, and without touching the flags of a description that is
//! shared with the workers and with who started us.

use core::cell::Cell;
use std::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno as Code, IoSlice, ReadWriteFlags};
use rustix::net::SendFlags;
use rustix::stdio::{stderr, stdout};

use crate::error::Errno;

/// One of the two, and how it is written to.
#[derive(Debug)]
pub struct Sink {
    fd: BorrowedFd<'static>,
    way: Way,
    /// It took a part of something: until it has the rest, nothing else gets in between.
    torn: Cell<bool>,
}

#[derive(Debug)]
enum Way {
    /// A description of our own, not blocking.
    Own(OwnedFd),
    /// A file never keeps its writer waiting for a reader.
    Plain,
    Socket,
    /// Ask for each write not to block; where the kernel does not know how, ask first if there is room.
    Shared,
}

impl Sink {
    pub fn stderr() -> Sink {
        Sink::to(stderr(), c"/proc/self/fd/2")
    }

    pub fn stdout() -> Sink {
        Sink::to(stdout(), c"/proc/self/fd/1")
    }

    fn to(fd: BorrowedFd<'static>, path: &CStr) -> Sink {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = match kind {
            Ok(FileType::RegularFile) => Way::Plain,
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                reopen(path).map_or(Way::Shared, Way::Own)
            }
            _ => Way::Shared,
        };
        Sink { fd, way, torn: Cell::new(false) }
    }

    /// The number of what it opened for itself.
    #[cfg(feature = "init")]
    pub fn descriptor(&self) -> Option<i32> {
        match &self.way {
            Way::Own(fd) => Some(super::fd::number(fd)),
            Way::Plain | Way::Socket | Way::Shared => None,
        }
    }

    /// Writes one line, which a pipe takes whole if it has at most PIPE_BUF bytes; `false` if it was
    /// lost: nobody reads, or nobody can.
    pub fn write(&self, line: &[u8]) -> bool {
        !self.is_torn() && self.put(line).is_ok()
    }

    /// Writes as much as there is room for: how much. EAGAIN: none; whoever watches it learns when there is.
    pub fn offer(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let taken = self.put(bytes);
        self.torn.set(match taken {
            Ok(count) => count < bytes.len(),
            Err(Code::AGAIN | Code::INTR) => self.torn.get(),
            // The rest will not follow.
            Err(_) => false,
        });
        Ok(taken?)
    }

    /// Waits until it takes something, for so long at the most; `false` if it does not.
    pub fn wait_for_room(&self, limit_ms: u64) -> bool {
        has_room(self.as_fd(), limit_ms)
    }

    fn is_torn(&self) -> bool {
        cfg!(feature = "worker-logs") && self.torn.get()
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Code> {
        match &self.way {
            Way::Own(fd) => rustix::io::write(fd, bytes),
            Way::Plain => rustix::io::write(self.fd, bytes),
            Way::Socket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(self.fd, bytes, flags)
            }
            Way::Shared => write_shared(self.fd, bytes),
        }
    }
}

/// To be watched for room.
impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(fd) => fd.as_fd(),
            Way::Plain | Way::Socket | Way::Shared => self.fd,
        }
    }
}

fn reopen(path: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

fn write_shared(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Code> {
    let parts = [IoSlice::new(bytes)];
    // The offset -1 means "where the file is"; it is u64::MAX in this interface.
    match rustix::io::pwritev2(fd, &parts, u64::MAX, ReadWriteFlags::NOWAIT) {
        // Not for this kind of file (EOPNOTSUPP), or before Linux 4.14, or forbidden.
        Err(Code::OPNOTSUPP | Code::NOSYS | Code::INVAL | Code::PERM) => {
            if has_room(fd, 0) {
                rustix::io::write(fd, bytes)
            } else {
                Err(Code::AGAIN)
            }
        }
        answer => answer,
    }
}

fn has_room(fd: BorrowedFd<'_>, limit_ms: u64) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let (tv_sec, tv_nsec) = ((limit_ms / 1000) as _, (limit_ms % 1000 * 1_000_000) as _);
    poll(&mut asked, Some(&Timespec { tv_sec, tv_nsec })).is_ok_and(|ready| ready > 0)
        && asked.iter().all(|fd| fd.revents().contains(PollFlags::OUT))
}
