//! Files that tell others of this process: a PID file that stays locked, and one that is replaced whole.

use std::os::unix::ffi::OsStrExt;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, open,
};

use super::c_path;
use crate::error::Errno;

/// What to do about a lock that somebody else holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    Refuse,
    /// Until it is free; a signal that stops programs ends this one.
    Await,
}

/// A file of ours, as long as it is.
#[derive(Debug)]
pub struct Record {
    path: Vec<u8>,
    /// What others wait for the end of: it is locked for as long as this process has it open.
    file: OwnedFd,
    is_made: bool,
}

const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::WRONLY);
const FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY).union(OFlags::NOFOLLOW);

fn mode() -> Mode {
    // Whoever may write there may have another process stopped.
    Mode::from_raw_mode(0o644)
}

impl Record {
    /// A locked file with this text, whole from the first moment on. What is no file (a pipe, a device) is written
    /// as it is, and stays. A link is refused (ELOOP): it may lead to what somebody else wants overwritten.
    pub fn locked(path: &[u8], text: &[u8], lock: Lock) -> Result<Record, Errno> {
        let c_path = c_path(path)?;
        loop {
            let there = match open(&*c_path, OFlags::RDWR | OFlags::NONBLOCK | FLAGS, mode()) {
                Ok(there) => there,
                Err(rustix::io::Errno::NOENT) => match put(path, text, Place::Free) {
                    // Somebody was faster.
                    Err(Errno(libc::EEXIST)) => continue,
                    made => return Ok(Record { path: path.to_vec(), file: made?, is_made: true }),
                },
                Err(errno) => return Err(errno.into()),
            };
            if !is_regular(&fstat(&there)?) {
                write(&there, text)?;
                return Ok(Record { path: path.to_vec(), file: there, is_made: false });
            }
            // Who holds it still lives. Whoever had it before us may have put another one in its place.
            take(&there, lock)?;
            if !is_same(&there, lstat(&*c_path).ok()) {
                continue;
            }
            let file = match put(path, text, Place::Taken) {
                Ok(file) => file,
                // The folder is not ours, but the file is.
                Err(_) => {
                    rustix::fs::ftruncate(&there, 0)?;
                    write(&there, text)?;
                    there
                }
            };
            return Ok(Record { path: path.to_vec(), file, is_made: true });
        }
    }

    /// Its path, its descriptor and whether we made it, for who goes on with it.
    #[cfg(feature = "upgrade")]
    pub fn parts(&self) -> (Vec<u8>, i32, bool) {
        (self.path.clone(), super::fd::number(&self.file), self.is_made)
    }

    #[cfg(feature = "upgrade")]
    pub fn of_parts(path: Vec<u8>, file: OwnedFd, is_made: bool) -> Record {
        Record { path, file, is_made }
    }

    /// Where it is.
    pub fn path(&self) -> std::path::PathBuf {
        std::ffi::OsStr::from_bytes(&self.path).into()
    }

    /// Removes it, if the path still is this file.
    pub fn remove(&self) {
        if let (true, Ok(path)) = (self.is_made, c_path(&self.path))
            && is_same(&self.file, lstat(&*path).ok())
        {
            let _ = rustix::fs::unlink(&*path);
        }
    }
}

/// The file with this text takes the path's place at once: nobody ever sees a part of it. Locked.
pub fn replace(path: &[u8], text: &[u8]) -> Result<OwnedFd, Errno> {
    put(path, text, Place::Taken)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody's: EEXIST if it is taken by then.
    Free,
    /// Perhaps of a former one, which goes.
    Taken,
}

fn put(path: &[u8], text: &[u8], place: Place) -> Result<OwnedFd, Errno> {
    let (aside, path) = (c_path(&beside(path))?, c_path(path)?);
    let file = open(&*aside, NEW | FLAGS, mode())?;
    let done = write(&file, text).and_then(|()| take(&file, Lock::Refuse)).and_then(|()| {
        let placed = match place {
            Place::Free => rustix::fs::linkat(CWD, &*aside, CWD, &*path, AtFlags::empty()),
            Place::Taken => rustix::fs::renameat(CWD, &*aside, CWD, &*path),
        };
        Ok(placed?)
    });
    if done.is_err() || place == Place::Free {
        let _ = rustix::fs::unlink(&*aside);
    }
    // Not every file system has links.
    match done {
        Err(Errno(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)) if place == Place::Free => {
            let file = open(&*path, NEW | FLAGS, mode())?;
            take(&file, Lock::Refuse)?;
            write(&file, text)?;
            Ok(file)
        }
        done => done.map(|()| file),
    }
}

/// Whether `replace` could do it.
pub fn can_replace(path: &[u8]) -> Result<(), Errno> {
    let aside = c_path(&beside(path))?;
    open(&*aside, NEW | FLAGS, mode())?;
    rustix::fs::unlink(&*aside)?;
    match lstat(&*c_path(path)?) {
        Ok(stat) if !is_regular(&stat) => Err(Errno(libc::EEXIST)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Removes the path if it still is this file.
pub fn remove_if(path: &[u8], file: &OwnedFd) {
    if let Ok(path) = c_path(path)
        && is_same(file, lstat(&*path).ok())
    {
        let _ = rustix::fs::unlink(&*path);
    }
}

/// Whether nobody holds the lock of an open file. It is ours then.
#[cfg(feature = "starter")]
pub fn is_free(file: impl AsFd) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Waits until nobody holds the lock of an open file.
pub fn await_lock(file: impl AsFd) -> Result<(), Errno> {
    Ok(flock(file, FlockOperation::LockExclusive)?)
}

fn take(file: &OwnedFd, lock: Lock) -> Result<(), Errno> {
    match (flock(file, FlockOperation::NonBlockingLockExclusive), lock) {
        (Err(rustix::io::Errno::WOULDBLOCK), Lock::Await) => {
            super::signal::unblock_all_but_pipe();
            let done = await_lock(file);
            super::signal::block_all();
            done
        }
        (done, Lock::Refuse | Lock::Await) => Ok(done?),
    }
}

fn write(file: &OwnedFd, text: &[u8]) -> Result<(), Errno> {
    match rustix::io::retry_on_intr(|| rustix::io::write(file, text))? {
        count if count == text.len() => Ok(()),
        _ => Err(Errno(libc::ENOSPC)),
    }
}

/// In the same folder, by a name that is nobody's.
fn beside(path: &[u8]) -> Vec<u8> {
    let mut beside = path.to_vec();
    let unique = format!(".fd3-{}-{:x}", super::process::own_pid(), super::process::seed());
    beside.extend_from_slice(unique.as_bytes());
    beside
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn is_same(file: &OwnedFd, there: Option<Stat>) -> bool {
    match (fstat(file), there) {
        (Ok(ours), Some(there)) => (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino),
        (Err(_), _) | (_, None) => false,
    }
}
