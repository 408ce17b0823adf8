//! Clients and backends that stop, stay silent, flood, lie or die: each in its place, and full service afterwards.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Backend, ask, balance, client, get, hear, hold, ok, say, status};
use crate::harness::{Fd3, until};
use crate::world::shell;

fn all_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that was cut off is an end as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn serves(fd3: &Fd3) {
    until("it serves", || status(&get(fd3.port(), "/")) == 200);
}

#[test]
fn a_head_that_does_not_end_is_408_and_who_says_nothing_is_told_nothing() {
    // So long a busy machine may take until half of it is said.
    let fd3 = balance(&["-b", &Backend::echo().url(), "--head-timeout", "3s"]);
    let (silent, mut half) = (client(fd3.port()), client(fd3.port()));
    say(&mut half, "GET / HTTP/1.1\r\nHost:");
    assert_eq!(status(&all_of(half)), 408);
    assert_eq!(all_of(silent), "");
    // All of it has so long, not each byte.
    let mut drip = client(fd3.port());
    drip.set_read_timeout(Some(std::time::Duration::from_millis(20))).expect("a time limit");
    let mut room = [0; 512];
    let answer = loop {
        if drip.write_all(b"G").is_err() {
            break String::new();
        }
        match drip.read(&mut room) {
            Ok(count) => break String::from_utf8_lossy(&room[..count]).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break String::new(),
        }
    };
    assert!(answer.is_empty() || [400, 408].contains(&status(&answer)), "{answer}");
    serves(&fd3);
}

#[test]
fn a_head_byte_by_byte_is_a_head() {
    let fd3 = balance(&["-b", &Backend::echo().url()]);
    let mut client = client(fd3.port());
    client.set_nodelay(true).expect("it is TCP");
    for byte in b"GET /slowly HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" {
        client.write_all(&[*byte]).expect("it is open");
    }
    let answer = all_of(client);
    assert!(status(&answer) == 200 && answer.contains("GET /slowly "), "{answer}");
}

#[test]
fn a_body_that_stops_is_408_and_the_backend_never_sees_its_end() {
    let whole = Arc::new(AtomicUsize::new(0));
    let count = whole.clone();
    let backend = Backend::new(move |stream| {
        while let Some(request) = hear(stream) {
            count.fetch_add(usize::from(request.starts_with("POST")), Ordering::SeqCst);
            say(stream, &ok("hello"));
        }
    });
    let fd3 = balance(&["-b", &backend.url(), "--body-timeout", "300ms"]);
    let mut stops = client(fd3.port());
    say(&mut stops, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello");
    let answer = all_of(stops);
    assert_eq!(status(&answer), 408, "{answer}");
    serves(&fd3);
    assert_eq!(whole.load(Ordering::SeqCst), 0);
}

#[test]
fn a_client_that_never_reads_costs_little_and_is_cut_off() {
    let backend = Backend::new(|stream| {
        if hear(stream).is_some_and(|request| request.contains("/large")) {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            let block = vec![b'x'; 1 << 20];
            while stream.write_all(&block).is_ok() {}
        } else {
            say(stream, &ok("hello"));
        }
    });
    let fd3 = balance(&["-b", &backend.url(), "--write-timeout", "1s"]);
    let mut deaf: Vec<_> = (0..20).map(|_| client(fd3.port())).collect();
    for one in &mut deaf {
        say(one, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    until("all are under way", || backend.connections() >= 20);
    serves(&fd3);
    let memory = memory_kib(fd3.pid());
    assert!(memory < 20 * 256 + 8_000, "{memory} KiB");
    let descriptors = || {
        let all = std::fs::read_dir(format!("/proc/{}/fd", fd3.pid()));
        all.map_or(usize::MAX, |all| all.count())
    };
    until("they are cut off", || descriptors() < 20);
    for one in deaf {
        let got = all_of(one);
        assert!(got.len() < 1_000_000_000, "{}", got.len());
    }
    serves(&fd3);
}

fn memory_kib(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("it is told");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn an_answer_that_is_none_is_502() {
    let garbage = [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nA: b",
        "HTTP/1.1 20",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "",
    ];
    for said in garbage {
        let backend = Backend::new(move |stream| {
            hear(stream);
            say(stream, said);
        });
        let fd3 = balance(&["-b", &backend.url()]);
        let answer = ask(
            fd3.port(),
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        );
        let answer = answer.expect("an answer");
        assert_eq!(status(&answer), 502, "{said:?}: {answer}");
        assert_eq!(backend.connections(), 1, "{said:?}: a POST is not sent again");
    }
    let flood = Backend::new(|stream| {
        hear(stream);
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {}
    });
    let fd3 = balance(&["-b", &flood.url()]);
    assert!(get(fd3.port(), "/").contains("\r\n\r\nHTTP/1.1 502 "));
    let huge = Backend::new(|stream| {
        hear(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let fd3 = balance(&["-b", &huge.url()]);
    assert_eq!(status(&get(fd3.port(), "/")), 502);
}

#[test]
fn an_answer_that_is_cut_short_never_looks_whole() {
    let backend = Backend::new(|stream| {
        let request = hear(stream).unwrap_or_default();
        if request.contains("/chunked") {
            say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        } else {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        }
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let answer = get(fd3.port(), "/");
    assert!(answer.contains("Content-Length: 10") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    let answer = get(fd3.port(), "/chunked");
    assert!(answer.ends_with("\r\n5\r\nhello\r\n"), "{answer}");
    // HTTP/1.0 knows the end of an answer from the end of the connection: that must not be a clean one.
    let mut old = client(fd3.port());
    say(&mut old, "GET /chunked HTTP/1.0\r\n\r\n");
    let end = old.read_to_end(&mut Vec::new());
    assert_eq!(end.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn a_kept_connection_that_has_ended_is_no_error() {
    let backend = Backend::new(|stream| {
        hear(stream);
        say(stream, &ok("hello"));
        // Ends without having said so.
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let mut client = client(fd3.port());
    for turn in 1..50 {
        let request = if turn % 2 == 0 {
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        } else {
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
        };
        say(&mut client, request);
        let answer = hear(&mut client).expect("an answer");
        // A POST that was sent when the other end just went cannot be sent again.
        let is_fine = status(&answer) == 200 || (turn % 2 == 1 && status(&answer) == 502);
        assert!(is_fine, "{turn}: {answer}");
        if status(&answer) != 200 {
            return;
        }
    }
}

#[test]
fn an_idempotent_request_is_tried_elsewhere_and_no_other() {
    let bad = Backend::new(|stream| drop(hear(stream)));
    let good = Backend::echo();
    let fd3 = balance(&["-b", &bad.url(), "-b", &good.url(), "--algorithm", "round-robin"]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        assert_eq!(status(&get(fd3.port(), "/")), 200);
        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
        statuses.push(status(&ask(fd3.port(), post).expect("an answer")));
    }
    assert!(statuses.contains(&502), "{statuses:?}");
    let none = balance(&[
        "-b",
        &bad.url(),
        "-b",
        &good.url(),
        "--algorithm",
        "round-robin",
        "--retries",
        "0",
    ]);
    let answers = [get(none.port(), "/"), get(none.port(), "/")].map(|answer| status(&answer));
    assert!(answers.contains(&502) && answers.contains(&200), "{answers:?}");
}

#[test]
fn an_answer_before_the_end_of_its_request_goes_through_and_ends_the_connection() {
    let backend = Backend::new(|stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut one = [0];
            if stream.read(&mut one).unwrap_or(0) == 0 {
                return;
            }
            head.extend(one);
        }
        say(stream, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n");
        if !head.starts_with(b"POST /hangs") {
            return;
        }
        hold(stream);
    });
    let fd3 = balance(&["-b", &backend.url()]);
    for path in ["/", "/hangs"] {
        let mut client = client(fd3.port());
        say(
            &mut client,
            &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nx"),
        );
        let answer = all_of(client);
        assert!(status(&answer) == 413 && answer.ends_with("no\n"), "{path}: {answer}");
    }
}

#[test]
fn a_client_may_go_at_any_moment() {
    let backend = Backend::echo();
    let fd3 = balance(&["-b", &backend.url(), "-n", "2"]);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n12345678901234567890";
    for end in 0..=request.len() {
        let mut client = client(fd3.port());
        say(&mut client, &request[..end]);
        if end % 2 == 0 {
            // Reset instead of ended.
            socket_reset(&client);
        }
    }
    serves(&fd3);
}

#[allow(unsafe_code)]
fn socket_reset(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    let at = (&raw const linger).cast();
    // SAFETY: linger outlives the call, and size is its own.
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, size) };
}

#[test]
fn without_descriptors_clients_wait_and_are_served_later() {
    let backend = Backend::echo();
    let mut few = shell("ulimit -n 90");
    few.args(["balance", "-l", "127.0.0.1:0", "-b", &backend.url(), "--idle-timeout", "100s"]);
    let fd3 = Fd3::start(few);
    fd3.line("balancing");
    // (90 - 64) / 2 may come in; the others wait in the queue.
    let mut all: Vec<_> = (0..40).map(|_| client(fd3.port())).collect();
    let before = ticks(fd3.pid());
    for one in &mut all {
        say(one, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    for one in all {
        assert_eq!(status(&all_of(one)), 200);
    }
    assert!(ticks(fd3.pid()) - before < 100, "it spins");
    assert_eq!(fd3.count("cannot accept"), 0, "{}", fd3.log());
}

/// Hundredths of a second of CPU.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("its fields").split(' ').collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}

#[test]
fn many_idle_clients_cost_little_and_no_cpu() {
    let backend = Backend::echo();
    let fd3 = balance(&["-b", &backend.url()]);
    serves(&fd3);
    let before = memory_kib(fd3.pid());
    let mut clients: Vec<_> = (0..1000).map(|_| client(fd3.port())).collect();
    for client in &mut clients {
        say(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(hear(client).map(|answer| status(&answer)), Some(200));
    }
    let each = (memory_kib(fd3.pid()).saturating_sub(before)) * 1024 / clients.len();
    assert!(each < 600, "{each} bytes each");
    let ticks_before = ticks(fd3.pid());
    serves(&fd3);
    assert!(ticks(fd3.pid()) - ticks_before < 20);
}
