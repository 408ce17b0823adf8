//! `--worker-logs prefix`: each line of a worker's comes out whole, as its own, on the stream that it was written to,
//! and whatever workers write, or nobody reads, holds up nobody but who writes.

mod floods;

use std::collections::BTreeMap;

use crate::guard::{sleeps_on, switches, ticks_in_a_second};
use crate::harness::{
    FD3, Fd3, Folder, UNSEEN, code, command, exists, field, kill, output, run, until,
};
use crate::world::{NOBODY, is_root, python};

/// `fd3 run -v --worker-logs prefix` with these words, then a python script.
fn logged(words: &[&str], script: &str) -> Fd3 {
    let start = ["--worker-logs", "prefix", "--ready", "0ms"];
    run(&[&start[..], words, &["--", python(), "-I", "-u", "-c", script]].concat())
}

/// What a worker wrote on a line that is told to be its own.
fn words_of(line: &str, pid: i32) -> Option<&str> {
    let (whose, words) = line.split_once(": ")?;
    let told = whose.strip_prefix("worker slot=")?;
    told.strip_suffix(&format!(" pid={pid}")).map(|_| words)
}

#[test]
fn each_stream_goes_to_its_own_and_tells_whose_it_is() {
    let script = "echo out-$FD3_SLOT-$$; echo err-$FD3_SLOT-$$ >&2";
    let words = ["run", "--worker-logs", "prefix", "-w", "3", "--restart", "never"];
    let output = output(&[&words[..], &["--", "sh", "-c", script]].concat());
    for (stream, name) in [(output.stdout, "out"), (output.stderr, "err")] {
        let text = String::from_utf8(stream).expect("it is text");
        let mut slots = vec![];
        for line in text.lines() {
            let (slot, pid) = (field(line, "slot"), field(line, "pid"));
            let pid = pid.strip_suffix(':').expect("words follow");
            assert_eq!(line, format!("worker slot={slot} pid={pid}: {name}-{slot}-{pid}"));
            slots.push(slot);
        }
        slots.sort_unstable();
        assert_eq!(slots, ["0", "1", "2"], "{text}");
    }
}

#[test]
fn by_default_workers_have_fd3s_own_streams() {
    let script = "readlink /proc/self/fd/1";
    for (words, is_own) in [
        (&[][..], true),
        (&["--worker-logs", "inherit"], true),
        (&["--worker-logs", "prefix"], false),
    ] {
        let mut fd3 = run(&[words, &["--restart", "never", "--", "sh", "-c", script]].concat());
        assert_eq!(fd3.exit(), 0);
        let own = fd3.log().lines().any(|line| line.starts_with("pipe:["));
        let passed = fd3.log().lines().any(|line| line.contains(": pipe:["));
        assert_eq!((own, passed), (is_own, !is_own), "{}", fd3.log());
    }
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let script = r"
import os
out = lambda bytes: os.write(1, bytes)
out(b'half '); out(b'a line\n')
out(b'\0 \xff\xfe \x1b[31m red\r\n\n')
out('é'.encode() * 3000 + b'|\n')
out(b'x' * 20000 + b'\n')
out(b'no end')";
    let mut wrapper = command(FD3);
    wrapper.args(["run", "--worker-logs", "prefix", "--restart", "never"]);
    let output = wrapper.args(["--", python(), "-I", "-c", script]).output().expect("fd3 starts");
    assert_eq!(code(output.status), 0);
    let (mut lines, mut pieces) = (vec![], vec![]);
    for line in output.stdout.strip_suffix(b"\n").expect("it ends").split(|byte| *byte == b'\n') {
        assert!(line.len() < 4096 && line.starts_with(b"worker slot=0 pid="), "{}", line.len());
        let at = line.iter().position(|byte| *byte == b':').expect("words follow");
        let words = line[at + 2..].to_vec();
        // None of the pieces of the two long lines is as short as the others are.
        if words.len() > 100 { pieces.push(words) } else { lines.push(words) }
    }
    let short: [&[u8]; 4] = [b"half a line", b"\0 \xff\xfe \x1b[31m red\r", b"", b"no end"];
    assert_eq!(lines, short);
    let long = ["é".repeat(3000), "|".into(), "x".repeat(20_000)].concat();
    assert_eq!(String::from_utf8(pieces.concat()).expect("no character was cut"), long);
    assert_eq!(pieces.len(), 2 + 6);
}

#[test]
fn as_json_lines_are_objects_of_the_log() {
    let script = r"
import os, sys
os.write(1, b'a \xff \0\n' + b'x' * 5000 + b'\n')
os.write(2, b'b\n')";
    let words = ["run", "--log", "json", "--worker-logs", "prefix", "--restart", "never", "--"];
    let told = output(&[&words[..], &[python(), "-I", "-c", script]].concat());
    let check = "
import json, sys
for line in sys.stdin.buffer.read().decode('utf-8').split('\\n'):
    if line:
        o = json.loads(line)
        assert list(o)[:6] == ['time', 'level', 'message', 'slot', 'pid', 'stream'], line
        assert isinstance(o['time'], float) and o['level'] == 'info' and o['pid'] > 1, line
        print(repr(o['message'][:6]), len(o['message']), o['slot'], o['stream'], o.get('partial'))";
    let folder = Folder::new();
    let both = [told.stdout, told.stderr].concat();
    let file = folder.file("lines", std::str::from_utf8(&both).expect("it is UTF-8"), 0o600);
    let mut python = command(python());
    let output = python
        .args(["-I", "-X", "utf8", "-c", check])
        .stdin(std::fs::File::open(file).expect("it is there"))
        .output()
        .expect("python starts");
    let seen = String::from_utf8_lossy(&output.stdout);
    let expected = "'a \u{fffd} \\x00' 5 0 stdout None\n'xxxxxx' 3968 0 stdout True\n\
                    'xxxxxx' 1032 0 stdout None\n'b' 1 0 stderr None\n";
    assert_eq!(seen, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// Its last words come before its end is told.
#[test]
fn last_words_come_first() {
    let script = "import os; os.write(2, b'I fell over'); os.abort()";
    let mut fd3 = logged(&["--restart", "never"], script);
    assert_eq!(fd3.exit(), 134);
    let log = fd3.log();
    let place = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text}: {log}"));
    assert!(place(": I fell over\n") < place("worker exited"), "{log}");
}

/// A child that a worker leaves behind, in a session of its own, has the worker's pipes as long as it lives.
#[test]
fn what_a_workers_children_write_is_still_its_own() {
    let folder = Folder::new();
    let go = folder.path("go");
    let script = format!(
        "
import os, signal
if os.path.exists({go:?}): signal.pause()
os.mkfifo({go:?})
if os.fork() == 0:
    os.setsid()
    os.write(1, b'child %d of %d\\n' % (os.getpid(), os.getppid()))
    open({go:?}).read()
    os.write(1, b'later\\nand last')
    os._exit(0)
while True: signal.pause()"
    );
    let mut fd3 = logged(&["--backoff", "1ms..1ms"], &script);
    let line = fd3.line(": child ");
    let first = fd3.ready(1)[0];
    assert!(words_of(&line, first).is_some(), "{line}");
    let child: i32 = line.split(' ').nth_back(2).and_then(|pid| pid.parse().ok()).expect("a PID");
    kill(first, libc::SIGKILL);
    assert_ne!(fd3.ready(2)[1], first);
    // Opened for writing and closed: the child goes on.
    std::fs::write(&go, "").expect("the child reads it");
    assert_eq!(words_of(&fd3.line(": later"), first), Some("later"));
    assert_eq!(words_of(&fd3.line(": and last"), first), Some("and last"));
    until("the child is gone", || !exists(child));
    assert_eq!(fd3.stop(), 0);
}

/// What is left behind when fd3 ends is heard while it is waited for.
#[test]
#[cfg(feature = "init")]
fn those_who_are_told_to_stop_at_the_end_are_heard() {
    let folder = Folder::new();
    let go = folder.path("go");
    // More than fits into its pipe.
    let script = format!(
        "
import os, signal
os.mkfifo({go:?})
if os.fork() == 0:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [15])
    os.write(1, b'waits\\n')
    signal.sigwait([15])
    for n in range(20000): os.write(1, b'number %08d\\n' % n)
    os.write(1, b'that is nearly all\\n')
    open({go:?}).read()
    os.write(1, b'that is all')
    os._exit(0)
while True: signal.pause()"
    );
    let mut fd3 = logged(&["--stop-timeout", "none"], &script);
    fd3.line(": waits");
    fd3.signal(libc::SIGTERM);
    fd3.line(": that is nearly all");
    std::fs::write(&go, "").expect("the child reads it");
    assert_eq!(fd3.exit(), 0);
    fd3.line(": that is all");
    assert_eq!((fd3.count(": number "), fd3.count(": number 00019999")), (20_000, 1));
}

#[test]
fn fifty_workers_at_once_come_out_line_by_line() {
    let script = "
import os, signal
for n in range(200): os.write(1 + n % 2, b'%s %d %s\\n' % (os.environb[b'FD3_SLOT'], n, b'x' * (n * 7)))
os.write(1, b'done\\n')
while True: signal.pause()";
    let mut fd3 = logged(&["-w", "50"], script);
    fd3.nth_line(": done", 49);
    fd3.nth_line(" 199 x", 49);
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in fd3.log().lines().filter(|line| line.starts_with("worker slot=")) {
        let (whose, words) = line.split_once(": ").expect("whose it is");
        let parts: Vec<&str> = words.split(' ').collect();
        if parts == ["done"] {
            continue;
        }
        let [slot, number, rest] = parts[..] else { panic!("{line}") };
        let number = number.parse().expect("a number");
        assert!(whose.starts_with(&format!("worker slot={slot} pid=")), "{line}");
        assert_eq!(rest.len(), number * 7, "{line}");
        seen.entry(slot.to_string()).or_default().push(number);
    }
    assert_eq!(seen.len(), 50);
    for numbers in seen.values_mut() {
        // Each stream is in order; stderr has its own.
        let (even, odd): (Vec<usize>, Vec<usize>) = numbers.iter().partition(|n| *n % 2 == 0);
        assert_eq!(even, (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(odd, (1..200).step_by(2).collect::<Vec<_>>());
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn nothing_is_left_open_after_a_hundred_restarts() {
    let script = "import os; os.write(1, b'here'); os.write(2, b'and here\\n')";
    let words = ["-w", "2", "--backoff", "1ms..1ms", "--respawn-limit", "none"];
    let fd3 = logged(&words, script);
    let open = || {
        let all = std::fs::read_dir(format!("/proc/{}/fd", fd3.pid())).expect("it runs");
        let target = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_link(entry.expect("it can be read").path()).unwrap_or_default()
        };
        all.map(target).filter(|path| path.to_string_lossy().starts_with("pipe:")).count()
    };
    for round in [20, 120] {
        fd3.nth_line("worker exited", round);
        // stdin is /dev/null; the log's pipe, twice and reopened twice, and that of reports; four for each worker that
        // is there, or is being started.
        until("no more are open than are needed", || open() <= 4 + 2 + 2 * 4);
        assert!(open() >= 6);
    }
    assert!(fd3.count(": here") >= 100 && fd3.count(": and here") >= 100, "{}", fd3.log());
}

#[test]
fn when_nobody_writes_fd3_sleeps() {
    let words = [UNSEEN, &["-w", "2"]].concat();
    let fd3 = logged(&words, "import signal; print('up', flush=True); signal.pause()");
    fd3.nth_line(": up", 1);
    fd3.ready(2);
    // It looks once more, a while after the last line.
    until("it has looked for the last time", || {
        let before = switches(&fd3);
        ticks_in_a_second(&fd3);
        switches(&fd3) == before
    });
    sleeps_on(&fd3, || ());
}

/// As after `docker run`: /dev/stdout is opened by its name, by somebody who is not root.
#[test]
#[cfg(feature = "settings")]
fn another_user_can_open_its_streams_by_name() {
    if !is_root() {
        return crate::world::skip("only root can become another user");
    }
    let user = NOBODY.to_string();
    let script = "echo opened 1 >/dev/stdout; echo opened 2 >/dev/stderr";
    let words = ["--worker-logs", "prefix", "--user", &user, "--restart", "never", "--chdir", "/"];
    let mut fd3 = run(&[&words[..], &["--", "sh", "-c", script]].concat());
    assert_eq!(fd3.exit(), 0);
    fd3.line(": opened 1");
    fd3.line(": opened 2");
}
