//! fd3 as its users meet it: the real program, real sockets, real signals, real workers.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod auto;
mod harness;
mod life;
mod servers;
