//! Signals: which are orders, which are passed on, and that none is lost, in whatever state.

use std::process::Stdio;

use crate::harness::{
    FD3, Fd3, Folder, children, code, command, exists, kill, output, run, stderr_of, until,
};
use crate::world::{python, shell, unshare};

/// Tells every signal that it gets.
const TELLER: &str = "
import os, signal
every = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.write(1, b'up %d\\n' % os.getpid())
while True: os.write(1, b'got %d.\\n' % signal.sigwait(every))";

fn teller<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--", python(), "-I", "-c", TELLER]].concat()
}

/// Orders to fd3 itself, and what cannot be caught or belongs to its trade.
const NOT_FORWARDED: [i32; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGKILL,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGSTOP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

#[test]
fn every_other_signal_reaches_the_worker() {
    let mut fd3 = run(&teller(&["--stop-timeout", "1ms"]));
    fd3.line("up ");
    for signal in (1..=64).filter(|signal| !NOT_FORWARDED.contains(signal)) {
        // The C library keeps these two to itself: no program can wait for them.
        if [32, 33].contains(&signal) {
            continue;
        }
        fd3.signal(signal);
        fd3.line(&format!("got {signal}."));
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn signals_that_the_c_library_hides_are_forwarded_too() {
    for signal in [32, 33] {
        let mut fd3 = run(&["--ready", "0ms", "--restart", "never", "--", "sleep", "1000"]);
        fd3.ready(1);
        fd3.signal(signal);
        assert_eq!(fd3.exit(), 128 + signal, "{}", fd3.log());
    }
}

#[test]
fn an_inherited_deafness_for_children_is_cured() {
    let mut fd3 = shell("trap '' CHLD HUP TERM PIPE");
    let output = fd3.args(["run", "-q", "--restart", "never", "--", "sh", "-c", "exit 5"]).output();
    let output = output.expect("sh starts");
    assert_eq!((code(output.status), &*stderr_of(&output)), (5, ""));
}

#[test]
fn quit_drains_without_a_limit() {
    let script =
        "trap 'sleep 0.3; echo drained; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";
    let mut fd3 = run(&["--stop-timeout", "1ms", "--", "sh", "-c", script]);
    fd3.line("up");
    fd3.signal(libc::SIGQUIT);
    fd3.line("stopping signal=SIGQUIT");
    assert_eq!(fd3.exit(), 0);
    fd3.line("drained");
    assert_eq!(fd3.count("did not stop in time"), 0, "{}", fd3.log());
}

#[test]
fn term_after_quit_sets_the_limit() {
    let script = "trap '' TERM; echo up; while :; do sleep 1000; done";
    let mut fd3 = run(&["--stop-timeout", "1ms", "--", "sh", "-c", script]);
    fd3.line("up");
    fd3.signal(libc::SIGQUIT);
    fd3.line("stopping signal=SIGQUIT");
    fd3.signal(libc::SIGTERM);
    fd3.line("did not stop in time");
    assert_eq!(fd3.exit(), 0);
}

#[test]
fn any_signal_can_be_given_any_action() {
    for (on, signal, said) in [
        ("USR1=stop", libc::SIGUSR1, "stopping signal=SIGUSR1"),
        ("WINCH=stop", libc::SIGWINCH, "stopping signal=SIGWINCH"),
        ("RTMIN+3=stop", 37, "stopping signal=SIGRTMIN+3"),
        ("32=stop", 32, "stopping signal=32"),
        ("HUP=drain", libc::SIGHUP, "stopping signal=SIGHUP"),
        ("TERM=stop-now", libc::SIGTERM, "stopping at once"),
    ] {
        let mut fd3 = run(&["--on", on, "--ready", "0ms", "--", "sleep", "1000"]);
        let worker = fd3.ready(1)[0];
        fd3.signal(signal);
        fd3.line(said);
        assert_eq!((fd3.exit(), exists(worker)), (0, false), "{on}");
    }
    for (on, signal, reaches) in [
        ("TERM=forward", libc::SIGTERM, libc::SIGTERM),
        ("INT=forward:RTMAX", libc::SIGINT, 64),
        ("HUP=forward:USR1", libc::SIGHUP, libc::SIGUSR1),
        ("WINCH=forward:STKFLT", libc::SIGWINCH, 16),
    ] {
        let fd3 = run(&teller(&["--on", on]));
        fd3.line("up ");
        fd3.signal(signal);
        fd3.line(&format!("got {reaches}."));
        assert_eq!(fd3.count("stopping"), 0, "{on}");
    }
    let mut fd3 =
        run(&teller(&["--on", "TERM=ignore", "--on", "64=ignore", "--stop-timeout", "1ms"]));
    fd3.line("up ");
    fd3.signal(libc::SIGTERM);
    fd3.signal(64);
    fd3.signal(63);
    fd3.line("got 63.");
    assert_eq!(fd3.count("stopping") + fd3.count("got 64."), 0, "{}", fd3.log());
    fd3.signal(libc::SIGINT);
    assert_eq!(fd3.exit(), 0);
    // Orders of versions to come are words already.
    for action in ["reload", "upgrade", "up", "down"] {
        let on = format!("WINCH={action}");
        let output = output(&["run", "-q", "--on", &on, "--restart", "never", "/bin/true"]);
        assert_eq!(output.status.code(), Some(0), "{on}");
    }
}

#[test]
fn a_stop_while_nothing_runs_is_a_stop() {
    let mut fd3 = run(&["-w", "3", "--backoff", "1h..1h", "--", "false"]);
    fd3.nth_line("worker exited", 2);
    // Nobody is there to be told.
    fd3.signal(libc::SIGWINCH);
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_stop_before_the_first_worker_is_ready_is_a_stop() {
    for ready in ["1h", "notify", "signal"] {
        let mut fd3 = run(&["--ready", ready, "--", "sleep", "1000"]);
        let worker = fd3.worker(0);
        assert_eq!((fd3.stop(), exists(worker)), (0, false), "{ready}");
    }
}

/// Whenever it comes: before main it kills (there is nothing to stop yet), then it is an order.
#[test]
fn a_stop_at_any_moment_of_the_start_leaves_nobody() {
    for _ in 0..60 {
        let mut fd3 = command(FD3);
        fd3.args(["run", "-q", "-w", "4", "-l", "127.0.0.1:0", "--", "sleep", "1000"]);
        let mut child = fd3.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        kill(child.id() as i32, libc::SIGTERM);
        let mut said = String::new();
        // Its end is the end of all that inherited it.
        let stderr = child.stderr.take().expect("it is piped");
        std::io::Read::read_to_string(&mut { stderr }, &mut said).expect("it is text");
        let status = code(child.wait().expect("it is ours"));
        assert!([0, 143].contains(&status), "{status}");
        assert_eq!(said, "");
    }
}

/// A large start is no reason to be deaf.
#[test]
fn a_stop_in_the_middle_of_a_large_start_is_heard() {
    // Whichever of them comes first holds fd3 there until the order is given, and others once more later.
    let script = "kill -STOP $PPID; exec sleep 1000";
    let mut fd3 = run(&["-w", "1000", "--", "sh", "-c", script]);
    let stat = format!("/proc/{}/stat", fd3.pid());
    until("it is held", || std::fs::read_to_string(&stat).expect("it runs").contains(") T "));
    fd3.signal(libc::SIGTERM);
    until("it has ended", || {
        fd3.signal(libc::SIGCONT);
        fd3.has_ended()
    });
    assert_eq!(fd3.exit(), 0);
    let started = fd3.count("worker started");
    assert!(started > 0 && started < 1000, "{started} were started first");
}

#[test]
fn floods_of_signals_are_survived() {
    let mut fd3 = run(&teller(&["-w", "4", "--stop-timeout", "50ms"]));
    fd3.nth_line("up ", 3);
    for _ in 0..2_000 {
        fd3.signal(64);
        fd3.signal(libc::SIGWINCH);
        fd3.signal(libc::SIGCHLD);
    }
    fd3.line("got 28.");
    for _ in 0..2_000 {
        fd3.signal(libc::SIGTERM);
    }
    assert_eq!(fd3.exit(), 0);
    assert_eq!(fd3.count("stopping signal=SIGTERM"), 1, "{}", fd3.log());
}

#[test]
fn a_workers_signal_is_no_order() {
    // A descendant, too, for as long as it is there to be looked up.
    let script = "kill -TERM $PPID; export PARENT=$PPID
        sh -c 'kill -INT $PARENT; kill -QUIT $PARENT; kill -WINCH $PARENT; echo sent; sleep 1000'";
    let mut fd3 = run(&["--", "sh", "-c", script]);
    fd3.line("sent");
    fd3.ready(1);
    assert_eq!(fd3.count("stopping"), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_worker_that_joined_another_group_is_killed_too() {
    let script = "import os, signal
signal.signal(15, signal.SIG_IGN)
os.setpgid(0, os.getpgid(os.getppid()))
print('left', flush=True)
while True: signal.pause()";
    let mut fd3 = run(&["--stop-timeout", "50ms", "--", python(), "-I", "-c", script]);
    fd3.line("left");
    let worker = fd3.worker(0);
    assert_eq!(fd3.stop(), 0);
    assert!(!exists(worker), "{}", fd3.log());
    assert_eq!(fd3.count("left behind"), 0, "{}", fd3.log());
}

/// fd3 as PID 1, and its PID as seen from here.
fn as_init(words: &[&str]) -> Option<(Fd3, i32)> {
    let mut unshare = unshare(&["--pid", "--fork", "--mount-proc"])?;
    unshare.args([FD3, "run", "-v"]).args(words);
    let unshare = Fd3::start(unshare);
    unshare.line("worker started");
    // Gone already, if it was told to do little.
    let init = children(unshare.pid()).first().copied().unwrap_or(0);
    Some((unshare, init))
}

#[test]
fn the_first_process_stops_when_told_to() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let Some((mut unshare, init)) = as_init(&["-w", "2", "--", "sleep", "1000"]) else {
            return;
        };
        kill(init, signal);
        assert_eq!(unshare.exit(), 0);
        assert_eq!(unshare.count("worker exited"), 2, "{}", unshare.log());
    }
}

#[test]
fn the_first_process_forwards_and_gives_its_workers_status() {
    let Some((unshare, init)) = as_init(&teller(&[])) else { return };
    unshare.line("up ");
    for signal in [34, 64, libc::SIGWINCH, libc::SIGSEGV] {
        kill(init, signal);
        unshare.line(&format!("got {signal}."));
    }
    let script = ["--restart", "never", "--", "sh", "-c", "kill -9 $$"];
    let Some((mut unshare, _)) = as_init(&script) else { return };
    assert_eq!(unshare.exit(), 137);
}

#[test]
fn the_first_process_reaps_ten_thousand_orphans() {
    let script = "use POSIX; for my $round (1..100) { my $p = fork;
        if (!$p) { for (1..100) { fork or POSIX::_exit(0) } POSIX::_exit(0) }
        waitpid($p, 0); syswrite STDOUT, \"round $round\\n\" } sleep 1000";
    let Some((mut unshare, init)) = as_init(&["--", "perl", "-e", script]) else { return };
    (1..=100).for_each(|round| drop(unshare.line(&format!("round {round}"))));
    until("only the worker is left", || children(init).len() == 1);
    kill(init, libc::SIGTERM);
    assert_eq!(unshare.exit(), 0);
}

/// As of one that `nsenter` or `kubectl debug` brought in, and of whoever a shell outside started.
#[test]
fn a_sender_whose_group_has_its_leader_outside_is_heard() {
    let folder = Folder::new();
    let up = folder.path("up");
    let Some(mut unshare) = unshare(&["--pid", "--fork", "--mount-proc"]) else { return };
    let script = "mkfifo $1; $0 run -v -- sh -c 'echo up >'$1'; exec sleep 1000' &
        read up < $1; read pid name state parent group rest < /proc/$$/stat; echo group=$group; kill -TERM $!; wait $!; echo status=$?";
    unshare.args(["sh", "-c", script, FD3, &up]);
    let mut unshare = Fd3::start(unshare);
    unshare.line("status=0");
    assert_eq!(unshare.exit(), 0);
    // Or it was another case.
    unshare.line("group=0");
}
