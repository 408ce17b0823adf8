//! Small files, read whole.

use super::c_path;
use crate::error::Errno;
use alloc::vec::Vec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno as Code;
use rustix::io::read as read_some;

const CHUNK: usize = 4096;
/// How long a pipe's writer may be silent.
const SILENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// All bytes of the file, unless it is longer than `limit`: then EFBIG. ENODATA for a pipe that nobody
/// writes to, ETIMEDOUT for one whose writer is silent: to wait for them for ever would be deaf to signals.
pub fn read(path: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    read_open(open(&*c_path(path)?, flags, Mode::empty())?.as_fd(), limit, &SILENCE)
}

fn read_open(file: BorrowedFd<'_>, limit: usize, patience: &Timespec) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    loop {
        let len = bytes.len();
        bytes.resize(len + CHUNK, 0);
        let got = read_some(file, &mut bytes[len..]);
        bytes.truncate(len + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) if len == 0 && is_pipe(file) => return Err(Errno(libc::ENODATA)),
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > limit => return Err(Errno(libc::EFBIG)),
            Ok(_) | Err(Code::INTR) => {}
            Err(Code::AGAIN) => {
                let mut polled = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
                if poll(&mut polled, Some(patience))? == 0 {
                    return Err(Errno(libc::ETIMEDOUT));
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_pipe(file: BorrowedFd<'_>) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
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
    fn a_silent_writer_is_not_waited_for_without_end() {
        let flags = PipeFlags::NONBLOCK | PipeFlags::CLOEXEC;
        let (reader, writer) = pipe_with(flags).expect("there are pipes");
        let short = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        for _ in 0..2 {
            assert_eq!(read_open(reader.as_fd(), 9, &short), Err(Errno(libc::ETIMEDOUT)));
            // Some is not all.
            rustix::io::write(&writer, b"some").expect("there is room");
        }
        rustix::io::write(&writer, b"all").expect("there is room");
        drop(writer);
        assert_eq!(read_open(reader.as_fd(), 9, &SILENCE), Ok(b"someall".to_vec()));
        assert_eq!(read_open(reader.as_fd(), 9, &SILENCE), Err(Errno(libc::ENODATA)));
    }
}
