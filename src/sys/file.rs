//! Small files, read whole.

use crate::error::Errno;
use alloc::vec::Vec;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::read as read_some;

const CHUNK: usize = 4096;

/// All bytes of the file, unless it is longer than `limit`: then EFBIG.
pub fn read(path: impl rustix::path::Arg, limit: usize) -> Result<Vec<u8>, Errno> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    loop {
        let len = bytes.len();
        bytes.resize(len + CHUNK, 0);
        let got = read_some(&file, &mut bytes[len..]);
        bytes.truncate(len + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > limit => return Err(Errno(libc::EFBIG)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let passwd = read("/etc/passwd", 1 << 20).expect("every system has users");
        assert!(passwd.starts_with(b"root:"));
        assert_eq!(read("/etc/passwd", 3), Err(Errno(libc::EFBIG)));
        assert_eq!(read("/nope", 3), Err(Errno(libc::ENOENT)));
    }
}
