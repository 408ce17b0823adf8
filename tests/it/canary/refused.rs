//! What cannot be, word for word.

use super::{ask, canary, is, start};
use crate::refused::refused;

const NOT: &str = "refused: nothing is changed: cannot";

#[test]
fn a_canary_leaves_at_least_one_slot() {
    let fd3 = start(&[]);
    for slots in ["3", "4"] {
        let why = format!("--canary {slots} of 3 slots; accepted: 1 to 2\n");
        let line = format!("fd3: reload {NOT} reload on these terms: {why}");
        assert_eq!(ask(&fd3, &["reload", "--canary", slots]), (1, line.clone()));
        assert_eq!(ask(&fd3, &["reload", "--no-wait", "--canary", slots]), (1, line));
    }
    is(&ask(&fd3, &["scale", "1"]), 0, "ok ");
    let line = format!("fd3: reload {NOT} reload on these terms: ");
    let why = "--canary leaves no slot as it was; there is only one\n";
    assert_eq!(ask(&fd3, &["reload", "--canary", "1"]), (1, line + why));
    assert_eq!(fd3.count("reloading"), 0, "{}", fd3.log());
}

#[test]
fn without_a_canary_nothing_is_decided() {
    let fd3 = start(&[]);
    for (verb, doing) in [("promote", "promote"), ("rollback", "roll back")] {
        let line = format!("fd3: {verb} {NOT} {doing} the canary: there is none\n");
        assert_eq!(ask(&fd3, &[verb]), (1, line.clone()));
        assert_eq!(ask(&fd3, &[verb, "--no-wait"]), (1, line));
    }
}

#[test]
fn while_it_holds_nothing_else_is_reloaded_by_name() {
    let fd3 = start(&[]);
    is(&canary(&fd3, "1", &["two"]), 0, "ok canary holds ");
    let why = "generation 2 is a canary; first comes fd3 promote or fd3 rollback\n";
    let line = format!("fd3: reload {NOT} reload on these terms: {why}");
    for words in [&["reload"][..], &["reload", "--no-wait"], &["reload", "--canary", "1"]] {
        assert_eq!(ask(&fd3, words), (1, line.clone()), "{words:?}");
    }
    for (verb, doing) in [("promote", "promote"), ("rollback", "roll back")] {
        let line = format!("fd3: {verb} {NOT} {doing} the canary: it is generation 2\n");
        assert_eq!(ask(&fd3, &[verb, "--if-generation", "1"]), (1, line));
    }
    assert_eq!(ask(&fd3, &["rollback", "--no-wait"]), (0, "ok asked for\n".to_string()));
    fd3.line("canary rolled back after=");
}

#[test]
fn what_is_no_number_is_refused_at_once() {
    let table: [(&[&str], &str); 5] = [
        (&["reload", "--canary", "0"], "reload --canary \"0\": accepted: 1 to 9999"),
        (&["reload", "--canary=x"], "reload --canary \"x\": accepted: 1 to 9999"),
        (&["reload", "--canary"], "--canary: needs a value: K"),
        (
            &["promote", "--if-generation=0"],
            "promote --if-generation \"0\": accepted: 1 to 4294967295",
        ),
        (&["rollback", "2"], "rollback \"2\": one word too many; accepted: nothing more"),
    ];
    for (words, said) in table {
        refused(words, 2, said);
    }
}
