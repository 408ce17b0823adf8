//! `fd3 upgrade` and USR2: the same process becomes another binary, and nobody notices. A binary that cannot take over
//! is refused, and nothing has changed.

mod refused;
mod state;

use std::process::{Command, Stdio};

use crate::harness::{
    FD3, Fd3, Folder, code, command, field, http_server, kill, run, stderr_of, until,
};
use crate::reload::loses_nothing::{Clients, Kept};
use crate::world::{python, unshare};

const USR2: i32 = libc::SIGUSR2;
const UPGRADED: &str = " upgraded from=";
const FAILED: &str = "upgrade failed, fd3 goes on as it was";

fn client(fd3: &Fd3, words: &[&str]) -> Command {
    let mut client = command(FD3);
    client.args([words[0], "--pid", &fd3.pid().to_string()]).args(&words[1..]);
    client
}

/// Its exit status, and what it says.
fn ask(fd3: &Fd3, words: &[&str]) -> (i32, String) {
    let output = client(fd3, words).stdin(Stdio::null()).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (code(output.status), stdout + &stderr_of(&output))
}

fn upgrade(fd3: &Fd3) {
    let (status, said) = ask(fd3, &["upgrade"]);
    assert_eq!(
        (status, said.starts_with("ok upgraded version=")),
        (0, true),
        "{said}\n{}",
        fd3.log()
    );
}

/// Descriptors by what they are, and memory of its own in KiB.
fn burden(pid: i32) -> (Vec<String>, u64) {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten();
    let kind = |target: std::path::PathBuf| {
        let text = target.to_string_lossy().into_owned();
        text.split('[').next().unwrap_or_default().to_string()
    };
    let links = folder.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut open: Vec<String> = links.map(kind).collect();
    open.sort();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("there is one");
    (open, line.trim().split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
}

const ROUNDS: usize = 100;
const MORE_KIB: u64 = 256;

/// What a hundred upgrades cost: no request, no descriptor, no memory, no worker.
#[test]
fn a_hundred_in_a_row_lose_nothing() {
    let (server, workers) = (http_server(), 2);
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "notify", "--overlap", "1ms"];
    let mut fd3 = run(&[&words[..], &["--respawn-limit", "none", "--", &server]].concat());
    fd3.ready(workers);
    let mut before = None;
    Clients::run(fd3.port(), 5, Kept::StaysOpen, |clients| {
        for round in 0..ROUNDS {
            clients.wait_for_answers(20);
            upgrade(&fd3);
            if round % 2 == 1 {
                assert_eq!(ask(&fd3, &["reload"]).0, 0, "{}", fd3.log());
                let reloads = round / 2 + 1;
                fd3.nth_line("worker exited", reloads * workers - 1);
            }
            if round == 9 {
                before = Some(burden(fd3.pid()));
            }
        }
        clients.wait_for_answers(50);
    });
    let (descriptors, memory) = before.expect("there were so many rounds");
    // One that was just being closed may have been counted.
    until("there are no more of them", || burden(fd3.pid()).0.len() <= descriptors.len());
    let now = burden(fd3.pid()).1;
    assert!(now <= memory + MORE_KIB, "{now} KiB instead of {memory}");
    let starts = fd3.count("worker started");
    assert_eq!(starts, workers * (1 + ROUNDS / 2), "nobody was started anew: {}", fd3.log());
    assert_eq!((fd3.count(UPGRADED), fd3.count(FAILED)), (ROUNDS, 0));
    let gaps = || (0..ROUNDS).map(|n| field(&fd3.nth_line(UPGRADED, n), "gap"));
    println!("gaps: {:?}", gaps().collect::<Vec<_>>());
    let asked = fd3.count("worker exited") - fd3.count(" status=0 ");
    assert_eq!((asked, fd3.stop()), (0, 0), "{}", fd3.log());
}

/// Whenever a worker ends, before, in and after the exec: its end is seen once, and another one comes.
#[test]
fn ends_of_workers_are_not_lost() {
    let quick = ["--ready", "0ms", "--backoff", "1ms..1ms", "--respawn-limit", "none"];
    let mut fd3 = run(&[&quick[..], &["--stop-timeout", "1ms", "--", "sleep", "1000"]].concat());
    let mut worker = fd3.ready(1)[0];
    for n in 0..20 {
        fd3.signal(USR2);
        if n % 2 == 1 {
            fd3.nth_line("upgrade: executing", n);
        }
        kill(worker, libc::SIGKILL);
        fd3.nth_line(UPGRADED, n);
        let line = fd3.nth_line("worker ready", n + 1);
        worker = field(&line, "pid").parse().expect("a PID");
    }
    assert_eq!(fd3.count("worker exited"), 20, "{}", fd3.log());
    assert_eq!(fd3.count("status=SIGKILL"), 20, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

/// Tells each signal that it gets.
const TELLER: &str = "
import os, signal
every = {28, 18, 23, 50}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.write(1, b'up\\n')
while True: os.write(1, b'got %d.\\n' % signal.sigwait(every))";

/// Those that are thrown away by default as well: WINCH, CONT, URG.
#[test]
fn signals_are_not_lost() {
    let words = ["--stop-timeout", "1ms", "--", python(), "-I", "-c", TELLER];
    let mut fd3 = run(&words);
    fd3.line("up");
    for n in 0..8 {
        fd3.signal(USR2);
        if n % 2 == 1 {
            fd3.nth_line("upgrade: executing", n);
        }
        for signal in [28, 18, 23, 50] {
            fd3.signal(signal);
        }
        for signal in [28, 18, 23, 50] {
            fd3.nth_line(&format!("got {signal}."), n);
        }
        fd3.nth_line(UPGRADED, n);
    }
    fd3.signal(USR2);
    fd3.signal(libc::SIGTERM);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
}

#[test]
fn it_works_as_pid_1() {
    let Some(mut unshare) = unshare(&["--pid", "--fork", "--mount-proc"]) else { return };
    let words = ["run", "-v", "--ready", "0ms", "--stop-timeout", "1ms", "--", "sleep", "1000"];
    unshare.arg(FD3).args(words);
    let mut fd3 = Fd3::start(unshare);
    fd3.line("worker ready");
    let below = || crate::harness::children(fd3.pid()).first().copied();
    until("fd3 is there", || below().is_some());
    let own = below().expect("it is there");
    for n in 0..3 {
        kill(own, USR2);
        fd3.nth_line(UPGRADED, n);
    }
    assert_eq!((below(), fd3.count("worker started")), (Some(own), 1), "{}", fd3.log());
    kill(own, libc::SIGTERM);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
}

/// Who waits for a reload is answered by the other binary.
#[test]
fn whoever_waits_goes_on_waiting() {
    let quick = ["-l", "127.0.0.1:0", "--ready", "0ms", "--overlap", "3s"];
    let mut fd3 = run(&[&quick[..], &["--stop-timeout", "1ms", "--", "sleep", "1000"]].concat());
    fd3.ready(1);
    let mut reload = client(&fd3, &["reload"]);
    let reload = reload.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let reload = reload.spawn().expect("it starts");
    fd3.nth_line("worker ready", 1);
    upgrade(&fd3);
    let (status, second) = ask(&fd3, &["status"]);
    assert_eq!(status, 0, "{second}");
    let done = reload.wait_with_output().expect("it is our child");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(
        (code(done.status), said.starts_with("ok reloaded generation=2")),
        (0, true),
        "{said}"
    );
    assert_eq!((fd3.count("worker started"), fd3.stop()), (2, 0), "{}", fd3.log());
}

/// Another path, which is what the next one is looked for at; a link is followed anew each time.
#[test]
fn the_path_is_looked_up_anew() {
    let folder = Folder::new();
    let (link, other) = (folder.path("fd3"), folder.path("other"));
    std::os::unix::fs::symlink(FD3, &link).expect("the folder is ours");
    std::fs::copy(FD3, &other).expect("there is room");
    let mut start = command(&link);
    start.args(["run", "-v", "--ready", "0ms", "--stop-timeout", "1ms", "--", "sleep", "1000"]);
    let mut fd3 = Fd3::start(start);
    fd3.ready(1);
    let exe = |fd3: &Fd3| {
        let exe = std::fs::read_link(format!("/proc/{}/exe", fd3.pid())).expect("it lives");
        exe.to_string_lossy().into_owned()
    };
    upgrade(&fd3);
    assert_ne!(exe(&fd3), other);
    std::fs::remove_file(&link).expect("the folder is ours");
    std::os::unix::fs::symlink(&other, &link).expect("the folder is ours");
    fd3.signal(USR2);
    fd3.nth_line(UPGRADED, 1);
    assert_eq!(exe(&fd3), other);
    let mut relative = client(&fd3, &["upgrade", "./other"]);
    let done = relative.current_dir(folder.path("")).output().expect("it starts");
    assert_eq!(code(done.status), 0, "{}", stderr_of(&done));
    std::fs::remove_file(&link).expect("the folder is ours");
    upgrade(&fd3);
    assert_eq!((exe(&fd3), fd3.stop()), (other, 0));
}

#[test]
fn a_handover_that_is_for_another_is_not_taken() {
    for told in ["3 1", "0 1", "", "x", "3", "999 4000000"] {
        let mut fd3 = command(FD3);
        fd3.env("FD3_HANDOVER", told).args(["run", "--restart", "never", "--", "env"]);
        let done = fd3.stdin(Stdio::null()).output().expect("it starts");
        assert_eq!(code(done.status), 0, "{told}: {}", stderr_of(&done));
        assert!(!String::from_utf8_lossy(&done.stdout).contains("FD3_HANDOVER"), "{told}");
    }
}
