//! Writes to stderr without ever blocking, and without touching the flags of a description that is
//! shared with the workers and with who started us.

use std::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno as Code, IoSlice, ReadWriteFlags};
use rustix::net::SendFlags;
use rustix::stdio::stderr;

/// How stderr is written to.
#[derive(Debug)]
pub struct Stderr {
    way: Way,
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

impl Stderr {
    pub fn new() -> Stderr {
        let kind = rustix::fs::fstat(stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = match kind {
            Ok(FileType::RegularFile) => Way::Plain,
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                reopen(c"/proc/self/fd/2").map_or(Way::Shared, Way::Own)
            }
            _ => Way::Shared,
        };
        Stderr { way }
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
        let written = match &self.way {
            Way::Own(fd) => rustix::io::write(fd, line),
            Way::Plain => rustix::io::write(stderr(), line),
            Way::Socket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(stderr(), line, flags)
            }
            Way::Shared => write_shared(line),
        };
        written.is_ok()
    }
}

fn reopen(path: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

fn write_shared(line: &[u8]) -> Result<usize, Code> {
    let parts = [IoSlice::new(line)];
    // The offset -1 means "where the file is"; it is u64::MAX in this interface.
    match rustix::io::pwritev2(stderr(), &parts, u64::MAX, ReadWriteFlags::NOWAIT) {
        // Not for this kind of file (EOPNOTSUPP), or before Linux 4.14, or forbidden.
        Err(Code::OPNOTSUPP | Code::NOSYS | Code::INVAL | Code::PERM) => {
            if has_room(stderr()) {
                rustix::io::write(stderr(), line)
            } else {
                Err(Code::AGAIN)
            }
        }
        answer => answer,
    }
}

fn has_room(fd: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
        && asked.iter().all(|fd| fd.revents().contains(PollFlags::OUT))
}
