//! The control socket and its client: who is heard, what is answered, and that nobody who connects can
//! hold fd3 up.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::guard::{sleeps_on, ticks_in_a_second};
use crate::harness::{
    FD3, Fd3, Folder, PATIENCE, children, code, command, exists, field, kill, output, run,
    stderr_of, until,
};
use crate::refused::refused;
use crate::world::{as_nobody, can_unshare, entries, is_root, python, stale_socket};

fn start(words: &[&str]) -> Fd3 {
    let fd3 = run(&[&["--ready", "0ms"], words, &["--", "sleep", "1000"]].concat());
    fd3.ready(1);
    fd3
}

/// An address at which no `fd3 reload` of another test looks.
fn hidden() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("unix:@fd3-test-{}-{next}", std::process::id())
}

/// No generation of it is ever ready: whoever waits for a reload waits.
fn start_unready() -> Fd3 {
    let words = ["--control", &hidden(), "--ready", "notify", "--start-timeout", "none"];
    run(&[&words[..], &["--", "sleep", "1000"]].concat())
}

/// As it is to be given to `--control`.
fn address(fd3: &Fd3) -> String {
    field(&fd3.line("control socket address="), "address")
}

fn connect(fd3: &Fd3) -> UnixStream {
    let address = address(fd3);
    let stream = match address.strip_prefix("unix:@") {
        Some(name) => {
            let name = SocketAddr::from_abstract_name(name).expect("it is short");
            UnixStream::connect_addr(&name)
        }
        None => UnixStream::connect(address.trim_start_matches("unix:")),
    };
    let stream = stream.expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Up to the end, of whatever kind: who says more than is listened to is hung up on.
fn answer(mut stream: &UnixStream) -> String {
    let mut answer = Vec::new();
    let mut room = [0; 1000];
    while let Ok(count @ 1..) = stream.read(&mut room) {
        answer.extend_from_slice(&room[..count]);
    }
    String::from_utf8(answer).expect("answers are UTF-8")
}

/// That what was sent before was heard: so is this.
fn is_alive(fd3: &Fd3) {
    let mut stream = connect(fd3);
    stream.write_all(b"?\n").expect("it listens");
    assert!(answer(&stream).starts_with("error "));
}

fn descriptors(pid: i32) -> BTreeSet<i32> {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let names = all.map(|entry| entry.expect("it runs").file_name().into_string());
    names.map(|name| name.expect("a number").parse().expect("a number")).collect()
}

/// `fd3 reload` with these words: its exit status, and what it says.
fn reload(words: &[&str]) -> (i32, String) {
    said(command(FD3).arg("reload").args(words))
}

fn said(command: &mut Command) -> (i32, String) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (code(output.status), stdout + &stderr_of(&output))
}

#[test]
fn one_line_asks_and_one_answers() {
    let mut fd3 = start(&[]);
    assert_eq!(address(&fd3), format!("unix:@fd3/{}", fd3.pid()));
    let accepted =
        "cannot be asked for; accepted: reload, status, stop, scale, restart, log-level\n";
    let upgrade = if cfg!(feature = "upgrade") { "restart, upgrade," } else { "restart," };
    let accepted = &accepted.replace("restart,", upgrade);
    let too_many = "one word too many; accepted: --if-generation N, --verbose or --no-wait, -- COMMAND [ARG]...";
    let table: [(&[u8], &str); 11] = [
        (b"reload --no-wait\n", "ok asked for\n"),
        (b"reload --verbose now\n", &format!("error reload \"now\": {too_many}\n")),
        (b"reload --no-wait\r\n", "ok asked for\n"),
        (b"reload --no-wait\nreload\n\xff\xff", "ok asked for\n"),
        (b"GET / HTTP/1.1\r\n\r\n", &format!("error \"GET\" {accepted}")),
        (b"\n", &format!("error \"\" {accepted}")),
        (b"\x1b[2J\0\n", &format!("error \"?[2J?\" {accepted}")),
        (b"\xff\n", "error not UTF-8\n"),
        (b"reload", "error half a line: its end is missing\n"),
        (&[b'x'; 513], "error a longer line than 512 bytes\n"),
        (b"", ""),
    ];
    for (sent, expected) in table {
        let mut stream = connect(&fd3);
        stream.write_all(sent).expect("it listens");
        // As `nc -N`: nothing more will come.
        let _ = stream.shutdown(Shutdown::Write);
        assert_eq!(answer(&stream), expected, "{sent:?}");
    }
    let mut stream = connect(&fd3);
    for byte in b"reload --no-wait\n" {
        stream.write_all(&[*byte]).expect("it listens");
        is_alive(&fd3);
    }
    assert_eq!(answer(&stream), "ok asked for\n");
    // Garbage without end.
    let mut stream = connect(&fd3);
    while stream.write_all(&[b'x'; 4096]).is_ok() {}
    assert_eq!(answer(&stream), "error a longer line than 512 bytes\n");
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn silent_and_gone_clients_cost_nothing() {
    let fd3 = start_unready();
    fd3.worker(0);
    // Before the first client: one that was answered may take up a descriptor for a moment more.
    let before = descriptors(fd3.pid()).len();
    is_alive(&fd3);
    let silent = connect(&fd3);
    let mut half = connect(&fd3);
    half.write_all(b"rel").expect("it listens");
    let mut waiting = connect(&fd3);
    waiting.write_all(b"reload\n").expect("it listens");
    let mut last_words = connect(&fd3);
    last_words.write_all(b"reload\n").expect("it listens");
    last_words.shutdown(Shutdown::Write).expect("it is connected");
    is_alive(&fd3);
    sleeps_on(&fd3, || {
        waiting.write_all(&[b'x'; 4096]).expect("there is room");
    });
    assert!(descriptors(fd3.pid()).len() >= before + 4, "{}", fd3.log());
    drop((silent, half, waiting, last_words));
    is_alive(&fd3);
    until("fd3 has let go of them", || descriptors(fd3.pid()).len() <= before + 1);
    sleeps_on(&fd3, || {});
}

const CROWD: &str = "
import resource, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2000), hard))
def connected():
    client = socket.socket(socket.AF_UNIX)
    client.connect('\\0' + sys.argv[1])
    return client
clients = [connected() for _ in range(1000)]
def answer(client):
    try: return client.recv(100)
    except ConnectionResetError: return b''
sent_away = b'error busy: 16 clients are connected, and you did not ask\\n'
print('sent away', sum(answer(client) == sent_away for client in clients[:-16]), flush=True)
print('next', answer(clients[-16]) == sent_away, flush=True)
print('ended', sum(answer(client) == b'' for client in clients[-15:]), flush=True)
";

/// And who comes with something to ask is heard.
#[test]
fn of_a_thousand_silent_clients_the_latest_sixteen_stay() {
    let mut fd3 = start(&["--control", &hidden(), "--backoff", "1ms..1ms"]);
    let before = descriptors(fd3.pid()).len();
    let name = address(&fd3).replace("unix:@", "");
    let mut crowd = command(python());
    crowd.args(["-I", "-c", CROWD, &name]);
    let mut crowd = Fd3::start(crowd);
    crowd.line("sent away 984");
    // It answers before it closes.
    until("sixteen are left", || descriptors(fd3.pid()).len() == before + 16);
    is_alive(&fd3);
    crowd.line("next True");
    // And fd3 does its work; what it starts has nothing of this.
    kill(fd3.worker(0), libc::SIGKILL);
    let second = fd3.ready(2)[1];
    until("it is COMMAND, with nothing of fd3's", || descriptors(second) == [0, 1, 2].into());
    assert_eq!(fd3.stop(), 0);
    crowd.line("ended 15");
    assert_eq!(crowd.exit(), 0);
}

#[test]
fn whoever_waits_for_an_outcome_is_not_sent_away_for_others() {
    let mut fd3 = start_unready();
    fd3.worker(0);
    let waiting: Vec<UnixStream> = (0..16)
        .map(|_| {
            let mut stream = connect(&fd3);
            stream.write_all(b"reload\n").expect("it listens");
            stream
        })
        .collect();
    // All of them were heard before it.
    let busy = || answer(&connect(&fd3)) == "error busy: 16 clients are connected\n";
    until("all of them wait", busy);
    assert_eq!(fd3.stop(), 0);
    for stream in waiting {
        assert_eq!(answer(&stream), "failed fd3 stops\n");
    }
}

#[test]
fn without_descriptors_nobody_gets_in_and_fd3_does_not_spin() {
    let fd3 = start(&["--control", &hidden(), "--backoff", "1ms..20ms"]);
    let limit = |soft: &str| {
        let (pid, limit) = (fd3.pid().to_string(), format!("--nofile={soft}:4096"));
        let mut prlimit = command("prlimit");
        assert!(prlimit.args(["--pid", &pid, &limit]).status().expect("it starts").success());
    };
    limit("3");
    let mut client = connect(&fd3);
    client.write_all(b"reload --no-wait\n").expect("there is room");
    let told = fd3.line("cannot accept a client of the control socket");
    assert!(told.ends_with("error=\"too many open files\""), "{told}");
    drop(connect(&fd3));
    assert!(ticks_in_a_second(&fd3) < 5, "it is busy with who cannot get in");
    // Nobody tells that there are some again.
    limit("100");
    assert_eq!(answer(&client), "ok asked for\n");
    assert_eq!(fd3.count("cannot accept a client"), 1, "{}", fd3.log());
    is_alive(&fd3);
}

#[test]
fn only_fd3s_own_user_and_root_are_answered() {
    let fd3 = start(&[]);
    let Some(mut nobody) = as_nobody(FD3) else { return };
    let (status, told) = said(nobody.args(["reload", "--pid", &fd3.pid().to_string()]));
    let expected = "fd3: reload not asked for: not permitted: only user 0 and root are answered\n";
    assert_eq!((status, told.as_str()), (1, expected));
    let mut own = as_nobody(FD3).expect("it was possible before");
    own.args(["run", "-v", "--", "sleep", "1000"]);
    let own = Fd3::start(own);
    let address = address(&own);
    for mut client in [command(FD3), as_nobody(FD3).expect("it was possible before")] {
        let asked = said(client.args(["reload", "--no-wait", "--control", &address]));
        assert_eq!(asked, (0, "ok asked for\n".to_string()));
    }
}

#[test]
fn a_path_has_a_mode_and_is_gone_at_the_end() {
    let folder = Folder::new();
    let path = folder.path("control");
    let mode = || std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
    // A stale one is replaced.
    stale_socket(&path);
    for (option, expected) in [("", 0o600), (",mode=0622", 0o622), (",mode=0", 0)] {
        let mut fd3 = start(&["--control", &format!("unix:{path}{option}")]);
        assert_eq!(mode(), expected);
        let asked = reload(&["--no-wait", "--control", &format!("unix:{path}{option}")]);
        if expected != 0 {
            assert_eq!(asked, (0, "ok asked for\n".to_string()));
        }
        // A live one is not.
        let words = ["run", "--control", &format!("unix:{path}"), "-l", &format!("unix:{path}2")];
        // Who may not ask whether somebody is there takes nothing away.
        let may_ask = expected != 0 || is_root();
        let why = if may_ask { "address in use" } else { "permission denied" };
        let said = format!("cannot bind unix:{path}: {why}");
        refused(&[&words[..], &["/bin/true"]].concat(), 125, &said);
        assert_eq!(fd3.stop(), 0);
        assert_eq!(entries(&folder), Vec::<String>::new());
    }
    let words = ["run", "--control", "unix:/nope/x", "-l", &format!("unix:{path}"), "/bin/true"];
    refused(&words, 125, "cannot bind unix:/nope/x: no such file or directory");
    assert_eq!(entries(&folder), Vec::<String>::new());
}

#[test]
fn no_control_is_none() {
    let fd3 = start(&["--control", "none"]);
    assert_eq!(fd3.count("control socket"), 0, "{}", fd3.log());
    let all = std::fs::read_to_string("/proc/net/unix").expect("there is /proc");
    assert!(!all.contains(&format!("@fd3/{}\n", fd3.pid())));
    let (status, told) = reload(&["--pid", &fd3.pid().to_string()]);
    assert!(told.contains("no fd3 found"), "{told}");
    assert_eq!(status, 3);
}

/// As in containers on the host's network: each is PID 1, and they share the abstract names.
#[test]
fn many_with_the_same_pid_are_told_apart() {
    if !can_unshare(&["--pid", "--fork"]) {
        return;
    }
    let both = [0, 1].map(|_| {
        let mut unshare = command("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", FD3, "run", "-v", "--", "sleep", "1000"]);
        Fd3::start(unshare)
    });
    let names = both.each_ref().map(address);
    assert!(names.iter().all(|name| name.starts_with("unix:@fd3/1")), "{names:?}");
    assert_ne!(names[0], names[1]);
    let pids = both.each_ref().map(|fd3| children(fd3.pid())[0].to_string());
    // From outside each has a PID of its own; whoever does not say which is asked.
    let (status, told) = reload(&["--no-wait"]);
    assert!(told.starts_with("fd3: --pid: there are several; accepted: one of "), "{told}");
    assert!(pids.iter().all(|pid| told.contains(pid)), "{told}");
    assert_eq!(status, 2);
    for pid in &pids {
        let asked = (0, "ok asked for\n".to_string());
        assert_eq!(reload(&["--no-wait", "--pid", pid]), asked);
        // From inside there is but one, also where nothing tells of names or PIDs.
        for without in ["", "mount -t tmpfs none /proc &&"] {
            let mut inside = command("nsenter");
            let script = format!("{without} exec {FD3} reload --no-wait");
            inside.args(["--pid", "--target", pid, "unshare", "--mount", "sh", "-c", &script]);
            assert_eq!(said(&mut inside), asked, "{without}");
        }
    }
}

#[test]
fn where_there_is_no_fd3_the_status_is_3() {
    let nobody = Folder::new();
    let path = format!("unix:{}", nobody.path("x"));
    let table = [
        (path.as_str(), "no such file or directory"),
        ("unix:@fd3-test-nobody", "connection refused"),
    ];
    for (control, why) in table {
        let said = format!("fd3: cannot connect to {control}: {why}\n");
        assert_eq!(reload(&["--control", control]), (3, said));
    }
    if can_unshare(&["--net"]) {
        let why = "no running fd3 found; one with --control wants the same here";
        let none = (3, format!("fd3: reload: {why}\n"));
        assert_eq!(said(command("unshare").args(["--net", FD3, "reload"])), none);
    }
}

#[test]
fn what_the_client_does_not_understand_is_refused() {
    let (pid, control) = ("accepted: the PID of a running fd3", "accepted: unix:/PATH, unix:@NAME");
    for bad in ["", "x", "0", "-1", "+1", "1 ", "99999999999"] {
        refused(&["reload", &format!("--pid={bad}")], 2, &format!("--pid \"{bad}\": {pid}"));
    }
    for bad in ["", "x", "none", "unix:", "unixgram:/x", ":80", "fd:3"] {
        let said = format!("--control \"{bad}\": {control}");
        refused(&["reload", &format!("--control={bad}")], 2, &said);
    }
    let table: [(&[&str], &str); 4] = [
        (&["--pid", "1", "--control", "unix:@x"], "--pid \"1\": contradicts --control"),
        (&["now"], "reload \"now\": one word too many; accepted: nothing more"),
        (&["--json"], "--json: unknown option; \"fd3 help reload\" lists them"),
        (&["--no-wait=1"], "--no-wait: takes no value, got \"1\""),
    ];
    for (words, said) in table {
        refused(&[&["reload"], words].concat(), 2, said);
    }
}

#[test]
fn whoever_waits_is_told_of_the_end_and_may_leave_before() {
    let mut fd3 = start_unready();
    fd3.worker(0);
    let before = descriptors(fd3.pid()).len();
    let client = || {
        let mut client = command(FD3);
        client.args(["reload", "--control", &address(&fd3)]);
        Fd3::start(client)
    };
    let (mut one, mut other) = (client(), client());
    for client in [&one, &other] {
        until("it waits for its answer", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", client.pid()));
            stat.expect("it runs").contains(") S ") && descriptors(client.pid()).contains(&3)
        });
    }
    other.signal(libc::SIGINT);
    assert_eq!(other.exit(), 128 + libc::SIGINT);
    until("fd3 knows", || !exists(other.pid()) && descriptors(fd3.pid()).len() <= before + 2);
    assert_eq!(fd3.stop(), 0);
    assert_eq!(one.exit(), 1);
    assert!(one.log().starts_with("fd3: reload"), "{}", one.log());
    assert_eq!(one.log().lines().count(), 1, "{}", one.log());
}

/// Whoever has a name may be no fd3 at all.
#[test]
fn lines_before_the_last_are_shown_and_no_stranger_has_the_terminal() {
    let folder = Folder::new();
    let control = format!("unix:{}", folder.path("control"));
    let table: [(&[u8], i32, &str); 6] = [
        (b"half\nok done\nmore\n", 0, "ok done\nhalf\n"),
        (b"one\ntwo\nfailed \x1b[2J\n", 1, "one\ntwo\nfd3: reload failed: ?[2J\n"),
        (b"\x1b[2J\xff\nrefused it is\n", 1, "?[2J\u{fffd}\nfd3: reload refused: it is\n"),
        (b"half\nok", 1, "half\nfd3: reload: fd3 ended without an answer\n"),
        (b"", 1, "fd3: reload: fd3 ended without an answer\n"),
        (&[b'x'; 100_000], 1, "fd3: reload: fd3 ended without an answer\n"),
    ];
    let listener = UnixListener::bind(folder.path("control")).expect("the folder is ours");
    for (sent, status, expected) in table {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("somebody comes");
                let mut asked = [0; 7];
                stream.read_exact(&mut asked).expect("it asks");
                assert_eq!(&asked, b"reload\n");
                let _ = stream.write_all(sent);
            });
            assert_eq!(reload(&["--control", &control]), (status, expected.to_string()));
        });
    }
}

#[test]
fn a_path_is_found_by_nobody_but_who_is_told() {
    let folder = Folder::new();
    let control = format!("unix:{}", folder.path("control"));
    let fd3 = start(&["--control", &control]);
    assert_eq!(reload(&["--pid", &fd3.pid().to_string()]).0, 3);
    let output = output(&["reload", "--no-wait", "--control", &control]);
    assert_eq!((code(output.status), stderr_of(&output).as_str()), (0, ""));
}
