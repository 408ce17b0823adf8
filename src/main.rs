//! The program: hands the command line over, returns the exit status.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;
