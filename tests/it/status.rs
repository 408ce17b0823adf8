//! `fd3 status`: what it tells is so, and whoever asks for it, however slowly, holds nobody up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::guard::sleeps_on;
use crate::harness::{
    FD3, Fd3, Folder, PATIENCE, code, command, field, kill, run, stderr_of, until,
};
use crate::world::{can_unshare, python};

/// Prints the values of these expressions of a JSON document `s` on stdin, one a line.
const JSON: &str = "
import json, sys
s = json.load(sys.stdin)
for expression in sys.argv[1:]: print(eval(expression))
";

fn status(fd3: &Fd3, words: &[&str]) -> (i32, String) {
    let mut client = command(FD3);
    client.args(["status", "--pid", &fd3.pid().to_string()]).args(words);
    let output = client.stdin(Stdio::null()).output().expect("the client starts");
    let stdout = String::from_utf8(output.stdout.clone()).expect("it is text");
    (code(output.status), stdout + &stderr_of(&output))
}

/// What these expressions are in the document.
fn values(document: &str, expressions: &[&str]) -> Vec<String> {
    let mut json = command(python());
    json.args(["-I", "-c", JSON]).args(expressions);
    let mut json = json.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    json.stdin.take().expect("a pipe").write_all(document.as_bytes()).expect("it reads");
    let output = json.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{document}");
    let told = String::from_utf8(output.stdout).expect("it is text");
    told.lines().map(str::to_string).collect()
}

fn value(fd3: &Fd3, expression: &str) -> String {
    let (code, document) = status(fd3, &["--json"]);
    assert_eq!(code, 0, "{document}");
    values(&document, &[expression]).concat()
}

fn connect(fd3: &Fd3) -> UnixStream {
    let address = field(&fd3.line("control socket address="), "address");
    let name = address.strip_prefix("unix:@").expect("it is abstract");
    let name = SocketAddr::from_abstract_name(name).expect("it is short");
    let stream = UnixStream::connect_addr(&name).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// As `nc -U` does it.
fn asked(fd3: &Fd3, line: &str) -> UnixStream {
    let mut stream = connect(fd3);
    stream.write_all(line.as_bytes()).expect("it listens");
    stream
}

fn whole(mut stream: UnixStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("it is text, and ends");
    all
}

const QUICK: [&str; 6] = ["--ready", "0ms", "--overlap", "0ms", "--backoff", "1ms..1ms"];

#[test]
fn a_table_tells_of_every_slot_and_listener() {
    let folder = Folder::new();
    let (socket, says) = (folder.path("web.sock"), "STATUS=Processing \\\"requests\\\"\nREADY=1");
    let script = format!(
        "
import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(\"\"\"{says}\"\"\".encode(), '\\0' + os.environ['NOTIFY_SOCKET'][1:])
signal.sigwait([signal.SIGTERM])"
    );
    let (path, pid) = (format!("unix:{socket},name=web,backlog=7"), "--ready=notify");
    let words = ["-l", "127.0.0.1:0,backlog=5", "-l", &path, "-l", "udp://127.0.0.1:0", "-w", "2"];
    let fd3 = run(&[&words[..], &[pid, "--", python(), "-I", "-c", &script]].concat());
    fd3.ready(2);
    let workers = [fd3.worker(0), fd3.worker(1)];
    // Nobody accepts them.
    let tcp: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", fd3.port()))).collect();
    let unix: Vec<_> = (0..2).map(|_| UnixStream::connect(&socket)).collect();
    assert!(tcp.iter().all(Result::is_ok) && unix.iter().all(Result::is_ok));
    let (code, table) = status(&fd3, &[]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((code, lines.len()), (0, 11), "{table}");
    let lines = [&lines[..1], &lines[2..]].concat();
    let command = table.lines().nth(1).expect("it has lines");
    let begin = format!("COMMAND      {} -I -c ?import os, signal, socket?", python());
    assert!(command.starts_with(&begin) && command.ends_with("..."), "{table}");
    let first = format!("fd3 {}, generation 1: 2 of 2 slots ready, up ", fd3.pid());
    assert!(lines[0].starts_with(&first), "{table}");
    assert_eq!(lines[1], "QUEUE        LISTENER");
    assert_eq!(lines[2], format!("3/5          tcp://127.0.0.1:{}", fd3.port()));
    assert_eq!(lines[3], format!("2/7          unix:{socket} web"));
    assert!(lines[4].starts_with("-            udp://127.0.0.1:"), "{table}");
    assert_eq!(lines[5], "SLOT PID     GEN  STATE    AGE      RESTARTS MEMORY LAST END");
    for (slot, pid) in workers.iter().enumerate() {
        let row = lines[6 + 2 * slot];
        let begin = format!("{slot}    {pid:<7} 1    ready    ");
        assert!(row.starts_with(&begin) && row.ends_with(" -"), "{row}");
        assert_eq!(lines[7 + 2 * slot], "     Processing \"requests\"");
    }
    assert!(table.is_ascii() && lines.iter().all(|line| line.len() <= 80), "{table}");
    // The same without the client, with the word that ends it.
    let plain = whole(asked(&fd3, "status\n"));
    assert!(plain.starts_with(&first) && plain.ends_with("\nok\n"), "{plain}");
    let (code, document) = status(&fd3, &["--json"]);
    assert_eq!((code, document.lines().count()), (0, 1));
    let expressions = [
        "[(l['fd'], l['name'], l['queue'], l['backlog']) for l in s['listeners']]",
        "[w['pid'] for slot in s['slots'] for w in slot['workers']]",
        "[w['status'] for slot in s['slots'] for w in slot['workers']]",
        "all(2**20 < w['memory_bytes'] < 2**30 for slot in s['slots'] for w in slot['workers'])",
        "s['command'][1:3], len(s['command'])",
        "s['state'], s['workers'], s['ready'], s['generation'], s['reload'], s['pid']",
    ];
    let fd3_pid = fd3.pid();
    assert_eq!(
        values(&document, &expressions),
        [
            "[(3, 'unknown', 3, 5), (4, 'web', 2, 7), (5, 'unknown', None, None)]".to_string(),
            format!("{workers:?}"),
            "['Processing \"requests\"', 'Processing \"requests\"']".to_string(),
            "True".to_string(),
            "(['-I', '-c'], 4)".to_string(),
            format!("('running', 2, 2, 1, None, {fd3_pid})"),
        ]
    );
}

#[test]
fn what_became_of_a_worker_is_told() {
    let folder = Folder::new();
    let worker = folder.file("worker", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let words = ["-w", "2", "--ready", "0ms", "--backoff", "1h..1h", "--", &worker];
    let fd3 = run(&words);
    let pids = fd3.ready(2);
    assert_eq!(value(&fd3, "s['slots'][0]['last_end'], s['slots'][0]['restarts']"), "(None, 0)");
    kill(pids[1], libc::SIGSEGV);
    fd3.line("worker exited");
    let slot = "s['slots'][1]";
    let signal = format!("{slot}['last_end']['signal'], {slot}['last_end']['exit_code']");
    assert_eq!(value(&fd3, &signal), "('SIGSEGV', None)");
    let state = format!("{slot}['state'], {slot}['restarts'], {slot}['workers'], s['ready']");
    assert_eq!(value(&fd3, &state), "('backoff', 1, [], 1)");
    assert_eq!(value(&fd3, &format!("{slot}['next_start_ms'] > 3000000")), "True");
    let (_, table) = status(&fd3, &[]);
    let row = table.lines().last().expect("it has lines");
    assert!(row.starts_with("1    -       -    backoff  in 59m"), "{row}");
    assert!(row.contains(" 1        -      SIGSEGV, "), "{row}");
}

#[test]
fn a_reload_is_told_while_it_runs() {
    let mut fd3 = run(&["-w", "2", "--ready", "0ms", "--overlap", "1h", "--", "sleep", "1000"]);
    fd3.ready(2);
    fd3.signal(libc::SIGHUP);
    let workers = fd3.ready(4);
    let (_, document) = status(&fd3, &["--json"]);
    let told = values(
        &document,
        &[
            "s['state'], s['generation'], s['reload']['generation'], s['reload']['slots_left']",
            "[(w['role'], w['generation'], w['state']) for w in s['slots'][1]['workers']]",
            "sorted(w['pid'] for slot in s['slots'] for w in slot['workers'])",
        ],
    );
    let mut sorted = workers;
    sorted.sort_unstable();
    assert_eq!(told[0], "('reloading', 1, 2, 2)");
    assert_eq!(told[1], "[('holder', 1, 'ready'), ('newcomer', 2, 'ready')]");
    assert_eq!(told[2], format!("{sorted:?}"));
    assert_eq!(fd3.stop(), 0);
}

/// Ten thousand slots without a worker: an answer of a megabyte.
fn start_large(name: &str) -> Fd3 {
    let control = format!("unix:@fd3-test-status-{name}-{}", std::process::id());
    let words = ["--start", "on-demand", "-l", "127.0.0.1:0", "-w", "10000", "--control", &control];
    run(&[&words[..], &["--", "sleep", "1000"]].concat())
}

fn resident(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number")
}

#[test]
fn slow_clients_cost_nothing_and_make_room_for_others() {
    let mut fd3 = start_large("slow");
    let all = whole(asked(&fd3, "status --json\n"));
    let expression = "[slot['slot'] for slot in s['slots']] == list(range(10000))";
    assert_eq!(values(&all, &[expression, "s['workers']"]), ["True", "10000"]);
    assert!(all.len() > 900_000, "{}", all.len());
    let before = resident(fd3.pid());
    let mut slow: Vec<UnixStream> = (0..16).map(|_| asked(&fd3, "status --json\n")).collect();
    for stream in &mut slow {
        // It was begun.
        stream.read_exact(&mut [0; 10]).expect("it answers");
    }
    sleeps_on(&fd3, || {});
    assert!(resident(fd3.pid()) < before + 100, "{} and {before}", resident(fd3.pid()));
    // Whoever comes next is answered, and the oldest of them is not.
    assert!(whole(asked(&fd3, "status --json\n")).ends_with("]}\n"));
    let mut rest = slow.split_off(1);
    let cut_off = whole(slow.remove(0));
    assert!(!cut_off.ends_with("]}\n") && cut_off.len() < 900_000, "{}", cut_off.len());
    // Those who only took their time get all of it; those who leave are forgotten.
    let latest = whole(rest.pop().expect("fifteen"));
    assert!(latest.ends_with("]}\n") && latest.len() > 900_000, "{}", latest.len());
    drop(rest);
    until("fd3 has let go of them", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", fd3.pid())).expect("it runs");
        open.count() < 16
    });
    sleeps_on(&fd3, || {});
    assert_eq!(fd3.stop(), 0);
}

/// Nobody's worker waits for those who read.
#[test]
fn work_goes_on_while_many_are_told() {
    let mut fd3 = run(&[&QUICK[..], &["-w", "30", "--", "sleep", "1000"]].concat());
    fd3.ready(30);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let table = whole(asked(&fd3, "status\n"));
                    assert!(table.ends_with("ok\n"), "{table}");
                }
            });
        }
        for n in 0..10 {
            kill(fd3.worker(n), libc::SIGKILL);
            fd3.nth_line("worker ready", 30 + n);
        }
    });
    assert_eq!(value(&fd3, "sum(slot['restarts'] for slot in s['slots'])"), "10");
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn where_proc_shows_others_memory_is_not_told() {
    if !can_unshare(&["--pid", "--fork"]) {
        return;
    }
    let control = format!("unix:@fd3-test-status-proc-{}", std::process::id());
    let mut unshare = command("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", FD3, "run", "-v", "--ready", "0ms"]);
    unshare.args(["--control", &control, "--", "sleep", "1000"]);
    let fd3 = Fd3::start(unshare);
    fd3.ready(1);
    let document = whole(asked(&fd3, "status --json\n"));
    assert_eq!(values(&document, &["s['slots'][0]['workers'][0]['memory_bytes']"]), ["None"]);
}

/// A terminal of this client's own; what it shows there.
const TERMINAL: &str = "
import os, subprocess, sys
terminal, its = os.openpty()
status = subprocess.run(sys.argv[1:], stdin=its, stdout=its, stderr=its).returncode
os.close(its)
try:
    # What is on its way comes before the error that is the end.
    while True: os.write(1, os.read(terminal, 65536))
except OSError: sys.exit(status)";

fn on_a_terminal(fd3: &Fd3, set: (&str, &str)) -> String {
    let mut client = command(python());
    client.args(["-I", "-c", TERMINAL, FD3, "status", "--pid", &fd3.pid().to_string()]);
    client.env_remove("NO_COLOR").env("TERM", "xterm").env(set.0, set.1);
    String::from_utf8(client.output().expect("python starts").stdout).expect("it is text")
}

#[test]
fn only_a_terminal_has_colours() {
    let fd3 = run(&[&QUICK[..], &["--", "sleep", "1000"]].concat());
    fd3.ready(1);
    let coloured = on_a_terminal(&fd3, ("COLUMNS", "80"));
    assert!(coloured.contains(" \x1b[32mready\x1b[0m "), "{coloured}");
    for set in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_a_terminal(&fd3, set);
        assert!(plain.contains(" ready ") && !plain.contains('\x1b'), "{plain}");
    }
    assert!(!status(&fd3, &[]).1.contains('\x1b'));
}

fn watch(fd3: &Fd3) -> Command {
    let mut client = command(FD3);
    client.args(["status", "--watch", "--pid", &fd3.pid().to_string()]).stdin(Stdio::null());
    client
}

#[test]
fn watching_tells_again_and_again_until_somebody_ends() {
    let mut fd3 = run(&[&QUICK[..], &["--", "sleep", "1000"]].concat());
    fd3.ready(1);
    let mut client = watch(&fd3).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let tables = lines.by_ref().filter(|line| line.as_ref().is_ok_and(|l| l.starts_with("fd3 ")));
    assert_eq!(tables.take(2).count(), 2);
    drop(lines);
    assert_eq!(client.wait().expect("it ends").code(), Some(0));
    let mut client = Fd3::start(watch(&fd3));
    client.line("generation 1");
    assert_eq!(fd3.stop(), 0);
    assert_eq!(client.exit(), 3);
    client.line("no fd3 found");
}

/// It is gone, whichever moment of a look that was: not one of those that say that something went wrong.
#[test]
fn watching_ends_with_who_ends_while_it_is_asked() {
    let folder = Folder::new();
    let path = folder.path("control");
    let listener = UnixListener::bind(&path).expect("the folder is ours");
    let mut client = command(FD3);
    client.args(["status", "--watch", "--control", &format!("unix:{path}")]);
    let mut client = Fd3::start(client);
    let (mut first, _) = listener.accept().expect("it asks");
    first.write_all(b"generation 1\nok\n").expect("it listens");
    client.line("generation 1");
    let (second, _) = listener.accept().expect("it asks again");
    std::fs::remove_file(&path).expect("the folder is ours");
    drop((listener, second));
    assert_eq!(client.exit(), 3, "{}", client.log());
    client.line("cannot connect to");
}

#[test]
fn an_answer_that_nobody_can_be_shown_is_an_error() {
    let fd3 = run(&[&QUICK[..], &["--", "sleep", "1000"]].concat());
    fd3.ready(1);
    let mut client = crate::world::shell("exec >/dev/full");
    let output = client.args(["status", "--pid", &fd3.pid().to_string()]).output().expect("sh");
    let said = "fd3: cannot write to stdout: no space left on device\n";
    assert_eq!((output.status.code(), stderr_of(&output).as_str()), (Some(1), said));
}
