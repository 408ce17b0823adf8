//! The sending end of sd_notify(3).

use core::mem::MaybeUninit;
use std::io::IoSlice;

use rustix::fd::BorrowedFd;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg_addr};

use super::socket::{self, Kind, Name};
use crate::error::Errno;

/// As many descriptors as the kernel passes at once (SCM_MAX_FD).
const MOST: usize = 253;

/// One datagram, with these descriptors. Waits while the receiver's queue is full.
pub fn send(to: &Name, text: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let socket = socket::open(to, Kind::Datagram)?;
    let address = socket::encode(to)?;
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if with.len() > MOST || !with.is_empty() && !control.push(SendAncillaryMessage::ScmRights(with))
    {
        return Err(Errno(libc::E2BIG));
    }
    let (parts, flags) = ([IoSlice::new(text)], SendFlags::NOSIGNAL);
    loop {
        match sendmsg_addr(&socket, &address, &parts, &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
