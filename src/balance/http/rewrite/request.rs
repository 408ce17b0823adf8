//! A request's head, for a backend.

use alloc::vec::Vec;

use super::super::head::{self, Field, Framing, Name, Request, Version, elements};
use super::copy;

/// What is told of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// X-Forwarded-For, -Proto and -Host are ours; whatever the client said in X-Forwarded-* and Forwarded is dropped.
    Set,
    /// The client is a proxy that is believed: its address is appended to X-Forwarded-For, -Proto and -Host are kept
    /// where it said them and set where it did not, other X-Forwarded-* and Forwarded go on.
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
    // Some room for what is ours, so that it grows at once.
    out.reserve(request.len.saturating_add(256));
    request_line(request, bytes, onward.prefix, out);
    let host = request.host.map_or(onward.host.as_bytes(), |host| host.of(bytes));
    copy::line(b"Host", &[host], out);
    let goes_on = |field: &Field| {
        goes_on(field.known, request, onward.forwarded)
            && !(request.hop_names && copy::is_named(field, fields, bytes))
    };
    copy::fields(fields, bytes, goes_on, out);
    forwarded(request, fields, bytes, onward, out);
    if let Some(via) = onward.via {
        let version: &[u8] = match request.version {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
        };
        copy::line(b"Via", &[version, via.as_bytes()], out);
    }
    framing(request, fields, bytes, out);
    out.extend_from_slice(b"\r\n");
}

fn request_line(request: &Request, bytes: &[u8], prefix: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(request.method_name.of(bytes));
    out.push(b' ');
    // `OPTIONS *` is about the server, wherever its files are; so is `OPTIONS http://host` (RFC 9112, section 3.2.4).
    let target = request.target.of(bytes);
    match (request.method, target) {
        (_, b"*") | (head::Method::Options, b"") => out.push(b'*'),
        (_, target) => {
            out.extend_from_slice(prefix.as_bytes());
            if target.first() != Some(&b'/') {
                out.push(b'/');
            }
            out.extend_from_slice(target);
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Whether a field of this name goes on as it is.
fn goes_on(name: Name, request: &Request, forwarded: Forwarded) -> bool {
    match name {
        // Ours, made from what they said.
        Name::Host | Name::ContentLength | Name::TransferEncoding => false,
        // Of this hop (RFC 9110, section 7.6.1), and what would start another protocol unseen.
        Name::Connection | Name::Te | Name::Hop | Name::Lookalike => false,
        Name::Upgrade => request.upgrade,
        Name::Expect => request.expects_continue,
        Name::Trailer => request.framing == Framing::Chunked,
        Name::XForwardedFor => false,
        Name::XForwardedProto | Name::XForwardedHost | Name::Forwarded => {
            forwarded == Forwarded::Append
        }
        Name::Cookie | Name::UserAgent | Name::Referer | Name::Kept | Name::Other => true,
    }
}

/// Who the client is, over which protocol it came, and whom it asked for.
fn forwarded(
    request: &Request,
    fields: &[Field],
    bytes: &[u8],
    onward: &Onward<'_>,
    out: &mut Vec<u8>,
) {
    let believed = match onward.forwarded {
        Forwarded::Drop => return,
        Forwarded::Set => false,
        Forwarded::Append => true,
    };
    let said = |name: Name| believed && fields.iter().any(|field| field.known == name);
    out.extend_from_slice(b"X-Forwarded-For: ");
    if believed {
        let before = fields.iter().filter(|field| field.known == Name::XForwardedFor);
        for value in before.map(|field| field.value.of(bytes)).filter(|value| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    let client = if onward.client.is_empty() { "unknown" } else { onward.client };
    out.extend_from_slice(client.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !said(Name::XForwardedProto) {
        let proto: &[u8] = if onward.https { b"https" } else { b"http" };
        copy::line(b"X-Forwarded-Proto", &[proto], out);
    }
    if let Some(host) = request.host.filter(|_| !said(Name::XForwardedHost)) {
        copy::line(b"X-Forwarded-Host", &[host.of(bytes)], out);
    }
}

/// The body's framing, and what this connection is for.
fn framing(request: &Request, fields: &[Field], bytes: &[u8], out: &mut Vec<u8>) {
    match request.framing {
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(length) => copy::number_line(b"Content-Length", length, out),
        Framing::Chunked => copy::line(b"Transfer-Encoding", &[b"chunked"], out),
    }
    let takes_trailers = |field: &Field| {
        field.known == Name::Te
            && elements(field.value.of(bytes))
                .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    };
    if request.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    } else if request.version == Version::Http11 && fields.iter().any(takes_trailers) {
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
}
