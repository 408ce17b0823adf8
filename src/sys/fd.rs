//! Descriptors at start-up: which are ours, which are to go, and none of ours on 0 to 2.

use core::mem::MaybeUninit;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::{checked, process};
use crate::error::Errno;

/// Opens what is closed of 0 to 2, so that no socket of ours lands there: /dev/null, or where there is
/// none a pipe without its other end. Workers inherit these.
pub fn reserve_standard() -> Result<(), Errno> {
    for fd in 0..=2 {
        if is_open(fd) {
            continue;
        }
        // The kernel hands out the lowest free number, which is this one.
        let opened = match null() {
            Ok(null) => null,
            Err(_) if fd == 0 => ended_pipe()?.0,
            Err(_) => ended_pipe()?.1,
        };
        move_to(opened, fd)?;
    }
    Ok(())
}

/// /dev/null, for reading and writing.
pub fn null() -> Result<OwnedFd, Errno> {
    Ok(rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Something to read from that is at its end: /dev/null, or a pipe nobody writes to.
pub fn empty_input() -> Result<OwnedFd, Errno> {
    null().or_else(|_| Ok(ended_pipe()?.0))
}

/// Two pipes, each without its other end: to read from (end of file), to write to (EPIPE).
fn ended_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, _) = pipe()?;
    let (_, write) = pipe()?;
    Ok((read, write))
}

pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: onto itself it changes nothing, and on any number it only tells (dup2(2)).
    unsafe { libc::dup2(fd, fd) != -1 }
}

/// Puts a descriptor of ours on one of 0 to 2 for good: it stays open across exec.
fn move_to(fd: OwnedFd, number: RawFd) -> Result<(), Errno> {
    let raw = fd.into_raw_fd();
    if raw == number {
        // SAFETY: raw is open, it was ours until the line above.
        let fd = unsafe { BorrowedFd::borrow_raw(raw) };
        let flags = fcntl_getfd(fd)? - FdFlags::CLOEXEC;
        return Ok(fcntl_setfd(fd, flags)?);
    }
    // SAFETY: dup2 between plain numbers.
    checked(unsafe { libc::dup2(raw, number) })?;
    // SAFETY: raw was ours, into_raw_fd gave it up, nobody else closes it.
    unsafe { libc::close(raw) };
    Ok(())
}

/// Its number.
pub fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// A copy at `lowest` or above: out of the way of the numbers that a child fills.
pub fn copy_above(fd: impl AsFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    match rustix::io::fcntl_dupfd_cloexec(fd, lowest) {
        // So the kernel says where `lowest` lies above the limit.
        Err(rustix::io::Errno::INVAL) => Err(Errno(libc::EMFILE)),
        copied => Ok(copied?),
    }
}

/// Closes everything above 2 but `kept`: what else was inherited is not ours to keep open, or to pass
/// on. To be called before this process has descriptors of its own.
#[inline(never)]
pub fn close_inherited(kept: &[RawFd]) {
    let mut kept = kept.to_vec();
    kept.push(RawFd::MAX);
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        if first < number && close_range(first, number - 1).is_err() {
            close_from_to(first, number);
        }
        first = first.max(number.saturating_add(1));
    }
}

/// Before Linux 5.9 there is no such call, and some sandboxes answer EPERM.
fn close_range(first: RawFd, last: RawFd) -> Result<(), Errno> {
    let (first, last) = (first as libc::c_uint, last as libc::c_uint);
    let no_flags: libc::c_uint = 0;
    // SAFETY: by the contract of close_inherited nobody of ours owns what is closed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, no_flags) };
    checked(result as i32).map(drop)
}

#[inline(never)]
fn close_from_to(first: RawFd, end: RawFd) {
    /// Where the limit is "unlimited" nobody has that many open.
    const MOST: u64 = 65_536;
    let close = |number| {
        if (first..end).contains(&number) {
            // SAFETY: by the contract of close_inherited; closing a number twice only fails.
            unsafe { libc::close(number) };
        }
    };
    if let Ok(numbers) = listed() {
        numbers.into_iter().for_each(close);
    } else {
        let limit = process::descriptor_limit().ok().and_then(|limit| limit.current);
        (0..limit.unwrap_or(MOST).min(MOST) as RawFd).for_each(close);
    }
}

/// What /proc says is open.
fn listed() -> Result<Vec<RawFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    let mut room = [MaybeUninit::uninit(); 1024];
    let mut entries = rustix::fs::RawDir::new(&folder, &mut room);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// Closes a number that was inherited and is no longer needed.
pub fn close_number(number: RawFd) {
    // SAFETY: by contract the number was inherited, so no object of ours owns it.
    unsafe { libc::close(number) };
}

/// Writes all of it to stdout, waiting for whoever reads.
pub fn write_stdout(mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
