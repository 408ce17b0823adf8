//! The init scripts of examples/init, as embedded boxes run them: by BusyBox's shell and under its init.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{FD3, Fd3, Folder, children, code, command, get, http_server, kill, until};
use crate::world::{skip_missing, unshare};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/init").join(name);
    path.to_str().expect("the path is text").to_string()
}

fn has_busybox() -> bool {
    let has = command("busybox").arg("true").output().is_ok();
    if !has {
        skip_missing("busybox");
    }
    has
}

const CONF: &str = "listen 127.0.0.1:0\nverbose\nready notify\noverlap 0s\n";

/// A service of this folder's, and no other's.
struct Service(Folder);

impl Service {
    fn script(&self, what: &str) -> Command {
        let mut script = command("busybox");
        script.args(["sh", &example("S50web"), what]).env("FD3", FD3).env("APP", http_server());
        script.env("CONF", self.0.path("conf")).env("PIDFILE", self.0.path("pid"));
        script.env("LOGGER", format!("tee -a {}", self.0.path("log")));
        // Nothing is left to whoever goes on: it would keep this waiting.
        script.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        script
    }

    fn does(&self, what: &str) -> i32 {
        code(self.script(what).status().expect("it starts"))
    }

    fn pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.0.path("pid")).ok()?.trim().parse().ok()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.0.path("log")).unwrap_or_default()
    }

    /// Of the one that was started last; what it answers.
    fn answer(&self) -> String {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("listening")).expect(&log);
        let address = crate::harness::field(line, "address");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        get(port.expect(&address), "/").expect(&log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Its workers die with it.
        if let Some(pid) = self.pid() {
            kill(pid, libc::SIGKILL);
        }
    }
}

#[test]
fn an_s_script_starts_reloads_tells_and_stops() {
    if !has_busybox() {
        return;
    }
    let service = Service(Folder::new());
    let conf = |more: &str| service.0.file("conf", &format!("{CONF}{more}"), 0o600);
    conf("");
    assert_eq!((service.does("status"), service.does("stop")), (3, 0));
    assert_eq!(service.does("start"), 0, "{}", service.log());
    let first = service.pid();
    assert_eq!((service.does("start"), service.pid()), (0, first), "{}", service.log());
    until("it is ready", || service.log().contains("worker ready"));
    assert!(service.answer().contains("of generation 1,"));
    let status = service.script("status").stdout(Stdio::piped()).output().expect("it starts");
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!((code(status.status), told.contains("1 of 1 slots ready")), (0, true), "{told}");
    // Its status is what came of it.
    assert_eq!(service.does("reload"), 0, "{}", service.log());
    until("the old one is gone", || service.log().contains("worker exited"));
    conf("workers x\n");
    assert_eq!(service.does("reload"), 1, "{}", service.log());
    assert!(service.answer().contains("of generation 2,"));
    conf("");
    assert_eq!(service.does("restart"), 0, "{}", service.log());
    let second = service.pid();
    assert_ne!(second, first);
    // What is left of a killed one is in nobody's way.
    kill(second.expect("it runs"), libc::SIGKILL);
    until("it is gone", || service.does("status") == 3);
    assert_eq!(service.pid(), second);
    assert_eq!(service.does("start"), 0, "{}", service.log());
    assert_ne!(service.pid(), second);
    assert_eq!((service.does("stop"), service.pid()), (0, None), "{}", service.log());
    conf("workers x\n");
    assert_eq!((service.does("start"), service.pid()), (1, None), "{}", service.log());
    assert!(service.log().contains("workers \"x\": accepted"), "{}", service.log());
    assert_eq!(service.does("nonsense"), 2);
}

/// The words of the examples, and what they are here.
fn here(text: &str, folder: &Folder) -> String {
    let (pid, server) = (folder.path("pid"), http_server());
    [("/usr/bin/fd3", FD3), ("/usr/bin/web", &server), ("/var/run/web.pid", &pid)]
        .iter()
        .fold(text.to_string(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// In a namespace, where it is the first process; it takes that down as it would the machine.
#[test]
fn busyboardinit_starts_fd3_anew_and_lets_it_finish() {
    if !has_busybox() {
        return;
    }
    let Some(mut unshare) = unshare(&["--pid", "--fork", "--mount-proc"]) else { return };
    let folder = Folder::new();
    for (example_name, name, mode) in [("inittab", "inittab", 0o644), ("S50web", "web", 0o755)] {
        let text = std::fs::read_to_string(example(example_name)).expect("it is there");
        folder.file(name, &here(&text, &folder), mode);
    }
    folder.file("rcS", "#!/bin/sh\necho booted\n", 0o755);
    folder.file("web.conf", CONF, 0o644);
    let script = "mount -t tmpfs none /etc && mkdir /etc/init.d /etc/fd3 && cd \"$0\" &&
        cp inittab /etc && cp rcS web /etc/init.d && cp web.conf /etc/fd3 && exec busybox init";
    unshare.args(["sh", "-c", script, &folder.path("")]);
    let mut board = Fd3::start(unshare);
    board.line("booted");
    board.line("worker ready");
    let first = children(board.pid())[0];
    let fd3 = children(first);
    assert_eq!(fd3.len(), 1, "{}", board.log());
    kill(fd3[0], libc::SIGKILL);
    board.nth_line("worker ready", 1);
    kill(first, libc::SIGTERM);
    board.exit();
    let log = board.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text}: {log}"));
    let (stops, ended) = (at("stopping signal=SIGTERM workers=1"), at("status=0 uptime="));
    assert!(stops < ended && ended < at("The system is going down"), "{log}");
}

/// There is no procd here: what the script asks of it, with each call told instead.
#[test]
fn the_procd_script_asks_for_what_is_meant() {
    if !has_busybox() {
        return;
    }
    let told = |what: &str| {
        let script = "
            for name in procd_open_instance procd_set_param procd_close_instance procd_send_signal; do
                eval \"$name() { echo $name \\\"\\$@\\\"; }\"
            done
            . \"$0\"
            echo $USE_PROCD $START $STOP
            $1";
        let mut shell = command("busybox");
        let output = shell.args(["sh", "-euc", script, &example("web.procd"), what]).output();
        let output = output.expect("it starts");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let set = |what: &str| format!("procd_set_param {what}\n");
    let fd3 = "command /usr/bin/fd3 run --config /etc/fd3/web.conf -- /usr/bin/web";
    let params = [
        fd3,
        "respawn 3600 5 5",
        "term_timeout 10",
        "file /etc/fd3/web.conf",
        "reload_signal HUP",
        "stdout 1",
        "stderr 1",
    ];
    let all = params.map(set).concat();
    let expected = format!("1 95 10\nprocd_open_instance\n{all}procd_close_instance\n");
    assert_eq!(told("start_service").replace(" \n", "\n"), expected);
    assert_eq!(told("reload_service"), "1 95 10\nprocd_send_signal web * HUP\n");
}
