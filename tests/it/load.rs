//! Workers killed and stopped under load, with the HTTP server of examples/: what is lost is what was
//! in flight on a connection of a killed worker, and nothing else.
//!
//! Why the counts below are exact. A client has one connection at a time. When it fails, the worker it
//! belonged to is dead (its sockets are closed by the end of its last thread), so that the client's next
//! connection is another worker's: each failure of a client needs a kill of its own, and a connection
//! whose worker is known fails only if that one was killed.

use std::collections::HashSet;
use std::io::Error;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;

use crate::client::{Connection, PROMPT, now};
use crate::harness::{Fd3, PATIENCE, field, http_server, kill, run};

const KILLS: usize = 20;
/// Clients by what they ask for, and how many requests they make on one connection.
const CLIENTS: [(&str, usize); 8] = [
    ("/", 1),
    ("/", usize::MAX),
    ("/slow?ms=5", 1),
    ("/slow?ms=5", usize::MAX),
    ("/", 1),
    ("/", 7),
    ("/slow?ms=20", 3),
    ("/", usize::MAX),
];
/// Answered between two kills: enough for every client to be at it again.
const BETWEEN_KILLS: usize = 5 * CLIENTS.len();

/// The server as workers of fd3, all of them ready.
fn serve(workers: &str, words: &[&str]) -> Fd3 {
    let always = ["-l", "127.0.0.1:0", "--ready", "notify", "-w", workers];
    run(&[&always, words, &["--", &http_server()]].concat())
}

const QUICK: [&str; 4] = ["--backoff", "1ms..1ms", "--respawn-limit", "none"];

#[test]
fn a_killed_worker_costs_only_its_own_requests() {
    let mut fd3 = serve("2", &QUICK);
    let mut workers = fd3.ready(2);
    let load = Load::run(fd3.port(), |load| {
        for round in 0..KILLS {
            load.wait_for_answers(BETWEEN_KILLS);
            let victim = &mut workers[round % 2];
            load.kill(*victim);
            *victim = ready(&fd3, 2 + round);
            load.is_gone();
        }
        // Full service: both serve, and whoever connects from now on is never failed.
        load.wait_for_answers_of(&workers);
        load.wait_for_answers(10 * BETWEEN_KILLS);
    });
    // Those who never leave their connection must have been hit.
    assert!(load.seen().failures > 0);
    assert_eq!(fd3.count("worker exited"), KILLS, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_worker_told_to_stop_loses_nothing() {
    const STOPS: usize = 6;
    let mut fd3 = serve("2", &QUICK);
    let mut workers = fd3.ready(2);
    Load::run(fd3.port(), |load| {
        for round in 0..STOPS {
            load.wait_for_answers(BETWEEN_KILLS);
            let leaver = &mut workers[round % 2];
            kill(*leaver, libc::SIGTERM);
            *leaver = ready(&fd3, 2 + round);
        }
        load.wait_for_answers_of(&workers);
    });
    assert_eq!(fd3.count(" status=0 "), STOPS, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_stop_answers_whatever_was_accepted() {
    let mut fd3 = serve("2", &[]);
    fd3.ready(2);
    let port = fd3.port();
    let mut accepted: Vec<Connection> =
        (0..20).map(|_| Connection::open(port).expect("it listens")).collect();
    for connection in &mut accepted {
        connection.ask("/").expect("it serves");
    }
    // Half of them have a request under way when the stop comes, the others go on during it.
    let (busy, others) = accepted.split_at_mut(10);
    for connection in &mut *busy {
        connection.send("/slow?ms=300").expect("it is open");
    }
    let asked = now();
    fd3.signal(libc::SIGTERM);
    for connection in others {
        while !connection.is_last && asked.elapsed() < PROMPT {
            if let Err(error) = connection.ask("/") {
                assert!(asked.elapsed() > PROMPT, "an open connection failed: {error}");
                break;
            }
        }
    }
    for connection in busy {
        connection.answer().expect("a request under way is answered");
    }
    assert_eq!(fd3.exit(), 0);
    assert_eq!(fd3.count(" status=0 "), 2, "{}", fd3.log());
}

#[test]
fn with_no_worker_alive_clients_wait() {
    let mut fd3 = serve("1", &["--backoff", "1s..1s"]);
    let first = fd3.ready(1)[0];
    kill(first, libc::SIGKILL);
    fd3.line("worker exited");
    let mut waiting: Vec<Connection> =
        (0..20).map(|_| Connection::open(fd3.port()).expect("not refused")).collect();
    for connection in &mut waiting {
        connection.send("/").expect("the connection stands");
    }
    let second = fd3.ready(2)[1];
    for mut connection in waiting {
        assert_eq!(connection.answer().expect("the next worker answers"), second);
    }
    assert_eq!(fd3.stop(), 0);
}

/// The PID in the `n`th "worker ready", which may be far back in a long log.
fn ready(fd3: &Fd3, n: usize) -> i32 {
    field(&fd3.nth_line("worker ready", n), "pid").parse().expect("a PID")
}

/// What all clients share.
struct Load {
    port: u16,
    seen: Mutex<Seen>,
    answered: Condvar,
}

#[derive(Default)]
struct Seen {
    over: bool,
    killed: Vec<i32>,
    /// How many of them have certainly ended.
    gone: usize,
    answers: usize,
    failures: usize,
    /// Since the last look.
    answered_by: HashSet<i32>,
    /// The first thing that should not have happened.
    wrong: OnceLock<String>,
}

impl Load {
    /// Clients at work for as long as `during` runs.
    fn run(port: u16, during: impl FnOnce(&Load)) -> Load {
        let whole = Load { port, seen: Mutex::default(), answered: Condvar::new() };
        let load = &whole;
        thread::scope(|scope| {
            let _end = End(load);
            for (path, requests) in CLIENTS {
                scope.spawn(move || load.client(path, requests));
            }
            during(load);
        });
        assert_eq!(load.seen().wrong.get(), None);
        whole
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics with it")
    }

    /// Requests, one after the other, until it is over.
    fn client(&self, path: &str, requests: usize) {
        let mut failures = 0;
        loop {
            let (over, gone) = self.over_and_gone();
            if over {
                return;
            }
            let mut connection = match Connection::open(self.port) {
                Ok(connection) => connection,
                Err(error) => return self.wrong(format!("cannot connect: {error}")),
            };
            for _ in 0..requests {
                match connection.ask(path) {
                    Ok(pid) => self.count(pid),
                    Err(_) if connection.paused > PROMPT => break,
                    Err(error) => {
                        failures += 1;
                        self.judge(failures, gone, connection.pid, &error);
                        break;
                    }
                }
                if connection.is_last || self.over_and_gone().0 {
                    break;
                }
            }
        }
    }

    fn over_and_gone(&self) -> (bool, usize) {
        let seen = self.seen();
        (seen.over, seen.gone)
    }

    fn count(&self, pid: i32) {
        let mut seen = self.seen();
        seen.answers += 1;
        seen.answered_by.insert(pid);
        self.answered.notify_all();
    }

    /// `failures` of this client so far; `gone` killed workers had ended before it connected, to `pid`
    /// if it was ever answered.
    fn judge(&self, failures: usize, gone: usize, pid: Option<i32>, error: &Error) {
        let killed = {
            let mut seen = self.seen();
            seen.failures += 1;
            seen.killed.clone()
        };
        let kills = killed.len();
        if kills == gone {
            self.wrong(format!("no kill explains a failure of {pid:?}: {error}"));
        }
        if failures > kills {
            self.wrong(format!("failure {failures} of one client after {kills} kills: {error}"));
        }
        if let Some(pid) = pid.filter(|pid| !killed.contains(pid)) {
            self.wrong(format!("worker {pid} was not killed and failed a request: {error}"));
        }
    }

    fn wrong(&self, what: String) {
        let _ = self.seen().wrong.set(what);
        self.answered.notify_all();
    }

    fn kill(&self, pid: i32) {
        self.seen().killed.push(pid);
        kill(pid, libc::SIGKILL);
    }

    /// The latest one that was killed has ended.
    fn is_gone(&self) {
        let mut seen = self.seen();
        seen.gone = seen.killed.len();
    }

    fn wait_for_answers(&self, count: usize) {
        let wanted = self.seen().answers + count;
        self.wait(|seen| seen.answers >= wanted);
    }

    /// From each of these.
    fn wait_for_answers_of(&self, pids: &[i32]) {
        self.seen().answered_by.clear();
        self.wait(|seen| pids.iter().all(|pid| seen.answered_by.contains(pid)));
    }

    fn wait(&self, enough: impl Fn(&Seen) -> bool) {
        let deadline = now() + PATIENCE;
        let mut seen = self.seen();
        while !enough(&seen) {
            let left = deadline.saturating_duration_since(now());
            let late = left.is_zero().then(|| "the answers do not come".to_string());
            if let Some(wrong) = seen.wrong.get().cloned().or(late) {
                drop(seen);
                panic!("{wrong}");
            }
            seen = self.answered.wait_timeout(seen, left).expect("nobody panics with it").0;
        }
    }
}

/// Ends the clients, of a test that fails as well.
struct End<'a>(&'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.seen().over = true;
    }
}
