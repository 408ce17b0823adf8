//! Descriptors at start-up: which are ours, which are to go, and none of ours on 0 to 2.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::{checked, process};
use crate::error::Errno;

/// Opens what is closed of 0 to 2, so that no socket of ours lands there: /dev/null, or where there is
/// none a pipe without its other end. Workers inherit these.
pub fn reserve_standard() -> Result<(), Errno> {
    for fd in 0..3 {
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

/// For a description that nobody shares.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    Ok(rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK)?)
}

/// So that this user can open it by its path, too (/dev/stdout). Where that is not permitted it cannot.
pub fn give_to(fd: impl AsFd, user: u32) {
    let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(user)), None);
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

/// Whether both are one open file, with one position and one end. Where no kernel tells (Linux 6.10, or kcmp(2),
/// which containers may not call), sockets are known by their inode; of everything else: no.
pub fn is_same(one: impl AsFd, other: impl AsFd) -> bool {
    /// For fcntl(2). musl's own brings what has to be translated for other questions.
    const DUPFD_QUERY: libc::c_int = 1024 + 3;
    const KCMP_FILE: libc::c_int = 0;
    let (first, second) = (number(&one), number(&other));
    // SAFETY: plain numbers. 1: the same, 0: not, -1: an older kernel.
    let asked = unsafe { libc::syscall(libc::SYS_fcntl, first, DUPFD_QUERY, second) };
    if asked >= 0 {
        return asked == 1;
    }
    let own = process::own_pid();
    // SAFETY: plain numbers. 0: the same, above: not, -1: not to be had.
    let asked = unsafe { libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, first, second) };
    if asked >= 0 {
        return asked == 0;
    }
    let inode = |fd: BorrowedFd<'_>| {
        let known = rustix::fs::fstat(fd).ok()?;
        let is_socket = rustix::fs::FileType::from_raw_mode(known.st_mode).is_socket();
        is_socket.then_some((known.st_dev, known.st_ino))
    };
    inode(one.as_fd()).is_some_and(|known| inode(other.as_fd()) == Some(known))
}

/// Makes a descriptor that was inherited, and is known by its number alone, this program's own: closed on exec, and
/// when dropped. By contract once for each number.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: a plain number, checked by the kernel.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, as the line above shows; by contract whoever started this program left it to us, and
    // nobody else takes it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
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

/// It itself where it lies at `lowest` or above, else its copy there.
pub fn above(fd: OwnedFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    if number(&fd) >= lowest { Ok(fd) } else { copy_above(fd, lowest) }
}

/// Copies with numbers that follow each other, `lowest` or above. In a program whose other threads open
/// descriptors meanwhile it looks further up.
pub fn copy_in_a_row(fds: &[BorrowedFd<'_>], lowest: RawFd) -> Result<Vec<OwnedFd>, Errno> {
    let mut copies: Vec<OwnedFd> = Vec::new();
    while copies.len() < fds.len() {
        let Some(fd) = fds.get(copies.len()) else { break };
        let wanted = copies.last().map_or(lowest, |last| number(last) + 1);
        let copy = copy_above(fd, wanted)?;
        if number(&copy) == wanted || copies.is_empty() {
            copies.push(copy);
            continue;
        }
        // Somebody is in between: again from here on.
        let first = fds.first().map_or(Ok(None), |fd| copy_above(fd, number(&copy)).map(Some))?;
        copies.clear();
        copies.extend(first);
    }
    Ok(copies)
}

/// Closes everything above 2 but `kept`: what else was inherited is not ours to keep open, or to pass
/// on. To be called before this process has descriptors of its own.
#[inline(never)]
pub fn close_inherited(kept: &[RawFd]) {
    let mut first = 3;
    while first < RawFd::MAX {
        let mut next = RawFd::MAX;
        for number in kept {
            if (first..next).contains(number) {
                next = *number;
            }
        }
        if first < next && close_range(first, next - 1).is_err() {
            close_from_to(first, next);
        }
        first = next.saturating_add(1);
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
    if let Ok(numbers) = numbers_in(c"/proc/self/fd") {
        numbers.into_iter().for_each(close);
    } else {
        let limit = process::descriptor_limit().ok().and_then(|limit| limit.current);
        (0..limit.unwrap_or(MOST).min(MOST) as RawFd).for_each(close);
    }
}

/// The entries of a folder that are numbers: /proc/self/fd has what is open, /proc who is there.
pub(super) fn numbers_in(folder: &CStr) -> Result<Vec<i32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let mut room = [MaybeUninit::uninit(); 1024];
    let mut entries = rustix::fs::RawDir::new(&folder, &mut room);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        // What is no number is 0, which is none to be closed.
        // SAFETY: the name ends with a NUL, and outlives the call.
        numbers.push(unsafe { libc::atoi(entry?.file_name().as_ptr()) });
    }
    Ok(numbers)
}

/// Closes a number that was inherited and is no longer needed.
pub fn close_number(number: RawFd) {
    // SAFETY: by contract the number was inherited, so no object of ours owns it.
    unsafe { libc::close(number) };
}

/// Waits for so long, or until nobody can read what is written to stdout.
pub fn wait_while_read(span_ms: u64) {
    let out = rustix::stdio::stdout();
    let mut asked = [PollFd::from_borrowed_fd(out, PollFlags::empty())];
    let (tv_sec, tv_nsec) = ((span_ms / 1000) as _, (span_ms % 1000 * 1_000_000) as _);
    let _ = poll(&mut asked, Some(&Timespec { tv_sec, tv_nsec }));
}

/// How many lines it shows, if stdout is a terminal that knows.
pub fn rows_of_stdout() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize to size, which outlives the call.
    let asked = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) };
    (asked == 0 && size.ws_row > 0).then_some(usize::from(size.ws_row))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_goes_round_what_is_in_its_way() {
        let (read, write) = pipe().expect("there are pipes");
        let all = [read.as_fd(), write.as_fd(), read.as_fd()];
        let in_the_way = copy_above(&read, 701).expect("there is room");
        let row = copy_in_a_row(&all, 700).expect("there is room");
        let numbers: Vec<RawFd> = row.iter().map(number).collect();
        let first = numbers.first().copied().unwrap_or(0);
        assert!(first > number(&in_the_way), "{numbers:?}");
        assert_eq!(numbers, [first, first + 1, first + 2]);
        for (copy, fd) in row.iter().zip(all) {
            assert!(is_same(copy, fd));
        }
        assert!(copy_in_a_row(&[], 700).is_ok_and(|row| row.is_empty()));
        assert_eq!(copy_in_a_row(&all, RawFd::MAX).err(), Some(Errno(libc::EMFILE)));
    }
}
