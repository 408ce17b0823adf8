//! The man pages and completions that scripts/docs makes.

use std::process::Output;

use crate::harness::{FD3, Folder, code, command, output, stderr_of};
use crate::servers::program;
use crate::world::python;

/// The folder with all of them.
fn docs() -> Folder {
    let folder = Folder::new();
    let mut docs = command(python());
    docs.args([concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/docs"), "--fd3", FD3]);
    let done = docs.arg(folder.path("")).output().expect("python starts");
    assert!(done.status.success(), "{}", stderr_of(&done));
    folder
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_option_is_in_all_of_them() {
    let folder = docs();
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).expect("it was made");
    let page = read("man/man8/fd3.8").replace("\\-", "-");
    let shells = ["bash-completion/completions/fd3", "zsh/site-functions/_fd3"].map(read);
    let fish = read("fish/vendor_completions.d/fd3.fish");
    let front = stdout_of(&output(&["help"]));
    let commands = front.lines().filter_map(|line| line.strip_prefix("  fd3 ")?.split(' ').next());
    let mut options = 0;
    for command in commands.filter(|command| !["help", "version"].contains(command)) {
        let (_, chapter) = page.split_once(&format!(".SS fd3 {command}\n")).expect(command);
        let chapter = chapter.split("\n.SS ").next().unwrap_or(chapter);
        for line in stdout_of(&output(&["help", command])).lines() {
            let Some(at) = line.find("--").filter(|at| *at == 6) else { continue };
            let name = line[at..].split(' ').next().expect("a word");
            assert!(chapter.contains(&format!("\\fB{name}\\fR")), "{command} {name}");
            assert!(shells.iter().all(|text| text.contains(name)), "{command} {name}");
            let fish_knows = format!("from {command}'");
            let long = format!(" -l {} ", &name[2..]);
            let known = |line: &str| line.contains(&fish_knows) && line.contains(&long);
            assert!(fish.lines().any(known), "{command} {name}");
            options += 1;
        }
    }
    assert!(options > 20, "{options}");
}

#[test]
fn the_pages_are_good_roff() {
    let Some(groff) = program("groff") else { return };
    let folder = docs();
    for (page, has) in [
        ("man/man8/fd3.8", ["OPTIONS OF A LISTENER", "--respawn-limit N/TIME|none", "127"]),
        ("man/man7/fd3-protocol.7", ["NOTIFY_SOCKET", "FDSTORE=1", "reload --verbose"]),
    ] {
        let words = ["-man", "-Tutf8", "-ww", "-P-cbou", "-K", "utf8"];
        let done = command(&groff).args(words).arg(folder.path(page)).output().expect("it starts");
        assert_eq!(stderr_of(&done), "", "{page}");
        let shown = stdout_of(&done).replace('\u{2212}', "-");
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in has {
            assert!(shown.contains(text), "{page} has no {text:?}: {shown}");
        }
        // Nothing of Markdown is left.
        assert!(!shown.contains("**") && !shown.contains("]("), "{shown}");
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    let Some(bash) = program("bash") else { return };
    let folder = docs();
    let file = folder.path("bash-completion/completions/fd3");
    let table: &[(&[&str], &[&str])] = &[
        (&["ru"], &["run"]),
        (&["run", "--restart"], &["--restart"]),
        (&["run", "--stop-t"], &["--stop-timeout"]),
        (&["run", "--restart", "o"], &["on-failure"]),
        (&["run", "--restart", "=", "o"], &["on-failure"]),
        (&["run", "--workers", "=", "4", "--surg"], &["--surge"]),
        (&["run", "-w", "4", "--stop-signal", "TE"], &["TERM"]),
        (&["run", "--listen", ":80"], &[""]),
        (&["run", "-q", "--", "groupad"], &["groupadd"]),
        // From here on they are the command's own.
        (&["run", "true", "--surg"], &[""]),
        (&["help", "ver"], &["version"]),
        (&["nonsense", "--"], &[""]),
    ];
    for (words, offered) in table {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/docs/complete.bash");
        let mut shell = command(&bash);
        shell.args(["--norc", script, &file, "fd3"]).args(*words);
        let done = shell.env("PATH", "/usr/sbin:/usr/bin:/bin").output().expect("it starts");
        let all = stdout_of(&done);
        let mut lines: Vec<&str> = all.lines().collect();
        lines.dedup();
        assert_eq!(lines, *offered, "{words:?} {}", stderr_of(&done));
    }
}

#[test]
fn fish_completes_commands_options_and_values() {
    let Some(fish) = program("fish") else { return };
    let folder = docs();
    let file = folder.path("fish/vendor_completions.d/fd3.fish");
    for (line, offered) in [
        ("fd3 ru", "run\t"),
        ("fd3 run --surg", "--surge\thow many workers more"),
        ("fd3 run --restart o", "on-failure\t"),
        ("fd3 run --stop-signal TE", "TERM\t"),
        ("fd3 run --env-file /etc/passw", "/etc/passwd"),
        ("fd3 help versi", "version"),
    ] {
        let mut shell = command(&fish);
        shell.args(["-N", "-c", "source $argv[1]; complete -C $argv[2]", &file, line]);
        let done = shell.env("HOME", folder.path("")).output().expect("it starts");
        let all = stdout_of(&done);
        assert!(all.starts_with(offered), "{line}: {all} {}", stderr_of(&done));
    }
}

#[test]
fn zsh_completes_commands_options_and_values() {
    let Some(zsh) = program("zsh") else { return };
    let folder = docs();
    let functions = folder.path("zsh/site-functions");
    for (line, shown) in [
        ("fd3 ", "run *bind, start workers"),
        ("fd3 run --surg", "how many workers more"),
        ("fd3 run --restart ", "always*never*on-failure"),
        ("fd3 run -w 2 --stop-signal T", "TERM*TTOU"),
        ("fd3 run -q -- /bin/gre", "grep"),
    ] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/docs/complete.zsh");
        let mut shell = command("timeout");
        shell.args(["90"]).arg(&zsh).args(["-f", script, &functions, line, shown]);
        let done = shell.env("HOME", folder.path("")).output().expect("it starts");
        assert_eq!(code(done.status), 0, "{line}: {}{}", stdout_of(&done), stderr_of(&done));
    }
}
