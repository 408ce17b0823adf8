//! What fd3 tells the service manager above it, which is this test, or another fd3.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::harness::{FD3, Fd3, Folder, PATIENCE, command, field, is_named, run, until};
use crate::servers::program;
use crate::world::{python, skip, unshare};

/// A service manager, and what it was told so far.
struct Manager {
    socket: UnixDatagram,
    path: String,
    folder: Folder,
}

impl Manager {
    fn new() -> Manager {
        let folder = Folder::new();
        let path = folder.path("notify");
        let socket = UnixDatagram::bind(&path).expect("the folder is ours");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Manager { socket, path, folder }
    }

    fn start(&self, words: &[&str]) -> Fd3 {
        start(&self.path, &[], words)
    }

    fn hears(&self) -> String {
        let mut room = [0; 4096];
        let count = self.socket.recv(&mut room).expect("it is told something");
        String::from_utf8(room[..count].to_vec()).expect("text")
    }

    /// All up to and with the first that begins so.
    fn hears_up_to(&self, wanted: &str) -> Vec<String> {
        let mut heard = vec![self.hears()];
        while !heard.last().is_some_and(|last| last.starts_with(wanted)) {
            heard.push(self.hears());
        }
        heard
    }

    /// What is left when everybody who could say something has ended.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("it is ours");
        let mut room = [0; 4096];
        let more =
            core::iter::from_fn(|| self.socket.recv(&mut room).ok().map(|n| room[..n].to_vec()));
        more.map(|bytes| String::from_utf8(bytes).expect("text")).collect()
    }
}

fn start(to: &str, variables: &[(&str, &str)], words: &[&str]) -> Fd3 {
    let mut command = command(FD3);
    command.args(["run", "-v"]).args(words).env("NOTIFY_SOCKET", to);
    command.envs(variables.iter().copied());
    Fd3::start(command)
}

fn usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

fn is_status(text: &str) -> bool {
    text.starts_with("STATUS=")
}

#[test]
fn it_is_told_when_all_are_ready_and_of_reloads_and_of_the_stop() {
    let manager = Manager::new();
    // One that cannot be executed is never ready, however long it takes until fd3 hears of that.
    let script = "#!/bin/sh\nkill -USR1 $PPID\nexec sleep 1000\n";
    let app = manager.folder.file("app", script, 0o755);
    let mut fd3 = manager.start(&["-w", "3", "--ready", "signal", "--overlap", "0", &app]);
    let mut before = manager.hears_up_to("READY=1");
    assert_eq!(before.pop().as_deref(), Some("READY=1"));
    assert!(before.iter().all(|text| is_status(text)), "{before:?}");
    // However quickly they were ready, not all of them were before.
    assert!(!before.contains(&String::from("STATUS=3 of 3 ready")), "{before:?}");
    assert_eq!(manager.hears(), "STATUS=3 of 3 ready");
    fd3.ready(3);

    let asked = usec();
    fd3.signal(libc::SIGHUP);
    let heard = manager.hears_up_to("READY=1").join("\n");
    let since = heard.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let since: u64 = since.and_then(|since| since.parse().ok()).expect("the time is told");
    assert!(heard.contains("RELOADING=1\nMONOTONIC_USEC=") && asked <= since && since <= usec());
    fd3.line("reloaded");

    // One that is refused is no less an answer.
    let shells = fd3.ready(6);
    until("they have read the file", || shells[3..].iter().all(|pid| is_named(*pid, "sleep")));
    let next = manager.folder.file("next", "#!/not/there\n", 0o755);
    std::fs::rename(next, &app).expect("the folder is ours");
    fd3.signal(libc::SIGHUP);
    let heard = manager.hears_up_to("STATUS=3 of 3 ready; reload r").join("\n");
    assert!(heard.contains("RELOADING=1\n") && heard.contains("\nREADY=1\n"), "{heard}");
    assert!(heard.contains("its interpreter does not exist"), "{heard}");

    assert_eq!(fd3.stop(), 0);
    let rest = manager.rest();
    assert_eq!(rest.first().map(String::as_str), Some("STOPPING=1"), "{rest:?}");
    assert_eq!(rest.get(1).map(String::as_str), Some("STATUS=stopping"), "{rest:?}");
    assert_eq!(rest.len(), 2, "{rest:?}");
}

#[test]
fn its_watchdog_hears_that_fd3_lives_and_workers_know_nothing_of_it() {
    let manager = Manager::new();
    let command = "env | grep -e NOTIFY -e WATCHDOG; exec sleep 1000";
    let worker = ["-l", "127.0.0.1:0", "--ready", "1ms", "--", "sh", "-c", command];
    let mut fd3 = start(&manager.path, &[("WATCHDOG_USEC", "20000")], &worker);
    for _ in 0..5 {
        manager.hears_up_to("WATCHDOG=1");
    }
    fd3.line("worker ready");
    assert_eq!(fd3.stop(), 0);
    let log = fd3.log();
    assert!(!log.contains("WATCHDOG") && !log.contains(&manager.path), "{log}");

    // Somebody else's.
    let manager = Manager::new();
    let mut fd3 = start(
        &manager.path,
        &[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", "1")],
        &["--ready", "50ms", "--", "sleep", "1000"],
    );
    let mut heard = manager.hears_up_to("READY=1");
    assert_eq!(fd3.stop(), 0);
    heard.extend(manager.rest());
    assert!(!heard.iter().any(|text| text == "WATCHDOG=1"), "{heard:?}");
}

#[test]
fn one_that_does_not_listen_is_told_when_it_does() {
    let manager = Manager::new();
    let other = UnixDatagram::unbound().expect("a socket");
    other.set_nonblocking(true).expect("it is ours");
    while other.send_to(b"X", &manager.path).is_ok() {}
    let mut fd3 =
        manager.start(&["-w", "20", "--ready", "1ms", "--overlap", "0", "--", "sleep", "1000"]);
    fd3.ready(20);
    // Nothing waits for it: fd3 reloads, and hears its orders.
    fd3.signal(libc::SIGHUP);
    fd3.line("reloaded");
    let heard = manager.hears_up_to("READY=1");
    assert_eq!(heard.first().map(String::as_str), Some("X"));
    assert_eq!(fd3.stop(), 0);
    assert!(manager.rest().contains(&String::from("STOPPING=1")));
    let log = fd3.log();
    assert!(!log.contains("service manager"), "{log}");
}

#[test]
fn one_that_cannot_be_told_is_named_once_and_changes_nothing() {
    let folder = Folder::new();
    let worker = ["-w", "2", "--ready", "1ms", "--overlap", "0", "--", "sleep", "1000"];
    for (to, message) in [
        (
            folder.path("nobody"),
            "cannot tell the service manager error=\"no such file or directory\"",
        ),
        (
            String::from("@fd3-test-nobody"),
            "cannot tell the service manager error=\"connection refused\"",
        ),
        (String::from("vsock:2:1"), "no service manager is told"),
    ] {
        let mut fd3 = start(&to, &[], &worker);
        fd3.ready(2);
        fd3.signal(libc::SIGHUP);
        fd3.line("reloaded");
        assert_eq!(fd3.stop(), 0);
        assert_eq!(fd3.count(message), 1, "{}", fd3.log());
        assert_eq!(fd3.count("service manager"), 1, "{}", fd3.log());
    }
    let mut fd3 = start("", &[], &worker);
    fd3.ready(2);
    assert_eq!(fd3.stop(), 0);
    assert_eq!(fd3.count("service manager"), 0);
}

/// Both at once: one fd3 is the other one's worker, and is ready when its own are.
#[test]
fn an_fd3_under_an_fd3_is_ready_when_its_workers_are() {
    let folder = Folder::new();
    let go = folder.path("go");
    let worker = "import os, socket, sys, time\n\
        os.mkfifo(sys.argv[1])\n\
        open(sys.argv[1]).read()\n\
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        told.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))\n\
        time.sleep(1000)\n";
    let mut outer = run(&["-l", "127.0.0.1:0", "--ready", "notify", "--", FD3, "run", "-q"]
        .into_iter()
        .chain(["-l", "fd:3", "--ready", "notify", "--", python(), "-I", "-c", worker, &go])
        .collect::<Vec<_>>());
    let inner = outer.worker(0);
    until("the worker waits", || Path::new(&go).exists());
    assert_eq!(outer.count("worker ready"), 0, "{}", outer.log());
    std::fs::write(&go, "go\n").expect("it reads");
    let ready = outer.line("worker ready");
    assert_eq!(field(&ready, "pid").parse(), Ok(inner), "{}", outer.log());
    assert_eq!(outer.stop(), 0);
}

/// A user's systemd, in a world of its own where cgroups and /run are to its liking. Each command of `systemctl` returns
/// when it is done, which `Type=notify` leaves to fd3's word.
const SYSTEMD: &str = r#"
    mount -t cgroup2 none /sys/fs/cgroup && mkdir -p /sys/fs/cgroup/test /run/systemd || exit 0
    echo $$ >/sys/fs/cgroup/test/cgroup.procs && mount -t tmpfs none /run/systemd || exit 0
    mkdir /run/systemd/system
    export XDG_RUNTIME_DIR=$1 XDG_CONFIG_HOME=$1
    $0 --user --unit=basic.target 2>$1/log &
    until systemctl --user is-active basic.target >/dev/null 2>&1; do
        kill -0 $! 2>/dev/null || { cat $1/log; exit 0; }
        sleep 0.1
    done
    echo manager
    told() { systemctl --user show web --value -p "$1"; }
    systemctl --user start web; echo start=$? state=$(told ActiveState) text=$(told StatusText).
    systemctl --user reload web; echo reload=$? state=$(told ActiveState) text=$(told StatusText).
    chmod a-x $1/../app
    systemctl --user reload web 2>/dev/null; echo again=$? state=$(told ActiveState) text=$(told StatusText).
    systemctl --user stop web; echo stop=$? state=$(told ActiveState) result=$(told Result).
"#;

#[test]
fn systemd_itself_waits_for_the_workers_and_for_a_reload() {
    if program("systemctl").is_none() {
        return;
    }
    let Some(mut unshare) = unshare(&["--mount", "--pid", "--fork", "--mount-proc"]) else {
        return;
    };
    let folder = Folder::new();
    let app = folder.file("app", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let unit = format!(
        "[Service]\nType=notify\nKillMode=mixed\nWatchdogSec=100\n\
        ExecStart={FD3} run -w 3 --ready 100ms --overlap 0 -- {app}\n\
        ExecReload={FD3} reload --pid $MAINPID\n"
    );
    let home = folder.path("home");
    std::fs::create_dir_all(format!("{home}/systemd/user")).expect("the folder is ours");
    folder.file("home/systemd/user/web.service", &unit, 0o644);
    unshare.args(["sh", "-c", SYSTEMD, "/lib/systemd/systemd", &home]);
    let mut unshare = Fd3::start(unshare);
    unshare.exit();
    let log = unshare.log();
    if !log.contains("manager") {
        return skip(&format!("systemd does not start here: {log}"));
    }
    for expected in [
        "start=0 state=active text=3 of 3 ready.",
        "reload=0 state=active text=3 of 3 ready.",
        "again=1 state=active text=3 of 3 ready; reload refused: cannot execute",
        "stop=0 state=inactive result=success.",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
}
