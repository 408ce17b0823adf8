//! What the values of single fields mean.

use super::super::Wrong;
use super::bytes::{elements, is_token};

/// Digits alone, below 2^63 (RFC 9112, section 6.3).
pub fn length(value: &[u8]) -> Result<u64, Wrong> {
    if value.is_empty() || value.len() > 19 {
        return Err(Wrong::Length);
    }
    let mut length = 0_u64;
    for byte in value {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9).ok_or(Wrong::Length)?;
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(digit)))
            .filter(|length| *length <= i64::MAX.unsigned_abs())
            .ok_or(Wrong::Length)?;
    }
    Ok(length)
}

/// `chunked` and nothing else. Another coding before it is well said and not understood.
pub fn coding(value: &[u8]) -> Result<(), Wrong> {
    let is_chunked = |element: &[u8]| element.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Ok(());
    }
    let well_said = elements(value).all(is_token)
        && elements(value).last().is_some_and(is_chunked)
        && elements(value).filter(|element| is_chunked(element)).count() == 1;
    Err(if well_said { Wrong::UnknownCoding } else { Wrong::Coding })
}

/// What Connection says, over all its fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// How many names of fields it says, that are so for this hop alone.
    pub names: u8,
}

/// So many names Connection may say: each field is compared with each.
const NAMES_MAX: u8 = 32;

impl Options {
    pub fn add(&mut self, value: &[u8]) -> Result<(), Wrong> {
        // Empty elements count for nothing (RFC 9110, section 5.6.1).
        for option in elements(value).filter(|option| !option.is_empty()) {
            if !is_token(option) {
                return Err(Wrong::Connection);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.names = self.names.saturating_add(1);
            }
        }
        if self.names > NAMES_MAX { Err(Wrong::Connection) } else { Ok(()) }
    }
}

/// What a field of Upgrade asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// Protocols that can go through a tunnel.
    Any,
    /// HTTP/2 among them, which must not go through unseen, or what is no protocol.
    Never,
}

pub fn upgrade(value: &[u8]) -> Upgrade {
    let is_protocol = |element: &[u8]| {
        let mut parts = element.split(|byte| *byte == b'/');
        let h2c = |name: &[u8]| name.eq_ignore_ascii_case(b"h2c");
        let http = |name: &[u8]| name.eq_ignore_ascii_case(b"http") || h2c(name);
        parts.next().is_some_and(|name| is_token(name) && !http(name))
            && parts.next().is_none_or(is_token)
            && parts.next().is_none()
    };
    if elements(value).all(is_protocol) { Upgrade::Any } else { Upgrade::Never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_that_fit() {
        for (value, wanted) in [
            (&b"0"[..], 0),
            (b"7", 7),
            (b"007", 7),
            (b"9223372036854775807", i64::MAX.unsigned_abs()),
        ] {
            assert_eq!(length(value), Ok(wanted));
        }
        for bad in [
            &b""[..],
            b"+5",
            b"-5",
            b"0x5",
            b"5.0",
            b"5 5",
            b"5,5",
            b"5, 5",
            b"5;",
            b"\xb2",
            b"9223372036854775808",
            b"18446744073709551621",
            b"99999999999999999999999999",
            b"00000000000000000005",
        ] {
            assert_eq!(length(bad), Err(Wrong::Length), "{bad:?}");
        }
    }

    #[test]
    fn a_coding_is_chunked_and_nothing_else() {
        for good in [&b"chunked"[..], b"Chunked", b"CHUNKED"] {
            assert_eq!(coding(good), Ok(()));
        }
        for unknown in [&b"gzip, chunked"[..], b"cow,chunked", b"identity, chunked"] {
            assert_eq!(coding(unknown), Err(Wrong::UnknownCoding), "{unknown:?}");
        }
        for bad in [
            &b""[..],
            b",chunked",
            b"chunked,",
            b"chunked, chunked",
            b"chunked, identity",
            b"identity",
            b"xchunked",
            b"chunkedx",
            b"\x0bchunked",
            b"\"chunked\"",
            b"chunked;q=1",
            b"gzip;q=1, chunked",
            b"chun ked",
            b"chunked chunked",
        ] {
            assert_eq!(coding(bad), Err(Wrong::Coding), "{bad:?}");
        }
    }

    #[test]
    fn connection_is_a_short_list_of_names() {
        let mut options = Options::default();
        assert_eq!(options.add(b"Keep-Alive, , Upgrade,x-a"), Ok(()));
        assert_eq!(options.add(b"CLOSE"), Ok(()));
        let wanted = Options { close: true, keep_alive: true, upgrade: true, names: 1 };
        assert_eq!(options, wanted);
        for bad in [&b"a b"[..], b"a;b", b"\"close\"", b"\xff"] {
            assert_eq!(Options::default().add(bad), Err(Wrong::Connection));
        }
        assert_eq!(Options::default().add(&b"a,".repeat(32)), Ok(()));
        assert_eq!(Options::default().add(&b"a,".repeat(33)), Err(Wrong::Connection));
        assert_eq!(Options::default().add(&b"a,".repeat(3000)), Err(Wrong::Connection));
    }

    #[test]
    fn http2_does_not_go_through_a_tunnel() {
        for good in [&b"websocket"[..], b"WebSocket", b"a/1.0, b"] {
            assert_eq!(upgrade(good), Upgrade::Any);
        }
        for bad in [&b"h2c"[..], b"websocket, H2C", b"HTTP/2.0", b"", b"a,,b", b"a b", b"a/b/c"] {
            assert_eq!(upgrade(bad), Upgrade::Never, "{bad:?}");
        }
    }
}
