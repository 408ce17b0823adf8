//! `fd3 reload` as a deploy script uses it: it waits, and its exit status is the outcome.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Output, Stdio};

use crate::harness::{FD3, Fd3, Folder, PATIENCE, command, exists, run, stderr_of};
use crate::world::{python, shell};

const QUICK: [&str; 6] = ["--ready", "signal", "--overlap", "0ms", "--backoff", "1ms..1ms"];

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

/// Once it says that it is ready it has read all of its script.
const SERVES: &str = "#!/bin/sh\nkill -USR1 $PPID; exec sleep 1000\n";

#[test]
fn a_reload_that_is_done_is_told_with_its_generation() {
    let folder = Folder::new();
    let fd3 = start(&folder, &["-w", "2"], SERVES);
    fd3.ready(2);
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
    let old = fd3.ready(2);
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
    let old = fd3.ready(1);
    std::fs::remove_file(folder.path("worker")).expect("it is there");
    let output = reload(&fd3, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr_of(&output).contains("no such file"), "{}", stderr_of(&output));
    assert_eq!(fd3.count("reloading"), 0, "{}", fd3.log());
    assert!(exists(old[0]));
}

#[test]
fn who_wants_to_know_is_told_slot_by_slot_and_stdout_has_only_the_outcome() {
    let folder = Folder::new();
    let fd3 = start(&folder, &["-w", "2", "--surge", "1"], SERVES);
    fd3.ready(2);
    let quiet = reload(&fd3, &[]);
    assert_eq!((quiet.status.code(), stderr_of(&quiet).as_str()), (Some(0), ""));
    fd3.nth_line("worker exited", 1);
    let output = reload(&fd3, &["-v"]);
    let (out, err) = (stdout_of(&output), stderr_of(&output));
    assert!(out.starts_with("ok reloaded generation=3 ") && out.lines().count() == 1, "{out}");
    let told: Vec<&str> = err.lines().collect();
    let mut places = Vec::new();
    for begins in [
        "fd3: reloading generation=3",
        "fd3: worker started slot=0 pid=",
        "fd3: worker ready slot=0 pid=",
        "fd3: worker exited slot=0 pid=",
        "fd3: worker started slot=1 pid=",
        "fd3: worker ready slot=1 pid=",
    ] {
        places.push(told.iter().position(|line| line.starts_with(begins)));
    }
    assert!(places.is_sorted() && places[0] == Some(0), "{places:?} in:\n{err}");
    assert!(!err.contains("reloaded"), "{err}");
    // And why it came to nothing, once.
    std::fs::rename(folder.file("next", "#!/bin/sh\nexit 3\n", 0o755), folder.path("worker"))
        .expect("the folder is ours");
    let output = reload(&fd3, &["--verbose"]);
    let err = stderr_of(&output);
    assert_eq!((output.status.code(), stdout_of(&output).as_str()), (Some(1), ""));
    assert!(err.contains("fd3: worker exited slot=0 "), "{err}");
    assert_eq!(err.matches("exited with status 3").count(), 1, "{err}");
}

#[test]
fn a_terminal_is_told_unasked() {
    let folder = Folder::new();
    let fd3 = start(&folder, &[], SERVES);
    fd3.ready(1);
    let script = "import os, subprocess, sys
terminal, its = os.openpty()
status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stderr=its).returncode
os.close(its)
try:
    # What is on its way comes before the error that is the end.
    while True: os.write(2, os.read(terminal, 65536))
except OSError: sys.exit(status)";
    let mut client = command(python());
    client.args(["-I", "-c", script, FD3, "reload", "--pid", &fd3.pid().to_string()]);
    let output = client.output().expect("python starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout_of(&output).starts_with("ok reloaded "), "{output:?}");
    assert!(stderr_of(&output).contains("fd3: worker ready slot=0 "), "{output:?}");
}

/// It need not read what it asked for.
#[test]
fn the_outcome_reaches_who_was_deaf_to_all_the_rest() {
    const WORKERS: usize = 200;
    let name = format!("fd3-test-deaf-{}", std::process::id());
    let (workers, control) = (WORKERS.to_string(), format!("unix:@{name}"));
    let words = ["-w", &workers, "--control", &control, "--overlap", "0ms", "--ready", "0ms"];
    let mut fd3 = run(&[&words[..], &["--", "sleep", "1000"]].concat());
    fd3.ready(WORKERS);
    let name = SocketAddr::from_abstract_name(name).expect("it is short");
    let mut stream = UnixStream::connect_addr(&name).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it takes a time limit");
    stream.write_all(b"reload --verbose\n").expect("it listens");
    fd3.line(" reloaded after=");
    fd3.nth_line("worker exited", WORKERS - 1);
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("it is text, and ends");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.len() > 10 && lines.len() < 2 * WORKERS, "{}", lines.len());
    assert!(lines.last().is_some_and(|line| line.starts_with("ok reloaded ")), "{told}");
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn the_exit_status_is_the_outcome_also_where_nobody_can_be_told() {
    let folder = Folder::new();
    let fd3 = start(&folder, &[], SERVES);
    fd3.ready(1);
    let reload = || {
        let mut client = shell("exec >/dev/full");
        client.args(["reload", "--pid", &fd3.pid().to_string()]);
        client.output().expect("sh starts")
    };
    let output = reload();
    let said = "fd3: cannot write to stdout: no space left on device\n";
    assert_eq!((output.status.code(), stderr_of(&output).as_str()), (Some(0), said));
    std::fs::remove_file(folder.path("worker")).expect("it is there");
    assert_eq!(reload().status.code(), Some(1));
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
    let worker = folder.file("worker", SERVES, 0o755);
    let mut fd3 = run(&["--ready", "signal", "--overlap", "1h", "--", &worker]);
    fd3.ready(1);
    let mut client = command(FD3);
    client.args(["reload", "--pid", &fd3.pid().to_string()]);
    let mut client = Fd3::start(client);
    fd3.line("reloading generation=2");
    assert_eq!(fd3.stop(), 0);
    assert_eq!(client.exit(), 1);
    client.line("fd3 stops");
}
