//! Start, crash, restart, stop: the life of workers.

use crate::harness::{
    FD3, Fd3, Folder, children, command, exists, field, kill, output, run, stderr_of, until,
};
use crate::world::{can_strace, python};

const SLEEP: [&str; 3] = ["--", "sleep", "1000"];

#[test]
fn a_killed_worker_is_replaced_and_a_stop_ends_all() {
    let mut fd3 = run(&[&["-w", "2", "--ready", "0ms"], &SLEEP[..]].concat());
    let first = fd3.ready(2);
    kill(first[0], libc::SIGKILL);
    let exited = fd3.line("worker exited");
    assert_eq!(field(&exited, "status"), "SIGKILL");
    assert_eq!(field(&exited, "pid"), first[0].to_string());
    let all = fd3.ready(3);
    assert!(!first.contains(&all[2]));
    assert_eq!(fd3.stop(), 0);
    assert!(all.iter().all(|pid| !exists(*pid)), "a worker is left: {}", fd3.log());
}

#[test]
fn without_a_crash_nothing_is_said() {
    let output = output(&["run", "--restart", "never", "--", "true"]);
    assert_eq!((output.status.code(), stderr_of(&output).as_str()), (Some(0), ""));
}

#[test]
fn the_last_status_is_fd3s_own() {
    for (script, status) in
        [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        let output = output(&["run", "--restart", "never", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {}", stderr_of(&output));
    }
}

#[test]
fn a_crash_loop_is_given_up_with_the_last_status() {
    let words = ["--backoff", "1ms..2ms", "--respawn-limit", "3/60s", "--", "sh", "-c", "exit 9"];
    let mut fd3 = run(&words);
    assert_eq!(fd3.exit(), 9);
    assert_eq!(fd3.count("worker started"), 4, "{}", fd3.log());
    assert_eq!(fd3.count("giving up"), 1, "{}", fd3.log());
    assert!(fd3.line("giving up").ends_with(" slot=0 workers=0 exit-status=9"), "{}", fd3.log());
}

#[test]
fn clean_exits_are_restarts_that_count() {
    let mut fd3 = run(&["--backoff", "1ms..2ms", "--respawn-limit", "3/60s", "--", "true"]);
    assert_eq!(fd3.exit(), 0);
    assert_eq!(fd3.count(" status=0 "), 4, "{}", fd3.log());
    let gave_up = "giving up: too many restarts slot=0 workers=0 exit-status=0";
    assert_eq!(fd3.count(gave_up), 1, "{}", fd3.log());
}

#[test]
fn a_worker_deaf_to_term_is_killed_with_its_group() {
    let script = "trap '' TERM; sleep 1000 & echo child $!; wait; sleep 1000";
    let mut fd3 = run(&["--stop-timeout", "100ms", "--", "sh", "-c", script]);
    let child: i32 = fd3.line("child ").split(' ').nth(1).and_then(|pid| pid.parse().ok()).unwrap();
    assert_eq!(fd3.stop(), 0);
    fd3.line("did not stop in time");
    until("the worker's child is gone", || !exists(child));
}

#[test]
fn a_second_term_kills_at_once() {
    let script = "trap '' TERM; echo deaf; while :; do sleep 1000; done";
    let mut fd3 = run(&["--stop-timeout", "none", "--", "sh", "-c", script]);
    fd3.line("deaf");
    fd3.signal(libc::SIGTERM);
    fd3.line("stopping signal=SIGTERM");
    // Soon after the first it is not taken for a second one.
    until("it is heard", || {
        fd3.signal(libc::SIGTERM);
        fd3.count("stopping at once") > 0
    });
    assert_eq!(fd3.exit(), 0);
}

#[test]
fn signals_are_forwarded_real_time_ones_too() {
    let script = "import signal, os
three = [28, 32 + 2, 64]
signal.pthread_sigmask(signal.SIG_BLOCK, three)
os.write(1, b'up\\n')
while True: os.write(1, b'got %d\\n' % signal.sigwait(three))";
    let mut fd3 = run(&["-w", "2", "--", "python3", "-c", script]);
    fd3.nth_line("up", 1);
    for signal in [28, 34, 64] {
        fd3.signal(signal);
        fd3.nth_line(&format!("got {signal}"), 1);
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn no_child_is_left_unreaped() {
    let fd3 = run(&["--backoff", "1ms..1ms", "--respawn-limit", "none", "--", "true"]);
    fd3.nth_line("worker started", 200);
    assert!(children(fd3.pid()).len() <= 1, "{:?}", children(fd3.pid()));
}

/// They ended before fd3 was there to be told: no SIGCHLD comes for them any more.
#[test]
fn children_that_ended_before_fd3_began_are_reaped() {
    let script = "
import os, sys
for _ in range(3):
    pid = os.fork() or os._exit(5)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
os.execv(sys.argv[1], sys.argv[1:])";
    let mut wrapper = command(python());
    wrapper.args(["-I", "-c", script, FD3, "run", "-v", "--ready", "0ms"]).args(SLEEP);
    let mut fd3 = Fd3::start(wrapper);
    let worker = fd3.ready(1)[0];
    until("only the worker is left", || children(fd3.pid()) == [worker]);
    assert_eq!(fd3.count("worker exited"), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn freebind_binds_what_is_not_here_yet() {
    let mut addresses = vec!["tcp://192.0.2.1:", "udp://192.0.2.1:"];
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        addresses.extend(["tcp://[2001:db8::1]:", "udp://[2001:db8::1]:"]);
    }
    for address in addresses {
        let listen = format!("{address}0,freebind");
        let mut fd3 = run(&["-l", &listen, "--", "sleep", "1000"]);
        let told = field(&fd3.line("listening"), "address");
        let port = told.strip_prefix(address).and_then(|port| port.parse::<u16>().ok());
        assert!(port.is_some_and(|port| port > 0), "{told}");
        assert_eq!(fd3.stop(), 0);
    }
}

/// Each time anew, so that a new version is found; but once for each start.
#[test]
fn a_command_is_looked_up_once_for_each_start() {
    if !can_strace() {
        return;
    }
    let folder = Folder::new();
    let (trace, program) = (folder.path("trace"), folder.path("worker"));
    std::os::unix::fs::symlink("/bin/true", &program).expect("the folder is ours");
    let mut strace = command("strace");
    // Not by its own environment, in which strace is looked for.
    let path = format!("PATH={}", folder.path(""));
    strace.args(["-qq", "-o", &trace, "-E", &path, "-e", "trace=/access"]);
    strace.args([FD3, "run", "-w", "3", "--restart", "never", "worker"]);
    assert!(strace.status().expect("strace starts").success());
    let trace = std::fs::read_to_string(trace).expect("strace wrote it");
    assert_eq!(trace.lines().filter(|line| line.contains("/worker\"")).count(), 3, "{trace}");
}
