//! Text and bytes to meaning and back. Pure: no descriptor, no clock, no system call.
#![forbid(unsafe_code)]

pub mod activation;
pub mod address;
pub mod capability;
#[cfg(feature = "check")]
pub mod check;
pub mod control;
pub mod cpu_quota;
pub mod duration;
pub mod env_file;
pub mod limit;
pub mod log_line;
pub mod manager;
pub mod metrics;
pub mod notify;
pub mod notify_words;
pub mod passwd;
pub mod signal_name;
pub mod spread;
pub mod status;
pub mod succession;

use alloc::string::String;
use core::fmt::{Display, Write};

/// A number of digits alone: no sign, no blank.
#[inline(never)]
pub fn whole(digits: &[u8], base: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for digit in digits {
        let digit = char::from(*digit).to_digit(base)?;
        number = number.checked_mul(u64::from(base))?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// The place of a word among these, in capitals or not.
#[inline(never)]
pub fn place_of(word: &str, among: &str) -> Option<usize> {
    let mut words = among.as_bytes().split(|byte| *byte == b' ');
    words.position(|known| known.eq_ignore_ascii_case(word.as_bytes()))
}

/// The word at this place among these; nothing, if there is none.
#[inline(never)]
pub fn word_at(place: i32, among: &'static str) -> &'static str {
    let mut words = among.as_bytes().split(|byte| *byte == b' ');
    let word = usize::try_from(place).ok().and_then(|place| words.nth(place)).unwrap_or_default();
    core::str::from_utf8(word).unwrap_or_default()
}

/// For what is accepted: `one, two, three`.
pub fn joined(words: impl Iterator<Item = impl Display>) -> String {
    let mut all = String::new();
    for word in words {
        join(&mut all, &word);
    }
    all
}

/// One function for every type.
#[inline(never)]
fn join(all: &mut String, word: &dyn Display) {
    let comma = if all.is_empty() { "" } else { ", " };
    // Writing to a String does not fail.
    let _ = write!(all, "{comma}{word}");
}
