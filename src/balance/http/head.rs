//! Heads of requests and of responses: incremental, and each byte is looked at once, however it arrives. Fields are
//! ranges in the head's bytes, in a list whose memory is used again.
//!
//! Both parsers are called with *all bytes of the head so far* (same start, more at the end), and go on where they
//! left off. How the bytes were cut makes no difference. After a head they are `clear`ed for the next one. What they give refers to those bytes: keep them
//! (unmoved relative to their start) as long as fields are looked at.

mod bytes;
mod collect;
mod host;
mod name;
mod request;
mod response;
mod value;

#[cfg(test)]
pub mod oracle_tests;
#[cfg(test)]
mod response_tests;
#[cfg(test)]
mod tests;

pub(super) use bytes::{elements, is_token, trimmed};
pub(super) use collect::{Trailer, trailer};
pub use name::Name;
pub use request::RequestParser;
pub use response::ResponseParser;

/// Where in the head's bytes something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Those bytes; none if `bytes` is not the head.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// How much of each there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the whole head: else 431.
    pub head: u32,
    /// Bytes of the request line: else 414.
    pub line: u32,
    /// Fields: else 431.
    pub fields: u16,
}

impl Limits {
    pub const USUAL: Limits = Limits { head: 32 * 1024, line: 8 * 1024, fields: 100 };
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    Http10,
    Http11,
}

/// CONNECT and TRACE are refused (405) and so never seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    /// Any other token; whatever it is, it is passed on.
    Other,
}

impl Method {
    /// May be sent again without being asked (RFC 9110, section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options => true,
            Method::Post | Method::Patch | Method::Other => false,
        }
    }
}

/// Where a message's body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    Empty,
    Length(u64),
    Chunked,
    /// With the connection. Responses only.
    UntilClose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    pub known: Name,
    pub name: Span,
    /// Without the white space around it.
    pub value: Span,
}

/// The value of the first field of this name.
pub fn first<'a>(fields: &[Field], name: Name, bytes: &'a [u8]) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.known == name).map(|field| field.value.of(bytes))
}

/// A request's head. Its fields are `RequestParser::fields`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Bytes of the head, an empty line before it and the one at its end included: here the body begins.
    pub len: usize,
    pub version: Version,
    pub method: Method,
    /// The whole first line, for the access log.
    pub line: Span,
    pub method_name: Span,
    /// Path and query, or `*`. Of an absolute-form target only these; empty or `?...` there where it has no path.
    pub target: Span,
    /// The value of Host; of an absolute-form target its authority. None in an HTTP/1.0 request without it.
    pub host: Option<Span>,
    /// Never `UntilClose`.
    pub framing: Framing,
    /// The client's connection may serve another request after this one.
    pub persistent: bool,
    /// It waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// It asks for another protocol, in a way that can be passed on: HTTP/1.1, without a body, not h2c.
    pub upgrade: bool,
    /// Connection names fields that end here.
    pub hop_names: bool,
}

/// What a response is an answer to, as far as its meaning depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub head: bool,
    pub upgrade: bool,
}

impl Asked {
    pub fn by(request: &Request) -> Asked {
        Asked { head: request.method == Method::Head, upgrade: request.upgrade }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 1xx but 101: goes to the client (not to one of HTTP/1.0), and the same parser, cleared, hears what follows.
    Interim,
    /// 101, and it was asked for: from here on bytes go both ways as they are.
    Switch,
    Final,
}

/// A response's head. Its fields are `ResponseParser::fields`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    pub len: usize,
    pub version: Version,
    pub status: u16,
    pub kind: Kind,
    /// The reason phrase; may be empty.
    pub reason: Span,
    /// The body that follows, with HEAD, 1xx, 204 and 304 seen to.
    pub framing: Framing,
    /// What Content-Length says, also where no body follows (HEAD, 304).
    pub length: Option<u64>,
    /// The backend's connection may be used again after this answer: not where it says close, is HTTP/1.0 without
    /// keep-alive, ends by closing, or said Content-Length beside Transfer-Encoding or in a 204.
    pub persistent: bool,
    /// Connection names fields that end here.
    pub hop_names: bool,
}

/// `HTTP/1.1` and `HTTP/1.0`; `None` for what is no version at all.
fn version(bytes: &[u8]) -> Option<Result<Version, super::Wrong>> {
    match bytes {
        b"HTTP/1.1" => Some(Ok(Version::Http11)),
        b"HTTP/1.0" => Some(Ok(Version::Http10)),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Some(Err(super::Wrong::Version))
        }
        _ => None,
    }
}

/// Whether a connection goes on after a message (RFC 9112, section 9.3).
fn persistent(version: Version, options: value::Options) -> bool {
    match version {
        Version::Http11 => !options.close,
        Version::Http10 => options.keep_alive && !options.close,
    }
}
