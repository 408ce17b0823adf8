//! Users and groups, from /etc/passwd and /etc/group. Who is given by number needs neither.

use crate::error::{Errno, Error};
use crate::protocol::passwd::{self, Id, User};
use crate::sys::file;

/// What is looked up: what it is called, and where it stands.
type Kind = (&'static str, &'static str);

const USER: Kind = ("user", "/etc/passwd");
const GROUP: Kind = ("group", "/etc/group");
/// The files are longer only where they are no such thing.
const FILE_MAX: usize = 16 << 20;

/// Whom `--user` and `--group` name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Account {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// All of them, `gid` first.
    pub(super) groups: Vec<u32>,
    /// What a login tells: HOME, and of a user with an entry USER, LOGNAME and perhaps SHELL.
    pub(super) login: Vec<Vec<u8>>,
}

/// As a login has it (initgroups(3)). A number without an entry is its own group as well, and in no other:
/// never in fd3's.
pub(super) fn find(user: Option<&Id>, group: Option<&Id>) -> Result<Account, Error> {
    look_up(user, group).map_err(|why| Error::refused("set", "user and group", why))
}

#[inline(never)]
fn look_up(user: Option<&Id>, group: Option<&Id>) -> Result<Account, String> {
    let mut account = Account::default();
    let mut name = Vec::new();
    if let Some(wanted) = user {
        let file = read(USER, wanted)?;
        let entry = passwd::user(&file, wanted);
        let (uid, gid) = match (entry, wanted) {
            (Some(entry), _) => (entry.uid, entry.gid),
            (None, Id::Number(number)) => (*number, *number),
            (None, Id::Name(_)) => return Err(missing(USER, wanted)),
        };
        (account.uid, account.gid) = (Some(uid), Some(gid));
        account.login = login(entry);
        name.extend_from_slice(entry.map_or(&[], |entry| entry.name));
    }
    if let Some(wanted) = group {
        account.gid = Some(group_number(wanted)?);
    }
    if let Some(gid) = account.gid {
        // For a name alone it need not be there.
        let file = read(GROUP, &Id::Number(gid))?;
        account.groups = passwd::groups_of(&file, &name, gid);
    }
    Ok(account)
}

/// The number that an option of a listener names, or the reason why there is none.
pub(crate) fn user_of(given: &str) -> Result<u32, String> {
    let wanted = wanted(given);
    if let Id::Number(number) = wanted {
        return Ok(number);
    }
    let file = read(USER, &wanted)?;
    passwd::user(&file, &wanted).map(|user| user.uid).ok_or_else(|| missing(USER, &wanted))
}

/// The same for a group.
pub(crate) fn group_of(given: &str) -> Result<u32, String> {
    group_number(&wanted(given))
}

fn wanted(given: &str) -> Id {
    passwd::id(given.as_bytes()).map_or_else(|| Id::Name(given.into()), Id::Number)
}

#[inline(never)]
fn group_number(wanted: &Id) -> Result<u32, String> {
    match wanted {
        Id::Number(number) => Ok(*number),
        Id::Name(name) => {
            passwd::gid_of(&read(GROUP, wanted)?, name).ok_or_else(|| missing(GROUP, wanted))
        }
    }
}

/// A file that is not there knows nobody, which matters to names alone.
#[inline(never)]
fn read((what, path): Kind, wanted: &Id) -> Result<Vec<u8>, String> {
    match (file::read(path.as_bytes(), FILE_MAX), wanted) {
        (Ok(bytes), _) => Ok(bytes),
        (Err(Errno(libc::ENOENT | libc::ENOTDIR)), Id::Number(_)) => Ok(Vec::new()),
        (Err(errno), wanted) => {
            Err(format!("{what} {wanted} needs {path}: {errno}; accepted: a number"))
        }
    }
}

fn missing((what, path): Kind, wanted: &Id) -> String {
    format!("{what} {wanted} is not in {path}")
}

/// As systemd tells them. Without an entry there is no name to tell, but there has to be a HOME.
fn login(entry: Option<User<'_>>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut tell = |name: &[u8], value: &[u8]| all.push([name, value].concat());
    let home = entry.map(|user| user.home).filter(|home| home.starts_with(b"/"));
    tell(b"HOME=", home.unwrap_or(b"/"));
    if let Some(user) = entry {
        tell(b"USER=", user.name);
        tell(b"LOGNAME=", user.name);
        let is_none = user.shell.ends_with(b"/nologin") || user.shell.ends_with(b"/false");
        if user.shell.starts_with(b"/") && !is_none {
            tell(b"SHELL=", user.shell);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(user: Option<User<'_>>) -> Vec<String> {
        login(user).iter().map(|one| String::from_utf8_lossy(one).into_owned()).collect()
    }

    #[test]
    fn a_login_is_told_as_far_as_it_is_known() {
        let user = |home, shell| User { name: b"www", uid: 33, gid: 33, home, shell };
        let whole = ["HOME=/srv", "USER=www", "LOGNAME=www", "SHELL=/bin/sh"];
        assert_eq!(told(Some(user(b"/srv", b"/bin/sh"))), whole);
        for shell in [&b""[..], b"/usr/sbin/nologin", b"/bin/false", b"sh"] {
            assert_eq!(told(Some(user(b"/srv", shell))), whole[..3]);
        }
        for home in [&b""[..], b"srv"] {
            assert_eq!(told(Some(user(home, b"")))[0], "HOME=/");
        }
        assert_eq!(told(None), ["HOME=/"]);
    }

    #[test]
    fn a_number_without_an_entry_is_in_its_own_group_alone() {
        let number = Id::Number(54_321);
        let account = |user, group| find(user, group).expect("numbers need no file");
        let found = account(Some(&number), None);
        assert_eq!((found.uid, found.gid), (Some(54_321), Some(54_321)));
        assert_eq!((found.groups, found.login), (vec![54_321], vec![b"HOME=/".to_vec()]));
        let found = account(Some(&number), Some(&Id::Number(7)));
        assert_eq!((found.uid, found.gid, found.groups), (Some(54_321), Some(7), vec![7]));
        let found = account(None, Some(&number));
        assert_eq!((found.uid, found.gid), (None, Some(54_321)));
        assert_eq!((found.groups, found.login.len()), (vec![54_321], 0));
        assert_eq!(account(None, None), Account::default());
    }

    #[test]
    fn who_is_unknown_is_told() {
        let name = Id::Name("nobody-at-all".into());
        let said = |user, group| find(user, group).map(drop).map_err(|error| error.to_string());
        let (user, group) = ("user \"nobody-at-all\"", "group \"nobody-at-all\"");
        let said_of_user = format!("cannot set user and group: {user} is not in /etc/passwd");
        assert_eq!(said(Some(&name), None), Err(said_of_user));
        let said_of_group = format!("cannot set user and group: {group} is not in /etc/group");
        assert_eq!(said(None, Some(&name)), Err(said_of_group));
        assert_eq!(user_of("nobody-at-all"), Err(format!("{user} is not in /etc/passwd")));
        assert_eq!(group_of("nobody-at-all"), Err(format!("{group} is not in /etc/group")));
        assert_eq!((user_of("root"), group_of("root")), (Ok(0), Ok(0)));
        assert_eq!((user_of("54321"), group_of("54321")), (Ok(54_321), Ok(54_321)));
    }
}
