//! Programs of those who passed sockets before fd3, and of their signals: read as their libraries read.

use super::{
    pid_over_http, program, run, serves_and_survives, serves_survives_and_stops, stops, text,
};
use crate::harness::{Fd3, Folder};

/// Two workers that read the variables as the library of this name does.
fn seed(name: &str, words: &[&str]) -> Option<(Fd3, Folder)> {
    let python = program("python3")?;
    let folder = Folder::new();
    let script = folder.file("seed.py", include_str!("seed.py"), 0o644);
    let common = ["-l", "127.0.0.1:0", "-w", "2"];
    let fd3 = run(&[&common[..], words, &["--", text(&python), &script, name]].concat());
    Some((fd3, folder))
}

/// Under `--ready signal` a worker is ready by its signal alone: without it, it would be told to stop.
fn serves(name: &str, words: &[&str]) {
    let Some((fd3, _folder)) = seed(name, words) else { return };
    let port = fd3.port();
    serves_survives_and_stops(fd3, 2, &|| pid_over_http(port));
}

#[test]
fn an_einhorn_worker_counts_its_descriptors() {
    serves("einhorn", &["--protocol", "einhorn", "--ready", "50ms"]);
}

#[test]
fn a_socketmaster_child_notifies_its_master() {
    serves("socketmaster", &["--protocol", "socketmaster", "--ready", "signal"]);
}

#[test]
fn a_goat_knows_its_number() {
    let words = ["--protocol", "goatflap", "--ready", "50ms"];
    let Some((mut fd3, _folder)) = seed("goatflap", &words) else { return };
    let port = fd3.port();
    let says = |number| drop(fd3.line(&format!("goat proc {number} ")));
    (1..=2).for_each(says);
    serves_and_survives(&fd3, 2, &|| pid_over_http(port));
    // Never used again: the two that took the place of the killed ones are 3 and 4.
    (3..=4).for_each(says);
    stops(&mut fd3);
}

#[test]
fn a_gograceful_child_interrupts_its_parent_and_is_ready() {
    serves("gograceful", &["--protocol", "gograceful", "--ready", "signal"]);
}

#[test]
fn a_goagain_child_signals_its_parent_and_is_ready() {
    serves("goagain", &["--protocol", "goagain", "--ready", "signal"]);
}

#[test]
fn a_facebook_grace_child_terminates_its_parent_and_is_ready() {
    serves("facebook", &["--ready", "signal"]);
}

#[test]
fn a_facebook_grace_childs_term_is_no_order_to_stop() {
    // Ready by time, and the signal means nothing at all.
    serves("facebook", &[]);
}

#[test]
fn the_signals_of_many_workers_do_not_melt_into_one() {
    let script = "kill -USR1 $PPID; exec sleep 1000";
    let mut fd3 = run(&["-w", "16", "--ready", "signal", "--", "sh", "-c", script]);
    fd3.ready(16);
    stops(&mut fd3);
}
