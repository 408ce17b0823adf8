//! What the operator asked for.
#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;

use super::backends::{Algorithm, Limits};
use super::health::Rules;
use super::http::rewrite::Forwarded;
use super::origin::Origin;
use crate::plan::LogPlan;
use crate::protocol::address::Listen;
use crate::units::Millis;

#[derive(Debug)]
pub struct Plan {
    /// Where to listen; nothing: at what was inherited, or else at port 3000.
    pub listen: Vec<Listen>,
    pub backends: Vec<Origin>,
    pub algorithm: Algorithm,
    pub limits: Limits,
    /// On how many more backends a request is tried.
    pub retries: u32,
    pub check: Option<Check>,
    pub rules: Rules,
    pub times: Times,
    /// How often names are looked up again.
    pub resolve: Millis,
    pub max_clients: Option<u32>,
    /// The most bytes of a request's body.
    pub max_body: u64,
    pub forwarded: Forwarded,
    pub via: Option<String>,
    pub log: LogPlan,
}

/// How backends are asked whether they are well.
#[derive(Clone, Debug)]
pub struct Check {
    pub path: String,
    pub interval: Millis,
    pub timeout: Millis,
}

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A request's head, from its first byte on.
    pub head: Millis,
    /// Between two parts of a request's body.
    pub body: Millis,
    /// Between two requests of a connection.
    pub idle: Millis,
    /// Until a peer takes more of what it is sent.
    pub write: Millis,
    /// Until a backend takes a connection.
    pub connect: Millis,
    /// Until a backend answers, and between two parts of its answer.
    pub answer: Millis,
    /// For a place at a backend.
    pub queue: Millis,
    /// Between two bytes of a connection that became another protocol's.
    pub tunnel: Millis,
    /// Between two requests of a backend's connection.
    pub pool: Millis,
    pub drain: Millis,
}
