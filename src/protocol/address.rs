//! One `--listen ADDR[,OPTION]...`: text to meaning and back.
//! Only what can be judged without asking the kernel is judged here.

mod options;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

pub use options::{Options, octal};

use super::whole;

/// The longest path, and the longest abstract name, that `sockaddr_un` carries: 108 bytes, less the
/// NUL that ends the one and begins the other.
pub const UNIX_NAME_MAX: usize = 107;
/// The longest name in LISTEN_FDNAMES (sd_listen_fds(3)).
pub const FD_NAME_MAX: usize = 255;
/// vsock's "any CID" and "any port" (vsock(7)).
pub const VSOCK_ANY: u32 = u32::MAX;

const ACCEPTED: &str = "accepted: :PORT, tcp://IP:PORT, udp://IP:PORT, unix:/PATH, unix:@NAME, \
     seqpacket:/PATH, unixgram:/PATH, vsock://CID:PORT, fd:N, fd:NAME";

const UNIX_SCHEMES: [(&str, UnixKind); 3] = [
    ("unix:", UnixKind::Stream),
    ("seqpacket:", UnixKind::Seqpacket),
    ("unixgram:", UnixKind::Datagram),
];

/// What one `--listen` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// As the user wrote it.
    pub text: String,
    pub address: Address,
    pub options: Options,
}

/// Where a listener is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Tcp { ip: Ip, port: u16 },
    Udp { ip: Ip, port: u16 },
    Unix { kind: UnixKind, name: UnixName },
    Vsock { cid: u32, port: u32 },
    Inherited(Inherit),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ip {
    /// Every address: dual stack where IPv6 exists, else IPv4.
    Any,
    V4(Ipv4Addr),
    V6 {
        addr: Ipv6Addr,
        scope: Scope,
    },
}

/// The interface that a link-local address belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    None,
    Index(u32),
    Name(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnixKind {
    Stream,
    Seqpacket,
    Datagram,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnixName {
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

/// A descriptor that fd3 itself inherited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inherit {
    Number(i32),
    Name(String),
}

/// Which piece cannot be taken, and what is accepted in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong(pub String);

/// One function for all that is said, as there is much.
#[inline(never)]
fn wrong(text: fmt::Arguments<'_>) -> Wrong {
    Wrong(format!("{text}"))
}

/// Understands one `--listen`.
pub fn parse(text: &[u8]) -> Result<Listen, Wrong> {
    let mut pieces = text.split(|byte| *byte == b',');
    let head = pieces.next().unwrap_or_default();
    if text.contains(&0) {
        return Err(Wrong("holds a NUL byte".to_owned()));
    }
    let (address, only_six) = parse_address(head)?;
    let mut options = options::parse(pieces, &address)?;
    options.v6only |= only_six;
    Ok(Listen { text: String::from_utf8_lossy(text).into_owned(), address, options })
}

/// The address, and whether its scheme says IPv6 only (`tcp6`, `udp6`).
#[inline(never)]
fn parse_address(head: &[u8]) -> Result<(Address, bool), Wrong> {
    for (scheme, kind) in &UNIX_SCHEMES {
        if let Some(rest) = head.strip_prefix(scheme.as_bytes()) {
            return Ok((Address::Unix { kind: *kind, name: unix_name(scheme, rest)? }, false));
        }
    }
    let Ok(head) = core::str::from_utf8(head) else {
        return Err(wrong(format_args!("not an address; {ACCEPTED}")));
    };
    if let Some(rest) = head.strip_prefix("fd:") {
        return Ok((Address::Inherited(inherited(rest)?), false));
    }
    let (scheme, rest) = match head.split_once(':') {
        Some((scheme, rest)) if rest.starts_with("//") => (scheme, &rest[2..]),
        Some(_) | None => ("tcp", head),
    };
    let six = scheme.ends_with("6");
    match scheme {
        "tcp" | "tcp4" | "tcp6" | "udp" | "udp4" | "udp6" => {
            let (ip, port) = ip_and_port(scheme, rest)?;
            let tcp = scheme.starts_with("tcp");
            Ok((if tcp { Address::Tcp { ip, port } } else { Address::Udp { ip, port } }, six))
        }
        "vsock" => Ok((vsock(rest)?, false)),
        "" => Err(wrong(format_args!("no address; {ACCEPTED}"))),
        _ => Err(wrong(format_args!("scheme \"{scheme}\" is not known; {ACCEPTED}"))),
    }
}

#[inline(never)]
fn unix_name(scheme: &str, rest: &[u8]) -> Result<UnixName, Wrong> {
    let rest = match rest.strip_prefix(b"//") {
        Some(path) if path.starts_with(b"/") => path,
        // `unix://run/x` would be the path `//run/x`; few who write it mean that.
        Some(_) => {
            return Err(wrong(format_args!(
                "a path after \"{scheme}//\" begins with a third \"/\""
            )));
        }
        None => rest,
    };
    let (name, word) = match rest.strip_prefix(b"@") {
        Some(name) => (UnixName::Abstract(name.to_vec()), "abstract name"),
        None => (UnixName::Path(rest.to_vec()), "path"),
    };
    let len = match &name {
        UnixName::Path(bytes) | UnixName::Abstract(bytes) => bytes.len(),
    };
    if len == 0 {
        return Err(wrong(format_args!("no {word}; accepted: {scheme}/PATH, {scheme}@NAME")));
    }
    if len > UNIX_NAME_MAX {
        return Err(wrong(format_args!(
            "{word} of {len} bytes; accepted: at most {UNIX_NAME_MAX}"
        )));
    }
    if matches!(&name, UnixName::Path(path) if path.ends_with(b"/")) {
        return Err(Wrong("a path that ends in \"/\"; accepted: the path of a socket".to_owned()));
    }
    Ok(name)
}

#[inline(never)]
fn inherited(rest: &str) -> Result<Inherit, Wrong> {
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return match number(rest, 0, i32::MAX as u32) {
            Some(n) => Ok(Inherit::Number(n as i32)),
            None => Err(wrong(format_args!("descriptor \"{rest}\" is out of range"))),
        };
    }
    match is_fd_name(rest) {
        true => Ok(Inherit::Name(rest.to_owned())),
        false => Err(wrong(format_args!("\"{rest}\" is no descriptor; accepted: fd:N, fd:NAME"))),
    }
}

#[inline(never)]
fn vsock(rest: &str) -> Result<Address, Wrong> {
    let accepted = "accepted: vsock://CID:PORT, CID a number or any";
    let Some((cid, port)) = rest.split_once(':') else {
        return Err(wrong(format_args!("no port; {accepted}")));
    };
    let any = if cid == "any" { Some(VSOCK_ANY) } else { None };
    let Some(cid) = any.or_else(|| number(cid, 0, u32::MAX)) else {
        return Err(wrong(format_args!("CID \"{cid}\"; {accepted}")));
    };
    match number(port, 0, u32::MAX) {
        Some(port) => Ok(Address::Vsock { cid, port }),
        None => Err(wrong(format_args!("port \"{port}\"; accepted: 0 to {}", u32::MAX))),
    }
}

fn ip_and_port(scheme: &str, rest: &str) -> Result<(Ip, u16), Wrong> {
    // By bytes: to look for a character from the end takes more code.
    let Some(colon) = rest.bytes().rposition(|byte| byte == b':') else {
        return Err(Wrong(no_port(scheme, rest)));
    };
    let (host, port) = (&rest[..colon], &rest[colon + 1..]);
    let ip = match host.strip_prefix("[") {
        Some(bracketed) => match bracketed.strip_suffix("]") {
            Some(inside) => v6(inside)?,
            None => return Err(Wrong(no_port(scheme, rest))),
        },
        None if host.is_empty() => any(scheme),
        None if v6(host).is_ok() => {
            return Err(wrong(format_args!("IPv6 without brackets; accepted: [{host}]:{port}")));
        }
        None => match host.parse() {
            Ok(addr) => Ip::V4(addr),
            Err(_) => return Err(no_host(format_args!("{host}"))),
        },
    };
    match (&ip, scheme) {
        (Ip::V4(_), "tcp6" | "udp6") => {
            return Err(wrong(format_args!("IPv4 after \"{scheme}://\"")));
        }
        (Ip::V6 { .. }, "tcp4" | "udp4") => {
            return Err(wrong(format_args!("IPv6 after \"{scheme}://\"")));
        }
        (Ip::Any | Ip::V4(_) | Ip::V6 { .. }, _) => {}
    }
    match number(port, 0, u32::from(u16::MAX)) {
        Some(port) => Ok((ip, port as u16)),
        None => Err(wrong(format_args!("port \"{port}\"; accepted: 0 to 65535"))),
    }
}

fn no_port(scheme: &str, rest: &str) -> String {
    let digits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    match (digits, rest) {
        (true, _) => format!("no address; did you mean \":{rest}\"?"),
        (_, "") => format!("no address; {ACCEPTED}"),
        _ if rest.starts_with("/") => format!("no address; did you mean \"unix:{rest}\"?"),
        _ => format!("\"{rest}\" has no port; accepted: {scheme}://IP:PORT"),
    }
}

fn any(scheme: &str) -> Ip {
    match scheme.as_bytes().last() {
        Some(b'4') => Ip::V4(Ipv4Addr::UNSPECIFIED),
        Some(b'6') => Ip::V6 { addr: Ipv6Addr::UNSPECIFIED, scope: Scope::None },
        _ => Ip::Any,
    }
}

fn v6(inside: &str) -> Result<Ip, Wrong> {
    let (addr, scope) = match inside.split_once('%') {
        None => (inside, Scope::None),
        Some((addr, scope)) => match number(scope, 1, u32::MAX) {
            Some(index) => (addr, Scope::Index(index)),
            None if options::is_device(scope) => (addr, Scope::Name(scope.to_owned())),
            None => return Err(wrong(format_args!("scope \"{scope}\"; accepted: an interface"))),
        },
    };
    match addr.parse() {
        Ok(addr) => Ok(Ip::V6 { addr, scope }),
        Err(_) => Err(no_host(format_args!("[{addr}]"))),
    }
}

fn no_host(host: fmt::Arguments<'_>) -> Wrong {
    wrong(format_args!("host \"{host}\"; accepted: a numeric IPv4 address, [IPv6], or none"))
}

fn number(text: &str, min: u32, max: u32) -> Option<u32> {
    let number = u32::try_from(whole(text.as_bytes(), 10)?).ok()?;
    (min..=max).contains(&number).then_some(number)
}

/// Whether LISTEN_FDNAMES can carry it: printable ASCII without the colon that divides names.
pub fn is_fd_name(name: &str) -> bool {
    let good = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= FD_NAME_MAX && name.bytes().all(good)
}

impl Address {
    /// Whether connections come in through a queue, and `listen` and a backlog belong to it.
    /// Of an inherited descriptor nobody knows before it is looked at; it is taken for one.
    pub fn has_queue(&self) -> bool {
        match self {
            Address::Udp { .. } => false,
            Address::Unix { kind, .. } => *kind != UnixKind::Datagram,
            Address::Tcp { .. } | Address::Vsock { .. } | Address::Inherited(_) => true,
        }
    }

    /// Whether each slot can have a socket of its own there (SO_REUSEPORT).
    pub fn is_spread(&self) -> bool {
        match self {
            Address::Tcp { .. } | Address::Udp { .. } => true,
            Address::Unix { .. } | Address::Vsock { .. } | Address::Inherited(_) => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { ip, port } => write!(f, "tcp://{ip}:{port}"),
            Address::Udp { ip, port } => write!(f, "udp://{ip}:{port}"),
            Address::Unix { kind, name } => {
                f.write_str(match kind {
                    UnixKind::Stream => "unix:",
                    UnixKind::Seqpacket => "seqpacket:",
                    UnixKind::Datagram => "unixgram:",
                })?;
                let bytes = match name {
                    UnixName::Path(bytes) => bytes,
                    UnixName::Abstract(bytes) => {
                        f.write_str("@")?;
                        bytes
                    }
                };
                f.write_str(&String::from_utf8_lossy(bytes))
            }
            Address::Vsock { cid: VSOCK_ANY, port } => write!(f, "vsock://any:{port}"),
            Address::Vsock { cid, port } => write!(f, "vsock://{cid}:{port}"),
            Address::Inherited(Inherit::Number(n)) => write!(f, "fd:{n}"),
            Address::Inherited(Inherit::Name(name)) => write!(f, "fd:{name}"),
        }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ip::Any => f.write_str("[::]"),
            Ip::V4(addr) => write_v4(f, *addr),
            Ip::V6 { addr, scope } => {
                f.write_str("[")?;
                write_v6(f, *addr)?;
                match scope {
                    Scope::None => f.write_str("]"),
                    Scope::Index(index) => write!(f, "%{index}]"),
                    Scope::Name(name) => write!(f, "%{name}]"),
                }
            }
        }
    }
}

fn write_v4(f: &mut fmt::Formatter<'_>, addr: Ipv4Addr) -> fmt::Result {
    let [a, b, c, d] = addr.octets();
    write!(f, "{a}.{b}.{c}.{d}")
}

/// RFC 5952: of several zeros in a row, the longest row is `::`. Not by core, which has 1 KiB for this, as it
/// can also align it.
fn write_v6(f: &mut fmt::Formatter<'_>, addr: Ipv6Addr) -> fmt::Result {
    if let Some(v4) = addr.to_ipv4_mapped() {
        f.write_str("::ffff:")?;
        return write_v4(f, v4);
    }
    let words = addr.segments();
    let (mut longest, mut row) = (0..0, 0..0);
    for (at, word) in words.iter().enumerate() {
        row = if *word == 0 { row.start..at + 1 } else { at + 1..at + 1 };
        if row.len() > longest.len() {
            longest = row.clone();
        }
    }
    if longest.len() < 2 {
        longest = words.len()..words.len();
    }
    for (at, word) in words.iter().enumerate() {
        if at == longest.start {
            f.write_str("::")?;
        }
        if !longest.contains(&at) {
            let colon = if at == 0 || at == longest.end { "" } else { ":" };
            write!(f, "{colon}{word:x}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
