//! fd3 as its users meet it: the real program, real sockets, real signals, real workers.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod auto;
mod bad_input;
mod bad_start;
mod client;
mod config;
mod control;
mod descriptors;
mod env_file;
mod example;
mod guard;
mod harness;
mod help;
mod leftovers;
mod life;
mod load;
mod load_anew;
mod logging;
mod notify;
mod refused;
mod reload;
mod reload_client;
mod says;
mod servers;
mod signals;
mod world;
