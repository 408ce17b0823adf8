//! fd3 as its users meet it: the real program, real sockets, real signals, real workers.

mod harness;
mod life;
mod servers;
