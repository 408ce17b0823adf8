//! The end: orphans are reaped, who is left is told, waited for, killed; hooks before and after.

use super::{Way, begin, gone, output, ways};
use crate::harness::{Folder, children, exists, field, kill, until};
use crate::world::python;

/// A program that ends with 3 once a child of its own session says that it is there.
fn leaves(child: &str) -> String {
    format!(
        "
import os, signal, sys, time
r, w = os.pipe()
if os.fork():
    os.close(w); os.read(r, 1); os._exit(3)
os.setsid()
def ready(): os.write(1, b'left %d\\n' % os.getpid()); os.write(w, b'x')
{child}"
    )
}

fn left(fd3: &crate::harness::Fd3) -> i32 {
    fd3.line("left ").split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a PID")
}

#[test]
fn whoever_is_left_may_finish_its_work() {
    let child = "
signal.pthread_sigmask(signal.SIG_BLOCK, {15}); ready(); signal.sigwait({15})
time.sleep(0.3); os.write(1, b'finished\\n'); os._exit(0)";
    for way in ways() {
        let (status, stdout, stderr) = output(way, &[python(), "-I", "-c", &leaves(child)]);
        assert_eq!((status, &*stderr), (3, ""), "{way:?}");
        assert!(stdout.ends_with("finished\n"), "{way:?}: {stdout}");
    }
}

#[test]
fn whoever_is_deaf_is_killed_in_time() {
    let child = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(1000)";
    for way in ways() {
        let words = ["--stop-timeout", "200ms", python(), "-I", "-c", &leaves(child)];
        let (mut fd3, _) = begin(way, &words, "left ");
        let pid = left(&fd3);
        assert_eq!(fd3.exit(), 3, "{way:?}");
        fd3.line("what was left did not stop in time, killed");
        if way == Way::Ordinary {
            assert!(!exists(pid));
        }
    }
}

/// One that is stopped could not obey otherwise; its children follow it, whoever is their parent.
#[test]
fn the_stopped_and_the_children_of_the_left_are_told_too() {
    let child = "
for depth in range(3):
    if os.fork():
        if depth == 1: os.kill(os.getpid(), signal.SIGSTOP)
        signal.pause()
    os.setsid()
signal.pthread_sigmask(signal.SIG_BLOCK, {15}); ready(); signal.sigwait({15})
os.write(1, b'last one finished\\n'); os._exit(0)";
    for way in ways() {
        let words = ["--stop-timeout", "none", python(), "-I", "-c", &leaves(child)];
        let (status, stdout, stderr) = output(way, &words);
        assert_eq!((status, &*stderr), (3, ""), "{way:?}");
        assert!(stdout.contains("last one finished\n"), "{way:?}: {stdout}");
    }
}

#[test]
fn a_second_order_to_stop_kills_at_once() {
    let child = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(1000)";
    for way in ways() {
        let words = ["-v", "--stop-timeout", "none", python(), "-I", "-c", &leaves(child)];
        let (mut fd3, pid) = begin(way, &words, "ended what=program");
        kill(pid, libc::SIGTERM);
        until("it is heard", || {
            kill(pid, libc::SIGTERM);
            fd3.count("killed") > 0
        });
        assert_eq!(fd3.exit(), 3, "{way:?}");
    }
}

/// What the program took of the time, those who are left have no more.
#[test]
fn a_stop_has_one_deadline() {
    let script = "
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {15})
if os.fork() == 0:
    os.setsid(); os.write(1, b'up\\n'); time.sleep(1000)
signal.sigwait({15}); time.sleep(3); os._exit(0)";
    let claim = |way| {
        let words = ["-v", "--log", "json", "--stop-timeout", "6s", python(), "-I", "-c", script];
        let (mut fd3, pid) = begin(way, &words, "up");
        kill(pid, libc::SIGTERM);
        assert_eq!(fd3.exit(), 0, "{way:?}");
        let at = |text: &str| {
            let line = fd3.line(text);
            let rest = line.split("\"time\":").nth(1).and_then(|rest| rest.split(',').next());
            rest.and_then(|time| time.parse::<f64>().ok()).expect("a time")
        };
        let (ended, killed) = (at("\"ended\""), at("killed"));
        // The rest of the six seconds, and not six more, which a slow machine only makes longer.
        assert!(killed - ended < 6.0, "{way:?}: {}", fd3.log());
    };
    std::thread::scope(|scope| {
        ways().into_iter().for_each(|way| drop(scope.spawn(move || claim(way))))
    });
}

#[test]
fn ten_thousand_orphans_are_reaped() {
    let script = "use POSIX; for my $round (1..100) { my $p = fork;
        if (!$p) { for (1..100) { fork or POSIX::_exit(0) } POSIX::_exit(0) }
        waitpid($p, 0); syswrite STDOUT, \"round $round\\n\" } sleep 1000";
    for way in ways() {
        let (mut fd3, pid) = begin(way, &["perl", "-e", script], "round 1");
        (2..=100).for_each(|round| drop(fd3.line(&format!("round {round}"))));
        until("only the program is left", || children(pid).len() == 1);
        kill(pid, libc::SIGTERM);
        assert_eq!(fd3.exit(), 143, "{way:?}");
    }
}

/// Many ends are one SIGCHLD, and the program's is among them.
#[test]
fn the_programs_end_is_found_among_many() {
    let script =
        "use POSIX; for (1..300) { fork or exec 'sleep', '0.1' } select undef, undef, undef, 0.1;
        POSIX::_exit(9)";
    for way in ways() {
        let (status, ..) = output(way, &["perl", "-e", script]);
        assert_eq!(status, 9, "{way:?}");
    }
}

#[test]
fn a_drain_delay_holds_a_term_back() {
    let script = "trap 'echo told; exit 5' TERM; trap 'echo int' INT; echo up
        while :; do sleep 0.05; done";
    for way in ways() {
        let words = ["-v", "--drain-delay", "300ms", "sh", "-c", script];
        let (mut fd3, pid) = begin(way, &words, "up");
        kill(pid, libc::SIGTERM);
        fd3.line("draining signal=SIGTERM for=300ms");
        assert_eq!(fd3.exit(), 5, "{way:?}");
        let words = ["-v", "--drain-delay", "1h", "sh", "-c", script];
        let (mut fd3, pid) = begin(way, &words, "up");
        kill(pid, libc::SIGTERM);
        fd3.line("draining");
        // Others are not held back.
        kill(pid, libc::SIGINT);
        fd3.line("int");
        assert_eq!(fd3.count("told"), 0, "{way:?}: {}", fd3.log());
        until("a second one is heard", || {
            kill(pid, libc::SIGTERM);
            fd3.count("told") > 0
        });
        assert_eq!(fd3.exit(), 5, "{way:?}");
    }
}

#[test]
fn hooks_run_before_and_after() {
    let folder = Folder::new();
    let log = folder.path("log");
    let hook =
        |name: &str, script: &str| folder.file(name, &format!("#!/bin/sh\n{script}\n"), 0o755);
    let write = hook("write", &format!("echo \"$1 $FD3_STATUS\" >>{log}"));
    let fails = hook("fails", "exit 4");
    let told = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        text.replace('\n', ";")
    };
    let word = |file: &str, argument: &str| format!("{file} {argument}");
    let (one, two, after, last) =
        (word(&write, "one"), word(&write, "two"), word(&write, "after"), word(&write, "last"));
    let common = ["--pre-start", &one, "--pre-start", &two, "--post-stop", &after];
    let common = [&common[..], &["--post-stop", &last]].concat();
    for way in ways() {
        let program = ["sh", "-c", &format!("echo program >>{log}; exit 7")];
        let (status, _, stderr) = output(way, &[&common[..], &program].concat());
        assert_eq!((status, &*stderr), (7, ""), "{way:?}");
        assert_eq!(told(), "one ;two ;program;after 7;last 7;", "{way:?}");
        // One that fails is the end; what comes after it all comes all the same.
        let failing = ["--pre-start", &one, "--pre-start", &fails, "--pre-start", &two];
        let words = [&failing[..], &["--post-stop", &after], &program].concat();
        let (status, _, stderr) = output(way, &words);
        let said = "fd3: a hook failed, the program is not started what=pre-start status=4\n";
        assert_eq!((status, &*stderr), (4, said), "{way:?}");
        assert_eq!(told(), "one ;after 4;", "{way:?}");
        let (status, _, stderr) = output(way, &["--post-stop", &fails, "sh", "-c", "exit 7"]);
        let said = "fd3: a hook failed what=post-stop status=4\n";
        assert_eq!((status, &*stderr), (7, said), "{way:?}");
        // Without a limit: it must not wait for somebody who is not there.
        let endless = ["--stop-timeout", "none", "--pre-start", "true", "--post-stop", "/nope x"];
        let (status, ..) = output(way, &[&endless[..], &["sh", "-c", "exit 7"]].concat());
        assert_eq!(status, 7, "{way:?}");
        let (status, _, stderr) = output(way, &["--pre-start", "/nope x", "true"]);
        assert_eq!(status, 127, "{way:?}");
        assert!(stderr.starts_with("fd3: cannot execute /nope: no such file"), "{stderr}");
    }
}

/// The program is not even started when fd3 is told to stop before.
#[test]
fn an_order_to_stop_during_a_hook_counts() {
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let folder = Folder::new();
    let hook = folder.file("hook", &format!("#!/bin/sh\n{script}\n"), 0o755);
    for way in ways() {
        let (mut fd3, pid) = begin(way, &["--pre-start", &hook, "echo", "program"], "up");
        kill(pid, libc::SIGTERM);
        assert_eq!(fd3.exit(), 143, "{way:?}");
        fd3.line("told to stop before the program was started signal=SIGTERM");
        assert_eq!(fd3.count("program") - 1, 0, "{}", fd3.log());
    }
}

/// Whoever takes too long after the end is killed as well.
#[test]
fn a_hook_that_hangs_has_an_end() {
    for way in ways() {
        let words = ["-v", "--stop-timeout", "200ms", "--post-stop", "sleep 1000", "sh", "-c"];
        let (mut fd3, _) = begin(way, &[&words[..], &["exit 7"]].concat(), "what=post-stop");
        assert_eq!(fd3.exit(), 7, "{way:?}");
        let ended = fd3.line("ended what=post-stop");
        assert_eq!(field(&ended, "status"), "SIGKILL", "{way:?}");
    }
}

/// As an ordinary process fd3 tells its own alone.
#[test]
fn strangers_are_left_alone() {
    let mut stranger = crate::harness::command("sleep").arg("1000").spawn().expect("it starts");
    let (status, ..) = output(Way::Ordinary, &["sh", "-c", "setsid sleep 1000 & exit 7"]);
    assert_eq!(status, 7);
    assert!(stranger.try_wait().expect("it is ours").is_none(), "it was told, too");
    let _ = stranger.kill();
    let _ = stranger.wait();
    gone(&[stranger.id() as i32]);
}
