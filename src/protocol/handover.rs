//! What an fd3 hands over to the program that it becomes: plain data as tagged fields.
//!
//! A value is a row of fields, each with a tag, a duty and its bytes. One function of each type both writes and reads
//! it ([`Carry::carry`]), so that the two cannot differ. Where versions differ:
//!
//! - `needed` is always written, and must be there.
//! - `extra` came later, or is seldom there: written only where it is not empty, and empty where it is missing.
//!   Who does not know it refuses the whole: what it says cannot be left out.
//! - `hint` is the same, but who does not know it passes over it.
//!
//! So a new field is `extra` or `hint`, no tag is ever used twice, and what is no longer written stays known for one
//! version. A change that this cannot express raises `VERSION`, and `READABLE_BY` to it.
//!
//! Nothing that is read is trusted: whatever the bytes are, the answer is a value or an error.

mod address;
mod plan;
#[cfg(test)]
mod tests;
mod values;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What all of this begins with.
const MAGIC: &[u8; 8] = b"fd3hand\n";
/// How it is written here.
const VERSION: u16 = 1;
/// The least version that understands what is written here.
const READABLE_BY: u16 = 1;
/// The least version that is understood here.
const OLDEST: u16 = 1;
/// Magic, version, who can read it, and the length of the rest.
const HEAD: usize = 16;
/// Nothing is longer, in bytes.
pub const HANDOVER_MAX: usize = 256 << 20;

/// Who does not know it may pass over it.
const MAY_SKIP: u16 = 0x8000;
/// Tag and length.
const FIELD_HEAD: usize = 6;

/// Something that can be handed over.
pub trait Carry: Sized {
    /// What it is before it is read.
    fn blank() -> Self;

    /// Writes it down, or becomes what was written.
    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong>;
}

/// Where a value's bytes go, or come from.
#[derive(Debug)]
pub enum Carrier<'a> {
    Out(Vec<u8>),
    In {
        bytes: &'a [u8],
        /// Tags that were asked for.
        known: Vec<u16>,
    },
}

/// Why it is not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    what: What,
    /// The tags that lead there, the innermost first.
    place: Vec<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// It begins as nothing of fd3's.
    Foreign,
    /// By its version alone.
    Newer,
    Older,
    Cut,
    Missing,
    Unknown,
    /// A value that is none of those that there are.
    Odd,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            What::Foreign => return f.write_str("it is no handover of fd3's"),
            What::Newer => return f.write_str("it is of a version that came later"),
            What::Older => return f.write_str("it is of a version that is too old"),
            What::Cut => "it is cut short at field ",
            What::Missing => "it lacks field ",
            What::Unknown => "it needs what this version cannot do yet, field ",
            What::Odd => "it has a value that this version does not know, field ",
        })?;
        if self.place.is_empty() {
            return f.write_str("0");
        }
        for (depth, tag) in self.place.iter().rev().enumerate() {
            write!(f, "{}{tag}", if depth > 0 { "." } else { "" })?;
        }
        Ok(())
    }
}

impl Wrong {
    fn new(what: What) -> Wrong {
        Wrong { what, place: Vec::new() }
    }

    /// A value that cannot be.
    pub fn odd() -> Wrong {
        Wrong::new(What::Odd)
    }

    fn within(mut self, tag: u16) -> Wrong {
        self.place.push(tag);
        self
    }
}

/// All of it as bytes.
pub fn write(state: &mut impl Carry) -> Result<Vec<u8>, Wrong> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&READABLE_BY.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut by = Carrier::Out(out);
    state.carry(&mut by)?;
    let mut out = by.written();
    set_length(&mut out, HEAD - 4, HEAD)?;
    Ok(out)
}

/// What was written, by this version or another.
pub fn read<T: Carry>(bytes: &[u8]) -> Result<T, Wrong> {
    let word = |at| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    if !bytes.starts_with(MAGIC) {
        return Err(Wrong::new(What::Foreign));
    }
    match (word(MAGIC.len()), word(MAGIC.len() + 2)) {
        (Some(_), Some(readable_by)) if readable_by > VERSION => Err(Wrong::new(What::Newer)),
        (Some(version), Some(_)) if version < OLDEST => Err(Wrong::new(What::Older)),
        (Some(_), Some(_)) => match bytes.get(HEAD - 4..).and_then(<[u8]>::split_first_chunk) {
            Some((length, rest)) if u32::from_le_bytes(*length) as usize == rest.len() => of(rest),
            Some(_) | None => Err(Wrong::new(What::Cut)),
        },
        _ => Err(Wrong::new(What::Cut)),
    }
}

/// One value of these bytes, all of which it understands.
fn of<T: Carry>(bytes: &[u8]) -> Result<T, Wrong> {
    let (mut value, mut by) = (T::blank(), Carrier::of(bytes));
    value.carry(&mut by)?;
    by.finish()?;
    Ok(value)
}

/// A tag, what it has, and what follows.
type Field<'a> = (u16, &'a [u8], &'a [u8]);

/// The next field; nothing at the end.
fn next_field(bytes: &[u8]) -> Result<Option<Field<'_>>, Wrong> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let cut = || Wrong::new(What::Cut);
    let (head, rest) = bytes.split_at_checked(FIELD_HEAD).ok_or_else(cut)?;
    let (tag, length) = head.split_at(2);
    let tag = tag.first_chunk().map_or(0, |two| u16::from_le_bytes(*two));
    let length = length.first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
    let length = usize::try_from(length).map_err(|_| cut())?;
    let (field, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok(Some((tag, field, rest)))
}

impl<'a> Carrier<'a> {
    fn of(bytes: &'a [u8]) -> Carrier<'a> {
        Carrier::In { bytes, known: Vec::new() }
    }

    fn written(self) -> Vec<u8> {
        match self {
            Carrier::Out(out) => out,
            Carrier::In { .. } => Vec::new(),
        }
    }

    /// Always there.
    pub fn needed<T: Carry>(&mut self, tag: u16, value: &mut T) -> Result<(), Wrong> {
        let there = self.field(tag, true, &mut |by| value.carry(by))?;
        if there { Ok(()) } else { Err(Wrong::new(What::Missing).within(tag)) }
    }

    /// There where it is not empty. Who does not know it cannot go on.
    pub fn extra<T: Carry>(&mut self, tag: u16, value: &mut T) -> Result<(), Wrong> {
        let there = self.field(tag, false, &mut |by| value.carry(by))?;
        if let (false, Carrier::In { .. }) = (there, self) {
            *value = T::blank();
        }
        Ok(())
    }

    /// There where it is not empty. Who does not know it does without.
    pub fn hint<T: Carry>(&mut self, tag: u16, value: &mut T) -> Result<(), Wrong> {
        self.extra(tag | MAY_SKIP, value)
    }

    /// A list whose items need to know more than themselves. Always there.
    pub fn list<T>(
        &mut self,
        tag: u16,
        list: &mut Vec<T>,
        make: &dyn Fn() -> T,
        each: &mut dyn FnMut(&mut T, &mut Carrier<'_>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.field(tag, true, &mut |by| by.items(list, make, each)).map(drop)
    }

    /// What all lists consist of: each item behind its length.
    fn items<T>(
        &mut self,
        list: &mut Vec<T>,
        make: &dyn Fn() -> T,
        each: &mut dyn FnMut(&mut T, &mut Carrier<'_>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        match self {
            Carrier::Out(out) => {
                for item in list {
                    let place = out.len();
                    out.extend_from_slice(&[0; 4]);
                    let mut by = Carrier::Out(core::mem::take(out));
                    each(item, &mut by)?;
                    *out = by.written();
                    set_length(out, place, place + 4)?;
                }
            }
            Carrier::In { bytes, .. } => {
                list.clear();
                let mut rest = *bytes;
                while let Some((length, after)) = rest.split_first_chunk() {
                    let length = u32::from_le_bytes(*length) as usize;
                    let cut = || Wrong::new(What::Cut);
                    let (item, after) = after.split_at_checked(length).ok_or_else(cut)?;
                    rest = after;
                    let (mut value, mut by) = (make(), Carrier::of(item));
                    each(&mut value, &mut by)?;
                    by.finish()?;
                    list.push(value);
                }
                *bytes = &[];
                if !rest.is_empty() {
                    return Err(Wrong::new(What::Cut));
                }
            }
        }
        Ok(())
    }

    /// Whether it is there.
    fn field(
        &mut self,
        tag: u16,
        always: bool,
        carry: &mut dyn FnMut(&mut Carrier<'_>) -> Result<(), Wrong>,
    ) -> Result<bool, Wrong> {
        match self {
            Carrier::Out(out) => {
                let place = out.len();
                out.extend_from_slice(&tag.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                let mut by = Carrier::Out(core::mem::take(out));
                carry(&mut by).map_err(|wrong| wrong.within(tag))?;
                *out = by.written();
                if out.len() == place + FIELD_HEAD && !always {
                    out.truncate(place);
                    return Ok(false);
                }
                set_length(out, place + 2, place + FIELD_HEAD)?;
                Ok(true)
            }
            Carrier::In { bytes, known } => {
                debug_assert!(!known.contains(&tag), "two fields are {tag}");
                known.push(tag);
                let mut rest = *bytes;
                while let Some((there, field, after)) = next_field(rest)? {
                    rest = after;
                    if there == tag {
                        let mut by = Carrier::of(field);
                        let done = carry(&mut by).and_then(|()| by.finish());
                        return done.map(|()| true).map_err(|wrong| wrong.within(tag));
                    }
                }
                Ok(false)
            }
        }
    }

    /// A value that is no row of fields: its bytes.
    fn bytes(&mut self, value: &mut Vec<u8>) {
        match self {
            Carrier::Out(out) => out.extend_from_slice(value),
            Carrier::In { bytes, .. } => *value = core::mem::take(bytes).to_vec(),
        }
    }

    /// Whether all that was written is understood, or may be passed over.
    fn finish(&self) -> Result<(), Wrong> {
        let Carrier::In { bytes, known } = self else { return Ok(()) };
        let mut rest = *bytes;
        while let Some((tag, _, after)) = next_field(rest)? {
            rest = after;
            if !known.contains(&tag) && tag & MAY_SKIP == 0 {
                return Err(Wrong::new(What::Unknown).within(tag));
            }
        }
        Ok(())
    }
}

/// Of what begins at `from`, and was just written.
fn set_length(out: &mut [u8], place: usize, from: usize) -> Result<(), Wrong> {
    let length = u32::try_from(out.len().saturating_sub(from)).map_err(|_| Wrong::odd())?;
    if let Some(there) = out.get_mut(place..place + 4) {
        there.copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

/// A type whose fields are carried one after the other: `group!(Type, blank, { needed 1 field, extra 2 other })`.
macro_rules! group {
    ($name:ty, $blank:expr, { $($duty:ident $tag:literal $field:ident),* $(,)? }) => {
        impl $crate::protocol::handover::Carry for $name {
            fn blank() -> Self {
                $blank
            }

            fn carry(
                &mut self,
                by: &mut $crate::protocol::handover::Carrier<'_>,
            ) -> Result<(), $crate::protocol::handover::Wrong> {
                $(by.$duty($tag, &mut self.$field)?;)*
                Ok(())
            }
        }
    };
}
pub(crate) use group;

/// A type that is one of a few: by their numbers. The first one is the blank one.
macro_rules! kinds {
    ($name:ty, $first:path, $($number:literal $variant:path),* $(,)?) => {
        impl $crate::protocol::handover::Carry for $name {
            fn blank() -> Self {
                $first
            }

            fn carry(
                &mut self,
                by: &mut $crate::protocol::handover::Carrier<'_>,
            ) -> Result<(), $crate::protocol::handover::Wrong> {
                let mut number: u32 = match self {
                    $($variant => $number,)*
                };
                number.carry(by)?;
                *self = match number {
                    $($number => $variant,)*
                    _ => return Err($crate::protocol::handover::Wrong::odd()),
                };
                Ok(())
            }
        }
    };
}
pub(crate) use kinds;

/// What a program that was asked whether it understands a handover answers.
pub mod answer {
    use super::{String, Vec};
    use alloc::format;

    /// The whole answer's length at the most.
    pub const ANSWER_MAX: usize = 512;
    const YES: &str = "fd3 understands ";
    const NO: &str = "fd3 refuses ";

    /// It is of this version.
    pub fn yes(version: &str) -> String {
        format!("{YES}{version}\n")
    }

    pub fn no(why: &str) -> String {
        let mut line = format!("{NO}{why}").replace('\n', " ");
        let end = (0..ANSWER_MAX).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end.min(line.len()));
        line.push('\n');
        line
    }

    /// The version of who said yes, or why not.
    pub fn heard(line: &[u8]) -> Option<Result<String, String>> {
        let line = core::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let word = |word: &str| {
            let plain = |c: char| if c.is_control() { '?' } else { c };
            String::from_iter(word.chars().map(plain).collect::<Vec<_>>())
        };
        match (line.strip_prefix(YES), line.strip_prefix(NO)) {
            (Some(version), _) => Some(Ok(word(version))),
            (None, Some(why)) => Some(Err(word(why))),
            (None, None) => None,
        }
    }
}
