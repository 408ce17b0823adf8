//! For programs that inherit their sockets, from fd3 (which holds listening sockets, hands them to a program on fd 3,
//! and keeps that program running), from systemd, or from nobody.
//!
//! - [`inherit`]: the sockets that were handed over, or one that is bound here
//! - [`ready`]: tell the supervisor that the program serves, what it does, and that it is well
//! - [`serve`]: serve until told to stop, then let what is in flight finish
//! - [`restart`]: where nobody supervises the program, it replaces itself by its new version on `USR2`
//!
//! No async runtime, usable beside any. This server can be reloaded and finishes what it has begun
//! (`fd3 run -l :3000 --ready notify -- THIS`), and runs by hand as well:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tokio::net::{TcpListener, UnixStream};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let app = Router::new().route("/", get(|| async { "hello\n" }));
//!     let listener = fd3::inherit::bind_or_inherit("127.0.0.1:3000")?;
//!     listener.set_nonblocking(true)?;
//!     let stop = UnixStream::from_std(fd3::serve::Stop::on_signals()?.into())?;
//!     fd3::ready::ready()?;
//!     axum::serve(TcpListener::from_std(listener)?, app)
//!         .with_graceful_shutdown(async move { drop(stop.readable().await) })
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! The same with threads and without a runtime:
//!
//! ```no_run
//! use std::io::Write;
//!
//! fn main() -> Result<(), fd3::Error> {
//!     let listener = fd3::inherit::bind_or_inherit("127.0.0.1:3000")?;
//!     let server = fd3::serve::Server::new(listener);
//!     server.run(|mut client| drop(client.write_all(b"hello\n"))).map(drop)
//! }
//! ```
//!
//! The program `fd3` itself is a part of this crate, behind its features; the library needs none of them:
//! `fd3 = { version = "0.1", default-features = false }`.
//!
//! # Where things are
//!
//! `ARCHITECTURE.md` tells; in short: `protocol` (text and bytes to meaning) and `supervisor` (decisions) are pure,
//! `sys` is the only place with `unsafe` and system calls, `event_loop` joins them, and `cli` turns words into a
//! `Plan`. What is hidden here is no part of the interface and may change at any time.

#![deny(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

#[cfg(feature = "balance")]
#[doc(hidden)]
pub mod balance;
#[doc(hidden)]
pub mod cli;
mod error;
mod event_loop;
pub mod inherit;
#[cfg(feature = "init")]
mod init;
mod names;
mod pid_map;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod protocol;
pub mod ready;
pub mod restart;
pub mod serve;
mod settings;
#[doc(hidden)]
pub mod supervisor;
mod sweep;
mod sys;
#[doc(hidden)]
pub mod units;

#[doc(hidden)]
pub use error::Kind as ErrorKind;
pub use error::{Errno, Error};
