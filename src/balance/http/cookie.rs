//! Cookies, as far as `--sticky` needs them (RFC 6265).

use alloc::format;
use alloc::string::String;

use super::head::{Field, Name, is_token, trimmed};

/// The value of the first cookie of this name in a request's fields, without quotes around it.
pub fn get<'a>(fields: &[Field], bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let cookies = fields.iter().filter(|field| field.known == Name::Cookie);
    let mut pairs =
        cookies.flat_map(|field| field.value.of(bytes).split(|byte| *byte == b';')).map(trimmed);
    let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    match value {
        [b'"', value @ .., b'"'] => Some(value),
        value => Some(value),
    }
}

/// A value for Set-Cookie: a cookie of the session, out of reach of scripts.
pub fn set(name: &str, value: &str, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// Whether a cookie may be called so (RFC 6265, section 4.1.1: a token).
pub fn is_name(name: &str) -> bool {
    is_token(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::head::{Limits, RequestParser};
    use super::*;

    fn find(cookies: &str, name: &str) -> Option<String> {
        let head = format!("GET / HTTP/1.0\r\nAccept: {name}=no\r\n{cookies}\r\n");
        let mut parser = RequestParser::new();
        parser.parse(head.as_bytes(), &Limits::USUAL).expect("it is well formed");
        let value = get(parser.fields(), head.as_bytes(), name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (cookies, wanted) in [
            ("Cookie: at=b2\r\n", Some("b2")),
            ("cookie: a=1; at=b2 ;c=\r\n", Some("b2")),
            ("Cookie: at=\"b2\"\r\n", Some("b2")),
            ("Cookie: at=\r\n", Some("")),
            ("Cookie: at=\"\r\n", Some("\"")),
            ("Cookie: a=1\r\nCookie: at=b=3\r\n", Some("b=3")),
            ("Cookie: at=1; at=2\r\n", Some("1")),
            ("Cookie: xat=1; att=2; a t=3; At=4\r\n", None),
            ("Cookie: at\r\n", None),
            ("Cookie: \r\n", None),
            ("", None),
        ] {
            assert_eq!(find(cookies, "at").as_deref(), wanted, "{cookies}");
        }
    }

    #[test]
    fn a_cookie_is_set_for_the_session() {
        assert_eq!(set("at", "b2", false), "at=b2; Path=/; HttpOnly; SameSite=Lax");
        assert!(set("at", "b2", true).ends_with("; Secure"));
        assert!(is_name("at") && !is_name("") && !is_name("a=b") && !is_name("a b"));
    }
}
