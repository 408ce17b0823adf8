//! Clients busy through many reloads: no request fails.
//!
//! A request fails when its connection is refused or reset, or ends before the answer is whole. Between two
//! requests the server may close a connection that it kept, told by `Connection: close` in the last answer
//! or by its end (RFC 9112, 9.3 and 9.6): the next request then goes on another connection, and may not
//! fail there. One that was on its way when the end came is lost, for which HTTP makes the client
//! responsible; the example keeps a connection open for long enough after it was told to stop, so that no
//! client that is busy ever meets it. One that has no turn for so long on a busy machine asks anew.

use std::collections::HashSet;
use std::io::{ErrorKind, Result};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use super::{HUP, RELOADED};
use crate::client::{Connection, PROMPT, now};
use crate::harness::{PATIENCE, http_server, run};

const RELOADS: usize = 15;
/// Clients that keep their connection, and as many that make a new one for each request.
const CLIENTS: usize = 20;
/// Answered between two reloads: several for each client.
const BETWEEN_RELOADS: usize = 30 * CLIENTS;

fn reloads_lose_nothing(surge: &str, workers: usize) {
    let (server, count) = (http_server(), workers.to_string());
    let words = ["-l", "127.0.0.1:0", "-w", &count, "--ready", "notify", "--surge", surge];
    let mut fd3 = run(&[&words[..], &["--overlap", "20ms", "--", &server]].concat());
    fd3.ready(workers);
    let seen = Clients::run(fd3.port(), CLIENTS, Kept::StaysOpen, |clients| {
        for n in 0..RELOADS {
            clients.wait_for_answers(BETWEEN_RELOADS);
            fd3.signal(HUP);
            fd3.nth_line(RELOADED, n);
        }
        fd3.nth_line("worker exited", RELOADS * workers - 1);
        clients.wait_for_answers(BETWEEN_RELOADS);
    });
    assert!(seen.last > 0 && seen.answered_by.len() > RELOADS, "{seen:?}");
    let asked = fd3.count("worker exited") - fd3.count(" status=0 ");
    assert_eq!((asked, fd3.stop()), (0, 0), "{}", fd3.log());
}

#[test]
fn of_whole_generations() {
    reloads_lose_nothing("all", 3);
}

#[test]
fn slot_by_slot() {
    reloads_lose_nothing("1", 2);
}

#[test]
fn with_the_old_worker_gone_before_the_new_one_comes() {
    reloads_lose_nothing("0", 2);
}

/// The only worker: for a while nobody serves, and clients wait.
#[test]
fn with_nobody_left_in_between() {
    reloads_lose_nothing("0", 1);
}

/// What a server does with a kept connection when it is told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is open for longer than any client pauses.
    StaysOpen,
    /// It closes it, perhaps just when a request is on its way, and begins none that it does not answer.
    MayClose,
}

/// Clients at work.
pub struct Clients {
    port: u16,
    kept: Kept,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default, Debug)]
pub struct Seen {
    over: bool,
    pub answers: usize,
    /// Answers that said that they are the last of their connection.
    last: usize,
    /// Connections that were closed between two requests.
    closed: usize,
    pub answered_by: HashSet<i32>,
    failed: Vec<String>,
}

impl Clients {
    /// `each` of both kinds at work for as long as `during` runs. None of their requests may fail.
    pub fn run(port: u16, each: usize, kept: Kept, during: impl FnOnce(&Clients)) -> Seen {
        let whole = Clients { port, kept, seen: Mutex::default(), changed: Condvar::new() };
        let clients = &whole;
        thread::scope(|scope| {
            let _end = End(clients);
            for index in 0..each {
                // Most take their time, so that there are always requests under way, and not too many.
                let kept = if index % 4 == 0 { "/".into() } else { format!("/slow?ms={index}") };
                scope.spawn(move || clients.client(|| clients.keep(&kept)));
                let once = format!("/slow?ms={}", 10 + 2 * index);
                scope.spawn(move || clients.client(|| clients.once(&once)));
            }
            during(clients);
        });
        let seen = whole.seen.into_inner().expect("nobody panics with it");
        assert!(seen.failed.is_empty(), "{seen:?}");
        seen
    }

    pub fn wait_for_answers(&self, count: usize) {
        let deadline = now() + PATIENCE;
        let mut seen = self.seen();
        let wanted = seen.answers + count;
        while seen.answers < wanted {
            let left = deadline.saturating_duration_since(now());
            let wrong = left.is_zero() || !seen.failed.is_empty();
            assert!(!wrong, "wanted {wanted} answers: {:?}, {:?}", seen.answers, seen.failed);
            seen = self.changed.wait_timeout(seen, left).expect("nobody panics with it").0;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn client(&self, connection: impl Fn() -> Result<()>) {
        while !self.seen().over {
            if let Err(error) = connection() {
                self.seen().failed.push(error.to_string());
                self.changed.notify_all();
            }
        }
    }

    /// One connection, one request.
    fn once(&self, path: &str) -> Result<()> {
        let mut connection = Connection::open(self.port)?;
        match connection.ask_once(path) {
            Ok(pid) => self.count(pid, false),
            Err(error) if was_away(&connection, error.kind()) => self.seen().closed += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// One connection, and requests on it until one side ends that.
    fn keep(&self, path: &str) -> Result<()> {
        let mut connection = Connection::open(self.port)?;
        while !connection.is_last && !self.seen().over {
            let is_first = connection.pid.is_none();
            if !is_first && connection.is_closed()? {
                self.seen().closed += 1;
                break;
            }
            match connection.ask(path) {
                Ok(pid) => self.count(pid, connection.is_last),
                Err(error) if was_away(&connection, error.kind()) => {
                    self.seen().closed += 1;
                    break;
                }
                Err(error) if self.is_crossing(&connection, error.kind()) && !is_first => {
                    self.seen().closed += 1;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_crossing(&self, connection: &Connection, kind: ErrorKind) -> bool {
        self.kept == Kept::MayClose && is_unanswered(connection, kind)
    }

    fn count(&self, pid: i32, is_last: bool) {
        let mut seen = self.seen();
        seen.answers += 1;
        seen.last += usize::from(is_last);
        seen.answered_by.insert(pid);
        self.changed.notify_all();
    }
}

/// Between two requests, or before its first, for longer than a server that is told to stop keeps it open.
fn was_away(connection: &Connection, kind: ErrorKind) -> bool {
    connection.paused > PROMPT && is_unanswered(connection, kind)
}

fn is_unanswered(connection: &Connection, kind: ErrorKind) -> bool {
    let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    !connection.is_begun && ended.contains(&kind)
}

/// Ends the clients, of a test that fails as well.
struct End<'a>(&'a Clients);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.seen().over = true;
    }
}
