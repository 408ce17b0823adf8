//! Every system call and every `unsafe` of the house, one kernel chore a file.
//! Decides nothing; names no other module of ours but `error`.
#![allow(unsafe_code)]

pub mod bpf;
pub mod caught;
#[cfg(feature = "check")]
pub mod client;
pub mod clock;
#[cfg(feature = "starter")]
pub mod daemon;
pub mod environment;
pub mod epoll;
pub mod event;
pub mod exec;
pub mod fd;
pub mod file;
#[cfg(test)]
mod heap;
pub mod inotify;
pub mod memory;
pub mod notify;
pub mod notify_send;
pub mod process;
pub mod queue;
pub mod record;
pub mod settings;
pub mod signal;
mod signal_pipe;
pub mod socket;
pub mod spawn;
pub mod stderr;
pub mod stream;
#[cfg(feature = "init")]
pub mod terminal;
pub mod unix_path;
pub mod wait;

use crate::error::{Errno, Error};
use alloc::ffi::CString;

/// The first thing a process of ours does: from here on no signal is lost, none inherited is ignored,
/// and nothing of ours lands on 0 to 2. Returns what signals were to it.
pub fn start() -> Result<signal::Manners, Error> {
    let found = signal::take_over();
    fd::reserve_standard()
        .map_err(|errno| Error::system("reserve", "the descriptors 0 to 2", errno))?;
    Ok(found)
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Errno {
        Errno(errno.raw_os_error())
    }
}

/// For programs whose own errors are std's.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        let code = error.errno().map(|errno| std::io::Error::from_raw_os_error(errno.0));
        let kind = code.map_or(std::io::ErrorKind::Other, |code| code.kind());
        std::io::Error::new(kind, error)
    }
}

// fork(2) without what the C library does for threads: handlers, and locks that are not held. Rust's musl has
// it, not every other C library.
#[cfg(not(target_env = "musl"))]
use libc::fork as bare_fork;
#[cfg(target_env = "musl")]
unsafe extern "C" {
    #[link_name = "_Fork"]
    fn bare_fork() -> libc::pid_t;
}

/// A path for the kernel. rustix takes any bytes, but makes each of its calls anew for what is no C string yet.
fn c_path(path: &[u8]) -> Result<CString, rustix::io::Errno> {
    CString::new(path).map_err(|_| rustix::io::Errno::INVAL)
}

/// The result of a libc call that answers -1 and sets errno.
fn checked(result: i32) -> Result<i32, Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    // SAFETY: the location of errno is always valid for this thread.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else writes to this thread's errno.
    Errno(unsafe { *location })
}
