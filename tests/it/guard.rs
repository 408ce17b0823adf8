//! Workers that hurt what they share: seen, mended, told with the culprit's PID, and served on.

use std::io::Read;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use crate::harness::{Fd3, Folder, IS_STATIC, PATIENCE, command, field, kill, run, until};
use crate::world::{entries, python, skip, stale_socket};

/// The first worker does argv[1], once; every one serves its PID to whoever connects.
const WORKER: &str = "
import os, signal, socket, sys
def deaf(): signal.signal(15, signal.SIG_IGN)
listener = socket.socket(fileno=3)
try: os.close(os.open(sys.argv[2] + '/done', os.O_CREAT | os.O_EXCL)); first = True
except FileExistsError: first = False
path = sys.argv[2] + '/socket'
if first: exec(sys.argv[1])
while True:
    try: client, _ = listener.accept()
    except OSError:
        while True: signal.pause()
    client.sendall(b'%d' % os.getpid())
    client.close()
";

fn start(folder: &Folder, listen: &str, words: &[&str], evil: &str) -> Fd3 {
    let common = ["-l", listen, "--ready", "0ms", "--backoff", "1ms..1ms"];
    let worker = ["--", python(), "-I", "-c", WORKER, evil, &folder.path("")];
    run(&[&common, words, &worker].concat())
}

/// The PID that serves here now.
fn served(mut stream: impl Read) -> i32 {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is served");
    answer.parse().expect("a PID")
}

fn tcp(port: u16) -> i32 {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    served(stream)
}

fn unix(path: &str) -> i32 {
    let stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    served(stream)
}

#[test]
fn a_shrunk_backlog_is_mended_at_its_workers_end() {
    let folder = Folder::new();
    for listen in ["127.0.0.1:0,backlog=64", &format!("unix:{},backlog=64", folder.path("socket"))]
    {
        let fd3 = start(&folder, listen, &[], "listener.listen(1); os._exit(0)");
        let told = fd3.line("a listener's backlog was shrunk");
        assert!(told.contains(" from=64 to=1 "), "{told}");
        assert_eq!(field(&told, "suspect"), fd3.worker(0).to_string());
        assert_eq!(field(&told, "repaired"), "yes");
        let second = fd3.worker(1);
        match listen.starts_with("unix") {
            true => assert_eq!(unix(&folder.path("socket")), second),
            false => assert_eq!(tcp(fd3.port()), second),
        }
        std::fs::remove_file(folder.path("done")).expect("it is there");
    }
}

/// Nobody need die for it.
#[test]
fn a_shrunk_backlog_is_mended_when_its_worker_is_ready() {
    let folder = Folder::new();
    let evil = "listener.listen(1); import time
sd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sd.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'].replace('@', chr(0)))";
    let words = ["-l", "127.0.0.1:0,backlog=64", "--ready", "notify", "--", python(), "-I", "-c"];
    let fd3 = run(&[&words[..], &[WORKER, evil, &folder.path("")]].concat());
    let told = fd3.line("a listener's backlog was shrunk");
    assert!(told.contains(" from=64 to=1 "), "{told}");
    assert_eq!(field(&told, "suspect"), fd3.worker(0).to_string());
    assert_eq!(tcp(fd3.port()), fd3.worker(0));
}

#[test]
fn a_listener_that_was_shut_down_is_replaced_with_its_workers() {
    for (listen, how) in [
        ("127.0.0.1:0", "socket.SHUT_RDWR"),
        ("127.0.0.1:0", "socket.SHUT_RD"),
        ("unix", "socket.SHUT_RDWR"),
        ("unix", "socket.SHUT_RD"),
    ] {
        // Its own, as killed workers of the last round may hold the path for a moment.
        let folder = Folder::new();
        let listen = match listen {
            "unix" => format!("unix:{}", folder.path("socket")),
            tcp => tcp.to_string(),
        };
        let fd3 = start(&folder, &listen, &[], &format!("listener.shutdown({how})"));
        let told = fd3.line("a listener was shut down");
        assert_eq!(field(&told, "suspect"), fd3.worker(0).to_string());
        assert_eq!(field(&told, "repaired"), "yes");
        let second = fd3.worker(1);
        match listen.starts_with("unix") {
            true => assert_eq!(unix(&folder.path("socket")), second),
            false => assert_eq!(tcp(fd3.port()), second),
        }
    }
}

fn abstract_address(listen: &str) -> SocketAddr {
    let name = listen.split('@').nth(1).expect("an abstract name");
    SocketAddr::from_abstract_name(name).expect("it is short")
}

/// Where the workers' dead socket holds the address, they all have to go first.
#[test]
fn a_dead_listener_whose_address_is_taken_is_replaced_when_its_workers_are_gone() {
    let folder = Folder::new();
    let name = format!("unix:@fd3-test-{}", std::process::id());
    let evil = "os.write(1, b'evil\\n'); listener.shutdown(socket.SHUT_RDWR)";
    let fd3 = start(&folder, &name, &["-w", "3"], evil);
    fd3.line("evil");
    assert_eq!(field(&fd3.line("a listener was shut down"), "repaired"), "no");
    fd3.line("no worker is started until listeners are whole again");
    assert_eq!(field(&fd3.nth_line("a listener was shut down", 1), "repaired"), "yes");
    let second = fd3.ready(6);
    let address = abstract_address(&name);
    let client = UnixStream::connect_addr(&address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(second[3..].contains(&served(client)));
}

/// The same where a datagram socket is shut for reading.
#[test]
fn a_dead_datagram_listener_is_replaced_when_its_workers_are_gone() {
    let folder = Folder::new();
    let script = "
import os, socket, sys
listener = socket.socket(fileno=3)
try: os.close(os.open(sys.argv[1] + '/done', os.O_CREAT | os.O_EXCL)); first = True
except FileExistsError: first = False
if first: listener.shutdown(socket.SHUT_RD)
while not first: os.write(1, b'heard ' + listener.recv(100) + b'\\n')
import signal; signal.pause()";
    let listen = format!("unixgram:@fd3-gram-{}", std::process::id());
    let words = ["-l", &listen, "--ready", "0ms", "--backoff", "1ms..1ms", "--", python(), "-I"];
    let fd3 = run(&[&words[..], &["-c", script, &folder.path("")]].concat());
    assert_eq!(field(&fd3.nth_line("a listener was shut down", 1), "repaired"), "yes");
    fd3.ready(2);
    let address = abstract_address(&listen);
    let client = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    client.send_to_addr(b"this", &address).expect("it is there");
    fd3.line("heard this");
}

/// A client that has the dead port: nobody can mend that.
#[test]
fn a_listener_that_cannot_be_replaced_ends_fd3() {
    let folder = Folder::new();
    let name = format!("unix:@fd3-gone-{}", std::process::id());
    let evil = "
gone, left = os.pipe()
os.fork() or (os.setsid(), os.write(1, b'away %d.\\n' % os.getpid()), os.write(left, b'x'), signal.pause())
os.read(gone, 1)
listener.shutdown(socket.SHUT_RDWR)";
    let mut fd3 = start(&folder, &name, &[], evil);
    let away = fd3.line("away ");
    fd3.line("no worker is started until listeners are whole again");
    fd3.line("giving up: a listener cannot be replaced");
    let away = away.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a PID");
    kill(away, libc::SIGKILL);
    assert_eq!(fd3.exit(), 125);
}

#[test]
fn a_path_that_was_taken_away_comes_back() {
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket"));
    let replace = "other = socket.socket(socket.AF_UNIX); other.bind(path + '2'); other.listen()
os.rename(path + '2', path)";
    for (evil, said) in [
        ("os.unlink(path)", "a listener's path was removed"),
        ("os.rename(path, path + '3')", "a listener's path was removed"),
        (replace, "a listener's path was replaced"),
        ("os.unlink(path); os._exit(0)", "a listener's path was removed"),
    ] {
        let mut fd3 = start(&folder, &listen, &[], evil);
        let told = fd3.line(said);
        assert_eq!(field(&told, "repaired"), "yes", "{told}");
        if !evil.contains("_exit") {
            assert_eq!(field(&told, "suspect"), fd3.worker(0).to_string());
        }
        let last = fd3.worker(usize::from(evil.contains("_exit")));
        assert_eq!(unix(&folder.path("socket")), last, "{evil}");
        assert_eq!(fd3.stop(), 0);
        let left = entries(&folder);
        assert!(!left.contains(&"socket".to_string()), "{left:?}");
        assert!(!left.contains(&".socket.fd3".to_string()), "{left:?}");
        let _ = std::fs::remove_file(folder.path("socket3"));
        std::fs::remove_file(folder.path("done")).expect("it is there");
    }
}

#[test]
fn what_is_no_socket_is_not_overwritten() {
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket"));
    let evil = "open(path + '2', 'w').write('precious'); os.rename(path + '2', path)";
    let mut fd3 = start(&folder, &listen, &[], evil);
    let told = fd3.line("a listener's path was replaced");
    assert_eq!(field(&told, "repaired"), "no");
    assert!(told.contains("is not a socket"), "{told}");
    assert_eq!(fd3.stop(), 0);
    let kept = std::fs::read_to_string(folder.path("socket")).expect("it is left alone");
    assert_eq!(kept, "precious");
}

/// Processor time so far, in ticks.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit(") ").next().expect("the name is over");
    let times = rest.split(' ').skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// How long fd3 works while another program counts to a second.
pub fn ticks_in_a_second(fd3: &Fd3) -> u64 {
    let before = ticks(fd3.pid());
    assert!(command("sleep").arg("1").status().expect("sleep starts").success());
    ticks(fd3.pid()) - before
}

/// What workers hold, an epoll does not forget.
#[test]
fn a_dead_listener_in_deaf_hands_costs_no_time() {
    let folder = Folder::new();
    let unix_listen = format!("unix:{}", folder.path("socket"));
    for listen in ["127.0.0.1:0", &unix_listen] {
        let evil = "deaf(); listener.shutdown(socket.SHUT_RDWR)";
        let fd3 = start(&folder, listen, &["--stop-timeout", "none"], evil);
        fd3.ready(2);
        assert!(ticks_in_a_second(&fd3) < 20, "{}", fd3.log());
        std::fs::remove_file(folder.path("done")).expect("it is there");
    }
}

/// As some servers do when they drain.
#[test]
fn a_listener_shut_down_during_a_stop_costs_no_time() {
    let folder = Folder::new();
    let evil = "
signal.pthread_sigmask(signal.SIG_BLOCK, [15]); os.write(1, b'up\\n')
signal.sigwait([15]); listener.shutdown(socket.SHUT_RDWR); os.write(1, b'draining\\n')";
    let fd3 = start(&folder, "127.0.0.1:0", &["--stop-timeout", "none"], evil);
    fd3.line("up");
    fd3.signal(libc::SIGTERM);
    fd3.line("draining");
    assert!(ticks_in_a_second(&fd3) < 20, "{}", fd3.log());
    assert_eq!(fd3.count("was shut down"), 0, "{}", fd3.log());
}

/// No timer, no poll: nothing but facts wakes fd3.
#[test]
fn an_idle_fd3_sleeps() {
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket"));
    // Where no client of another test looks for its own.
    let control = format!("unix:@fd3-idle-{}", std::process::id());
    let words = ["-w", "4", "-l", "127.0.0.1:0", "--control", &control];
    let words = if cfg!(feature = "control") { &words[..] } else { &words[..4] };
    let fd3 = start(&folder, &listen, words, "pass");
    fd3.ready(4);
    sleeps_on(&fd3, || assert!(unix(&folder.path("socket")) > 0));
}

/// Nothing wakes it, neither `what` is done now nor a second.
pub fn sleeps_on(fd3: &Fd3, what: impl FnOnce()) {
    until("fd3 sleeps", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", fd3.pid()));
        stat.expect("it runs").contains(") S ")
    });
    let before = switches(fd3);
    what();
    ticks_in_a_second(fd3);
    assert_eq!(switches(fd3), before, "something woke it");
}

/// How often it has slept and been woken.
pub fn switches(fd3: &Fd3) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fd3.pid()));
    let status = status.expect("it runs");
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.map(str::to_string).collect()
}

/// How much of its file's code is mapped, in KiB.
pub fn mapped_code(pid: i32) -> u64 {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it runs");
    let mut lines = smaps.lines();
    let code = |line: &str| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy());
    assert!(lines.any(code), "{smaps}");
    let resident = lines.find_map(|line| line.strip_prefix("Rss:")).expect("it is told");
    resident.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The kernel maps at most 64 KiB at once of a file's pages that are in memory.
#[test]
fn a_sleeping_fd3_keeps_no_more_of_its_code_than_it_sleeps_in() {
    if !IS_STATIC {
        return skip("only the static fd3 gives memory back; scripts/test tests that one as well");
    }
    let fd3 = run(&["--ready", "0ms", "-w", "4", "--", "sleep", "1000"]);
    fd3.ready(4);
    until("it is small", || mapped_code(fd3.pid()) <= 128);
}

#[test]
fn an_error_queue_that_nobody_reads_wakes_fd3_once() {
    let script = "import os, signal, socket
listener = socket.socket(fileno=3)
listener.setsockopt(socket.IPPROTO_IP, 11, 1)
# It hears one other alone: for all others its port is closed, and nobody else gets it.
closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
closed.bind(('127.0.0.1', 0))
closed.connect(('127.0.0.2', 9))
listener.sendto(b'x', closed.getsockname())
os.write(1, b'sent\\n')
while True: signal.pause()";
    let words = ["-l", "udp://127.0.0.1:0", "--ready", "0ms", "--", python(), "-I", "-c", script];
    let mut fd3 = run(&words);
    fd3.line("sent");
    fd3.ready(1);
    let stat = format!("/proc/{}/schedstat", fd3.pid());
    let cpu_ns = || -> u64 {
        let text = std::fs::read_to_string(&stat).expect("fd3 runs");
        text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    // Whoever is woken without end uses up a hundred milliseconds of CPU before long.
    let before = cpu_ns();
    let rounds = std::cell::Cell::new(0);
    until("some rounds", || {
        rounds.set(rounds.get() + 1);
        rounds.get() > 100
    });
    assert!(cpu_ns() - before < 100_000_000, "fd3 spins");
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn of_two_that_find_one_stale_path_one_serves_there() {
    for _ in 0..5 {
        let folder = Folder::new();
        let path = folder.path("socket");
        stale_socket(&path);
        let listen = format!("unix:{path}");
        let both = [0, 1].map(|_| run(&["-l", &listen, "--", "sleep", "1000"]));
        let refused = |fd3: &Fd3| fd3.count("cannot bind");
        let serving = |fd3: &Fd3| fd3.count("worker started");
        until("each has tried", || both.iter().all(|fd3| refused(fd3) + serving(fd3) > 0));
        assert_eq!(both.iter().map(refused).sum::<usize>(), 1);
        UnixStream::connect(&path).expect("the other one listens");
    }
}
