//! From an address to a socket that listens there: every kind, and back again.

use crate::error::{Errno, Error};
use crate::protocol::address::{Address, Ip, Options, Scope, UnixKind, UnixName};
use crate::settings::accounts;
use crate::sys::socket::{self, Kind, Name, Seen, SocketOption};
use crate::sys::unix_path::{self, Access, BoundPath, Trouble};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A socket that was just made.
#[derive(Debug)]
pub(super) struct Fresh {
    pub fd: OwnedFd,
    /// With the port that the kernel chose.
    pub address: Address,
    pub path: Option<BoundPath>,
}

/// Makes, binds and listens.
pub(super) fn open(address: &Address, options: &Options) -> Result<Fresh, Error> {
    match address {
        Address::Tcp { ip, port } => {
            open_inet(address, ip, *port, Kind::Stream, options, Some(backlog(options)))
        }
        Address::Udp { ip, port } => open_inet(address, ip, *port, Kind::Datagram, options, None),
        Address::Unix { kind, name } => open_unix(address, *kind, name, options),
        Address::Vsock { cid, port } => {
            let name = Name::Vsock { cid: *cid, port: *port };
            let fd = socket::open(&name, Kind::Stream).map_err(|e| cannot_bind(address, e))?;
            bind_and_listen(address, &fd, &name, Some(backlog(options)))?;
            Ok(Fresh { address: bound(address, fd.as_fd()), fd, path: None })
        }
        Address::Inherited(_) => Err(Error::refused("bind", address, "it is inherited")),
    }
}

/// The address with the port that it is to have, if nobody has it yet: of a group that shares a port everybody of
/// this user could become a member.
pub(super) fn reserve(address: &Address, options: &Options) -> Result<Address, Error> {
    let fresh = match address {
        Address::Tcp { ip, port } => open_inet(address, ip, *port, Kind::Stream, options, None)?,
        Address::Udp { ip, port } => open_inet(address, ip, *port, Kind::Datagram, options, None)?,
        Address::Unix { .. } | Address::Vsock { .. } | Address::Inherited(_) => {
            return Ok(address.clone());
        }
    };
    Ok(fresh.address)
}

/// The backlog to ask for: as large as the kernel allows, unless told otherwise.
pub(super) fn backlog(options: &Options) -> i32 {
    options.backlog.map_or(i32::MAX, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX))
}

pub(super) fn cannot_bind(address: &Address, errno: Errno) -> Error {
    Error::system("bind", address, errno)
}

pub(super) fn trouble(doing: &'static str, address: &Address, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Errno(errno) => Error::system(doing, address, errno),
        Trouble::NotSocket => Error::refused(doing, address, "is not a socket"),
        Trouble::NoGuard => Error::refused(doing, address, "no other link to it is left"),
    }
}

/// What an adopted socket is bound to, when that can be told.
pub(super) fn address_of(fd: BorrowedFd<'_>, seen: Seen) -> Option<Address> {
    let inet = |ip, port| match seen.kind {
        Kind::Datagram => Address::Udp { ip, port },
        Kind::Stream | Kind::Seqpacket => Address::Tcp { ip, port },
    };
    let unix = |name| {
        let kind = match seen.kind {
            Kind::Stream => UnixKind::Stream,
            Kind::Seqpacket => UnixKind::Seqpacket,
            Kind::Datagram => UnixKind::Datagram,
        };
        Address::Unix { kind, name }
    };
    Some(match socket::name(fd).ok()? {
        Name::V4(addr) => inet(Ip::V4(*addr.ip()), addr.port()),
        Name::V6(addr) => inet(ip_of_v6(&addr, seen.v6only), addr.port()),
        Name::Path(path) => unix(UnixName::Path(path)),
        Name::Abstract(name) => unix(UnixName::Abstract(name)),
        Name::Vsock { cid, port } => Address::Vsock { cid, port },
        Name::Unknown => return None,
    })
}

fn ip_of_v6(addr: &SocketAddrV6, v6only: bool) -> Ip {
    if addr.ip().is_unspecified() && !v6only {
        return Ip::Any;
    }
    let scope = match addr.scope_id() {
        0 => Scope::None,
        index => Scope::Index(index),
    };
    Ip::V6 { addr: *addr.ip(), scope }
}

fn open_inet(
    address: &Address,
    ip: &Ip,
    port: u16,
    kind: Kind,
    options: &Options,
    queue: Option<i32>,
) -> Result<Fresh, Error> {
    let v4 = |addr| Name::V4(SocketAddrV4::new(addr, port));
    let v6 = |addr, scope| Name::V6(SocketAddrV6::new(addr, port, 0, scope));
    let name = match ip {
        Ip::V4(addr) => v4(*addr),
        Ip::Any => v6(Ipv6Addr::UNSPECIFIED, 0),
        Ip::V6 { addr, scope } => v6(*addr, scope_id(address, scope)?),
    };
    let done = try_inet(address, &name, kind, options, queue);
    let no_v6 = |error: &Error| {
        matches!(error.errno(), Some(Errno(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)))
    };
    match done {
        Err(error) if *ip == Ip::Any && !options.v6only && no_v6(&error) => {
            try_inet(address, &v4(Ipv4Addr::UNSPECIFIED), kind, options, queue)
        }
        done => done,
    }
}

fn scope_id(address: &Address, scope: &Scope) -> Result<u32, Error> {
    match scope {
        Scope::None => Ok(0),
        Scope::Index(index) => Ok(*index),
        Scope::Name(name) => socket::interface(name).map_err(|errno| cannot_bind(address, errno)),
    }
}

fn try_inet(
    address: &Address,
    name: &Name,
    kind: Kind,
    options: &Options,
    queue: Option<i32>,
) -> Result<Fresh, Error> {
    let fd = socket::open(name, kind).map_err(|errno| cannot_bind(address, errno))?;
    let set = |word: &str, option| {
        socket::set(fd.as_fd(), option)
            .map_err(|errno| Error::system("set", format!("{word} of {address}"), errno))
    };
    if kind == Kind::Stream {
        set("SO_REUSEADDR", SocketOption::ReuseAddr)?;
    }
    if matches!(name, Name::V6(_)) {
        set("v6only", SocketOption::V6Only(options.v6only))?;
    }
    let flags = [
        (options.reuseport, "reuseport", SocketOption::ReusePort),
        (options.freebind, "freebind", SocketOption::Freebind),
        (options.nodelay, "nodelay", SocketOption::NoDelay),
        (options.keepalive, "keepalive", SocketOption::KeepAlive),
    ];
    for (asked, word, option) in &flags {
        if *asked {
            set(word, *option)?;
        }
    }
    if let Some(device) = &options.device {
        set(&format!("device={device}"), SocketOption::Device(device))?;
    }
    if let Some(seconds) = options.defer_accept {
        set("defer-accept", SocketOption::DeferAccept(seconds))?;
    }
    if let Some(queue) = options.fastopen {
        set("fastopen", SocketOption::Fastopen(queue))?;
    }
    bind_and_listen(address, &fd, name, queue)?;
    Ok(Fresh { address: bound(address, fd.as_fd()), fd, path: None })
}

/// `queue` is for connections: the backlog.
fn bind_and_listen(
    address: &Address,
    fd: &OwnedFd,
    name: &Name,
    queue: Option<i32>,
) -> Result<(), Error> {
    let mut done = socket::bind(fd.as_fd(), name);
    if let Some(backlog) = queue {
        done = done.and_then(|()| socket::listen(fd.as_fd(), backlog));
    }
    done.map_err(|errno| cannot_bind(address, errno))
}

#[inline(never)]
fn open_unix(
    address: &Address,
    kind: UnixKind,
    name: &UnixName,
    options: &Options,
) -> Result<Fresh, Error> {
    let kind = match kind {
        UnixKind::Stream => Kind::Stream,
        UnixKind::Seqpacket => Kind::Seqpacket,
        UnixKind::Datagram => Kind::Datagram,
    };
    let (name, path) = match name {
        UnixName::Path(path) => (Name::Path(path.clone()), Some(path)),
        UnixName::Abstract(name) => (Name::Abstract(name.clone()), None),
    };
    let fd = socket::open(&name, kind).map_err(|errno| cannot_bind(address, errno))?;
    let path = match path {
        Some(path) => {
            let access = access(address, options)?;
            let backlog = (kind != Kind::Datagram).then(|| backlog(options));
            let bound = unix_path::bind(fd.as_fd(), kind, path, &access, backlog);
            Some(bound.map_err(|why| trouble("bind", address, why))?)
        }
        None => {
            let backlog = (kind != Kind::Datagram).then(|| backlog(options));
            bind_and_listen(address, &fd, &name, backlog)?;
            None
        }
    };
    Ok(Fresh { fd, address: address.clone(), path })
}

/// `address` with what the kernel filled in.
fn bound(address: &Address, fd: BorrowedFd<'_>) -> Address {
    let seen = socket::inspect(fd).ok();
    seen.and_then(|seen| address_of(fd, seen)).unwrap_or_else(|| address.clone())
}

fn access(address: &Address, options: &Options) -> Result<Access, Error> {
    let bad = |why: String| Error::refused("bind", address, why);
    Ok(Access {
        mode: options.mode,
        uid: options.user.as_deref().map(accounts::user_of).transpose().map_err(bad)?,
        gid: options.group.as_deref().map(accounts::group_of).transpose().map_err(bad)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::protocol::address::VSOCK_ANY;

    #[test]
    fn any_vsock_is_any_vsock() {
        assert_eq!(VSOCK_ANY, libc::VMADDR_CID_ANY);
        assert_eq!(VSOCK_ANY, libc::VMADDR_PORT_ANY);
    }
}
