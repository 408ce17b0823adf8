//! Old kernels, and sandboxes that answer for the kernel: what README says that fd3 does without, each call
//! refused for the whole of a run.

use std::process::Command;

use crate::harness::{FD3, Fd3, Folder, children, command, get, http_server, kill};
use crate::refused::refused_by;
use crate::world::{can_strace, entries, unshare};

/// Calls that have a way around them. `-f` where the child makes it, too, before it becomes COMMAND.
const DISPENSABLE: &[(&str, &[&str])] = &[
    ("inotify_init1", &[]),
    ("inotify_add_watch", &[]),
    ("prlimit64,getrlimit,setrlimit", &[]),
    ("getrandom", &[]),
    ("pwritev2", &[]),
    ("close_range", &[]),
    ("linkat", &[]),
    ("getpgid", &[]),
    ("prctl", &["-f"]),
    ("setpgid", &["-f"]),
    ("signalfd4", &[]),
];

/// What a kernel that is too old says, and what seccomp profiles say.
const REFUSALS: [&str; 2] = ["ENOSYS", "EPERM"];
const SAID: [&str; 2] = ["not implemented by this kernel", "operation not permitted"];

/// Starts, serves, reloads by a signal, and stops with 0.
#[test]
fn the_whole_job_is_done_without_calls_that_came_late() {
    if !can_strace() {
        return;
    }
    let folder = Folder::new();
    let unix = format!("unix:{}", folder.path("socket"));
    let server = http_server();
    for (calls, how) in DISPENSABLE {
        // It ends then: bad_start.rs.
        if *calls == "signalfd4" && !cfg!(feature = "init") {
            continue;
        }
        for errno in REFUSALS {
            let trace = folder.path("trace");
            // Where /proc has its stderr, fd3 opens that anew, and needs no pwritev2.
            let Some(mut strace) = (if *calls == "pwritev2" {
                without_proc("strace")
            } else {
                Some(command("strace"))
            }) else {
                continue;
            };
            strace.args(["-qq", "-o", &trace, "-e"]).arg(format!("trace={calls}"));
            strace.arg("-e").arg(format!("inject={calls}:error={errno}")).args(*how);
            strace.args([FD3, "run", "-v", "-l", "127.0.0.1:0", "-l", &unix]);
            strace.args(["--ready", "notify", "--overlap", "0s", "--", &server]);
            does_all(Fd3::start(strace), &format!("{calls}: {errno}"));
            let trace = std::fs::read_to_string(trace).expect("strace wrote it");
            assert!(trace.contains("(INJECTED)"), "{calls} is not needed at all: {trace}");
        }
    }
}

/// `program` where /proc is empty.
fn without_proc(program: &str) -> Option<Command> {
    let mut unshare = unshare(&["--mount"])?;
    let empty = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    unshare.args(["sh", "-c", empty, program]);
    Some(unshare)
}

fn does_all(mut fd3: Fd3, without: &str) {
    let serves = |fd3: &Fd3, generation| {
        let answer = get(fd3.port(), "/").expect(without);
        assert!(answer.contains(&format!("of generation {generation},")), "{without}: {answer}");
    };
    fd3.ready(1);
    serves(&fd3, 1);
    let pid = children(fd3.pid())[0];
    kill(pid, libc::SIGHUP);
    fd3.line("reloaded after=");
    // Until then it may take a connection that came before.
    fd3.line("worker exited");
    serves(&fd3, 2);
    kill(pid, libc::SIGTERM);
    assert_eq!(fd3.exit(), 0, "{without}: {}", fd3.log());
    fd3.line("stopping signal=SIGTERM");
    // Nobody is told of what makes no difference.
    for refusal in SAID {
        assert_eq!(fd3.count(refusal), 0, "{without}: {}", fd3.log());
    }
}

/// What there is no way around: the word of it, and nothing is left.
#[test]
fn without_calls_that_it_needs_it_says_so() {
    if !can_strace() {
        return;
    }
    let folder = Folder::new();
    let unix = format!("unix:{}", folder.path("socket"));
    let table = [
        ("epoll_create1", "make an epoll"),
        ("epoll_ctl", "make a watch"),
        ("pipe2", "make a pipe"),
        ("socket", &format!("bind {unix}")),
    ];
    for (call, doing) in table {
        for (errno, why) in REFUSALS.iter().zip(SAID) {
            let mut strace = command("strace");
            strace.args(["-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            strace.arg("-e").arg(format!("inject={call}:error={errno}"));
            strace.args([FD3, "run", "-l", &unix, "/bin/true"]);
            refused_by(strace, 125, &format!("cannot {doing}: {why}"));
            assert_eq!(entries(&folder), Vec::<String>::new(), "{call}");
        }
    }
}
