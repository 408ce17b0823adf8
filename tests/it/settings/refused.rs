//! A setting that cannot be made: told by its name and the kernel's word, status 125, nothing executed.

use std::process::Command;

use super::BOTH;
use crate::harness::{FD3, Folder, command};
use crate::refused::{refused, refused_by};
use crate::world::{as_nobody, can_strace, is_root, skip};

/// Executed only by mistake.
const COMMAND: [&str; 3] = ["sh", "-c", "echo executed"];

fn refused_as_nobody(words: &[&str], said: &str) -> bool {
    BOTH.iter().all(|own| {
        let Some(mut fd3) = as_nobody(FD3) else { return false };
        fd3.arg(own[0]).args(words).args(COMMAND);
        refused_by(fd3, 125, said);
        true
    })
}

#[test]
fn what_is_not_permitted_is_told_by_name() {
    let denied = "operation not permitted";
    let table: &[(&[&str], &str)] = &[
        (&["--nice", "-5"], "cannot set nice: permission denied"),
        (&["--rlimit", "nofile=1G"], &format!("cannot set rlimit nofile: {denied}")),
        (&["--user", "54322"], &format!("cannot set groups: {denied}")),
        (&["--group", "54322"], &format!("cannot set groups: {denied}")),
        (&["--user", "root"], &format!("cannot set groups: {denied}")),
        (&["--cap-drop", "kill"], &format!("cannot drop capability kill: {denied}")),
        (&["--chdir", "/root"], "cannot change to /root: permission denied"),
    ];
    for (words, said) in table {
        if !refused_as_nobody(words, said) {
            return;
        }
    }
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let folder = Folder::new();
    let file = folder.file("file", "", 0o644);
    let nope = folder.path("nope");
    let table = [
        (["--chdir", &nope], format!("cannot change to {nope}: no such file or directory")),
        (["--chdir", &file], format!("cannot change to {file}: not a directory")),
        (
            ["--user", "nobody-at-all"],
            "cannot set user and group: user \"nobody-at-all\" is not in /etc/passwd".into(),
        ),
        (
            ["--group", "nobody-at-all"],
            "cannot set user and group: group \"nobody-at-all\" is not in /etc/group".into(),
        ),
    ];
    for (words, said) in table {
        for own in BOTH {
            refused(&[&own[..1], &words[..], &COMMAND].concat(), 125, &said);
        }
    }
    let program = folder.file("program", "#!/bin/sh\n", 0o700);
    if is_root() {
        let said = format!("cannot execute {program}: permission denied");
        for own in BOTH {
            refused(&[own[0], "--user", "54321", &program], 126, &said);
        }
    }
}

/// fd3 of which this system call fails, or lies, in its children.
fn faulty(fault: &str, own: &str, words: &[&str]) -> Command {
    let mut strace = command("strace");
    strace.args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("inject={fault}"), FD3, own]);
    strace.args(words).args(COMMAND);
    strace
}

#[test]
fn whatever_fails_is_told_and_nothing_is_executed() {
    if !is_root() {
        return skip("only root can become another user");
    }
    if !can_strace() {
        return;
    }
    let user = ["--user", "54321"];
    let table: &[(&str, &[&str], &str)] = &[
        ("setpriority:error=EPERM", &["--nice", "1"], "set nice: operation not permitted"),
        ("setgroups:error=EPERM", &user, "set groups: operation not permitted"),
        ("setgroups:error=EINVAL", &user, "set groups: invalid argument"),
        ("setresgid:error=EINVAL", &user, "set group: invalid argument"),
        ("setresuid:error=EAGAIN", &user, "set user: resource temporarily unavailable"),
        (
            "capset:error=EPERM",
            &["--cap-drop", "kill"],
            "drop capabilities: operation not permitted",
        ),
        ("chdir:error=EIO", &["--chdir", "/"], "change to /: input/output error"),
        // Sandboxes that let a package manager believe it is root say "done" and do nothing.
        ("setresuid:retval=0", &user, "set user: operation not permitted"),
        ("setresgid:retval=0", &user, "set group: operation not permitted"),
        ("setgroups:retval=0", &user, "set groups: operation not permitted"),
    ];
    for (fault, words, said) in table {
        for own in BOTH {
            refused_by(faulty(fault, own[0], words), 125, &format!("cannot {said}"));
        }
    }
}

/// As in a container with `--cap-drop ALL --cap-add SETUID --cap-add SETGID`.
#[test]
fn who_could_not_stop_its_workers_does_not_start_them() {
    if !is_root() {
        return skip("only root can become another user");
    }
    for own in BOTH {
        let mut setpriv = command("setpriv");
        setpriv.args(["--bounding-set", "-kill", "--inh-caps", "-kill", FD3, own[0]]);
        setpriv.args(["--user", "54321"]).args(COMMAND);
        refused_by(
            setpriv,
            125,
            "cannot set user 54321: without CAP_KILL fd3 could not signal its processes",
        );
    }
}
