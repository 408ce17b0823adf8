//! Sockets: made, told options, bound, named, looked at. Which and when is decided elsewhere.
//! All are close-on-exec and, unless told otherwise, blocking: O_NONBLOCK is shared with every worker.

use super::last_errno;
use crate::error::Errno;
use alloc::vec::Vec;
use core::ffi::c_char;
use core::mem::{MaybeUninit, offset_of, size_of};
use core::net::{SocketAddrV4, SocketAddrV6};
use core::{ptr, slice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::net::addr::{SocketAddrArg, SocketAddrStorage};
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, netdevice, sockopt};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Stream,
    Seqpacket,
    Datagram,
}

/// A socket's own address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    V4(SocketAddrV4),
    V6(SocketAddrV6),
    Path(Vec<u8>),
    Abstract(Vec<u8>),
    Vsock {
        cid: u32,
        port: u32,
    },
    /// Not bound, or of a family that we don't know.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub enum SocketOption<'a> {
    ReuseAddr,
    ReusePort,
    V6Only(bool),
    Freebind,
    Device(&'a str),
    NoDelay,
    DeferAccept(u32),
    Fastopen(u32),
    KeepAlive,
}

/// What an inherited descriptor turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub kind: Kind,
    pub listening: bool,
    pub v6only: bool,
}

/// A new socket of the family that `name` belongs to.
pub fn open(name: &Name, kind: Kind) -> Result<OwnedFd, Errno> {
    let family = match name {
        Name::V4(_) => AddressFamily::INET,
        Name::V6(_) => AddressFamily::INET6,
        Name::Path(_) | Name::Abstract(_) => AddressFamily::UNIX,
        Name::Vsock { .. } => AddressFamily::VSOCK,
        Name::Unknown => AddressFamily::UNSPEC,
    };
    Ok(rustix::net::socket_with(family, socket_type(kind), SocketFlags::CLOEXEC, None)?)
}

/// One that has no address: keeps a place.
pub fn unbound() -> Result<OwnedFd, Errno> {
    open(&Name::Path(Vec::new()), Kind::Datagram)
}

pub fn set(fd: BorrowedFd<'_>, option: SocketOption<'_>) -> Result<(), Errno> {
    match option {
        SocketOption::ReuseAddr => sockopt::set_socket_reuseaddr(fd, true)?,
        SocketOption::ReusePort => sockopt::set_socket_reuseport(fd, true)?,
        SocketOption::V6Only(only) => sockopt::set_ipv6_v6only(fd, only)?,
        // Counts for IPv6 as well; the option of its own came only with Linux 4.15.
        SocketOption::Freebind => sockopt::set_ip_freebind(fd, true)?,
        SocketOption::NoDelay => sockopt::set_tcp_nodelay(fd, true)?,
        SocketOption::KeepAlive => sockopt::set_socket_keepalive(fd, true)?,
        SocketOption::Device(name) => {
            set_bytes(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())?;
        }
        SocketOption::DeferAccept(seconds) => {
            set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds.to_ne_bytes())?;
        }
        SocketOption::Fastopen(queue) => {
            set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &queue.to_ne_bytes())?;
        }
    }
    Ok(())
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

pub fn bind(fd: BorrowedFd<'_>, name: &Name) -> Result<(), Errno> {
    Ok(rustix::net::bind(fd, &encode(name)?)?)
}

/// The kernel cuts `backlog` down to net.core.somaxconn, so the largest number means that one:
/// no need to read it, nor for /proc.
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    Ok(rustix::net::listen(fd, backlog)?)
}

/// The address that the socket is bound to.
pub fn name(fd: BorrowedFd<'_>) -> Result<Name, Errno> {
    Ok(decode(rustix::net::getsockname(fd)?))
}

/// Looks at a descriptor that somebody else made. ENOTSOCK when it is no socket.
pub fn inspect(fd: BorrowedFd<'_>) -> Result<Seen, Errno> {
    if FileType::from_raw_mode(fstat(fd)?.st_mode) != FileType::Socket {
        return Err(Errno(libc::ENOTSOCK));
    }
    let kind = match sockopt::socket_type(fd)? {
        SocketType::STREAM => Kind::Stream,
        SocketType::SEQPACKET => Kind::Seqpacket,
        _ => Kind::Datagram,
    };
    let v6only = sockopt::ipv6_v6only(fd).unwrap_or(false);
    Ok(Seen { kind, listening: sockopt::socket_acceptconn(fd)?, v6only })
}

/// A close-on-exec copy of a descriptor of which only the number is known.
pub fn adopt(number: i32) -> Result<OwnedFd, Errno> {
    if number < 0 {
        return Err(Errno(libc::EBADF));
    }
    // SAFETY: the number serves one fcntl(2), which checks it; it is not -1.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Whether somebody called shutdown(2) on it, so that it takes nothing any more. SO_ACCEPTCONN
/// shows that for TCP only; a unix listener keeps it, and shows a hangup to poll(2).
pub fn is_shut(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    loop {
        match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return polled[0].revents().contains(PollFlags::RDHUP),
        }
    }
}

/// It listens no more, whoever else has it.
pub fn shut(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Both)?)
}

/// Whether a connection, or a datagram, waits there.
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&at_once)).is_ok_and(|count| count > 0)
}

/// The number of a network interface.
pub fn interface(name: &str) -> Result<u32, Errno> {
    let any = Name::Abstract(Vec::new());
    Ok(netdevice::name_to_index(open(&any, Kind::Datagram)?, name)?)
}

/// Whether somebody serves the unix socket at this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Alive,
    Refused,
}

/// Tries to connect, without waiting.
pub fn probe(name: &Name, kind: Kind) -> Result<Answer, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, socket_type(kind), flags, None)?;
    match rustix::net::connect(&fd, &encode(name)?) {
        // A full queue and a socket of another kind have somebody behind them as well.
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::PROTOTYPE) => Ok(Answer::Alive),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(Answer::Refused),
        Err(errno) => Err(errno.into()),
    }
}

fn socket_type(kind: Kind) -> SocketType {
    match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Seqpacket => SocketType::SEQPACKET,
        Kind::Datagram => SocketType::DGRAM,
    }
}

/// The kernel's form of an address.
pub(super) fn encode(name: &Name) -> Result<SocketAddrAny, Errno> {
    Ok(match name {
        Name::V4(addr) => addr.as_any(),
        Name::V6(addr) => addr.as_any(),
        Name::Path(path) if path.contains(&0) => return Err(Errno(libc::EINVAL)),
        Name::Path(path) => encode_unix(path, 0)?,
        Name::Abstract(name) => encode_unix(name, 1)?,
        Name::Vsock { cid, port } => encode_vsock(*cid, *port),
        Name::Unknown => return Err(Errno(libc::EAFNOSUPPORT)),
    })
}

/// unix(7): a path and the NUL that ends it, or the NUL that begins an abstract name, and the name. By hand,
/// as what rustix has for it is 1 KiB.
fn encode_unix(name: &[u8], start: usize) -> Result<SocketAddrAny, Errno> {
    let family = libc::AF_UNIX as libc::sa_family_t;
    let mut raw = libc::sockaddr_un { sun_family: family, sun_path: [0; UNIX_ROOM] };
    if name.len() >= UNIX_ROOM {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    for (place, byte) in raw.sun_path.iter_mut().skip(start).zip(name) {
        *place = *byte as c_char;
    }
    Ok(any(raw, UNIX_HEAD + name.len() + 1))
}

const UNIX_HEAD: usize = offset_of!(libc::sockaddr_un, sun_path);
const UNIX_ROOM: usize = size_of::<libc::sockaddr_un>() - UNIX_HEAD;

fn decode_unix(any: &SocketAddrAny) -> Name {
    // SAFETY: an address has as many bytes as it says.
    let raw = unsafe { slice::from_raw_parts(any.as_ptr().cast::<u8>(), any.addr_len() as usize) };
    match raw.get(UNIX_HEAD..) {
        None | Some([]) => Name::Unknown,
        Some([0, name @ ..]) => Name::Abstract(name.to_vec()),
        Some(path) => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Name::Path(path[..end].to_vec())
        }
    }
}

/// rustix knows no vsock(7) address.
fn encode_vsock(cid: u32, port: u32) -> SocketAddrAny {
    let raw = libc::sockaddr_vm {
        svm_family: libc::AF_VSOCK as libc::sa_family_t,
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    };
    any(raw, size_of::<libc::sockaddr_vm>())
}

/// `raw` is a kernel's address, of which the first `len` bytes count.
fn any<T>(raw: T, len: usize) -> SocketAddrAny {
    let mut storage = MaybeUninit::<SocketAddrStorage>::zeroed();
    // SAFETY: a storage has room for, and the alignment of, every kind of address.
    unsafe { storage.as_mut_ptr().cast::<T>().write(raw) };
    // SAFETY: that many bytes were just written.
    unsafe { SocketAddrAny::new(storage, len as u32) }
}

#[inline(never)]
fn decode(any: SocketAddrAny) -> Name {
    match any.address_family() {
        AddressFamily::INET => any.try_into().map_or(Name::Unknown, Name::V4),
        AddressFamily::INET6 => any.try_into().map_or(Name::Unknown, Name::V6),
        AddressFamily::UNIX => decode_unix(&any),
        AddressFamily::VSOCK if any.addr_len() as usize >= size_of::<libc::sockaddr_vm>() => {
            // SAFETY: the kernel wrote an address of this family and at least this length.
            let raw = unsafe { any.as_ptr().cast::<libc::sockaddr_vm>().read() };
            Name::Vsock { cid: raw.svm_cid, port: raw.svm_port }
        }
        _ => Name::Unknown,
    }
}

/// setsockopt(2) where rustix lacks the option.
fn set_bytes(fd: BorrowedFd<'_>, level: i32, option: i32, value: &[u8]) -> Result<(), Errno> {
    let len = value.len() as libc::socklen_t;
    let start = ptr::from_ref(value).cast();
    // SAFETY: `value` outlives the call, and `len` is its length.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, start, len) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}
