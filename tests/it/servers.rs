//! Real servers on the inherited socket, each told of it in its own words: they answer, a killed one is
//! replaced while clients wait instead of failing, and a stop leaves nothing behind.
//!
//! Most servers that fork are told to fork once: a process that has just been forked may miss the signal
//! to stop, with all of them, and then the one that answered is the only one there is.
//!
//! A server that is not installed is told on stderr as SKIPPED; with FD3_TEST_ALL=1 that fails.

mod go;
mod nested;
mod perl;
mod proxies;
mod python;
mod reload;
mod rust;
mod seeds;
mod systemd;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::harness::{Fd3, Folder, PATIENCE, exists, field, get, kill, until};
use crate::world::skip_missing;

/// They all stop by themselves, however long a busy machine takes for that.
const TIME_TO_STOP: [&str; 2] = ["--stop-timeout", "90s"];

fn run(words: &[&str]) -> Fd3 {
    crate::harness::run(&[&TIME_TO_STOP, words].concat())
}

/// Threads that ask, one request after the other.
const CLIENTS: usize = 4;
/// Answers that show that all is well.
const ENOUGH: usize = 3 * CLIENTS;
/// Requests that are under way when a worker is killed. Each one is a connection that the kernel
/// remembers for two minutes: as many as the clients can make would fill its table (conntrack).
const BURST: usize = 16 * CLIENTS;

/// Asks for the PID of the process that answers.
type Ask<'a> = &'a (dyn Fn() -> io::Result<i32> + Sync);

/// What the tests of one server need: its file, or nothing with a word on why.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-venv").join("bin");
    let folders = std::env::split_paths(&path).chain([
        "/usr/sbin".into(),
        "/usr/local/sbin".into(),
        "/sbin".into(),
        venv,
    ]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip_missing(name);
    }
    found
}

/// The answer of `path` over HTTP: `pid=N;`, whole.
fn pid_over_http(port: u16) -> io::Result<i32> {
    pid_in(&get(port, "/")?)
}

/// The same over a unix socket.
fn pid_over_unix(path: &str) -> io::Result<i32> {
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    pid_in(&answer)
}

fn pid_in(answer: &str) -> io::Result<i32> {
    let pid = answer.split_once("pid=").and_then(|(_, rest)| rest.split_once(';'));
    let good = answer.starts_with("HTTP/1.") && answer.get(8..13) == Some(" 200 ");
    pid.filter(|_| good)
        .and_then(|(pid, _)| pid.parse().ok())
        .ok_or_else(|| io::Error::other(format!("bad answer: {answer:?}")))
}

/// The whole promise for one server: it serves, it survives the death of every worker under load, it
/// stops.
fn serves_survives_and_stops(mut fd3: Fd3, workers: usize, ask: Ask<'_>) {
    serves_and_survives(&fd3, workers, ask);
    stops(&mut fd3);
}

/// Every worker is killed under load, one after the other; then others answer.
fn serves_and_survives(fd3: &Fd3, workers: usize, ask: Ask<'_>) {
    let first = fd3.ready(workers);
    let answering = ask().unwrap_or_else(|error| panic!("{error}\n{}", fd3.log()));
    assert!(first.contains(&group_of(answering).unwrap_or(0)), "{answering}:\n{}", fd3.log());
    let load = Load::default();
    let mut gone = Vec::new();
    thread::scope(|scope| {
        let _ends = Ends(&load);
        for _ in 0..CLIENTS {
            scope.spawn(|| load.client(ask));
        }
        for (killed, pid) in first.iter().enumerate() {
            load.enough_answers(fd3, |_| true);
            let family = family(*pid);
            load.permit(BURST);
            kill(*pid, libc::SIGKILL);
            until("the killed worker's family ends", || {
                processes(|process| family.contains(&process.pid)).is_empty()
            });
            gone.push(now());
            fd3.nth_line("worker ready", workers + killed);
        }
        load.enough_answers(fd3, |pid| group_of(pid).is_some_and(|group| !first.contains(&group)));
    });
    load.only_requests_in_flight_failed(&gone, fd3);
}

/// TERM, exit status 0, and nothing of it is left.
fn stops(fd3: &mut Fd3) {
    let status = fd3.stop();
    assert_eq!(status, 0, "{}", fd3.log());
    assert_eq!(fd3.count("did not stop in time"), 0, "{}", fd3.log());
    let workers = started(fd3);
    until("every worker's group ends", || {
        processes(|process| workers.contains(&process.group)).is_empty()
    });
    assert!(workers.iter().all(|pid| !exists(*pid)), "a worker is left: {}", fd3.log());
}

/// The PIDs of all workers that fd3 told of.
fn started(fd3: &Fd3) -> Vec<i32> {
    let count = fd3.count("worker started");
    (0..count)
        .map(|n| field(&fd3.nth_line("worker started", n), "pid").parse().expect("a PID"))
        .collect()
}

/// What clients saw.
#[derive(Default)]
struct Load {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// Requests that clients may still make.
    permits: usize,
    /// The PIDs that answered.
    answers: Vec<i32>,
    /// When each failed request began, and its error.
    failures: Vec<(Instant, io::Error)>,
    over: bool,
}

/// Ends the load with the scope it belongs to, a failed one too.
struct Ends<'a>(&'a Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.seen().over = true;
        self.0.changed.notify_all();
    }
}

impl Load {
    /// Also after a test that failed while it looked: the clients must come to an end.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(&self, requests: usize) {
        self.seen().permits += requests;
        self.changed.notify_all();
    }

    /// Uses the permits up, until the load is over.
    fn client(&self, ask: Ask<'_>) {
        loop {
            let waited =
                self.changed.wait_while(self.seen(), |seen| seen.permits == 0 && !seen.over);
            let mut seen = waited.unwrap_or_else(PoisonError::into_inner);
            if seen.over {
                return;
            }
            seen.permits -= 1;
            drop(seen);
            let begun = now();
            let result = ask();
            let mut seen = self.seen();
            match result {
                Ok(pid) => seen.answers.push(pid),
                Err(error) => seen.failures.push((begun, error)),
            }
            self.changed.notify_all();
        }
    }

    /// Permits requests until enough answers came from processes that count.
    fn enough_answers(&self, fd3: &Fd3, counts: impl Fn(i32) -> bool) {
        let deadline = now() + PATIENCE;
        let mut seen = self.seen();
        let mut looked_at = seen.answers.len();
        let mut came = 0;
        while came < ENOUGH {
            if seen.permits == 0 {
                seen.permits = CLIENTS;
                self.changed.notify_all();
            }
            let left = deadline.saturating_duration_since(now());
            let told = || format!("{:?}, last by {:?}", seen.failures, seen.answers.last());
            assert!(!left.is_zero(), "{came} of {ENOUGH} answers: {}\n{}", told(), fd3.log());
            let waited = self.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
            came += seen.answers[looked_at..].iter().filter(|pid| counts(**pid)).count();
            looked_at = seen.answers.len();
        }
    }

    /// Nobody is ever refused. A failed request began before a killed worker had gone, and each client
    /// has at most one such for each one that was killed.
    fn only_requests_in_flight_failed(&self, gone: &[Instant], fd3: &Fd3) {
        let seen = self.seen();
        let failures = &seen.failures;
        let told = || format!("{failures:#?}\n{gone:?}\n{}", fd3.log());
        let last = gone.last().expect("one was killed");
        for (begun, error) in failures {
            assert_ne!(error.kind(), io::ErrorKind::ConnectionRefused, "{}", told());
            assert!(begun <= last, "{}", told());
        }
        assert!(failures.len() <= CLIENTS * gone.len(), "{}", told());
    }
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

/// A process, its children, theirs, ...
fn family(pid: i32) -> Vec<i32> {
    let mut family = vec![pid];
    loop {
        let known = family.clone();
        let wanted = |one: &Process| known.contains(&one.parent) && !known.contains(&one.pid);
        family.extend(processes(wanted));
        if family.len() == known.len() {
            return family;
        }
    }
}

/// The process group of a process that runs.
fn group_of(pid: i32) -> Option<i32> {
    Some(process(pid)?.group)
}

/// What is known of a process that runs.
fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state ppid pgrp: the name may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next(), Some("Z" | "X") | None) {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, group: fields.next()?.parse().ok()? })
}

/// The processes that run and are wanted.
fn processes(wanted: impl Fn(&Process) -> bool) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc is there");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).filter(wanted).map(|process| process.pid).collect()
}

/// A port for a server whose configuration must name it: bound, so that nobody else is given it, and
/// not listened to, so that fd3 may bind it as well.
pub(crate) struct ReservedPort {
    pub(crate) number: u16,
    _socket: rustix::fd::OwnedFd,
}

impl ReservedPort {
    pub(crate) fn new() -> ReservedPort {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).expect("it is open");
        sockopt::set_socket_reuseaddr(&socket, true).expect("TCP knows SO_REUSEADDR");
        let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
        bind(&socket, &any).expect("a port is free");
        let bound = getsockname(&socket).expect("it is bound");
        let bound = std::net::SocketAddr::try_from(bound).expect("an internet address");
        ReservedPort { number: bound.port(), _socket: socket }
    }

    pub(crate) fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// Runs a tool to its end; its output is told if it fails.
fn build(mut command: std::process::Command) {
    let output = command.output().expect("it was found");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// The path as text: all of ours are.
fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// `contents` with what is between `@`s filled in, as a file.
fn configuration(folder: &Folder, name: &str, contents: &str, values: &[(&str, &str)]) -> String {
    let fill =
        |text: String, (name, value): &(&str, &str)| text.replace(&format!("@{name}@"), value);
    folder.file(name, &values.iter().fold(contents.to_string(), fill), 0o644)
}

/// The name of the user that runs the test, for servers that must be told to keep it.
fn own_user() -> String {
    let output = crate::harness::command("id").arg("-un").output().expect("id is everywhere");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}
