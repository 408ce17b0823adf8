//! What a worker finds: descriptors, environment, signals, group, limits. Exactly what is documented, and
//! nothing of fd3's or of whoever started fd3.

use std::collections::BTreeMap;
use std::process::Command;

use crate::harness::{FD3, Fd3, Folder, command, exists, kill, run, until};
use crate::world::{can_strace, python, shell, unshare};

/// A worker that tells all it sees, then waits.
const WORKER: &str = r#"
import os, signal, sys, resource
# Of many one tells: what is longer than a pipe takes at once would be mixed with the words of others.
while os.environ['FD3_SLOT'] != '0': signal.pause()
fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))
# The folder's own is gone by now.
fds = [n for n in fds if os.path.exists('/proc/self/fd/%d' % n)]
out = ['fds=' + ','.join(map(str, fds))]
for n in fds: out.append('fd%d=%s' % (n, os.readlink('/proc/self/fd/%d' % n)))
status = dict(l.split(':', 1) for l in open('/proc/self/status'))
for k in ['SigBlk', 'SigIgn']: out.append(k + '=' + status[k].strip())
out += ['pid=%d' % os.getpid(), 'ppid=%d' % os.getppid(), 'pgid=%d' % os.getpgid(0)]
out.append('nofile=%d:%d' % resource.getrlimit(resource.RLIMIT_NOFILE))
out += ['env ' + k + '=' + v for k, v in sorted(os.environ.items())]
os.write(int(sys.argv[1]) if len(sys.argv) > 1 else 1, ('\n'.join(out) + '\nthat is all of it\n').encode())
while True: signal.pause()
"#;

/// What one worker told, by name; the environment with `env ` in front.
fn told(fd3: &Fd3) -> BTreeMap<String, String> {
    fd3.line("that is all of it");
    let log = fd3.log();
    let lines = log.lines().filter(|line| !line.starts_with("fd3: ") && line.contains('='));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn start(mut wrapper: Command, words: &[&str], worker: &[&str]) -> Fd3 {
    wrapper.args(["run", "-v"]).args(words).args(["--", python(), "-I", "-c", WORKER]).args(worker);
    Fd3::start(wrapper)
}

/// Python does `script`, then becomes fd3.
fn after(script: &str) -> Command {
    let script = format!("import os, signal, sys\n{script}\nos.execv(sys.argv[1], sys.argv[1:])");
    let mut wrapper = command(python());
    wrapper.args(["-c", &script, FD3]);
    wrapper
}

const LITTER: &str = "
n = os.open('/dev/null', os.O_RDWR)
for to in list(range(3, 21)) + [900]: os.dup2(n, to)";

const TWO: [&str; 4] = ["-l", "tcp://127.0.0.1:0,name=web", "-l", "unix:@fd3-test"];

#[test]
fn a_worker_sees_its_listeners_and_nothing_of_its_ancestors() {
    let words = ["-l", "tcp://127.0.0.1:0,name=web", "-l", "tcp://127.0.0.1:0"];
    let told = told(&start(after(LITTER), &words, &[]));
    assert_eq!(told["fds"], "0,1,2,3,4");
    for fd in ["fd3", "fd4"] {
        assert!(told[fd].starts_with("socket:["), "{told:?}");
    }
    assert_eq!(told["env LISTEN_FDS"], "2");
    assert_eq!(told["env LISTEN_FDNAMES"], "web:unknown");
    assert_eq!(told["env LISTEN_PID"], told["pid"]);
    assert_eq!(told["pgid"], told["pid"]);
    assert_eq!((told["env FD3_SLOT"].as_str(), told["env FD3_GENERATION"].as_str()), ("0", "1"));
    assert!(told["env NOTIFY_SOCKET"].starts_with('@'), "{told:?}");
}

#[test]
fn without_listeners_nothing_is_told_of_them() {
    let told = told(&start(after(LITTER), &[], &[]));
    assert_eq!(told["fds"], "0,1,2");
    assert!(!told.keys().any(|name| name.starts_with("env LISTEN_")), "{told:?}");
}

/// Old kernels and some sandboxes have no close_range.
#[test]
fn without_close_range_nothing_is_left_open_either() {
    if !can_strace() {
        return;
    }
    for errno in ["ENOSYS", "EPERM"] {
        let mut wrapper = after(LITTER);
        let inject = format!("inject=close_range:error={errno}");
        wrapper.args(["run", "-v", "-l", "127.0.0.1:0", "--", python(), "-I", "-c", WORKER]);
        let mut strace = command("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", &inject]).arg(wrapper.get_program());
        strace.args(wrapper.get_args());
        assert_eq!(told(&Fd3::start(strace))["fds"], "0,1,2,3", "{errno}");
    }
}

#[test]
fn closed_standard_descriptors_are_filled_with_nothing() {
    let folder = Folder::new();
    for closed in ["0", "1", "2", "0 1", "0 2", "1 2", "0 1 2"] {
        let path = folder.path("told");
        let close: Vec<String> = closed.split(' ').map(|fd| format!("{fd}>&-")).collect();
        // The worker tells it to a file, by a shell that closes it again.
        let mut wrapper = shell(&format!("exec {}", close.join(" ")));
        let script = format!(
            "import os; n = os.open('{path}', 0o1101, 0o600); os.dup2(n, 77); os.close(n)\n{WORKER}"
        );
        wrapper.args(["run", "-l", "127.0.0.1:0", "--", python(), "-I", "-c", &script, "77"]);
        let fd3 = Fd3::start(wrapper);
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        until("the worker has told", || text().ends_with("that is all of it\n"));
        let told = text();
        assert!(told.starts_with("fds=0,1,2,3,77\n"), "{closed}: {told}");
        for fd in closed.split(' ') {
            assert!(told.contains(&format!("\nfd{fd}=/dev/null\n")), "{closed}: {told}");
        }
        drop(fd3);
        std::fs::remove_file(&path).expect("it is there");
    }
}

/// Neither /dev/null nor /proc, and 0 to 2 closed: as in an empty image.
#[test]
fn an_empty_image_is_enough() {
    for closed in ["", "exec 0<&-", "exec 1>&-", "exec 0<&- 1>&- 2>&-"] {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("empty")).expect("the folder is ours");
        // Everything but /dev and /proc is there, read-only.
        let script = format!(
            "mount --rbind / {0}/empty && mount -t tmpfs none {0}/empty/dev && \
             mount -t tmpfs none {0}/empty/proc && {closed}\n\
             exec chroot {0}/empty \"$0\" run -v -l 127.0.0.1:0 --restart never -- \
             /bin/sh -c 'echo in $LISTEN_FDS; [ -e /proc/self ] || exit 7'",
            folder.path("")
        );
        let Some(mut wrapper) = unshare(&["--mount", "--propagation", "private"]) else { return };
        wrapper.args(["sh", "-c", &script, FD3]);
        let mut fd3 = Fd3::start(wrapper);
        let status = fd3.exit();
        // A pipe that nobody reads takes the place of a closed stdout: who writes there is killed.
        let expected: &[i32] = if closed.contains("1>") { &[7, 128 + libc::SIGPIPE] } else { &[7] };
        assert!(expected.contains(&status), "{closed}: {status}: {}", fd3.log());
    }
}

#[test]
fn what_fd3_inherited_of_any_convention_never_leaks() {
    let names = [
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_FD",
        "LISTEN_PIDFDID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "SERVER_STARTER_PORT",
        "SERVER_STARTER_GENERATION",
        "EINHORN_FD_COUNT",
        "EINHORN_FD_0",
        "EINHORN_FDS",
        "EINHORN_MASTER_PID",
        "EINHORN_SOCK_PATH",
        "SOCKETMASTER_PID",
        "GOAT_PROC",
        "GOGRACEFUL_PPID",
        "GOAGAIN_FD",
        "GOAGAIN_NAME",
        "GOAGAIN_PPID",
        "GOAGAIN_SIGNAL",
        "NGINX",
        "FPM_SOCKETS",
        "FD3_SLOT",
        "FD3_ANYTHING",
    ];
    let all = "listen,starter,einhorn,socketmaster,goatflap,gograceful,goagain,nginx,php-fpm";
    for protocol in ["plain", "listen", all] {
        let mut wrapper = command(FD3);
        wrapper.envs(names.map(|name| (name, "leaked")));
        wrapper.env("LISTENER", "kept").env("NGINX_CONF", "kept").env("ODD", "a=b\nc");
        let told = told(&start(wrapper, &["--protocol", protocol, TWO[0], TWO[1]], &[]));
        assert!(!told.values().any(|value| value == "leaked"), "{protocol}: {told:?}");
        assert_eq!((&*told["env LISTENER"], &*told["env NGINX_CONF"]), ("kept", "kept"));
        assert_eq!(told.contains_key("env LISTEN_FDS"), protocol != "plain", "{told:?}");
        assert_eq!(told["env ODD"], "a=b");
    }
}

#[test]
fn signals_are_as_after_boot_whatever_fd3_inherited() {
    let script = "
for n in [1, 2, 13, 15, 17, 20, 22, 34, 64]: signal.signal(n, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))";
    for words in [&TWO[..2], &["-w", "1", "--stdin", "null"]] {
        let mut fd3 = start(after(script), words, &[]);
        let told = told(&fd3);
        assert_eq!(told["SigBlk"], "0000000000000000");
        // Python itself ignores SIGPIPE and SIGXFSZ.
        assert_eq!(told["SigIgn"], "0000000001001000");
        assert_eq!(fd3.stop(), 0);
    }
    let mut wrapper = after(script);
    wrapper.args(["run", "--restart", "never", "--", "cat", "/proc/self/status"]);
    let fd3 = Fd3::start(wrapper);
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(fd3.line(name), format!("{name}:\t0000000000000000"));
    }
}

#[test]
fn a_killed_fd3_takes_its_workers_along_unless_told_otherwise() {
    for (words, survives) in [
        (&["--parent-death", "TERM"][..], false),
        (&["--parent-death", "KILL"], false),
        (&[], false),
        (&["--parent-death", "none"], true),
    ] {
        let fd3 = run(&[words, &["-w", "2", "--ready", "0ms", "--", "sleep", "1000"]].concat());
        let workers = fd3.ready(2);
        kill(fd3.pid(), libc::SIGKILL);
        if survives {
            // fd3 is a zombie or gone: whoever was to die with it has its signal by now.
            until("fd3 is dead", || crate::harness::children(fd3.pid()).is_empty());
            assert!(workers.iter().all(|pid| exists(*pid)));
            workers.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        }
        for pid in workers {
            until("its worker is gone", || !is_running(pid));
        }
    }
}

/// Some sandboxes forbid it: then a killed fd3 leaves its workers behind, and that is all.
#[test]
fn without_a_parent_death_signal_a_worker_starts_all_the_same() {
    if !can_strace() {
        return;
    }
    for errno in ["EPERM", "ENOSYS"] {
        let mut strace = command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
        strace.arg(format!("inject=prctl:error={errno}"));
        strace.args([FD3, "run", "-v", "-l", "127.0.0.1:0", "--restart", "never"]);
        strace.args(["--", "sh", "-c", "echo serves; exit 7"]);
        let mut fd3 = Fd3::start(strace);
        assert_eq!(fd3.exit(), 7, "{errno}: {}", fd3.log());
        fd3.line("serves");
    }
}

/// Whether it is there and no zombie: who reaps orphans here is not fd3's business.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[test]
fn stdin_is_inherited_by_one_and_null_for_many() {
    let table: &[(&[&str], &str)] = &[
        (&[], "pipe:["),
        (&["-w", "1"], "pipe:["),
        (&["-w", "2"], "/dev/null"),
        (&["-w", "2", "--stdin", "inherit"], "pipe:["),
        (&["--stdin", "null"], "/dev/null"),
    ];
    for (words, expected) in table {
        let mut wrapper = after("r, w = os.pipe(); os.dup2(r, 0); os.dup2(w, 90)");
        wrapper.args(["run", "-v"]).args(*words);
        wrapper.args(["--", "sh", "-c", "echo stdin $(readlink /proc/self/fd/0); sleep 1000"]);
        // $(...) gives readlink the stdin of the shell.
        let stdin = Fd3::start(wrapper).line("stdin ");
        assert!(stdin.starts_with(&format!("stdin {expected}")), "{words:?}: {stdin}");
    }
}

#[test]
fn a_worker_has_the_limit_that_fd3_was_started_with() {
    for (soft, hard) in [(40, 2000), (1000, 2000), (2000, 2000)] {
        let wrapper = shell(&format!("ulimit -n {hard}; ulimit -Sn {soft}"));
        let fd3 = start(wrapper, &["-w", "64", TWO[0], TWO[1]], &[]);
        assert_eq!(told(&fd3)["nofile"], format!("{soft}:{hard}"));
    }
}

#[test]
fn a_worker_that_begins_a_pid_namespace_lives() {
    let Some(mut wrapper) = unshare(&["--pid"]) else { return };
    wrapper.args([
        FD3,
        "run",
        "-v",
        "--stop-timeout",
        "100ms",
        "--",
        "sh",
        "-c",
        "echo I am $$; sleep 1000 & wait",
    ]);
    let mut fd3 = Fd3::start(wrapper);
    assert_eq!(fd3.line("I am "), "I am 1");
    fd3.ready(1);
    assert_eq!(fd3.stop(), 0);
}
