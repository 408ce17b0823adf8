//! New generations that fail: the old one goes on as if nothing had been, and the log tells why.

use super::loses_nothing::{Clients, Kept};
use super::{App, HUP, RELOADED, only_these_are_left, pids, server};
use crate::harness::{field, kill};

const ROLLED_BACK: &str = "reload rolled back, the old generation goes on";
const REFUSED: &str = "reload refused, nothing is changed";
/// Longer than any of this takes.
const LONG: &str = "ready notify\noverlap 60s\n";
const QUICK: &str = "ready notify\noverlap 10ms\n";
/// Asks of each client kind while a new generation fails.
const ANSWERS: usize = 20;

/// A service whose COMMAND and configuration can be exchanged.
struct Service {
    app: App,
    config: String,
}

impl Service {
    fn new(body: &str) -> Service {
        let app = App::new(body);
        let config = app.folder.path("config");
        Service { app, config }
    }

    fn configure(&self, rest: &str) {
        let always = "listen 127.0.0.1:0\nworkers 2\nbackoff 1ms..1ms\n";
        self.app.folder.file("config", &format!("{always}{rest}"), 0o600);
    }

    /// A generation that is alive, and never says that it is ready.
    fn silent(&self, body: &str) {
        self.app.install(body);
        self.configure("ready notify\nstart-timeout 150ms\ndrain-timeout 100ms\n");
    }

    fn mode(&self, mode: u32) {
        self.app.folder.file("app", "", mode);
    }
}

/// How to make the next generation fail, and what the log then says.
type Bad = (fn(&Service), &'static str, &'static str);

const BAD: &[Bad] = &[
    (|service| service.app.install("kill -SEGV $$"), ROLLED_BACK, "was killed by SIGSEGV after "),
    (|service| service.app.install("exit 0"), ROLLED_BACK, "exited with status 0 after "),
    (|service| service.app.install("exit 7"), ROLLED_BACK, "exited with status 7 after "),
    // Ready, and gone while both generations serve. The second one finishes what it has, so that its clients
    // lose nothing, and may say so: then that is the reason, and not its end.
    (
        |service| {
            service.configure("ready 100ms\noverlap 60s\n");
            service.app.install("sleep 1.5; exit 3");
        },
        ROLLED_BACK,
        "exited with status 3 after ",
    ),
    (
        |service| service.app.install(&format!("(sleep 1.5; kill $$) &\n{}", server())),
        ROLLED_BACK,
        "slot ",
    ),
    (|service| service.silent("exec sleep 1000"), ROLLED_BACK, "was not ready within "),
    (
        |service| service.silent("trap '' TERM\nwhile :; do sleep 1000; done"),
        ROLLED_BACK,
        "was not ready within ",
    ),
    (|service| service.mode(0o644), REFUSED, "permission denied"),
    (|service| std::fs::remove_file(&service.app.path).unwrap(), REFUSED, "no such file"),
    (|service| service.configure("ready maybe\n"), REFUSED, "ready"),
];

fn failures_change_nothing(surge: &str) {
    let service = Service::new(&server());
    service.configure(LONG);
    let mut fd3 = service.app.run(&["--config", &service.config, "--surge", surge]);
    let old = fd3.ready(2);
    let (mut rolled_back, mut refused) = (0, 0);
    Clients::run(fd3.port(), 3, Kept::StaysOpen, |clients| {
        for (spoil, says, why) in BAD {
            let count = if *says == REFUSED { &mut refused } else { &mut rolled_back };
            service.configure(LONG);
            spoil(&service);
            clients.wait_for_answers(ANSWERS);
            fd3.signal(HUP);
            let line = fd3.nth_line(says, *count);
            assert!(line.contains(why), "{line}: wanted {why}");
            *count += 1;
            clients.wait_for_answers(ANSWERS);
            only_these_are_left(&fd3, &old);
            // It is there, for whatever could still start a worker.
            service.app.install(&server());
        }
    });
    let exited = pids(&fd3, "worker exited");
    assert!(old.iter().all(|pid| !exited.contains(pid)), "{}", fd3.log());
    assert_eq!(fd3.count(RELOADED), 0, "{}", fd3.log());
    // Nothing of all this is in the way of one that is well.
    service.configure(QUICK);
    fd3.signal(HUP);
    let generation = field(&fd3.line(RELOADED), "generation");
    assert_eq!(generation, (2 + rolled_back).to_string(), "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_whole_generation_that_fails_leaves_the_old_one_as_it_was() {
    failures_change_nothing("all");
}

#[test]
fn the_first_slot_that_fails_leaves_the_others_as_they_were() {
    failures_change_nothing("1");
}

/// With `--surge 0` the old worker has gone by then: its slot is filled again with its like.
#[test]
fn a_slot_that_was_given_up_for_nothing_is_filled_again() {
    let app = App::new(&format!("[ $FD3_GENERATION != 2 ] || exit 1\n{}", server()));
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "notify", "--surge", "0"];
    let mut fd3 = app.run(&words);
    fd3.ready(2);
    Clients::run(fd3.port(), 3, Kept::StaysOpen, |clients| {
        clients.wait_for_answers(ANSWERS);
        fd3.signal(HUP);
        fd3.line(ROLLED_BACK);
        fd3.ready(3);
        clients.wait_for_answers(ANSWERS);
    });
    let again = fd3.nth_line("worker started", 3);
    assert_eq!((field(&again, "slot"), field(&again, "generation")), ("0".into(), "1".into()));
    only_these_are_left(&fd3, &[fd3.worker(1), fd3.worker(3)]);
    assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 4), "{}", fd3.log());
}

/// However well it looked: as long as it has not taken over, its end is a failure.
#[test]
fn a_new_worker_that_is_killed_in_the_overlap_is_a_failure() {
    let app = App::new("exec sleep 1000");
    for surge in ["all", "1"] {
        let words = ["-w", "2", "--ready", "50ms", "--overlap", "60s", "--surge", surge];
        let mut fd3 = app.run(&words);
        let old = fd3.ready(2);
        fd3.signal(HUP);
        let new = fd3.ready(3)[2];
        kill(new, libc::SIGKILL);
        let line = fd3.line(ROLLED_BACK);
        assert!(line.contains(&format!(": worker {new} was killed by SIGKILL after ")), "{line}");
        only_these_are_left(&fd3, &old);
        assert_eq!(fd3.stop(), 0);
    }
}

#[test]
fn slots_that_had_their_turn_keep_the_new_worker() {
    let app = App::new(&format!("[ $FD3_SLOT-$FD3_GENERATION != 1-2 ] || exit 1\n{}", server()));
    let words = ["-w", "3", "--ready", "notify", "--overlap", "10ms", "--surge", "1"];
    let mut fd3 = app.run(&[&words[..], &["-l", "127.0.0.1:0", "--backoff", "1ms..1ms"]].concat());
    fd3.ready(3);
    fd3.signal(HUP);
    let line = fd3.line("reload ended, slots that had no turn keep their workers replaced=1");
    assert!(line.contains("why=\"slot 1: worker ") && line.contains("status 1 after "), "{line}");
    fd3.nth_line("worker exited slot=0", 0);
    only_these_are_left(&fd3, &[1, 2, 3].map(|n| fd3.worker(n)));
    // Each is replaced by its like.
    for (victim, slot, generation) in [(3, "0", "2"), (1, "1", "1"), (2, "2", "1")] {
        let started = fd3.count("worker started");
        kill(fd3.worker(victim), libc::SIGKILL);
        let line = fd3.nth_line("worker started", started);
        assert_eq!(
            field(&line, "slot") + &field(&line, "generation"),
            format!("{slot}{generation}")
        );
    }
    // And the next reload is of all of them.
    fd3.signal(HUP);
    assert_eq!(field(&fd3.line(RELOADED), "generation"), "3");
    assert_eq!((fd3.stop(), fd3.count("generation=3")), (0, 5), "{}", fd3.log());
}
