//! `fd3 reload -- COMMAND` and `--if-generation`: another command line counts once it serves, and not before.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Stdio;

use crate::harness::{
    FD3, Fd3, Folder, PATIENCE, code, command, exists, field, kill, run, stderr_of,
};
use crate::refused::refused;
use crate::world::python;

/// Says that it is ready, with its arguments; or, told so by the first one, ends before.
const WORKER: &str = "
import os, signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
if sys.argv[1:2] == ['fail']: sys.exit(3)
print('args', [os.fsencode(word) for word in sys.argv[1:]], flush=True)
address = '\\0' + os.environ['NOTIFY_SOCKET'][1:]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', address)
signal.sigwait([signal.SIGTERM])
";

fn start(words: &[&str]) -> (Fd3, Vec<String>) {
    let quick = ["--ready", "notify", "--overlap", "0ms", "--backoff", "1ms..1ms"];
    let worker = [python(), "-I", "-c", WORKER];
    let fd3 = run(&[&quick, words, &["--"], &worker, &["one"]].concat());
    (fd3, worker.map(str::to_string).to_vec())
}

fn reload(fd3: &Fd3, words: &[&str], worker: &[String], arguments: &[&str]) -> (i32, String) {
    let mut client = command(FD3);
    client.args(["reload", "--pid", &fd3.pid().to_string()]).args(words);
    if !worker.is_empty() {
        client.arg("--").args(worker).args(arguments);
    }
    let output = client.stdin(Stdio::null()).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (code(output.status), stdout + &stderr_of(&output))
}

fn is_done(told: &(i32, String), generation: u32) {
    let begin = format!("ok reloaded generation={generation} ");
    assert!(told.0 == 0 && told.1.starts_with(&begin), "{told:?}");
}

/// A plain reload and a crash start the one that served last.
#[test]
fn another_command_counts_once_it_serves() {
    let (fd3, worker) = start(&["-w", "2"]);
    fd3.ready(2);
    let odd = ["two", "", "a b", "100%", "\u{e9}\n", "--now", "-"];
    is_done(&reload(&fd3, &[], &worker, &odd), 2);
    let told = r"args [b'two', b'', b'a b', b'100%', b'\xc3\xa9\n', b'--now', b'-']";
    fd3.nth_line(told, 1);
    is_done(&reload(&fd3, &[], &[], &[]), 3);
    fd3.nth_line(told, 3);
    // One that fails changes nothing.
    let (status, said) = reload(&fd3, &[], &worker, &["fail"]);
    assert!(status == 1 && said.contains("exited with status 3"), "{said}");
    let (status, said) = reload(&fd3, &[], &["/no/such/program".into()], &[]);
    assert!(status == 1 && said.starts_with("fd3: reload refused: nothing is changed: "), "{said}");
    kill(fd3.worker(4), libc::SIGKILL);
    fd3.nth_line(told, 4);
    is_done(&reload(&fd3, &[], &[], &[]), 5);
    fd3.nth_line(told, 6);
    // And back.
    is_done(&reload(&fd3, &[], &worker, &["one"]), 6);
    fd3.nth_line("args [b'one']", 3);
    fd3.signal(libc::SIGHUP);
    fd3.nth_line("args [b'one']", 5);
}

/// Its options come from there; the command does not.
#[test]
fn the_files_are_read_anew_for_another_command() {
    let folder = Folder::new();
    let variables = folder.file("env", "A=1\n", 0o644);
    let conf = folder.file("conf", &format!("env-file {variables}\n"), 0o644);
    let (fd3, _) = start(&["--config", &conf]);
    fd3.ready(1);
    folder.file("env", "A=2\n", 0o644);
    let says = format!("import os; print('A is', os.environ['A'], flush=True){WORKER}");
    let worker = [python(), "-I", "-c", &says].map(str::to_string);
    is_done(&reload(&fd3, &[], &worker, &[]), 2);
    fd3.line("A is 2");
    // A broken file refuses the command with it.
    folder.file("conf", "workers\n", 0o644);
    let (status, said) = reload(&fd3, &[], &worker, &["three"]);
    assert!(status == 1 && said.contains("needs a value"), "{said}");
    folder.file("conf", &format!("env-file {variables}\n"), 0o644);
    is_done(&reload(&fd3, &[], &[], &[]), 3);
    fd3.nth_line("A is 2", 1);
    assert_eq!(fd3.count("three"), 0, "{}", fd3.log());
}

#[test]
fn slots_that_had_no_turn_keep_their_command() {
    let (fd3, worker) = start(&["-w", "2", "--surge", "1"]);
    let old = fd3.ready(2);
    // The first one serves, and every other one fails.
    let script = format!("import os, sys\nif os.environ['FD3_SLOT'] == '1': sys.exit(3){WORKER}");
    let half = [python(), "-I", "-c", &script].map(str::to_string);
    let (status, said) = reload(&fd3, &[], &half, &["half"]);
    assert!(status == 1 && said.contains("1 slots are replaced"), "{said}");
    fd3.line("args [b'half']");
    assert!(exists(fd3.worker(1)) && old.contains(&fd3.worker(1)));
    // A crash of either is mended from what its slot has; a reload starts what served everywhere.
    kill(fd3.worker(2), libc::SIGKILL);
    fd3.nth_line("args [b'half']", 1);
    is_done(&reload(&fd3, &[], &[], &[]), 3);
    fd3.nth_line("args [b'one']", 3);
    is_done(&reload(&fd3, &[], &worker, &["two"]), 4);
}

#[test]
fn who_was_overtaken_is_refused() {
    let (fd3, worker) = start(&[]);
    fd3.ready(1);
    is_done(&reload(&fd3, &["--if-generation", "1"], &[], &[]), 2);
    let why = "fd3: reload refused: nothing is changed: cannot reload on these terms: ";
    let late = (1, format!("{why}generation 2 serves by now, not 1\n"));
    assert_eq!(reload(&fd3, &["--if-generation", "1"], &worker, &["late"]), late);
    assert_eq!(reload(&fd3, &["--if-generation", "1", "--no-wait"], &[], &[]), late);
    is_done(&reload(&fd3, &["--if-generation", "2"], &worker, &["two"]), 3);
    assert_eq!((fd3.count("late"), fd3.count("reloading generation")), (0, 2));
}

/// While one runs, one more may wait with a command; and who insists on a generation has come too late.
#[test]
fn one_command_at_a_time() {
    let never = "import time; print('waits', flush=True); time.sleep(1000)";
    let words = ["--ready", "notify", "--start-timeout", "none", "--control"];
    let control = format!("unix:@fd3-test-deploy-{}", std::process::id());
    let mut fd3 = run(&[&words[..], &[&control, "--", python(), "-I", "-c", never]].concat());
    fd3.line("waits");
    let client = |words: &[&str]| {
        let mut client = command(FD3);
        client.args(["reload", "--control", &control]).args(words);
        client
    };
    let said = |words: &[&str]| stderr_of(&client(words).output().expect("it starts"));
    let first = Fd3::start(client(&["-v", "--", "sleep", "1000"]));
    first.line("reloading generation=2");
    let mut second = connect(control.trim_start_matches("unix:@"));
    second.write_all(b"reload -- sleep 1001\n").expect("it listens");
    // Whoever comes later is heard later.
    let why = "fd3: reload refused: nothing is changed: cannot reload on these terms: ";
    let late = said(&["--if-generation", "1"]);
    assert_eq!(late, format!("{why}somebody else reloads\n"));
    let refused = said(&["--no-wait", "--", "sleep", "1002"]);
    assert_eq!(refused, format!("{why}another COMMAND waits for its turn\n"));
    // The first one never serves; the next one is tried when it has failed.
    kill(fd3.worker(1), libc::SIGKILL);
    first.line("reload failed: ");
    fd3.line("reloading generation=3");
    assert_eq!(fd3.stop(), 0);
    let mut answer = String::new();
    second.read_to_string(&mut answer).expect("it answers");
    assert_eq!(answer, "failed fd3 stops\n");
}

fn connect(name: &str) -> UnixStream {
    let name = SocketAddr::from_abstract_name(name).expect("it is short");
    let stream = UnixStream::connect_addr(&name).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// As long as a line may be, and a byte more.
#[test]
fn a_long_command_is_taken_and_a_longer_one_is_not() {
    let (fd3, _) = start(&[]);
    fd3.ready(1);
    let address = field(&fd3.line("control socket address="), "address").replace("unix:@", "");
    let ask = |length: usize| {
        let mut line = b"reload -- /no/such/".to_vec();
        line.resize(length, b'x');
        let mut stream = connect(&address);
        stream.write_all(&[&line[..], b"\n"].concat()).expect("it listens");
        let mut answer = [0; 60];
        let count = stream.read(&mut answer).expect("it answers");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(ask(65_536).starts_with("refused nothing is changed: cannot execute /no/such/xx"));
    assert_eq!(ask(65_537), "error a longer line than 65536 bytes\n");
}

#[test]
fn what_is_no_command_is_refused_at_once() {
    let table: [(&[&str], &str); 4] = [
        (&["reload", "--"], "COMMAND: missing behind --"),
        (&["reload", "sleep", "1"], "reload \"sleep\": one word too many; accepted: nothing more"),
        (
            &["reload", "--if-generation", "0"],
            "reload --if-generation \"0\": accepted: 1 to 4294967295",
        ),
        (
            &["reload", "--if-generation=x"],
            "reload --if-generation \"x\": accepted: 1 to 4294967295",
        ),
    ];
    for (words, said) in table {
        refused(words, 2, said);
    }
}
