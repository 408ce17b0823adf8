//! fd3 as its users meet it: the real program, real sockets, real signals, real workers.

mod bad_input;
mod bad_start;
mod descriptors;
mod harness;
mod life;
mod logging;
mod refused;
mod world;
