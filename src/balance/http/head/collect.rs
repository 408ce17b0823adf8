//! Lines of a head, one after the other, into fields: what both kinds of heads, and trailers, have in common.

use alloc::vec::Vec;

use super::super::Wrong;
use super::bytes::{Lines, Spelling, is_token_byte, token, trimmed};
use super::{Field, Limits, Name, Span};

/// A head in the making.
#[derive(Debug, Default)]
pub struct Collect {
    lines: Lines,
    pub fields: Vec<Field>,
}

/// What the next line is.
pub enum Line {
    /// It is not whole yet.
    Missing,
    Empty,
    Text(Span),
}

/// A span of the head; a head is far shorter than 4 GiB.
pub fn span(start: usize, end: usize) -> Span {
    let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { start: short(start), end: short(end) }
}

/// Where `part` is, given where the bytes are that it was taken from.
fn within(whole: Span, at: usize, len: usize) -> Span {
    let start = (whole.start as usize).saturating_add(at);
    span(start, start.saturating_add(len))
}

impl Collect {
    pub fn clear(&mut self) {
        self.lines = Lines::default();
        self.fields.clear();
    }

    /// Where the next line begins: behind an empty one, the head's end.
    pub fn at(&self) -> usize {
        self.lines.start
    }

    pub fn seen_of_line(&self) -> usize {
        self.lines.seen_of_line()
    }

    /// The next line, of at most `line_max` bytes. How the bytes were cut makes no difference: they are judged in
    /// their order, up to the limits and never behind them.
    pub fn line(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        line_max: u32,
        too_long: Wrong,
    ) -> Result<Line, Wrong> {
        let head_max = limits.head as usize;
        // With its CRLF.
        let line_max = self.lines.start.saturating_add(line_max as usize).saturating_add(2);
        let (max, wrong) = match line_max < head_max {
            true => (line_max, too_long),
            false => (head_max, Wrong::HeadTooLong),
        };
        let within = bytes.get(..max).unwrap_or(bytes);
        match self.lines.next(within)? {
            None if within.len() >= max => Err(wrong),
            None => Ok(Line::Missing),
            Some((start, end)) if start == end => Ok(Line::Empty),
            Some((start, end)) => Ok(Line::Text(span(start, end))),
        }
    }

    /// The next field; `None` inside for the empty line that ends the head.
    pub fn field(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        known: fn(&[u8], Spelling) -> Name,
    ) -> Result<Option<Option<Field>>, Wrong> {
        match self.line(bytes, limits, u32::MAX, Wrong::HeadTooLong)? {
            Line::Missing => Ok(None),
            Line::Empty => Ok(Some(None)),
            Line::Text(_) if self.fields.len() >= usize::from(limits.fields) => {
                Err(Wrong::TooManyFields)
            }
            Line::Text(line) => {
                let field = field(line, line.of(bytes), known)?;
                self.fields.push(field);
                Ok(Some(Some(field)))
            }
        }
    }
}

/// `NAME: VALUE` (RFC 9112, section 5).
fn field(line: Span, bytes: &[u8], known: fn(&[u8], Spelling) -> Name) -> Result<Field, Wrong> {
    let (name_len, spelling) = token(bytes);
    let (name, rest) = bytes.split_at_checked(name_len).unwrap_or_default();
    let value = match rest {
        _ if name.is_empty() => {
            let space = matches!(rest, [b' ' | b'\t', ..]);
            return Err(if space { Wrong::Fold } else { Wrong::FieldName });
        }
        [b':', value @ ..] => value,
        [b' ' | b'\t', ..] => return Err(Wrong::SpaceBeforeColon),
        _ => return Err(Wrong::FieldName),
    };
    let trimmed = trimmed(value);
    // Where it begins, of all that is behind the colon; where all is white space, there.
    let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or_default();
    let at = name_len.saturating_add(1).saturating_add(start);
    Ok(Field {
        known: known(name, spelling),
        name: within(line, 0, name_len),
        value: within(line, at, trimmed.len()),
    })
}

/// What to do with a trailer field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trailer {
    Pass,
    /// It could change what the head said (RFC 9110, section 6.5.1).
    Drop,
}

/// A trailer line without its CRLF, which has no control character in it.
pub fn trailer(line: &[u8]) -> Result<Trailer, Wrong> {
    if !line.first().is_some_and(|byte| is_token_byte(*byte)) {
        return Err(Wrong::Trailers);
    }
    let field = field(Span::default(), line, super::name::of_client);
    match field.map_err(|_| Wrong::Trailers)?.known {
        Name::Host | Name::ContentLength | Name::TransferEncoding | Name::Lookalike => {
            Err(Wrong::Trailers)
        }
        Name::Other => Ok(Trailer::Pass),
        // All that has to do with framing, routing, trust, or with how the body is to be understood.
        Name::Connection
        | Name::Te
        | Name::Trailer
        | Name::Upgrade
        | Name::Expect
        | Name::XForwardedFor
        | Name::XForwardedProto
        | Name::XForwardedHost
        | Name::Forwarded
        | Name::Hop
        | Name::Cookie
        | Name::UserAgent
        | Name::Referer
        | Name::Kept => Ok(Trailer::Drop),
    }
}
