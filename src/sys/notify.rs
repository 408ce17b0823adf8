//! The receiving end of sd_notify(3): one datagram socket for each worker.

use core::mem::MaybeUninit;
use std::io::IoSliceMut;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::Errno;

/// The longest datagram that counts; systemd's limit, too.
pub const DATAGRAM_MAX: usize = 4096;
/// The most descriptors that the kernel passes at once (SCM_MAX_FD).
const DESCRIPTORS_MAX: usize = 253;

/// A socket with an address of its own, so that a datagram is known by where it was sent, not by a PID
/// that may be gone.
pub struct NotifySocket {
    fd: OwnedFd,
    /// The value for NOTIFY_SOCKET.
    address: String,
}

/// One datagram. Descriptors that came with it are closed: that is the answer to BARRIER=1.
#[derive(Debug)]
pub struct Datagram {
    pub text: Vec<u8>,
    /// Who sent it, and its user, as the kernel saw it.
    pub pid: i32,
    pub user: u32,
}

impl NotifySocket {
    pub fn new() -> Result<NotifySocket, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        set_socket_passcred(&fd, true)?;
        // The kernel picks a free abstract name (unix(7), "Autobind"): needs no folder that can be
        // written to, and nobody can take it before us.
        rustix::net::bind(&fd, &SocketAddrUnix::new_unnamed())?;
        let name = SocketAddrUnix::try_from(rustix::net::getsockname(&fd)?)?;
        let name = name.abstract_name().ok_or(Errno(libc::EADDRNOTAVAIL))?;
        let address = format!("@{}", String::from_utf8_lossy(name));
        Ok(NotifySocket { fd, address })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next datagram. `Some(None)` is one that does not count: too long, or from nobody.
    pub fn next(&self) -> Option<Option<Datagram>> {
        let mut text = [0_u8; DATAGRAM_MAX];
        let mut space = [MaybeUninit::uninit();
            rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut text)];
            match rustix::net::recvmsg(&self.fd, &mut parts, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(received) => break received,
                Err(_) => return None,
            }
        };
        let mut sender = None;
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmCredentials(seen) => {
                    sender = Some((seen.pid.as_raw_nonzero().get(), seen.uid.as_raw()));
                }
                // Dropped, and with that closed, one by one.
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.for_each(drop),
                _ => {}
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Some(None);
        }
        let text = text.get(..received.bytes).unwrap_or_default();
        Some(sender.map(|(pid, user)| Datagram { text: text.to_vec(), pid, user }))
    }
}
