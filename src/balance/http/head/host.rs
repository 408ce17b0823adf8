//! Hosts: what Host and the authority of a target may say, and whether two say the same.

use core::net::Ipv6Addr;

use super::bytes::is_host_name;

/// A host and its port's digits, as they stand there.
type Parts<'a> = (&'a [u8], &'a [u8]);

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`; the port may be empty (RFC 3986, section 3.2).
pub fn parts(value: &[u8]) -> Option<Parts<'_>> {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (address, rest) = rest.split_at_checked(end)?;
            let address = core::str::from_utf8(address).ok()?;
            address.parse::<Ipv6Addr>().ok()?;
            (value.get(..end.checked_add(2)?)?, rest.get(1..)?)
        }
        _ => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            let (host, port) = value.split_at_checked(end)?;
            is_host_name(host).then_some((host, port))?
        }
    };
    let port = match port {
        [] => port,
        [b':', port @ ..] => port,
        _ => return None,
    };
    is_port(port).then_some((host, port))
}

fn is_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u16::from(digit))
    });
    port.len() <= 5 && number.is_some()
}

/// Whether both are the same place, where a port that is not said is `usual`.
pub fn same(one: Parts<'_>, other: Parts<'_>, usual: &[u8]) -> bool {
    let port = |(_, port): Parts<'_>| -> bool { port.is_empty() || port == usual };
    one.0.eq_ignore_ascii_case(other.0) && (one.1 == other.1 || port(one) && port(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_and_perhaps_a_port() {
        for (value, host, port) in [
            ("a", "a", ""),
            ("example.com:80", "example.com", "80"),
            ("10.0.0.1:", "10.0.0.1", ""),
            ("[::1]", "[::1]", ""),
            ("[2001:db8::1]:65535", "[2001:db8::1]", "65535"),
            ("a_b", "a_b", ""),
        ] {
            let found = parts(value.as_bytes());
            assert_eq!(found, Some((host.as_bytes(), port.as_bytes())), "{value}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "a\\b",
            "a?b",
            "a#b",
            "a:b",
            "a:65536",
            "a:+1",
            "a:1:2",
            "a:000080",
            "[::1",
            "[]",
            "[::1]80",
            "[::1]a",
            "[a]",
            "[::1%eth0]",
            "::1",
            "a%2fb",
            "\u{e9}",
            "a:-1",
        ] {
            assert_eq!(parts(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_usual_port_need_not_be_said() {
        let same = |one: &str, other: &str| {
            let parts = |value| parts(str::as_bytes(value)).expect("it is one");
            super::same(parts(one), parts(other), b"80")
        };
        assert!(same("a", "A"));
        assert!(same("a:80", "a"));
        assert!(same("a:", "a:80"));
        assert!(!same("a:81", "a"));
        assert!(!same("a", "b"));
    }
}
