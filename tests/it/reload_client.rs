//! `fd3 reload` as a deploy script uses it: it waits, and its exit status is the outcome.

use std::process::{Output, Stdio};

use crate::harness::{FD3, Fd3, Folder, command, exists, run, stderr_of};

const QUICK: [&str; 6] = ["--ready", "0ms", "--overlap", "100ms", "--backoff", "1ms..1ms"];

/// Whatever the file `worker` in the folder says; it may change from one generation to the next.
fn start(folder: &Folder, words: &[&str], script: &str) -> Fd3 {
    let worker = folder.file("worker", script, 0o755);
    run(&[&QUICK, words, &["--", &worker]].concat())
}

fn reload(fd3: &Fd3, words: &[&str]) -> Output {
    let mut client = command(FD3);
    client.args(["reload", "--pid", &fd3.pid().to_string()]).args(words);
    client.stdin(Stdio::null()).output().expect("the client starts")
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Once it is up it has read all of its script.
const SERVES: &str = "#!/bin/sh\necho up; exec sleep 1000\n";

fn up(fd3: &Fd3, n: usize) -> Vec<i32> {
    fd3.nth_line("up", n - 1);
    fd3.ready(n)
}

#[test]
fn a_reload_that_is_done_is_told_with_its_generation() {
    let folder = Folder::new();
    let fd3 = start(&folder, &["-w", "2"], SERVES);
    up(&fd3, 2);
    for generation in 2..5 {
        let output = reload(&fd3, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
        assert!(stdout_of(&output).contains(&format!("generation={generation}")), "{output:?}");
    }
    assert_eq!(fd3.count("worker started"), 8);
}

#[test]
fn a_generation_that_crashes_is_told_with_its_reason() {
    let folder = Folder::new();
    let fd3 = start(&folder, &["-w", "2"], SERVES);
    let old = up(&fd3, 2);
    for (script, why) in [
        ("#!/bin/sh\nexit 3\n", "exited with status 3"),
        ("#!/bin/sh\nexit 0\n", "exited with status 0"),
        ("#!/bin/sh\nkill -SEGV $$\n", "was killed by SIGSEGV"),
        ("#!/no/such/interpreter\n", "cannot execute"),
    ] {
        let next = folder.file("next", script, 0o755);
        std::fs::rename(next, folder.path("worker")).expect("the folder is ours");
        let output = reload(&fd3, &[]);
        assert_eq!(output.status.code(), Some(1), "{script}: {output:?}");
        assert!(stderr_of(&output).contains(why), "{script}: {}", stderr_of(&output));
        assert!(old.iter().all(|pid| exists(*pid)), "{}", fd3.log());
    }
}

#[test]
fn a_command_that_is_gone_is_refused_and_nothing_changes() {
    let folder = Folder::new();
    let fd3 = start(&folder, &[], SERVES);
    let old = up(&fd3, 1);
    std::fs::remove_file(folder.path("worker")).expect("it is there");
    let output = reload(&fd3, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr_of(&output).contains("no such file"), "{}", stderr_of(&output));
    assert_eq!(fd3.count("reloading"), 0, "{}", fd3.log());
    assert!(exists(old[0]));
}

#[test]
fn who_does_not_want_to_wait_need_not() {
    let folder = Folder::new();
    let fd3 = start(&folder, &[], SERVES);
    fd3.ready(1);
    let output = reload(&fd3, &["--no-wait"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fd3.line("reloaded after=");
}

#[test]
fn a_stop_is_told_to_those_who_wait() {
    let folder = Folder::new();
    let never = "#!/bin/sh\necho up; exec sleep 1000\n";
    let worker = folder.file("worker", never, 0o755);
    let mut fd3 = run(&["--ready", "0ms", "--overlap", "1h", "--", &worker]);
    fd3.ready(1);
    let mut client = command(FD3);
    client.args(["reload", "--pid", &fd3.pid().to_string()]);
    let mut client = Fd3::start(client);
    fd3.line("reloading generation=2");
    assert_eq!(fd3.stop(), 0);
    assert_eq!(client.exit(), 1);
    client.line("fd3 stops");
}
