//! A canary on probation: what fails takes all of it back.

use super::{ask, canary, client, has, is, start};
use crate::harness::{Fd3, kill};

const FAILED: &str = "canary failed, the old generation is put back";
const BACK: &str = "canary rolled back after=";

#[test]
fn one_that_crashes_rolls_back_by_itself() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "2", &["two"]), 0, "ok canary holds generation=2 slots=2 ");
    has(&fd3, ["2", "2", "1"]);
    fd3.signal(libc::SIGHUP);
    kill(fd3.worker(3), libc::SIGKILL);
    let why = fd3.line(FAILED);
    assert!(why.contains("was killed by SIGKILL") && why.ends_with(" generation=2"), "{why}");
    fd3.line(BACK);
    // Its own slot at once, the other by a reload, and not what never was of it.
    fd3.nth_line("slot 0 is one", 1);
    fd3.nth_line("slot 1 is one", 1);
    // What waited is next, and starts what served before.
    fd3.line("reloaded after=");
    has(&fd3, ["3", "3", "3"]);
    fd3.nth_line("slot 2 is one", 1);
    assert_eq!((fd3.count(" is two"), fd3.count(BACK)), (2, 1), "{}", fd3.log());
    let none = "fd3: promote refused: nothing is changed: cannot promote the canary: there is none";
    is(&ask(&fd3, &["promote"]), 1, none);
}

#[test]
fn an_exit_that_nobody_asked_for_is_a_failure_whatever_its_status() {
    let fd3 = start(&["--restart", "on-failure"]);
    is(&canary(&fd3, "1", &["two"]), 0, "ok canary holds ");
    // Nobody of fd3's sends it.
    kill(fd3.worker(3), libc::SIGTERM);
    let why = fd3.line(FAILED);
    assert!(why.contains("exited with status 0"), "{why}");
    fd3.line(BACK);
    // A clean exit lays a slot to rest, with this policy.
    let (_, table) = ask(&fd3, &["status"]);
    assert!(table.contains(" 2 of 3 slots ready"), "{table}");
}

#[test]
fn one_that_fails_before_it_holds_has_changed_nothing() {
    for (surge, said) in [
        ("all", "fd3: reload failed: the old generation goes on: slot 1: worker "),
        ("1", "fd3: reload failed: the old generation is put back: slot 1: worker "),
        ("0", "fd3: reload failed: the old generation is put back: slot 1: worker "),
    ] {
        let fd3 = start(&["--surge", surge]);
        is(&canary(&fd3, "2", &["dies"]), 1, said);
        has(&fd3, ["1", "1", "1"]);
        is(&ask(&fd3, &["rollback"]), 1, "fd3: rollback refused: nothing is changed: ");
        assert_eq!(fd3.count("slot 2 is"), 1, "{}", fd3.log());
        // And nothing of it is left for the next one.
        is(&ask(&fd3, &["reload"]), 0, "ok reloaded generation=3 ");
        fd3.nth_line("slot 2 is one", 1);
    }
}

/// The release has shown that it is bad.
#[test]
fn a_promotion_that_fails_takes_all_of_it_back() {
    for surge in ["all", "1", "0"] {
        let fd3 = start(&["--surge", surge]);
        is(&canary(&fd3, "1", &["dies"]), 0, "ok canary holds ");
        let said = "fd3: promote failed: the old generation is put back: slot 1: worker ";
        is(&ask(&fd3, &["promote"]), 1, said);
        fd3.line(BACK);
        has(&fd3, ["1", "1", "1"]);
        is(&ask(&fd3, &["reload"]), 0, "ok reloaded generation=3 ");
    }
}

#[test]
fn a_rollback_need_not_wait_for_a_promotion_that_hangs() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "1", &["waits"]), 0, "ok canary holds ");
    let mut promotes = Fd3::start(client(&fd3, &["promote", "-v"]));
    fd3.line("slot 1 is waits");
    is(&ask(&fd3, &["promote", "--if-generation", "3"]), 1, "fd3: promote refused: ");
    is(&ask(&fd3, &["rollback"]), 0, "ok rolled back generation=1 ");
    promotes.line("promote failed: the old generation is put back: somebody has it rolled back");
    assert_eq!(promotes.exit(), 1);
    has(&fd3, ["1", "1", "1"]);
}

#[test]
fn a_rollback_need_not_wait_for_a_canary_that_hangs() {
    let fd3 = start(&[]);
    let reloads = ["reload", "-v", "--canary", "2", "--", crate::world::python(), "-I", "-c"];
    let words = [&reloads[..], &[super::WORKER, "waits"]].concat();
    let mut reloads = Fd3::start(client(&fd3, &words));
    fd3.line("slot 1 is waits");
    let early = "fd3: promote refused: nothing is changed: cannot promote the canary: \
                 its workers do not serve yet";
    is(&ask(&fd3, &["promote"]), 1, early);
    is(&ask(&fd3, &["rollback"]), 0, "ok rolled back generation=1 ");
    reloads.line("reload failed: the old generation goes on: somebody has it rolled back");
    assert_eq!(reloads.exit(), 1);
    has(&fd3, ["1", "1", "1"]);
}

/// One that does not listen drains as any other, and is killed.
#[test]
fn a_deaf_canary_is_rolled_back() {
    let fd3 = start(&["--drain-timeout", "0ms"]);
    is(&canary(&fd3, "1", &["deaf"]), 0, "ok canary holds ");
    is(&ask(&fd3, &["rollback"]), 0, "ok rolled back generation=1 ");
    fd3.line("worker did not stop in time, killed slot=0 ");
    has(&fd3, ["1", "1", "1"]);
}
