//! An answer's head, for the client.

use alloc::vec::Vec;

use super::super::body::Out;
use super::super::head::{Field, Framing, Kind, Name, Response, Version};
use super::copy;

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
        let (out, ends_by_itself) = match (response.framing, version) {
            (Framing::UntilClose, Version::Http11) => (Out::Chunks, true),
            (Framing::UntilClose, Version::Http10) => (Out::AsItCame, false),
            (Framing::Chunked, Version::Http10) => (Out::Data, false),
            (Framing::Chunked, Version::Http11)
            | (Framing::Empty | Framing::Length(_), Version::Http10 | Version::Http11) => {
                (Out::AsItCame, true)
            }
        };
        Passage { out, persistent: persistent && keep && ends_by_itself }
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
    out.reserve(response.len.saturating_add(256));
    status_line(response, bytes, out);
    let goes_on = |field: &Field| {
        goes_on(field.known, response, passage)
            && !(response.hop_names && copy::is_named(field, fields, bytes))
    };
    copy::fields(fields, bytes, goes_on, out);
    if let Some(via) = back.via {
        let version: &[u8] = match response.version {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
        };
        copy::line(b"Via", &[version, via.as_bytes()], out);
    }
    match response.kind {
        Kind::Interim => {}
        Kind::Switch => out.extend_from_slice(b"Connection: upgrade\r\n"),
        Kind::Final => {
            if let Some(cookie) = back.cookie {
                copy::line(b"Set-Cookie", &[cookie.as_bytes()], out);
            }
            framing(response, passage, out);
            connection(response, version, passage, out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(response: &Response, bytes: &[u8], out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(copy::decimal(u64::from(response.status), &mut digits));
    out.push(b' ');
    out.extend_from_slice(response.reason.of(bytes));
    out.extend_from_slice(b"\r\n");
}

/// A protocol is switched to, or asked for by 426.
fn tells_upgrade(response: &Response) -> bool {
    response.kind == Kind::Switch || response.status == 426
}

/// Whether a field of this name goes on as it is.
fn goes_on(name: Name, response: &Response, passage: Passage) -> bool {
    match name {
        // Ours, made from what they said.
        Name::ContentLength | Name::TransferEncoding => false,
        // Of this hop (RFC 9110, section 7.6.1).
        Name::Connection | Name::Te | Name::Hop => false,
        Name::Upgrade => tells_upgrade(response),
        Name::Trailer => response.framing == Framing::Chunked && passage.out == Out::AsItCame,
        Name::Host
        | Name::Expect
        | Name::XForwardedFor
        | Name::XForwardedProto
        | Name::XForwardedHost
        | Name::Forwarded
        | Name::Lookalike
        | Name::Cookie
        | Name::UserAgent
        | Name::Referer
        | Name::Kept
        | Name::Other => true,
    }
}

fn framing(response: &Response, passage: Passage, out: &mut Vec<u8>) {
    match (response.framing, passage.out) {
        // A length without a body: of HEAD and 304, what GET would have had.
        (Framing::Empty, _) => {
            if let Some(length) = response.length {
                copy::number_line(b"Content-Length", length, out);
            }
        }
        (Framing::Length(length), _) => copy::number_line(b"Content-Length", length, out),
        (Framing::Chunked, Out::AsItCame) | (_, Out::Chunks) => {
            copy::line(b"Transfer-Encoding", &[b"chunked"], out);
        }
        (Framing::Chunked, Out::Data) | (Framing::UntilClose, Out::AsItCame | Out::Data) => {}
    }
}

fn connection(response: &Response, version: Version, passage: Passage, out: &mut Vec<u8>) {
    let upgrade = tells_upgrade(response);
    let words: &[u8] = match (passage.persistent, version, upgrade) {
        (false, _, false) => b"close",
        (false, _, true) => b"close, upgrade",
        (true, Version::Http10, false) => b"keep-alive",
        (true, Version::Http10, true) => b"keep-alive, upgrade",
        (true, Version::Http11, false) => return,
        (true, Version::Http11, true) => b"upgrade",
    };
    copy::line(b"Connection", &[words], out);
}
