//! Cookies, as far as `--sticky` needs them (RFC 6265).

use alloc::string::String;

use super::head::Field;

/// The value of the first cookie of this name in a request's fields, without quotes around it.
pub fn get<'a>(fields: &[Field], bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let _ = (fields, bytes, name);
    todo!()
}

/// A value for Set-Cookie: a cookie of the session, out of reach of scripts.
pub fn set(name: &str, value: &str, https: bool) -> String {
    let _ = (name, value, https);
    todo!()
}

/// Whether a cookie may be called so (RFC 9110, section 5.6.2: a token).
pub fn is_name(name: &str) -> bool {
    let _ = name;
    todo!()
}
