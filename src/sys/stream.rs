//! Connections within this machine (unix(7), SOCK_STREAM): taken, made, and who is at the other end.

use core::mem::size_of;
use core::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno as Code;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SendFlags, SocketFlags};

use super::checked;
use super::socket::{self, Kind, Name};
use crate::error::Errno;

/// How long a listener may leave its queue full before it counts as dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is at the other end, as the kernel saw it: at connect(2) for a client, at listen(2) for a server.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// 0 for one that cannot be seen from this PID namespace.
    pub pid: i32,
    pub user: u32,
}

/// The next one who waits, not blocking.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(fd) => return Ok(Some(fd)),
            Err(Code::INTR) => {}
            Err(Code::AGAIN | Code::CONNABORTED) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Blocking, as are reads of what it returns.
pub fn connect(name: &Name) -> Result<OwnedFd, Errno> {
    let fd = socket::open(name, Kind::Stream)?;
    set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&fd, &socket::encode(name)?)?;
    Ok(fd)
}

/// By libc, as rustix takes it for granted that a peer has a PID here.
pub fn peer(fd: BorrowedFd<'_>) -> Result<Peer, Errno> {
    let mut seen = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let to = (&raw mut seen).cast();
    // SAFETY: seen and len outlive the call, and len is the room that there is.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, to, &raw mut len) })?;
    Ok(Peer { pid: seen.pid, user: seen.uid })
}

/// 0 at the end.
pub fn receive(fd: impl AsFd, room: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::read(fd.as_fd(), &mut *room) {
            Err(Code::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// A few bytes, for which an unused connection always has room. Never waits.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> Result<(), Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::send(fd, bytes, flags).map(drop)?)
}
