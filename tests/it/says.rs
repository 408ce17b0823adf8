//! What follows from what a worker says beyond READY=1: that it stops, needs time, is well, hangs.

use crate::harness::{Fd3, field, run, until};
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
tell('fed by pid=%d' % os.getpid()); stay()";
    let words = ["--ready", "notify", "--watchdog", "3s", "--respawn-limit", "none"];
    let fd3 = start(&words, does);
    // That takes longer than the three seconds. One that has no turn for so long hangs: the next one does it.
    let fed = fd3.line("fed by");
    let well = field(&fed, "pid");
    until("it hangs, and not before", || {
        let log = fd3.log();
        let hung = log.lines().position(|line| {
            line.contains("worker hangs, told to abort") && field(line, "pid") == well
        });
        let before = log.lines().position(|line| line == fed);
        assert!(hung.is_none() || before < hung, "{log}");
        hung.is_some()
    });
}

/// WATCHDOG_USEC= counts from then on, whatever `--watchdog` says.
#[test]
fn a_worker_may_set_its_own_watchdog() {
    for (watchdog, says) in [
        ("none", "say(b'WATCHDOG_USEC=200000'); say(b'READY=1')"),
        ("1h", "say(b'READY=1'); say(b'WATCHDOG_USEC=200000')"),
        ("1h", "say(b'READY=1\\nWATCHDOG_USEC=999'); say(b'WATCHDOG=1')"),
    ] {
        let fd3 = start(&["--ready", "notify", "--watchdog", watchdog], &format!("{says}; stay()"));
        fd3.line("worker hangs, told to abort");
        fd3.ready(2);
    }
    for none in ["0", "18446744073709551615"] {
        let does = format!(
            "say(b'WATCHDOG_USEC={none}'); say(b'READY=1'); time.sleep(1)
say(b'WATCHDOG=1'); time.sleep(1); tell('lives'); stay()"
        );
        let mut fd3 = start(&["--ready", "notify", "--watchdog", "200ms"], &does);
        fd3.line("lives");
        assert_eq!((fd3.stop(), fd3.count("worker hangs")), (0, 0), "{}", fd3.log());
    }
}

/// It knows best what is wrong with it.
#[test]
fn its_last_words_are_told_with_its_end() {
    let does = "say(b'STATUS=cannot open \"db\"\\nERRNO=13'); say(b'READY=1'); os._exit(1)";
    let words = ["--ready", "notify", "--respawn-limit", "0/60s"];
    let mut fd3 = start(&words, does);
    assert_eq!(fd3.exit(), 1);
    let exited = fd3.line("worker exited");
    let said = " status=1 ";
    assert!(exited.contains(said), "{exited}");
    let said = " restart=given-up said=\"cannot open \\\"db\\\"\" error=\"permission denied\"";
    assert!(exited.ends_with(said), "{exited}");
    let gave_up = fd3.line("giving up: too many restarts slot=0 ");
    assert!(gave_up.ends_with(" exit-status=1"), "{gave_up}");
    // Taken back; and one that hangs says what it was at.
    let does = "say(b'STATUS=migrating\\nERRNO=13'); say(b'ERRNO=0'); say(b'READY=1')
say(b'WATCHDOG=trigger'); stay()";
    let fd3 = start(&["--ready", "notify"], does);
    let line = fd3.line("worker hangs, told to abort");
    assert!(line.ends_with(" said=migrating"), "{line}");
    // As one does that is not ready in time. On a busy machine some are stopped before they say anything.
    let words = ["--ready", "notify", "--start-timeout", "1s", "--respawn-limit", "none"];
    let fd3 = start(&words, "say(b'STATUS=migrating'); stay()");
    until("one is too slow, but not for words", || {
        let says = |line: &str| line.contains("not ready in time") && line.ends_with("=migrating");
        fd3.log().lines().any(says)
    });
}

#[test]
fn one_that_reloads_itself_is_told_of() {
    let does = "say(b'READY=1'); say(b'RELOADING=1'); say(b'RELOADING=1'); say(b'READY=1')
began = time.monotonic_ns() // 1000 - 5000000
say(b'RELOADING=1\\nMONOTONIC_USEC=%d' % began); say(b'READY=1'); tell('done'); stay()";
    let mut fd3 = start(&["--ready", "notify"], does);
    let first = fd3.line("worker reloaded itself slot=0 ");
    assert_eq!(field(&first, "pid"), fd3.worker(0).to_string());
    let second = fd3.nth_line("worker reloaded itself", 1);
    // It says when it began.
    let after = field(&second, "after");
    let seconds: f64 = after.trim_end_matches('s').parse().expect("no milliseconds");
    assert!(seconds >= 5.0, "{second}");
    fd3.line("done");
    assert_eq!(fd3.stop(), 0);
    assert_eq!((fd3.count("reloading itself"), fd3.count("worker ready")), (2, 1), "{}", fd3.log());
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
    let does = "say(b'EXTEND_TIMEOUT_USEC=90000000'); time.sleep(2); say(b'READY=1'); stay()";
    let words = ["--ready", "notify", "--start-timeout", "2s", "--respawn-limit", "none"];
    let fd3 = start(&words, does);
    // Without it nobody ever is. On a busy machine some may not even come to ask.
    fd3.ready(1);
}

/// Whatever it asks for: a stop has an end.
#[test]
fn one_that_asks_for_time_during_a_stop_does_not_get_it() {
    let does = "
signal.pthread_sigmask(signal.SIG_BLOCK, [15]); say(b'READY=1')
signal.sigwait([15]); say(b'EXTEND_TIMEOUT_USEC=90000000'); stay()";
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
    let begun = log.lines().position(|line| line.contains("renewing a worker"));
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
