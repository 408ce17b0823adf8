//! HTTP/1.1 and HTTP/1.0 as a balancer in the middle has to understand them, strictly (RFC 9110, RFC 9112): whatever
//! could be understood in two ways is refused. Pure: bytes in, ranges and bytes out. No I/O, no clock, no index and no
//! arithmetic that could panic.
//!
//! The way of a request: `head::RequestParser` -> `rewrite::request` -> `body::Relay`; of its answer:
//! `head::ResponseParser` -> `rewrite::Passage` (how it goes on) -> `rewrite::response` -> `body::Relay`.
//! Where the balancer answers by itself, it is `answer`.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

pub mod answer;
pub mod body;
pub mod cookie;
pub mod date;
pub mod head;
pub mod proxy_protocol;
pub mod rewrite;
pub mod wrong;

#[cfg(test)]
mod random_tests;

pub use wrong::Wrong;
