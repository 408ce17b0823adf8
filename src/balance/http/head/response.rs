//! The heads of responses (RFC 9112, sections 4 and 6).

use super::super::Wrong;
use super::collect::{Collect, Line, span};
use super::value::{Options, coding, length};
use super::{Asked, Field, Framing, Kind, Limits, Name, Response, Span, Version, name};

/// Hears responses.
#[derive(Debug, Default)]
pub struct ResponseParser {
    collect: Collect,
    line: Option<StatusLine>,
    facts: Facts,
}

#[derive(Clone, Copy, Debug)]
struct StatusLine {
    version: Version,
    status: u16,
    reason: Span,
}

/// What the fields said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    options: Options,
}

impl ResponseParser {
    pub fn new() -> ResponseParser {
        ResponseParser::default()
    }

    /// For another head. Keeps its memory.
    pub fn clear(&mut self) {
        self.collect.clear();
        self.line = None;
        self.facts = Facts::default();
    }

    /// `None`: there must be more. After an error there is nothing more to be had from this connection.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        asked: Asked,
    ) -> Result<Option<Response>, Wrong> {
        let line = match self.line {
            Some(line) => line,
            None => match self.collect.line(bytes, limits, limits.line, Wrong::HeadTooLong)? {
                Line::Missing => return Ok(None),
                Line::Empty => return Err(Wrong::StatusLine),
                Line::Text(line) => *self.line.insert(status_line(line, bytes)?),
            },
        };
        loop {
            match self.collect.field(bytes, limits, name::of_backend)? {
                None => return Ok(None),
                Some(Some(field)) => self.facts.add(field, bytes)?,
                Some(None) => return self.whole(&line, asked).map(Some),
            }
        }
    }

    /// In their order.
    pub fn fields(&self) -> &[Field] {
        &self.collect.fields
    }

    fn whole(&self, line: &StatusLine, asked: Asked) -> Result<Response, Wrong> {
        let facts = &self.facts;
        let kind = match line.status {
            101 if asked.upgrade && line.version == Version::Http11 => Kind::Switch,
            101 => return Err(Wrong::Switch),
            100..=199 => Kind::Interim,
            _ => Kind::Final,
        };
        if facts.chunked && line.version == Version::Http10 {
            return Err(Wrong::CodingInHttp10);
        }
        let never_a_body = kind != Kind::Final || line.status == 204;
        let framing = if asked.head || never_a_body || line.status == 304 {
            Framing::Empty
        } else if facts.chunked {
            Framing::Chunked
        } else {
            facts.length.map_or(Framing::UntilClose, Framing::Length)
        };
        // What says that a body follows where none can may well send one.
        let a_body = facts.chunked || facts.length.is_some_and(|length| length > 0);
        let sure = framing != Framing::UntilClose
            && !(facts.chunked && facts.length.is_some())
            && !(never_a_body && a_body);
        Ok(Response {
            len: self.collect.at(),
            version: line.version,
            status: line.status,
            kind,
            reason: line.reason,
            framing,
            length: if facts.chunked || never_a_body { None } else { facts.length },
            persistent: sure && super::persistent(line.version, facts.options),
            hop_names: facts.options.names > 0,
        })
    }
}

impl Facts {
    fn add(&mut self, field: Field, bytes: &[u8]) -> Result<(), Wrong> {
        let value = field.value.of(bytes);
        match field.known {
            Name::ContentLength => {
                let length = length(value)?;
                // Said twice alike is understood in one way alone.
                if self.length.is_some_and(|before| before != length) {
                    return Err(Wrong::SeveralLengths);
                }
                self.length = Some(length);
            }
            Name::TransferEncoding if self.chunked => return Err(Wrong::Coding),
            Name::TransferEncoding => {
                coding(value)?;
                self.chunked = true;
            }
            Name::Connection => self.options.add(value)?,
            Name::Host
            | Name::Te
            | Name::Trailer
            | Name::Upgrade
            | Name::Expect
            | Name::XForwardedFor
            | Name::XForwardedProto
            | Name::XForwardedHost
            | Name::Forwarded
            | Name::Hop
            | Name::Lookalike
            | Name::Cookie
            | Name::UserAgent
            | Name::Referer
            | Name::Kept
            | Name::Other => {}
        }
        Ok(())
    }
}

/// `HTTP/1.1 200 OK`; the words, and the space before them, may be missing (many servers leave out both).
fn status_line(line: Span, bytes: &[u8]) -> Result<StatusLine, Wrong> {
    let text = line.of(bytes);
    let (version, rest) = text.split_at_checked(8).ok_or(Wrong::StatusLine)?;
    let version = super::version(version).ok_or(Wrong::StatusLine)??;
    let (code, has_reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], false),
        [b' ', a, b, c, b' ', ..] => ([*a, *b, *c], true),
        _ => return Err(Wrong::StatusLine),
    };
    let status = code.iter().try_fold(0_u16, |status, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        status.checked_mul(10)?.checked_add(u16::from(digit))
    });
    let status = status.filter(|status| *status >= 100).ok_or(Wrong::StatusLine)?;
    let end = line.end as usize;
    let start = (line.start as usize).saturating_add(13);
    let reason = if has_reason { span(start, end) } else { span(end, end) };
    Ok(StatusLine { version, status, reason })
}
