//! Finds COMMAND's file, as execvp(3) does, before anything is forked.

use std::ffi::{CStr, CString};

use rustix::fs::{Access, FileType};

use crate::error::{Errno, Error, Kind};

const DOING: &str = "execute";
/// What execvp(3) searches without a PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// The file that `command` names: itself if it has a slash, else the first executable one in `path`. What is
/// relative begins in `folder`, which is absolute, or where fd3 is.
#[inline(never)]
pub fn find(command: &CStr, path: Option<&[u8]>, folder: Option<&CStr>) -> Result<CString, Error> {
    let from = folder.unwrap_or_default().to_bytes();
    let name = command.to_bytes();
    if name.is_empty() {
        return Err(
            Error::refused(DOING, "\"\"", "the command's name is empty").of_kind(Kind::NotFound)
        );
    }
    if name.contains(&b'/') {
        let file = joined(from, name).unwrap_or_else(|| command.to_owned());
        return executable(&file).map_err(|errno| error(&file, errno)).map(|()| file);
    }
    let mut found_but = None;
    for folder in path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let file = joined(from, folder).and_then(|folder| joined(folder.to_bytes(), name));
        let Some(file) = file else { continue };
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => {}
            Err(errno) => found_but = found_but.or(Some((file, errno))),
        }
    }
    Err(match found_but {
        Some((file, errno)) => error(&file, errno),
        None => {
            let what = command.to_string_lossy();
            Error::refused(DOING, what, "not found in PATH").of_kind(Kind::NotFound)
        }
    })
}

/// No part has a NUL: all come from the environment and from arguments.
fn joined(folder: &[u8], file: &[u8]) -> Option<CString> {
    let mut path = Vec::new();
    if !file.starts_with(b"/") && !folder.is_empty() {
        path.extend_from_slice(folder);
        path.push(b'/');
    }
    path.extend_from_slice(file);
    CString::new(path).ok()
}

fn executable(file: &CStr) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::stat(file)?.st_mode);
    if kind == FileType::Directory {
        return Err(Errno(libc::EISDIR));
    }
    if kind != FileType::RegularFile {
        return Err(Errno(libc::EACCES));
    }
    Ok(rustix::fs::access(file, Access::EXEC_OK)?)
}

/// Words a failed execve(2) and tells "not found" (127) from "not executable" (126) and from what is no
/// fault of COMMAND's (125).
pub fn error(file: &CStr, errno: Errno) -> Error {
    let what = file.to_string_lossy();
    match errno.0 {
        libc::ENOENT if executable(file).is_ok() => {
            Error::refused(DOING, what, "its interpreter does not exist").of_kind(Kind::NotFound)
        }
        libc::ENOENT | libc::ENOTDIR => Error::system(DOING, what, errno).of_kind(Kind::NotFound),
        libc::ENOEXEC => {
            let why = "exec format error (a script without a #! line, or another machine's binary)";
            Error::refused(DOING, what, why).of_kind(Kind::NotExecutable)
        }
        // The machine is short of something, or its disk fails: no fault of the file's.
        libc::ENOMEM | libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::EIO => {
            Error::system(DOING, what, errno)
        }
        _ => Error::system(DOING, what, errno).of_kind(Kind::NotExecutable),
    }
}
