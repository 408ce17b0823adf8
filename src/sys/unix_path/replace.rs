//! Replaces a stale socket so that its name is never missing: bind elsewhere, listen, rename over.
//!
//! getsockname(2) should still tell the public name, because nginx, puma, unicorn and php-fpm look
//! for inherited sockets by it. So the bind happens in a child that has chroot(2)ed into a scratch
//! folder next to the path: there the public name is free. The socket is shared with the child, so
//! it is ours that gets bound. Where chroot(2) is not permitted, or the path is relative, the
//! socket is bound to a hidden name, and keeps it.

use super::{Access, BoundPath, Trouble, settle, split, with_mode};
use crate::error::Errno;
use crate::sys::last_errno;
use crate::sys::socket::{self, Name};
use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use rustix::fs::{Mode, mkdir, rename, rmdir, unlink};
use rustix::net::SocketAddrAny;
use rustix::process::{Pid, WaitOptions, WaitStatus, chroot, getpid, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::os::fd::BorrowedFd;

/// How many leftovers of a killed fd3 with our PID are passed over.
const SCRATCH_MAX: u32 = 100;

pub(super) fn replace(
    fd: BorrowedFd<'_>,
    path: &[u8],
    access: &Access,
    backlog: Option<i32>,
) -> Result<BoundPath, Trouble> {
    if let Some(scratch) = Scratch::new(path) {
        let at = [&scratch.root[..], path].concat();
        let done = with_mode(fd, access, || bind_inside(fd, &scratch.root, path));
        // Bound counts, however the child ended.
        if done.is_ok() || socket::name(fd) == Ok(Name::Path(path.to_vec())) {
            return move_in(fd, &at, path, access, backlog);
        }
    }
    for n in 0..SCRATCH_MAX {
        let at = hidden(path, n);
        let name = Name::Path(at.clone());
        match with_mode(fd, access, || socket::bind(fd, &name)) {
            Ok(()) => {
                let bound = move_in(fd, &at, path, access, backlog)?;
                return Ok(BoundPath { public: false, ..bound });
            }
            Err(Errno(libc::EADDRINUSE)) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno(libc::EADDRINUSE).into())
}

fn move_in(
    fd: BorrowedFd<'_>,
    at: &[u8],
    path: &[u8],
    access: &Access,
    backlog: Option<i32>,
) -> Result<BoundPath, Trouble> {
    let mut bound = settle(fd, at, path, access, backlog)?;
    if let Err(errno) = rename(at, path) {
        let _ = unlink(at);
        // The path itself is not ours yet, so this takes away no more than the guard.
        bound.remove();
        return Err(errno.into());
    }
    Ok(bound)
}

fn hidden(path: &[u8], n: u32) -> Vec<u8> {
    let (dir, _) = split(path);
    [dir, format!(".fd3-{}-{n}", getpid().as_raw_nonzero()).as_bytes()].concat()
}

/// A folder next to the path, on the same file system, with the folders of the path inside.
struct Scratch {
    root: Vec<u8>,
    inner: Vec<Vec<u8>>,
}

impl Scratch {
    fn new(path: &[u8]) -> Option<Scratch> {
        // `..` would lead the rename out of the scratch folder.
        if !path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return None;
        }
        let mode = Mode::RWXU;
        let mut candidates = (0..SCRATCH_MAX).map(|n| hidden(path, n));
        let root = candidates.find_map(|root| match mkdir(&root, mode) {
            Err(rustix::io::Errno::EXIST) => None,
            made => Some(made.map(|()| root)),
        })?;
        let mut scratch = Scratch { root: root.ok()?, inner: Vec::new() };
        for slash in (1..path.len()).filter(|at| path[*at] == b'/') {
            let inner = [&scratch.root[..], &path[..slash]].concat();
            match mkdir(&inner, mode) {
                Ok(()) => scratch.inner.push(inner),
                Err(rustix::io::Errno::EXIST) => {}
                Err(_) => return None,
            }
        }
        Some(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for inner in self.inner.iter().rev() {
            let _ = rmdir(inner);
        }
        let _ = rmdir(&self.root);
    }
}

/// Exit statuses of the child are error numbers; 0 is success.
fn bind_inside(fd: BorrowedFd<'_>, root: &[u8], path: &[u8]) -> Result<(), Errno> {
    let address = socket::encode(&Name::Path(path.to_vec()))?;
    let root = CString::new(root).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: the child runs `child` alone, which makes system calls and nothing else.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => child(fd, &root, &address),
        pid => wait(pid),
    }
}

/// Between fork and exit: no allocation, no lock, no panic.
fn child(fd: BorrowedFd<'_>, root: &CStr, address: &SocketAddrAny) -> ! {
    let mut done = chroot(root);
    if done.is_err() {
        // SAFETY: this process has one thread and is about to exit.
        let _ = unsafe { unshare_unsafe(UnshareFlags::NEWUSER) };
        done = chroot(root);
    }
    let done = done.and_then(|()| rustix::net::bind(fd, address));
    let status = done.map_or_else(|errno| errno.raw_os_error(), |()| 0);
    // SAFETY: _exit(2) takes any number.
    unsafe { libc::_exit(status) }
}

fn wait(pid: i32) -> Result<(), Errno> {
    loop {
        match waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(answer) => {
                let status = answer.and_then(|(_, status): (Pid, WaitStatus)| status.exit_status());
                return match status {
                    Some(0) => Ok(()),
                    Some(errno) => Err(Errno(errno)),
                    None => Err(Errno(libc::EINTR)),
                };
            }
        }
    }
}
