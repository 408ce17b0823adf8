//! What follows from what a worker says beyond READY=1: that it stops, needs time, is well, hangs.

use crate::harness::{Fd3, field, run};
use crate::world::python;

/// The worker: `say` sends a datagram to fd3, `tell` writes a line to its log.
const SAYS: &str = "
import os, signal, socket, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))
def say(text): notify.send(text)
def tell(text): os.write(1, text.encode() + b'\\n')
def stay():
    while True: signal.pause()
";

fn start(words: &[&str], does: &str) -> Fd3 {
    let script = format!("{SAYS}\n{does}");
    let common = ["--backoff", "1ms..1ms"];
    run(&[&common, words, &["--", python(), "-I", "-c", &script]].concat())
}

#[test]
fn one_that_stops_by_itself_has_the_drain_timeout() {
    let words = ["--ready", "notify", "--drain-timeout", "200ms"];
    let fd3 = start(&words, "say(b'READY=1'); say(b'STOPPING=1'); stay()");
    fd3.line("worker did not stop in time, killed slot=0");
    let exited = fd3.line("worker exited");
    assert_eq!(field(&exited, "status"), "SIGKILL");
    // Nobody told it to: another one comes.
    fd3.ready(2);
}

#[test]
fn a_worker_learns_of_its_watchdog() {
    let does = "tell('every %s' % os.environ['WATCHDOG_USEC'])
tell('own %s' % (os.environ['WATCHDOG_PID'] == str(os.getpid()))); stay()";
    let fd3 = start(&["--watchdog", "90s"], does);
    fd3.line("every 90000000");
    fd3.line("own True");
}

#[test]
fn one_that_hangs_is_aborted_and_replaced() {
    let fd3 = start(&["--ready", "notify", "--watchdog", "200ms"], "say(b'READY=1'); stay()");
    let hangs = fd3.line("worker hangs, told to abort slot=0");
    assert_eq!(field(&hangs, "pid"), fd3.worker(0).to_string());
    assert_eq!(field(&fd3.line("worker exited"), "status"), "SIGABRT");
    fd3.ready(2);
}

#[test]
fn one_deaf_to_abort_is_killed() {
    let words = ["--ready", "notify", "--watchdog", "200ms", "--stop-timeout", "200ms"];
    let deaf = "signal.signal(signal.SIGABRT, signal.SIG_IGN); say(b'READY=1'); stay()";
    let fd3 = start(&words, deaf);
    fd3.line("worker hangs, told to abort");
    assert_eq!(field(&fd3.line("worker exited"), "status"), "SIGKILL");
    fd3.ready(2);
}

#[test]
fn one_that_is_well_is_left_alone() {
    let does = "say(b'READY=1')
for _ in range(40):
    say(b'WATCHDOG=1'); time.sleep(0.1)
tell('fed'); stay()";
    let fd3 = start(&["--ready", "notify", "--watchdog", "3s"], does);
    fd3.line("fed");
    assert_eq!(fd3.count("worker hangs"), 0, "{}", fd3.log());
    fd3.line("worker hangs, told to abort");
}

#[test]
fn one_that_says_it_hangs_is_believed_at_once() {
    let does = "say(b'READY=1'); say(b'WATCHDOG=trigger'); stay()";
    let fd3 = start(&["--ready", "notify"], does);
    fd3.line("worker hangs, told to abort");
    fd3.ready(2);
}

#[test]
fn one_that_asks_for_time_gets_it() {
    let does = "say(b'EXTEND_TIMEOUT_USEC=90000000'); time.sleep(1); say(b'READY=1'); stay()";
    let fd3 = start(&["--ready", "notify", "--start-timeout", "500ms"], does);
    fd3.ready(1);
    assert_eq!(fd3.count("not ready in time"), 0, "{}", fd3.log());
}

/// Whatever it asks for: a stop has an end.
#[test]
fn one_that_asks_for_time_during_a_stop_does_not_get_it() {
    let does = "
def drain(*_): say(b'EXTEND_TIMEOUT_USEC=90000000')
signal.signal(signal.SIGTERM, drain); say(b'READY=1'); stay()";
    let mut fd3 = start(&["--ready", "notify", "--stop-timeout", "300ms"], does);
    fd3.ready(1);
    assert_eq!(fd3.stop(), 0);
    fd3.line("worker did not stop in time, killed");
}

/// One at a time, and as a reload does it: the next one is ready before the old one goes.
#[test]
fn one_that_is_too_old_is_replaced() {
    let words = ["-w", "2", "--ready", "notify", "--max-age", "300ms", "--overlap", "10ms"];
    let mut fd3 = start(&words, "say(b'READY=1'); stay()");
    let ready = fd3.line("worker ready");
    assert!(field(&ready, "renewed-in").ends_with("ms"), "{ready}");
    fd3.nth_line("worker renewed", 3);
    assert_eq!(fd3.count("reloading"), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
    let log = fd3.log();
    let begun = log.lines().position(|line| line.contains("renewing an old worker"));
    let left = log.lines().position(|line| line.contains("worker exited"));
    assert!(begun < left, "{log}");
}

/// Asked for, and so no crash, however often.
#[test]
fn a_slot_that_comes_and_goes_is_no_crash() {
    let mut fd3 = start(&["-w", "2", "--ready", "0ms"], "stay()");
    fd3.ready(2);
    for round in 0..8 {
        fd3.signal(libc::SIGTTOU);
        fd3.nth_line("scaled workers=1", round);
        fd3.signal(libc::SIGTTIN);
        fd3.ready(3 + round);
    }
    // Eight counted ones would be more than the limit.
    assert_eq!(fd3.count("giving up"), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}
