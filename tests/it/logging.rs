//! What fd3 writes, and what becomes of it when nobody reads, nobody can, or the reader is a machine.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::harness::{
    FD3, Fd3, Folder, children, code, command, is_named, kill, output, run, stderr_of, until,
};
use crate::refused::refused;
use crate::world::{can_unshare, python, shell};

/// Python gives fd3 a stderr that is made by `make`, which leaves it in `made`; then becomes `$@`.
fn with_stderr(make: &str, words: &[&str]) -> Command {
    let script = format!(
        "import os, socket, sys\n{make}\nos.dup2(made, 2, inheritable=True)\n\
         os.execvp(sys.argv[1], sys.argv[1:])"
    );
    let mut wrapper = command(python());
    wrapper.args(["-I", "-c", &script]).args(words);
    wrapper
}

/// A pipe that is full and that nobody reads, kept from being broken until our stdin is closed.
const FULL_PIPE: &str = "
r, made = os.pipe()
os.set_blocking(made, False)
try:
    while True: os.write(made, b'x' * 4096)
except BlockingIOError: pass
os.set_blocking(made, True)
if not os.fork():
    os.close(made)
    os.read(0, 1)
    os._exit(0)";

/// Workers killed and replaced while nobody reads.
const ROUNDS: usize = 8;

/// A pipe's bytes as they come.
fn follow(mut from: std::fs::File) -> Arc<Mutex<Vec<u8>>> {
    let (all, seen) = (Arc::new(Mutex::new(Vec::new())), [0; 4096]);
    let (to, mut part) = (all.clone(), seen);
    std::thread::spawn(move || {
        while let Ok(length @ 1..) = from.read(&mut part) {
            to.lock().expect("nobody panics here").extend_from_slice(&part[..length]);
        }
    });
    all
}

fn has(bytes: &Mutex<Vec<u8>>, text: &str) -> bool {
    let bytes = bytes.lock().expect("no reader panics");
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Kills one worker after another; each must be replaced.
fn replace_workers(fd3: i32) {
    let worker = || children(fd3).into_iter().find(|pid| is_named(*pid, "sleep"));
    for _ in 0..ROUNDS {
        until("a worker runs", || worker().is_some());
        let before = worker().expect("there is one");
        kill(before, libc::SIGKILL);
        until("it is replaced", || worker().is_some_and(|pid| pid != before));
    }
}

/// Supervises without a word: replaces its workers, ends when told to.
fn supervises_in_silence(mut wrapper: Command) {
    wrapper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = wrapper.spawn().expect("the wrapper starts");
    let fd3 = child.id() as i32;
    until("fd3 runs", || is_named(fd3, "fd3"));
    replace_workers(fd3);
    kill(fd3, libc::SIGTERM);
    assert_eq!(code(child.wait().expect("it is our child")), 0);
}

const SUPERVISED: [&str; 9] =
    ["run", "-v", "--backoff", "1ms..1ms", "--respawn-limit", "none", "--", "sleep", "1000"];

#[test]
fn a_stderr_that_takes_nothing_does_not_hold_up_fd3() {
    let words = [&[FD3][..], &SUPERVISED].concat();
    for make in [
        "r, made = os.pipe(); os.close(r)",
        "made = os.open('/dev/full', os.O_WRONLY)",
        "made = os.open('/dev/null', os.O_RDONLY)",
        "a, b = socket.socketpair(); b.close(); made = a.detach()",
        "a, b = socket.socketpair(); made = a.detach()\nos.set_blocking(made, False)\n\
         try:\n    while True: os.write(made, b'x' * 4096)\nexcept BlockingIOError: pass\n\
         os.set_blocking(made, True); os.set_inheritable(b.fileno(), True); os.dup2(b.detach(), 0)",
    ] {
        supervises_in_silence(with_stderr(make, &words));
    }
    let mut closed = shell("exec 2>&-");
    closed.args(SUPERVISED);
    supervises_in_silence(closed);
}

/// Other programs share the pipe and expect it to wait: its flags are not fd3's to change.
#[test]
fn a_full_stderr_costs_lines_only_which_are_told_of_later() {
    let without_proc = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", without_proc];
    for before in [&[][..], &namespace] {
        if !before.is_empty() && !can_unshare(&["--mount"]) {
            return;
        }
        let words = [before, &[FD3][..], &SUPERVISED].concat();
        let mut wrapper = with_stderr(FULL_PIPE, &words);
        wrapper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = wrapper.spawn().expect("python starts");
        let fd3 = child.id() as i32;
        until("fd3 runs", || is_named(fd3, "fd3"));
        replace_workers(fd3);
        let flags = std::fs::read_to_string(format!("/proc/{fd3}/fdinfo/2")).expect("it is open");
        assert!(flags.contains("flags:\t01\n") || flags.contains("flags:\t0100001\n"), "{flags}");
        // Now somebody reads.
        let pipe = std::fs::File::open(format!("/proc/{fd3}/fd/2")).expect("pipes can be opened");
        let log = follow(pipe);
        until("it is empty", || log.lock().is_ok_and(|bytes| bytes.len() >= 61_440));
        replace_workers(fd3);
        until("the loss is told", || has(&log, "fd3: log lines were lost count="));
        until("the log goes on", || has(&log, "fd3: worker started"));
        kill(fd3, libc::SIGTERM);
        assert_eq!(code(child.wait().expect("it is our child")), 0);
        until("the last line is told", || has(&log, "fd3: worker exited"));
        // Ends the one that kept the pipe from being closed.
        drop(child.stdin.take());
    }
}

#[test]
fn a_file_and_a_socket_take_every_line() {
    let folder = Folder::new();
    let path = folder.path("log");
    let mut wrapper = shell(&format!("exec 2>>{path}"));
    let none = if cfg!(feature = "control") { &["--control", "none"][..] } else { &[] };
    wrapper.args(["run", "-v"]).args(none).args(["--restart", "never", "/bin/true"]);
    assert!(wrapper.status().expect("sh starts").success());
    let log = std::fs::read_to_string(&path).expect("fd3 wrote there");
    assert_eq!(log.lines().count(), 2, "{log}");
    // No child of fd3's, which would be told to stop at the end, perhaps before it has passed on all.
    let make = "a, b = socket.socketpair(); made = a.detach()
if not os.fork():
    if os.fork(): os._exit(0)
    os.close(made)
    while True:
        got = b.recv(65536)
        if not got: os._exit(0)
        os.write(1, got)
os.wait(); b.close()";
    let mut fd3 =
        Fd3::start(with_stderr(make, &[FD3, "run", "-v", "--restart", "never", "/bin/true"]));
    fd3.line("fd3: worker started");
    fd3.line("fd3: worker exited");
    assert_eq!(fd3.exit(), 0);
}

/// A file that may not grow: the kernel says so by a signal, too, which is no order of anybody's.
#[test]
fn a_file_at_its_limit_costs_lines_only() {
    let folder = Folder::new();
    let path = folder.path("log");
    let mut wrapper = shell(&format!("ulimit -f 0; exec 2>>{path}"));
    wrapper.args(["run", "-v", "--restart", "never", "--", "sh", "-c", "exit 3"]);
    assert_eq!(code(wrapper.status().expect("sh starts")), 3);
}

#[test]
fn json_lines_are_json_whatever_they_tell() {
    let folder = Folder::new();
    let odd = "q\"b\\c\n\t\u{1}\u{7f}\u{85}\u{2028}é=";
    let listen = format!("unix:{},name=a\"b\\c =", folder.path(odd));
    let words =
        ["--log", "json", "-l", &listen, "--backoff", "1ms..1ms", "--respawn-limit", "2/60s"];
    let crash = ["--", "sh", "-c", "rm -f \"$0\"; exit 9", &folder.path(odd)];
    let mut fd3 = run(&[&words[..], &crash].concat());
    assert_eq!(fd3.exit(), 9);
    let told = parsed(&fd3.log());
    assert!(told.contains("giving up: too many restarts|0|None"), "{told}");
    assert!(told.contains("|unix:"), "{told}");
}

/// What python makes of JSON lines: message, slot and address of each.
fn parsed(lines: &str) -> String {
    let script = "
import json, sys
for line in sys.stdin.buffer.read().decode('utf-8').split('\\n'):
    if line:
        o = json.loads(line, object_pairs_hook=lambda p: dict(p) if len(dict(p)) == len(p) else 1 / 0)
        assert list(o)[:3] == ['time', 'level', 'message'] and isinstance(o['time'], float), line
        assert o['level'] in ('error', 'warn', 'notice', 'info'), line
        print(o['message'], o.get('slot'), o.get('address'), sep='|')";
    let folder = Folder::new();
    let file = folder.file("log", lines, 0o600);
    let mut python = command(python());
    python.args(["-I", "-X", "utf8", "-c", script]);
    python.stdin(std::fs::File::open(file).expect("it is there"));
    let output = python.output().expect("python starts");
    assert!(output.status.success(), "{lines}\n{}", stderr_of(&output));
    assert!(lines.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{lines}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_start_that_fails_is_told_in_json_too() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = format!("tcp://{}", taken.local_addr().expect("it is bound"));
    let file = folder.file("conf", "log json\nworkers 0\n", 0o644);
    let cannot_bind = format!("cannot bind {taken}: address in use");
    let bad_line = format!("--config {file}, line 2: workers \"0\": accepted: 1 to 10000, or auto");
    let table: &[(&[&str], i32, &str)] = &[
        (&["--log", "json", "-l", &taken, "true"], 125, &cannot_bind),
        (&["--log", "json", "a\"b"], 127, "cannot execute a\"b: not found in PATH"),
        (&["--log", "json", "/"], 126, "cannot execute /: is a directory"),
        (
            &["--log=json", "-q"],
            2,
            "COMMAND: missing; accepted: fd3 run [OPTIONS] [--] COMMAND [ARG]...",
        ),
        (
            &["--restart", "x", "--log", "json", "true"],
            2,
            "--restart \"x\": accepted: always, on-failure, never",
        ),
        (
            &["--log", "json", "--config", "/nope", "true"],
            2,
            "cannot read --config \"/nope\": no such file or directory",
        ),
        (&["--config", &file, "true"], 2, &bad_line),
    ];
    for (words, status, said) in table {
        let output = output(&[&["run"], *words].concat());
        let stderr = stderr_of(&output);
        assert_eq!(code(output.status), *status, "{stderr}");
        assert!(stderr.contains(",\"level\":\"error\",\"message\":\""), "{stderr}");
        assert_eq!(parsed(&stderr), format!("{said}|None|None\n"));
    }
    // What cannot be taken apart may not have told its format yet.
    refused(
        &["run", "--log", "json", "--bogus"],
        2,
        "--bogus: unknown option; \"fd3 help run\" lists them",
    );
    refused(
        &["run", "--log", "x", "-w", "0", "true"],
        2,
        "--workers \"0\": accepted: 1 to 10000, or auto",
    );
}

#[test]
fn quiet_tells_errors_verbose_tells_all() {
    let script =
        ["--backoff", "1ms..1ms", "--respawn-limit", "1/60s", "-l", "127.0.0.1:0", "--", "false"];
    let table: &[(&[&str], &[&str])] = &[
        (&["-q"], &["worker exited", "giving up"]),
        (&[], &["listening", "worker exited", "worker exited", "giving up"]),
        (
            &["-v"],
            &[
                "control socket",
                "listening",
                "worker started",
                "worker exited",
                "worker started",
                "worker exited",
                "giving up",
            ],
        ),
    ];
    for (words, expected) in table {
        let output = output(&[&["run"], *words, &script].concat());
        let stderr = stderr_of(&output);
        assert_eq!(code(output.status), 1, "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        let is_there = |line: &&&str| cfg!(feature = "control") || **line != "control socket";
        let expected: Vec<&str> = expected.iter().filter(is_there).copied().collect();
        assert_eq!(lines.len(), expected.len(), "{stderr}");
        for (line, beginning) in lines.iter().zip(&expected) {
            assert!(line.starts_with(&format!("fd3: {beginning}")), "{line}");
        }
        // What fd3 ends with is told however quiet it is to be.
        let last = stderr.lines().rfind(|line| line.contains("worker exited"));
        let last = last.expect("there is one");
        assert!(last.contains(" status=1 ") && last.ends_with(" restart=given-up"), "{last}");
    }
}

#[test]
fn bytes_in_names_never_break_a_line() {
    let folder = Folder::new();
    let path = folder.path("a\nfd3: all is well\r\u{1b}[2J");
    let mut fd3 = run(&["-l", &format!("unix:{path}"), "--", "sleep", "1000"]);
    fd3.line("worker started");
    assert_eq!(fd3.stop(), 0);
    assert!(fd3.line("listening").contains("a\\nfd3: all is well"), "{}", fd3.log());
    assert!(!fd3.log().contains(|c: char| c.is_control() && c != '\n'), "{:?}", fd3.log());
}

#[test]
fn an_answer_that_cannot_be_given_is_a_failure() {
    for (to, status, said) in [
        ("/dev/full", 125, "fd3: cannot write to stdout: no space left on device\n"),
        // Nothing there to answer to.
        ("&-", 0, ""),
        ("/dev/null", 0, ""),
    ] {
        for word in ["help", "version", "--help", "-V"] {
            let output = shell(&format!("exec >{to}")).arg(word).output().expect("sh starts");
            assert_eq!((code(output.status), &*stderr_of(&output)), (status, said), "{word} >{to}");
        }
    }
    let mut help = command(FD3);
    help.arg("help").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = help.spawn().expect("fd3 starts");
    drop(child.stdout.take());
    let mut stderr = String::new();
    let _ = child.stderr.take().expect("it is piped").read_to_string(&mut stderr);
    assert_eq!((code(child.wait().expect("it is ours")), &*stderr), (0, ""));
}
