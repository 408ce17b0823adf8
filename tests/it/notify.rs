//! What workers say by sd_notify(3), and what is said in their name.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::guard::ticks_in_a_second;
use crate::harness::{FD3, Fd3, Folder, UNSEEN, command, field, kill, run, until};
use crate::world::{NOBODY, can_unshare, is_root, python, skip};

/// Does what argv[1] says with `say(text, fds)`, `closed(text, n)` and `barrier()`, then waits.
const WORKER: &str = "
import array, os, select, signal, socket, sys
address = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text, fds=[]):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    to.sendmsg([text], rights, 0, address)
def tell(text): os.write(1, text.encode() + b'\\n')
def closed(text, n):
    r, w = os.pipe()
    say(text, [w] * n)
    os.close(w)
    # Closed over there: hung up here.
    poll = select.poll()
    poll.register(r, select.POLLIN)
    assert poll.poll(30000) == [(r, select.POLLHUP)], (text, n)
    os.close(r)
def barrier(): closed(b'BARRIER=1', 1)
exec(sys.argv[1])
while True: signal.pause()
";

fn start(words: &[&str], does: &str) -> Fd3 {
    run(&[words, &["--", python(), "-I", "-c", WORKER, does]].concat())
}

fn open_descriptors(fd3: &Fd3) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", fd3.pid())).expect("it runs").count()
}

#[test]
fn ready_counts_at_once() {
    for ready in ["1h", "notify", "signal"] {
        let mut fd3 = start(&["--ready", ready], "say(b'STATUS=up\\nREADY=1')");
        fd3.ready(1);
        assert_eq!(fd3.stop(), 0);
    }
}

#[test]
fn who_is_not_ready_in_time_is_told_to_stop_and_replaced() {
    let words = ["--ready", "notify", "--start-timeout", "50ms", "--backoff", "1ms..1ms"];
    let words = [&words[..], &["--respawn-limit", "none"]].concat();
    let mut fd3 = start(&words, "say(b'READY=0'); say(b'STATUS=READY=1')");
    fd3.nth_line("worker not ready in time, told to stop", 1);
    assert_eq!(fd3.count("worker ready"), 0, "{}", fd3.log());
    assert!(fd3.line("worker exited").contains("status=SIGTERM"), "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn another_user_speaks_for_nobody() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let does = format!(
        "
if not os.fork():
    os.setgid({NOBODY}); os.setuid({NOBODY})
    say(b'READY=1'); closed(b'READY=1', 253)
    tell('sent'); os._exit(0)
os.wait(); barrier(); tell('heard')"
    );
    let fd3 = start(&["--ready", "notify"], &does);
    fd3.line("sent");
    fd3.line("heard");
    assert_eq!(fd3.count("worker ready"), 0, "{}", fd3.log());
}

#[test]
fn a_barrier_is_answered_whatever_came_before() {
    let does = "
for _ in range(100): say(b'STATUS=x'); barrier()
say(b'READY=1'); barrier(); tell('done')";
    let fd3 = start(&["--ready", "notify"], does);
    fd3.line("done");
    // Read before the barrier, so told before its answer was.
    fd3.ready(1);
}

#[test]
fn descriptors_that_are_sent_do_not_stay() {
    let does = "
barrier(); tell('before'); signal.sigwait([10])
n = os.open('/dev/null', 0)
for i in range(1000): say(b'X=%d' % i, [n] * 10)
for i in range(20): say(b'X', [n] * 253)
barrier(); tell('all sent')";
    let words = [UNSEEN, &["--ready", "0ms"]].concat();
    let fd3 = start(&words, &format!("signal.pthread_sigmask(0, [10]){does}"));
    fd3.line("before");
    fd3.ready(1);
    let before = open_descriptors(&fd3);
    kill(fd3.worker(0), libc::SIGUSR1);
    fd3.line("all sent");
    assert_eq!(open_descriptors(&fd3), before);
}

#[test]
fn descriptors_are_closed_whatever_comes_with_them() {
    let does = "
for text in [b'BARRIER=1', b'BARRIER=1\\n', b'BARRIER=1\\nX=1', b'FDSTORE=1',
        b'FDSTORE=1\\nFDNAME=a\\nFDPOLL=0', b'FDSTOREREMOVE=1\\nFDNAME=a', b'X=1', b'', b'\\0\\0',
        b'\\xff', b'x' * 4096, b'x' * 4097, b'x' * 50000]:
    for n in [1, 2, 252, 253]: closed(text, n)
say(b'READY=1')";
    let fd3 = start(&["--ready", "notify"], does);
    fd3.ready(1);
}

#[test]
fn descriptors_that_there_is_no_room_for_do_no_harm() {
    let does = "
signal.pthread_sigmask(0, [10])
n = os.open('/dev/null', 0)
tell('up')
while True:
    signal.sigwait([10])
    say(b'READY=1', [n] * 253); closed(b'READY=1', 253); barrier(); tell('sent')";
    let fd3 = start(&[UNSEEN, &["--ready", "notify"]].concat(), does);
    fd3.line("up");
    let before = open_descriptors(&fd3);
    // None at all, and some of those that are sent.
    for (nth, limit) in [0, before + 20].into_iter().enumerate() {
        let pid = fd3.pid().to_string();
        let limited =
            command("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).output();
        assert!(limited.expect("prlimit starts").status.success());
        kill(fd3.worker(0), libc::SIGUSR1);
        fd3.nth_line("sent", nth);
        assert_eq!(open_descriptors(&fd3), before);
    }
    assert_eq!(fd3.count("worker ready"), 0, "{}", fd3.log());
}

/// To close the last descriptor of a connection with SO_LINGER takes until all is sent, or as long as it says.
#[test]
fn a_connection_that_lingers_keeps_nobody_waiting() {
    let does = "
import struct
listener = socket.create_server(('127.0.0.1', 0))
connection = socket.create_connection(listener.getsockname())
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 3600))
connection.setblocking(False)
try:
    while True: connection.send(b'x' * 65536)
except BlockingIOError: pass
os.kill(os.getppid(), signal.SIGSTOP)
say(b'FDSTORE=1', [connection.fileno()])
os.close(connection.detach())
os.kill(os.getppid(), signal.SIGCONT)
barrier(); say(b'READY=1')";
    let mut fd3 = start(&["--ready", "notify"], does);
    fd3.ready(1);
    assert_eq!(fd3.stop(), 0);
}

/// Its PID is 0 for fd3, and root's word would count.
#[test]
fn who_is_outside_of_the_pid_namespace_speaks_for_nobody() {
    if !can_unshare(&["--pid", "--fork"]) {
        return;
    }
    let mut unshare = command("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", FD3, "run", "-v", "--ready", "notify", "--"]);
    unshare.args([python(), "-I", "-c", WORKER, "tell('at to=' + os.environ['NOTIFY_SOCKET'])"]);
    let fd3 = Fd3::start(unshare);
    let told = fd3.line("at to=@");
    let mut outside = command(python());
    outside.args([
        "-I",
        "-c",
        WORKER,
        "say(b'READY=1'); barrier(); closed(b'READY=1', 253); sys.exit()",
    ]);
    outside.env("NOTIFY_SOCKET", field(&told, "to"));
    let output = outside.output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fd3.count("worker ready"), 0, "{}", fd3.log());
}

#[test]
fn what_makes_no_sense_says_nothing_and_spoils_nothing() {
    let does = "
for text in [b'', b'\\0', b'\\n' * 4096, b'READY=1\\0READY=1', b'READY=1\\n' * 600,
        b'READY = 1', b'ready=1', b'READY=1 ', b' READY=1', b'READY=', b'=1', b'READY=1' + b'x' * 4096,
        b'READY=1\\nBARRIER=1', b'RELOADING=1', b'A' * 200000]:
    try: say(text)
    except OSError as e: assert e.errno == 90, e
barrier(); tell('told'); signal.sigwait([10])
say(b'=\\nSTATUS=\\xff\\x1b[2J\\nWATCHDOG_USEC=1e9\\nERRNO=-1\\nFDSTOREREMOVE=1\\nREADY=1\\nMAINPID=1')";
    let fd3 = start(&["--ready", "notify"], &format!("signal.pthread_sigmask(0, [10]){does}"));
    fd3.line("told");
    assert_eq!(fd3.count("worker ready"), 0, "{}", fd3.log());
    kill(fd3.worker(0), libc::SIGUSR1);
    fd3.ready(1);
}

#[test]
fn a_flood_of_words_drowns_no_order() {
    let does = "
tell('up')
n = os.open('/dev/null', 0)
while True: say(b'READY=1\\nSTATUS=' + b'x' * 4000, [n])";
    let mut fd3 = start(&["-w", "3", "--ready", "notify"], does);
    fd3.ready(3);
    let first = fd3.worker(0);
    kill(first, libc::SIGKILL);
    fd3.ready(4);
    assert_eq!(fd3.stop(), 0);
    assert_eq!(fd3.count("worker ready"), 4, "{}", fd3.log());
}

#[test]
fn a_signal_from_the_worker_says_ready_where_asked_to() {
    let mut fd3 = start(&["--ready", "signal"], "os.kill(os.getppid(), signal.SIGTERM)");
    fd3.ready(1);
    assert_eq!(fd3.count("stopping"), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

/// Starts fd3 where 512 datagrams may wait at a socket, as systemd has it.
fn start_with_long_queues(words: &[&str], does: &str) -> Option<Fd3> {
    if !can_unshare(&["--net"]) {
        return None;
    }
    let script = "echo 512 >/proc/sys/net/unix/max_dgram_qlen; exec \"$0\" \"$@\"";
    let mut unshare = command("unshare");
    unshare.args(["--net", "sh", "-c", script, FD3, "run", "-v", "--ready", "notify"]);
    unshare.args(words).args(["--", python(), "-I", "-c", WORKER, does]);
    Some(Fd3::start(unshare))
}

#[test]
fn the_last_words_of_a_worker_count_however_many_came_before() {
    let does = "
os.kill(os.getppid(), signal.SIGSTOP)
for _ in range(100): say(b'STATUS=x')
say(b'x' * 4097)
say(b'READY=1'); tell('sent'); os._exit(0)";
    let Some(mut fd3) = start_with_long_queues(&["--restart", "never"], does) else { return };
    fd3.line("sent");
    let stat = format!("/proc/{}/stat", fd3.worker(0));
    until("it has ended", || {
        std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z "))
    });
    kill(fd3.pid(), libc::SIGCONT);
    assert_eq!(fd3.exit(), 0);
    assert_eq!(field(&fd3.line("worker ready"), "pid"), fd3.worker(0).to_string());
}

#[test]
fn an_order_does_not_wait_until_all_is_heard() {
    let does = "
os.kill(os.getppid(), signal.SIGSTOP)
for _ in range(100): say(b'STATUS=x')
say(b'READY=1'); tell('sent')";
    let Some(mut fd3) = start_with_long_queues(&[], does) else { return };
    fd3.line("sent");
    fd3.signal(libc::SIGTERM);
    kill(fd3.pid(), libc::SIGCONT);
    assert_eq!(fd3.exit(), 0);
    let log = fd3.log();
    let place = |text| log.find(text).unwrap_or(log.len());
    assert!(place("stopping") < place("worker ready"), "{log}");
}

#[test]
fn a_worker_that_changed_its_user_is_still_heard() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let script = "import os, signal, socket
os.setuid(54321)
to = '\\0' + os.environ['NOTIFY_SOCKET'][1:]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', to)
while True: signal.pause()";
    let mut fd3 = run(&["--ready", "notify", "--", python(), "-I", "-c", script]);
    fd3.ready(1);
    assert_eq!(fd3.stop(), 0);
}

/// Without a map every user looks like the one that fd3 itself is: then it is the group that counts.
#[test]
fn in_a_namespace_that_knows_no_users_the_workers_group_is_heard() {
    if !can_unshare(&["--user"]) {
        return;
    }
    let by_a_child = "if not os.fork(): BEFORE; say(b'READY=1'); barrier(); tell('heard')";
    for (does, ready) in [
        ("say(b'READY=1'); barrier(); tell('heard')", true),
        (&by_a_child.replace("BEFORE", "pass"), true),
        (&by_a_child.replace("BEFORE", "os.setsid()"), false),
    ] {
        let mut unshare = command("unshare");
        unshare.args(["--user", FD3, "run", "-v", "--ready", "notify", "--"]);
        unshare.args([
            python(),
            "-I",
            "-c",
            WORKER,
            &format!("assert os.getuid() == 65534\n{does}"),
        ]);
        let fd3 = Fd3::start(unshare);
        fd3.line("heard");
        match ready {
            true => drop(fd3.ready(1)),
            false => assert_eq!(fd3.count("worker ready"), 0, "{}", fd3.log()),
        }
    }
}

/// Holds a file so that whoever opens or executes it waits (fcntl(2), "Leases"): for 45 s, by default.
const LEASE: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
n = os.open(sys.argv[1], os.O_RDWR)
try: fcntl.fcntl(n, fcntl.F_SETLEASE, fcntl.F_WRLCK); os.write(1, b'leased\\n')
except OSError: os.write(1, b'not leased\\n')
while True: signal.pause()";

/// A child that hangs in its exec holds copies of all notify sockets, so that those of workers which ended
/// live on, can be written to, and would wake an epoll that still knows them.
#[test]
fn a_child_that_hangs_before_its_exec_does_not_keep_fd3_awake() {
    let folder = Folder::new();
    let (program, next) = (folder.path("worker"), folder.path("next"));
    symlink("/bin/sh", &program).expect("the folder is ours");
    symlink(folder.file("slow", "#!/bin/true\n", 0o755), &next).expect("the folder is ours");
    let script = "echo address=$NOTIFY_SOCKET.; exec sleep 1000";
    let quick = ["-w", "2", "--ready", "0ms", "--backoff", "1ms..1ms"];
    let fd3 = run(&[&quick[..], &["--", &program, "-c", script]].concat());
    fd3.ready(2);
    let addresses = [0, 1].map(|n| fd3.nth_line("address=@", n));
    let mut lease = command(python());
    lease.args(["-I", "-c", LEASE, &folder.path("slow")]);
    let lease = Fd3::start(lease);
    if lease.line("leased") != "leased" {
        return skip("files cannot be leased here");
    }
    std::fs::rename(next, program).expect("the folder is ours");
    kill(fd3.worker(0), libc::SIGKILL);
    // Hangs, and has a copy of the other one's socket.
    fd3.worker(2);
    kill(fd3.worker(1), libc::SIGKILL);
    fd3.worker(3);
    let told = addresses.iter().filter(|address| {
        let name = address.trim_start_matches("address=@").trim_end_matches('.');
        let to = SocketAddr::from_abstract_name(name).expect("an address");
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to_addr(b"STATUS=x", &to).is_ok()
    });
    assert_eq!(told.count(), 1, "{}", fd3.log());
    assert!(ticks_in_a_second(&fd3) < 20, "{}", fd3.log());
}
