//! The odd worlds that fd3 is started in: other users, few descriptors, no /proc, a PID namespace.
#![allow(dead_code)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::harness::{FD3, Folder, command, until};

/// A user that runs nothing else.
pub const NOBODY: u32 = 54_321;

/// The system's own where there is one: wrappers of version managers take long to start.
pub fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// Past the test runner, which shows what a test prints only when it fails.
pub fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// What this machine does not let us test, and why.
pub fn skip(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// A program that a test needs. Where `scripts/test` has installed them all, none may be missing.
pub fn skip_missing(program: &str) {
    let all = std::env::var_os("FD3_TEST_ALL").is_some();
    assert!(!all, "nothing may be skipped, but {program} is not installed");
    skip(&format!("{program} is not installed"));
}

#[allow(unsafe_code)]
pub fn is_root() -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::geteuid() == 0 }
}

/// The names in a folder, in order.
pub fn entries(folder: &Folder) -> Vec<String> {
    let all = std::fs::read_dir(folder.path("")).expect("the folder is there");
    let mut names: Vec<String> = all
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A path that nobody listens at any more.
pub fn stale_socket(path: &str) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("the folder is ours"));
    // What another test is just starting may hold it until it is executed.
    until("nobody is behind it", || std::os::unix::net::UnixStream::connect(path).is_err());
}

/// `sh` does `first` and becomes fd3.
pub fn shell(first: &str) -> Command {
    let mut shell = command("sh");
    shell.args(["-c", &format!("{first}\nexec \"$0\" \"$@\""), FD3]);
    shell.stdin(Stdio::null());
    shell
}

/// `program` as a user without rights; `None`, with a word why, where that cannot be.
pub fn as_nobody(program: &str) -> Option<Command> {
    if !is_root() {
        skip("only root can become another user");
        return None;
    }
    let id = NOBODY.to_string();
    let prepared = |program: &str| {
        let mut setpriv = command("setpriv");
        setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups", program]);
        setpriv
    };
    let tried = prepared(FD3).arg("version").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        skip("another user cannot execute fd3 where it was built");
        return None;
    }
    Some(prepared(program))
}

pub fn can_strace() -> bool {
    match command("strace").args(["-qq", "-o", "/dev/null", "/bin/true"]).output() {
        Ok(output) if output.status.success() => return true,
        Ok(_) => skip("strace is not permitted"),
        Err(_) => skip_missing("strace"),
    }
    false
}

/// Whether `unshare` may do this.
pub fn can_unshare(how: &[&str]) -> bool {
    let tried = command("unshare").args(how).arg("/bin/true").output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        skip(&format!("unshare {} is not permitted", how.join(" ")));
    }
    can
}

/// How fd3 is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Ordinary,
    /// PID 1 of a PID namespace; a user namespace's where we are not root.
    First,
}

const PID_NAMESPACE: &[&str] = &["--pid", "--fork", "--mount-proc"];

/// `unshare` that makes these anew; who is not root begins with a user namespace.
fn unsharing(how: &[&str]) -> Command {
    let mut unshare = command("unshare");
    if !is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(how);
    unshare
}

/// The same, where it is permitted; else `None`, with a word why.
pub fn unshare(how: &[&str]) -> Option<Command> {
    let can = unsharing(how).arg("/bin/true").output();
    if can.is_ok_and(|output| output.status.success()) {
        return Some(unsharing(how));
    }
    skip(&format!("unshare {} is not permitted", how.join(" ")));
    None
}

/// The ways that this machine permits.
pub fn ways() -> Vec<Way> {
    static CAN: OnceLock<bool> = OnceLock::new();
    let try_it = || {
        let tried = unsharing(PID_NAMESPACE).arg("/bin/true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    if *CAN.get_or_init(try_it) {
        return vec![Way::Ordinary, Way::First];
    }
    skip("unshare --pid is not permitted: nothing was tested as PID 1");
    vec![Way::Ordinary]
}

/// `program`, started this way.
pub fn in_way(way: Way, program: &str) -> Command {
    match way {
        Way::Ordinary => command(program),
        Way::First => {
            let mut unshare = unsharing(PID_NAMESPACE);
            unshare.arg(program);
            unshare
        }
    }
}
