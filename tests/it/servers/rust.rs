//! A Rust program that takes its socket with the crate listenfd.

use super::{TIME_TO_STOP, pid_over_http, serves_survives_and_stops};
use crate::library::run_part;

#[test]
fn listenfd_finds_its_listener() {
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "50ms"];
    let fd3 = run_part(&[&TIME_TO_STOP[..], &words].concat(), "serves_by_listenfd");
    let port = fd3.port();
    serves_survives_and_stops(fd3, 2, &|| pid_over_http(port));
}
