//! `fd3 reload --canary K`, `fd3 promote` and `fd3 rollback`: a release is tried out in some slots before it is what
//! serves, and can be taken back.

mod fails;
mod refused;

use std::process::Stdio;

use crate::harness::{
    FD3, Fd3, Folder, code, command, exists, http_server, kill, run, stderr_of, until,
};
use crate::reload::loses_nothing::{Clients, Kept};
use crate::world::python;

/// Says its slot and its arguments, and that it is ready. `dies` has the newcomer of slot 1 exit before that,
/// `waits` has it never say so, and `deaf` has it not listen to TERM.
const WORKER: &str = "
import os, signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
slot, words = os.environ['FD3_SLOT'], sys.argv[1:]
if 'dies' in words and slot == '1': sys.exit(3)
print('slot', slot, 'is', *words, flush=True)
if 'waits' in words and slot == '1': signal.sigwait([signal.SIGTERM]); sys.exit()
address = '\\0' + os.environ['NOTIFY_SOCKET'][1:]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', address)
while 'deaf' in words: signal.pause()
signal.sigwait([signal.SIGTERM])
";

/// Three slots of `one`.
fn start(words: &[&str]) -> Fd3 {
    let quick = ["-w", "3", "--ready", "notify", "--start-timeout", "none", "--overlap", "0ms"];
    let quick = [&quick[..], &["--backoff", "1ms..1ms"], words, &["--"]].concat();
    let fd3 = run(&[&quick[..], &[python(), "-I", "-c", WORKER, "one"]].concat());
    fd3.ready(3);
    fd3
}

fn client(fd3: &Fd3, words: &[&str]) -> std::process::Command {
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

/// `fd3 reload --canary K -- WORKER ...`.
fn canary(fd3: &Fd3, slots: &str, words: &[&str]) -> (i32, String) {
    let command = ["reload", "--canary", slots, "--", python(), "-I", "-c", WORKER];
    ask(fd3, &[&command[..], words].concat())
}

fn is(told: &(i32, String), status: i32, begin: &str) {
    assert!(told.0 == status && told.1.starts_with(begin), "{told:?} is not {begin:?}");
}

/// Of each slot, the generation of the workers that are ready there, from `fd3 status`.
fn generations(fd3: &Fd3) -> Vec<String> {
    let (_, table) = ask(fd3, &["status"]);
    let rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 5 && row[3] == "ready").map(|row| row[2].to_string()).collect()
}

fn has(fd3: &Fd3, wanted: [&str; 3]) {
    until(&format!("{wanted:?}"), || generations(fd3) == wanted);
}

#[test]
fn a_canary_that_is_promoted_is_what_serves() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "1", &["two"]), 0, "ok canary holds generation=2 slots=1 after=");
    fd3.line("slot 0 is two");
    has(&fd3, ["2", "1", "1"]);
    assert!(exists(fd3.worker(1)) && exists(fd3.worker(2)));
    let (_, table) = ask(&fd3, &["status"]);
    assert!(table.starts_with(&format!("fd3 {}, generation 1: 3 of 3 ", fd3.pid())), "{table}");
    assert!(table.contains("\nCANARY       generation 2, slots: 1\n"), "{table}");
    let (_, json) = ask(&fd3, &["status", "--json"]);
    let member = "\"canary\":{\"generation\":2,\"slots\":1,\"failed\":false}";
    assert!(json.contains(member) && json.contains("\"generation\":1,"), "{json}");
    is(&ask(&fd3, &["promote", "--if-generation", "2"]), 0, "ok promoted generation=2 after=");
    fd3.line("slot 1 is two");
    fd3.line("slot 2 is two");
    has(&fd3, ["2", "2", "2"]);
    assert_eq!((fd3.count("slot 0 is two"), fd3.count("reloaded after=")), (1, 1));
    // It is the COMMAND from then on.
    is(&ask(&fd3, &["reload"]), 0, "ok reloaded generation=3 ");
    fd3.nth_line("slot 0 is two", 1);
}

#[test]
fn a_canary_that_is_rolled_back_leaves_nothing() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "2", &["two"]), 0, "ok canary holds generation=2 slots=2 after=");
    has(&fd3, ["2", "2", "1"]);
    is(&ask(&fd3, &["rollback"]), 0, "ok rolled back generation=1 after=");
    fd3.nth_line("slot 0 is one", 1);
    fd3.nth_line("slot 1 is one", 1);
    has(&fd3, ["1", "1", "1"]);
    assert_eq!((fd3.count("slot 2 is"), fd3.count("canary rolled back after=")), (1, 1));
    is(&ask(&fd3, &["reload"]), 0, "ok reloaded generation=3 ");
    fd3.nth_line("slot 2 is one", 1);
    assert_eq!(fd3.count(" is two"), 2);
}

/// What its replacements and a restart are of is what its slot has.
#[test]
fn each_slot_keeps_its_own_while_it_holds() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "1", &["two"]), 0, "ok canary holds ");
    is(&ask(&fd3, &["restart", "0"]), 0, "ok restarted slot=0 ");
    fd3.nth_line("slot 0 is two", 1);
    is(&ask(&fd3, &["restart", "1"]), 0, "ok restarted slot=1 ");
    fd3.nth_line("slot 1 is one", 1);
    // A crash elsewhere is none of its own.
    kill(fd3.worker(2), libc::SIGKILL);
    fd3.nth_line("slot 2 is one", 1);
    is(&ask(&fd3, &["scale", "4"]), 0, "ok scaled ");
    fd3.line("slot 3 is one");
    is(&ask(&fd3, &["scale", "1"]), 0, "ok scaled ");
    is(&ask(&fd3, &["rollback"]), 0, "ok rolled back generation=1 ");
    fd3.nth_line("slot 0 is one", 1);
    assert_eq!(fd3.count("canary failed"), 0, "{}", fd3.log());
}

/// The files are not read anew: what is promoted is what was tried out.
#[test]
fn promoted_is_what_was_loaded() {
    let folder = Folder::new();
    let variables = folder.file("env", "A=1\n", 0o644);
    let script = format!("import os; print('A is', os.environ['A'], flush=True){WORKER}");
    let words = ["-w", "2", "--ready", "notify", "--overlap", "0ms", "--env-file", &variables];
    let fd3 = run(&[&words[..], &["--", python(), "-I", "-c", &script]].concat());
    fd3.ready(2);
    folder.file("env", "A=2\n", 0o644);
    is(&ask(&fd3, &["reload", "--canary", "1"]), 0, "ok canary holds ");
    fd3.line("A is 2");
    folder.file("env", "A=3\n", 0o644);
    is(&ask(&fd3, &["promote"]), 0, "ok promoted ");
    fd3.nth_line("A is 2", 1);
    is(&ask(&fd3, &["reload"]), 0, "ok reloaded generation=3 ");
    fd3.nth_line("A is 3", 1);
}

/// A signal waits until it is decided, and is not lost.
#[test]
fn a_hup_comes_after_it() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "1", &["two"]), 0, "ok canary holds ");
    fd3.signal(libc::SIGHUP);
    fd3.line("reload waits until the canary is promoted or rolled back");
    fd3.signal(libc::SIGUSR1);
    has(&fd3, ["2", "1", "1"]);
    is(&ask(&fd3, &["promote"]), 0, "ok promoted generation=2 ");
    fd3.line("reloaded after=");
    fd3.nth_line("reloaded after=", 1);
    fd3.nth_line("slot 2 is two", 1);
    has(&fd3, ["3", "3", "3"]);
    assert_eq!(fd3.count("reload waits until the canary"), 1, "{}", fd3.log());
}

#[test]
fn a_stop_ends_it() {
    let mut fd3 = start(&[]);
    is(&canary(&fd3, "1", &["two"]), 0, "ok canary holds ");
    fd3.signal(libc::SIGHUP);
    fd3.line("reload waits until the canary is promoted or rolled back");
    assert_eq!(fd3.stop(), 0);
    assert_eq!(fd3.count("canary rolled back") + fd3.count("reloading generation=3"), 0);
}

/// Who promotes one is told as well.
#[test]
fn a_stop_ends_its_promotion() {
    let mut fd3 = start(&[]);
    is(&canary(&fd3, "1", &["waits"]), 0, "ok canary holds ");
    let mut promotes = Fd3::start(client(&fd3, &["promote", "-v"]));
    fd3.line("slot 1 is waits");
    assert_eq!(fd3.stop(), 0);
    promotes.line("fd3: promote failed: fd3 stops");
    assert_eq!(promotes.exit(), 1);
}

/// In each mode, with clients at work: no request fails.
#[test]
fn no_request_is_lost_in_whole_generations() {
    loses_nothing("all");
}

#[test]
fn no_request_is_lost_slot_by_slot() {
    loses_nothing("1");
}

#[test]
fn no_request_is_lost_with_the_old_worker_gone_first() {
    loses_nothing("0");
}

fn loses_nothing(surge: &str) {
    const CLIENTS: usize = 10;
    let words = ["-l", "127.0.0.1:0", "-w", "3", "--ready", "notify", "--overlap", "20ms"];
    let mut fd3 = run(&[&words[..], &["--surge", surge, "--", &http_server()]].concat());
    fd3.ready(3);
    let seen = Clients::run(fd3.port(), CLIENTS, Kept::StaysOpen, |clients| {
        for round in 0..4 {
            clients.wait_for_answers(20 * CLIENTS);
            is(&ask(&fd3, &["reload", "--canary", "1"]), 0, "ok canary holds ");
            clients.wait_for_answers(20 * CLIENTS);
            let (decide, begin) =
                [("promote", "ok promoted "), ("rollback", "ok rolled back ")][round % 2];
            is(&ask(&fd3, &[decide]), 0, begin);
        }
        clients.wait_for_answers(20 * CLIENTS);
    });
    assert!(seen.answered_by.len() >= 6, "{seen:?}");
    assert_eq!(fd3.count("worker exited") - fd3.count(" status=0 "), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}
