//! One program of this process leaves something to the next one: sealed memory, and descriptors by their numbers.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::{pread, write};

use super::{process, spawn};
use crate::error::Errno;

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Memory that says this and can never be changed, at `lowest` or above. ENOSYS before Linux 3.17.
pub fn sealed(bytes: &[u8], lowest: RawFd) -> Result<OwnedFd, Errno> {
    let memory = memfd_create(c"fd3-handover", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match write(&memory, rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    fcntl_add_seals(&memory, seals())?;
    super::fd::above(memory, lowest)
}

/// What it says, if it is such memory, and no longer than this. Its position, which others share, stays.
pub fn read_sealed(memory: impl AsFd, most: usize) -> Result<Vec<u8>, Errno> {
    let memory = memory.as_fd();
    if !fcntl_get_seals(memory)?.contains(seals()) {
        return Err(Errno(libc::EPERM));
    }
    let length = usize::try_from(fstat(memory)?.st_size).unwrap_or(usize::MAX);
    if length > most {
        return Err(Errno(libc::EFBIG));
    }
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match pread(memory, bytes.get_mut(done..).unwrap_or_default(), done as u64) {
            Ok(0) => return Err(Errno(libc::EIO)),
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

/// This process becomes another program, which has these descriptors by their numbers, all of which are open. Returns
/// only if it fails; all is as it was then.
pub fn become_successor(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    numbers: &[RawFd],
) -> Errno {
    let mut descriptors = Vec::new();
    for number in numbers.iter().filter(|number| **number >= 0) {
        // SAFETY: by contract it is open; it serves until the exec, or is as it was.
        descriptors.push(unsafe { BorrowedFd::borrow_raw(*number) });
    }
    spawn::become_program(program, arguments, environment, &descriptors)
}

/// Which file it is, and in what state: two that are the same say the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity([i64; 6]);

// Not the same width everywhere.
#[allow(clippy::unnecessary_cast)]
pub fn identity(path: &CStr) -> Result<Identity, Errno> {
    let stat = rustix::fs::stat(path)?;
    let (file, mode) = ([stat.st_dev as i64, stat.st_ino as i64], i64::from(stat.st_mode));
    let (seconds, nanoseconds) = (stat.st_ctime as i64, stat.st_ctime_nsec as i64);
    Ok(Identity([file[0], file[1], mode, stat.st_size as i64, seconds, nanoseconds]))
}

/// The file that this program was started as: by the name that was used, if it still leads to it, as that may be a
/// link which leads to a newer one by and by. `None` where nothing tells.
pub fn own_program(name: &[u8], path: Option<&[u8]>) -> Option<CString> {
    let own = rustix::fs::stat(c"/proc/self/exe").ok();
    // Another file of another file system may have its number.
    let is_own = |file: &CStr| match (&own, rustix::fs::stat(file)) {
        (Some(own), Ok(stat)) => (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino),
        (None, Ok(_)) => true,
        (_, Err(_)) => false,
    };
    let named = super::exec::find(&CString::new(name).ok()?, path, None);
    let named = named.ok().filter(|file| is_own(file)).and_then(|file| absolute(&file));
    named.or_else(|| {
        let link = rustix::fs::readlink(c"/proc/self/exe", Vec::new()).ok()?;
        (link.to_bytes().first() == Some(&b'/')).then_some(link)
    })
}

/// From the root; what is relative begins where this process is now.
pub fn absolute(path: &CStr) -> Option<CString> {
    if path.to_bytes().starts_with(b"/") {
        return Some(path.to_owned());
    }
    let mut all = rustix::process::getcwd(Vec::new()).ok()?.into_bytes();
    all.push(b'/');
    all.extend_from_slice(path.to_bytes());
    CString::new(all).ok()
}

/// For the environment: this memory, for this process alone.
pub fn told(memory: &OwnedFd) -> String {
    format!("{} {}", super::fd::number(memory), process::own_pid())
}

/// What `told` said, if it was said to this process. Not to be asked twice.
pub fn found(told: &[u8]) -> Option<OwnedFd> {
    let (number, pid) = std::str::from_utf8(told).ok()?.split_once(' ')?;
    let number: RawFd = number.parse().ok()?;
    if number <= 2 || pid.parse::<i32>().ok()? != process::own_pid() {
        return None;
    }
    super::fd::take_inherited(number).ok()
}

/// The words that this process was started with, as they are handed on.
pub fn words(all: &[std::ffi::OsString]) -> Vec<CString> {
    let mut words = Vec::new();
    for word in all {
        // Words of a command line have no NUL inside.
        words.extend(CString::new(word.as_bytes()).ok());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_memory_says_what_it_said_and_nothing_else_is_read() {
        let memory = sealed(b"some state", 40).expect("this kernel has it");
        assert!(super::super::fd::number(&memory) >= 40);
        for _ in 0..2 {
            assert_eq!(read_sealed(&memory, 100), Ok(b"some state".to_vec()));
        }
        assert_eq!(read_sealed(&memory, 9), Err(Errno(libc::EFBIG)));
        assert_eq!(write(&memory, b"x"), Err(rustix::io::Errno::PERM));
        let plain = memfd_create(c"x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        assert_eq!(read_sealed(plain.expect("as above"), 100), Err(Errno(libc::EPERM)));
        let file = super::super::fd::null().expect("there is one");
        assert!(read_sealed(file, 100).is_err());
    }

    #[test]
    fn a_handover_is_for_the_process_that_it_names() {
        let memory = sealed(b"x", 3).expect("this kernel has it");
        let own = told(&memory);
        let number = super::super::fd::number(&memory);
        for other in [format!("{number} 1"), format!("{number}"), "2 1".into(), String::new()] {
            assert!(found(other.as_bytes()).is_none(), "{other}");
        }
        core::mem::forget(memory);
        let found = found(own.as_bytes()).expect("it is for us");
        assert_eq!(read_sealed(found, 100), Ok(b"x".to_vec()));
    }

    #[test]
    fn the_own_program_is_found_by_its_name_or_as_it_runs() {
        let own = std::fs::read_link("/proc/self/exe").expect("/proc is there");
        let own = CString::new(own.as_os_str().as_bytes()).expect("no NUL");
        assert_eq!(own_program(own.to_bytes(), None), Some(own.clone()));
        // A name that leads elsewhere by now.
        assert_eq!(own_program(b"/bin/sh", None), Some(own.clone()));
        assert_eq!(own_program(b"sh", Some(b"/bin")), Some(own));
    }
}
