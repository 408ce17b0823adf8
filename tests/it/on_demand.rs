//! `--start on-demand`: nobody runs until somebody connects.

use std::io::{ErrorKind, Read};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use crate::guard::ticks_in_a_second;
use crate::harness::{Fd3, Folder, PATIENCE, children, field, kill, output, run, stderr_of, until};
use crate::world::python;

/// Answers one connection with its PID and generation, then does what argv[1] says.
const WORKER: &str = "
import os, signal, socket, sys
listener = socket.socket(fileno=3)
def answer():
    c, _ = listener.accept()
    c.sendall(b'%d of %s' % (os.getpid(), os.environ['FD3_GENERATION'].encode()))
    c.close()
exec(sys.argv[1])
";
const DEMAND: [&str; 6] = ["--start", "on-demand", "--ready", "0ms", "--backoff", "1ms..1ms"];
const HUP: i32 = libc::SIGHUP;

fn start(words: &[&str], does: &str) -> Fd3 {
    run(&[&DEMAND, words, &["--", python(), "-I", "-c", WORKER, does]].concat())
}

fn tcp(words: &[&str], does: &str) -> Fd3 {
    start(&[&["-l", "127.0.0.1:0"], words].concat(), does)
}

fn connect(fd3: &Fd3) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", fd3.port())).expect("fd3 listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

fn answer(mut stream: impl Read) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("somebody answers");
    all
}

#[test]
fn a_worker_comes_with_the_first_connection_and_again_after_it_has_gone() {
    let mut fd3 = tcp(&[], "answer()");
    // By then it would have started one.
    fd3.line("listening");
    fd3.signal(HUP);
    fd3.line("reloaded");
    assert_eq!((fd3.count("worker started"), children(fd3.pid()).len()), (0, 0), "{}", fd3.log());
    for n in 0..3 {
        let stream = connect(&fd3);
        assert_eq!(answer(stream), format!("{} of 2", fd3.worker(n)));
        let line = fd3.nth_line("worker exited", n);
        assert_eq!(field(&line, "restart"), "on-demand");
        assert_eq!(fd3.count("worker started"), n + 1, "{}", fd3.log());
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn every_kind_of_socket_wakes_it() {
    let folder = Folder::new();
    let unix = folder.path("socket");
    let fd3 = start(&["-l", &format!("unix:{unix}")], "answer()");
    fd3.line("listening");
    let stream = UnixStream::connect(&unix).expect("fd3 listens");
    assert_eq!(answer(stream), format!("{} of 1", fd3.worker(0)));
    let udp = "data, who = listener.recvfrom(9); listener.sendto(data, who)";
    let fd3 = start(&["-l", "udp://127.0.0.1:0"], udp);
    let port = field(&fd3.line("listening"), "address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there are ports");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    for n in 0..2 {
        socket.send_to(b"hello", &port["udp://".len()..]).expect("fd3 is there");
        assert_eq!(datagram(&socket).len(), 5);
        fd3.nth_line("worker exited", n);
    }
}

#[test]
fn all_slots_are_filled_and_one_that_fails_waits_too() {
    let does = "
if os.environ['FD3_SLOT'] == '0': answer(); sys.exit(3)
while True: signal.pause()";
    let mut fd3 = tcp(&["-w", "3", "--respawn-limit", "none"], does);
    for n in 0..2 {
        answer(connect(&fd3));
        fd3.worker(2 + n);
        fd3.nth_line("status=3", n);
    }
    // Nobody connects, so it has not come back; an order shows that all that was due is done.
    fd3.signal(libc::SIGTTIN);
    fd3.line("scaled");
    assert_eq!(fd3.count("worker started"), 4, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn one_that_ends_at_once_is_not_started_in_a_whirl() {
    let words = ["--start", "on-demand", "-l", "127.0.0.1:0", "--backoff", "1h..1h", "--", "true"];
    let mut fd3 = run(&words);
    let _waits = connect(&fd3);
    fd3.line("worker exited");
    for n in 0..3 {
        fd3.signal(HUP);
        fd3.nth_line("reload", n);
    }
    assert!(ticks_in_a_second(&fd3) < 20, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

/// A connection that no worker takes must not keep fd3 busy.
#[test]
fn a_connection_wakes_fd3_only_while_a_slot_waits() {
    let mut fd3 = tcp(&["-w", "2"], "while True: signal.pause()");
    let _waits = connect(&fd3);
    fd3.ready(2);
    let _more = connect(&fd3);
    assert!(ticks_in_a_second(&fd3) < 20, "{}", fd3.log());
    assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 2), "{}", fd3.log());
}

#[test]
fn a_reload_starts_nobody_where_nobody_is() {
    let folder = Folder::new();
    let app = folder.path("app");
    let install = |text: &str| {
        let new = folder.file("new", text, 0o755);
        std::fs::rename(new, &app).expect("the folder is ours");
    };
    install("#!/bin/sh\nexit 1");
    let mut fd3 = run(&[&DEMAND[..], &["-l", "127.0.0.1:0", "--", &app]].concat());
    fd3.line("listening");
    install("#!/bin/sh\necho hello from $FD3_GENERATION; exec sleep 1000");
    fd3.signal(HUP);
    assert_eq!(field(&fd3.line("reloaded"), "generation"), "2");
    std::fs::remove_file(&app).expect("it is there");
    fd3.signal(HUP);
    fd3.line("reload refused");
    install("#!/bin/sh\necho hello from $FD3_GENERATION; exec sleep 1000");
    let _stream = connect(&fd3);
    fd3.line("hello from 2");
    fd3.signal(HUP);
    fd3.line("hello from 3");
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_listener_that_is_mended_wakes_it_too() {
    let folder = Folder::new();
    let unix = folder.path("socket");
    let does = format!("answer(); os.unlink('{unix}'); listener.shutdown(socket.SHUT_RDWR)");
    let fd3 = start(&["-l", &format!("unix:{unix}")], &does);
    for n in 0..3 {
        let mut stream = None;
        until("the path is there", || {
            stream = UnixStream::connect(&unix).ok();
            stream.is_some()
        });
        let stream = stream.expect("it is there");
        assert_eq!(answer(stream), format!("{} of 1", fd3.worker(n)));
        fd3.nth_line("worker exited", n);
    }
}

#[test]
fn a_stop_and_other_numbers_of_slots_find_waiting_ones() {
    let mut fd3 = tcp(&["-w", "2"], "while True: answer()");
    fd3.line("listening");
    for (n, signal) in [libc::SIGTTIN, libc::SIGTTIN, libc::SIGTTOU].into_iter().enumerate() {
        fd3.signal(signal);
        fd3.nth_line("scaled", n);
    }
    assert_eq!(fd3.count("worker started"), 0, "{}", fd3.log());
    answer(connect(&fd3));
    fd3.ready(3);
    kill(fd3.worker(0), libc::SIGKILL);
    let line = fd3.line("worker exited");
    assert_eq!(field(&line, "status"), "SIGKILL");
    // The connection that wakes fd3 may be answered by another one.
    answer(connect(&fd3));
    assert_eq!(fd3.stop(), 0);
    let mut fd3 = tcp(&[], "answer()");
    fd3.line("listening");
    assert_eq!((fd3.stop(), fd3.count("worker started")), (0, 0), "{}", fd3.log());
}

fn datagram(socket: &UdpSocket) -> String {
    let mut bytes = [0; 20];
    loop {
        match socket.recv(&mut bytes) {
            Ok(length) => return String::from_utf8_lossy(&bytes[..length]).into_owned(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("nobody answers: {error}"),
        }
    }
}

/// It wakes nobody for good, and hides no datagram that comes after it.
#[test]
fn an_error_that_a_worker_left_on_the_socket_hides_nobody() {
    let does = "
import select
listener.setsockopt(socket.IPPROTO_IP, 11, 1) # IP_RECVERR
while True:
    try: _, client = listener.recvfrom(100); break
    except OSError: pass # what the one before left
# It hears one other alone: for all others its port is closed, and nobody else gets it.
nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
nobody.bind(('127.0.0.1', 0))
nobody.connect(('127.0.0.2', 9))
listener.sendto(b'', nobody.getsockname())
poll = select.poll()
poll.register(listener, 0)
assert poll.poll(30000)
listener.setblocking(False)
reply = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
reply.sendto(b'%d' % os.getpid(), client)";
    let mut fd3 = start(&["-l", "udp://127.0.0.1:0"], does);
    let line = fd3.line("listening address=udp://");
    let address = field(&line, "address").replace("udp://", "");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    for n in 0..3 {
        client.send_to(b"x", &address).expect("it is sent");
        assert_eq!(datagram(&client), fd3.worker(n).to_string());
        fd3.nth_line("worker exited", n);
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn restart_never_is_for_one_connection() {
    let mut fd3 = tcp(&["--restart", "never"], "answer()");
    assert_eq!(answer(connect(&fd3)), format!("{} of 1", fd3.worker(0)));
    assert_eq!(fd3.exit(), 0);
}

#[test]
fn without_a_listener_nobody_can_ask() {
    let refused = output(&["run", "--start", "on-demand", "--", "true"]);
    let said = stderr_of(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let why = "--start \"on-demand\": nobody can ask for a worker without --listen";
    assert_eq!(said.trim(), format!("fd3: {why}"));
}

/// All fail, and come back to waiting at different times: each time the connection must be seen anew.
#[test]
fn a_client_is_not_forgotten_however_often_workers_fail() {
    let words = ["--start", "on-demand", "-l", "127.0.0.1:0", "-w", "8", "--ready", "0ms"];
    let rest = ["--backoff", "5ms..5ms", "--respawn-limit", "none", "--", "false"];
    let mut fd3 = run(&[&words[..], &rest].concat());
    let _waits = connect(&fd3);
    fd3.nth_line("worker exited", 300);
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_reload_to_at_once_fills_the_slots_that_waited() {
    let folder = Folder::new();
    let configure = |start: &str| {
        folder.file("conf", &format!("listen 127.0.0.1:0\nstart {start}\nready 0ms\n"), 0o644)
    };
    let conf = configure("on-demand");
    let mut fd3 = run(&["--config", &conf, "-w", "2", "--", "sleep", "1000"]);
    fd3.line("listening");
    configure("at-once");
    fd3.signal(HUP);
    fd3.ready(2);
    fd3.line("reloaded");
    assert_eq!(fd3.stop(), 0);
}
