//! Small files, read whole.

use super::c_path;
use super::signal::SignalFd;
use crate::error::Errno;
use alloc::vec::Vec;
use core::ffi::CStr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno as Code;
use rustix::io::read as read_some;

const CHUNK: usize = 4096;
/// How long a pipe's writer may be silent.
const SILENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// How long to wait for a pipe's writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    Some,
    /// Who has others to look after does not wait.
    None,
}

/// Whether the same can be read once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    Yes,
    /// It is a pipe or the like: what it brought is gone.
    No,
}

/// All bytes of the file, unless it is longer than `limit`: then EFBIG. ENODATA for a pipe that nobody
/// writes to, ETIMEDOUT for one whose writer is silent, EINTR if a stop came while it was waited for.
pub fn read(path: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
    read_open(open(&*c_path(path)?, FLAGS, Mode::empty())?.as_fd(), limit, Some(&SILENCE))
}

/// The same, of a file that is wanted more than once.
pub fn read_first(
    path: &CStr,
    limit: usize,
    patience: Patience,
) -> Result<(Vec<u8>, Again), Errno> {
    let file = open(path, FLAGS, Mode::empty())?;
    let silence = match patience {
        Patience::Some => Some(&SILENCE),
        Patience::None => None,
    };
    let bytes = read_open(file.as_fd(), limit, silence)?;
    // By such a name it is another file once the descriptor is closed.
    let is_ours = [&b"/dev/fd/"[..], b"/proc/"].iter().any(|one| path.to_bytes().starts_with(one));
    let lasts = !is_ours && is(file.as_fd(), FileType::RegularFile);
    Ok((bytes, if lasts { Again::Yes } else { Again::No }))
}

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn read_open(
    file: BorrowedFd<'_>,
    limit: usize,
    patience: Option<&Timespec>,
) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    loop {
        let len = bytes.len();
        bytes.resize(len + CHUNK, 0);
        let got = read_some(file, &mut bytes[len..]);
        bytes.truncate(len + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) if len == 0 && is(file, FileType::Fifo) => return Err(Errno(libc::ENODATA)),
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > limit => return Err(Errno(libc::EFBIG)),
            Ok(_) | Err(Code::INTR) => {}
            Err(Code::AGAIN) => match patience {
                Some(patience) => wait_for_more(file, patience)?,
                None => return Err(Errno(libc::ETIMEDOUT)),
            },
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Signals are blocked, and whoever is told to stop before it has begun must not wait for a pipe. As PID 1
/// it could not leave that to the kernel.
fn wait_for_more(file: BorrowedFd<'_>, patience: &Timespec) -> Result<(), Errno> {
    let stops = SignalFd::stops().ok();
    let mut polled = [
        PollFd::from_borrowed_fd(file, PollFlags::IN),
        // Where there is no such thing, twice the same.
        PollFd::from_borrowed_fd(stops.as_ref().map_or(file, AsFd::as_fd), PollFlags::IN),
    ];
    match poll(&mut polled, Some(patience)) {
        Ok(0) => Err(Errno(libc::ETIMEDOUT)),
        Ok(_) if stops.is_some() && !polled[1].revents().is_empty() => Err(Errno(libc::EINTR)),
        Ok(_) | Err(Code::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn is(file: BorrowedFd<'_>, kind: FileType) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let passwd = read(b"/etc/passwd", 1 << 20).expect("every system has users");
        assert!(passwd.starts_with(b"root:"));
        assert_eq!(read(b"/etc/passwd", 3), Err(Errno(libc::EFBIG)));
        assert_eq!(read(b"/nope", 3), Err(Errno(libc::ENOENT)));
    }

    #[test]
    fn only_a_file_can_be_read_once_more() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("there are pipes");
        let name = |fd: &dyn std::os::fd::AsRawFd| format!("/dev/fd/{}\0", fd.as_raw_fd());
        let read = |name: &str| {
            let path = CStr::from_bytes_with_nul(name.as_bytes()).expect("it ends with NUL");
            read_first(path, 1 << 20, Patience::None)
        };
        assert_eq!(read("/etc/passwd\0").expect("every system has users").1, Again::Yes);
        assert_eq!(read("/dev/null\0"), Ok((Vec::new(), Again::No)));
        let file = open("/etc/passwd", FLAGS, Mode::empty()).expect("every system has users");
        assert_eq!(read(&name(&file)).expect("it is open").1, Again::No);
        rustix::io::write(&writer, b"some").expect("there is room");
        assert_eq!(read(&name(&reader)), Err(Errno(libc::ETIMEDOUT)));
        rustix::io::write(&writer, b"all").expect("there is room");
        drop(writer);
        assert_eq!(read(&name(&reader)), Ok((b"all".to_vec(), Again::No)));
    }

    #[test]
    fn a_silent_writer_is_not_waited_for_without_end() {
        let flags = PipeFlags::NONBLOCK | PipeFlags::CLOEXEC;
        let (reader, writer) = pipe_with(flags).expect("there are pipes");
        let short = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        for _ in 0..2 {
            assert_eq!(read_open(reader.as_fd(), 9, Some(&short)), Err(Errno(libc::ETIMEDOUT)));
            // Some is not all.
            rustix::io::write(&writer, b"some").expect("there is room");
        }
        rustix::io::write(&writer, b"all").expect("there is room");
        drop(writer);
        assert_eq!(read_open(reader.as_fd(), 9, Some(&SILENCE)), Ok(b"someall".to_vec()));
        assert_eq!(read_open(reader.as_fd(), 9, Some(&SILENCE)), Err(Errno(libc::ENODATA)));
    }
}
