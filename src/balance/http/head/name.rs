//! Field names that something goes by.

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

/// Small letters, and an underscore as the dash that it is to some.
fn folded(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

fn begins_like(name: &[u8], folded_start: &[u8]) -> bool {
    name.len() >= folded_start.len()
        && name.iter().zip(folded_start).all(|(byte, wanted)| folded(*byte) == *wanted)
}

/// How a name is spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    Own,
    /// With underscores in place of dashes: another name, but not to everybody.
    Underscored,
}

pub fn known(name: &[u8]) -> (Name, Spelling) {
    let found = candidates(name.len()).iter().find(|(wanted, _)| begins_like(name, wanted));
    let known = match found {
        Some((_, known)) => *known,
        None if begins_like(name, b"x-forwarded-") => Name::Forwarded,
        None => return (Name::Other, Spelling::Own),
    };
    let underscored = name.contains(&b'_');
    (known, if underscored { Spelling::Underscored } else { Spelling::Own })
}

/// As `known`, of a field that a client sends.
pub fn of_client(name: &[u8]) -> Name {
    match known(name) {
        (known, Spelling::Own) => known,
        (Name::Host | Name::ContentLength | Name::TransferEncoding, Spelling::Underscored) => {
            Name::Lookalike
        }
        (
            Name::XForwardedFor | Name::XForwardedProto | Name::XForwardedHost | Name::Forwarded,
            Spelling::Underscored,
        ) => Name::Hop,
        (_, Spelling::Underscored) => Name::Other,
    }
}

/// As `known`, of a field that a backend sends: to clients a name is its letters.
pub fn of_backend(name: &[u8]) -> Name {
    match known(name) {
        (known, Spelling::Own) => known,
        (_, Spelling::Underscored) => Name::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case() {
        assert_eq!(of_client(b"hOsT"), Name::Host);
        assert_eq!(of_client(b"TRANSFER-ENCODING"), Name::TransferEncoding);
        assert_eq!(of_client(b"x-forwarded-port"), Name::Forwarded);
        assert_eq!(of_client(b"x-forwarded-for"), Name::XForwardedFor);
        for other in [&b"x-forwarded"[..], b"hos", b"hostt", b"accept", b"", b"h\xf4st"] {
            assert_eq!(of_client(other), Name::Other, "{other:?}");
        }
        for len in 0..32 {
            for (name, known) in candidates(len) {
                assert_eq!((name.len(), of_client(name)), (len, *known));
            }
        }
    }

    #[test]
    fn a_clients_underscore_does_not_make_another_name() {
        assert_eq!(of_client(b"X_Forwarded_For"), Name::Hop);
        assert_eq!(of_client(b"content_length"), Name::Lookalike);
        assert_eq!(of_client(b"TRANSFER_encoding"), Name::Lookalike);
        assert_eq!(of_client(b"Keep_Alive"), Name::Other);
        assert_eq!(of_backend(b"Content_Length"), Name::Other);
    }
}
