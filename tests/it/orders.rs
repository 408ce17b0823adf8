//! `fd3 scale`, `restart`, `stop` and `log-level`: each waits for its outcome, which is its exit status.

use std::process::{Command, Stdio};

use crate::harness::{
    FD3, Fd3, Folder, children, code, command, exists, field, kill, run, stderr_of, until,
};
use crate::refused::refused;
use crate::world::{can_unshare, python};

const QUICK: [&str; 6] = ["--ready", "0ms", "--overlap", "0ms", "--backoff", "1ms..1ms"];

fn start(words: &[&str]) -> Fd3 {
    run(&[&QUICK, words, &["--", "sleep", "1000"]].concat())
}

fn client(fd3: &Fd3, words: &[&str]) -> Command {
    let mut client = command(FD3);
    client.args([words[0], "--pid", &fd3.pid().to_string()]).args(&words[1..]);
    client
}

/// Its exit status, and what it says.
fn told(mut client: Command) -> (i32, String) {
    let output = client.stdin(Stdio::null()).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (code(output.status), stdout + &stderr_of(&output))
}

fn ask(fd3: &Fd3, words: &[&str]) -> (i32, String) {
    told(client(fd3, words))
}

fn ok(line: &str) -> (i32, String) {
    (0, format!("{line}\n"))
}

/// Has it not ended, or is only its parent's word missing?
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn there_are_as_many_slots_as_were_asked_for() {
    let fd3 = start(&["-w", "2"]);
    fd3.ready(2);
    assert_eq!(ask(&fd3, &["scale", "4"]), ok("ok scaled workers=4"));
    let workers = fd3.ready(4);
    assert_eq!(ask(&fd3, &["scale", "4"]), ok("ok scaled workers=4"));
    assert_eq!(ask(&fd3, &["scale", "1"]), ok("ok scaled workers=1"));
    until("one is left", || workers.iter().filter(|pid| exists(**pid)).count() == 1);
    assert_eq!(ask(&fd3, &["scale", "--no-wait", "2"]), ok("ok asked for"));
    fd3.nth_line("worker ready", 4);
    assert_eq!(fd3.count("scaled workers="), 3, "{}", fd3.log());
}

#[test]
fn a_reload_that_runs_comes_first() {
    let fd3 = run(&["--ready", "0ms", "--overlap", "1h", "--", "sleep", "1000"]);
    fd3.ready(1);
    fd3.signal(libc::SIGHUP);
    let newcomer = fd3.ready(2)[1];
    let scales = Fd3::start(client(&fd3, &["scale", "2"]));
    let restarts = Fd3::start(client(&fd3, &["restart", "-v", "0"]));
    let table = || told(client(&fd3, &["status"])).1;
    until("both wait", || waits(&fd3) == 2);
    assert!(table().contains("1 of 1 slots ready") && table().contains("reloading to 2"));
    kill(newcomer, libc::SIGKILL);
    scales.line("ok scaled workers=2");
    restarts.line("fd3: renewing a worker slot=0");
    // Slot 1 is new, and slot 0 has two while its old one overlaps.
    fd3.ready(4);
    assert_eq!(ask(&fd3, &["stop"]), ok("ok stopped exit-status=0"));
    restarts.line("fd3: restart failed: fd3 stops");
}

/// Clients that are connected.
fn waits(fd3: &Fd3) -> usize {
    let own = field(&fd3.line("control socket address="), "address").replace("unix:", "");
    let all = std::fs::read_to_string("/proc/net/unix").expect("there is /proc");
    all.lines().filter(|line| line.ends_with(&own) && !line.contains(" 00010000 ")).count()
}

#[test]
fn one_slot_is_restarted_and_no_other() {
    let folder = Folder::new();
    let script = "import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
address = '\\0' + os.environ['NOTIFY_SOCKET'][1:]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', address)
signal.sigwait([signal.SIGTERM])
";
    let worker = folder.file("worker", script, 0o644);
    let words = ["-w", "2", "--ready", "notify", "--overlap", "0ms"];
    let fd3 = run(&[&words[..], &["--", python(), "-I", &worker]].concat());
    fd3.ready(2);
    let (first, second) = (fd3.worker(0), fd3.worker(1));
    let (status, said) = ask(&fd3, &["restart", "1"]);
    assert!(status == 0 && said.starts_with("ok restarted slot=1 after="), "{said}");
    let third = fd3.worker(2);
    assert!(fd3.nth_line("worker started", 2).ends_with(" generation=1"));
    until("the old one has gone", || !exists(second));
    assert!(exists(first) && exists(third));
    // One that fails leaves what there is.
    let broken = folder.file("next", "exit(3)", 0o644);
    std::fs::rename(broken, &worker).expect("the folder is ours");
    let (status, said) = ask(&fd3, &["restart", "-v", "0"]);
    assert_eq!(status, 1, "{said}");
    let why = "fd3: restart failed: the slot keeps what it had: slot 0: worker ";
    assert!(said.lines().last().is_some_and(|last| last.starts_with(why)), "{said}");
    assert!(said.contains("exited with status 3"), "{said}");
    assert!(exists(first) && exists(third));
    let refused =
        "fd3: restart refused: nothing is changed: cannot restart slot 2: there is no such slot\n";
    assert_eq!(ask(&fd3, &["restart", "2"]), (1, refused.to_string()));
}

#[test]
fn a_slot_that_waits_is_filled_at_once() {
    let fd3 =
        run(&["--ready", "0ms", "--overlap", "0ms", "--backoff", "1h..1h", "--", "sleep", "1000"]);
    kill(fd3.ready(1)[0], libc::SIGKILL);
    fd3.line("restart-in=1h");
    let (status, said) = ask(&fd3, &["restart", "0"]);
    assert!(status == 0 && said.starts_with("ok restarted slot=0 "), "{said}");
    assert!(exists(fd3.worker(1)));
}

#[test]
fn a_stop_is_waited_for_until_the_process_has_gone() {
    let folder = Folder::new();
    let (pid, socket) = (folder.path("pid"), format!("unix:{}", folder.path("socket")));
    let mut fd3 = start(&["-w", "2", "--pid-file", &pid, "-l", &socket]);
    fd3.ready(2);
    assert_eq!(ask(&fd3, &["stop"]), ok("ok stopped exit-status=0"));
    // Its files are closed; it may not be a zombie yet.
    until("it has gone", || !runs(fd3.pid()));
    assert_eq!(crate::world::entries(&folder), Vec::<String>::new());
    assert_eq!(fd3.exit(), 0);
    fd3.line("stopping by=control workers=2");
    assert_eq!(ask(&fd3, &["stop"]).0, 3);
}

/// Two scripts that stop the same one are no person who has had enough; nor is who runs the container.
#[test]
fn a_stop_by_name_is_one_order_however_often_it_comes() {
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 1000; done";
    let mut fd3 = run(&["--ready", "0ms", "--stop-timeout", "1h", "--", "sh", "-c", deaf]);
    fd3.line("deaf");
    let worker = fd3.ready(1)[0];
    let waiting = Fd3::start(client(&fd3, &["stop"]));
    fd3.line("stopping by=control");
    assert_eq!(ask(&fd3, &["stop", "--no-wait"]), ok("ok asked for"));
    fd3.signal(libc::SIGTERM);
    assert_eq!(ask(&fd3, &["stop", "--drain", "--no-wait"]), ok("ok asked for"));
    assert_eq!((fd3.count("stopping at once"), exists(worker)), (0, true));
    assert_eq!(ask(&fd3, &["stop", "--now"]), ok("ok stopped exit-status=0"));
    waiting.line("ok stopped exit-status=0");
    assert_eq!(fd3.exit(), 0);
    fd3.line("stopping at once");
}

/// There fd3 tells everybody in its namespace to stop, who asks as well, and waits for them.
#[test]
fn who_stops_pid_1_from_inside_learns_of_it() {
    if !can_unshare(&["--pid", "--fork", "--mount-proc"]) {
        return;
    }
    let mut unshare = command("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child", FD3, "run", "-v"]);
    unshare.args(QUICK).args(["--", "sleep", "1000"]);
    let mut fd3 = Fd3::start(unshare);
    fd3.ready(1);
    let mut inside = command("nsenter");
    let pid = children(fd3.pid())[0].to_string();
    inside.args(["--pid", "--mount", "--target", &pid, FD3, "stop"]);
    assert_eq!(told(inside), ok("ok stopped exit-status=0"));
    assert_eq!(fd3.exit(), 0);
}

#[test]
fn the_log_tells_as_much_as_it_is_told_to() {
    let mut quiet = command(FD3);
    quiet.args(["run", "-q", "-l", "127.0.0.1:0"]).args(QUICK).args(["--", "sleep", "1000"]);
    let fd3 = Fd3::start(quiet);
    let level = |words: &[&str], told| {
        // It may be that it is not there yet.
        until("fd3 is found", || ask(&fd3, &["log-level"]).0 == 0);
        assert_eq!(ask(&fd3, &[&["log-level"], words].concat()), ok(told));
    };
    level(&[], "ok log-level=error");
    level(&["info"], "ok log-level=info before=error");
    level(&["info"], "ok log-level=info");
    fd3.line("log level changed level=info");
    kill(children(fd3.pid())[0], libc::SIGKILL);
    fd3.line("worker ready");
    level(&["warn"], "ok log-level=warn before=info");
    kill(children(fd3.pid())[0], libc::SIGKILL);
    fd3.nth_line("worker exited", 1);
    level(&[], "ok log-level=warn");
    assert_eq!(fd3.count("worker started"), 1, "{}", fd3.log());
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anybody_is_asked() {
    let table: [(&[&str], &str); 12] = [
        (&["scale"], "scale: its number is missing; accepted: 1 to 10000"),
        (&["scale", "0"], "scale \"0\": accepted: 1 to 10000"),
        (&["scale", "10001"], "scale \"10001\": accepted: 1 to 10000"),
        (&["scale", ""], "scale \"%\": accepted: 1 to 10000"),
        (&["scale", "1\n2"], "scale \"1%0A2\": accepted: 1 to 10000"),
        (&["scale", "1", "2"], "scale \"2\": one word too many; accepted: a number and --no-wait"),
        (&["restart"], "restart: its number is missing; accepted: 0 to 9999"),
        (&["restart", "x"], "restart \"x\": accepted: 0 to 9999"),
        (&["stop", "now"], "stop \"now\": one word too many; accepted: nothing more"),
        (
            &["stop", "--now", "--drain"],
            "stop \"--drain\": one word too many; accepted: --drain or --now, --verbose or --no-wait",
        ),
        (&["log-level", "loud"], "log-level \"loud\": accepted: error, warn, notice, info"),
        (
            &["log-level", "info", "warn"],
            "log-level \"warn\": one word too many; accepted: one level",
        ),
    ];
    for (words, said) in table {
        refused(words, 2, said);
    }
}
