//! Start, crash, restart, stop: the life of workers.

use crate::harness::{children, exists, field, kill, output, run, stderr_of, until};

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
}

#[test]
fn clean_exits_are_restarts_that_count() {
    let mut fd3 = run(&["--backoff", "1ms..2ms", "--respawn-limit", "3/60s", "--", "true"]);
    assert_eq!(fd3.exit(), 0);
    assert_eq!(fd3.count("status=0"), 4, "{}", fd3.log());
    assert_eq!(fd3.count("giving up: too many restarts"), 1, "{}", fd3.log());
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
for n in [28, 32 + 2, 64]:
    signal.signal(n, lambda n, f: os.write(1, b'got %d\\n' % n))
os.write(1, b'up\\n')
while True: signal.pause()";
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
