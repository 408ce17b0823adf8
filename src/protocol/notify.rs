//! What a worker says by sd_notify(3): `NAME=VALUE` lines in one datagram.

/// The part of a datagram that fd3 acts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notice {
    /// READY=1
    pub ready: bool,
}

/// `None` for what is no message at all: a NUL inside, or no text. Unknown names are not looked at.
pub fn parse(datagram: &[u8]) -> Option<Notice> {
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if text.contains(&0) || core::str::from_utf8(text).is_err() {
        return None;
    }
    let mut notice = Notice::default();
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        notice.ready |= line == b"READY=1";
    }
    Some(notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_line_says_ready() {
        let table: [(&[u8], Option<bool>); 12] = [
            (b"READY=1", Some(true)),
            (b"READY=1\n", Some(true)),
            (b"READY=1\0", Some(true)),
            (b"STATUS=up\nREADY=1\nMAINPID=7", Some(true)),
            (b"STATUS=up\r\nREADY=1\r\n", Some(true)),
            (b"READY=0", Some(false)),
            (b"READY=11", Some(false)),
            (b"X_READY=1", Some(false)),
            (b"STATUS=READY=1", Some(false)),
            (b"", Some(false)),
            (b"READY=1\0READY=1", None),
            (b"READY=1\n\xff", None),
        ];
        for (datagram, ready) in table {
            assert_eq!(parse(datagram).map(|notice| notice.ready), ready, "{datagram:?}");
        }
    }
}
