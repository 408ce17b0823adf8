//! `--metrics`: what scrapers and probes are told, and what those who are neither can do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::guard::ticks_in_a_second;
use crate::harness::{
    FD3, Fd3, Folder, PATIENCE, UNSEEN, command, field, get, is_named, kill, output, run,
    stderr_of, until,
};
use crate::servers::program;

/// Where the answers end.
const END: &str = "\r\n\r\n";

fn start(words: &[&str]) -> Fd3 {
    run(&[&["--metrics", "127.0.0.1:0"], words].concat())
}

fn port(fd3: &Fd3) -> u16 {
    let address = field(&fd3.line("metrics address=tcp://"), "address");
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn scrape(fd3: &Fd3) -> String {
    get(port(fd3), "/metrics").expect("it answers")
}

/// The status and the body.
fn probe(fd3: &Fd3, path: &str) -> (String, String) {
    let answer = get(port(fd3), path).expect("it answers");
    let (head, body) = answer.split_once(END).expect("a head");
    (head.split(' ').nth(1).expect("a status").to_string(), body.to_string())
}

fn value(text: &str, sample: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| line.strip_prefix(sample).is_some_and(|it| it.starts_with(' ')));
    line?.rsplit(' ').next()?.parse().ok()
}

fn waits_for(fd3: &Fd3, sample: &str, wanted: f64) {
    until(&format!("{sample} {wanted}"), || value(&scrape(fd3), sample) == Some(wanted));
}

#[test]
fn they_tell_what_has_happened() {
    let words = ["-l", "127.0.0.1:0,name=web", "-w", "2", "--ready", "1ms", "--overlap", "0"];
    let rest = ["--backoff", "1ms..1ms", "--", "sleep", "1000"];
    let mut fd3 = start(&[&words[..], &rest].concat());
    let pids = fd3.ready(2);
    let text = scrape(&fd3);
    for (sample, expected) in [
        ("fd3_generation", 1.0),
        ("fd3_slots", 2.0),
        ("fd3_slots_ready", 2.0),
        ("fd3_workers{state=\"ready\"}", 2.0),
        ("fd3_worker_starts_total", 2.0),
        ("fd3_worker_restarts_total", 0.0),
        ("fd3_reloads_total{outcome=\"done\"}", 0.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample}: {text}");
    }
    let labels = format!("{{fd=\"3\",name=\"web\",address=\"tcp://127.0.0.1:{}\"}}", fd3.port());
    let length = format!("fd3_listener_queue_length{labels}");
    assert_eq!(value(&text, &length), Some(0.0), "{text}");
    assert!(value(&text, &format!("fd3_listener_queue_limit{labels}")) > Some(0.0), "{text}");
    // Nobody accepts it.
    let waits = TcpStream::connect(("127.0.0.1", fd3.port())).expect("it listens");
    waits_for(&fd3, &length, 1.0);
    drop(waits);
    kill(pids[0], libc::SIGKILL);
    fd3.ready(3);
    waits_for(&fd3, "fd3_worker_exits_total{reason=\"signal\"}", 1.0);
    waits_for(&fd3, "fd3_worker_restarts_total", 1.0);
    fd3.signal(libc::SIGHUP);
    waits_for(&fd3, "fd3_reloads_total{outcome=\"done\"}", 1.0);
    waits_for(&fd3, "fd3_generation", 2.0);
    waits_for(&fd3, "fd3_worker_exits_total{reason=\"asked\"}", 2.0);
    assert!(value(&scrape(&fd3), "fd3_last_reload_duration_seconds").is_some());
    assert_eq!(fd3.stop(), 0);
}

/// A release that crashes is no end that somebody asked for.
#[test]
fn a_newcomers_failure_is_counted_as_one() {
    let folder = Folder::new();
    let app = folder.file("app", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    // It fails before it has taken over, however long the machine takes for that.
    let mut fd3 = start(&["--ready", "1ms", "--overlap", "1h", "--", &app]);
    let pids = fd3.ready(1);
    until("its shell has read the file", || is_named(pids[0], "sleep"));
    folder.file("app", "#!/bin/sh\nexit 3\n", 0o755);
    fd3.signal(libc::SIGHUP);
    waits_for(&fd3, "fd3_reloads_total{outcome=\"rolled_back\"}", 1.0);
    let text = scrape(&fd3);
    assert_eq!(value(&text, "fd3_worker_exits_total{reason=\"failure\"}"), Some(1.0), "{text}");
    assert_eq!(value(&text, "fd3_worker_exits_total{reason=\"asked\"}"), Some(0.0), "{text}");
    folder.file("app", "#!/not/there\n", 0o755);
    fd3.signal(libc::SIGHUP);
    waits_for(&fd3, "fd3_worker_start_failures_total", 1.0);
    assert_eq!(fd3.stop(), 0);
}

/// Out of descriptors nobody is let in for a while, and neither door's failure has the other one tried again at once.
#[test]
fn doors_that_were_shut_open_again_by_themselves() {
    let folder = Folder::new();
    let control = folder.path("control");
    let mut command = command(FD3);
    command.args(["run", "-v", "--metrics", "127.0.0.1:0", "--control"]);
    let fd3 = Fd3::start({
        command.arg(format!("unix:{control}")).args(["--", "sleep", "1000"]);
        command
    });
    fd3.line("worker started");
    let limit = |soft: &str| {
        let (pid, limit) = (fd3.pid().to_string(), format!("--nofile={soft}:4096"));
        let mut prlimit = crate::harness::command("prlimit");
        assert!(prlimit.args(["--pid", &pid, &limit]).status().expect("it starts").success());
    };
    limit("3");
    let mut scraper = connect(port(&fd3));
    scraper.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").expect("there is room");
    fd3.line("cannot accept a client of the metrics");
    let _client = UnixStream::connect(&control).expect("it listens");
    fd3.line("cannot accept a client of the control socket");
    assert!(ticks_in_a_second(&fd3) < 5, "it is busy with who cannot get in");
    limit("100");
    let mut answer = String::new();
    scraper.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("well\n"), "{answer}");
    assert_eq!(fd3.count("cannot accept"), 2, "{}", fd3.log());
}

#[test]
fn what_found_no_room_is_counted() {
    let words = ["-l", "127.0.0.1:0,backlog=1", "--ready", "1ms", "--", "sleep", "1000"];
    let fd3 = start(&words);
    fd3.ready(1);
    let sample = format!(
        "fd3_listener_drops_total{{fd=\"3\",name=\"unknown\",address=\"tcp://127.0.0.1:{}\"}}",
        fd3.port()
    );
    assert_eq!(value(&scrape(&fd3), &sample), Some(0.0));
    // Two have room; the third one's handshake is dropped, and tried again.
    let address = ("127.0.0.1", fd3.port());
    let held = [TcpStream::connect(address), TcpStream::connect(address)];
    let third = std::thread::spawn(move || drop(TcpStream::connect(address)));
    until("a drop", || value(&scrape(&fd3), &sample) > Some(0.0));
    drop((held, fd3));
    let _ = third.join();
}

#[test]
fn probes_tell_whether_it_lives_and_whether_all_are_ready() {
    let deaf = "trap '' TERM; while read -r word; do [ $word = ready ] && kill -USR1 $PPID; done < $0; sleep 1000";
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    assert!(command("mkfifo").arg(&fifo).status().expect("it starts").success());
    let words = ["--ready", "signal", "--stop-timeout", "1h", "--on", "USR2=stop-now"];
    let mut fd3 = start(&[&words[..], &["--", "sh", "-c", deaf, &fifo]].concat());
    fd3.line("worker started");
    assert_eq!(probe(&fd3, "/healthz"), ("200".into(), "well\n".into()));
    assert_eq!(probe(&fd3, "/readyz"), ("503".into(), "0 of 1 ready\n".into()));
    std::fs::write(&fifo, "ready\n").expect("the worker reads");
    fd3.ready(1);
    assert_eq!(probe(&fd3, "/readyz"), ("200".into(), "1 of 1 ready\n".into()));
    fd3.signal(libc::SIGTERM);
    fd3.line("stopping");
    assert_eq!(probe(&fd3, "/readyz"), ("503".into(), "stopping\n".into()));
    assert_eq!(probe(&fd3, "/healthz").0, "200");
    assert_eq!(value(&scrape(&fd3), "fd3_stopping"), Some(1.0));
    fd3.signal(libc::SIGUSR2);
    assert_eq!(fd3.exit(), 0);
}

#[test]
fn a_slot_that_waits_for_connections_is_ready() {
    let words = ["-l", "127.0.0.1:0", "--start", "on-demand", "--", "sleep", "1000"];
    let fd3 = start(&words);
    let told = "0 of 1 ready, 1 wait for connections\n";
    assert_eq!(probe(&fd3, "/readyz"), ("200".into(), told.into()));
    assert_eq!(value(&scrape(&fd3), "fd3_slots_waiting"), Some(1.0));
}

#[test]
fn what_is_no_request_for_them_is_refused() {
    let fd3 = start(&["--", "sleep", "1000"]);
    let ask = |request: &[u8]| {
        let mut stream = connect(port(&fd3));
        stream.write_all(request).expect("it listens");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.split(' ').nth(1).unwrap_or_default().to_string()
    };
    let endless = [&b"GET /metrics HTTP/1.1\r\n"[..], &[b'a'; 4073]].concat();
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\x16\x03\x01\n\n", "400"),
        (&endless, "431"),
    ] {
        assert_eq!(ask(request), status, "{}", String::from_utf8_lossy(request));
    }
    // HEAD: the same length, and nothing of it.
    let mut stream = connect(port(&fd3));
    stream.write_all(b"HEAD /healthz HTTP/1.1\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    assert!(answer.contains("Content-Length: 5\r\n") && answer.ends_with(END), "{answer}");
}

/// A thousand who say nothing, half of it, or do not read: fd3 keeps 16 of them, answers whoever comes, and does
/// its work.
#[test]
fn strangers_cost_little_and_hold_nobody_up() {
    let words = ["--ready", "1ms", "--backoff", "1ms..1ms", "--respawn-limit", "none"];
    let fd3 = start(&[UNSEEN, &words, &["--", "sleep", "1000"]].concat());
    let first = fd3.ready(1)[0];
    let open = || std::fs::read_dir(format!("/proc/{}/fd", fd3.pid())).expect("it runs").count();
    let (before, port) = (open(), port(&fd3));
    let mut strangers = Vec::new();
    for n in 0..1000 {
        let mut stream = connect(port);
        let said: &[u8] = match n % 4 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHost: ",
            2 => b"GET /metrics HTTP/1.1\r\n\r\n",
            _ => &[0xff; 5000],
        };
        // Who was sent away already hears of it here.
        let _ = stream.write_all(said);
        strangers.push(stream);
        // Some come and go while they are counted.
        let now = open();
        assert!(now <= before + 24, "{now} descriptors, {before} before");
    }
    assert!(scrape(&fd3).contains("fd3_build_info"));
    kill(first, libc::SIGKILL);
    fd3.ready(2);
    drop(strangers);
    until("all are let go", || open() <= before);
}

#[test]
fn a_unix_socket_does_as_well_and_is_removed() {
    let folder = Folder::new();
    let path = folder.path("metrics");
    let address = format!("unix:{path},mode=0600");
    let mut fd3 = run(&["--metrics", &address, "--", "sleep", "1000"]);
    fd3.line("worker started");
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("well\n"), "{answer}");
    let taken = output(&["run", "--metrics", &address, "--", "true"]);
    assert_eq!(taken.status.code(), Some(125));
    assert!(stderr_of(&taken).contains(&format!("cannot bind unix:{path}")), "{taken:?}");
    assert_eq!(fd3.stop(), 0);
    assert!(!std::path::Path::new(&path).exists());
}

#[test]
fn prometheus_understands_them() {
    let (Some(promtool), Some(prometheus)) = (program("promtool"), program("prometheus")) else {
        return;
    };
    let words = ["-l", "127.0.0.1:0", "-l", "udp://127.0.0.1:0", "-w", "2", "--ready", "1ms"];
    let fd3 = start(&[&words[..], &["--", "sleep", "1000"]].concat());
    fd3.ready(2);
    let text = scrape(&fd3);
    let (_, body) = text.split_once(END).expect("a head");
    let mut lint = command(promtool);
    lint.args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut lint = lint.spawn().expect("it starts");
    lint.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("it reads");
    let linted = lint.wait_with_output().expect("it ends");
    assert!(linted.status.success() && linted.stderr.is_empty(), "{linted:?}\n{body}");

    let folder = Folder::new();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: fd3\n    static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        port(&fd3)
    );
    let config = folder.file("prometheus.yml", &config, 0o644);
    let mut server = command(prometheus);
    server.arg(format!("--config.file={config}")).arg("--web.listen-address=127.0.0.1:0");
    server.arg(format!("--storage.tsdb.path={}", folder.path("data")));
    let server = Fd3::start(server);
    let line = server.line("msg=\"Listening on\"");
    let address = field(&line, "address");
    let at = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let known = |query: &str| get(at, &format!("/api/v1/query?query={query}")).unwrap_or_default();
    until("it has scraped them", || known("fd3_slots_ready").contains(",\"2\"]"));
    // On a busy machine it gives one up that takes longer than a second; the next one will do.
    until("it is up", || known("up").contains(",\"1\"]"));
}
