//! Reload by HUP: every worker is replaced, whatever the surge, and what clients have under way is finished.
//!
//! A worker that is to be another one in the next generation is a script, replaced by rename(2) between
//! reloads, or one that looks at FD3_GENERATION. One that is to become ready when the test says so waits
//! for a lock.

mod fails;
pub mod loses_nothing;
mod orders;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use crate::client::Connection;
use crate::harness::{
    Fd3, Folder, PATIENCE, UNSEEN, children, exists, field, http_server, run, until,
};

const HUP: i32 = libc::SIGHUP;
const RELOADED: &str = " reloaded after=";

/// COMMAND as a script that can be exchanged.
struct App {
    folder: Folder,
    path: String,
}

impl App {
    fn new(body: &str) -> App {
        let folder = Folder::new();
        let path = folder.path("app");
        let app = App { folder, path };
        app.install(body);
        app
    }

    /// Never in place: it may be running.
    fn install(&self, body: &str) {
        let new = self.folder.file("new", &format!("#!/bin/sh\n{body}\n"), 0o755);
        std::fs::rename(new, &self.path).expect("the folder is ours");
    }

    fn run(&self, words: &[&str]) -> Fd3 {
        run(&[words, &["--", &self.path]].concat())
    }
}

/// Workers wait at it until the test opens it.
pub(crate) struct Gate {
    file: std::fs::File,
    /// What a script runs to wait.
    pub(crate) wait: String,
}

impl Gate {
    pub(crate) fn closed(folder: &Folder) -> Gate {
        let path = folder.path("gate");
        let file = std::fs::File::create(&path).expect("the folder is ours");
        file.lock().expect("nobody else has it");
        Gate { file, wait: format!("flock -s {path} true") }
    }

    pub(crate) fn open(self) {
        self.file.unlock().expect("it is ours");
    }
}

/// The server of examples/ as what a script becomes.
fn server() -> String {
    format!("exec {}", http_server())
}

/// Reloads for the `n`th time and waits until the former workers are gone.
fn reload(fd3: &Fd3, n: usize, workers: usize) {
    fd3.signal(HUP);
    fd3.nth_line(RELOADED, n);
    fd3.nth_line("worker exited", (n + 1) * workers - 1);
}

/// The PIDs in the lines so far that have `text` in them.
fn pids(fd3: &Fd3, text: &str) -> Vec<i32> {
    let log = fd3.log();
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(|line| field(line, "pid").parse().expect("a PID")).collect()
}

/// The least and the most workers at a time from the moment at which there were `workers`, as the log has
/// it. It tells of an end late, never early.
fn least_and_most(fd3: &Fd3, workers: usize) -> (usize, usize) {
    let (mut alive, mut least, mut most) = (0, usize::MAX, 0);
    for line in fd3.log().lines() {
        alive += usize::from(line.contains("worker started"));
        alive -= usize::from(line.contains("worker exited"));
        most = most.max(alive);
        if most >= workers {
            least = least.min(alive);
        }
    }
    (least, most)
}

/// Children that have not ended. Those that are counted all lived when they were listed.
fn living(pid: i32) -> usize {
    let lives = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
    };
    children(pid).iter().filter(|pid| lives(pid)).count()
}

fn only_these_are_left(fd3: &Fd3, workers: &[i32]) {
    let sorted = |pids: &[i32]| {
        let mut pids = pids.to_vec();
        pids.sort_unstable();
        pids
    };
    let workers = sorted(workers);
    until("only these workers are left", || sorted(&children(fd3.pid())) == workers);
}

#[test]
fn every_worker_is_replaced_and_the_old_ones_finish_what_they_have() {
    let server = http_server();
    let words = ["-l", "127.0.0.1:0", "-w", "3", "--ready", "notify", "--overlap", "50ms"];
    let mut fd3 = run(&[&words[..], &["--", &server]].concat());
    fd3.ready(3);
    let mut slow = Connection::open(fd3.port()).expect("it listens");
    slow.ask("/").expect("it serves");
    slow.send("/slow?ms=1000").expect("it is open");
    let mut half = Connection::open(fd3.port()).expect("it listens");
    half.ask("/").expect("it serves");
    half.write("GET / HTTP").expect("it is open");
    fd3.signal(HUP);
    fd3.line(RELOADED);
    // The reload is over, and a request that began before it goes on where it was.
    half.write("/1.1\r\nHost: test\r\n\r\n").expect("it is open");
    half.answer().expect("an old worker answers");
    slow.answer().expect("an old worker answers");
    // It was told to stop; when it heads for that is its own affair. Then the next request is for a new one.
    while !half.is_last {
        half.ask("/").expect("the old worker answers");
    }
    drop((half, slow));
    fd3.nth_line("worker exited", 2);
    assert_eq!(fd3.count(" status=0 "), 3, "{}", fd3.log());
    let new = fd3.ready(6).split_off(3);
    only_these_are_left(&fd3, &new);
    for _ in 0..10 {
        let mut next = Connection::open(fd3.port()).expect("it listens");
        assert!(new.contains(&next.ask_once("/").expect("a new worker answers")));
    }
    assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 6));
}

#[test]
fn there_are_never_more_workers_than_the_surge_allows() {
    const WORKERS: usize = 4;
    let modes = [("all", WORKERS, 2 * WORKERS), ("1", WORKERS, 5), ("2", WORKERS, 6), ("0", 3, 4)];
    for (surge, least, most) in modes {
        let server = http_server();
        let words = ["-l", "127.0.0.1:0", "-w", "4", "--ready", "notify", "--surge", surge];
        let mut fd3 = run(&[&words[..], &["--overlap", "10ms", "--", &server]].concat());
        fd3.ready(WORKERS);
        fd3.signal(HUP);
        for started in WORKERS..2 * WORKERS {
            fd3.nth_line("worker started", started);
            let living = living(fd3.pid());
            assert!(living <= most, "--surge {surge}: {living} processes\n{}", fd3.log());
        }
        fd3.line(RELOADED);
        fd3.nth_line("worker exited", WORKERS - 1);
        // Never too many; never too few; and the surge is made use of.
        let counts = least_and_most(&fd3, WORKERS);
        assert_eq!(counts, (least, most), "--surge {surge}:\n{}", fd3.log());
        let slots: HashSet<String> = (WORKERS..2 * WORKERS)
            .map(|n| field(&fd3.nth_line("worker started", n), "slot"))
            .collect();
        assert_eq!(slots.len(), WORKERS, "{}", fd3.log());
        assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 2 * WORKERS));
    }
}

#[test]
fn while_nobody_serves_clients_wait() {
    let app = App::new("");
    let gate = Gate::closed(&app.folder);
    app.install(&format!("[ $FD3_GENERATION = 1 ] || {}\n{}", gate.wait, server()));
    let words = ["-l", "127.0.0.1:0", "--ready", "notify", "--overlap", "10ms", "--surge", "0"];
    let mut fd3 = app.run(&words);
    let old = fd3.ready(1)[0];
    fd3.signal(HUP);
    fd3.line(&format!("worker exited slot=0 pid={old} status=0"));
    fd3.nth_line("worker started", 1);
    let mut waiting: Vec<Connection> =
        (0..20).map(|_| Connection::open(fd3.port()).expect("not refused")).collect();
    for connection in &mut waiting {
        connection.send("/").expect("the connection stands");
    }
    assert_eq!(fd3.count("worker ready"), 1, "{}", fd3.log());
    gate.open();
    let new = fd3.ready(2)[1];
    for mut connection in waiting {
        assert_eq!(connection.answer().expect("the new worker answers"), new);
    }
    fd3.line(RELOADED);
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_worker_that_does_not_finish_is_killed_with_its_group() {
    let deaf = "trap '' TERM; sleep 1000 & echo child $!; wait; sleep 1000";
    let app = App::new(deaf);
    let words = ["--ready", "50ms", "--overlap", "0ms", "--drain-timeout", "100ms"];
    let mut fd3 = app.run(&words);
    let old = fd3.ready(1)[0];
    let child: i32 = fd3.line("child ").split(' ').nth(1).and_then(|pid| pid.parse().ok()).unwrap();
    app.install("exec sleep 1000");
    reload(&fd3, 0, 1);
    fd3.line(&format!("worker did not stop in time, killed slot=0 pid={old}"));
    until("the worker's child is gone", || !exists(child));
    assert_eq!((fd3.stop(), fd3.count("did not stop in time")), (0, 1), "{}", fd3.log());
}

#[test]
fn a_unix_listener_keeps_its_path_and_its_inode() {
    let (folder, server) = (Folder::new(), http_server());
    let path = folder.path("web");
    let inode = || std::fs::metadata(&path).expect("it is there").ino();
    for surge in ["all", "0"] {
        let listen = format!("unix:{path}");
        let words = ["-l", &listen, "--ready", "notify", "--overlap", "10ms", "--surge", surge];
        let mut fd3 = run(&[&words[..], &["--", &server]].concat());
        fd3.ready(1);
        let socket = inode();
        for n in 0..3 {
            reload(&fd3, n, 1);
            assert_eq!(inode(), socket);
            let mut stream = UnixStream::connect(&path).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("it takes a time limit");
            let request = "GET /pid HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers and closes");
            let pid = fd3.ready(n + 2)[n + 1];
            assert!(answer.ends_with(&format!("\r\n\r\n{pid}\n")), "{answer}");
        }
        assert_eq!(fd3.stop(), 0);
        assert!(!std::fs::exists(&path).expect("the folder is ours"), "it is fd3's to remove");
    }
}

/// The signal is also the one that asks for a reload: from a worker it means "ready", and nothing else.
#[test]
fn workers_that_show_by_a_signal_that_they_are_ready_are_reloaded() {
    let app = App::new("kill -HUP $PPID\nexec sleep 1000");
    for surge in ["all", "1", "0"] {
        let words = ["-w", "3", "--ready", "signal", "--overlap", "10ms", "--surge", surge];
        let mut fd3 = app.run(&words);
        fd3.ready(3);
        for n in 0..2 {
            reload(&fd3, n, 3);
        }
        assert_eq!(fd3.count("worker ready"), 9, "{}", fd3.log());
        assert_eq!((fd3.stop(), fd3.count(" reloading ")), (0, 2), "{}", fd3.log());
    }
}

#[test]
fn a_reload_leaves_no_descriptor_and_no_process_behind() {
    let words = ["-w", "2", "--ready", "10ms", "--overlap", "0ms", "--", "sleep", "1000"];
    let mut fd3 = run(&[UNSEEN, &words].concat());
    fd3.ready(2);
    let folder = format!("/proc/{}/fd", fd3.pid());
    let open = || std::fs::read_dir(&folder).expect("it runs").count();
    let before = open();
    for n in 0..10 {
        reload(&fd3, n, 2);
    }
    until("as many descriptors as before", || open() == before);
    only_these_are_left(&fd3, &fd3.ready(22)[20..]);
    assert_eq!(fd3.stop(), 0);
}
