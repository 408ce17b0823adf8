//! The heads of requests (RFC 9112, sections 3 and 6).

use super::super::Wrong;
use super::bytes::{is_target, is_token};
use super::collect::{Collect, Line, span};
use super::value::{Options, Upgrade, coding, length, upgrade};
use super::{Field, Framing, Limits, Method, Name, Request, Span, Version, host, name};

/// Hears requests.
#[derive(Debug, Default)]
pub struct RequestParser {
    collect: Collect,
    /// An empty line before the request was skipped: one may be there (RFC 9112, section 2.2).
    skipped: bool,
    line: Option<RequestLine>,
    facts: Facts,
}

#[derive(Clone, Copy, Debug)]
struct RequestLine {
    line: Span,
    method: Method,
    method_name: Span,
    target: Span,
    /// Of a target in absolute-form.
    authority: Option<Authority>,
    version: Version,
}

/// Where the authority of a target is, and the usual port of its scheme.
type Authority = (Span, &'static [u8]);

/// What the fields said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    host: Option<Span>,
    length: Option<u64>,
    chunked: bool,
    expect: bool,
    options: Options,
    upgrade: Option<Upgrade>,
}

impl RequestParser {
    pub fn new() -> RequestParser {
        RequestParser::default()
    }

    /// For another head. Keeps its memory.
    pub fn clear(&mut self) {
        self.collect.clear();
        self.skipped = false;
        self.line = None;
        self.facts = Facts::default();
    }

    /// `None`: there must be more. An empty line before the request is skipped. After an error there is nothing more
    /// to be had from this connection.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Request>, Wrong> {
        let line = match self.line {
            Some(line) => line,
            None => match self.first_line(bytes, limits)? {
                Some(line) => *self.line.insert(line),
                None => return Ok(None),
            },
        };
        loop {
            match self.collect.field(bytes, limits, name::of_client)? {
                None => return Ok(None),
                Some(Some(field)) => self.facts.add(field, bytes)?,
                Some(None) => return self.whole(&line, bytes).map(Some),
            }
        }
    }

    /// In their order.
    pub fn fields(&self) -> &[Field] {
        &self.collect.fields
    }

    /// Whether a client has begun to say something: a connection that is idle need not be told 408.
    pub fn has_begun(&self) -> bool {
        self.line.is_some() || self.collect.seen_of_line() > 0
    }

    fn first_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<RequestLine>, Wrong> {
        loop {
            match self.collect.line(bytes, limits, limits.line, Wrong::LineTooLong)? {
                Line::Missing => return Ok(None),
                Line::Text(line) => return request_line(line, bytes).map(Some),
                Line::Empty if self.skipped => return Err(Wrong::RequestLine),
                Line::Empty => self.skipped = true,
            }
        }
    }

    fn whole(&self, line: &RequestLine, bytes: &[u8]) -> Result<Request, Wrong> {
        let facts = &self.facts;
        let framing = facts.framing(line.version)?;
        let body = !matches!(framing, Framing::Empty | Framing::Length(0));
        let options = facts.options;
        Ok(Request {
            len: self.collect.at(),
            version: line.version,
            method: line.method,
            line: line.line,
            method_name: line.method_name,
            target: line.target,
            host: facts.host(line, bytes)?,
            framing,
            persistent: super::persistent(line.version, options),
            expects_continue: facts.expect && body && line.version == Version::Http11,
            upgrade: facts.upgrade == Some(Upgrade::Any)
                && options.upgrade
                && !body
                && line.version == Version::Http11,
            hop_names: options.names > 0,
        })
    }
}

impl Facts {
    fn add(&mut self, field: Field, bytes: &[u8]) -> Result<(), Wrong> {
        let value = field.value.of(bytes);
        match field.known {
            Name::Host if self.host.is_some() => return Err(Wrong::SeveralHosts),
            Name::Host => {
                host::parts(value).ok_or(Wrong::Host)?;
                self.host = Some(field.value);
            }
            Name::ContentLength if self.length.is_some() => return Err(Wrong::SeveralLengths),
            Name::ContentLength => self.length = Some(length(value)?),
            Name::TransferEncoding if self.chunked => return Err(Wrong::Coding),
            Name::TransferEncoding => {
                coding(value)?;
                self.chunked = true;
            }
            Name::Connection => self.options.add(value)?,
            Name::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expect = true,
            Name::Expect => return Err(Wrong::Expectation),
            Name::Upgrade => {
                let before = self.upgrade.unwrap_or(Upgrade::Any);
                let this = upgrade(value);
                self.upgrade = Some(if before == Upgrade::Any { this } else { before });
            }
            Name::Lookalike => return Err(Wrong::Lookalike),
            Name::Te
            | Name::Trailer
            | Name::XForwardedFor
            | Name::XForwardedProto
            | Name::XForwardedHost
            | Name::Forwarded
            | Name::Hop
            | Name::Cookie
            | Name::UserAgent
            | Name::Referer
            | Name::Kept
            | Name::Other => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Wrong> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Wrong::LengthAndCoding),
            (None, true) if version == Version::Http10 => Err(Wrong::CodingInHttp10),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::Empty),
        }
    }

    /// A target's authority and Host must agree: one would be believed here, the other behind.
    fn host(&self, line: &RequestLine, bytes: &[u8]) -> Result<Option<Span>, Wrong> {
        if self.host.is_none() && line.version == Version::Http11 {
            return Err(Wrong::NoHost);
        }
        let Some((authority, usual)) = line.authority else { return Ok(self.host) };
        let named = host::parts(authority.of(bytes)).ok_or(Wrong::Target)?;
        let said = self.host.map(|host| host::parts(host.of(bytes)).ok_or(Wrong::Host));
        match said.transpose()? {
            Some(said) if !host::same(named, said, usual) => Err(Wrong::HostDiffers),
            Some(_) | None => Ok(Some(authority)),
        }
    }
}

/// Method, target and version with one space between each.
fn request_line(line: Span, bytes: &[u8]) -> Result<RequestLine, Wrong> {
    let text = line.of(bytes);
    let mut words = text.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Wrong::RequestLine);
    };
    if !is_token(method) || target.is_empty() {
        return Err(Wrong::RequestLine);
    }
    if !is_target(target) {
        return Err(Wrong::Target);
    }
    let version = super::version(version).ok_or(Wrong::RequestLine)??;
    let start = line.start as usize;
    let target_at = start.saturating_add(method.len()).saturating_add(1);
    let method_name = span(start, start.saturating_add(method.len()));
    let method = self::method(method)?;
    let (authority, skip) = aim(method, target, target_at)?;
    let target_end = target_at.saturating_add(target.len());
    let target = span(target_at.saturating_add(skip), target_end);
    Ok(RequestLine { line, method, method_name, target, authority, version })
}

fn method(name: &[u8]) -> Result<Method, Wrong> {
    Ok(match name {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        b"PATCH" => Method::Patch,
        b"CONNECT" | b"TRACE" => return Err(Wrong::MethodNotAllowed),
        _ => Method::Other,
    })
}

/// The authority in the target, if one is there, and how many bytes of the target stand before its path.
fn aim(method: Method, target: &[u8], at: usize) -> Result<(Option<Authority>, usize), Wrong> {
    match target {
        [b'/', ..] => return Ok((None, 0)),
        b"*" if method == Method::Options => return Ok((None, 0)),
        _ => {}
    }
    let (scheme_len, usual) = scheme(target).ok_or(Wrong::Target)?;
    let rest = target.get(scheme_len..).unwrap_or_default();
    let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    host::parts(rest.get(..len).unwrap_or_default()).ok_or(Wrong::Target)?;
    let start = at.saturating_add(scheme_len);
    let authority = span(start, start.saturating_add(len));
    Ok((Some((authority, usual)), scheme_len.saturating_add(len)))
}

/// How long `http://` is, and the port that goes with it.
fn scheme(target: &[u8]) -> Option<(usize, &'static [u8])> {
    let begins = |with: &[u8]| {
        target.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    match (begins(b"http://"), begins(b"https://")) {
        (true, _) => Some((7, b"80")),
        (_, true) => Some((8, b"443")),
        (false, false) => None,
    }
}
