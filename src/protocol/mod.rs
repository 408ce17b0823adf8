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
