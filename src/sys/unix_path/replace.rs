//! Replaces a stale socket so that its name is never missing: bind elsewhere, listen, rename over.
//!
//! getsockname(2) should still tell the public name, because nginx, puma, unicorn and php-fpm look
//! for inherited sockets by it. So the bind happens in a child that has chroot(2)ed into a scratch
//! folder next to the path: there the public name is free. The socket is shared with the child, so
//! it is ours that gets bound. Where chroot(2) is not permitted, or the path is relative, the
//! socket is bound to a hidden name in that folder, and keeps it.
//!
//! Others may be able to write next to the path. The scratch folder's name cannot be foreseen, nobody
//! else may enter it, and once it is open nothing goes by its name.

use super::{Access, BoundPath, Trouble, remove, settle, split, with_mode};
use crate::error::Errno;
use crate::sys::socket::{self, Name};
use crate::sys::{bare_fork, c_path, last_errno, process};
use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, mkdirat, open, renameat};
use rustix::net::SocketAddrAny;
use rustix::process::{Pid, WaitOptions, WaitStatus, chroot, fchdir, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How many names that are taken are passed over.
const SCRATCH_MAX: u32 = 100;

/// What the socket is called in the scratch folder where it cannot have its public name.
const HIDDEN: &CStr = c".fd3";

#[inline(never)]
pub(super) fn replace(
    fd: BorrowedFd<'_>,
    path: &CStr,
    access: &Access,
    backlog: Option<i32>,
) -> Result<BoundPath, Trouble> {
    let scratch = Scratch::new(path)?;
    let done = with_mode(access, || bind_inside(fd, &scratch, path));
    // Bound counts, however the child ended.
    let (at, public) = match (done, socket::name(fd)) {
        (_, Ok(Name::Path(name))) if scratch.has_room && name == path.to_bytes() => {
            (&path[1..], true)
        }
        (_, Ok(Name::Path(_))) => (HIDDEN, false),
        (Err(errno), _) | (_, Err(errno)) => return Err(errno.into()),
        (Ok(()), Ok(_)) => return Err(Errno(libc::EADDRINUSE).into()),
    };
    let root = scratch.root.as_fd();
    let done = settle(fd, root, at, path, access, backlog).and_then(|mut bound| {
        match renameat(root, at, CWD, path) {
            Ok(()) => Ok(BoundPath { public, ..bound }),
            Err(errno) => {
                // The path itself is not ours yet, so this takes away no more than the guard.
                bound.remove();
                Err(errno.into())
            }
        }
    });
    if done.is_err() {
        remove(root, at, AtFlags::empty());
    }
    done
}

/// A folder next to the path, on the same file system.
struct Scratch {
    name: CString,
    root: OwnedFd,
    /// The folders of the path, inside.
    inner: Vec<CString>,
    /// Whether all of them are there.
    has_room: bool,
}

impl Scratch {
    #[inline(never)]
    fn new(path: &CStr) -> Result<Scratch, Errno> {
        let (dir, _) = split(path);
        let (mut name, mut made) = (CString::default(), Err(rustix::io::Errno::EXIST));
        for _ in 0..SCRATCH_MAX {
            name = c_path(&[dir, format!(".fd3-{}", process::seed()).as_bytes()].concat())?;
            made = mkdirat(CWD, &*name, Mode::RWXU);
            if made != Err(rustix::io::Errno::EXIST) {
                break;
            }
        }
        made?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = open(&*name, flags, Mode::empty());
        let root = root.inspect_err(|_| {
            remove(CWD, &name, AtFlags::REMOVEDIR);
        })?;
        let mut scratch = Scratch { name, root, inner: Vec::new(), has_room: false };
        if fstat(&scratch.root)?.st_uid != process::own_user() {
            return Err(Errno(libc::EPERM));
        }
        scratch.has_room = scratch.make_room(path);
        Ok(scratch)
    }

    #[inline(never)]
    fn make_room(&mut self, path: &CStr) -> bool {
        let path = path.to_bytes();
        // `..` would lead the rename out of the scratch folder.
        if !path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return false;
        }
        for slash in (1..path.len()).filter(|at| path[*at] == b'/') {
            let Ok(inner) = c_path(&path[1..slash]) else { return false };
            match mkdirat(&self.root, &*inner, Mode::RWXU) {
                Ok(()) => self.inner.push(inner),
                Err(rustix::io::Errno::EXIST) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for inner in self.inner.iter().rev() {
            remove(self.root.as_fd(), inner, AtFlags::REMOVEDIR);
        }
        remove(CWD, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Exit statuses of the child are error numbers; 0 is success.
fn bind_inside(fd: BorrowedFd<'_>, scratch: &Scratch, path: &CStr) -> Result<(), Errno> {
    let hidden = socket::encode(&Name::Path(HIDDEN.to_bytes().to_vec()))?;
    let public = socket::encode(&Name::Path(path.to_bytes().to_vec()))?;
    let public = if scratch.has_room { Some(&public) } else { None };
    // SAFETY: the child runs `child` alone, which makes system calls and nothing else.
    match unsafe { bare_fork() } {
        -1 => Err(last_errno()),
        0 => child(fd, &scratch.root, public, &hidden),
        pid => wait(pid),
    }
}

/// Between fork and exit: no allocation, no lock, no panic. A folder of its own, so that a long path is
/// no obstacle to the hidden name.
fn child(
    fd: BorrowedFd<'_>,
    root: &OwnedFd,
    public: Option<&SocketAddrAny>,
    hidden: &SocketAddrAny,
) -> ! {
    let done = fchdir(root).and_then(|()| match public {
        Some(public) if may_chroot() && rustix::net::bind(fd, public).is_ok() => Ok(()),
        Some(_) | None => rustix::net::bind(fd, hidden),
    });
    let status = done.map_or_else(|errno| errno.raw_os_error(), |()| 0);
    // SAFETY: _exit(2) takes any number.
    unsafe { libc::_exit(status) }
}

/// Makes the current folder the root, as a user of a namespace of its own if need be.
fn may_chroot() -> bool {
    if chroot(c".").is_ok() {
        return true;
    }
    // SAFETY: this process has one thread and is about to exit.
    let _ = unsafe { unshare_unsafe(UnshareFlags::NEWUSER) };
    chroot(c".").is_ok()
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
