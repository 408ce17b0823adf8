//! Workers that write without end, and readers that do not read: nobody waits but who writes.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use crate::harness::{FD3, Fd3, command, field, kill, until};
use crate::world::{python, shell};

/// What each of these begins with.
const RUN: [&str; 7] = ["run", "-v", "--worker-logs", "prefix", "--ready", "0ms", "--overlap"];

/// Python gives fd3 a stdout that is made by `make`, which leaves it in `made`; then becomes `fd3 run` with `words`.
fn with_stdout(make: &str, words: &[&str]) -> Fd3 {
    let script = format!(
        "import os, socket, sys\n{make}\nos.dup2(made, 1, inheritable=True)\n\
         os.execvp(sys.argv[1], sys.argv[1:])"
    );
    let mut wrapper = command(python());
    wrapper.args(["-I", "-c", &script, FD3]).args(RUN).arg("0s").args(words);
    wrapper.stdout(Stdio::null());
    Fd3::start_beside(wrapper)
}

/// A pipe that is full and that nobody reads, kept from being broken until stdin is closed.
const FULL_PIPE: &str = "
r, made = os.pipe()
os.set_blocking(made, False)
try:
    while True: os.write(made, b'x' * 4096)
except BlockingIOError: pass
os.set_blocking(made, True)
if not os.fork():
    if os.fork(): os._exit(0)
    os.close(made); os.close(2)
    os.read(0, 1)
    os._exit(0)
os.wait()";

/// What fills it.
const FULL: usize = 65_536;

/// Ready, replaced after a crash, reloaded, and stopped when it is told to.
fn is_supervised(mut fd3: Fd3, make: &str) {
    let workers = fd3.ready(4);
    kill(workers[0], libc::SIGKILL);
    fd3.ready(5);
    for before in 0..2 {
        fd3.signal(libc::SIGHUP);
        fd3.nth_line("reloaded after=", before);
    }
    assert_eq!(fd3.stop(), 0, "{make}");
    assert_eq!(fd3.count("did not stop in time"), 0, "{make}: {}", fd3.log());
}

#[test]
fn a_flood_holds_up_nobody() {
    // Where it all goes; where nothing goes, now or ever.
    for make in [
        "made = os.open('/dev/null', os.O_WRONLY)",
        FULL_PIPE,
        "r, made = os.pipe(); os.close(r)",
        "made = os.open('/dev/full', os.O_WRONLY)",
        "a, b = socket.socketpair(); b.close(); made = a.detach()",
    ] {
        is_supervised(with_stdout(make, &["-w", "4", "--", "yes"]), make);
    }
    let mut closed = shell("exec 1>&-");
    closed.args(RUN).args(["0s", "-w", "4", "--", "yes"]);
    is_supervised(Fd3::start_beside(closed), "closed");
}

/// On stderr, where fd3's own lines go as well.
#[test]
fn a_flood_on_stderr_holds_up_nobody() {
    let mut wrapper = shell("exec 2>/dev/null");
    wrapper.args(RUN).args(["0s", "-w", "2", "--", "sh", "-c", "echo up; exec yes >&2"]);
    let mut fd3 = Fd3::start(wrapper);
    fd3.nth_line(": up", 1);
    fd3.signal(libc::SIGHUP);
    fd3.nth_line(": up", 3);
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn what_is_lost_is_told() {
    let make = "made = os.open('/dev/full', os.O_WRONLY)";
    let mut fd3 = with_stdout(make, &["--", "sh", "-c", "echo lost; sleep 1000"]);
    let told = fd3.line("workers' output was lost");
    assert_eq!(
        told,
        "fd3: workers' output was lost stream=stdout lines=1 error=\"no space left on device\""
    );
    assert_eq!(fd3.stop(), 0);
    assert_eq!(fd3.count("was lost"), 1, "{}", fd3.log());
}

/// Who writes waits while nobody reads, and all of it is there in the end. Other programs share the pipe and expect it
/// to wait: its flags are not fd3's to change.
#[test]
fn nothing_is_lost_because_nobody_reads_yet() {
    let script = "
import os, signal
for n in range(20000): os.write(1, b'number %d\\n' % n)
os.write(2, b'all is written\\n')
while True: signal.pause()";
    let mut fd3 = with_stdout(FULL_PIPE, &["-w", "2", "--", python(), "-I", "-c", script]);
    let workers = fd3.ready(2);
    for pid in &workers {
        until("the worker waits", || {
            let waits_in = std::fs::read_to_string(format!("/proc/{pid}/wchan"));
            waits_in.is_ok_and(|name| name.contains("pipe_write") || name == "0")
        });
    }
    assert_eq!(fd3.count(": all is written"), 0, "{}", fd3.log());
    let flags =
        std::fs::read_to_string(format!("/proc/{}/fdinfo/1", fd3.pid())).expect("it is open");
    assert!(flags.contains("flags:\t01\n") || flags.contains("flags:\t0100001\n"), "{flags}");
    let mut pipe = File::open(format!("/proc/{}/fd/1", fd3.pid())).expect("pipes can be opened");
    let reader = std::thread::spawn(move || {
        let (mut all, mut part) = (Vec::new(), [0; 65_536]);
        while let Ok(length @ 1..) = pipe.read(&mut part) {
            all.extend_from_slice(&part[..length]);
        }
        all
    });
    fd3.nth_line(": all is written", 1);
    assert_eq!(fd3.stop(), 0);
    let all = reader.join().expect("it reads to the end");
    let text = std::str::from_utf8(&all[FULL..]).expect("it is text");
    for pid in workers {
        let own = text.lines().filter(|line| line.contains(&format!(" pid={pid}: ")));
        let numbers: Vec<&str> = own.filter_map(|line| line.split(": number ").nth(1)).collect();
        let expected: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
        assert_eq!(numbers, expected);
    }
    assert_eq!(text.lines().count(), 40_000);
}

/// Nobody reads to the end: fd3 ends all the same, and tells.
#[test]
fn a_reader_that_never_comes_is_not_waited_for_for_long() {
    let script = "
import os, signal
os.set_blocking(1, False)
try:
    while True: os.write(1, b'x' * 4095 + b'\\n')
except BlockingIOError: os.write(2, b'its pipe is full\\n')
while True: signal.pause()";
    let mut fd3 = with_stdout(FULL_PIPE, &["--", python(), "-I", "-c", script]);
    fd3.line(": its pipe is full");
    assert_eq!(fd3.stop(), 0);
    let told = fd3.line("workers' output was lost");
    assert_eq!(field(&told, "why"), "nobody took it in time");
}
