//! The PROXY protocol, versions 1 and 2: one header before a connection's first byte that tells whose connection it is.
//! Taken only where it is configured, and there it must be (it is never guessed).

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Wrong;

/// Bytes that a header may have: of version 1 107, of version 2 16 and what its length says, bounded here.
pub const MAX: usize = 16 + 2048;

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The proxy's own (LOCAL, UNKNOWN), or of a kind without an address: the socket's peer counts.
    Own,
    Client {
        from: SocketAddr,
        to: SocketAddr,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its bytes: here the request begins.
    pub len: usize,
    pub source: Source,
}

/// `None`: there must be more. `bytes` are all of the connection so far.
pub fn hear(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    let _ = bytes;
    todo!()
}

/// Appends a header of version 1. Addresses of two families: UNKNOWN.
pub fn write_v1(source: Source, out: &mut Vec<u8>) {
    let _ = (source, out);
    todo!()
}

/// Appends a header of version 2.
pub fn write_v2(source: Source, out: &mut Vec<u8>) {
    let _ = (source, out);
    todo!()
}
