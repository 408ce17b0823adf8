//! Wakes us when somebody touches a path's inode: an unlink changes its link count.
//! A comfort, not a need: kernels without inotify, or a user out of watches, get none.

use alloc::vec::Vec;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Room for many events; each is 16 bytes when no name comes with it.
const BUFFER: usize = 1024;

#[derive(Debug)]
pub struct Inotify(OwnedFd);

impl Inotify {
    pub fn new() -> Option<Inotify> {
        init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok().map(Inotify)
    }

    /// Watches the inode that `path` names now, not the name. Gives the watch descriptor.
    pub fn watch(&self, path: &CStr) -> Option<i32> {
        let flags = WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::DONT_FOLLOW;
        add_watch(&self.0, path, flags).ok()
    }

    /// Takes all events that wait, and tells whose watches they were.
    pub fn drain(&self) -> Vec<i32> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => seen.push(event.wd()),
                Err(rustix::io::Errno::INTR) => {}
                // EAGAIN is the end; whatever else it is, there is nothing to be had.
                Err(_) => return seen,
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
