//! The command line, and what is wrong with it.

use super::{Case, World};

pub(super) const CASES: &[Case] = &[
    ("what is wrong is told, with the same status", wrong),
    ("options may be short, late and spelled in other ways", spellings),
];

fn wrong(world: &World) {
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 255, "server program not specified"),
        (&["--"], 255, "server program not specified"),
        (&["--bogus"], 1, "Unknown option: bogus"),
        (&["starman", "--workers", "2"], 1, "Unknown option: workers"),
        (&["-s", "--", "true"], 1, "Option s is ambiguous (signal-on-hup, signal-on-term, stat"),
        (&["--port"], 1, "Option port requires an argument"),
        (&["--port=", "--", "true"], 1, "Option port requires an argument"),
        (&["--interval=1.5", "true"], 1, "Value \"1.5\" invalid for option interval (number exp"),
        (&["--interval", "x", "true"], 1, "Value \"x\" invalid for option interval (number exp"),
        (&["--daemonize=1", "true"], 1, "Option daemonize does not take an argument"),
        (&["--daemonize", "true"], 255, "Usage: --log-file option must be specified"),
        (&["--restart"], 255, "--restart option requires --pid-file and --status-file"),
        (&["--stop"], 255, "--stop option requires --pid-file"),
        (&["--restart", "--pid-file=/nope", "--status-file=/nope"], 2, "failed to open file:/nope"),
        (&["--stop", "--pid-file=/nope"], 2, "failed to open file:/nope"),
        (&["--port=x", "--", "true"], 255, "invalid ``port'' value:x"),
        (&["--port=192.0.2.1:80", "--", "true"], 99, "192.0.2.1:80"),
        (&["--port=no.such.host.invalid:80", "--", "true"], 255, "failed to resolve host:"),
        (&["--path=/nope/x", "--", "true"], 2, "/nope/x"),
        (&["--pid-file=/nope/x", "--", "true"], 2, "/nope/x"),
        (&["--log-file=/nope/x", "--", "true"], 2, "failed to open log file:/nope/x"),
    ];
    for (words, status, said) in cases {
        let output = world.output(words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{words:?}: {stderr}");
        assert_eq!(output.status.code(), Some(*status), "{words:?}: {stderr}");
    }
    let version = world.output(&["--version"]);
    assert!(version.stdout.starts_with(b"0.35"), "{version:?}");
    let help = world.output(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for option in ["--port", "--kill-old-delay", "--signal-on-hup", "--restart"] {
        assert!(text.contains(option), "{text}");
    }
    assert_eq!((version.status.code(), help.status.code()), (Some(0), Some(0)));
}

fn spellings(world: &World) {
    let shows = "echo ports $SERVER_STARTER_PORT words $0 $1; exec sleep 1000";
    let dash = ["-PORT", "0", "+po=127.0.0.1:0", "--interv", "0"];
    let cases: [(Vec<&str>, usize); 3] = [
        ([&dash[..], &["--", "sh", "-c", shows, "a", "--port"]].concat(), 2),
        (vec!["--port", "0", "sh", "--port=0", "--", "-c", shows, "a", "--port"], 2),
        (vec!["sh", "--port=0", "--", "-c", shows, "a", "--port"], 1),
    ];
    for (words, ports) in cases {
        let mut server = world.start(&words);
        let line = server.line("ports ");
        assert!(line.ends_with(" words a --port"), "{line}");
        assert_eq!(line.matches('=').count(), ports, "{words:?}: {line}");
        assert_eq!(server.stop(), 0);
    }
}
