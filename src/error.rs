//! The one error of the house: what we were doing, to what, and why it failed.
//! Its `Display` is the grammar of every message; nothing else words an error.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

/// An error number of the kernel's (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// Why something failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The kernel said no.
    Errno(Errno),
    /// We said no, for this reason.
    Reason(String),
}

/// Whose failure it is; decides the exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The command line is wrong: exit 2.
    Usage,
    /// fd3 itself failed, for example to bind: exit 125.
    Own,
    /// COMMAND exists and cannot be executed: exit 126.
    NotExecutable,
    /// COMMAND does not exist: exit 127.
    NotFound,
}

/// A failure, ready to be told in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(Box<Facts>);

/// Behind a pointer: errors are rare and are handed up through many functions, each of which moves as many
/// bytes as there are (10 KiB of code in all).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Facts {
    kind: Kind,
    doing: &'static str,
    what: String,
    why: Why,
}

impl Error {
    /// `cannot <doing> <what>: <the kernel's word>`.
    pub fn system(doing: &'static str, what: impl fmt::Display, errno: impl Into<Errno>) -> Error {
        Error::new(Kind::Own, doing, &what, Why::Errno(errno.into()))
    }

    /// `cannot <doing> <what>: <reason>`.
    pub fn refused(doing: &'static str, what: impl fmt::Display, why: impl fmt::Display) -> Error {
        Error::new(Kind::Own, doing, &what, Why::Reason(text(&why)))
    }

    /// `<what>: <wrong>`: a word of the command line that cannot be taken. `wrong` also tells what
    /// is accepted.
    pub fn usage(what: impl fmt::Display, wrong: impl fmt::Display) -> Error {
        Error::new(Kind::Usage, "", &what, Why::Reason(text(&wrong)))
    }

    /// One function for every type, as the messages are many and the program is to be small.
    #[inline(never)]
    fn new(kind: Kind, doing: &'static str, what: &dyn fmt::Display, why: Why) -> Error {
        Error(Box::new(Facts { kind, doing, what: text(what), why }))
    }

    /// The same error, blamed on COMMAND or the like.
    pub fn of_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Whose failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The kernel's error number, where it was the kernel who refused.
    pub fn errno(&self) -> Option<Errno> {
        match self.0.why {
            Why::Errno(errno) => Some(errno),
            Why::Reason(_) => None,
        }
    }

    /// The exit status that goes with it.
    pub fn exit_status(&self) -> u8 {
        match self.0.kind {
            Kind::Usage => 2,
            Kind::Own => 125,
            Kind::NotExecutable => 126,
            Kind::NotFound => 127,
        }
    }
}

/// As above.
#[inline(never)]
fn text(words: &dyn fmt::Display) -> String {
    words.to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.doing.is_empty() {
            write!(f, "cannot {} ", self.0.doing)?;
        }
        // The name of a COMMAND, which should be seen to be one word.
        let blank = matches!(self.0.kind, Kind::NotExecutable | Kind::NotFound)
            && self.0.what.bytes().any(|byte| byte.is_ascii_whitespace());
        let quote = if blank { "\"" } else { "" };
        write!(f, "{quote}{}{quote}: ", Short(&self.0.what))?;
        match &self.0.why {
            Why::Errno(errno) => errno.fmt(f),
            Why::Reason(reason) => Short(reason).fmt(f),
        }?;
        if blank && self.0.kind == Kind::NotFound { f.write_str(HINT) } else { Ok(()) }
    }
}

/// For who gave a whole command line as one word.
const HINT: &str = "; it is one word: drop the quotes, or use sh -c";

/// Words that others chose, without the middle of what is too long: at the end of a message stands why.
struct Short<'a>(&'a str);

/// Bytes kept of the beginning and of the end.
const HEAD: usize = 1000;
const TAIL: usize = 500;

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= HEAD + TAIL {
            return f.write_str(self.0);
        }
        // Never through a character; boundaries are at most three bytes away.
        let boundary = |at: &usize| self.0.is_char_boundary(*at);
        let head = (0..=HEAD).rev().find(boundary).unwrap_or(0);
        let tail = (self.0.len() - TAIL..self.0.len()).find(boundary).unwrap_or(self.0.len());
        write!(f, "{}...{}", &self.0[..head], &self.0[tail..])
    }
}

impl core::error::Error for Error {}

/// The names of the errors that a supervisor meets (errno(3)).
const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "operation not permitted"),
    (libc::ENOENT, "no such file or directory"),
    (libc::ESRCH, "no such process"),
    (libc::EINTR, "interrupted"),
    (libc::EIO, "input/output error"),
    (libc::ENXIO, "no such device or address"),
    (libc::E2BIG, "argument list too long"),
    (libc::ENOEXEC, "exec format error"),
    (libc::EBADF, "not an open descriptor"),
    (libc::ECHILD, "no child processes"),
    (libc::EAGAIN, "resource temporarily unavailable"),
    (libc::ENOMEM, "out of memory"),
    (libc::EACCES, "permission denied"),
    (libc::EFAULT, "bad address"),
    (libc::EBUSY, "device or resource busy"),
    (libc::EEXIST, "file exists"),
    (libc::ENODEV, "no such device"),
    (libc::ENOTDIR, "not a directory"),
    (libc::EISDIR, "is a directory"),
    (libc::EINVAL, "invalid argument"),
    (libc::ENFILE, "too many open files in the system"),
    (libc::EMFILE, "too many open files"),
    (libc::ENOTTY, "not a terminal"),
    (libc::ETXTBSY, "text file busy"),
    (libc::EFBIG, "file too large"),
    (libc::ENOSPC, "no space left on device"),
    (libc::EROFS, "read-only file system"),
    (libc::EMLINK, "too many links"),
    (libc::EPIPE, "broken pipe"),
    (libc::ENAMETOOLONG, "file name too long"),
    (libc::ENOSYS, "not implemented by this kernel"),
    (libc::ELOOP, "too many symbolic links"),
    (libc::ENOTSOCK, "not a socket"),
    (libc::EDESTADDRREQ, "destination address required"),
    (libc::EPROTOTYPE, "wrong protocol type for socket"),
    (libc::ENOPROTOOPT, "protocol option not available"),
    (libc::EPROTONOSUPPORT, "protocol not supported"),
    (libc::EOPNOTSUPP, "operation not supported"),
    (libc::EAFNOSUPPORT, "address family not supported"),
    (libc::EADDRINUSE, "address in use"),
    (libc::EADDRNOTAVAIL, "address not available on this machine"),
    (libc::ENETDOWN, "network is down"),
    (libc::ENOBUFS, "no buffer space available"),
    (libc::ECONNREFUSED, "connection refused"),
    (libc::ENODATA, "no data, and no writer"),
    (libc::ETIMEDOUT, "timed out"),
    (libc::ELIBBAD, "corrupted shared library"),
    (libc::EDQUOT, "disk quota exceeded"),
];

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_long_name_does_not_hide_the_reason() {
        let error = Error::system("bind", "é".repeat(100_000), Errno(libc::EADDRINUSE));
        let text = error.to_string();
        assert_eq!(text.matches('é').count(), (HEAD + TAIL) / 2);
        assert!(text.ends_with("é: address in use"), "{text}");
        let whole = format!("{}{}", "a".repeat(HEAD), "b".repeat(TAIL));
        assert_eq!(Error::usage(&whole, "x").to_string(), format!("{whole}: x"));
    }

    #[test]
    fn a_message_tells_what_to_what_and_why() {
        let table = [
            (
                Error::system("bind", "tcp://0.0.0.0:80", Errno(libc::EADDRINUSE)),
                125,
                "cannot bind tcp://0.0.0.0:80: address in use",
            ),
            (Error::system("bind", "x", Errno(9999)), 125, "cannot bind x: errno 9999"),
            (
                Error::refused("replace", "/run/x", "is not a socket"),
                125,
                "cannot replace /run/x: is not a socket",
            ),
            (
                Error::usage("--workers \"x\"", "not a number; accepted: 1 to 10000, or auto"),
                2,
                "--workers \"x\": not a number; accepted: 1 to 10000, or auto",
            ),
            (
                Error::system("execute", "/app", Errno(libc::ENOENT)).of_kind(Kind::NotFound),
                127,
                "cannot execute /app: no such file or directory",
            ),
            (
                Error::refused("execute", "sleep 4", "not found in PATH").of_kind(Kind::NotFound),
                127,
                "cannot execute \"sleep 4\": not found in PATH; it is one word: \
                 drop the quotes, or use sh -c",
            ),
            (
                Error::system("execute", "/a b", Errno(libc::EACCES)).of_kind(Kind::NotExecutable),
                126,
                "cannot execute \"/a b\": permission denied",
            ),
        ];
        for (error, status, text) in table {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.exit_status(), status);
        }
    }
}
