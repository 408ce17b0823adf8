//! The static build for aarch64 on a machine of another kind, in qemu's user mode: the system calls are fd3's
//! own, by that machine's numbers and structures, and this kernel answers them.
//!
//! Not to be seen here: qemu numbers real-time signals two lower for the program that it emulates, dies itself
//! of SIGILL and SIGFPE, and swallows SIGBUS and SIGSEGV; it knows no PR_SET_CHILD_SUBREAPER; and what fd3
//! starts is of this machine's kind.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    Fd3, children, code, command, exists, get, http_server, kill, stderr_of, until,
};
use crate::world::{can_strace, python, skip, skip_missing, unshare};

/// The words that run fd3; none, with a word why, where that cannot be.
fn emulated() -> Option<[String; 2]> {
    if cfg!(target_arch = "aarch64") {
        // All other tests are of this build.
        return None;
    }
    let Some(fd3) = std::env::var_os("FD3_AARCH64_BINARY").map(PathBuf::from) else {
        skip("no build for aarch64 is named by FD3_AARCH64_BINARY");
        return None;
    };
    let fd3 = fd3.into_os_string().into_string().expect("the path is text");
    for qemu in ["qemu-aarch64", "qemu-aarch64-static"] {
        if command(qemu).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Some([qemu.into(), fd3]);
        }
    }
    skip_missing("qemu-aarch64");
    None
}

/// fd3 with these words, behind `before`.
fn fd3(before: &[&str], words: &[&str]) -> Option<Command> {
    let [qemu, fd3] = emulated()?;
    let all = [before, &[&qemu, &fd3], words].concat();
    let mut command = command(all[0]);
    command.args(&all[1..]);
    Some(command)
}

#[test]
fn it_starts_serves_restarts_reloads_and_stops() {
    let server = http_server();
    let words = ["run", "-v", "-l", "127.0.0.1:0", "-w", "2", "--ready", "notify"];
    let words = [&words[..], &["--overlap", "0s", "--backoff", "1ms..1ms", "--", &server]].concat();
    let Some(command) = fd3(&[], &words) else { return };
    let mut service = Fd3::start(command);
    let first = service.ready(2);
    let answer = get(service.port(), "/").expect("it serves");
    assert!(answer.contains("of generation 1,"), "{answer}");
    for (port, expected) in [(service.port(), 0), (1, 1)] {
        let url = format!("http://127.0.0.1:{port}/");
        let output = fd3(&[], &["check", &url]).expect("as before").output().expect("it starts");
        assert_eq!(code(output.status), expected, "{url}: {}", stderr_of(&output));
    }
    kill(first[0], libc::SIGKILL);
    service.line("status=SIGKILL");
    service.ready(3);
    service.signal(libc::SIGHUP);
    service.line("reloaded after=");
    service.nth_line("worker exited", 2);
    let answer = get(service.port(), "/").expect("it serves");
    assert!(answer.contains("of generation 2,"), "{answer}");
    let pid = service.pid().to_string();
    let reload = fd3(&[], &["reload", "--pid", &pid]).expect("as before").output();
    let reload = reload.expect("it starts");
    let said = String::from_utf8_lossy(&reload.stdout).into_owned();
    assert!(said.starts_with("ok reloaded generation=3"), "{said}: {}", service.log());
    assert_eq!(service.stop(), 0, "{}", service.log());
}

#[test]
fn a_killed_one_leaves_no_worker() {
    let Some(command) = fd3(&[], &["run", "-v", "--ready", "0s", "--", "sleep", "1000"]) else {
        return;
    };
    let mut service = Fd3::start(command);
    let worker = service.ready(1)[0];
    service.signal(libc::SIGKILL);
    assert_eq!(service.exit(), 128 + libc::SIGKILL);
    until("the worker is gone", || !exists(worker));
}

/// Tells what it gets.
const TELLER: &str = "
import os, signal
some = {1, 2, 3, 10, 12, 13, 14, 15, 18, 28, 40, 64}
signal.pthread_sigmask(signal.SIG_BLOCK, some)
os.write(1, b'up\\n')
while True: os.write(1, b'got %d.\\n' % signal.sigwait(some))";

/// The second way is that of handlers: a signal frame is this machine's affair.
#[test]
fn init_forwards_signals_with_and_without_a_signalfd() {
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=signalfd4:error=ENOSYS", "-e"];
    let strace = [&strace[..], &["trace=signalfd4"]].concat();
    for before in [&[][..], &strace] {
        if !before.is_empty() && !can_strace() {
            return;
        }
        let words = ["init", "-q", python(), "-I", "-c", TELLER];
        let Some(command) = fd3(before, &words) else { return };
        let init = Fd3::start(command);
        init.line("up");
        let pid = if before.is_empty() { init.pid() } else { children(init.pid())[0] };
        for signal in [1, 2, 3, 10, 12, 13, 14, 15, 18, 28, 40, 64] {
            kill(pid, signal);
            init.line(&format!("got {signal}."));
        }
    }
}

/// As PID 1: to be a subreaper is another thing that qemu does not know.
#[test]
fn init_waits_for_who_is_left_and_exits_with_the_status() {
    let script = "
import os, signal
r, w = os.pipe()
if os.fork():
    os.close(w); os.read(r, 1); os._exit(7)
os.setsid(); signal.pthread_sigmask(signal.SIG_BLOCK, {15}); os.write(w, b'x')
os.write(1, b'told %d\\n' % signal.sigwait({15}))";
    let (Some(words), Some(mut unshare)) =
        (emulated(), unshare(&["--pid", "--fork", "--mount-proc"]))
    else {
        return;
    };
    unshare.args(words).args(["init", python(), "-I", "-c", script]);
    let mut init = Fd3::start(unshare);
    assert_eq!(init.exit(), 7, "{}", init.log());
    init.line("told 15");
}

#[test]
fn init_is_no_other_without_a_namespace() {
    for (words, status) in [(&["sh", "-c", "exit 7"][..], 7), (&["/nope"], 127), (&["/"], 126)] {
        let Some(mut command) = fd3(&[], &[&["init", "-q"], words].concat()) else { return };
        let output = command.output().expect("it starts");
        assert_eq!(code(output.status), status, "{words:?}: {}", stderr_of(&output));
    }
}
