//! `fd3 init`: one program, its signals, its status. Each claim as PID 1 of a namespace and as an ordinary
//! process.

mod compat;
#[cfg(feature = "settings")]
mod config;
mod end;
mod odd;
mod signals;
mod start;
mod terminal;

use std::process::{Command, Stdio};

use crate::harness::{FD3, Fd3, Folder, children, code, exists, until};
use crate::refused::refused;
use crate::world::{Way, in_way, ways};

/// `fd3 init` with these words, once it has said `line`; and its PID as seen from here.
pub fn begin(way: Way, words: &[&str], line: &str) -> (Fd3, i32) {
    let mut init = in_way(way, FD3);
    init.arg("init").args(words);
    begin_command(way, init, line)
}

pub fn begin_command(way: Way, init: Command, line: &str) -> (Fd3, i32) {
    let fd3 = Fd3::start(init);
    fd3.line(line);
    let pid = match way {
        Way::Ordinary => fd3.pid(),
        Way::First => children(fd3.pid()).first().copied().unwrap_or(0),
    };
    (fd3, pid)
}

/// Runs it to its end: the status, and stdout and stderr.
pub fn output(way: Way, words: &[&str]) -> (i32, String, String) {
    let mut init = in_way(way, FD3);
    output_of(init.arg("init").args(words))
}

pub fn output_of(command: &mut Command) -> (i32, String, String) {
    let folder = Folder::new();
    let (out, err) = (folder.path("out"), folder.path("err"));
    let file = |path: &str| std::fs::File::create(path).expect("the folder is ours");
    command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
    let mut child = command.spawn().expect("it starts");
    let mut status = None;
    until(&format!("the end of {command:?}"), || {
        status = child.try_wait().expect("it is ours");
        status.is_some()
    });
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).expect("it is there")).into();
    (status.map_or(-1, code), text(&out), text(&err))
}

/// Waits until these are gone.
pub fn gone(pids: &[i32]) {
    until("they are gone", || pids.iter().all(|pid| !exists(*pid)));
}

#[test]
fn bad_words_are_refused_by_name() {
    let on = "stop, stop-now, ignore, forward, forward:SIGNAL";
    let on = format!("accepted: SIGNAL=ACTION, where ACTION is one of {on}");
    let map = "accepted: FROM=TO, each an exit status (0 to 255), or FROM a signal";
    let command = "missing; accepted: fd3 init [OPTIONS] [--] COMMAND [ARG]...";
    let empty = "is empty; accepted: a command and its arguments";
    let table: &[(&[&str], String)] = &[
        (&["init"], format!("COMMAND: {command}")),
        (&["init", "--"], format!("COMMAND: {command}")),
        (
            &["init", "--listen", ":1", "true"],
            "--listen: unknown option; \"fd3 help init\" lists them".into(),
        ),
        (&["init", "--on", "TERM", "true"], format!("--on \"TERM\": {on}")),
        (&["init", "--on", "TERM=reload", "true"], format!("--on \"TERM=reload\": {on}")),
        (&["init", "--on", "TERM=", "true"], format!("--on \"TERM=\": {on}")),
        (&["init", "--on", "TERM=forward:X", "true"], format!("--on \"TERM=forward:X\": {on}")),
        (
            &["init", "--on", "KILL=ignore", "true"],
            "--on \"KILL=ignore\": SIGKILL cannot be given another action".into(),
        ),
        (
            &["init", "--on", "TERM=ignore", "--on", "15=stop", "true"],
            "--on \"15=stop\": SIGTERM was given an action before".into(),
        ),
        (&["init", "--map-exit", "143", "true"], format!("--map-exit \"143\": {map}")),
        (&["init", "--map-exit", "256=0", "true"], format!("--map-exit \"256=0\": {map}")),
        (&["init", "--map-exit", "1=+0", "true"], format!("--map-exit \"1=+0\": {map}")),
        (
            &["init", "--map-exit", "TERM=0", "--map-exit", "143=1", "true"],
            "--map-exit \"143=1\": 143 was given another status before".into(),
        ),
        (&["init", "--pre-start", " ", "true"], format!("--pre-start \" \": {empty}")),
        (&["init", "--post-stop", "", "true"], format!("--post-stop \"\": {empty}")),
    ];
    for (words, said) in table {
        refused(words, 2, said);
    }
}
