//! What fd3 tells of itself.

use crate::harness::{output, stderr_of};

/// Whether every part of the program is there.
const WHOLE: bool = cfg!(all(
    feature = "check",
    feature = "control",
    feature = "fd-store",
    feature = "init",
    feature = "metrics",
    feature = "records",
    feature = "settings",
    feature = "upgrade"
));

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
    let status = include_str!("../golden/help_status.txt");
    let scale = include_str!("../golden/help_scale.txt");
    let restart = include_str!("../golden/help_restart.txt");
    let stop = include_str!("../golden/help_stop.txt");
    let log_level = include_str!("../golden/help_log-level.txt");
    let check = include_str!("../golden/help_check.txt");
    let table: &[(&[&str], &str, &str)] = &[
        (&["help"], "help.txt", include_str!("../golden/help.txt")),
        (&["--help"], "help.txt", include_str!("../golden/help.txt")),
        (&["help", "run"], "help_run.txt", run),
        (&["run", "--help"], "help_run.txt", run),
        (&["run", "-w", "2", "-h", "--", "/bin/true"], "help_run.txt", run),
        (&["help", "init"], "help_init.txt", include_str!("../golden/help_init.txt")),
        (&["init", "-h"], "help_init.txt", include_str!("../golden/help_init.txt")),
        (&["help", "reload"], "help_reload.txt", reload),
        (&["reload", "--no-wait", "--help"], "help_reload.txt", reload),
        (&["help", "status"], "help_status.txt", status),
        (&["status", "-h", "--json"], "help_status.txt", status),
        (&["scale", "-h"], "help_scale.txt", scale),
        (&["help", "restart"], "help_restart.txt", restart),
        (&["stop", "--now", "-h"], "help_stop.txt", stop),
        (&["help", "upgrade"], "help_upgrade.txt", include_str!("../golden/help_upgrade.txt")),
        (&["log-level", "--help"], "help_log-level.txt", log_level),
        (&["help", "check"], "help_check.txt", check),
        (&["check", "-h", "x", "y"], "help_check.txt", check),
    ];
    for (words, name, golden) in table {
        // What this build of fd3 has not.
        let lacks = |command: &str, here: bool| !here && words.contains(&command);
        let orders = ["reload", "status", "scale", "restart", "stop", "log-level"];
        if lacks("check", cfg!(feature = "check"))
            || lacks("init", cfg!(feature = "init"))
            || lacks("upgrade", cfg!(all(feature = "control", feature = "upgrade")))
            || orders.iter().any(|order| lacks(order, cfg!(feature = "control")))
        {
            continue;
        }
        let help = help(words);
        if !WHOLE {
            // Without a part of the program, nothing is told of it.
            let all = |line| golden.lines().any(|known| known == line);
            assert!(help.lines().all(all), "{words:?}: {help}");
            continue;
        }
        if std::env::var_os("FD3_BLESS").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            std::fs::write(path.join(name), &help).expect("the sources can be written to");
        } else {
            assert_eq!(help, *golden, "{words:?}: see tests/golden/{name}");
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
