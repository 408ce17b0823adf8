//! Answers of our own: whole, small, with the reason in one line.

use alloc::vec::Vec;

/// What an answer of ours is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer<'a> {
    /// 400, 404, 405, 408, 413, 414, 417, 431, 500, 501, 502, 503, 504, 505, 200 (for pages of our own).
    pub status: u16,
    /// One line for people, becomes the body: `no backend is up`.
    pub why: &'a str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// Says `Connection: close`.
    pub close: bool,
    /// The request was HEAD: the head alone.
    pub head_only: bool,
    /// The request was of HTTP/1.0, and `close` is not set: says `Connection: keep-alive`.
    pub http10: bool,
    /// Seconds since 1970, for Date.
    pub now: u64,
}

/// Appends the whole answer.
pub fn answer(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let _ = (answer, out);
    todo!()
}

/// The words for a status: `Bad Gateway`.
pub fn reason(status: u16) -> &'static str {
    let _ = status;
    todo!()
}
