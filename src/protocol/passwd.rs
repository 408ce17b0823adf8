//! passwd(5) and group(5): names to numbers. Pure; who reads the files is not here.
#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::whole;

/// A user or a group, as an option names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Id {
    Number(u32),
    Name(String),
}

/// What can be a name, in words.
pub const ACCEPTED: &str = "a name, or a number from 0 to 4294967294";

/// A line of /etc/passwd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User<'a> {
    pub name: &'a [u8],
    pub uid: u32,
    pub gid: u32,
    pub home: &'a [u8],
    pub shell: &'a [u8],
}

impl Id {
    /// Digits are a number. What could stand in no file is no name.
    pub fn parse(text: &str) -> Option<Id> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return id(text.as_bytes()).map(Id::Number);
        }
        let odd = |byte: u8| byte == b':' || byte == b',' || byte <= b' ' || byte == 0x7f;
        let is_name = !text.starts_with(['-', '+']) && !text.bytes().any(odd);
        is_name.then(|| Id::Name(text.into()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => number.fmt(f),
            Id::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// The first user of this name or number.
pub fn user<'a>(file: &'a [u8], wanted: &Id) -> Option<User<'a>> {
    for line in file.split(|byte| *byte == b'\n') {
        let field = fields(line);
        // Broken lines are passed over, as getpwnam(3) does.
        let [name @ [_, ..], _, uid, gid, _, home, shell] = field else { continue };
        let (Some(uid), Some(gid)) = (id(uid), id(gid)) else { continue };
        let found = match wanted {
            Id::Number(number) => *number == uid,
            Id::Name(wanted) => wanted.as_bytes() == name,
        };
        if found {
            return Some(User { name, uid, gid, home, shell });
        }
    }
    None
}

/// The number of group `name`, from the bytes of /etc/group.
pub fn gid_of(file: &[u8], name: &str) -> Option<u32> {
    for line in file.split(|byte| *byte == b'\n') {
        let [found @ [_, ..], _, gid, ..] = fields(line) else { continue };
        if let Some(gid) = id(gid).filter(|_| found == name.as_bytes()) {
            return Some(gid);
        }
    }
    None
}

/// `first`, and every group that lists this member, each once, as initgroups(3) has them.
pub fn groups_of(file: &[u8], member: &[u8], first: u32) -> Vec<u32> {
    let mut groups = Vec::new();
    groups.push(first);
    for line in file.split(|byte| *byte == b'\n') {
        let [[_, ..], _, gid, members, ..] = fields(line) else { continue };
        let Some(gid) = id(gid) else { continue };
        let is_member = members.split(|byte| *byte == b',').any(|one| one == member);
        if is_member && !member.is_empty() && !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    groups
}

/// A user or group as number. The largest means "leave as it is" to chown(2) and setresuid(2), so it is none.
pub fn id(text: &[u8]) -> Option<u32> {
    u32::try_from(whole(text, 10)?).ok().filter(|id| *id != u32::MAX)
}

/// What stands between the colons; the last one takes the rest, and what is missing is empty.
fn fields(line: &[u8]) -> [&[u8]; 7] {
    let mut fields = [&[][..]; 7];
    for (place, field) in fields.iter_mut().zip(line.splitn(7, |byte| *byte == b':')) {
        *place = field;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbroken\nwww\nwww:x:33:34::/srv:/bin/sh\n\
        bad:x:-1:0\n:x:1:1\nshort:x:7:8\nwww:x:99:99::/:\nalso:x:33:35::/also:\n+::::::";

    #[test]
    fn users_are_found_by_name_and_number() {
        let found = |wanted: Id| user(PASSWD, &wanted).map(|user| (user.name, user.uid, user.gid));
        let by_name = |name: &str| found(Id::Name(name.into()));
        assert_eq!(by_name("root"), Some((&b"root"[..], 0, 0)));
        assert_eq!(by_name("www"), Some((&b"www"[..], 33, 34)));
        assert_eq!(by_name("short"), Some((&b"short"[..], 7, 8)));
        for name in ["", "ww", "www:x", "bad", "broken", "nobody", "+"] {
            assert_eq!(by_name(name), None, "{name}");
        }
        assert_eq!(found(Id::Number(33)), Some((&b"www"[..], 33, 34)));
        assert_eq!(found(Id::Number(99)), Some((&b"www"[..], 99, 99)));
        assert_eq!(found(Id::Number(1)), None);
        let www = user(PASSWD, &Id::Number(33)).expect("it is there");
        assert_eq!((www.home, www.shell), (&b"/srv"[..], &b"/bin/sh"[..]));
        let short = user(PASSWD, &Id::Number(7)).expect("it is there");
        assert_eq!((short.home, short.shell), (&b""[..], &b""[..]));
    }

    const GROUP: &[u8] =
        b"root:x:0:\nadm:x:4:a,b\nbig:x:4294967295:b\nbroken:x\nb:x:7:b\nagain:x:4:b\nmore:x:9:ab,b,c";

    #[test]
    fn groups_are_found_by_name_and_by_member() {
        assert_eq!(gid_of(GROUP, "adm"), Some(4));
        for name in ["big", "broken", "", "ad", "admx"] {
            assert_eq!(gid_of(GROUP, name), None, "{name}");
        }
        assert_eq!(gid_of(b"", "adm"), None);
        assert_eq!(groups_of(GROUP, b"b", 33), [33, 4, 7, 9]);
        assert_eq!(groups_of(GROUP, b"a", 4), [4]);
        assert_eq!(groups_of(GROUP, b"none", 5), [5]);
        assert_eq!(groups_of(b"", b"a", 0), [0]);
        assert_eq!(groups_of(GROUP, b"", 5), [5]);
    }

    #[test]
    fn an_id_is_a_number_or_could_be_a_name() {
        assert_eq!(Id::parse("0"), Some(Id::Number(0)));
        assert_eq!(Id::parse("007"), Some(Id::Number(7)));
        assert_eq!(Id::parse("4294967294"), Some(Id::Number(u32::MAX - 1)));
        for name in ["www-data", "a", "DOMAIN\\user", "user.name", "0x10", "ä"] {
            assert_eq!(Id::parse(name), Some(Id::Name(name.into())), "{name}");
        }
        for text in ["", "-1", "+1", "4294967295", "99999999999", "a:b", "0:0", "a b", "a\n", "a,b"]
        {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(id(b"1000"), Some(1000));
        for text in [&b""[..], b"+1", b"-1", b"4294967295", b"4294967296", b"1 "] {
            assert_eq!(id(text), None);
        }
    }
}
