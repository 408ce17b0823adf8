//! Who is left when the workers of `fd3 run` are gone, and nobody of their groups: told to stop as well.

use super::start;
use crate::harness::{FD3, Fd3, children, exists, kill, until};
use crate::world::unshare;

/// A worker with a daemon: a child of a session of its own, which tells that it is there.
fn with_daemon(trap: &str) -> String {
    format!("setsid sh -c '{trap} echo daemon $$; while :; do sleep 0.05; done' & exec sleep 1000")
}

fn daemon_of(fd3: &Fd3) -> i32 {
    fd3.line("daemon ").split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a PID")
}

/// The workers' ends are nothing to them, fd3's is.
#[test]
fn one_that_left_the_group_goes_with_fd3() {
    let mut fd3 = start(&[], &with_daemon(r#"trap "sleep 0.2; echo finished; exit" TERM;"#));
    let daemon = daemon_of(&fd3);
    kill(fd3.worker(0), libc::SIGKILL);
    fd3.ready(2);
    assert!(exists(daemon), "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
    assert!(!exists(daemon), "{}", fd3.log());
    fd3.line("finished");
    assert_eq!(fd3.count("killed"), 0, "{}", fd3.log());
}

#[test]
fn one_that_left_the_group_and_is_deaf_is_killed() {
    let mut fd3 = start(&["--stop-timeout", "300ms"], &with_daemon(r#"trap "" TERM;"#));
    let daemon = daemon_of(&fd3);
    assert_eq!(fd3.stop(), 0);
    fd3.line("what was left did not stop in time, killed");
    until("it is gone", || !exists(daemon));
}

/// Whoever asks again means at once.
#[test]
fn a_second_order_reaches_those_who_are_left() {
    let mut fd3 = start(&["--stop-timeout", "none"], &with_daemon(r#"trap "" TERM;"#));
    daemon_of(&fd3);
    fd3.signal(libc::SIGTERM);
    fd3.line("worker exited");
    until("it is heard", || {
        fd3.signal(libc::SIGTERM);
        fd3.count("what was left did not stop in time, killed") > 0
    });
    assert_eq!(fd3.exit(), 0);
}

/// As PID 1 all are told at once, whoever is their parent, and even if nobody can be seen.
#[test]
fn the_first_process_tells_everybody() {
    for proc in ["", "umount -l /proc && "] {
        let Some(mut unshare) = unshare(&["--pid", "--fork", "--mount-proc"]) else { return };
        let script = format!("{proc}exec \"$0\" run -v --ready 0ms -- sh -c \"$1\"");
        let worker = with_daemon(r#"trap "sleep 0.2; echo finished; exit" TERM;"#);
        unshare.args(["sh", "-c", &script, FD3, &worker]);
        let mut fd3 = Fd3::start(unshare);
        fd3.line("daemon ");
        kill(children(fd3.pid())[0], libc::SIGTERM);
        assert_eq!(fd3.exit(), 0);
        fd3.line("finished");
    }
}
