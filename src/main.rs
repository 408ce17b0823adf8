//! The program: hands the command line over, returns the exit status.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;
#[cfg(panic = "abort")]
#[path = "sys/no_unwind.rs"]
mod no_unwind;
