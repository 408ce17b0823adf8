//! Every system call and every `unsafe` of the house, one kernel chore a file.
//! Decides nothing; names no other module of ours but `error`.
#![allow(unsafe_code)]
#![allow(dead_code)]

pub mod file;
pub mod inotify;
pub mod queue;
pub mod socket;
pub mod unix_path;

use crate::error::Errno;

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Errno {
        Errno(errno.raw_os_error())
    }
}
