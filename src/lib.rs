//! fd3 holds listening sockets, hands them to a program on fd 3, and keeps that program running.
//!
//! This crate is the program and, later, the library for Rust programs that inherit their sockets.
//! What lives where is told in `ARCHITECTURE.md`; in short: `protocol` (text and bytes to meaning) and
//! `supervisor` (decisions) are pure, `sys` is the only place with `unsafe` and system calls,
//! `event_loop` joins them, and `cli` turns words into a `Plan`.

#![deny(unsafe_code)]

extern crate alloc;

#[doc(hidden)]
pub mod cli;
mod error;
mod event_loop;
mod pid_map;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod supervisor;
mod sys;
#[doc(hidden)]
pub mod units;

pub use error::{Errno, Error, Kind as ErrorKind};
