//! passwd(5) and group(5): names to numbers. Pure; who reads the files is not here.

use alloc::vec::Vec;

/// The user and group numbers of `name`, from the bytes of /etc/passwd.
pub fn uid_of(file: &[u8], name: &str) -> Option<(u32, u32)> {
    let fields = line_of(file, name)?;
    Some((id(fields.get(2)?)?, id(fields.get(3)?)?))
}

/// The number of group `name`, from the bytes of /etc/group.
pub fn gid_of(file: &[u8], name: &str) -> Option<u32> {
    id(line_of(file, name)?.get(2)?)
}

/// A user or group as number. The largest means "leave as it is" to chown(2), so it is none.
pub fn id(text: &[u8]) -> Option<u32> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok().filter(|id| *id != u32::MAX)
}

/// The fields of the first line that begins with `name:`. Broken lines are passed over, as
/// getpwnam(3) does.
fn line_of<'a>(file: &'a [u8], name: &str) -> Option<Vec<&'a [u8]>> {
    for line in file.split(|byte| *byte == b'\n') {
        let mut fields = Vec::new();
        for field in line.split(|byte| *byte == b':') {
            fields.push(field);
        }
        if fields[0] == name.as_bytes() && fields.len() > 2 && !name.is_empty() {
            return Some(fields);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nbroken\nwww\nwww:x:33:34::/:\nbad:x:-1:0\n:x:1:1";
        assert_eq!(uid_of(passwd, "root"), Some((0, 0)));
        assert_eq!(uid_of(passwd, "www"), Some((33, 34)));
        for name in ["", "ww", "www:x", "bad", "broken", "nobody"] {
            assert_eq!(uid_of(passwd, name), None, "{name}");
        }
        let group = b"root:x:0:\nadm:x:4:a,b\nbig:x:4294967295:";
        assert_eq!(gid_of(group, "adm"), Some(4));
        assert_eq!(gid_of(group, "big"), None);
        assert_eq!(gid_of(b"", "adm"), None);
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(id(b"1000"), Some(1000));
        for text in [&b""[..], b"+1", b"-1", b"4294967295", b"4294967296", b"1 "] {
            assert_eq!(id(text), None);
        }
    }
}
