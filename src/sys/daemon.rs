//! What Server::Starter's command does besides supervising: leaves the terminal, hands what is said to a
//! program, and becomes the server program with the descriptors where it wants them.

use std::ffi::{CStr, CString};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;

use super::{bare_fork, c_path, checked, fd, last_errno, signal};
use crate::error::Errno;

/// Which of the two it is after `detach`.
#[derive(Debug)]
pub enum Side {
    /// The one that was started: it is told through this how the other one began.
    Caller(OwnedFd),
    /// No terminal's any more.
    Daemon(OwnedFd),
}

/// fork, setsid, fork.
pub fn detach() -> Result<Side, Errno> {
    let (read, write) = fd::pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { bare_fork() } {
        -1 => return Err(last_errno()),
        0 => {}
        _ => return Ok(Side::Caller(read)),
    }
    drop(read);
    // It leads no group yet: this cannot fail.
    let _ = rustix::process::setsid();
    // SAFETY: as above.
    match unsafe { bare_fork() } {
        -1 => Err(last_errno()),
        0 => Ok(Side::Daemon(write)),
        _ => leave(0),
    }
}

/// How the other one began: the status that it tells, or that it ended without a word.
pub fn begun(other: &OwnedFd) -> Option<u8> {
    signal::unblock_all();
    let mut status = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(other, &mut status)) {
        Ok(1) => Some(status[0]),
        Ok(_) | Err(_) => None,
    }
}

/// Tells it.
pub fn tell(caller: &OwnedFd, status: u8) {
    // A caller that is gone need not know.
    let _ = rustix::io::write(caller, &[status]);
}

fn leave(status: i32) -> ! {
    // SAFETY: ends this process without running anything of its former self's.
    unsafe { libc::_exit(status) }
}

/// A file for what is said.
pub fn append_to(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(&*c_path(path)?, flags, Mode::from_raw_mode(0o666))?)
}

/// A program of the shell's for what is said: it reads it from its stdin.
pub fn pipe_to(command: &[u8], environment: &[CString]) -> Result<OwnedFd, Errno> {
    let command = c_path(command)?;
    let arguments = [c"sh".to_owned(), c"-c".to_owned(), command];
    let (read, write) = fd::pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { bare_fork() } {
        -1 => Err(last_errno()),
        0 => {
            let _ = onto(read.as_raw_fd(), 0);
            signal::unblock_all();
            execute(c"/bin/sh", &arguments, environment);
            leave(127)
        }
        _ => Ok(write),
    }
}

/// stdout and stderr go there from now on.
pub fn speak_to(file: &OwnedFd) -> Result<(), Errno> {
    onto(file.as_raw_fd(), 1)?;
    onto(file.as_raw_fd(), 2)
}

/// Nothing more comes from stdin.
pub fn close_stdin() -> Result<(), Errno> {
    onto(fd::empty_input()?.as_raw_fd(), 0)
}

/// Descriptor 3 goes to the first of these numbers, 4 to the second one, ...
pub fn arrange(numbers: &[i32]) -> Result<(), Errno> {
    let last = numbers.iter().fold(2 + numbers.len() as i32, |last, number| last.max(*number));
    let mut aside: Vec<OwnedFd> = Vec::new();
    for from in (3..).take(numbers.len()) {
        // SAFETY: whoever started this process left it open.
        let from = unsafe { BorrowedFd::borrow_raw(from) };
        aside.push(fcntl_dupfd_cloexec(from, last + 1)?);
    }
    for from in (3..).take(numbers.len()) {
        // SAFETY: nobody else knows it as its own.
        drop(unsafe { OwnedFd::from_raw_fd(from) });
    }
    for (from, number) in aside.iter().zip(numbers) {
        onto(from.as_raw_fd(), *number)?;
    }
    Ok(())
}

pub fn change_folder(path: &[u8]) -> Result<(), Errno> {
    Ok(rustix::process::chdir(&*c_path(path)?)?)
}

/// Becomes this program, to which a write that nobody reads is an error and no signal. Returns if it cannot.
pub fn become_program(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    // SAFETY: no memory is passed, and no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    signal::unblock_all();
    match execute(program, arguments, environment) {
        // As execvp(3) does: a script without a first line is the shell's.
        Errno(libc::ENOEXEC) => {
            let mut words = vec![c"sh".to_owned(), program.to_owned()];
            words.extend_from_slice(arguments.get(1..).unwrap_or_default());
            execute(c"/bin/sh", &words, environment)
        }
        errno => errno,
    }
}

fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| {
        let mut all = Vec::new();
        for string in strings {
            all.push(string.as_ptr());
        }
        all.push(core::ptr::null());
        all
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null, and what they point to outlives the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// Removes a socket's path; whether there was one.
pub fn remove_socket(path: &[u8]) -> Result<bool, Errno> {
    use rustix::fs::{FileType, stat, unlink};
    let path = c_path(path)?;
    let is_socket =
        stat(&*path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
    if is_socket {
        unlink(&*path)?;
    }
    Ok(is_socket)
}

/// The names of what is in a folder.
pub fn names_in(path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&*c_path(path)?, flags, Mode::empty())?;
    let mut room = Vec::with_capacity(8192);
    let mut entries = rustix::fs::RawDir::new(folder, room.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        names.push(entry?.file_name().to_bytes().to_vec());
    }
    Ok(names)
}

/// dup2 also clears close-on-exec; the two numbers are never the same.
fn onto(from: i32, to: i32) -> Result<(), Errno> {
    // SAFETY: plain numbers, of descriptors that nobody else has as its own.
    checked(unsafe { libc::dup2(from, to) }).map(drop)
}

/// A file to be locked.
pub fn open_to_lock(path: &[u8]) -> Result<OwnedFd, Errno> {
    Ok(rustix::fs::open(&*c_path(path)?, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Until something has happened, or the time has passed.
pub fn wait(watch: Option<&super::inotify::Inotify>, ms: i64) {
    let time = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
    let _ = match watch {
        Some(watch) => {
            poll(&mut [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)], Some(&time))
        }
        None => poll(&mut [], Some(&time)),
    };
}
