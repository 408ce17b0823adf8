//! Names to addresses by the C library (getaddrinfo(3)), which may take its time: in a child, whose answer comes
//! through a pipe. A thread would need a heap for threads, and could not be given up.

use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{bare_fork, checked, fd, last_errno, signal};
use crate::error::Errno;

/// Addresses taken of one name.
pub const ADDRESSES_MAX: usize = 256;
/// An address as it goes through the pipe: 4 or 6, and the address.
const RECORD: usize = 1 + 16;
/// First in the pipe: whether there is an answer.
const FOUND: u8 = b'+';
const NOT_FOUND: u8 = b'-';

/// A name that is being looked up. Dropped, it is given up.
#[derive(Debug)]
pub struct Lookup {
    pid: i32,
    answer: OwnedFd,
    bytes: Vec<u8>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Each once, in an order of their own.
    Addresses(Vec<IpAddr>),
    /// What the C library says.
    Nothing(String),
}

impl Lookup {
    pub fn begin(name: &CStr) -> Result<Lookup, Errno> {
        let (answer, write) = fd::pipe()?;
        rustix::io::ioctl_fionbio(&answer, true)?;
        // SAFETY: this program has one thread, so that the child finds every lock of the C library free.
        let pid = checked(unsafe { bare_fork() })?;
        if pid == 0 {
            signal::die_by_default();
            // The parent's connections end when the parent closes them.
            fd::close_inherited(&[fd::number(&write)]);
            look_up(name, &write);
            // SAFETY: ends the child without running anything of its parent's.
            unsafe { libc::_exit(0) };
        }
        Ok(Lookup { pid, answer, bytes: Vec::new() })
    }

    /// Reads what there is; `None` where there will be more.
    pub fn read(&mut self) -> Result<Option<Found>, Errno> {
        let mut room = [0; RECORD * 16];
        loop {
            match rustix::io::read(&self.answer, &mut room) {
                Ok(0) => return Ok(Some(self.found())),
                Ok(count) => self.bytes.extend(room.get(..count).unwrap_or_default()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn found(&self) -> Found {
        match self.bytes.split_first() {
            Some((&FOUND, records)) => {
                let mut all: Vec<IpAddr> =
                    records.chunks_exact(RECORD).filter_map(address).collect();
                all.sort_unstable();
                all.dedup();
                Found::Addresses(all)
            }
            Some((_, why)) => Found::Nothing(String::from_utf8_lossy(why).into_owned()),
            None => Found::Nothing("the lookup came to no end".into()),
        }
    }
}

impl AsFd for Lookup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // It has nothing left to do, or is not to do it. Nobody else waits for it.
        let _ = signal::send(self.pid, libc::SIGKILL);
        let mut status = 0;
        // SAFETY: there is room for the status.
        while unsafe { libc::waitpid(self.pid, &raw mut status, 0) } == -1
            && last_errno() == Errno(libc::EINTR)
        {}
    }
}

fn address(record: &[u8]) -> Option<IpAddr> {
    let (kind, bytes) = record.split_first()?;
    let octets: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
    match kind {
        4 => Some(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into()),
        6 => Some(Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// In the child.
fn look_up(name: &CStr, to: &OwnedFd) {
    // SAFETY: all zero is a valid addrinfo: any family, any protocol, no pointers.
    let mut hints: libc::addrinfo = unsafe { core::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: name ends with a NUL, hints and list outlive the call.
    let code =
        unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    let mut bytes = Vec::new();
    if code != 0 {
        bytes.push(NOT_FOUND);
        // SAFETY: no memory is passed.
        let why = unsafe { libc::gai_strerror(code) };
        // SAFETY: for any number it answers with a string that is never freed.
        bytes.extend(unsafe { CStr::from_ptr(why) }.to_bytes());
    } else {
        bytes.push(FOUND);
        for _ in 0..ADDRESSES_MAX {
            // SAFETY: it is null, or an entry of the list that getaddrinfo made and nobody frees.
            let Some(entry) = (unsafe { list.as_ref() }) else { break };
            record(entry, &mut bytes);
            list = entry.ai_next;
        }
    }
    let mut rest = &*bytes;
    while let Ok(count @ 1..) = rustix::io::write(to, rest) {
        rest = rest.get(count..).unwrap_or_default();
    }
}

fn record(entry: &libc::addrinfo, bytes: &mut Vec<u8>) {
    let mut octets = [0; 16];
    let kind = match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: an entry of this family has an address of this kind.
            let inet = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            octets[..4].copy_from_slice(&inet.sin_addr.s_addr.to_ne_bytes());
            4
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let inet = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            octets = inet.sin6_addr.s6_addr;
            6
        }
        _ => return,
    };
    bytes.push(kind);
    bytes.extend(octets);
}
