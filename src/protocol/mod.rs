//! Text and bytes to meaning and back. Pure: no descriptor, no clock, no system call.
#![forbid(unsafe_code)]

pub mod address;
pub mod passwd;
