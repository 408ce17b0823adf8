//! `fd3 check`: what is to be checked, how it is asked, and what an answer says. Pure.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest ADDR or URL, in bytes.
const TARGET_MAX: usize = 2048;
/// The longest beginning of an answer, up to its status.
pub const ANSWER_MAX: usize = 8192;
/// The longest line with a status; who begins with more is no HTTP server.
const LINE_MAX: usize = 1024;
const HTTP_PORT: u16 = 80;

pub const ACCEPTED: &str = "accepted: http://HOST[:PORT][/PATH], http://unix:/SOCKET[:/PATH], tcp://HOST:PORT, \
     :PORT, unix:/PATH, unix:@NAME";

/// What is to be checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// All of them are the same; the first one that takes a connection counts.
    pub places: Vec<Place>,
    /// What is asked for there; nothing, where a connection is enough.
    pub request: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Inet(SocketAddr),
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

/// What is wrong with it, and what is accepted.
pub fn parse(text: &str) -> Result<Target, String> {
    if text.len() > TARGET_MAX {
        return Err(format!("{} bytes; accepted: at most {TARGET_MAX}", text.len()));
    }
    if let Some(rest) = text.strip_prefix("http://unix:") {
        let (name, path) = rest.split_once(':').unwrap_or((rest, "/"));
        return Ok(Target { places: unix(name)?, request: Some(request("localhost", path)?) });
    }
    if let Some(rest) = text.strip_prefix("http://") {
        let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (host, path) = rest.split_at(end.unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        let named = if host.is_empty() || host.starts_with(':') { "localhost" } else { "" };
        let request = request(&format!("{named}{host}"), path)?;
        return Ok(Target { places: inet(host, Some(HTTP_PORT))?, request: Some(request) });
    }
    if text.starts_with("https://") {
        return Err("fd3 check speaks no TLS; accepted: http://..., tcp://HOST:PORT".into());
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return Ok(Target { places: unix(rest)?, request: None });
    }
    let rest = text.strip_prefix("tcp://").unwrap_or(text);
    if rest.contains('/') {
        return Err(ACCEPTED.to_string());
    }
    Ok(Target { places: inet(rest, None)?, request: None })
}

fn unix(name: &str) -> Result<Vec<Place>, String> {
    let place = match name.as_bytes() {
        [b'/', ..] => Place::Path(name.into()),
        [b'@', name @ ..] if !name.is_empty() => Place::Abstract(name.into()),
        _ => return Err(ACCEPTED.to_string()),
    };
    Ok(one(place))
}

fn one(place: Place) -> Vec<Place> {
    Vec::from([place])
}

fn inet(text: &str, default: Option<u16>) -> Result<Vec<Place>, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| ACCEPTED.to_string())?,
        None => text.split_at(text.bytes().position(|byte| byte == b':').unwrap_or(text.len())),
    };
    let port = match (port.strip_prefix(':'), default) {
        (Some(port), _) => number(port, 1, u16::MAX)
            .ok_or_else(|| format!("port \"{port}\"; accepted: 1 to 65535"))?,
        (None, Some(default)) if port.is_empty() => default,
        (None, _) => return Err(ACCEPTED.to_string()),
    };
    let no_host = || {
        format!(
            "host \"{host}\"; accepted: an IP address, [IPv6], localhost (fd3 looks up no other names)"
        )
    };
    let place = |ip: IpAddr| Place::Inet(SocketAddr::new(ip, port));
    if text.starts_with('[') {
        let ip: Ipv6Addr = host.parse().map_err(|_| no_host())?;
        return Ok(one(place(ip.into())));
    }
    if host.is_empty() || host == "localhost" {
        let mut places = one(place(Ipv4Addr::LOCALHOST.into()));
        places.push(place(Ipv6Addr::LOCALHOST.into()));
        return Ok(places);
    }
    let ip: Ipv4Addr = host.parse().map_err(|_| no_host())?;
    Ok(one(place(ip.into())))
}

/// Nothing of it can be mistaken for another line.
fn request(host: &str, path: &str) -> Result<String, String> {
    let is_path = path.starts_with(['/', '?']);
    if !is_path || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(format!("path \"{path}\"; accepted: visible ASCII without \"#\""));
    }
    let slash = if path.starts_with('?') { "/" } else { "" };
    let mut all = String::new();
    for part in [
        "GET ",
        slash,
        path,
        " HTTP/1.1\r\nHost: ",
        host,
        concat!("\r\nUser-Agent: fd3/", env!("CARGO_PKG_VERSION")),
        "\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    ] {
        all.push_str(part);
    }
    Ok(all)
}

/// Statuses from the first to the second one: `200-399`, or `204`.
pub fn range(text: &str) -> Option<(u16, u16)> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let (least, most) = (number(least, 200, 599)?, number(most, 200, 599)?);
    (least <= most).then_some((least, most))
}

fn number(text: &str, least: u16, most: u16) -> Option<u16> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

/// What the bytes that came so far say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    More,
    Status(u16),
    /// It is none of HTTP/1's, or too long a one.
    Strange,
}

/// What came so far, without the interim answers (1xx) that may come first.
pub fn answer(mut bytes: &[u8]) -> Answer {
    loop {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            let prefix = bytes.len().min(VERSION.len());
            let is_http = bytes[..prefix] == VERSION.as_bytes()[..prefix];
            return if is_http && bytes.len() < LINE_MAX { Answer::More } else { Answer::Strange };
        };
        match status(bytes[..end].trim_ascii_end()) {
            None => return Answer::Strange,
            // 101 ends the talk in HTTP.
            Some(status @ (101 | 200..)) => return Answer::Status(status),
            Some(_) => match after_head(bytes) {
                Some(rest) => bytes = rest,
                None => return Answer::More,
            },
        }
        if bytes.is_empty() {
            return Answer::More;
        }
    }
}

const VERSION: &str = "HTTP/1.";

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(VERSION.as_bytes())?;
    let [b'0'..=b'9', b' ', code @ ..] = rest else { return None };
    let (code, rest) = code.split_at_checked(3)?;
    let ends = rest.is_empty() || rest[0] == b' ';
    number(core::str::from_utf8(code).ok()?, 100, 599).filter(|_| ends)
}

/// What follows the first empty line.
fn after_head(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        if line.trim_ascii().is_empty() {
            return Some(after);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn places(text: &str) -> Vec<Place> {
        parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}")).places
    }

    fn inet(text: &str) -> Place {
        Place::Inet(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_and_urls_are_understood() {
        let local =
            |port: u16| vec![inet(&format!("127.0.0.1:{port}")), inet(&format!("[::1]:{port}"))];
        for (text, expected) in [
            (":80", local(80)),
            ("localhost:80", local(80)),
            ("tcp://:80", local(80)),
            ("tcp://localhost:65535", local(65_535)),
            ("127.0.0.1:80", vec![inet("127.0.0.1:80")]),
            ("tcp://[::1]:80", vec![inet("[::1]:80")]),
            ("unix:/run/a:b", vec![Place::Path(b"/run/a:b".into())]),
            ("unix:@a", vec![Place::Abstract(b"a".into())]),
            ("http://localhost", local(80)),
            ("http://:8080/x", local(8080)),
            ("http://10.0.0.1", vec![inet("10.0.0.1:80")]),
            ("http://[::1]:8080?x", vec![inet("[::1]:8080")]),
            ("http://unix:/run/a:/health", vec![Place::Path(b"/run/a".into())]),
            ("http://unix:@a", vec![Place::Abstract(b"a".into())]),
        ] {
            assert_eq!(places(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_asked_for_is_told_whole() {
        for (text, first, host) in [
            ("http://localhost", "GET / HTTP/1.1", "localhost"),
            ("http://:8080/health?a=b", "GET /health?a=b HTTP/1.1", "localhost:8080"),
            ("http://[::1]:80?x", "GET /?x HTTP/1.1", "[::1]:80"),
            ("http://unix:/a:/x", "GET /x HTTP/1.1", "localhost"),
            ("http://unix:@a", "GET / HTTP/1.1", "localhost"),
        ] {
            let request = parse(text).expect("a URL").request.expect("HTTP");
            let lines: Vec<&str> = request.split("\r\n").collect();
            assert_eq!(lines[0], first);
            assert_eq!(lines[1], format!("Host: {host}"));
            assert!(request.ends_with("\r\nConnection: close\r\n\r\n"), "{request}");
        }
        for text in [":80", "tcp://localhost:80", "unix:/a"] {
            assert_eq!(parse(text).expect("an address").request, None);
        }
    }

    #[test]
    fn what_is_none_is_told() {
        let host = "accepted: an IP address, [IPv6], localhost";
        for (text, said) in [
            ("", ACCEPTED),
            ("80", ACCEPTED),
            ("localhost", ACCEPTED),
            ("/run/a", ACCEPTED),
            ("unix:", ACCEPTED),
            ("unix:a", ACCEPTED),
            ("unix:@", ACCEPTED),
            ("udp://:80", ACCEPTED),
            ("http://unix:", ACCEPTED),
            ("http://[::1", ACCEPTED),
            ("[::1]80", ACCEPTED),
            ("http://[::1]x", ACCEPTED),
            ("https://localhost", "fd3 check speaks no TLS"),
            (":0", "port \"0\""),
            (":65536", "port \"65536\""),
            (":+1", "port \"+1\""),
            ("::1:80", "port \":1:80\""),
            ("http://a:b@:80", "port \"b@:80\""),
            ("http://example.com/", host),
            ("www:80", host),
            ("[127.0.0.1]:80", host),
            ("1.2.3:80", host),
            ("http://:80/a b", "path \"/a b\""),
            ("http://:80/a\r\nX: y", "path \"/a\r\nX: y\""),
            ("http://:80/ü", "path \"/ü\""),
            ("http://:80/#a", "path \"/#a\""),
            ("http://unix:/a:b", "path \"b\""),
        ] {
            let wrong = parse(text).expect_err(text);
            assert!(wrong.contains(said), "{text}: {wrong}");
        }
        assert!(parse(&format!("http://:80/{}", "a".repeat(TARGET_MAX))).is_err());
    }

    #[test]
    fn a_status_is_read_as_soon_as_its_line_is_whole() {
        use Answer::{More, Status, Strange};
        let long = format!("HTTP/1.1 {}", "2".repeat(LINE_MAX));
        for (bytes, expected) in [
            ("", More),
            ("HTT", More),
            ("HTTP/1.1 20", More),
            ("HTTP/1.1 200 OK\r", More),
            ("HTTP/1.1 200 OK\r\n", Status(200)),
            ("HTTP/1.0 404 Not Found\nx", Status(404)),
            ("HTTP/1.1 503\r\n", Status(503)),
            ("HTTP/1.1 503 \r\n", Status(503)),
            ("HTTP/1.1 101 Switching\r\n", Status(101)),
            ("HTTP/1.1 103 Early\r\n", More),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", More),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n", Status(200)),
            ("HTTP/1.1 100 C\n\nHTTP/1.1 103 E\n\nHTTP/1.1 204 N\n", Status(204)),
            ("HTTP/1.1 100 C\n\nfoo", Strange),
            ("SSH-2.0-OpenSSH\r\n", Strange),
            ("S", Strange),
            ("\r\n", Strange),
            ("HTTP/2 200\r\n", Strange),
            ("HTTP/1.1 200OK\r\n", Strange),
            ("HTTP/1.1 20\r\n", Strange),
            ("HTTP/1.1 +20 x\r\n", Strange),
            ("HTTP/1.1 099 x\r\n", Strange),
            ("HTTP/1.1  200 x\r\n", Strange),
            (&long, Strange),
        ] {
            assert_eq!(answer(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_range_is_of_statuses() {
        for (text, expected) in [
            ("200-399", Some((200, 399))),
            ("204", Some((204, 204))),
            ("200-599", Some((200, 599))),
        ] {
            assert_eq!(range(text), expected, "{text}");
        }
        for text in ["", "-", "200-", "-399", "399-200", "199", "600", "2xx", "+200", "200-300-400"]
        {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
