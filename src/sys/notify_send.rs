//! The sending end of sd_notify(3).

use alloc::format;
use alloc::string::String;
use core::mem::MaybeUninit;
use std::io::IoSlice;

use rustix::fd::BorrowedFd;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg_addr};

use super::socket::{self, Kind, Name};
use crate::error::{Errno, Error};

/// As many descriptors as the kernel passes at once (SCM_MAX_FD).
const MOST: usize = 253;

/// Who is meant by the value of NOTIFY_SOCKET; nobody by an empty one.
pub fn receiver(value: &[u8]) -> Result<Option<Name>, Error> {
    match value {
        [] => Ok(None),
        [b'@', name @ ..] => Ok(Some(Name::Abstract(name.to_vec()))),
        path @ [b'/', ..] => Ok(Some(Name::Path(path.to_vec()))),
        _ => {
            let what = format!("NOTIFY_SOCKET={}", String::from_utf8_lossy(value));
            Err(Error::usage(what, "not an address; accepted: /PATH, @NAME"))
        }
    }
}

/// One datagram. EAGAIN while the receiver's queue is full.
pub fn send_now(to: &Name, text: &[u8]) -> Result<(), Errno> {
    send_with(to, text, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// One datagram, with these descriptors. Waits while the receiver's queue is full.
pub fn send(to: &Name, text: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    send_with(to, text, with, SendFlags::NOSIGNAL)
}

fn send_with(
    to: &Name,
    text: &[u8],
    with: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    let socket = socket::open(to, Kind::Datagram)?;
    let address = socket::encode(to)?;
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if with.len() > MOST || !with.is_empty() && !control.push(SendAncillaryMessage::ScmRights(with))
    {
        return Err(Errno(libc::E2BIG));
    }
    let parts = [IoSlice::new(text)];
    loop {
        match sendmsg_addr(&socket, &address, &parts, &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
