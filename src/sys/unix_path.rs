//! Unix sockets that live at a path: bound without taking anything that is alive, guarded against
//! whoever unlinks the path, and removed only while still ours.
//!
//! The guard is a second hard link to the socket's inode, `DIR/.NAME.fd3`. A worker that unlinks
//! the path ends no more than the name; rename(2) of the guard brings it back in one step. It is
//! made before chown(2), because afterwards fs.protected_hardlinks may forbid it.

mod replace;
#[cfg(test)]
pub mod tests;

use super::c_path;
use super::socket::{self, Answer, Kind, Name};
use crate::error::Errno;
use alloc::ffi::CString;
use alloc::format;
use core::ffi::CStr;
use rustix::event::{Timespec, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, chmod, chownat, flock,
    fstat, linkat, lstat, open, openat, rename, unlinkat,
};
use rustix::process::umask;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// How often a path may vanish between bind(2)'s refusal and our look at it.
const ATTEMPTS: usize = 8;

/// How long somebody else's replacement of a stale socket is waited for: a second in all.
const LOCK_ATTEMPTS: usize = 100;
const LOCK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Why a path cannot be bound or brought back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    Errno(Errno),
    /// Something else lives there; it is left alone.
    NotSocket,
    /// The hard link that would bring the path back is gone too.
    NoGuard,
}

/// Who may connect.
#[derive(Clone, Copy, Default, Debug)]
pub struct Access {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// A path that a socket of ours is bound to. Dropping it removes nothing: the path outlives an
/// upgrade. Every field is public for the same reason: the successor gets them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundPath {
    pub path: CString,
    pub guard: Option<CString>,
    pub dev: u64,
    pub ino: u64,
    /// Whether getsockname(2) tells `path`, not a hidden name that was renamed to it. Programs that
    /// look for their inherited sockets by path find it only if so.
    pub public: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Intact,
    Missing,
    Replaced,
}

/// Binds `fd` to `path` and, given a backlog, listens. A stale socket at the path is replaced
/// without a moment in which the name is missing or refuses.
#[inline(never)]
pub fn bind(
    fd: BorrowedFd<'_>,
    kind: Kind,
    path: &[u8],
    access: &Access,
    backlog: Option<i32>,
) -> Result<BoundPath, Trouble> {
    let name = Name::Path(path.to_vec());
    let path = &*c_path(path)?;
    let mut lock = None;
    for _ in 0..ATTEMPTS {
        match with_mode(access, || socket::bind(fd, &name)) {
            Ok(()) => return settle(fd, CWD, path, path, access, backlog),
            Err(Errno(libc::EADDRINUSE)) => {}
            Err(errno) => return Err(errno.into()),
        }
        if lock.is_none() {
            lock = Some(lock_folder(path));
        }
        match lstat(path) {
            Ok(stat) if !is_socket(&stat) => return Err(Trouble::NotSocket),
            Ok(_) => {}
            Err(rustix::io::Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match socket::probe(&name, kind) {
            Ok(Answer::Refused) => return replace::replace(fd, path, access, backlog),
            Ok(Answer::Alive) => return Err(Errno(libc::EADDRINUSE).into()),
            Err(Errno(libc::ENOENT)) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno(libc::EADDRINUSE).into())
}

/// So that of two that find the same stale socket only one replaces it, and the other one finds it alive.
/// Whoever has the lock needs it for some system calls; it may also be somebody who has nothing to do
/// with us and never lets go, so that the wait for it is bounded, and none is no reason to give up.
fn lock_folder(path: &CStr) -> Option<OwnedFd> {
    let (folder, _) = split(path);
    let folder = if folder.is_empty() { b"." } else { folder };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(&*c_path(folder).ok()?, flags, Mode::empty()).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::AGAIN) => {
                // Nothing tells when a lock is free.
                let _ = poll(&mut [], Some(&LOCK_PAUSE));
            }
            Ok(()) => return Some(folder),
            Err(_) => return None,
        }
    }
    None
}

/// Makes a bind(2) create the inode with exactly the mode asked for, so that it is never more open
/// than that, nor has to be opened by name: a socket's own mode is 0777, from which Linux takes the umask.
fn with_mode<T>(access: &Access, bind: impl FnOnce() -> T) -> T {
    let Some(mode) = access.mode.map(Mode::from_raw_mode) else {
        return bind();
    };
    let before = umask(!mode & Mode::from_raw_mode(0o777));
    let done = bind();
    umask(before);
    done
}

/// What comes after bind(2): guard, owner, listen. The socket is at `at` in `dir`, which is `path` or will
/// be renamed to it. On an error nothing is left at `path`.
fn settle(
    fd: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    at: &CStr,
    path: &CStr,
    access: &Access,
    backlog: Option<i32>,
) -> Result<BoundPath, Trouble> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inode = openat(dir, at, flags, Mode::empty());
    let (inode, stat) = match inode.and_then(|inode| Ok((fstat(&inode)?, inode))) {
        Ok((stat, inode)) => (inode, stat),
        Err(errno) => {
            remove(dir, at, AtFlags::empty());
            return Err(errno.into());
        }
    };
    // Whoever may write to the folder may have put there what is not his, for us to give away.
    if !is_socket(&stat) || stat.st_nlink > 1 {
        return Err(Errno(libc::EADDRINUSE).into());
    }
    let (dev, ino) = identity(&stat);
    let guard = link_guard(dir, at, path);
    let mut bound = BoundPath { path: path.to_owned(), guard, dev, ino, public: true };
    // Owner before listen(2): nobody gets in by the rights of our own group in between.
    let done = give(&inode, &stat, access).and_then(|()| match backlog {
        Some(backlog) => socket::listen(fd, backlog),
        None => Ok(()),
    });
    if let Err(errno) = done {
        bound.remove();
        return Err(errno.into());
    }
    Ok(bound)
}

/// By descriptor, not by name, which others may have changed meanwhile.
fn give(inode: &OwnedFd, stat: &Stat, access: &Access) -> Result<(), Errno> {
    let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
    if uid.is_some() || gid.is_some() {
        chownat(inode, c"", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    match access.mode.map(Mode::from_raw_mode) {
        // Only on file systems that do not go by the umask. Before fchmodat2(2) there is no other way.
        Some(mode) if Mode::from_raw_mode(stat.st_mode) != mode => {
            let path = format!("/proc/self/fd/{}", inode.as_raw_fd());
            Ok(chmod(&*c_path(path.as_bytes())?, mode)?)
        }
        Some(_) | None => Ok(()),
    }
}

/// The guard of `path` for the socket at `at` in `dir`, or none where the file system or its rules forbid
/// hard links.
fn link_guard(dir: BorrowedFd<'_>, at: &CStr, path: &CStr) -> Option<CString> {
    let (folder, name) = split(path);
    let guard = c_path(&[folder, b".", name, b".fd3"].concat()).ok()?;
    for _ in 0..2 {
        match linkat(dir, at, CWD, &*guard, AtFlags::empty()) {
            Ok(()) => return Some(guard),
            Err(rustix::io::Errno::EXIST) => {}
            Err(_) => return None,
        }
        // Left by a killed fd3, unless somebody answers there.
        let stale = lstat(&*guard).is_ok_and(|stat| is_socket(&stat))
            && socket::probe(&Name::Path(guard.to_bytes().to_vec()), Kind::Stream)
                == Ok(Answer::Refused);
        if !stale || !remove(CWD, &guard, AtFlags::empty()) {
            return None;
        }
    }
    None
}

/// Whether it is gone.
fn remove(dir: BorrowedFd<'_>, at: &CStr, flags: AtFlags) -> bool {
    unlinkat(dir, at, flags).is_ok()
}

/// The folder with its slash, or nothing, and the last name.
fn split(path: &CStr) -> (&[u8], &[u8]) {
    let path = path.to_bytes();
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    path.split_at(start)
}

fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}

// Not the same width everywhere.
#[allow(clippy::unnecessary_cast)]
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

impl BoundPath {
    /// Whether the path still names our socket.
    pub fn state(&self) -> State {
        match lstat(&*self.path) {
            Ok(stat) if identity(&stat) == (self.dev, self.ino) => State::Intact,
            Ok(_) => State::Replaced,
            Err(_) => State::Missing,
        }
    }

    /// Puts our socket back at its path, in one step, over another socket if need be.
    pub fn restore(&mut self) -> Result<(), Trouble> {
        match lstat(&*self.path) {
            Ok(stat) if identity(&stat) == (self.dev, self.ino) => return Ok(()),
            Ok(stat) if !is_socket(&stat) => return Err(Trouble::NotSocket),
            Ok(_) | Err(_) => {}
        }
        match &self.guard {
            Some(guard) if self.is_ours(guard) => {
                // By way of a third name, so that there is a guard at every moment.
                let third = c_path(&[guard.to_bytes(), b"+"].concat())?;
                if linkat(CWD, &**guard, CWD, &*third, AtFlags::empty()).is_ok() {
                    return rename(&*third, &*self.path).map_err(|errno| {
                        remove(CWD, &third, AtFlags::empty());
                        errno.into()
                    });
                }
                rename(&**guard, &*self.path)?;
            }
            Some(_) | None => return Err(Trouble::NoGuard),
        }
        self.guard = link_guard(CWD, &self.path, &self.path);
        Ok(())
    }

    /// Removes the path, if it is still ours, and the guard.
    pub fn remove(&mut self) {
        if self.is_ours(&self.path) {
            remove(CWD, &self.path, AtFlags::empty());
        }
        if let Some(guard) = self.guard.take()
            && self.is_ours(&guard)
        {
            remove(CWD, &guard, AtFlags::empty());
        }
    }

    fn is_ours(&self, path: &CStr) -> bool {
        lstat(path).is_ok_and(|stat| identity(&stat) == (self.dev, self.ino))
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Trouble {
        Trouble::Errno(errno)
    }
}

impl From<rustix::io::Errno> for Trouble {
    fn from(errno: rustix::io::Errno) -> Trouble {
        Trouble::Errno(errno.into())
    }
}
