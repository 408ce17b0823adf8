//! fd3 as its users meet it: the real program, real sockets, real signals, real workers.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod aarch64;
mod auto;
mod bad_input;
mod bad_start;
#[cfg(feature = "balance")]
mod balance;
#[cfg(all(feature = "control", feature = "records"))]
mod boxes;
#[cfg(feature = "control")]
mod canary;
#[cfg(feature = "check")]
mod check;
mod client;
mod config;
#[cfg(feature = "control")]
mod control;
#[cfg(feature = "control")]
mod deploy;
mod descriptors;
mod docs;
mod env_file;
mod example;
mod guard;
mod harness;
mod help;
#[cfg(all(feature = "check", feature = "control", feature = "init"))]
mod images;
#[cfg(feature = "init")]
mod init;
mod kernel;
mod leftovers;
mod library;
mod life;
mod load;
mod load_anew;
mod logging;
#[cfg(all(feature = "control", feature = "manager"))]
mod manager;
#[cfg(feature = "metrics")]
mod metrics;
mod notify;
mod on_demand;
#[cfg(feature = "control")]
mod orders;
#[cfg(feature = "records")]
mod records;
mod refused;
mod reload;
#[cfg(feature = "control")]
mod reload_client;
mod restart;
mod says;
mod servers;
#[cfg(feature = "settings")]
mod settings;
mod signals;
#[cfg(feature = "starter")]
mod starter;
#[cfg(feature = "control")]
mod status;
#[cfg(feature = "fd-store")]
mod store;
#[cfg(feature = "worker-logs")]
mod worker_logs;
mod world;
