//! What fd3 tells of itself.

use crate::harness::{output, stderr_of};

fn help(words: &[&str]) -> String {
    let output = output(words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn every_option_of_a_listener_is_explained() {
    let refused = stderr_of(&output(&["run", "-l", ":80,x", "/bin/true"]));
    let (_, accepted) = refused.split_once("accepted: ").expect("it lists them");
    let readme = include_str!("../../README.md");
    let (help, mut count) = (help(&["help", "run"]), 0);
    for option in accepted.trim().split(", ") {
        assert!(help.contains(&format!(" {option}")), "{option} is not in the help");
        assert!(readme.contains(&format!("`{option}`")), "{option} is not in the README");
        count += 1;
    }
    assert_eq!(count, 13);
}
