//! What fd3 is told wrong on its command line: one line that names the word, says what is wrong with it
//! and what is accepted; status 2; nothing started, nothing touched.

use std::os::unix::ffi::OsStrExt;

use crate::harness::{Folder, command, output, stderr_of};
use crate::refused::{refused, refused_in};

const ADDRESSES: &str = "accepted: :PORT, tcp://IP:PORT, udp://IP:PORT, unix:/PATH, unix:@NAME, \
     seqpacket:/PATH, unixgram:/PATH, vsock://CID:PORT, fd:N, fd:NAME";
const PROTOCOLS: &str = "is none; accepted: listen, plain, starter, einhorn, socketmaster, goatflap, \
     gograceful, goagain, nginx, php-fpm";
const TIME: &str = "a number with ms, s, m, h or d (100ms, 30s, 5m), at most 366d";
const SIGNAL: &str = "a signal's name or number (TERM, SIGTERM, RTMIN+1, 15)";
const ACTION: &str = "accepted: SIGNAL=ACTION, where ACTION is one of stop, drain, stop-now, ignore, \
     forward, forward:SIGNAL, reload, upgrade, up, down";
const WORKERS: &str = "accepted: 1 to 10000, or auto";
const BACKOFF: &str = "accepted: MIN..MAX, each a time, from 1ms on, the larger one last";
const LIMIT: &str = "accepted: N/TIME (5/60s) with N from 0 to 1000, or none";
const IDS: &[&str] = &["", "-1", "+1", "4294967295", "99999999999", "1000:1000", "www data"];
const ID: &str = "accepted: a name, or a number from 0 to 4294967294";
const LIMITS: &str = "accepted: NAME=SOFT or NAME=SOFT:HARD, each a number (K, M, G: times 1024) or \
     unlimited, SOFT not above HARD; NAME: as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, \
     nproc, rss, rtprio, rttime, sigpending, stack";

/// Every option with a value: what it is called, a good value, and bad ones with what is said of them.
struct Row {
    option: &'static str,
    what: &'static str,
    good: &'static str,
    bad: &'static [&'static str],
    said: fn(&str) -> String,
}

const fn row(
    option: &'static str,
    what: &'static str,
    good: &'static str,
    bad: &'static [&'static str],
    said: fn(&str) -> String,
) -> Row {
    Row { option, what, good, bad, said }
}

const ROWS: &[Row] = &[
    row("listen", "ADDR[,OPTION]...", "", &["", "tcp://"], |_| format!("no address; {ADDRESSES}")),
    row(
        "workers",
        "N|auto",
        "2",
        &["", "x", "0", "10001", "-1", "+1", "1.5", " 1", "Auto", "99999999999999999999"],
        |_| WORKERS.into(),
    ),
    row("protocol", "NAME[,NAME]...", "plain", &["", "x", "X", "Listen"], |value| {
        format!("\"{value}\" {PROTOCOLS}")
    }),
    row(
        "ready",
        "DURATION|notify|signal",
        "1s",
        &["", "x", "-1s", "1.5s", "367d", "1 s", "99999999999999999999s"],
        |_| format!("accepted: {TIME}, notify, signal"),
    ),
    row("start-timeout", "DURATION|none", "1s", &["", "x", "-1", "367d"], |_| {
        format!("accepted: {TIME}, or none")
    }),
    row("start", "at-once|on-demand", "at-once", &["", "x", "On-demand", "now"], |_| {
        "accepted: at-once, on-demand".into()
    }),
    row("restart", "always|on-failure|never", "never", &["", "x", "Never"], |_| {
        "accepted: always, on-failure, never".into()
    }),
    row(
        "backoff",
        "MIN..MAX",
        "1s..2s",
        &["", "x", "1s", "0ms..1s", "2s..1s", "1s..", "..1s", "1s..999d", "1s...2s"],
        |_| BACKOFF.into(),
    ),
    row(
        "respawn-limit",
        "N/TIME|none",
        "none",
        &["", "x", "5", "5/", "/60s", "5/0s", "1001/60s", "-1/60s", "5/60s/1", "5/x"],
        |_| LIMIT.into(),
    ),
    row("stop-signal", "SIGNAL", "INT", &["", "x", "0", "65", "-15", "RTMIN+31", "SIG"], |_| {
        format!("accepted: {SIGNAL}")
    }),
    row("stop-timeout", "DURATION|none", "1s", &["", "x", "-1s", "367d", "None"], |_| {
        format!("accepted: {TIME}, or none")
    }),
    row("watchdog", "DURATION|none", "1s", &["", "x", "0", "-1s", "367d"], |word| match word {
        "0" => "accepted: a time from 1ms on, or none".into(),
        _ => format!("accepted: {TIME}, or none"),
    }),
    row("max-age", "DURATION|none", "1s", &["", "x", "0", "-1s", "367d"], |word| match word {
        "0" => "accepted: a time from 1ms on, or none".into(),
        _ => format!("accepted: {TIME}, or none"),
    }),
    row("spread", "shared|worker", "shared", &["", "x", "Worker", "all"], |_| {
        "accepted: shared, worker".into()
    }),
    row("fd-store", "N", "2", &["", "x", "-1", "4097", "1.5", "none"], |_| {
        "accepted: 0 to 4096".into()
    }),
    row(
        "metrics",
        "ADDR",
        "127.0.0.1:0",
        &["udp://:9", "fd:3", ":0,name=x", "vsock://1:1"],
        |_| "accepted: an address of tcp or unix, as --listen has it, without name=".into(),
    ),
    row("surge", "all|K", "2", &["", "x", "All", "-1", "10001", "1.5"], |_| {
        "accepted: all, or 0 to 10000".into()
    }),
    row("overlap", "DURATION", "1s", &["", "x", "-1s", "367d", "none"], |_| {
        format!("accepted: {TIME}")
    }),
    row("drain-timeout", "DURATION|none", "1s", &["", "x", "-1s", "367d", "None"], |_| {
        format!("accepted: {TIME}, or none")
    }),
    row("user", "USER", "root", IDS, |_| ID.into()),
    row("group", "GROUP", "root", IDS, |_| ID.into()),
    row("chdir", "FOLDER", "/", &["", "x", "./x", "~"], |_| "accepted: an absolute path".into()),
    row("umask", "OCTAL", "022", &["", "x", "8", "1000", "0o22", "+22", "-1"], |_| {
        "accepted: octal, 0 to 0777".into()
    }),
    row(
        "rlimit",
        "NAME=SOFT[:HARD]",
        "",
        &["", "x", "nofile", "nofile=", "nofile=x", "nofile=2:1", "nofile=-1", "files=1", "=1"],
        |_| LIMITS.into(),
    ),
    row("nice", "N", "5", &["", "x", "20", "-21", "+5", "--5", "1.5", "4294967295"], |_| {
        "accepted: -20 to 19".into()
    }),
    // What is said of it shows no value.
    row("env", "NAME=VALUE", "", &[], |_| String::new()),
    row("env-file", "FILE", "", &[], |_| String::new()),
    row("cap-drop", "CAP|all", "", &["", "x", "ALL", "64", "-1", "net_raw,kill"], |_| {
        "accepted: all, a capability's name (NET_RAW, cap_net_raw), or its number from 0 to 63"
            .into()
    }),
    row("stdin", "inherit|null", "null", &["", "x", "/dev/null"], |_| {
        "accepted: inherit, null".into()
    }),
    row("parent-death", "SIGNAL|none", "none", &["", "x", "0", "99"], |_| {
        format!("accepted: {SIGNAL}, or none")
    }),
    row(
        "on",
        "SIGNAL=ACTION",
        "",
        &["", "x", "TERM", "TERM=", "TERM=x", "TERM=forward:", "TERM=forward:x", "TERM=Stop"],
        |_| ACTION.into(),
    ),
    row("config", "FILE", "/dev/null", &[], |_| String::new()),
    row(
        "control",
        "ADDR|none",
        "none",
        &[
            "",
            "x",
            "None",
            ":80",
            "tcp://:80",
            "seqpacket:/x",
            "unix:/x,name=y",
            "unix:@x,backlog=3",
        ],
        |_| "accepted: unix:/PATH, unix:/PATH,mode=OCTAL, unix:@NAME, none".into(),
    ),
    #[cfg(feature = "records")]
    row("pid-file", "FILE", "/tmp/pid", &[""], |_| "accepted: a path".into()),
    #[cfg(feature = "records")]
    row("status-file", "FILE", "/tmp/status", &[""], |_| "accepted: a path".into()),
    row("log", "text|json", "json", &["", "x", "JSON"], |_| "accepted: text, json".into()),
];

/// Those that this build of the program has.
fn rows() -> impl Iterator<Item = &'static Row> {
    let text = String::from_utf8(output(&["help", "run"]).stdout).expect("help is text");
    let words: Vec<String> = text.split_whitespace().map(String::from).collect();
    let has =
        move |row: &&Row| words.iter().any(|word| word.strip_prefix("--") == Some(row.option));
    ROWS.iter().filter(has)
}

#[test]
fn the_table_knows_every_option_of_the_help() {
    let help = output(&["help", "run"]);
    let text = String::from_utf8(help.stdout).expect("help is text");
    let mut known: Vec<&str> = ROWS.iter().map(|row| row.option).collect();
    known.extend([
        "machine-init",
        "quiet",
        "verbose",
        "help",
        "clear-env",
        "no-new-privs",
        "ulimit",
    ]);
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    for option in words.filter(|word| !word.is_empty()) {
        assert!(known.contains(&option), "--{option} is not in the table");
    }
}

#[test]
fn an_option_without_its_value_is_refused() {
    for Row { option, what, .. } in rows() {
        let option = format!("--{option}");
        refused(&["run", &option], 2, &format!("{option}: needs a value: {what}"));
    }
    for (short, what) in [("-l", "ADDR[,OPTION]..."), ("-w", "N|auto")] {
        refused(&["run", short], 2, &format!("{short}: needs a value: {what}"));
    }
}

#[test]
fn a_bad_value_is_refused_and_what_is_accepted_told() {
    for Row { option, bad, said, .. } in rows() {
        for value in *bad {
            let given = format!("--{option}={value}");
            // What --start-timeout needs is no trouble elsewhere, as --ready may come once only.
            let ready: &[&str] = if *option == "ready" { &[] } else { &["--ready", "notify"] };
            let words = [&["run", &given], ready, &["--", "/bin/true"]].concat();
            refused(&words, 2, &format!("--{option} \"{value}\": {}", said(value)));
        }
    }
}

#[test]
fn what_counts_once_is_refused_twice() {
    for Row { option, good, .. } in rows().filter(|row| !row.good.is_empty()) {
        let long = format!("--{option}");
        let said = format!("{long} \"{good}\": given twice; accepted: once");
        refused(&["run", &long, good, &long, good, "/bin/true"], 2, &said);
    }
    for (option, short) in [("--quiet", "-q"), ("--verbose", "-v"), ("--help", "-h")] {
        let said = format!("{option}: given twice; accepted: once");
        refused(&["run", option, short, "/bin/true"], 2, &said);
    }
}

#[test]
fn what_contradicts_or_is_unknown_is_refused() {
    let table: &[(&str, &str)] = &[
        ("run -q -v /bin/true", "--quiet: contradicts --verbose"),
        ("run -vq /bin/true", "--quiet: contradicts --verbose"),
        (
            "run --start-timeout 1s /bin/true",
            "--start-timeout \"1s\": means nothing without --ready notify or --ready signal",
        ),
        (
            "run --on TERM=stop --on 15=drain /bin/true",
            "--on \"15=drain\": SIGTERM was given an action before",
        ),
        (
            "run --on KILL=stop /bin/true",
            "--on \"KILL=stop\": SIGKILL cannot be given another action",
        ),
        ("run --on 19=stop /bin/true", "--on \"19=stop\": SIGSTOP cannot be given another action"),
        (
            "run --on CHLD=ignore /bin/true",
            "--on \"CHLD=ignore\": SIGCHLD cannot be given another action",
        ),
        (
            "run --protocol listen,listen /bin/true",
            "--protocol \"listen,listen\": listen is given twice; accepted: each once",
        ),
        (
            "run --protocol plain,nginx /bin/true",
            "--protocol \"plain,nginx\": plain tells nothing and goes with no other protocol",
        ),
        (
            "run --rlimit core=0 --rlimit core=1 /bin/true",
            "--rlimit \"core=1\": core was given a limit before",
        ),
        (
            "run --ready signal --user nobody /bin/true",
            "--user \"nobody\": another user cannot signal fd3, as --ready signal wants",
        ),
        ("run --env secret /bin/true", "--env: has no \"=\"; accepted: NAME=VALUE"),
        (
            "run --env =secret /bin/true",
            "--env: what stands before \"=\" is no name; accepted: visible ASCII, no blanks",
        ),
        ("run --clear-env=x /bin/true", "--clear-env: takes no value, got \"x\""),
        ("run --bogus /bin/true", "--bogus: unknown option; \"fd3 help run\" lists them"),
        ("run --work 2 /bin/true", "--work: unknown option; \"fd3 help run\" lists them"),
        ("run -z /bin/true", "-z: unknown option; \"fd3 help run\" lists them"),
        ("run --quiet=x /bin/true", "--quiet: takes no value, got \"x\""),
        ("run --help=x", "--help: takes no value, got \"x\""),
        ("run", "COMMAND: missing; accepted: fd3 run [OPTIONS] [--] COMMAND [ARG]..."),
        ("run --", "COMMAND: missing; accepted: fd3 run [OPTIONS] [--] COMMAND [ARG]..."),
        ("run -v", "COMMAND: missing; accepted: fd3 run [OPTIONS] [--] COMMAND [ARG]..."),
        ("", "COMMAND: missing; \"fd3 help\" lists them"),
        ("bogus", "\"bogus\": unknown command; \"fd3 help\" lists them"),
        ("Run", "\"Run\": unknown command; \"fd3 help\" lists them"),
        ("--bogus", "\"--bogus\": an option before its command; did you mean \"fd3 run\"?"),
        ("-l :80 -- x", "\"-l\": an option before its command; did you mean \"fd3 run\"?"),
        ("-", "\"-\": an option before its command; did you mean \"fd3 run\"?"),
        ("help bogus", "help \"bogus\": no such command; \"fd3 help\" lists them"),
        ("help run x", "help COMMAND \"x\": one word too many; accepted: nothing more"),
        ("version x", "version \"x\": one word too many; accepted: nothing more"),
    ];
    for (words, said) in table {
        let of_settings = ["--rlimit", "--user"].iter().any(|option| words.contains(option));
        if of_settings && !cfg!(feature = "settings") {
            continue;
        }
        refused(&words.split_whitespace().collect::<Vec<_>>(), 2, said);
    }
}

#[test]
fn a_bad_listener_is_refused_and_what_is_accepted_told() {
    let long = format!("unix:/{}", "a".repeat(107));
    let table: &[(&str, &str)] = &[
        ("80", "no address; did you mean \":80\"?"),
        ("x", "\"x\" has no port; accepted: tcp://IP:PORT"),
        ("/run/x", "no address; did you mean \"unix:/run/x\"?"),
        ("localhost:80", "host \"localhost\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        (":80:90", "host \":80\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        (":99999", "port \"99999\"; accepted: 0 to 65535"),
        (":-1", "port \"-1\"; accepted: 0 to 65535"),
        ("::1:80", "IPv6 without brackets; accepted: [::1]:80"),
        ("tcp6://1.2.3.4:80", "IPv4 after \"tcp6://\""),
        ("unix:", "no path; accepted: unix:/PATH, unix:@NAME"),
        ("unix:@", "no abstract name; accepted: unix:/PATH, unix:@NAME"),
        ("unix://run/x", "a path after \"unix://\" begins with a third \"/\""),
        ("unix:/a/", "a path that ends in \"/\"; accepted: the path of a socket"),
        (&long, "path of 108 bytes; accepted: at most 107"),
        ("fd:", "\"\" is no descriptor; accepted: fd:N, fd:NAME"),
        ("fd:99999999999", "descriptor \"99999999999\" is out of range"),
        ("vsock://1", "no port; accepted: vsock://CID:PORT, CID a number or any"),
        (":80,backlog", "option \"backlog\" needs a value: backlog=VALUE"),
        (":80,backlog=0", "option \"backlog\" has the value \"0\"; accepted: 1 to 2147483647"),
        (":80,mode=600", "option \"mode\": only for a unix path"),
        ("unix:/x,mode=1777", "option \"mode\" has the value \"1777\"; accepted: octal, 0 to 0777"),
        (":80,reuseport,reuseport", "option \"reuseport\" is given twice"),
        (":80,reuseport=1", "option \"reuseport\" takes no value"),
    ];
    for (value, said) in table {
        let said = format!("--listen \"{value}\": {said}");
        refused(&["run", "-l", value, "/bin/true"], 2, &said);
    }
    let said = format!("--listen \"http://x\": scheme \"http\" is not known; {ADDRESSES}");
    refused(&["run", "-l", "http://x", "/bin/true"], 2, &said);
    let options = "accepted: name=, backlog=, mode=, user=, group=, reuseport, freebind, v6only, \
                   device=, nodelay, defer-accept=, fastopen=, keepalive";
    let said = format!("--listen \":80,x\": option \"x\" is not known; {options}");
    refused(&["run", "-l", ":80,x", "/bin/true"], 2, &said);
    let many = vec!["--listen=:0"; 257];
    let words = [&["run"], &many[..], &["/bin/true"]].concat();
    refused(&words, 2, "--listen \":0\": one too many; accepted: 256 listeners");
}

#[test]
fn a_bad_line_of_a_file_is_told_with_its_number() {
    let folder = Folder::new();
    let path = folder.path("conf");
    let table: &[(&[u8], &str)] = &[
        (b"workers x", "line 1: workers \"x\": accepted: 1 to 10000, or auto"),
        (b"# a\n\n \t\r\nworkers  0 \n", "line 4: workers \"0\": accepted: 1 to 10000, or auto"),
        (b"quiet\nlisten", "line 2: listen: needs a value: ADDR[,OPTION]..."),
        (b"quiet yes", "line 1: quiet: takes no value"),
        (b"log text\nlog text", "line 2: log \"text\": given twice; accepted: once"),
        (b"-v", "line 1: \"-v\": unknown option; accepted: long options without dashes"),
        (b"--quiet", "line 1: \"--quiet\": unknown option; accepted: long options without dashes"),
        (b"config x", "line 1: \"config\": unknown option; accepted: long options without dashes"),
        (b"workers=x", "line 1: workers \"x\": accepted: 1 to 10000, or auto"),
        (b"workers = =2", "line 1: workers \"=2\": accepted: 1 to 10000, or auto"),
        (b"workers=", "line 1: workers: needs a value: N|auto"),
        (b"workers=2\nworkers 2", "line 2: workers \"2\": given twice; accepted: once"),
        (b"quiet=", "line 1: quiet: takes no value"),
        (b"=2", "line 1: \"\": unknown option; accepted: long options without dashes"),
        (
            b"\xff\x1b[2J 1",
            "line 1: \"\u{fffd}?[2J\": unknown option; accepted: long options without dashes",
        ),
        (b"quiet\nverbose", "line 1: quiet: contradicts --verbose"),
        (b"nice 5\nenv secret", "line 2: env: has no \"=\"; accepted: NAME=VALUE"),
        (b"env A=sec\0ret", "line 1: env: holds a NUL byte"),
        (b"chdir /a\0b", "line 1: chdir \"/a?b\": holds a NUL byte"),
        (b"listen unix:/a\0b", "line 1: listen \"unix:/a?b\": holds a NUL byte"),
        (b"workers \xff", "line 1: workers \"\u{fffd}\": is not UTF-8"),
        (
            b"on TERM=stop\non TERM=drain",
            "line 2: on \"TERM=drain\": SIGTERM was given an action before",
        ),
    ];
    for (text, said) in table {
        let of_settings = text.starts_with(b"nice") || text.starts_with(b"chdir");
        if of_settings && !cfg!(feature = "settings") {
            continue;
        }
        std::fs::write(&path, text).expect("the folder can be written to");
        refused(&["run", "--config", &path, "/bin/true"], 2, &format!("--config {path}, {said}"));
    }
    let big = folder.file("big", &"#\n".repeat(600_000), 0o644);
    for (path, why) in [
        ("/nope/conf", "no such file or directory"),
        ("", "no such file or directory"),
        ("/", "is a directory"),
        ("/dev/zero", "file too large"),
        (&big, "file too large"),
    ] {
        let said = format!("cannot read --config \"{path}\": {why}");
        refused(&["run", "--config", path, "/bin/true"], 2, &said);
    }
}

#[test]
fn the_command_line_wins_over_a_bad_line_of_the_same_option() {
    let folder = Folder::new();
    let path = folder.file("conf", "workers 0\nverbose\nrestart never\n", 0o644);
    let output = output(&["run", "-q", "-w", "1", "--config", &path, "/bin/true"]);
    assert_eq!((output.status.code(), stderr_of(&output).as_str()), (Some(0), ""));
}

#[test]
fn whatever_bytes_are_typed_the_answer_is_one_line() {
    let long = "é".repeat(60_000);
    let odd: &[&[u8]] = &[
        b"\n",
        b"a\nfd3: all is well",
        b"\x1b[2J\x07\r",
        b"\xff\xfe\x80",
        b"\x7f",
        long.as_bytes(),
    ];
    for bytes in odd {
        let word = std::ffi::OsStr::from_bytes(bytes);
        for before in [
            &[][..],
            &["help"],
            &["run", "--workers"],
            &["run", "--listen"],
            &["run", "--on"],
            &["run", "--protocol"],
            &["run", "--config"],
            &["run", "--env-file"],
            &["run", "--restart", "never", "--"],
        ] {
            let mut fd3 = command(crate::harness::FD3);
            fd3.args(before).arg(word);
            refused_in(fd3, None, |line| line.starts_with("fd3: ") && line.len() < 4096);
        }
    }
}
