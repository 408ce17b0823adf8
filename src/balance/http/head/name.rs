//! Field names that something goes by.

use super::bytes::Spelling;

/// Whatever is none of these is `Other` and passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Te,
    Trailer,
    Upgrade,
    Expect,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    /// Any other that begins with `X-Forwarded-`, and Forwarded.
    Forwarded,
    /// Of this hop: Keep-Alive, what is between a client and its proxy (Proxy-Connection, -Authenticate and
    /// -Authorization), HTTP2-Settings; and of a client, `X_Forwarded_For` and the like: to programs that know names as
    /// variables only it is the same as with dashes.
    Hop,
    /// `Content_Length` and the like, of a client: refused.
    Lookalike,
    Cookie,
    UserAgent,
    Referer,
    /// Goes from end to end, and nobody can take it away or add it behind the head.
    Kept,
    Other,
}

/// Names by their length, in small letters.
fn candidates(len: usize) -> &'static [(&'static [u8], Name)] {
    match len {
        2 => &[(b"te", Name::Te)],
        3 => &[(b"via", Name::Kept)],
        4 => &[(b"host", Name::Host), (b"date", Name::Kept)],
        6 => &[(b"cookie", Name::Cookie), (b"expect", Name::Expect), (b"server", Name::Kept)],
        7 => {
            &[(b"referer", Name::Referer), (b"upgrade", Name::Upgrade), (b"trailer", Name::Trailer)]
        }
        8 => &[(b"location", Name::Kept)],
        9 => &[(b"forwarded", Name::Forwarded)],
        10 => &[
            (b"connection", Name::Connection),
            (b"user-agent", Name::UserAgent),
            (b"keep-alive", Name::Hop),
            (b"set-cookie", Name::Kept),
        ],
        12 => &[(b"content-type", Name::Kept)],
        13 => &[
            (b"authorization", Name::Kept),
            (b"cache-control", Name::Kept),
            (b"content-range", Name::Kept),
        ],
        14 => &[(b"content-length", Name::ContentLength), (b"http2-settings", Name::Hop)],
        15 => &[(b"x-forwarded-for", Name::XForwardedFor)],
        16 => &[
            (b"content-encoding", Name::Kept),
            (b"x-forwarded-host", Name::XForwardedHost),
            (b"proxy-connection", Name::Hop),
        ],
        17 => &[
            (b"transfer-encoding", Name::TransferEncoding),
            (b"x-forwarded-proto", Name::XForwardedProto),
        ],
        18 => &[(b"proxy-authenticate", Name::Hop)],
        19 => &[(b"proxy-authorization", Name::Hop)],
        _ => &[],
    }
}

/// A name of this length that is the same in small letters; with `Underscored`, underscores count as dashes.
fn known(name: &[u8], spelling: Spelling) -> Name {
    let (len, Some(first)) = (name.len(), name.first().map(|byte| byte | 0x20)) else {
        return Name::Other;
    };
    let is_it = |wanted: &[u8]| {
        wanted.first() == Some(&first)
            && match spelling {
                Spelling::Plain => name.eq_ignore_ascii_case(wanted),
                Spelling::Underscored => begins_like(name, wanted),
            }
    };
    match candidates(len).iter().find(|(wanted, _)| is_it(wanted)) {
        Some((_, known)) => *known,
        None if first == b'x' && begins_like(name, b"x-forwarded-") => Name::Forwarded,
        None => Name::Other,
    }
}

fn begins_like(name: &[u8], folded_start: &[u8]) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() >= folded_start.len()
        && name.iter().zip(folded_start).all(|(byte, wanted)| folded(*byte) == *wanted)
}

/// A field that a client sends.
pub fn of_client(name: &[u8], spelling: Spelling) -> Name {
    match (spelling, known(name, spelling)) {
        (Spelling::Plain, known) => known,
        (Spelling::Underscored, Name::Host | Name::ContentLength | Name::TransferEncoding) => {
            Name::Lookalike
        }
        (
            Spelling::Underscored,
            Name::XForwardedFor | Name::XForwardedProto | Name::XForwardedHost | Name::Forwarded,
        ) => Name::Hop,
        (Spelling::Underscored, _) => Name::Other,
    }
}

/// A field that a backend sends: to clients a name is its letters.
pub fn of_backend(name: &[u8], spelling: Spelling) -> Name {
    match spelling {
        Spelling::Plain => known(name, spelling),
        Spelling::Underscored => Name::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &[u8]) -> Name {
        of_client(name, super::super::bytes::token(name).1)
    }

    #[test]
    fn a_name_is_known_in_any_case() {
        assert_eq!(client(b"hOsT"), Name::Host);
        assert_eq!(client(b"TRANSFER-ENCODING"), Name::TransferEncoding);
        assert_eq!(client(b"x-forwarded-port"), Name::Forwarded);
        assert_eq!(client(b"x-forwarded-for"), Name::XForwardedFor);
        for other in [&b"x-forwarded"[..], b"hos", b"hostt", b"accept", b"", b"h\xf4st"] {
            assert_eq!(client(other), Name::Other, "{other:?}");
        }
        for len in 0..32 {
            for (name, known) in candidates(len) {
                assert_eq!((name.len(), client(name)), (len, *known));
            }
        }
    }

    #[test]
    fn a_clients_underscore_does_not_make_another_name() {
        assert_eq!(client(b"X_Forwarded_For"), Name::Hop);
        assert_eq!(client(b"content_length"), Name::Lookalike);
        assert_eq!(client(b"TRANSFER_encoding"), Name::Lookalike);
        assert_eq!(client(b"Keep_Alive"), Name::Other);
        assert_eq!(of_backend(b"Content_Length", Spelling::Underscored), Name::Other);
    }
}
