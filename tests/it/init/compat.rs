//! Called as tini, docker-init, dumb-init or catatonit: the same table of cases for the original, where it is
//! installed, and for fd3.

use std::path::Path;

use super::{Way, begin_command, in_way, output_of, ways};
use crate::harness::{FD3, Folder, Mark, children, command, kill};
use crate::world::{python, skip_missing};

const NAMES: [&str; 3] = ["tini", "dumb-init", "catatonit"];

/// Prepared variables, words, and what is expected: the status, and stdout where it is the same for both.
struct Case {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
    status: i32,
    stdout: Option<&'static str>,
}

const fn case(
    name: &'static str,
    words: &'static [&'static str],
    status: i32,
    stdout: Option<&'static str>,
) -> Case {
    Case { name, variables: &[], words, status, stdout }
}

const CASES: &[Case] = &[
    case("*", &["--", "sh", "-c", "exit 7"], 7, Some("")),
    case("*", &["true"], 0, Some("")),
    case("*", &["--", "sh", "-c", "kill -TERM $$"], 143, Some("")),
    case("*", &["--", "sh", "-c", "kill -KILL $$"], 137, Some("")),
    case("*", &["--", "echo", "a b", "--", "-c"], 0, Some("a b -- -c\n")),
    case("*", &["--no-such-option", "true"], 1, Some("")),
    case("*", &["-Z", "true"], 1, Some("")),
    case("*", &["-h"], 0, None),
    case("dumb-init", &["--help"], 0, Some("")),
    case("dumb-init", &["-V"], 0, Some("")),
    case("dumb-init", &["--version"], 0, Some("")),
    case("tini", &["--version"], 0, None),
    case("tini", &["-l"], 0, None),
    case("catatonit", &["--version"], 0, None),
    case("catatonit", &["-V"], 0, None),
    case("catatonit", &["-L"], 0, None),
    case("tini", &["--", "/nope"], 127, Some("")),
    case("tini", &["--", "nope-nope"], 127, Some("")),
    case("tini", &["--", "/etc/passwd"], 126, Some("")),
    case("dumb-init", &["--", "/nope"], 2, Some("")),
    case("dumb-init", &["--", "/etc/passwd"], 2, Some("")),
    case("catatonit", &["--", "/nope"], 1, Some("")),
    case("catatonit", &["--", "/etc/passwd"], 1, Some("")),
    case("tini", &["echo", "--", "hi"], 0, Some("hi\n")),
    case("catatonit", &["echo", "--", "hi"], 0, Some("hi\n")),
    case("dumb-init", &["echo", "--", "hi"], 0, Some("-- hi\n")),
    case("dumb-init", &["sh", "-c", "exit 9"], 9, Some("")),
    case("tini", &["-s", "-g", "-vvv", "-e", "143", "--", "sh", "-c", "kill -TERM $$"], 0, None),
    case("tini", &["-e143", "-e", "5", "--", "sh", "-c", "exit 5"], 0, Some("")),
    case("tini", &["-e", "256", "--", "true"], 1, Some("")),
    case("tini", &["-p", "SIGKILL", "--", "sh", "-c", "exit 4"], 4, Some("")),
    case("tini", &["-p", "NOPE", "--", "true"], 1, Some("")),
    case("dumb-init", &["-c", "-v", "-r", "15:3", "sh", "-c", "exit 4"], 4, Some("")),
    case(
        "dumb-init",
        &["--single-child", "--verbose", "--rewrite=1:0", "sh", "-c", "exit 4"],
        4,
        None,
    ),
    case("dumb-init", &["-r", "x:y", "true"], 1, Some("")),
    case("dumb-init", &["-r", "32:1", "true"], 1, Some("")),
    case("dumb-init", &["-r", "15", "true"], 1, Some("")),
    case("tini", &[], 1, None),
    case("dumb-init", &[], 1, None),
    case("catatonit", &[], 1, None),
    // Nobody waits for whoever is left.
    case("*", &["--", "sh", "-c", "setsid sleep 5 >/dev/null 2>&1 & exit 3"], 3, Some("")),
];

/// The originals that are here, and fd3 by their names.
fn programs(folder: &Folder) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for name in NAMES {
        let link = folder.path(name);
        std::os::unix::fs::symlink(FD3, &link).expect("the folder is ours");
        all.push((name, link));
        let original = format!("/usr/bin/{name}");
        if Path::new(&original).exists() {
            all.push((name, original));
        } else {
            skip_missing(name);
        }
    }
    all
}

#[test]
fn every_case_has_the_same_status_and_output() {
    let folder = Folder::new();
    for (name, program) in programs(&folder) {
        for case in CASES.iter().filter(|case| [name, "*"].contains(&case.name)) {
            for way in ways() {
                let mut command = in_way(way, &program);
                command.args(case.words).envs(case.variables.iter().copied());
                let _mark = Mark::on(&mut command);
                let (status, stdout, stderr) = output_of(&mut command);
                let what = format!("{way:?}: {program} {:?}: {stdout:?} {stderr:?}", case.words);
                assert_eq!(status, case.status, "{what}");
                if let Some(expected) = case.stdout {
                    assert_eq!(stdout, expected, "{what}");
                }
            }
        }
    }
}

/// dockerd reads this of whatever it was told is its docker-init.
#[test]
fn the_version_is_one_that_dockerd_understands() {
    let folder = Folder::new();
    for name in ["docker-init", "tini", "catatonit"] {
        let path = folder.path(name);
        // By a process of its own: what other tests start meanwhile would keep it open for writing.
        let (status, ..) = output_of(command("cp").args([FD3, &path]));
        assert_eq!(status, 0);
        let (status, stdout, _) = output_of(command(&path).arg("--version"));
        assert_eq!(status, 0, "{name}");
        let version = stdout.strip_prefix("tini version ").expect("dockerd looks for this");
        assert!(version.contains(concat!("fd3-", env!("CARGO_PKG_VERSION"))), "{version}");
    }
}

/// What the child finds of what its grandparent ignored and blocked.
#[test]
fn signals_are_passed_on_as_each_of_them_does() {
    let folder = Folder::new();
    let script = "
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGWINCH})
for n in [1, 13, 25]: signal.signal(n, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])";
    for (name, program) in programs(&folder) {
        let grep = ["/bin/grep", "Sig[BI]", "/proc/self/status"];
        let mut wrapper = command(python());
        // Whoever runs the tests may ignore some as well.
        let (_, as_found, _) = output_of(wrapper.args(["-I", "-c", script]).args(grep));
        assert!(as_found.starts_with("SigBlk:\t0000000008000800\n"), "{as_found}");
        let ignored = |stdout: &str| {
            let last = stdout.trim_end().rsplit('\t').next().unwrap_or_default();
            u64::from_str_radix(last, 16).expect("it is hexadecimal")
        };
        assert_eq!(ignored(&as_found) & 0x1001001, 0x1001001, "{as_found}");
        // The original leaves TSTP, TTIN and TTOU blocked: a bug of old.
        if name == "catatonit" && program.starts_with("/usr") {
            continue;
        }
        let mut wrapper = command(python());
        let (status, stdout, _) =
            output_of(wrapper.args(["-I", "-c", script, &program, "--"]).args(grep));
        assert_eq!(status, 0, "{program}");
        if name == "dumb-init" {
            // Of real-time ones it knows nothing.
            assert!(stdout.starts_with("SigBlk:\t0000000000000000\n"), "{program}: {stdout}");
            assert_eq!(ignored(&stdout) & 0x7fff_ffff, 0, "{program}: {stdout}");
        } else {
            assert_eq!(stdout, as_found, "{program}");
        }
    }
}

/// Tells who it is when USR1 and QUIT come, and so does its child.
const FAMILY: &str = "
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {1, 3, 10, 15})
who = b'child' if os.fork() == 0 else b'parent'
os.write(1, who + b' up\\n')
while True: os.write(1, who + b' got %d.\\n' % signal.sigwait({1, 3, 10, 15}))";

/// A name, words, variables, and whether the group gets them.
type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], bool);

#[test]
fn signals_reach_whom_each_of_them_tells() {
    let folder = Folder::new();
    let table: &[Row] = &[
        ("tini", &[], &[], false),
        ("tini", &["-g"], &[], true),
        ("tini", &[], &[("TINI_KILL_PROCESS_GROUP", "")], true),
        ("dumb-init", &[], &[], true),
        ("dumb-init", &["-c"], &[], false),
        ("dumb-init", &[], &[("DUMB_INIT_SETSID", "0")], false),
        ("dumb-init", &[], &[("DUMB_INIT_SETSID", "1")], true),
        ("catatonit", &[], &[], false),
        ("catatonit", &["-g"], &[], true),
    ];
    for (name, program) in programs(&folder) {
        for (_, words, variables, group) in table.iter().filter(|row| row.0 == name) {
            let mut command = in_way(Way::Ordinary, &program);
            command.args(*words).args(["--", python(), "-I", "-c", FAMILY]);
            command.envs(variables.iter().copied());
            let (fd3, pid) = begin_command(Way::Ordinary, command, "parent up");
            fd3.line("child up");
            let what = format!("{program} {words:?} {variables:?}");
            kill(pid, libc::SIGUSR1);
            fd3.line("parent got 10.");
            if *group {
                fd3.line("child got 10.");
            } else {
                kill(pid, libc::SIGHUP);
                fd3.line("parent got 1.");
                assert_eq!(fd3.count("child got"), 0, "{what}");
            }
            for child in
                children(pid).into_iter().flat_map(|one| [children(one), vec![one]].concat())
            {
                kill(child, libc::SIGKILL);
            }
        }
    }
}

#[test]
fn dumb_init_rewrites() {
    let folder = Folder::new();
    let rewrites: &[&[&str]] = &[
        &["-r", "10:3", "-r", "15:0"],
        &["--rewrite", "10:3", "--rewrite=15:0"],
        &["-r10:1", "-r", "10:3", "-r", "15:0"],
    ];
    for (_, program) in programs(&folder).iter().filter(|(name, _)| *name == "dumb-init") {
        for words in rewrites {
            let mut command = in_way(Way::Ordinary, program);
            command.args(*words).args([python(), "-I", "-c", FAMILY]);
            let (fd3, pid) = begin_command(Way::Ordinary, command, "parent up");
            fd3.line("child up");
            kill(pid, libc::SIGTERM);
            kill(pid, libc::SIGUSR1);
            fd3.line("parent got 3.");
            fd3.line("child got 3.");
            assert_eq!(fd3.count("got 15."), 0, "{program} {words:?}");
        }
    }
}

/// What none of them does, and docker-init cannot be told by options.
#[test]
fn who_is_left_may_finish_when_a_variable_says_so() {
    let folder = Folder::new();
    let script =
        "trap 'sleep 0.2; echo finished; exit' TERM; echo up; while :; do sleep 0.05; done";
    let script = format!("setsid sh -c \"{script}\" & sleep 0.3; exit 3");
    let ours = programs(&folder);
    for way in ways() {
        for (name, program) in ours.iter().filter(|one| !one.1.starts_with("/usr")) {
            let mut command = in_way(way, program);
            command.env("FD3_STOP_TIMEOUT", "90s").env("TINI_SUBREAPER", "");
            let _mark = Mark::on(&mut command);
            let (status, stdout, _) = output_of(command.args(["--", "sh", "-c", &script]));
            // dumb-init is no subreaper where it is not PID 1: who is left is somebody else's there.
            if way == Way::First || *name != "dumb-init" {
                assert_eq!((status, &*stdout), (3, "up\nfinished\n"), "{way:?} {name}");
            }
        }
    }
    let mut command = command(folder.path("tini"));
    let (status, _, stderr) = output_of(command.env("FD3_STOP_TIMEOUT", "x").arg("true"));
    assert_eq!(status, 1);
    assert!(stderr.starts_with("fd3: FD3_STOP_TIMEOUT: accepted: "), "{stderr}");
}

#[test]
fn catatonit_pauses() {
    let folder = Folder::new();
    for (_, program) in programs(&folder).iter().filter(|(name, _)| *name == "catatonit") {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let mut command = in_way(Way::Ordinary, program);
            let mut child = command.arg("-P").spawn().expect("it starts");
            let caught = || {
                let path = format!("/proc/{}/status", child.id());
                let status = std::fs::read_to_string(path).unwrap_or_default();
                let name = program.rsplit('/').next().unwrap_or_default();
                status.contains(&format!("Name:\t{name}")) && status.contains("State:\tS")
            };
            crate::harness::until("it waits", caught);
            kill(child.id() as i32, signal);
            assert_eq!(crate::harness::code(child.wait().expect("it is ours")), 0, "{program}");
        }
    }
}
