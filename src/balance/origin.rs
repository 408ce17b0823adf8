//! What `--backend` names: `http://HOST[:PORT][/PREFIX]`, `http://unix:/SOCKET[:/PREFIX]`.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::backends::Target;

const HTTP_PORT: u16 = 80;
/// The longest URL.
const URL_MAX: usize = 2048;
/// The longest name that can be looked up (RFC 1035).
const NAME_MAX: usize = 253;
/// sun_path without the NUL that ends it.
const UNIX_NAME_MAX: usize = 107;

pub const ACCEPTED: &str = "accepted: http://HOST[:PORT][/PREFIX], http://unix:/SOCKET[:/PREFIX], \
     http://unix:@NAME[:/PREFIX]";

/// Where a connection is made to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Inet(SocketAddr),
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    Known(Place),
    /// To be looked up; each of its addresses is a backend.
    Named {
        name: String,
        port: u16,
    },
}

/// One `--backend`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// As it was given.
    pub url: String,
    pub host: Host,
    /// Put before the path of each request; empty, or with a slash at its beginning and none at its end.
    pub prefix: String,
}

impl Origin {
    /// One of its backends; it is the `number`th `--backend`.
    pub fn target(&self, place: Place, number: u32) -> Target {
        let authority = match (&self.host, &place) {
            (Host::Named { name, port: HTTP_PORT }, _) => name.clone(),
            (Host::Named { name, port }, _) => format!("{name}:{port}"),
            (Host::Known(_), Place::Inet(address)) => address.to_string(),
            (Host::Known(_), Place::Path(_) | Place::Abstract(_)) => "localhost".to_string(),
        };
        let (name, prefix) = (self.name_of(&place), self.prefix.clone());
        Target { name, place, authority, prefix, origin: number }
    }

    fn name_of(&self, place: &Place) -> String {
        match (&self.host, place) {
            (Host::Named { .. }, Place::Inet(address)) => {
                format!("http://{address}{}", self.prefix)
            }
            _ => self.url.clone(),
        }
    }
}

/// Or what is wrong with it.
pub fn parse(url: &str) -> Result<Origin, String> {
    if url.len() > URL_MAX {
        return Err(format!("{} bytes; accepted: at most {URL_MAX}", url.len()));
    }
    if url.starts_with("https://") {
        return Err("backends over TLS are not supported; accepted: http://...".into());
    }
    let Some(rest) = url.strip_prefix("http://") else { return Err(ACCEPTED.into()) };
    let (host, prefix) = match rest.strip_prefix("unix:") {
        Some(rest) => {
            let (name, prefix) = rest.split_once(':').unwrap_or((rest, ""));
            (Host::Known(unix(name)?), prefix)
        }
        None => {
            let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let (host, prefix) = rest.split_at(end.unwrap_or(rest.len()));
            (inet(host)?, prefix)
        }
    };
    let prefix = prefix_of(prefix)?;
    Ok(Origin { url: url.into(), host, prefix })
}

fn prefix_of(prefix: &str) -> Result<String, String> {
    let is_fine =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>');
    let slash = prefix.is_empty() || prefix.starts_with('/');
    if !slash || !prefix.bytes().all(is_fine) {
        return Err(format!(
            "prefix \"{prefix}\"; accepted: a path of visible ASCII, without \"?\" and \"#\""
        ));
    }
    Ok(prefix.trim_end_matches('/').into())
}

fn unix(name: &str) -> Result<Place, String> {
    if name.len() > UNIX_NAME_MAX {
        return Err(format!(
            "a socket's name of {} bytes; accepted: at most {UNIX_NAME_MAX}",
            name.len()
        ));
    }
    match name.as_bytes() {
        [b'/', ..] if !name.contains('\0') => Ok(Place::Path(name.into())),
        [b'@', rest @ ..] if !rest.is_empty() => Ok(Place::Abstract(rest.into())),
        _ => Err(ACCEPTED.into()),
    }
}

fn inet(text: &str) -> Result<Host, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(ACCEPTED)?,
        None => text.split_at(text.bytes().position(|byte| byte == b':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => {
            number(port).ok_or_else(|| format!("port \"{port}\"; accepted: 1 to 65535"))?
        }
        None if port.is_empty() => HTTP_PORT,
        None => return Err(ACCEPTED.into()),
    };
    let known = |ip: IpAddr| Host::Known(Place::Inet(SocketAddr::new(ip, port)));
    if text.starts_with('[') {
        let ip: Ipv6Addr = host
            .parse()
            .map_err(|_| format!("host \"[{host}]\"; accepted: an IPv6 address in brackets"))?;
        return Ok(known(ip.into()));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(known(ip.into()));
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // What ends with a number is meant as an address.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
    if host.is_empty() || host.len() > NAME_MAX || !host.bytes().all(is_part) || is_address {
        return Err(format!("host \"{host}\"; accepted: a name, an IPv4 address, [IPv6]"));
    }
    Ok(Host::Named { name: host.into(), port })
}

fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood() {
        let table = [
            ("http://10.0.0.1", "10.0.0.1:80", ""),
            ("http://10.0.0.1:8080/", "10.0.0.1:8080", ""),
            ("http://[::1]:8080/api/v1/", "[::1]:8080", "/api/v1"),
        ];
        for (url, address, prefix) in table {
            let origin = parse(url).expect(url);
            let address: SocketAddr = address.parse().expect(address);
            assert_eq!(origin.host, Host::Known(Place::Inet(address)), "{url}");
            assert_eq!(origin.prefix, prefix, "{url}");
        }
        let named = parse("http://web.default.svc:3000/x").expect("a name");
        assert_eq!(named.host, Host::Named { name: "web.default.svc".into(), port: 3000 });
        let place = Place::Inet("10.1.2.3:3000".parse().expect("an address"));
        assert_eq!(named.name_of(&place), "http://10.1.2.3:3000/x");
        let path = parse("http://unix:/run/app:/api").expect("a path");
        assert_eq!(path.host, Host::Known(Place::Path("/run/app".into())));
        assert_eq!(path.prefix, "/api");
        let name = parse("http://unix:@app").expect("a name");
        assert_eq!(name.host, Host::Known(Place::Abstract("app".into())));
    }

    #[test]
    fn what_is_no_backend_is_refused() {
        for url in [
            "",
            "foo",
            "foo:80",
            "http://",
            "http:///x",
            "https://a",
            "http://a:0",
            "http://a:65536",
            "http://a:+1",
            "http://a b",
            "http://a/b c",
            "http://a/?q",
            "http://a#x",
            "http://a?x",
            "http://u@h",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://1.2.3",
            "http://1.2.3.4.5",
            "http://[::1]x",
            "http://unix:",
            "http://unix:run",
            "http://unix:@",
            "http://unix:/a:b",
            "http://é",
            "http://a/é",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
        assert!(parse(&format!("http://{}", "a".repeat(254))).is_err());
        assert!(parse(&format!("http://unix:/{}", "a".repeat(107))).is_err());
    }
}
