//! fd3 as its users meet it: the real program, real sockets, real signals, real workers.

mod bad_input;
mod bad_start;
mod harness;
mod life;
mod refused;
mod world;
