//! Every signal reaches the program, none is lost, none comes twice.

use super::{Way, begin, begin_command, in_way, ways};
use crate::guard::mapped_code;
use crate::harness::{FD3, IS_STATIC, Mark, children, command, kill, until};
use crate::world::{can_strace, python, skip};

/// Tells every signal that it gets, of which it can wait for all but what the C library keeps to itself.
const TELLER: &str = "
import os, signal
every = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.write(1, b'up\\n')
while True: os.write(1, b'got %d.\\n' % signal.sigwait(every))";

fn teller<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &[python(), "-I", "-c", TELLER]].concat()
}

const CANNOT: [i32; 5] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33];
/// What stops a job; fd3 stops as well, where there is somebody to continue it.
const JOB: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

#[test]
fn every_signal_reaches_the_program_once() {
    for way in ways() {
        for words in [&[][..], &["--single-child"], &["-c"]] {
            let (fd3, pid) = begin(way, &teller(words), "up");
            for signal in (1..=64).filter(|signal| !CANNOT.contains(signal)) {
                kill(pid, signal);
                fd3.line(&format!("got {signal}."));
                // Where a shell could continue it fd3 stops, too.
                if JOB.contains(&signal) {
                    let before = fd3.count("got 18.");
                    until("it goes on", || {
                        kill(pid, libc::SIGCONT);
                        fd3.count("got 18.") > before
                    });
                }
            }
            kill(pid, 64);
            fd3.nth_line("got 64.", 1);
            let twice = (1..64).filter(|signal| fd3.count(&format!("got {signal}.")) > 1);
            let twice: Vec<i32> = twice.filter(|signal| *signal != libc::SIGCONT).collect();
            assert_eq!(twice, [], "{way:?}: {words:?}");
        }
    }
}

/// A signal finds the code unmapped, and others soon after it find it there.
#[test]
fn a_sleeping_fd3_keeps_the_code_that_a_signal_takes() {
    if !IS_STATIC {
        return skip("only the static fd3 gives memory back; scripts/test tests that one as well");
    }
    let (fd3, pid) = begin(Way::Ordinary, &teller(&[]), "up");
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let faults = || {
        let stat = stat();
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        fields.split(' ').nth(7).and_then(|faults| faults.parse::<u64>().ok()).expect("a number")
    };
    let signal = || {
        let told = format!("got {}.", libc::SIGUSR1);
        let before = fd3.count(&told);
        kill(pid, libc::SIGUSR1);
        fd3.nth_line(&told, before);
    };
    until("it is small", || mapped_code(pid) <= 128);
    until("a signal for which nothing has to be mapped", || {
        let before = faults();
        signal();
        faults() == before
    });
    until("a later one leaves it small again", || {
        signal();
        until("it sleeps", || stat().contains(") S "));
        mapped_code(pid) <= 128
    });
}

/// musl's own calls hide 32 to 34: an init that is built with it dies of them, or swallows them.
#[test]
fn signals_that_the_c_library_hides_are_forwarded_too() {
    for way in ways() {
        for signal in [32, 33, 34] {
            let (mut fd3, pid) = begin(way, &["sh", "-c", "echo up; exec sleep 1000"], "up");
            kill(pid, signal);
            assert_eq!(fd3.exit(), 128 + signal, "{way:?}");
        }
    }
}

/// A program and its child in the same group; both tell.
#[test]
fn the_group_gets_them_or_the_program_alone() {
    let script = "
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {10})
who = b'child' if os.fork() == 0 else b'parent'
os.write(1, who + b' up\\n')
while True: signal.sigwait({10}); os.write(1, who + b' got 10\\n')";
    for way in ways() {
        for (words, both) in [(&["-q"][..], true), (&["--single-child"], false)] {
            let words = [words, &[python(), "-I", "-c", script]].concat();
            let (fd3, pid) = begin(way, &words, "child up");
            fd3.line("parent up");
            kill(pid, libc::SIGUSR1);
            fd3.line("parent got 10");
            if both {
                fd3.line("child got 10");
            } else {
                kill(pid, libc::SIGUSR1);
                fd3.nth_line("parent got 10", 1);
                assert_eq!(fd3.count("child got 10"), 0, "{way:?}");
            }
        }
    }
}

#[test]
fn any_signal_can_be_given_another_action() {
    for way in ways() {
        let words = teller(&[
            "--on",
            "TERM=forward:QUIT",
            "--on",
            "HUP=ignore",
            "--on",
            "RTMIN=forward:WINCH",
            "--on",
            "64=forward:RTMAX-1",
            "--on",
            "USR1=forward",
        ]);
        let (mut fd3, pid) = begin(way, &words, "up");
        for (signal, reaches) in [(15, 3), (34, 28), (64, 63), (10, 10)] {
            kill(pid, signal);
            fd3.line(&format!("got {reaches}."));
        }
        kill(pid, libc::SIGHUP);
        kill(pid, libc::SIGUSR2);
        fd3.line("got 12.");
        assert_eq!(fd3.count("got 1.") + fd3.count("got 15."), 0, "{}", fd3.log());
        // It heeds none of them.
        kill(pid, libc::SIGUSR1);
        drop(fd3);
        let words = teller(&["--on", "USR2=stop-now"]);
        (fd3, _) = begin(way, &words, "up");
        let pid = if way == Way::First { children(fd3.pid())[0] } else { fd3.pid() };
        kill(pid, libc::SIGUSR2);
        assert_eq!(fd3.exit(), 137, "{way:?}");
    }
}

/// `stop` gives a program that is deaf to TERM so long and no longer.
#[test]
fn a_stop_has_an_end() {
    for way in ways() {
        let words = ["--on", "INT=stop", "--stop-timeout", "200ms"];
        let words = [&words[..], &["sh", "-c", "trap '' TERM; echo up; exec sleep 1000"]].concat();
        let (mut fd3, pid) = begin(way, &words, "up");
        kill(pid, libc::SIGINT);
        assert_eq!(fd3.exit(), 137, "{way:?}");
        fd3.line("the program did not stop in time, killed");
    }
}

/// tini -g, catatonit -g and dumb-init lose it.
#[test]
fn a_signal_between_fork_and_setpgid_is_not_lost() {
    if !can_strace() {
        return;
    }
    for which in ["delay_enter=300000", "delay_exit=300000"] {
        let mut strace = command("strace");
        let inject = format!("inject=setpgid:{which}");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=setpgid", "-e", &inject]);
        strace.args([FD3, "init", "sleep", "20"]);
        let mut strace = strace.spawn().expect("it starts");
        let init = || children(strace.id() as i32).first().copied();
        until("fd3 has forked", || init().is_some_and(|init| !children(init).is_empty()));
        kill(init().expect("it is there"), libc::SIGTERM);
        assert_eq!(crate::harness::code(strace.wait().expect("it is ours")), 143, "{which}");
    }
}

#[test]
fn floods_are_survived_and_the_last_one_counts() {
    for way in ways() {
        let (fd3, pid) = begin(way, &teller(&[]), "up");
        for _ in 0..2_000 {
            kill(pid, libc::SIGWINCH);
            kill(pid, libc::SIGCHLD);
            kill(pid, 40);
        }
        kill(pid, 64);
        fd3.line("got 64.");
    }
}

/// The one who dies with its parent: signalled by its end.
#[test]
fn the_end_of_the_parent_is_heard() {
    let script = "\"$0\" init --parent-death USR2 \"$@\" & echo started $!; exec sleep 1000";
    let mut wrapper = command("sh");
    wrapper.args(["-c", script, FD3, python(), "-I", "-c", TELLER]);
    let _mark = Mark::on(&mut wrapper);
    let (fd3, shell) = begin_command(Way::Ordinary, wrapper, "up");
    kill(shell, libc::SIGKILL);
    fd3.line("got 12.");
    // And the program hears of fd3's.
    let init = fd3.line("started").split(' ').nth(1).and_then(|pid| pid.parse().ok());
    kill(init.expect("a PID"), libc::SIGKILL);
    fd3.nth_line("got 12.", 1);
}

/// Without it a program outlives both, as under any other init.
#[test]
fn a_parents_end_is_nothing_unless_asked_for() {
    let script = "\"$0\" init \"$@\" & echo started $!; exec sleep 1000";
    let mut wrapper = command("sh");
    wrapper.args(["-c", script, FD3, python(), "-I", "-c", TELLER]);
    let _mark = Mark::on(&mut wrapper);
    let (fd3, shell) = begin_command(Way::Ordinary, wrapper, "up");
    let init = fd3.line("started").split(' ').nth(1).and_then(|pid| pid.parse::<i32>().ok());
    kill(shell, libc::SIGKILL);
    kill(init.expect("a PID"), libc::SIGUSR1);
    fd3.line("got 10.");
    assert_eq!(fd3.log().lines().count(), 3, "{}", fd3.log());
}

/// Nobody above hears of a stop here, so nobody stops for good.
#[test]
fn a_stop_by_signal_can_be_undone() {
    let mut wrapper = in_way(Way::Ordinary, FD3);
    wrapper.args([
        "init",
        python(),
        "-I",
        "-c",
        "
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {18})
os.write(1, b'up\\n')
while True: signal.sigwait({18}); os.write(1, b'goes on\\n')",
    ]);
    let (fd3, pid) = begin_command(Way::Ordinary, wrapper, "up");
    let program = children(pid)[0];
    kill(pid, libc::SIGTSTP);
    let state = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };
    until("it has stopped", || state(program) == Some('T'));
    // fd3 may be about to stop, too, and that would undo this.
    until("it goes on", || {
        kill(pid, libc::SIGCONT);
        fd3.count("goes on") > 0
    });
}
