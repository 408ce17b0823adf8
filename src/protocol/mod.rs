//! Text and bytes to meaning and back. Pure: no descriptor, no clock, no system call.
#![forbid(unsafe_code)]

pub mod activation;
pub mod address;
pub mod control;
pub mod cpu_quota;
pub mod duration;
pub mod env_file;
pub mod log_line;
pub mod notify;
pub mod passwd;
pub mod signal_name;

use alloc::string::String;
use core::fmt::{Display, Write};

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
