//! `--env-file`: variables for workers, from files.

use crate::harness::{FD3, Fd3, Folder, command, kill, run};
use crate::refused::refused;

/// Tells the values of some variables, each in its own line, with a bar at the end.
const TELLS: &str = "for name; do eval \"[ -z \\\"\\${$name+set}\\\" ] || \
                     printf '%s=%s|\\n' $name \\\"\\$$name\\\"\"; done; echo end";

/// fd3 with these words and variables of its own, and a worker that tells what it has of `names`.
fn told(own: &[(&str, &str)], words: &[&str], names: &[&str]) -> Vec<String> {
    let mut wrapper = command(FD3);
    wrapper.envs(own.iter().copied()).args(["run", "-q", "--restart", "never"]).args(words);
    wrapper.args(["--", "sh", "-c", TELLS, "sh"]).args(names);
    let mut fd3 = Fd3::start(wrapper);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.line("end");
    fd3.log().lines().filter(|line| *line != "end").map(str::to_string).collect()
}

#[test]
fn workers_get_the_variables_as_they_stand() {
    let folder = Folder::new();
    let text =
        "# all of it\n\nPLAIN=a\n \tEMPTY=\r\nODD=\"$HOME\" 'x' # \\n \nEQUAL=a=b\n#NONE=1\n";
    let file = folder.file("env", text, 0o600);
    let names = ["PLAIN", "EMPTY", "ODD", "EQUAL", "NONE"];
    let expected = ["PLAIN=a|", "EMPTY=|", "ODD=\"$HOME\" 'x' # \\n |", "EQUAL=a=b|"];
    assert_eq!(told(&[], &["--env-file", &file], &names), expected);
    let line = folder.file("conf", &format!("env-file {file}\n"), 0o600);
    assert_eq!(told(&[], &["--config", &line], &names), expected);
}

#[test]
fn a_later_file_wins_over_an_earlier_one_and_both_over_what_fd3_has() {
    let folder = Folder::new();
    let one = folder.file("one", "A=one\nB=one\nB=again\n", 0o600);
    let two = folder.file("two", "A=two\nC=two\n", 0o600);
    let own = [("B", "own"), ("C", "own"), ("D", "own")];
    let names = ["A", "B", "C", "D"];
    let (one, two) = (["--env-file", &one], ["--env-file", &two]);
    let table: [(&[&str], [&str; 4]); 3] = [
        (&[one[0], one[1], two[0], two[1]], ["A=two|", "B=again|", "C=two|", "D=own|"]),
        (&[two[0], two[1], one[0], one[1]], ["A=one|", "B=again|", "C=two|", "D=own|"]),
        (&[two[0], two[1], two[0], two[1]], ["A=two|", "B=own|", "C=two|", "D=own|"]),
    ];
    for (words, expected) in table {
        assert_eq!(told(&own, words, &names), expected, "{words:?}");
    }
    // As with all options: what is typed replaces the lines of --config.
    let conf = folder.file("conf", &format!("env-file {}\n", one[1]), 0o600);
    let expected = ["A=two|", "B=own|", "C=two|", "D=own|"];
    assert_eq!(told(&own, &["--config", &conf, two[0], two[1]], &names), expected);
}

#[test]
fn what_fd3_tells_its_workers_is_its_own() {
    let folder = Folder::new();
    let text = "LISTEN_FDS=7\nLISTEN_PID=1\nLISTEN_FDNAMES=x\nNOTIFY_SOCKET=/x\nFD3_SLOT=7\n\
                FD3_OTHER=7\nWATCHDOG_USEC=7\nNGINX=7;\nLISTENER=kept\n";
    let file = folder.file("env", text, 0o600);
    let names = ["LISTEN_FDS", "LISTEN_FDNAMES", "FD3_SLOT", "FD3_OTHER", "WATCHDOG_USEC", "NGINX"];
    let all = [&names[..], &["LISTEN_PID", "NOTIFY_SOCKET", "LISTENER"]].concat();
    let words = ["--env-file", &file, "-l", "127.0.0.1:0,name=web"];
    let told_some = told(&[], &words, &all);
    let (known, rest) = told_some.split_at(3);
    assert_eq!(known, ["LISTEN_FDS=1|", "LISTEN_FDNAMES=web|", "FD3_SLOT=0|"]);
    let [pid, notify, listener] = rest else { panic!("{told_some:?}") };
    assert!(pid.starts_with("LISTEN_PID=") && pid != "LISTEN_PID=1|", "{pid}");
    assert!(notify.starts_with("NOTIFY_SOCKET=@"), "{notify}");
    assert_eq!(listener, "LISTENER=kept|");
    // Without listeners, and with plain, nothing is told, and nothing that is wrong.
    for words in [&words[..2], &[&words[..], &["--protocol", "plain"]].concat()] {
        assert_eq!(told(&[], words, &names), ["FD3_SLOT=0|"], "{words:?}");
    }
}

#[test]
fn command_is_looked_for_in_the_path_that_its_workers_get() {
    let folder = Folder::new();
    folder.file("app", "#!/bin/sh\necho \"here with $PATH\"", 0o755);
    let path = folder.path("");
    let file = folder.file("env", &format!("PATH=/nope:{path}\n"), 0o600);
    let mut fd3 = run(&["--restart", "never", "--env-file", &file, "--", "app"]);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.line(&format!("here with /nope:{path}"));
    let said = "cannot execute sh: not found in PATH";
    refused(&["run", "--env-file", &file, "--", "sh"], 127, said);
}

/// As after an upgrade of the system: the old file is gone, the new one lies elsewhere in PATH.
#[test]
fn a_worker_that_is_started_again_is_looked_for_again() {
    let (one, two) = (Folder::new(), Folder::new());
    let app = |name: &str| format!("#!/bin/sh\necho \"here is {name}\"\nexec sleep 1000\n");
    let old = two.file("app", &app("old"), 0o755);
    let path = format!("PATH={}:{}:/bin:/usr/bin\n", one.path(""), two.path(""));
    let file = one.file("env", &path, 0o600);
    let mut fd3 = run(&["--backoff", "1ms..1ms", "--env-file", &file, "--", "app"]);
    fd3.line("here is old");
    one.file("app", &app("new"), 0o755);
    std::fs::remove_file(old).expect("it is there");
    kill(fd3.worker(0), libc::SIGKILL);
    fd3.line("here is new");
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn variables_may_come_through_a_pipe() {
    let script = "exec \"$0\" run -q --restart never --env-file <(printf 'A=1\\nB=2\\n') \
                  -- sh -c 'echo told $A$B'";
    let mut bash = command("bash");
    bash.args(["-c", script, FD3]);
    let mut fd3 = Fd3::start(bash);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.line("told 12");
}

#[test]
fn a_bad_file_is_refused_and_nothing_of_it_is_shown() {
    let folder = Folder::new();
    let path = folder.path("env");
    let many: String = (0..4097).map(|number| format!("N{number}=x\n")).collect();
    let (no, name) = (
        "has no \"=\"; accepted: NAME=VALUE",
        "what stands before \"=\" is no name; accepted: visible ASCII, no blanks",
    );
    let table: &[(&[u8], usize, &str)] = &[
        (b"secret", 1, no),
        (b"A=1\n# \n\nKEY=secret\r\nsecret\n", 5, no),
        (b"export A=secret", 1, name),
        (b"A=1\n=secret\n", 2, name),
        (b"\xff=secret\n", 1, name),
        (b"A=1\nB=sec\0ret\n", 2, "holds a NUL byte"),
        (many.as_bytes(), 4097, "one too many; accepted: 4096 variables"),
    ];
    for (text, line, said) in table {
        std::fs::write(&path, text).expect("the folder can be written to");
        let said = format!("\"{path}\", line {line}: {said}");
        let words = ["run", "--env-file", &path, "/bin/true"];
        refused(&words, 2, &format!("--env-file {said}"));
        let conf = folder.file("conf", &format!("quiet\nenv-file {path}\n"), 0o600);
        let words = ["run", "--config", &conf, "/bin/true"];
        refused(&words, 2, &format!("--config {conf}, line 2: env-file {said}"));
    }
    let big = folder.file("big", &"#\n".repeat(600_000), 0o600);
    for (path, why) in [
        ("/nope/env", "no such file or directory"),
        ("", "no such file or directory"),
        ("/", "is a directory"),
        ("/dev/zero", "file too large"),
        (&big, "file too large"),
    ] {
        let said = format!("cannot read --env-file \"{path}\": {why}");
        refused(&["run", "--env-file", path, "/bin/true"], 2, &said);
        // After a good one, too.
        refused(&["run", "--env-file", "/dev/null", "--env-file", path, "/bin/true"], 2, &said);
    }
}
