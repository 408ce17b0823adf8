//! Bytes by what they may be part of, and lines found in them.

use super::super::Wrong;

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const CONTROL: u8 = 4;
const HOST: u8 = 8;
const UNDERSCORE: u8 = 16;

/// What each byte may be.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        let letter_or_digit = byte.is_ascii_alphanumeric();
        // RFC 9110, section 5.6.2.
        let token = letter_or_digit || is_in(byte, b"!#$%&'*+-.^_`|~");
        // Whatever browsers send, but no fragment (RFC 9112, section 3.2).
        let target = byte.is_ascii_graphic() && byte != b'#';
        // All that must not be in a line; a tab may (RFC 9110, section 5.5).
        let control = byte.is_ascii_control() && byte != b'\t';
        // A name, without the comma and what is encoded by percent, which parsers take differently (RFC 3986, section
        // 3.2.2). Addresses in brackets are taken apart.
        let host = letter_or_digit || is_in(byte, b"-._~!$&'()*+;=");
        let mut class = 0;
        if token {
            class |= TOKEN;
        }
        if target {
            class |= TARGET;
        }
        if control {
            class |= CONTROL;
        }
        if host {
            class |= HOST;
        }
        if byte == b'_' {
            class |= UNDERSCORE;
        }
        set(&mut table, byte, class);
        let Some(next) = byte.checked_add(1) else { return table };
        byte = next;
    }
}

const fn is_in(byte: u8, mut set: &[u8]) -> bool {
    while let Some((first, rest)) = set.split_first() {
        if *first == byte {
            return true;
        }
        set = rest;
    }
    false
}

/// At compile time: an index of a byte is in a table of 256.
#[allow(clippy::indexing_slicing)]
const fn set(table: &mut [u8; 256], byte: u8, class: u8) {
    table[byte as usize] = class;
}

fn class_of(byte: u8) -> u8 {
    // The table has a place for every byte.
    CLASS.get(usize::from(byte)).copied().unwrap_or(CONTROL)
}

fn is(byte: u8, class: u8) -> bool {
    class_of(byte) & class != 0
}

pub fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is(*byte, TOKEN))
}

pub fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is(*byte, TARGET))
}

pub fn is_host_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is(*byte, HOST))
}

/// How is a name spelled: to some an underscore is a dash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    Plain,
    Underscored,
}

/// How many bytes of a token stand first, and whether an underscore is among them.
pub fn token(bytes: &[u8]) -> (usize, Spelling) {
    let mut seen = 0;
    let mut len = 0_usize;
    for byte in bytes {
        let class = class_of(*byte);
        if class & TOKEN == 0 {
            break;
        }
        seen |= class;
        len = len.wrapping_add(1);
    }
    (len, if seen & UNDERSCORE == 0 { Spelling::Plain } else { Spelling::Underscored })
}

/// Without the spaces and tabs at both ends.
pub fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed; empty ones too.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trimmed)
}

/// Where the first control character is (a tab is none).
fn control(bytes: &[u8]) -> Option<usize> {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let marks = suspects(u64::from_le_bytes(*eight));
        if marks == 0 {
            continue;
        }
        let start = index.wrapping_mul(8);
        // The first mark is right, and mostly no tab.
        let first = (marks.trailing_zeros() / 8) as usize;
        let found = match eight.get(first) {
            Some(b'\t') | None => eight.iter().position(|byte| is(*byte, CONTROL)),
            Some(_) => Some(first),
        };
        if let Some(at) = found {
            return Some(start.wrapping_add(at));
        }
    }
    let at = rest.iter().position(|byte| is(*byte, CONTROL))?;
    Some(bytes.len().saturating_sub(rest.len()).wrapping_add(at))
}

/// Eight bytes at once: the highest bit of each that is below 0x20 or is 0x7f, but above the first one marked maybe of
/// others, too.
fn suspects(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let below_space = eight.wrapping_sub(ONES.wrapping_mul(0x20)) & !eight;
    let delete = eight ^ ONES.wrapping_mul(0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | is_delete) & HIGHS
}

/// How far lines were looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lines {
    /// Here the line begins that is not whole yet.
    pub start: usize,
    /// Up to here nothing ends it.
    seen: usize,
}

impl Lines {
    /// The next line, `start..end` without its CRLF. `None`: there must be more. Lines end with CRLF alone, and no
    /// control character is in them.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Wrong> {
        let Some(at) = control(bytes.get(self.seen..).unwrap_or_default()) else {
            self.seen = bytes.len();
            return Ok(None);
        };
        let end = self.seen.saturating_add(at);
        self.seen = end;
        match bytes.get(end..).unwrap_or_default() {
            [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                let line = (self.start, end);
                self.start = end.saturating_add(2);
                self.seen = self.start;
                Ok(Some(line))
            }
            [b'\r', ..] => Err(Wrong::BareCr),
            [b'\n', ..] => Err(Wrong::BareLf),
            _ => Err(Wrong::Control),
        }
    }

    /// Bytes at hand of the line that is not whole.
    pub fn seen_of_line(&self) -> usize {
        self.seen.saturating_sub(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_at_once_find_what_one_by_one_finds() {
        for byte in 0..=255_u8 {
            for at in 0..20 {
                let mut bytes = *b"0123456789 bcdefghi\xff";
                bytes[at] = byte;
                let found = control(&bytes);
                let wanted = (byte.is_ascii_control() && byte != b'\t').then_some(at);
                assert_eq!(found, wanted, "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn a_line_ends_with_both_its_bytes_and_nothing_else() {
        let mut lines = Lines::default();
        assert_eq!(lines.next(b"ab\r"), Ok(None));
        assert_eq!(lines.next(b"ab\r\n\r"), Ok(Some((0, 2))));
        assert_eq!(lines.next(b"ab\r\n\r"), Ok(None));
        assert_eq!(lines.next(b"ab\r\n\r\n"), Ok(Some((4, 4))));
        assert_eq!(Lines::default().next(b"ab\rc"), Err(Wrong::BareCr));
        assert_eq!(Lines::default().next(b"ab\n"), Err(Wrong::BareLf));
        assert_eq!(Lines::default().next(b"ab\0"), Err(Wrong::Control));
        assert_eq!(Lines::default().next(b"ab\x7f"), Err(Wrong::Control));
        assert_eq!(Lines::default().next(b"a\tb\xff"), Ok(None));
    }

    #[test]
    fn tokens_targets_and_hosts_have_their_bytes() {
        assert!(is_token(b"X-a_b!#$%&'*+.^`|~9"));
        for bad in [&b""[..], b"a b", b"a:", b"a/", b"\xe9", b"a\"", b"a(", b"a@", b"a\0"] {
            assert!(!is_token(bad), "{bad:?}");
        }
        assert!(is_target(b"/a?b=[c]|{d}\"<>%zz\\"));
        for bad in [&b"/a b"[..], b"/a#b", b"/\x7f", b"/\xc3\xa9", b"/\t"] {
            assert!(!is_target(bad), "{bad:?}");
        }
        for bad in [&b""[..], b"a,b", b"a/b", b"a@b", b"a b", b"a%2fb", b"a\\b", b"a#", b"a?"] {
            assert!(!is_host_name(bad), "{bad:?}");
        }
    }
}
