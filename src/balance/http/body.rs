//! Bodies on their way through: how many of the bytes at hand go on as they are, what must be written before and after
//! them, and where the body ends. Nothing is copied but trailers.
//!
//! ```text
//!     loop {
//!         let step = relay.step(input)?;
//!         write step.before, input[..step.pass], step.after;
//!         input = input[step.pass + step.skip..];
//!         match step.then { More => read more when input is empty, End => { write relay.tail(); break } }
//!     }
//! ```

mod reader;
#[cfg(test)]
mod tests;

use self::reader::{Reader, Run};
use super::Wrong;
use super::head::Framing;

/// How the body goes on to the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Out {
    /// By the framing it came with. Chunk extensions are left out.
    AsItCame,
    /// Its data alone: to where the end of the connection is its end (HTTP/1.0).
    Data,
    /// As chunks: what came until the end of the connection, and shall not end this one.
    Chunks,
}

/// A few bytes of framing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Few {
    bytes: [u8; 20],
    len: u8,
}

impl Few {
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The line that a chunk begins with.
    fn chunk(size: usize) -> Few {
        let mut few = Few::default();
        let digits = (usize::BITS.saturating_sub(size.leading_zeros())).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = size.checked_shr(place.saturating_mul(4)).unwrap_or_default() & 0xf;
            let digit = u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 16));
            few.push(digit.map_or(b'0', |digit| u8::try_from(digit).unwrap_or(b'0')));
        }
        few.push(b'\r');
        few.push(b'\n');
        few
    }

    /// There is room for 16 digits and a line end.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.len)) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Call again: with the rest of the input, or when more has come.
    More,
    /// The body is over: write `tail`. What is left of the input is no part of it.
    End,
}

/// What to do with the front of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// First this is written (mostly nothing).
    pub before: Few,
    /// Then so many bytes of the input go on as they are,
    pub pass: usize,
    /// and then this (mostly nothing).
    pub after: &'static [u8],
    /// So many bytes of the input behind those are dropped.
    pub skip: usize,
    pub then: Then,
}

/// A body on its way. Small; allocates for trailers only.
#[derive(Debug)]
pub struct Relay {
    reader: Reader,
    out: Out,
}

impl Relay {
    /// `data_max`: how many bytes of data there may be (`--max-body`), else `Wrong::BodyTooLarge`; `u64::MAX` for any.
    /// A body whose length is told is judged here, before a byte of it is read.
    pub fn new(framing: Framing, out: Out, data_max: u64) -> Result<Relay, Wrong> {
        Ok(Relay { reader: Reader::new(framing, data_max)?, out })
    }

    /// As much as can be said of `input` at once. With empty input: `End` if the body is over (or was empty), else
    /// `More` with nothing to do.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Wrong> {
        let mut step =
            Step { before: Few::default(), pass: 0, after: b"", skip: 0, then: Then::More };
        loop {
            if self.reader.is_over() {
                step.then = Then::End;
                return Ok(step);
            }
            let run = self.reader.run();
            let passes = self.passes(run);
            // What passes stands first in a step.
            if passes && step.skip > 0 {
                return Ok(step);
            }
            let rest = input.get(step.pass.saturating_add(step.skip)..).unwrap_or_default();
            let taken = self.reader.take(rest)?;
            if taken == 0 && self.reader.run() == run {
                return Ok(step);
            }
            if !passes {
                step.skip = step.skip.saturating_add(taken);
                continue;
            }
            step.pass = step.pass.saturating_add(taken);
            if self.out == Out::Chunks && taken > 0 {
                step.before = Few::chunk(taken);
                step.after = b"\r\n";
                return Ok(step);
            }
        }
    }

    fn passes(&self, run: Run) -> bool {
        match (self.out, run) {
            (_, Run::Data) | (Out::AsItCame, Run::Framing) => true,
            (_, Run::Dropped) | (Out::Data | Out::Chunks, Run::Framing) => false,
        }
    }

    /// The trailer fields to pass on, and the end of the chunks, where `step` did not have them passed as they are.
    pub fn tail(&self) -> &[u8] {
        match self.out {
            Out::Data => b"",
            Out::AsItCame => self.reader.trailers(),
            Out::Chunks => b"0\r\n\r\n",
        }
    }

    /// The sender closed. `Ok`: that is the body's end, write `tail`. `Err(Wrong::Truncated)`: it is cut short, and the
    /// other side must see that: close without an end.
    pub fn closed(&mut self) -> Result<(), Wrong> {
        self.reader.closed()
    }

    pub fn is_over(&self) -> bool {
        self.reader.is_over()
    }

    /// So many bytes at least go on as they are, without being looked at (for splice); 0 where that is not so.
    pub fn unseen(&self) -> u64 {
        match self.out {
            Out::AsItCame | Out::Data => self.reader.unseen(),
            Out::Chunks => 0,
        }
    }

    /// So many of `unseen` have gone.
    pub fn went(&mut self, bytes: u64) {
        self.reader.went(bytes);
    }

    /// Bytes of data so far, without framing: for the access log.
    pub fn data(&self) -> u64 {
        self.reader.data()
    }
}
