//! Dates as HTTP and access logs write them. Pure: seconds since 1970 in.

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub fn imf(seconds: u64) -> [u8; 29] {
    let _ = seconds;
    todo!()
}

/// `06/Nov/1994:08:49:37 +0000`, as in the Common Log Format.
pub fn common_log(seconds: u64) -> [u8; 26] {
    let _ = seconds;
    todo!()
}
