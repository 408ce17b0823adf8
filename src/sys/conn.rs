//! Connections that never block: taken, begun, read, written, ended. For whoever has many of them in one loop.

use core::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno as Code;
use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType};

use super::socket::{self, Name};
use crate::error::Errno;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// What came of trying to take the next one who waits.
#[derive(Debug)]
pub enum Accepted {
    /// And where it comes from.
    Some(OwnedFd, Name),
    /// It was gone before it was taken; there may be others.
    Gone,
    None,
}

pub fn accept(listener: BorrowedFd<'_>) -> Result<Accepted, Errno> {
    match rustix::net::acceptfrom_with(listener, FLAGS) {
        Ok((fd, from)) => Ok(Accepted::Some(fd, from.map_or(Name::Unknown, socket::decode))),
        Err(Code::AGAIN) => Ok(Accepted::None),
        // What the connection itself came to: accept(2) wants these treated like AGAIN.
        Err(
            Code::INTR
            | Code::CONNABORTED
            | Code::NETDOWN
            | Code::PROTO
            | Code::NOPROTOOPT
            | Code::HOSTDOWN
            | Code::NONET
            | Code::HOSTUNREACH
            | Code::NETUNREACH,
        ) => Ok(Accepted::Gone),
        Err(errno) => Err(errno.into()),
    }
}

/// How far a connection is that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    Connected,
    /// When it can be written to, `outcome` tells.
    UnderWay,
}

pub fn connect(name: &Name) -> Result<(OwnedFd, Begun), Errno> {
    let family = match name {
        Name::V4(_) => AddressFamily::INET,
        Name::V6(_) => AddressFamily::INET6,
        Name::Path(_) | Name::Abstract(_) => AddressFamily::UNIX,
        Name::Vsock { .. } | Name::Unknown => return Err(Errno(libc::EAFNOSUPPORT)),
    };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
    if family != AddressFamily::UNIX {
        // A comfort: without it small writes may wait for each other.
        let _ = set_tcp_nodelay(&fd, true);
    }
    match rustix::net::connect(&fd, &socket::encode(name)?) {
        Ok(()) => Ok((fd, Begun::Connected)),
        // An interrupted connect(2) goes on by itself.
        Err(Code::INPROGRESS | Code::INTR) => Ok((fd, Begun::UnderWay)),
        Err(errno) => Err(errno.into()),
    }
}

/// Of one that was under way and can be written to now.
pub fn outcome(fd: impl AsFd) -> Result<(), Errno> {
    Ok(socket_error(fd)??)
}

/// What came of a call that moves bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// So many; of reading, 0 is the end.
    Bytes(usize),
    /// None now.
    Later,
}

pub fn receive(fd: impl AsFd, room: &mut [u8]) -> Result<Moved, Errno> {
    moved(|| rustix::net::recv(&fd, &mut *room, RecvFlags::DONTWAIT).map(|(count, _)| count))
}

/// Whether nothing has come and nothing has ended.
pub fn is_quiet(fd: impl AsFd) -> bool {
    let mut byte = [0];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    matches!(rustix::net::recv(&fd, &mut byte, flags), Err(Code::AGAIN))
}

/// Whether more follows at once, with which it may share a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follows {
    More,
    Nothing,
}

pub fn send(fd: impl AsFd, bytes: &[u8], follows: Follows) -> Result<Moved, Errno> {
    let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if follows == Follows::More {
        flags |= SendFlags::MORE;
    }
    moved(|| rustix::net::send(&fd, bytes, flags))
}

fn moved(mut call: impl FnMut() -> Result<usize, Code>) -> Result<Moved, Errno> {
    loop {
        match call() {
            Ok(count) => return Ok(Moved::Bytes(count)),
            Err(Code::INTR) => {}
            // NOBUFS and NOMEM pass, but nobody tells when: they count as failures.
            Err(Code::AGAIN) => return Ok(Moved::Later),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Says that no more will come.
pub fn end(fd: impl AsFd) {
    let _ = rustix::net::shutdown(fd, Shutdown::Write);
}

/// When it is closed the other end sees that it was cut off.
pub fn cut_off(fd: impl AsFd) {
    let _ = set_socket_linger(fd, Some(Duration::ZERO));
}

/// What is sent on connections that this listener takes is sent at once.
pub fn send_at_once(listener: impl AsFd) {
    let _ = set_tcp_nodelay(listener, true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::Kind;

    #[test]
    fn a_connection_is_begun_taken_read_and_ended() {
        let name = Name::V4("127.0.0.1:0".parse().expect("an address"));
        let listener = socket::open(&name, Kind::Stream).expect("a socket");
        socket::bind(listener.as_fd(), &name).expect("a port");
        socket::listen(listener.as_fd(), 5).expect("it listens");
        socket::set_nonblocking(listener.as_fd()).expect("its flags");
        assert!(matches!(accept(listener.as_fd()), Ok(Accepted::None)));
        let name = socket::name(listener.as_fd()).expect("it is bound");
        let (client, _) = connect(&name).expect("it listens");
        crate::sys::event::wait_any([listener.as_fd()], None).expect("it comes");
        let Ok(Accepted::Some(server, from)) = accept(listener.as_fd()) else { panic!("nobody") };
        assert_eq!(from, socket::name(client.as_fd()).expect("it has a name"));
        assert_eq!(outcome(&client), Ok(()));
        let mut room = [0; 8];
        assert_eq!(receive(&server, &mut room), Ok(Moved::Later));
        assert!(is_quiet(&server));
        assert_eq!(send(&client, b"hello", Follows::Nothing), Ok(Moved::Bytes(5)));
        assert!(!is_quiet(&server));
        assert_eq!(receive(&server, &mut room), Ok(Moved::Bytes(5)));
        end(&client);
        crate::sys::event::wait_any([server.as_fd()], None).expect("its end");
        assert_eq!(receive(&server, &mut room), Ok(Moved::Bytes(0)));
        drop(listener);
        let refused = connect(&name).and_then(|(fd, _)| {
            crate::sys::event::wait_any([fd.as_fd()], None)?;
            outcome(&fd)
        });
        assert_eq!(refused, Err(Errno(libc::ECONNREFUSED)));
    }
}
