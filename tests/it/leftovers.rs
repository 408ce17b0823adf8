//! What a worker leaves behind: told to stop, waited for, killed.

#[cfg(feature = "init")]
mod at_the_end;

use crate::harness::{Fd3, children, exists, kill, run, until};
use crate::world::python;

/// A worker with a child in its group that is deaf to TERM.
const DEAF_CHILD: &str = "(trap '' TERM; echo child up; exec sleep 1000) & exec sleep 1000";

fn start(words: &[&str], script: &str) -> Fd3 {
    run(&[&["--ready", "0ms", "--backoff", "1ms..1ms"], words, &["--", "sh", "-c", script]]
        .concat())
}

/// The worker's one child, once it is deaf.
fn child_of(fd3: &Fd3, worker: i32) -> i32 {
    fd3.line("child up");
    until("the worker has its child", || children(worker).len() == 1);
    children(worker)[0]
}

#[test]
fn those_deaf_to_term_are_killed_in_time() {
    let fd3 = start(&["--stop-timeout", "200ms"], DEAF_CHILD);
    let child = child_of(&fd3, fd3.worker(0));
    kill(fd3.worker(0), libc::SIGKILL);
    fd3.line("what a worker left behind did not stop in time, killed group=");
    until("the child is gone", || !exists(child));
    // Nobody waited for that.
    fd3.ready(2);
}

#[test]
fn a_stop_waits_for_those_who_finish_their_work() {
    let script = "
import os, signal, time
if os.fork(): signal.pause()
signal.pthread_sigmask(signal.SIG_BLOCK, [15])
os.write(1, b'child up\\n')
signal.sigwait([15])
time.sleep(0.3)
os.write(1, b'finished\\n')";
    let mut fd3 = run(&["--", python(), "-I", "-c", script]);
    fd3.line("child up");
    assert_eq!(fd3.stop(), 0);
    fd3.line("finished");
    assert_eq!(fd3.count("killed"), 0, "{}", fd3.log());
}

#[test]
fn a_stop_kills_those_who_do_not() {
    let mut fd3 = start(&["--stop-timeout", "200ms"], DEAF_CHILD);
    let child = child_of(&fd3, fd3.worker(0));
    assert_eq!(fd3.stop(), 0);
    assert!(!exists(child), "{}", fd3.log());
}

/// It ends the process that it takes for its old parent; by now that is fd3.
#[test]
fn a_signal_from_one_who_was_left_behind_is_no_order() {
    let script = "
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
parent = os.getpid()
if os.fork(): os._exit(0)
while os.getppid() == parent: time.sleep(0.01)
os.kill(os.getppid(), signal.SIGTERM)
os.kill(os.getppid(), signal.SIGHUP)
os.write(1, b'signalled\\n')
time.sleep(1000)";
    let words = ["--backoff", "10s..10s", "--", python(), "-I", "-c", script];
    let fd3 = run(&words);
    fd3.line("signalled");
    // Both were there to be read before this one.
    fd3.signal(libc::SIGTTIN);
    fd3.line("scaled workers=2");
    assert_eq!(fd3.count("stopping") + fd3.count("reloading"), 0, "{}", fd3.log());
}
