//! Connections within this machine (unix(7), SOCK_STREAM): taken, made, and who is at the other end.

use core::mem::size_of;
use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno as Code;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType};

use super::checked;
use super::clock::monotonic_ms;
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
            // What the connection itself came to: accept(2) wants these treated like AGAIN.
            Err(
                Code::NETDOWN
                | Code::PROTO
                | Code::NOPROTOOPT
                | Code::HOSTDOWN
                | Code::NONET
                | Code::HOSTUNREACH
                | Code::OPNOTSUPP
                | Code::NETUNREACH,
            ) => return Ok(None),
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

/// Two ends of one connection, neither of which blocks.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
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

/// A few bytes that may be lost: only as long as most of the room is free (at least three quarters are, where
/// unix(7) says that it can be written to). So there is always room for `send`.
pub fn send_where_much_room(fd: impl AsFd, bytes: &[u8]) {
    let mut asked = [PollFd::new(&fd, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0) {
        let _ = send(fd, bytes);
    }
}

/// Says that no more will come, and waits for the other end to close, until this time of the monotonic clock's at
/// the most.
pub fn part(fd: impl AsFd, deadline: u64) {
    let _ = rustix::net::shutdown(&fd, Shutdown::Write);
    let mut asked = [PollFd::new(&fd, PollFlags::empty())];
    let left = Duration::from_millis(deadline.saturating_sub(monotonic_ms()));
    let limit = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
    let _ = poll(&mut asked, Some(&limit));
}

/// A few bytes, for which an unused connection always has room. Never waits.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> Result<(), Errno> {
    send_some(fd, bytes).map(drop)
}

/// All of them, waiting for room.
pub fn send_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::net::send(fd.as_fd(), bytes, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Code::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// As many bytes as there is room for. Never waits.
pub fn send_some(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::send(fd, bytes, flags)?)
}
