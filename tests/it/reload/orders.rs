//! Orders and mishaps while a reload runs, or after one that was rolled back.

use super::{App, Gate, HUP, RELOADED, only_these_are_left, pids, reload, server};
use crate::client::Connection;
use crate::harness::{Fd3, exists, field, kill};
use crate::world::python;

const RELOADING: &str = " reloading generation=";
const TTIN: i32 = libc::SIGTTIN;
const TTOU: i32 = libc::SIGTTOU;

/// Servers behind a gate: from the second generation on they wait at it before they are ready.
fn gated(before: &str, words: &[&str]) -> (App, Gate, Fd3) {
    let app = App::new("");
    let gate = Gate::closed(&app.folder);
    let newer = format!("{{ {before}\n{}; }}", gate.wait);
    app.install(&format!("[ $FD3_GENERATION = 1 ] || {newer}\n{}", server()));
    let always = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "notify", "--backoff", "1ms..1ms"];
    let fd3 = app.run(&[&always, words].concat());
    fd3.ready(2);
    (app, gate, fd3)
}

/// Workers that tell of each WINCH, which fd3 forwards: whatever was sent to fd3 before it was heard by
/// then, because of two pending signals the kernel delivers the one with the lower number first. Those of
/// the second generation wait at the gate before they hear anything.
fn hearing(workers: &str) -> (App, Gate, Fd3) {
    let app = App::new("");
    let gate = Gate::closed(&app.folder);
    let script = "
import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
notify = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', notify)
while True:
    signal.sigwait([signal.SIGWINCH])
    os.write(1, b'heard\\\\n')";
    let worker = format!("exec {} -I -c \"{script}\"", python());
    app.install(&format!("[ $FD3_GENERATION != 2 ] || {}\n{worker}", gate.wait));
    let fd3 = app.run(&["-w", workers, "--ready", "notify", "--overlap", "10ms"]);
    fd3.ready(workers.parse().expect("a number"));
    (app, gate, fd3)
}

/// Sends it, and waits until fd3 has read it.
fn send(fd3: &Fd3, signal: i32, hearers: usize) {
    let heard = fd3.count("heard");
    fd3.signal(signal);
    fd3.signal(libc::SIGWINCH);
    fd3.nth_line("heard", heard + hearers - 1);
}

/// Of the `n`th worker started.
fn slot_and_generation(fd3: &Fd3, n: usize) -> (String, String) {
    let line = fd3.nth_line("worker started", n);
    (field(&line, "slot"), field(&line, "generation"))
}

/// Where the `n`th line with this text stands in the log.
fn place(fd3: &Fd3, text: &str, n: usize) -> usize {
    fd3.nth_line(text, n);
    let log = fd3.log();
    let mut lines = log.lines().enumerate().filter(|(_, line)| line.contains(text));
    lines.nth(n).expect("it is there").0
}

#[test]
fn orders_to_reload_during_a_reload_are_one_more() {
    let (_app, gate, mut fd3) = hearing("1");
    fd3.signal(HUP);
    fd3.line(RELOADING);
    fd3.worker(1);
    for signal in [HUP, HUP, libc::SIGUSR1, HUP, libc::SIGUSR1] {
        send(&fd3, signal, 1);
    }
    assert_eq!(fd3.count(RELOADING), 1, "{}", fd3.log());
    gate.open();
    fd3.nth_line(RELOADED, 1);
    fd3.nth_line("worker exited", 1);
    // Heard by the third generation: there is nothing left to be done.
    send(&fd3, 0, 1);
    assert_eq!((fd3.count(RELOADING), fd3.count(RELOADED)), (2, 2), "{}", fd3.log());
    reload(&fd3, 2, 1);
    assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 4), "{}", fd3.log());
}

#[test]
fn the_next_reload_waits_until_the_old_workers_are_gone() {
    let app = App::new(&server());
    let mut fd3 = app.run(&["-l", "127.0.0.1:0", "--ready", "notify", "--overlap", "0ms"]);
    fd3.ready(1);
    let mut slow = Connection::open(fd3.port()).expect("it listens");
    slow.ask("/").expect("it serves");
    slow.send("/slow?ms=500").expect("it is open");
    fd3.signal(HUP);
    fd3.line(RELOADED);
    fd3.signal(HUP);
    assert!(place(&fd3, "worker exited", 0) < place(&fd3, RELOADING, 1), "{}", fd3.log());
    slow.answer().expect("the first worker answers");
    drop(slow);
    fd3.nth_line(RELOADED, 1);
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_stop_during_a_reload_ends_everybody() {
    for surge in ["all", "1", "0"] {
        let (_app, _gate, mut fd3) = gated("", &["--surge", surge]);
        fd3.signal(HUP);
        fd3.worker(2);
        // One more is asked for, and never comes.
        fd3.signal(HUP);
        assert_eq!(fd3.stop(), 0);
        assert_eq!(fd3.count("reload ended by a stop"), 1, "{}", fd3.log());
        assert_eq!((fd3.count(RELOADING), fd3.count(RELOADED)), (1, 0), "{}", fd3.log());
        assert_eq!(fd3.count("killed"), 0, "{}", fd3.log());
        assert_eq!(fd3.count("worker exited"), fd3.count("worker started"), "{}", fd3.log());
    }
}

/// Whoever has longer because of a reload, or is new, and does not heed TERM.
#[test]
fn a_stop_during_a_reload_ends_within_its_own_time() {
    let words = ["--stop-timeout", "200ms", "--drain-timeout", "none", "--overlap", "0ms"];
    let (app, _gate, mut fd3) = gated("trap '' TERM; echo deaf", &words);
    fd3.signal(HUP);
    fd3.nth_line("deaf", 1);
    let new = [fd3.worker(2), fd3.worker(3)];
    assert_eq!(fd3.stop(), 0);
    // The old ones take no longer than that, unless the machine does.
    let killed = pids(&fd3, "did not stop in time, killed");
    assert!(new.iter().all(|pid| killed.contains(pid)), "{}", fd3.log());
    assert!(new.iter().all(|pid| !exists(*pid)), "{}", fd3.log());

    let mut fd3 = app.run(&[&["-l", "127.0.0.1:0", "--ready", "notify"], &words[..]].concat());
    let old = fd3.ready(1)[0];
    let mut slow = Connection::open(fd3.port()).expect("it listens");
    slow.ask("/").expect("it serves");
    slow.send("/slow?ms=10000").expect("it is open");
    app.install(&server());
    fd3.signal(HUP);
    fd3.line(RELOADED);
    assert_eq!(fd3.stop(), 0);
    assert!(pids(&fd3, "did not stop in time, killed").contains(&old), "{}", fd3.log());
}

#[test]
fn an_old_worker_that_crashes_during_a_reload_is_replaced_by_its_like() {
    for surge in ["all", "1"] {
        let (_app, gate, mut fd3) = gated("", &["--overlap", "10ms", "--surge", surge]);
        let newcomers = if surge == "all" { 2 } else { 1 };
        let victim = fd3.worker(1);
        fd3.signal(HUP);
        fd3.worker(1 + newcomers);
        kill(victim, libc::SIGKILL);
        let mended = slot_and_generation(&fd3, 2 + newcomers);
        assert_eq!(mended, ("1".into(), "1".into()), "{}", fd3.log());
        fd3.nth_line("worker ready", 2);
        gate.open();
        fd3.line(RELOADED);
        fd3.nth_line("worker exited", 2);
        assert_eq!((fd3.count("generation=1"), fd3.count("rolled back")), (3, 0), "{}", fd3.log());
        assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 5), "{}", fd3.log());
    }
}

/// Until the last of them is ready the old generation has every seat.
#[test]
fn a_whole_generation_takes_over_together() {
    let app = App::new("");
    let gate = Gate::closed(&app.folder);
    app.install(&format!("[ $FD3_SLOT-$FD3_GENERATION != 1-2 ] || {}\n{}", gate.wait, server()));
    let words = ["-w", "2", "--ready", "notify", "--overlap", "0ms", "--backoff", "1ms..1ms"];
    let mut fd3 = app.run(&[&words[..], &["-l", "127.0.0.1:0"]].concat());
    fd3.ready(2);
    fd3.signal(HUP);
    fd3.ready(3);
    kill(fd3.worker(0), libc::SIGKILL);
    assert_eq!(slot_and_generation(&fd3, 4), ("0".into(), "1".into()), "{}", fd3.log());
    fd3.ready(4);
    gate.open();
    fd3.line(RELOADED);
    only_these_are_left(&fd3, &[2, 3].map(|n| fd3.worker(n)));
    assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 5), "{}", fd3.log());
}

#[test]
fn a_reload_mends_a_service_that_crashes_and_waits() {
    for surge in ["all", "1", "0"] {
        let app = App::new("kill -HUP $PPID\nexit 1");
        let words = ["-w", "2", "--ready", "signal", "--overlap", "10ms", "--surge", surge];
        let mut fd3 = app.run(&[&words[..], &["--backoff", "1h..1h"]].concat());
        fd3.nth_line("restart-in=", 1);
        app.install("kill -HUP $PPID\nexec sleep 1000");
        fd3.signal(HUP);
        fd3.line(RELOADED);
        only_these_are_left(&fd3, &[2, 3].map(|n| fd3.worker(n)));
        assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 4), "{}", fd3.log());
    }
}

/// COMMAND's file is the one that has its name by then; what it is told is what its generation is told.
#[test]
fn after_a_rollback_a_crash_is_mended_from_the_old_generation() {
    let app = App::new(&format!("echo first $FD3_GENERATION\n{}", server()));
    let words = ["-l", "127.0.0.1:0", "--ready", "notify", "--overlap", "10ms"];
    let mut fd3 = app.run(&[&words[..], &["--backoff", "1ms..1ms"]].concat());
    let old = fd3.ready(1)[0];
    let second = "echo second $FD3_GENERATION\n[ $FD3_GENERATION != 2 ] || exit 1";
    app.install(&format!("{second}\n{}", server()));
    fd3.signal(HUP);
    let line = fd3.line("rolled back");
    assert!(
        line.contains("exited with status 1 after ") && line.contains(" generation=2"),
        "{line}"
    );
    fd3.line("second 2");
    only_these_are_left(&fd3, &[old]);
    kill(old, libc::SIGKILL);
    fd3.line("second 1");
    assert_eq!(slot_and_generation(&fd3, 2), ("0".into(), "1".into()));
    fd3.ready(2);
    // A generation's number is never used again.
    fd3.signal(HUP);
    fd3.line("second 3");
    assert_eq!(field(&fd3.line(RELOADED), "generation"), "3");
    assert_eq!((fd3.stop(), fd3.count("first")), (0, 1));
}

#[test]
fn slots_are_added_and_taken_away() {
    let app = App::new(&server());
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "notify", "--overlap", "10ms"];
    let mut fd3 = app.run(&words);
    fd3.ready(2);
    for (workers, n) in [(3, 2), (4, 3)] {
        fd3.signal(TTIN);
        fd3.line(&format!("scaled workers={workers}"));
        assert_eq!(slot_and_generation(&fd3, n), ((workers - 1).to_string(), "1".into()));
        fd3.ready(n + 1);
    }
    for (n, workers) in (1..=3).rev().enumerate() {
        fd3.signal(TTOU);
        fd3.nth_line("scaled workers=", 2 + n);
        let exited = fd3.nth_line("worker exited", n);
        assert!(exited.contains(&format!(" slot={workers} ")) && exited.contains(" status=0 "));
    }
    only_these_are_left(&fd3, &[fd3.worker(0)]);
    // Never below one: the next one up makes two of it.
    fd3.signal(TTOU);
    fd3.signal(HUP);
    fd3.line(RELOADED);
    fd3.signal(TTIN);
    assert!(fd3.nth_line("scaled", 5).contains("workers=2"), "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn slots_that_change_during_a_reload_change_after_it() {
    let (_app, gate, mut fd3) = hearing("2");
    fd3.signal(HUP);
    fd3.worker(3);
    for signal in [TTIN, TTIN, TTOU] {
        send(&fd3, signal, 2);
    }
    assert_eq!((fd3.count("scaled"), fd3.count("worker started")), (0, 4), "{}", fd3.log());
    gate.open();
    assert!(place(&fd3, RELOADED, 0) < place(&fd3, "scaled workers=3", 0), "{}", fd3.log());
    fd3.nth_line("worker exited", 1);
    assert_eq!(slot_and_generation(&fd3, 4), ("2".into(), "2".into()));
    // The next reload is of all three; those of the third generation do not wait.
    fd3.nth_line("worker ready", 4);
    fd3.signal(HUP);
    fd3.nth_line(RELOADED, 1);
    fd3.nth_line("worker exited", 4);
    only_these_are_left(&fd3, &[5, 6, 7].map(|n| fd3.worker(n)));
    assert_eq!((fd3.count("scaled"), fd3.stop()), (1, 0), "{}", fd3.log());
}

#[test]
fn other_signals_can_be_orders_to_reload_and_hup_can_be_none() {
    let on = ["--on", "USR2=reload", "--on", "HUP=ignore"];
    let app = App::new("exec sleep 1000");
    let mut fd3 = app.run(&[&on[..], &["--ready", "10ms", "--overlap", "0ms"]].concat());
    fd3.ready(1);
    for (n, signal) in [libc::SIGUSR1, libc::SIGUSR2].into_iter().enumerate() {
        fd3.signal(HUP);
        fd3.signal(signal);
        fd3.nth_line(RELOADED, n);
        fd3.nth_line("worker exited", n);
    }
    assert_eq!((fd3.count(RELOADING), fd3.stop()), (2, 0), "{}", fd3.log());
}
