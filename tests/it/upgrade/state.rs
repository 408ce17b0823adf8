//! What goes over: all that fd3 was started with, all that it was told, all that it has counted.

use std::os::unix::net::UnixStream;

use super::{UPGRADED, USR2, ask, upgrade};
use crate::harness::{Folder, field, kill, run, until};
use crate::world::python;

const QUICK: [&str; 6] = ["--ready", "0ms", "--backoff", "1ms..1ms", "--stop-timeout", "1ms"];

/// Nothing is read anew: what is started afterwards is the same as before.
#[test]
fn workers_are_started_as_before() {
    let folder = Folder::new();
    let file = folder.file("env", "WHO=first\n", 0o644);
    let words =
        ["-l", "127.0.0.1:0,name=web", "--env-file", &file, "--nice", "3", "--umask", "027"];
    let tell = "echo $WHO $FD3_SLOT $FD3_GENERATION $LISTEN_FDS $LISTEN_FDNAMES $(umask) $(nice) \
                ${FD3_HANDOVER-clean}.; exec sleep 1000";
    let mut fd3 = run(&[&QUICK[..], &words, &["--", "sh", "-c", tell]].concat());
    let (line, worker) = ("first 0 1 1 web 0027 3 clean.", fd3.ready(1)[0]);
    fd3.line(line);
    std::fs::write(&file, "WHO=second\n").expect("the folder is ours");
    upgrade(&fd3);
    kill(worker, libc::SIGKILL);
    fd3.nth_line(line, 1);
    // A reload reads what is there now, and the next upgrade carries that.
    assert_eq!(
        ask(&fd3, &["reload", "--", "sh", "-c", &tell.replace("exec", "echo new; exec")]).0,
        0
    );
    let line = "second 0 2 1 web 0027 3 clean.";
    fd3.line(line);
    upgrade(&fd3);
    let worker = field(&fd3.nth_line("worker ready", 2), "pid").parse().expect("a PID");
    kill(worker, libc::SIGKILL);
    fd3.nth_line(line, 1);
    fd3.nth_line("new", 1);
    assert_eq!(fd3.stop(), 0);
}

/// A worker that leaves one end of a pipe with fd3, and tells what it finds.
const STORES: &str = "
import os, socket, array
held = int(os.environ['LISTEN_FDS']) - 1
print('found', os.environ['LISTEN_FDNAMES'], os.read(4, 100) if held else None, flush=True)
read, write = os.pipe()
os.write(write, b'kept')
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])
passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [read]))]
notify.sendmsg([b'FDSTORE=1\\nFDNAME=pipe\\nFDPOLL=0'], passed)
notify.send(b'READY=1\\nSTATUS=all is well')
import signal
signal.pause()";

#[test]
fn what_fd3_holds_it_holds_on() {
    let folder = Folder::new();
    let (path, control, pid_file, status_file) =
        (folder.path("x.sock"), folder.path("control"), folder.path("pid"), folder.path("status"));
    let control_word = format!("unix:{control}");
    let mut words = vec!["--ready", "notify", "--backoff", "1ms..1ms", "--stop-timeout", "1ms"];
    let listen = format!("unix:{path}");
    words.extend(["-l", &listen, "--control", &control_word, "--pid-file", &pid_file]);
    words.extend(["--status-file", &status_file, "--fd-store", "2", "--metrics", "127.0.0.1:0"]);
    words.extend(["--", python(), "-I", "-c", STORES]);
    let mut fd3 = run(&words);
    let worker = fd3.ready(1)[0];
    fd3.line("found unknown None");
    until("the status file is written", || std::path::Path::new(&status_file).exists());
    let status_before = std::fs::read(&status_file).expect("it was written");
    let port: u16 = field(&fd3.line("metrics address="), "address")
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let client = UnixStream::connect(&path).expect("fd3 listens");
    for n in 0..3 {
        fd3.signal(USR2);
        fd3.nth_line(UPGRADED, n);
    }
    let metrics = crate::harness::get(port, "/metrics").expect("it answers");
    for line in ["fd3_upgrades_total{outcome=\"done\"} 3", "fd3_worker_starts_total 1"] {
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
    let status = crate::harness::command(crate::harness::FD3)
        .args(["status", "--control", &control_word])
        .output()
        .expect("it starts");
    assert!(String::from_utf8_lossy(&status.stdout).contains("all is well"));
    assert_eq!(std::fs::read(&status_file).ok(), Some(status_before));
    kill(worker, libc::SIGKILL);
    fd3.line("found unknown:pipe b'kept'");
    fd3.nth_line("worker ready", 1);
    // The guard still knows which path is its own.
    std::fs::remove_file(&path).expect("it is there");
    until("the path is back", || UnixStream::connect(&path).is_ok());
    drop(client);
    assert_eq!(fd3.stop(), 0);
    for gone in [path, control, pid_file, status_file] {
        assert!(!std::path::Path::new(&gone).exists(), "{gone}");
    }
}

/// A backoff goes on where it was, and so does the number of restarts.
#[test]
fn waits_go_on() {
    let words = ["--backoff", "1h..1h", "--", "false"];
    let mut fd3 = run(&[&["-w", "2", "--stop-timeout", "1ms"][..], &words].concat());
    fd3.nth_line("worker exited", 1);
    assert_eq!(ask(&fd3, &["log-level", "info"]).0, 0);
    upgrade(&fd3);
    let (_, status) = ask(&fd3, &["status", "--json"]);
    assert_eq!(status.matches("\"state\":\"backoff\"").count(), 2, "{status}");
    assert_eq!(status.matches("\"restarts\":1").count(), 2, "{status}");
    assert_eq!(status.matches("\"exit_code\":1").count(), 2, "{status}");
    assert_eq!((fd3.count("worker started"), fd3.stop()), (2, 0), "{}", fd3.log());
}

/// While nobody serves, and a connection that waits is to start somebody.
#[test]
fn demand_is_seen() {
    let words = ["-l", "127.0.0.1:0", "--start", "on-demand", "--", "sleep", "1000"];
    let mut fd3 = run(&[&QUICK[..], &words].concat());
    upgrade_by_signal(&fd3, 0);
    assert_eq!(fd3.count("worker started"), 0, "{}", fd3.log());
    let client = std::net::TcpStream::connect(("127.0.0.1", fd3.port())).expect("fd3 listens");
    fd3.ready(1);
    upgrade_by_signal(&fd3, 1);
    drop(client);
    assert_eq!((fd3.count("worker started"), fd3.stop()), (1, 0), "{}", fd3.log());
}

fn upgrade_by_signal(fd3: &crate::harness::Fd3, n: usize) {
    fd3.line("listening address=");
    fd3.signal(USR2);
    fd3.nth_line(UPGRADED, n);
}
