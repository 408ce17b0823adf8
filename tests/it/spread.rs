//! `--spread worker`: each slot accepts from its own sockets, in each of the ways that kernels permit.

use std::net::UdpSocket;
use std::process::Command;

use crate::client::Connection;
use crate::harness::{FD3, Fd3, Folder, PATIENCE, command, field, get, http_server, kill, until};
use crate::refused::refused;
use crate::reload::loses_nothing::{Clients, Kept};
use crate::world::{can_strace, is_root, python, skip};

/// How sockets are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Ebpf,
    /// Without the right to load programs.
    Cbpf,
}

const WAYS: [Way; 2] = [Way::Ebpf, Way::Cbpf];
const QUICK: [&str; 8] =
    ["--ready", "notify", "--overlap", "20ms", "--backoff", "1ms..1ms", "--respawn-limit", "none"];

/// Any program, with the right to load eBPF or without.
fn in_way(way: Way, program: &str) -> Command {
    if way == Way::Ebpf || !is_root() {
        return command(program);
    }
    let mut setpriv = command("setpriv");
    setpriv.args(["--bounding-set=-all", "--inh-caps=-all", program]);
    setpriv
}

/// `fd3 run --spread worker`; `None`, with a word why, where this way is not permitted.
fn start(way: Way, workers: &str, words: &[&str]) -> Option<Fd3> {
    let mut fd3 = in_way(way, FD3);
    fd3.args(["run", "-v", "--spread", "worker", "-w", workers]).args(words);
    let fd3 = Fd3::start(fd3);
    let steering = field(&fd3.line("fd3: spread "), "steering");
    match (way, steering.as_str()) {
        (Way::Ebpf, "ebpf") | (Way::Cbpf, "cbpf") => Some(fd3),
        (Way::Ebpf, _) => {
            skip("this kernel lets us load no eBPF program");
            None
        }
        (Way::Cbpf, other) => panic!("steered by {other}: {}", fd3.log()),
    }
}

fn serve(way: Way, workers: usize, words: &[&str]) -> Option<(Fd3, Vec<i32>)> {
    let server = http_server();
    let mut all = vec!["-l", "127.0.0.1:0"];
    for option in QUICK.chunks(2).filter(|option| !words.contains(&option[0])) {
        all.extend(option);
    }
    let words = [&all, words, &["--", &server]].concat();
    let fd3 = start(way, &workers.to_string(), &words)?;
    let pids = fd3.ready(workers);
    // A line is written just before what it tells of has come to the kernel.
    let (port, mut left) = (fd3.port(), pids.clone());
    until("each one gets connections", || {
        let pid = answerer(port);
        left.retain(|other| *other != pid);
        left.is_empty()
    });
    Some((fd3, pids))
}

/// Who answers on a new connection.
fn answerer(port: u16) -> i32 {
    Connection::open(port).expect("it listens").ask_once("/").expect("it serves")
}

/// How many sockets listen at 127.0.0.1:`port`.
fn listening(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("there is /proc");
    let listens = format!(" 0100007F:{port:04X} 00000000:0000 0A ");
    table.lines().filter(|line| line.contains(&listens)).count()
}

/// It accepts nothing from now on.
fn freeze(pid: i32) {
    kill(pid, libc::SIGSTOP);
    until("it is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| stat.contains(") T "))
    });
}

/// Connections of which some wait at each of two slots, and that have asked.
fn waiting(port: u16, count: usize) -> Vec<Connection> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(port).expect("it listens");
        connection.send("/").expect("the connection stands");
        all.push(connection);
    }
    all
}

#[cfg(feature = "control")]
fn ask(fd3: &Fd3, words: &[&str]) -> String {
    let mut client = command(FD3);
    client.args([words[0], "--pid", &fd3.pid().to_string()]).args(&words[1..]);
    let output = client.output().expect("it starts");
    String::from_utf8_lossy(&output.stdout).into_owned() + &crate::harness::stderr_of(&output)
}

#[test]
fn what_it_cannot_go_with_is_refused() {
    let table: [(&[&str], &str); 5] = [
        (&["--spread", "all"], "--spread \"all\": accepted: shared, worker"),
        (
            &["--spread", "worker"],
            "--spread \"worker\": only tcp and udp are spread, and there is no such --listen",
        ),
        (
            &["--spread", "worker", "-l", "127.0.0.1:1", "--start", "on-demand"],
            "--spread \"worker\": not with --start on-demand: a connection waits at one slot of many",
        ),
        (
            &["--spread", "worker", "-l", "127.0.0.1:1", "-w", "1025"],
            "--spread \"worker\": accepted with up to 1024 workers",
        ),
        (
            &["--spread", "worker", "-l", "unix:@x", "-l", "127.0.0.1:1,reuseport"],
            "--listen \"127.0.0.1:1,reuseport\": option \"reuseport\": not with --spread worker, \
             whose port is not shared",
        ),
    ];
    for (words, said) in table {
        refused(&[&["run"], words, &["--", "sleep", "1000"]].concat(), 2, said);
    }
}

/// Two groups at one port would share its connections in silence.
#[test]
fn a_port_that_somebody_has_is_refused() {
    let Some((fd3, _)) = serve(Way::Cbpf, 2, &[]) else { return };
    let address = format!("127.0.0.1:{}", fd3.port());
    let words = ["run", "--spread", "worker", "-l", &address, "--", "sleep", "1000"];
    refused(&words, 125, &format!("cannot bind tcp://{address}: address in use"));
}

#[test]
fn connections_go_by_turns_to_all_slots() {
    let Some((mut fd3, pids)) = serve(Way::Ebpf, 4, &[]) else { return };
    // Nobody else connects: exactly by turns.
    let answers: Vec<i32> = (0..40).map(|_| answerer(fd3.port())).collect();
    for pid in &pids {
        assert_eq!(answers.iter().filter(|answer| *answer == pid).count(), 10, "{answers:?}");
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn without_rights_each_slot_has_its_share() {
    let Some((mut fd3, pids)) = serve(Way::Cbpf, 4, &[]) else { return };
    let answers: Vec<i32> = (0..200).map(|_| answerer(fd3.port())).collect();
    for pid in &pids {
        // 50 are expected; that it is fewer than 10 happens once in 10^13 runs.
        let share = answers.iter().filter(|answer| *answer == pid).count();
        assert!(share >= 10, "{answers:?}");
    }
    assert_eq!(fd3.stop(), 0);
}

/// What a sandbox says instead of the kernel (seccomp), and an old kernel.
#[test]
fn where_bpf_is_refused_it_is_said_and_the_job_is_done() {
    if !can_strace() {
        return;
    }
    for (errno, said) in
        [("ENOSYS", "not implemented by this kernel"), ("EPERM", "operation not permitted")]
    {
        let mut strace = command("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e"]);
        strace.arg(format!("inject=bpf:error={errno}"));
        strace.args([FD3, "run", "-v", "--spread", "worker", "-w", "2", "-l", "127.0.0.1:0"]);
        strace.args(QUICK).args(["--", &http_server()]);
        let fd3 = Fd3::start(strace);
        let line = fd3.line("fd3: spread ");
        assert_eq!((field(&line, "steering"), field(&line, "why")), ("cbpf".into(), said.into()));
        let pids = fd3.ready(2);
        assert!(pids.contains(&answerer(fd3.port())));
    }
}

/// Reloads, more slots and fewer, under load.
#[test]
fn nothing_is_lost_when_workers_come_and_go() {
    for way in WAYS {
        let Some((mut fd3, _)) = serve(way, 3, &[]) else { continue };
        let seen = Clients::run(fd3.port(), 10, Kept::StaysOpen, |clients| {
            let mut ended = 0;
            for round in 0..4 {
                clients.wait_for_answers(200);
                fd3.signal(libc::SIGHUP);
                fd3.nth_line(" reloaded after=", round);
                ended += 3;
                fd3.nth_line("worker exited", ended - 1);
                clients.wait_for_answers(200);
                fd3.signal(libc::SIGTTIN);
                fd3.nth_line("scaled workers=4", round);
                fd3.nth_line("worker ready", 3 + 4 * round + 3);
                clients.wait_for_answers(200);
                fd3.signal(libc::SIGTTOU);
                ended += 1;
                fd3.nth_line("worker exited", ended - 1);
            }
            clients.wait_for_answers(200);
        });
        assert!(seen.answered_by.len() > 12, "{way:?}: {seen:?}");
        let failed = fd3.count("worker exited") - fd3.count(" status=0 ");
        assert_eq!((failed, fd3.stop()), (0, 0), "{way:?}: {}", fd3.log());
    }
}

/// With `--surge 0` a slot is without a worker for a while, and who waits there goes to the others.
#[test]
fn nothing_is_lost_when_the_old_worker_goes_first() {
    for way in WAYS {
        let Some((mut fd3, _)) = serve(way, 2, &["--surge", "0"]) else { continue };
        Clients::run(fd3.port(), 10, Kept::StaysOpen, |clients| {
            for round in 0..4 {
                clients.wait_for_answers(200);
                fd3.signal(libc::SIGHUP);
                fd3.nth_line(" reloaded after=", round);
            }
            clients.wait_for_answers(200);
        });
        let failed = fd3.count("worker exited") - fd3.count(" status=0 ");
        assert_eq!((failed, fd3.stop()), (0, 0), "{way:?}: {}", fd3.log());
    }
}

/// Its slot is not filled again for an hour: others take what waits there, or would take it.
#[test]
fn who_waits_at_a_dead_worker_goes_to_another_one() {
    let late = ["--backoff", "1h..1h"];
    let Some((mut fd3, pids)) = serve(Way::Ebpf, 2, &late) else { return };
    freeze(pids[0]);
    // By turns: half of them wait at the frozen one.
    let all = waiting(fd3.port(), 20);
    kill(pids[0], libc::SIGKILL);
    for mut connection in all {
        assert_eq!(connection.answer().expect("nothing is lost"), pids[1]);
    }
    fd3.line("worker exited");
    for _ in 0..20 {
        assert_eq!(answerer(fd3.port()), pids[1]);
    }
    assert_eq!(fd3.stop(), 0);
}

/// Nobody is ready: who connects waits, is not refused, and goes to whoever comes first.
#[test]
fn with_nobody_ready_connections_wait() {
    for way in WAYS {
        let Some((mut fd3, pids)) = serve(way, 2, &["--backoff", "500ms..500ms"]) else { continue };
        pids.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        fd3.nth_line("worker exited", 1);
        for mut connection in waiting(fd3.port(), 20) {
            let answer = connection.answer().expect("nothing is lost");
            assert!(!pids.contains(&answer), "{way:?}");
        }
        assert_eq!(fd3.stop(), 0);
    }
}

/// Where its queue cannot go elsewhere, its next worker takes it.
#[test]
fn without_rights_who_waits_at_a_dead_worker_is_answered_by_the_next() {
    let Some((mut fd3, pids)) = serve(Way::Cbpf, 2, &[]) else { return };
    freeze(pids[0]);
    let all = waiting(fd3.port(), 40);
    kill(pids[0], libc::SIGKILL);
    let next = fd3.ready(3)[2];
    let mut answers: Vec<i32> = Vec::new();
    for mut connection in all {
        answers.push(connection.answer().expect("nothing is lost"));
    }
    assert!(answers.iter().all(|pid| [pids[1], next].contains(pid)), "{answers:?}");
    assert_eq!(fd3.stop(), 0);
}

/// The one that is to go accepts first what waits at its slot, as nobody else would.
#[test]
fn a_slot_that_is_taken_away_is_emptied_first() {
    for way in WAYS {
        let words = ["--overlap", "0ms"];
        let Some((mut fd3, _)) = serve(way, 2, &words) else { continue };
        let last = fd3.worker(1);
        assert_eq!(field(&fd3.nth_line("worker started", 1), "slot"), "1");
        freeze(last);
        let all = waiting(fd3.port(), 40);
        fd3.signal(libc::SIGTTOU);
        fd3.line("scaled workers=1");
        // By turns it was told to stop by now, and goes on; what it does not accept goes to slot 0.
        kill(last, libc::SIGCONT);
        for mut connection in all {
            connection.answer().unwrap_or_else(|error| panic!("{way:?}: {error}: {}", fd3.log()));
        }
        fd3.line("worker exited slot=1");
        let first = fd3.worker(0);
        for _ in 0..20 {
            assert_eq!(answerer(fd3.port()), first, "{way:?}");
        }
        // And back.
        fd3.signal(libc::SIGTTIN);
        let again = fd3.ready(3)[2];
        until("the new slot serves", || answerer(fd3.port()) == again);
        assert_eq!(fd3.stop(), 0);
    }
}

/// The kernel's hash does not know who is ready: what nobody will accept from must not be there.
#[test]
fn a_slot_that_rests_for_good_gets_nothing() {
    for way in WAYS {
        let Some((mut fd3, pids)) = serve(way, 3, &["--restart", "never"]) else { continue };
        kill(pids[2], libc::SIGKILL);
        until("its socket is gone", || listening(fd3.port()) == 2);
        for _ in 0..40 {
            assert!(pids[..2].contains(&answerer(fd3.port())), "{way:?}");
        }
        kill(pids[1], libc::SIGKILL);
        until("its socket is gone", || listening(fd3.port()) == 1);
        for _ in 0..20 {
            assert_eq!(answerer(fd3.port()), pids[0], "{way:?}");
        }
        fd3.stop();
    }
}

const ECHO: &str = "import os, socket
s = socket.socket(fileno=3)
while True:
    _, sender = s.recvfrom(100)
    s.sendto(str(os.getpid()).encode(), sender)
";

/// Asks by a datagram; who answers.
fn echo(from: &UdpSocket, to: &str) -> String {
    let mut answer = [0; 20];
    from.send_to(b"x", to).expect("it is sent");
    let len = from.recv(&mut answer).expect("it is answered");
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

#[test]
fn the_datagrams_of_one_sender_stay_together() {
    for way in WAYS {
        let folder = Folder::new();
        let program = folder.file("echo.py", ECHO, 0o644);
        let words = ["-l", "udp://127.0.0.1:0", "--ready", "0ms", "--", python(), &program];
        let Some(mut fd3) = start(way, "4", &words) else { continue };
        fd3.ready(4);
        let to = field(&fd3.line("listening "), "address").replace("udp://", "");
        let senders: Vec<UdpSocket> = (0..20)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                socket.set_read_timeout(Some(PATIENCE)).expect("it is a time");
                socket
            })
            .collect();
        let once: Vec<String> = senders.iter().map(|one| echo(one, &to)).collect();
        let again: Vec<String> = senders.iter().map(|one| echo(one, &to)).collect();
        assert_eq!(once, again, "{way:?}");
        let mut all = once;
        all.sort();
        all.dedup();
        assert!(all.len() > 1, "{way:?}: all go to one");
        assert_eq!(fd3.stop(), 0);
    }
}

/// Unix sockets, and what fd3 inherited, are shared as ever; each listener keeps its place.
#[test]
fn other_listeners_stay_shared() {
    let folder = Folder::new();
    let unix = format!("unix:{}", folder.path("socket"));
    let more = ["-l", &unix, "-l", "127.0.0.1:0"];
    let Some((mut fd3, _)) = serve(Way::Cbpf, 2, &more) else { return };
    let sockets: Vec<_> = (0..2)
        .map(|n| {
            let pid = fd3.worker(n);
            [3, 4, 5].map(|fd| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("open"))
        })
        .collect();
    let same: Vec<bool> = (0..3).map(|nth| sockets[0][nth] == sockets[1][nth]).collect();
    assert_eq!(same, [false, true, false]);
    assert!(get(fd3.port(), "/").is_ok());
    assert_eq!(fd3.stop(), 0);
}

#[cfg(feature = "control")]
#[test]
fn status_tells_who_chooses_and_what_waits_at_each_slot() {
    for (way, said) in
        [(Way::Ebpf, "by turns (eBPF)"), (Way::Cbpf, "at random (classic BPF): operation not")]
    {
        let Some((fd3, _)) = serve(way, 2, &[]) else { continue };
        let last = fd3.worker(1);
        freeze(last);
        let waits = waiting(fd3.port(), 40);
        let table = ask(&fd3, &["status"]);
        assert!(table.contains(&format!("\nSPREAD       worker: {said}")), "{table}");
        let of = |slot: &str| {
            let end = format!(" slot {slot}");
            let line = table.lines().find(|line| line.ends_with(&end)).unwrap_or_default();
            line.split('/').next().and_then(|fill| fill.parse::<u32>().ok())
        };
        assert!(of("1").is_some_and(|count| count > 0), "{table}");
        let json = ask(&fd3, &["status", "--json"]);
        let steering = if way == Way::Ebpf { "ebpf" } else { "cbpf" };
        let spread = format!("\"spread\":{{\"mode\":\"worker\",\"steering\":\"{steering}\"");
        assert!(json.contains(&spread) && json.contains("\"slot\":1,\"queue\":"), "{json}");
        assert!(ask(&fd3, &["scale", "1025"]).contains("there can be up to 1024"));
        drop(waits);
    }
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_tell_of_all_sockets_of_a_listener_in_one_line() {
    let Some((fd3, _)) = serve(Way::Cbpf, 3, &["--metrics", "127.0.0.1:0"]) else { return };
    let address = field(&fd3.line("fd3: metrics "), "address");
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let text = get(port, "/metrics").expect("it answers");
    assert!(text.contains("\nfd3_spread_info{steering=\"cbpf\"} 1\n"), "{text}");
    let lines = text.lines().filter(|line| line.starts_with("fd3_listener_queue_limit{"));
    assert_eq!(lines.count(), 1, "{text}");
}
