//! Heads of requests and of responses: incremental, and each byte is looked at once, however it arrives. Fields are
//! ranges in the head's bytes, in a list whose memory is used again.
//!
//! Both parsers are called with *all bytes of the head so far* (same start, more at the end), and go on where they
//! left off. After a head they are `clear`ed for the next one. What they give refers to those bytes: keep them
//! (unmoved relative to their start) as long as fields are looked at.

use alloc::vec::Vec;

use super::Wrong;

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
        todo!()
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

/// Field names that something here goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    UserAgent,
    Referer,
    Cookie,
    /// There are more.
    Other,
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
}

/// Hears requests.
#[derive(Debug, Default)]
pub struct RequestParser {
    fields: Vec<Field>,
}

impl RequestParser {
    pub fn new() -> RequestParser {
        RequestParser::default()
    }

    /// For another head. Keeps its memory.
    pub fn clear(&mut self) {
        self.fields.clear();
    }

    /// `None`: there must be more. An empty line before the request is skipped.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Request>, Wrong> {
        let _ = (bytes, limits);
        todo!()
    }

    /// In their order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether a client has begun to say something: a connection that is idle need not be told 408.
    pub fn has_begun(&self) -> bool {
        todo!()
    }
}

/// Hears responses.
#[derive(Debug, Default)]
pub struct ResponseParser {
    fields: Vec<Field>,
}

impl ResponseParser {
    pub fn new() -> ResponseParser {
        ResponseParser::default()
    }

    /// For another head. Keeps its memory.
    pub fn clear(&mut self) {
        self.fields.clear();
    }

    /// `None`: there must be more.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        asked: Asked,
    ) -> Result<Option<Response>, Wrong> {
        let _ = (bytes, limits, asked);
        todo!()
    }

    /// In their order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}
