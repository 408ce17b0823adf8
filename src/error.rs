//! The one error of the house: what we were doing, to what, and why it failed.
//! Its `Display` is the grammar of every message; nothing else words an error.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use crate::names::{Names, names};

/// An error number of the kernel's (errno(3)).
///
/// ```
/// assert_eq!(fd3::Errno(2).to_string(), "no such file or directory");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// Whose failure it is; decides the exit status.
#[doc(hidden)]
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
///
/// ```
/// let error = fd3::inherit::bind_or_inherit("192.0.2.1:80").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot bind 192.0.2.1:80: address not available on this machine"
/// );
/// assert_eq!(error.errno(), Some(fd3::Errno(99)));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Facts>);

/// Behind a pointer: errors are rare and are handed up through many functions, each of which moves as many
/// bytes as there are (10 KiB of code in all).
#[derive(Clone, PartialEq, Eq)]
struct Facts {
    kind: Kind,
    doing: &'static str,
    what: String,
    /// Where it was the kernel who refused.
    errno: Option<Errno>,
    why: String,
}

impl Error {
    /// `cannot <doing> <what>: <the kernel's word>`.
    #[doc(hidden)]
    pub fn system(doing: &'static str, what: impl fmt::Display, errno: impl Into<Errno>) -> Error {
        let errno = errno.into();
        Error::new(Kind::Own, doing, &what, Some(errno), &errno)
    }

    /// `cannot <doing> <what>: <reason>`.
    #[doc(hidden)]
    pub fn refused(doing: &'static str, what: impl fmt::Display, why: impl fmt::Display) -> Error {
        Error::new(Kind::Own, doing, &what, None, &why)
    }

    /// `<what>: <wrong>`: a word of the command line that cannot be taken. `wrong` also tells what
    /// is accepted.
    #[doc(hidden)]
    pub fn usage(what: impl fmt::Display, wrong: impl fmt::Display) -> Error {
        Error::new(Kind::Usage, "", &what, None, &wrong)
    }

    /// One function for every type, as the messages are many and the program is to be small.
    #[inline(never)]
    fn new(
        kind: Kind,
        doing: &'static str,
        what: &dyn fmt::Display,
        errno: Option<Errno>,
        why: &dyn fmt::Display,
    ) -> Error {
        let (what, why) = (what.to_string(), why.to_string());
        Error(Box::new(Facts { kind, doing, what, errno, why }))
    }

    /// What it consists of besides its kind: for who is told of it elsewhere.
    #[cfg(feature = "upgrade")]
    pub(crate) fn parts(&self) -> (&'static str, &str, Option<i32>, &str) {
        (self.0.doing, &self.0.what, self.0.errno.map(|errno| errno.0), &self.0.why)
    }

    #[cfg(feature = "upgrade")]
    pub(crate) fn of_parts(
        kind: Kind,
        doing: &'static str,
        what: String,
        errno: Option<i32>,
        why: String,
    ) -> Error {
        Error(Box::new(Facts { kind, doing, what, errno: errno.map(Errno), why }))
    }

    /// The same error, blamed on COMMAND or the like.
    #[doc(hidden)]
    pub fn of_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Whose failure it is.
    #[doc(hidden)]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The kernel's error number, where it was the kernel who refused.
    ///
    /// ```
    /// # let error = fd3::inherit::bind_or_inherit("192.0.2.1:80").unwrap_err();
    /// if error.errno() == Some(fd3::Errno(98)) {
    ///     println!("somebody else has the address");
    /// }
    /// ```
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The exit status that goes with it.
    #[doc(hidden)]
    pub fn exit_status(&self) -> u8 {
        match self.0.kind {
            Kind::Usage => 2,
            Kind::Own => 125,
            Kind::NotExecutable => 126,
            Kind::NotFound => 127,
        }
    }
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
        write!(f, "{quote}{}{quote}: {}", Short(&self.0.what), Short(&self.0.why))?;
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

/// What `main` shows of an error that it returns.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Error {}

/// The errors that a supervisor meets (errno(3)).
const NAMES: Names = names! {
    EPERM "operation not permitted"
    ENOENT "no such file or directory"
    ESRCH "no such process"
    EINTR "interrupted"
    EIO "input/output error"
    ENXIO "no such device or address"
    E2BIG "argument list too long"
    ENOEXEC "exec format error"
    EBADF "not an open descriptor"
    ECHILD "no child processes"
    EAGAIN "resource temporarily unavailable"
    ENOMEM "out of memory"
    EACCES "permission denied"
    EFAULT "bad address"
    EBUSY "device or resource busy"
    EEXIST "file exists"
    ENODEV "no such device"
    ENOTDIR "not a directory"
    EISDIR "is a directory"
    EINVAL "invalid argument"
    ENFILE "too many open files in the system"
    EMFILE "too many open files"
    ENOTTY "not a terminal"
    ETXTBSY "text file busy"
    EFBIG "file too large"
    ENOSPC "no space left on device"
    EROFS "read-only file system"
    EMLINK "too many links"
    EPIPE "broken pipe"
    ENAMETOOLONG "file name too long"
    ENOSYS "not implemented by this kernel"
    ELOOP "too many symbolic links"
    ENOTSOCK "not a socket"
    EDESTADDRREQ "destination address required"
    EPROTOTYPE "wrong protocol type for socket"
    ENOPROTOOPT "protocol option not available"
    EPROTONOSUPPORT "protocol not supported"
    EOPNOTSUPP "operation not supported"
    EAFNOSUPPORT "address family not supported"
    EADDRINUSE "address in use"
    EADDRNOTAVAIL "address not available on this machine"
    ENETDOWN "network is down"
    ENETUNREACH "network is unreachable"
    ECONNRESET "connection reset by the other end"
    ENOBUFS "no buffer space available"
    ECONNREFUSED "connection refused"
    EHOSTUNREACH "no route to host"
    ENODATA "no data, and no writer"
    ETIMEDOUT "timed out"
    ELIBBAD "corrupted shared library"
    EDQUOT "disk quota exceeded"
};

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.name(self.0) {
            Some(name) => f.write_str(name),
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
