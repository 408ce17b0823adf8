//! The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): one header before a connection's first byte that
//! tells whose connection it is. Taken only where it is configured, and there it must be (it is never guessed).

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Wrong;

/// Bytes that a header may have: of version 1 107, of version 2 16 and what its length says, bounded here.
pub const MAX: usize = 16 + 2048;

/// Of version 1, with its line end.
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The proxy's own (LOCAL, UNKNOWN), or of a kind without an address: the socket's peer counts.
    Own,
    Client {
        from: SocketAddr,
        to: SocketAddr,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its bytes: here the request begins.
    pub len: usize,
    pub source: Source,
}

/// `None`: there must be more. `bytes` are all of the connection so far. What can no longer become a header is refused
/// at once.
pub fn hear(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    if begins(bytes, V2_START) {
        return v2(bytes);
    }
    if begins(bytes, V1_START) {
        return v1(bytes);
    }
    Err(Wrong::ProxyHeader)
}

/// Whether it begins so, as far as it goes.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted)
}

fn v1(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    let within = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if within.len() < V1_MAX { Ok(None) } else { Err(Wrong::ProxyHeader) };
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let source = line.and_then(|line| core::str::from_utf8(line).ok()).and_then(v1_source);
    let source = source.ok_or(Wrong::ProxyHeader)?;
    Ok(Some(Header { len: end.saturating_add(1), source }))
}

fn v1_source(line: &str) -> Option<Source> {
    let mut words = line.split(' ');
    let ("PROXY", kind) = (words.next()?, words.next()?) else { return None };
    if kind == "UNKNOWN" {
        // Whatever else is there is to be ignored, but nothing that is no text.
        return line.bytes().all(|byte| !byte.is_ascii_control()).then_some(Source::Own);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match kind {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (from, to) = (address()?, address()?);
    let mut port = || words.next().and_then(port);
    let (from_port, to_port) = (port()?, port()?);
    let source =
        Source::Client { from: SocketAddr::new(from, from_port), to: SocketAddr::new(to, to_port) };
    words.next().is_none().then_some(source)
}

/// Digits without a zero before them.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let zero = word.len() > 1 && word.starts_with('0');
    if plain && !zero { word.parse().ok() } else { None }
}

fn v2(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
    let [.., command, family, len_high, len_low] = *fixed;
    let said = u16::from_be_bytes([len_high, len_low]);
    let len = usize::from(said);
    if len.saturating_add(16) > MAX {
        return Err(Wrong::ProxyHeader);
    }
    // Judged before it is whole: what is wrong need not be waited for.
    let needed = match (command, family) {
        (0x20, _) => 0,
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        // A unix socket's, or unspecified.
        (0x21, 0x31 | 0x00) => 0,
        _ => return Err(Wrong::ProxyHeader),
    };
    if len < needed {
        return Err(Wrong::ProxyHeader);
    }
    let Some(addresses) = rest.get(..len) else { return Ok(None) };
    let source = match needed {
        12 => v2_source::<4>(addresses),
        36 => v2_source::<16>(addresses),
        _ => Some(Source::Own),
    };
    let source = source.ok_or(Wrong::ProxyHeader)?;
    Ok(Some(Header { len: len.saturating_add(16), source }))
}

/// Both addresses, both ports. Behind them are extensions (TLV), which nothing here needs.
fn v2_source<const N: usize>(bytes: &[u8]) -> Option<Source>
where
    IpAddr: From<[u8; N]>,
{
    let (from, rest) = bytes.split_first_chunk::<N>()?;
    let (to, rest) = rest.split_first_chunk::<N>()?;
    let (from_port, rest) = rest.split_first_chunk::<2>()?;
    let (to_port, _) = rest.split_first_chunk::<2>()?;
    Some(Source::Client {
        from: SocketAddr::new(IpAddr::from(*from), u16::from_be_bytes(*from_port)),
        to: SocketAddr::new(IpAddr::from(*to), u16::from_be_bytes(*to_port)),
    })
}

/// Appends a header of version 1. Addresses of two families: UNKNOWN.
pub fn write_v1(source: Source, out: &mut Vec<u8>) {
    let line = match source {
        Source::Client { from: SocketAddr::V4(from), to: SocketAddr::V4(to) } => {
            format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        Source::Client { from: SocketAddr::V6(from), to: SocketAddr::V6(to) } => {
            format!("PROXY TCP6 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        Source::Client { .. } | Source::Own => "PROXY UNKNOWN\r\n".into(),
    };
    out.extend_from_slice(line.as_bytes());
}

/// Appends a header of version 2. Addresses of two families: LOCAL.
pub fn write_v2(source: Source, out: &mut Vec<u8>) {
    out.extend_from_slice(V2_START);
    match source {
        Source::Client { from: SocketAddr::V4(from), to: SocketAddr::V4(to) } => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.ip().octets());
            out.extend_from_slice(&to.ip().octets());
            out.extend_from_slice(&from.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
        Source::Client { from: SocketAddr::V6(from), to: SocketAddr::V6(to) } => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&from.ip().octets());
            out.extend_from_slice(&to.ip().octets());
            out.extend_from_slice(&from.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
        Source::Client { .. } | Source::Own => out.extend_from_slice(&[0x20, 0x00, 0, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(from: &str, to: &str) -> Source {
        Source::Client {
            from: from.parse().expect("an address"),
            to: to.parse().expect("an address"),
        }
    }

    /// Heard whole with a request behind it, and byte by byte.
    fn whole(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
        let mut more = bytes.to_vec();
        more.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let heard = hear(&more);
        if let Ok(Some(header)) = heard {
            assert_eq!(header.len, bytes.len());
            for cut in 0..bytes.len() {
                assert_eq!(hear(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
        }
        heard
    }

    #[test]
    fn what_is_written_is_heard() {
        for source in [
            Source::Own,
            client("192.0.2.1:56324", "198.51.100.7:443"),
            client("255.255.255.255:65535", "255.255.255.255:0"),
            client("[2001:db8::1]:1", "[::1]:80"),
            client(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535",
            ),
        ] {
            for write in [write_v1, write_v2] {
                let mut bytes = Vec::new();
                write(source, &mut bytes);
                let header = Header { len: bytes.len(), source };
                assert_eq!(whole(&bytes), Ok(Some(header)));
            }
        }
    }

    #[test]
    fn version_1_is_what_the_paper_shows() {
        let mut out = Vec::new();
        write_v1(client("192.168.0.1:56324", "192.168.0.11:443"), &mut out);
        assert_eq!(out, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
        let unknown = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        assert_eq!(
            whole(unknown).map(|header| header.map(|header| header.source)),
            Ok(Some(Source::Own))
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXX",
            b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
            b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
            b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY \r\n",
            b"PROXY\r\n",
            b"PROXY UNKNOWN \0\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x23",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x08\x01",
            b"\r\n\r\n\0\r\nQUIX",
        ] {
            assert_eq!(hear(bad), Err(Wrong::ProxyHeader), "{bad:?}");
        }
        let mut long = b"PROXY UNKNOWN ".to_vec();
        long.resize(V1_MAX - 1, b'x');
        assert_eq!(hear(&long), Ok(None));
        long.push(b'\n');
        assert_eq!(hear(&long), Err(Wrong::ProxyHeader), "no room for CRLF");
    }

    #[test]
    fn extensions_and_addresses_of_other_kinds_are_skipped() {
        let mut bytes = Vec::new();
        write_v2(client("192.0.2.1:1", "192.0.2.2:2"), &mut bytes);
        bytes[15] = 12 + 6;
        bytes.extend_from_slice(&[4, 0, 3, 0, 0, 0]);
        let header = Header { len: 34, source: client("192.0.2.1:1", "192.0.2.2:2") };
        assert_eq!(whole(&bytes), Ok(Some(header)));
        let mut unix = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".to_vec();
        unix.resize(16 + 216, b'/');
        assert_eq!(whole(&unix), Ok(Some(Header { len: 232, source: Source::Own })));
        let mut local = b"\r\n\r\n\0\r\nQUIT\n\x20\x99\x08\0".to_vec();
        local.resize(MAX, 0);
        assert_eq!(whole(&local), Ok(Some(Header { len: MAX, source: Source::Own })));
    }
}
