//! What a program is given before fd3 becomes it: a user, a folder, limits, rights, variables. Each claim of a
//! worker and of the program of `fd3 init`, by fd3 as an ordinary process and as PID 1 of a namespace.

mod refused;
mod user;

use crate::harness::{FD3, Fd3, Folder, command, run};
use crate::world::{Way, in_way, is_root, skip, ways};

/// What runs one program to its end, and leaves it at that.
const RUN: &[&str] = &["run", "-q", "--restart", "never"];
const BOTH: &[&[&str]] = if cfg!(feature = "init") { &[RUN, &["init", "-q"]] } else { &[RUN] };

/// Each of [`BOTH`] with these words, behind `before`, and a program that does this and ends; what it said, each
/// time.
fn said_under(before: &[&str], words: &[&str], script: &str) -> Vec<String> {
    let mut all: Vec<Vec<String>> = Vec::new();
    for own in BOTH {
        for way in ways() {
            let fd3 = told(way, before, own, words, script);
            fd3.line(END);
            let log = fd3.log();
            all.push(log.lines().filter(|line| *line != END).map(str::to_string).collect());
        }
    }
    let last = all.pop().unwrap_or_default();
    assert!(all.iter().all(|said| *said == last), "{words:?}: {last:?} {all:?}");
    last
}

/// The same, once, but for what it said, which may not have been read yet.
fn told(way: Way, before: &[&str], own: &[&str], words: &[&str], script: &str) -> Fd3 {
    let script = format!("{script}\necho {END}");
    let all = [before, &[FD3], own, words, &["--", "sh", "-c", &script]].concat();
    let mut first = in_way(way, all[0]);
    first.args(&all[1..]);
    let mut fd3 = Fd3::start(first);
    assert_eq!(fd3.exit(), 0, "{way:?} {own:?} {words:?}: {}", fd3.log());
    fd3
}

/// What the program says last.
const END: &str = "that was all";

fn said(words: &[&str], script: &str) -> Vec<String> {
    said_under(&[], words, script)
}

#[test]
fn limits_are_set_and_all_others_are_fd3s() {
    let table: &[(&str, &str, &str)] = &[
        ("--rlimit", "nofile=100:200", "ulimit -Sn; ulimit -Hn"),
        ("--rlimit", "nofile=150", "ulimit -Sn; ulimit -Hn"),
        ("--rlimit", "core=0:1G", "ulimit -Sc; ulimit -Hc"),
        ("--rlimit", "cpu=7", "ulimit -St; ulimit -Ht"),
        ("--umask", "027", "umask"),
        ("--nice", "7", "nice"),
        ("--chdir", "/proc/self/..", "pwd -P"),
    ];
    let expected: &[&[&str]] = &[
        &["100", "200"],
        &["150", "150"],
        &["0", "2097152"],
        &["7", "7"],
        &["0027"],
        &["7"],
        &["/proc"],
    ];
    for ((option, value, script), expected) in table.iter().zip(expected) {
        let before = ["prlimit", "--core=unlimited:unlimited", "sh", "-c"];
        let before = [&before[..], &["umask 022; cd /; exec \"$@\"", "sh"]].concat();
        assert_eq!(said_under(&before, &[option, value], script), *expected, "{value}");
        let others = said_under(&before, &[], script);
        assert_ne!(others, *expected, "{value}");
    }
}

/// fd3 raises its own limit for as many workers; what a worker is told to have is what it has.
#[test]
fn a_limit_of_descriptors_is_not_what_fd3_needs_itself() {
    let before = ["prlimit", "--nofile=100:4000"];
    let script = "ulimit -Sn; ulimit -Hn";
    assert_eq!(said_under(&before, &[], script), ["100", "4000"]);
    let many = ["-w", "100", "--ready", "0s", "--stdin", "inherit", "--rlimit", "nofile=50:60"];
    let fd3 = told(Way::Ordinary, &before, RUN, &many, script);
    fd3.nth_line(END, 99);
    assert_eq!((fd3.count("50"), fd3.count("60")), (100, 100), "{}", fd3.log());
}

#[test]
fn a_relative_command_is_looked_for_where_it_is_run() {
    let folder = Folder::new();
    folder.file("app", "#!/bin/sh\necho here in \"$(pwd -P)\"", 0o755);
    std::fs::create_dir(folder.path("sub")).expect("the folder is ours");
    let (top, sub) = (folder.path(""), folder.path("sub"));
    let top = std::fs::canonicalize(top).expect("it is there");
    let top = top.to_str().expect("it is text");
    for (words, path) in [
        (["--chdir", top, "--", "./app"], "/bin:/usr/bin"),
        (["--chdir", &sub, "--", "../app"], "/bin:/usr/bin"),
        (["--chdir", top, "--", "app"], "/bin::/usr/bin"),
        (["--chdir", &sub, "--", "app"], "/bin:..:/usr/bin"),
    ] {
        for own in BOTH {
            let mut fd3 = command(FD3);
            fd3.args(*own).args(words).env("PATH", path);
            let mut fd3 = Fd3::start(fd3);
            assert_eq!(fd3.exit(), 0, "{own:?} {words:?}: {}", fd3.log());
            fd3.line(&format!("here in {top}"));
        }
    }
}

#[test]
fn variables_are_typed_or_from_files_or_fd3s_own() {
    let folder = Folder::new();
    let file = folder.file("env", "A=file\nB=file\n", 0o600);
    let own = ["env", "A=own", "B=own", "C=own", "D=own"];
    let given = ["--env", "A=typed", "--env-file", &file, "--env", "D= x=\"y\" ", "--env", "E="];
    let script = "echo \"$A|$B|$C|$D|${E-unset}|${F-unset}\"";
    assert_eq!(said_under(&own, &given, script), ["typed|file|own| x=\"y\" ||unset"]);
    let again = [&given[..], &["--env", "A=last"]].concat();
    assert_eq!(said_under(&own, &again, script), ["last|file|own| x=\"y\" ||unset"]);
    let cleared = [&given[..], &["--clear-env"]].concat();
    assert_eq!(said_under(&own, &cleared, script), ["typed|file|| x=\"y\" ||unset"]);
    let line = folder.file("conf", &format!("env A=conf\nenv-file={file}\nclear-env\n"), 0o600);
    assert_eq!(said_under(&own, &["--config", &line], script), ["conf|file|||unset|unset"]);
    // What fd3 tells is its own to tell.
    let words = ["--env", "FD3_SLOT=9", "--env", "LISTEN_FDS=9", "-l", "127.0.0.1:0"];
    told(Way::Ordinary, &[], RUN, &words, "echo $FD3_SLOT $LISTEN_FDS").line("0 1");
}

#[test]
fn of_a_cleared_environment_only_what_fd3_tells_is_left() {
    let words = ["-l", "127.0.0.1:0", "--clear-env", "--", "/usr/bin/env"];
    let mut fd3 = command(FD3);
    fd3.args(RUN).args(words);
    let mut fd3 = Fd3::start(fd3);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    for name in ["FD3_GENERATION", "NOTIFY_SOCKET", "FD3_SLOT", "LISTEN_PID"] {
        fd3.line(name);
    }
    let log = fd3.log();
    let mut names: Vec<&str> = log.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    let told =
        ["FD3_GENERATION", "FD3_SLOT", "FD3_START", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"];
    assert_eq!(names, [&told[..], &["NOTIFY_SOCKET"]].concat());
}

/// `fd3 init` tells nothing but FD3_STATUS, and that to the last hook; what it was given it passes on.
#[cfg(feature = "init")]
#[test]
fn variables_of_init_are_the_programs_and_the_hooks() {
    let words = ["init", "--post-stop", "/usr/bin/env", "--env", "A=b", "--env", "FD3_STATUS=x"];
    let end = ["--", "sh", "-c", "exit 3"];
    let mut cleared = command(FD3);
    cleared.args(words).arg("--clear-env").args(end).env("LISTEN_FDS", "1");
    let mut cleared = Fd3::start(cleared);
    assert_eq!(cleared.exit(), 3);
    assert_eq!(cleared.log(), "A=b\nFD3_STATUS=3");
    let mut whole = command(FD3);
    whole.args(words).args(end).env("LISTEN_FDS", "1").env("FD3_STATUS", "own");
    let mut whole = Fd3::start(whole);
    assert_eq!(whole.exit(), 3);
    for (text, times) in [("A=b", 1), ("LISTEN_FDS=1", 1), ("FD3_STATUS=", 1), ("FD3_STATUS=3", 1)]
    {
        assert_eq!(whole.count(text), times, "{text}: {}", whole.log());
    }
}

/// The sets of capabilities(7) of whoever executes this, and whether it may gain any.
const RIGHTS: &str = "while read name value; do case $name in Cap*|NoNewPrivs:) echo $name$value;; esac; \
                      done </proc/self/status";

/// The value of a line of [`RIGHTS`].
fn right(said: &[String], name: &str) -> u64 {
    let line = said.iter().find_map(|line| line.strip_prefix(&format!("{name}:")));
    u64::from_str_radix(line.unwrap_or_else(|| panic!("no {name}: {said:?}")), 16)
        .expect("a number")
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
/// 1 << 13: what no test needs.
const NET_RAW: u64 = 1 << 13;

#[test]
fn dropped_capabilities_are_in_no_set() {
    if !is_root() {
        return skip("only root has capabilities");
    }
    let before = said(&[], RIGHTS);
    assert_ne!(right(&before, "CapBnd") & NET_RAW, 0, "{before:?}");
    let everywhere =
        ["setpriv", "--inh-caps", "+net_raw,+chown", "--ambient-caps", "+net_raw,+chown"];
    for drop in ["NET_RAW", "cap_net_raw", "13"] {
        let after = said_under(&everywhere, &["--cap-drop", drop], RIGHTS);
        for name in SETS {
            let all = right(&said_under(&everywhere, &[], RIGHTS), name);
            assert_ne!(all & NET_RAW, 0, "{name}");
            assert_eq!(right(&after, name), all & !NET_RAW, "{name}: {after:?}");
        }
    }
    let two = said(&["--cap-drop", "net_raw", "--cap-drop", "chown", "--cap-drop", "63"], RIGHTS);
    assert_eq!(right(&two, "CapEff"), right(&before, "CapEff") & !(NET_RAW | 1), "{two:?}");
    let none = said_under(&everywhere, &["--cap-drop", "all"], RIGHTS);
    for name in SETS {
        assert_eq!(right(&none, name), 0, "{name}: {none:?}");
    }
    assert_eq!(right(&none, "NoNewPrivs"), 0);
    // For others as well, who have none but may execute what gives some.
    let other = said(&["--cap-drop", "all", "--user", "54321"], RIGHTS);
    for name in SETS {
        assert_eq!(right(&other, name), 0, "{name}: {other:?}");
    }
}

#[test]
fn no_rights_are_gained_by_executing() {
    // The other lines are not the same in each way: who begins a user namespace has all rights there.
    let only = "grep NoNewPrivs: /proc/self/status";
    assert_eq!(said(&["--no-new-privs"], only), ["NoNewPrivs:\t1"]);
    if !is_root() {
        return skip("only root can make a file that gives rights");
    }
    // A copy of id(1) that is root's and says so, whoever executes it.
    let folder = Folder::new();
    let id = folder.path("id");
    let script = format!(
        "for id in /bin/id /usr/bin/id; do cp $id {id} 2>/dev/null && break; done; chmod 4755 {id}; {id} -u"
    );
    std::fs::set_permissions(folder.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("the folder is ours");
    assert_eq!(said(&[], &script), ["0"]);
    let gained = said(&["--user", "54321"], &format!("{id} -u"));
    if gained != ["0"] {
        return skip("set-user-ID does not count here");
    }
    assert_eq!(said(&["--user", "54321", "--no-new-privs"], &format!("{id} -u")), ["54321"]);
}

/// A reload reads them anew, as it does all that a worker is started from.
#[test]
fn a_reload_brings_the_settings_of_that_moment() {
    let folder = Folder::new();
    let conf = folder.file("conf", "nice 3\numask 027\nenv A=one\n", 0o600);
    let script = "echo \"serving $A $(nice) $(umask)\"; exec sleep 1000";
    let words = ["--config", &conf, "--overlap", "0s", "--", "sh", "-c", script];
    let mut fd3 = run(&words);
    fd3.line("serving one 3 0027");
    folder.file("conf", "nice 4\nenv A=two\nrlimit core=0\n", 0o600);
    fd3.signal(libc::SIGHUP);
    fd3.line("serving two 4");
    // What cannot be is refused, or rolled back by the first worker that says so.
    folder.file("conf", "user nobody-at-all\n", 0o600);
    fd3.signal(libc::SIGHUP);
    let line = fd3.line("reload refused");
    assert!(line.contains("nobody-at-all\\\" is not in /etc/passwd"), "{line}");
    folder.file("conf", "chdir /nope\n", 0o600);
    fd3.signal(libc::SIGHUP);
    fd3.line("cannot change to /nope: no such file or directory");
    assert_eq!(fd3.stop(), 0, "{}", fd3.log());
}
