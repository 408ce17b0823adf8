//! `fd3 balance`: an HTTP balancer, a worker like any other. It knows nothing of the supervisor.
//!
//! Pure, time and chance as arguments: `http` (bytes to meaning), `exchange` (one request with its answer),
//! `backends` (which one, how many at once, who waits), `health`, `timers`, `origin` (what `--backend` names), `plan`.
//! `engine` joins them with the kernel: one thread, one epoll.
//!
//! The way of a request: a client's bytes -> `Exchange::hear` -> `Backends::choose` -> a pooled connection, or a new
//! one -> `Exchange::begin` writes the head, `upload` the body -> the backend's bytes -> `Exchange::answer` -> the
//! client, and the backend's connection goes back to the pool.

pub mod backends;
pub mod engine;
pub mod exchange;
pub mod health;
pub mod http;
pub mod origin;
pub mod plan;
pub mod random;
pub mod timers;

/// A connection: its place in a table, and which of those that had this place it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}
