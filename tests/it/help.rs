//! What fd3 tells of itself.

use crate::harness::{output, stderr_of};

fn help(words: &[&str]) -> String {
    let output = output(words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    String::from_utf8(output.stdout).expect("help is text")
}

/// After a change that is meant: `FD3_BLESS=1 cargo test --test it help`, and a look at the difference.
#[test]
fn the_help_is_as_in_the_golden_files() {
    let run = include_str!("../golden/help_run.txt");
    let reload = include_str!("../golden/help_reload.txt");
    let table: [(&[&str], &str, &str); 7] = [
        (&["help"], "help.txt", include_str!("../golden/help.txt")),
        (&["--help"], "help.txt", include_str!("../golden/help.txt")),
        (&["help", "run"], "help_run.txt", run),
        (&["run", "--help"], "help_run.txt", run),
        (&["run", "-w", "2", "-h", "--", "/bin/true"], "help_run.txt", run),
        (&["help", "reload"], "help_reload.txt", reload),
        (&["reload", "--no-wait", "--help"], "help_reload.txt", reload),
    ];
    for (words, name, golden) in table {
        let help = help(words);
        if std::env::var_os("FD3_BLESS").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            std::fs::write(path.join(name), &help).expect("the sources can be written to");
        } else {
            assert_eq!(help, golden, "{words:?}: see tests/golden/{name}");
        }
    }
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
