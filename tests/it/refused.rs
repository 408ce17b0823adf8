//! fd3 that must not start: one line on stderr, nothing on stdout, the documented status, nobody left.

use std::process::{Command, Stdio};

use crate::harness::{FD3, code, command};

/// Asserts that these words are refused with this status and exactly this line.
pub fn refused(words: &[&str], status: i32, said: &str) {
    let mut fd3 = command(FD3);
    fd3.args(words);
    refused_by(fd3, status, said);
}

/// The same of a prepared command.
pub fn refused_by(fd3: Command, status: i32, said: &str) {
    let said = format!("fd3: {said}");
    let line = refused_in(fd3, Some(status), |_| true);
    assert_eq!(line, said);
}

/// Asserts that it fails with one line of which `holds` is true; the line.
pub fn refused_in(mut fd3: Command, status: Option<i32>, holds: fn(&str) -> bool) -> String {
    // Whoever survives keeps stderr open: then this never returns.
    let output = fd3.stdin(Stdio::null()).output().expect("fd3 starts");
    let stderr = String::from_utf8(output.stderr).expect("a message is UTF-8");
    let what = format!("{fd3:?}").chars().take(2_000).collect::<String>();
    let line = stderr.strip_suffix('\n').unwrap_or_else(|| panic!("{what}: no line: {stderr:?}"));
    assert!(!line.contains(|c: char| c.is_control()), "{what}: {stderr:?}");
    assert!(holds(line), "{what}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{what}");
    let exit = code(output.status);
    match status {
        Some(status) => assert_eq!(exit, status, "{what}: {stderr}"),
        None => assert!([2, 125, 126, 127].contains(&exit), "{what}: {exit}: {stderr}"),
    }
    line.to_string()
}
