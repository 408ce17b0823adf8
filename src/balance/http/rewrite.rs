//! What goes on to the backend and to the client: heads are written anew, never copied whole. Fields of one hop end here,
//! framing is our own, and what is told of the client is told once, however often a request is tried.

use alloc::vec::Vec;

use super::body::Out;
use super::head::{Field, Request, Response, Version};

/// What is told of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// X-Forwarded-For, -Proto and -Host are ours; whatever the client said in X-Forwarded-* and Forwarded is dropped.
    Set,
    /// The client is a proxy that is believed: its address is appended to X-Forwarded-For, -Proto and -Host are kept
    /// where it said them and set where it did not.
    Append,
    /// Nothing is told, and what the client said is dropped.
    Drop,
}

/// How a request goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Onward<'a> {
    pub forwarded: Forwarded,
    /// The client's address, without its port. Empty for one of a unix socket: told as `unknown`.
    pub client: &'a str,
    pub https: bool,
    /// The name for Via; none: no Via.
    pub via: Option<&'a str>,
    /// The path of `--backend`, without a slash at its end: `/prefix` or nothing.
    pub prefix: &'a str,
    /// What Host says to the backend if the client said none (HTTP/1.0): the backend's own name.
    pub host: &'a str,
}

/// Appends the request's head for a backend: HTTP/1.1, target in origin-form behind the prefix. `bytes` and `fields`
/// are the head's. May be called again for another try: nothing piles up.
pub fn request(
    request: &Request,
    fields: &[Field],
    bytes: &[u8],
    onward: &Onward<'_>,
    out: &mut Vec<u8>,
) {
    let _ = (request, fields, bytes, onward, out);
    todo!()
}

/// How an answer goes on to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passage {
    /// For `body::Relay::new(response.framing, passage.out, u64::MAX)`.
    pub out: Out,
    /// The client's connection may go on after this answer.
    pub persistent: bool,
}

impl Passage {
    /// `keep`: the balancer would keep the connection (it is not draining, and the request's body has been or will be
    /// read to its end). `version` and `persistent` are the request's.
    pub fn of(response: &Response, version: Version, persistent: bool, keep: bool) -> Passage {
        let _ = (response, version, persistent, keep);
        todo!()
    }
}

/// What an answer gets of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Back<'a> {
    pub via: Option<&'a str>,
    /// A whole value for a Set-Cookie field (`cookie::set`), for --sticky.
    pub cookie: Option<&'a str>,
}

/// Appends the response's head for the client. For an interim one (1xx) and a 101, too: do not call it for interim
/// ones if the client speaks HTTP/1.0.
pub fn response(
    response: &Response,
    fields: &[Field],
    bytes: &[u8],
    version: Version,
    passage: Passage,
    back: &Back<'_>,
    out: &mut Vec<u8>,
) {
    let _ = (response, fields, bytes, version, passage, back, out);
    todo!()
}
