//! How full a listener's accept queue is, and how long it may grow. The kernel tells that of TCP by
//! TCP_INFO, of unix sockets by sock_diag(7), of others not at all.

use super::last_errno;
use crate::error::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::os::fd::{AsRawFd, BorrowedFd};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Connections that wait to be accepted.
    pub len: u32,
    /// The backlog, as the kernel cut it down.
    pub max: u32,
}

/// The queue of a listening socket, where it can be known.
pub fn queue(fd: BorrowedFd<'_>) -> Option<Queue> {
    match sockopt::socket_domain(fd).ok()? {
        AddressFamily::INET | AddressFamily::INET6 => tcp(fd).ok()?,
        AddressFamily::UNIX => unix(fd).ok()?,
        _ => None,
    }
}

/// Of SO_MEMINFO, the last word (sock_diag.h).
const MEMINFO_WORDS: usize = 9;
const DROPS: usize = 8;

/// Connections, or datagrams, for which a socket of IP had no room, since it was made (Linux 4.12). Of other
/// families the kernel does not count them.
pub fn drops(fd: BorrowedFd<'_>) -> Option<u32> {
    if !matches!(sockopt::socket_domain(fd).ok()?, AddressFamily::INET | AddressFamily::INET6) {
        return None;
    }
    let mut info = [0_u32; MEMINFO_WORDS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    let (fd, start) = (fd.as_raw_fd(), info.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `len` bytes into `info`, which outlives the call.
    let done = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, start, &mut len) };
    (done == 0 && len as usize == size_of_val(&info)).then(|| info[DROPS])
}

/// The first words of `struct tcp_info`; of a listener, two of them tell about its queue
/// (tcp_diag.c does the same).
const TCP_INFO_WORDS: usize = 8;
const UNACKED: usize = 6;
const SACKED: usize = 7;
const TCP_LISTEN: u8 = 10;

fn tcp(fd: BorrowedFd<'_>) -> Result<Option<Queue>, Errno> {
    let mut info = [0_u32; TCP_INFO_WORDS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    let start = info.as_mut_ptr().cast();
    let (fd, level) = (fd.as_raw_fd(), libc::IPPROTO_TCP);
    // SAFETY: the kernel writes at most `len` bytes into `info`, which outlives the call.
    let done = unsafe { libc::getsockopt(fd, level, libc::TCP_INFO, start, &mut len) };
    if done != 0 {
        return Err(last_errno());
    }
    let whole = len as usize == size_of_val(&info);
    let listening = info[0].to_ne_bytes()[0] == TCP_LISTEN;
    Ok((whole && listening).then_some(Queue { len: info[UNACKED], max: info[SACKED] }))
}

const NLMSG_HEADER: usize = 16;
const UNIX_DIAG_MSG: usize = 16;
const REQUEST: usize = NLMSG_HEADER + 24;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const UDIAG_SHOW_RQLEN: u32 = 16;
const UNIX_DIAG_RQLEN: u16 = 4;

/// Asks for one socket by its inode, so the answer is one small datagram, there when send(2) is.
fn unix(fd: BorrowedFd<'_>) -> Result<Option<Queue>, Errno> {
    let inode = rustix::fs::fstat(fd)?.st_ino as u32;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, protocol) = (AddressFamily::NETLINK, Some(netlink::SOCK_DIAG));
    let ask = rustix::net::socket_with(family, SocketType::DGRAM, flags, protocol)?;
    rustix::net::send(&ask, &request(inode), SendFlags::empty())?;
    let mut answer = [0_u8; 512];
    let (_, len) = rustix::net::recv(&ask, &mut answer, RecvFlags::empty())?;
    let answer = &answer[..len.min(answer.len())];
    if half(answer, 4) != Some(SOCK_DIAG_BY_FAMILY) || word(answer, 20) != Some(inode) {
        return Ok(None);
    }
    Ok(attribute(answer, UNIX_DIAG_RQLEN)
        .and_then(|rest| Some(Queue { len: word(rest, 0)?, max: word(rest, 4)? })))
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request(inode: u32) -> [u8; REQUEST] {
    let family_and_protocol = u32::from_ne_bytes([libc::AF_UNIX as u8, 0, 0, 0]);
    let words: [u32; REQUEST / 4] = [
        REQUEST as u32,
        u32::from_ne_bytes(two(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST)),
        0,
        0,
        family_and_protocol,
        u32::MAX, // every state
        inode,
        UDIAG_SHOW_RQLEN,
        u32::MAX, // no cookie
        u32::MAX,
    ];
    let mut bytes = [0; REQUEST];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn two(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}

/// The payload of the first netlink attribute of this type.
fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(NLMSG_HEADER + UNIX_DIAG_MSG..)?;
    loop {
        let len = usize::from(half(rest, 0)?);
        if half(rest, 2)? == wanted {
            return rest.get(4..len);
        }
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
