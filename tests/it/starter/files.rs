//! What is written, and where: logs, PIDs, the environment's folder, the background.

use super::{Case, SERVER, World};
use crate::harness::{exists, until};

pub(super) const CASES: &[Case] = &[
    ("variables of a folder are those of now", env_folder),
    ("what is said goes to a file", log_file),
    ("what is said goes to a program", log_program),
    ("in the background there is no terminal, and the caller is told", background),
    ("a PID file that is held is waited for", held),
];

fn env_folder(world: &World) {
    let folder = world.folder.path("env");
    std::fs::create_dir(&folder).expect("the folder is ours");
    let write = |name: &str, text: &str| {
        std::fs::write(format!("{folder}/{name}"), text).expect("the folder is ours");
    };
    write("FOO", "one\nand no more\n");
    write(".HIDDEN", "x");
    write("EMPTY", "");
    std::fs::create_dir(format!("{folder}/SUB")).expect("the folder is ours");
    let shows = "echo \"FOO=$FOO BAR=$BAR ${HIDDEN-no}${EMPTY-ne}${SUB- } $ENVDIR\"
        trap 'kill -KILL $!; exit 0' TERM; sleep 1000 & wait $!";
    let mut server = world.start(&["--envdir", &folder, "--", "sh", "-c", shows]);
    assert_eq!(server.line("FOO="), format!("FOO=one BAR= none  {folder}"));
    for (first, second, expected) in [
        (Some("two"), Some("new"), "FOO=two BAR=new"),
        // What there was at first stays, what came later goes.
        (None, None, "FOO=one BAR= "),
    ] {
        for (name, value) in [("FOO", first), ("BAR", second)] {
            match value {
                Some(value) => write(name, value),
                None => std::fs::remove_file(format!("{folder}/{name}")).expect("it is there"),
            }
        }
        let before = server.count(" died, status:");
        server.signal(libc::SIGHUP);
        server.nth_line(" died, status:", before);
        let last = server.nth_line("FOO=", before + 1);
        assert!(last.starts_with(expected), "{last}");
    }
    assert_eq!(server.stop(), 0);
}

fn log_file(world: &World) {
    let log = world.folder.file("log", "before\n", 0o644);
    let mut server = world.start(&["--log-file", &log, "--", "sh", "-c", SERVER]);
    until("a log", || world.read("log").contains("serves 1"));
    assert_eq!(server.stop(), 0);
    let log = world.read("log");
    assert!(log.starts_with("before\n") && log.contains("1 got TERM"), "{log}");
    assert!(log.contains("starting new worker") && log.contains("exiting"), "{log}");
    assert!(!server.log().contains("starting new worker"), "{}", server.log());
}

fn log_program(world: &World) {
    let program = format!("| cat > {}", world.folder.path("log"));
    let mut server = world.start(&["--log-file", &program, "--", "sh", "-c", SERVER]);
    until("a log", || world.read("log").contains("serves 1"));
    assert_eq!(server.stop(), 0);
    until("the end of the log", || world.read("log").contains("exiting"));
}

fn background(world: &World) {
    let (log, pid_file) = (world.folder.path("log"), world.folder.path("pid"));
    let shows = format!("test /proc/self/fd/0 -ef /dev/null && echo no input; {SERVER}");
    let options = ["--daemonize", "--log-file", &log, "--pid-file", &pid_file];
    let output = world.output(&[&options[..], &["--", "sh", "-c", &shows]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    until("a PID", || world.read("pid").ends_with('\n'));
    let pid: i32 = world.read("pid").trim().parse().expect("a PID");
    until("a log", || world.read("log").contains("serves 1"));
    assert!(world.read("log").contains("no input"), "{}", world.read("log"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    assert!(session.is_some_and(|session| session != pid.to_string()), "it leads a session");
    let stopped = world.ask(&["--stop", "--pid-file", &pid_file]);
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    until("its end", || !exists(pid));
    assert!(!std::path::Path::new(&pid_file).exists());
}

fn held(world: &World) {
    let pid_file = world.folder.path("pid");
    let mut first = world.start(&["--pid-file", &pid_file, "--", "sh", "-c", SERVER]);
    first.line("serves 1");
    let mut second = world.start(&["--pid-file", &pid_file, "--", "sh", "-c", SERVER]);
    second.line("starting now");
    assert_eq!(first.stop(), 0);
    second.line("serves 1");
    assert_eq!(second.stop(), 0);
}
