//! Answers of our own: whole, small, with the reason in one line.

use alloc::vec::Vec;

use super::{date, rewrite::decimal};

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
    let mut digits = [0; 20];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(decimal(u64::from(answer.status), &mut digits));
    out.push(b' ');
    out.extend_from_slice(reason(answer.status).as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(&date::imf(answer.now));
    out.extend_from_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    // The line and its end.
    let len = u64::try_from(answer.why.len()).unwrap_or_default().saturating_add(1);
    out.extend_from_slice(decimal(len, &mut digits));
    if answer.status == 405 {
        out.extend_from_slice(b"\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    }
    if let Some(seconds) = answer.retry_after {
        out.extend_from_slice(b"\r\nRetry-After: ");
        out.extend_from_slice(decimal(u64::from(seconds), &mut digits));
    }
    // What is refused is not to be remembered as what is there.
    out.extend_from_slice(b"\r\nCache-Control: no-store");
    if answer.close {
        out.extend_from_slice(b"\r\nConnection: close");
    } else if answer.http10 {
        out.extend_from_slice(b"\r\nConnection: keep-alive");
    }
    out.extend_from_slice(b"\r\n\r\n");
    if !answer.head_only {
        out.extend_from_slice(answer.why.as_bytes());
        out.push(b'\n');
    }
}

/// The words for a status: `Bad Gateway`.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}
