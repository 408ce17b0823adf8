//! Where in a body the bytes are: framing, data, or what is left out (RFC 9112, section 7.1). Strict: each byte of
//! framing can be understood in one way only, or the body is refused.
//!
//! ```text
//!     Size --CRLF--> Data --> DataEnd --CRLF--> Size ... Size(0) --CRLF--> LastLine --CRLF--> Over
//!       `-;-> Extension -^                                                   `-> Trailers --CRLF CRLF--> Over
//! ```

use alloc::vec::Vec;

use super::super::Wrong;
use super::super::head::{Framing, Trailer, trailer};

/// A larger chunk is refused: 32 bits with a sign hold this, and a peer that has no more must not see less of it.
pub const CHUNK_MAX: u64 = 0x7fff_ffff;
/// Digits of a chunk's size; there may be zeros before it.
const DIGITS_MAX: u8 = 16;
/// Bytes of a chunk's extensions, and of a whole body's.
pub const EXTENSION_MAX: u16 = 256;
pub const EXTENSIONS_MAX: u16 = 16 * 1024;
/// Bytes of the trailers, and fields in them.
pub const TRAILERS_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: u8 = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Plain bytes: so many are left.
    Length(u64),
    UntilClose,
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
        len: u16,
        quote: Quote,
    },
    /// The CR and the LF behind a size.
    SizeCr {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data(u64),
    /// The CR and the LF behind a chunk's data.
    DataCr,
    DataLf,
    /// Behind the last chunk: an empty line, or trailers.
    LastLine,
    LastLf,
    Trailers,
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quote {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

/// What the next bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    Framing,
    Data,
    /// Extensions, and trailers, which are told by `trailers`.
    Dropped,
}

#[derive(Debug)]
pub struct Reader {
    state: State,
    data: u64,
    data_max: u64,
    extensions: u16,
    trailers: Vec<u8>,
    /// Where the trailer line begins that is not whole yet.
    trailer_line: usize,
    trailer_fields: u8,
}

impl Reader {
    pub fn new(framing: Framing, data_max: u64) -> Result<Reader, Wrong> {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Over,
            Framing::Length(length) if length > data_max => return Err(Wrong::BodyTooLarge),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Ok(Reader {
            state,
            data: 0,
            data_max,
            extensions: 0,
            trailers: Vec::new(),
            trailer_line: 0,
            trailer_fields: 0,
        })
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub fn run(&self) -> Run {
        match self.state {
            State::Length(_) | State::UntilClose | State::Data(_) => Run::Data,
            State::Extension { .. } | State::Trailers => Run::Dropped,
            State::Size { .. }
            | State::SizeCr { .. }
            | State::SizeLf { .. }
            | State::DataCr
            | State::DataLf
            | State::LastLine
            | State::LastLf
            | State::Over => Run::Framing,
        }
    }

    /// How many bytes of the front of `input` are of this `run`: the state is behind them then. 0 with a change of
    /// `run`: none.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, Wrong> {
        if let State::Length(left) | State::Data(left) = self.state {
            return Ok(self.take_data(input, left));
        }
        match (self.state, input.first()) {
            (State::UntilClose, _) => self.take_until_close(input),
            (State::Trailers, _) => self.take_trailers(input),
            (_, Some(byte)) => self.take_byte(*byte),
            (_, None) => Ok(0),
        }
    }

    fn take_data(&mut self, input: &[u8], left: u64) -> usize {
        let here = u64::try_from(input.len()).unwrap_or(u64::MAX).min(left);
        self.went(here);
        // At most as many as there are.
        usize::try_from(here).unwrap_or(input.len())
    }

    fn take_until_close(&mut self, input: &[u8]) -> Result<usize, Wrong> {
        self.data = self.data.saturating_add(u64::try_from(input.len()).unwrap_or(u64::MAX));
        if self.data > self.data_max { Err(Wrong::BodyTooLarge) } else { Ok(input.len()) }
    }

    /// A byte of framing. 0: it is of the next run.
    fn take_byte(&mut self, byte: u8) -> Result<usize, Wrong> {
        let next = match (self.state, byte) {
            (State::Size { size, digits }, b'\r') if digits > 0 => State::SizeLf { size },
            (State::Size { size, digits }, b';') if digits > 0 => {
                self.state = State::Extension { size, len: 0, quote: Quote::Outside };
                return Ok(0);
            }
            (State::Size { size, digits }, digit) => self.digit(size, digits, digit)?,
            (State::Extension { size, quote: Quote::Outside, .. }, b'\r') => {
                self.state = State::SizeCr { size };
                return Ok(0);
            }
            (State::Extension { size, len, quote }, byte) => {
                self.extension(size, len, quote, byte)?
            }
            (State::SizeCr { size }, b'\r') => State::SizeLf { size },
            (State::SizeLf { size: 0 }, b'\n') => State::LastLine,
            (State::SizeLf { size }, b'\n') => self.chunk(size)?,
            (State::SizeCr { .. } | State::SizeLf { .. }, _) => return Err(Wrong::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::DataCr | State::DataLf, _) => return Err(Wrong::ChunkEnd),
            (State::LastLine, b'\r') => State::LastLf,
            (State::LastLine, _) => {
                self.state = State::Trailers;
                return Ok(0);
            }
            (State::LastLf, b'\n') => State::Over,
            (State::LastLf, _) => return Err(Wrong::Trailers),
            (
                State::Length(_)
                | State::UntilClose
                | State::Data(_)
                | State::Trailers
                | State::Over,
                _,
            ) => return Ok(0),
        };
        self.state = next;
        Ok(1)
    }

    fn digit(&self, size: u64, digits: u8, byte: u8) -> Result<State, Wrong> {
        let digit = char::from(byte).to_digit(16).ok_or(Wrong::ChunkSize)?;
        let size = size
            .checked_mul(16)
            .and_then(|size| size.checked_add(u64::from(digit)))
            .filter(|size| *size <= CHUNK_MAX && digits < DIGITS_MAX)
            .ok_or(Wrong::ChunkSize)?;
        Ok(State::Size { size, digits: digits.saturating_add(1) })
    }

    /// Its size is known: it is judged before a byte of it is read.
    fn chunk(&self, size: u64) -> Result<State, Wrong> {
        match self.data.checked_add(size) {
            Some(data) if data <= self.data_max => Ok(State::Data(size)),
            Some(_) | None => Err(Wrong::BodyTooLarge),
        }
    }

    /// A byte of `;name="value"`. It goes no further; it is looked at because a quote that stays open would hide the
    /// line's end from others.
    fn extension(&mut self, size: u64, len: u16, quote: Quote, byte: u8) -> Result<State, Wrong> {
        self.extensions = self.extensions.saturating_add(1);
        let long = len >= EXTENSION_MAX || self.extensions > EXTENSIONS_MAX;
        if long || byte.is_ascii_control() && byte != b'\t' {
            return Err(Wrong::ChunkExtension);
        }
        let quote = match (quote, byte) {
            (Quote::Outside, b'"') | (Quote::Escaped, _) => Quote::Inside,
            (Quote::Inside, b'"') => Quote::Outside,
            (Quote::Inside, b'\\') => Quote::Escaped,
            (Quote::Outside | Quote::Inside, _) => quote,
        };
        Ok(State::Extension { size, len: len.saturating_add(1), quote })
    }

    fn take_trailers(&mut self, input: &[u8]) -> Result<usize, Wrong> {
        let mut taken = 0_usize;
        for byte in input {
            taken = taken.saturating_add(1);
            let after_cr = self.trailers.last() == Some(&b'\r');
            let control = byte.is_ascii_control() && *byte != b'\t' && *byte != b'\r';
            if after_cr != (*byte == b'\n')
                || control && !after_cr
                || self.trailers.len() >= TRAILERS_MAX
            {
                return Err(Wrong::Trailers);
            }
            self.trailers.push(*byte);
            if after_cr && self.trailer_line()? {
                self.state = State::Over;
                break;
            }
        }
        Ok(taken)
    }

    /// A line of the trailers is whole. Whether it is the empty one that ends them.
    fn trailer_line(&mut self) -> Result<bool, Wrong> {
        let end = self.trailers.len().saturating_sub(2);
        let line = self.trailers.get(self.trailer_line..end).unwrap_or_default();
        if line.is_empty() {
            return Ok(true);
        }
        self.trailer_fields = self.trailer_fields.saturating_add(1);
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(Wrong::Trailers);
        }
        match trailer(line)? {
            Trailer::Pass => self.trailer_line = self.trailers.len(),
            Trailer::Drop => self.trailers.truncate(self.trailer_line),
        }
        Ok(false)
    }

    /// The trailers to pass on, with the line that ends them; nothing where there were none.
    pub fn trailers(&self) -> &[u8] {
        if self.is_over() { &self.trailers } else { &[] }
    }

    pub fn closed(&mut self) -> Result<(), Wrong> {
        if let State::UntilClose | State::Over = self.state {
            self.state = State::Over;
            return Ok(());
        }
        Err(Wrong::Truncated)
    }

    /// Bytes of data that are to come for sure, or may come until the end.
    pub fn unseen(&self) -> u64 {
        match (self.state, self.data_max.saturating_sub(self.data)) {
            (State::Length(left) | State::Data(left), _) | (State::UntilClose, left) => left,
            _ => 0,
        }
    }

    /// So many of `unseen` were taken.
    pub fn went(&mut self, bytes: u64) {
        self.data = self.data.saturating_add(bytes);
        if let State::Length(left) | State::Data(left) = &mut self.state {
            *left = left.saturating_sub(bytes);
        }
        if self.state == State::Length(0) {
            self.state = State::Over;
        } else if self.state == State::Data(0) {
            self.state = State::DataCr;
        }
    }

    pub fn data(&self) -> u64 {
        self.data
    }
}
