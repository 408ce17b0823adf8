//! `--port`: `80`, `host:80`, `[::1]:80`, with `u` before the number for UDP and `=fd` behind it; as
//! Server::Starter takes it apart, and as it tells of it in SERVER_STARTER_PORT.
#![forbid(unsafe_code)]

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::protocol::address::{Address, Ip, Listen, Options, Scope};

/// One `--port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Port {
    /// As the server program is told.
    pub(super) told: String,
    pub(super) host: Host,
    pub(super) udp: bool,
    pub(super) port: u16,
    /// The descriptor that it is to be.
    pub(super) fd: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// To be looked up.
    Name(String),
}

/// Descriptors are not numbered higher.
const FD_MAX: u32 = 1023;

pub(super) fn parse(text: &str) -> Option<Port> {
    let (before, rest) = match text.rsplit_once(':') {
        Some((before, rest)) => (Some(before.trim_start()), rest),
        None => (None, text),
    };
    let (number, fd) = match rest.trim().split_once('=') {
        Some((number, fd)) => {
            let fd = digits(fd).filter(|fd| *fd <= FD_MAX)?;
            (number.trim_end(), Some(fd as i32))
        }
        None => (rest.trim(), None),
    };
    let (udp, number) = match number.strip_prefix('u') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let port = u16::try_from(digits(number)?).ok()?;
    let Some(host) = before else {
        let host = Host::V4(Ipv4Addr::UNSPECIFIED);
        return Some(Port { told: number.into(), host, udp, port, fd });
    };
    let host = host.strip_prefix('[').map_or(host, str::trim_start);
    let host = host.trim_end().strip_suffix(']').unwrap_or(host).trim_end();
    if host.contains(':') {
        let told = format!("[{host}]:{number}");
        return Some(Port { told, host: Host::V6(host.parse().ok()?), udp, port, fd });
    }
    let told = format!("{host}:{number}");
    let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::V4);
    Some(Port { told, host, udp, port, fd })
}

fn digits(text: &str) -> Option<u32> {
    let known = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if known { Some(text.parse().unwrap_or(u32::MAX)) } else { None }
}

/// The address of a name, in /etc/hosts.
pub(super) fn find(name: &str, hosts: &[u8]) -> Option<Ipv4Addr> {
    for line in String::from_utf8_lossy(hosts).lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next().and_then(|address| address.parse().ok());
        if let (Some(address), true) = (address, words.any(|word| word.eq_ignore_ascii_case(name)))
        {
            return Some(address);
        }
    }
    name.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST)
}

impl Port {
    /// Once the address of its host is known.
    pub(super) fn listen(&self, text: String, ip: Ip, backlog: Option<u32>) -> Listen {
        let (v6only, port) = (matches!(ip, Ip::V6 { .. }), self.port);
        let address = if self.udp { Address::Udp { ip, port } } else { Address::Tcp { ip, port } };
        let backlog = backlog.filter(|_| !self.udp);
        Listen { text, address, options: Options { v6only, backlog, ..Options::default() } }
    }
}

impl Host {
    /// Nothing for one that has to be looked up.
    pub(super) fn ip(&self) -> Option<Ip> {
        match self {
            Host::V4(addr) => Some(Ip::V4(*addr)),
            Host::V6(addr) => Some(Ip::V6 { addr: *addr, scope: Scope::None }),
            Host::Name(_) => None,
        }
    }
}

/// The numbers that the server program finds its sockets on: those that were asked for, and the lowest
/// free ones from 3 on.
pub(super) fn numbers(wanted: &[Option<i32>]) -> Vec<i32> {
    let (mut numbers, mut next) = (Vec::new(), 3);
    for number in wanted {
        let number = number.unwrap_or_else(|| {
            while wanted.contains(&Some(next)) {
                next += 1;
            }
            next += 1;
            next - 1
        });
        numbers.push(number);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_what_server_starter_takes() {
        let any = || Host::V4(Ipv4Addr::UNSPECIFIED);
        let own = || Host::V4(Ipv4Addr::LOCALHOST);
        let six = || Host::V6(Ipv6Addr::LOCALHOST);
        let cases = [
            ("80", Some(("80", any(), false, 80, None))),
            (" 80 =5", Some(("80", any(), false, 80, Some(5)))),
            ("u443", Some(("443", any(), true, 443, None))),
            ("127.0.0.1:80", Some(("127.0.0.1:80", own(), false, 80, None))),
            ("[127.0.0.1]:80", Some(("127.0.0.1:80", own(), false, 80, None))),
            ("[::1]:u80=0", Some(("[::1]:80", six(), true, 80, Some(0)))),
            ("::1:80", Some(("[::1]:80", six(), false, 80, None))),
            ("web:80", Some(("web:80", Host::Name("web".into()), false, 80, None))),
            ("x", None),
            ("80=x", None),
            ("80=1024", None),
            ("65536", None),
            ("", None),
            ("[::1]", None),
            ("[:zz:]:80", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(told, host, udp, port, fd)| {
                let told = told.to_string();
                Port { told, host, udp, port, fd }
            });
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_looked_up() {
        let hosts = b"# 1.1.1.1 no\n::1 web\n10.0.0.7 db Web # 1.2.3.4 x\n";
        assert_eq!(find("web", hosts), Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(find("localhost", hosts), Some(Ipv4Addr::LOCALHOST));
        assert_eq!((find("x", hosts), find("no", hosts), find("", hosts)), (None, None, None));
    }

    #[test]
    fn descriptors_asked_for_are_nobody_elses() {
        assert_eq!(numbers(&[None, Some(3), None, Some(0), None]), [4, 3, 5, 0, 6]);
    }
}
