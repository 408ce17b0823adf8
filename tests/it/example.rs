//! examples/http_server.rs behind every kind of listener that it can serve; `load` has it under load.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::harness::{Fd3, Folder, PATIENCE, field, get, http_server, run};

fn serve(listeners: &[&str]) -> Fd3 {
    let server = http_server();
    let mut words: Vec<&str> = listeners.iter().flat_map(|listen| ["-l", *listen]).collect();
    words.extend(["--ready", "notify", "--backoff", "1ms..1ms", "--", &server]);
    run(&words)
}

fn over_unix(path: &str, requests: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it takes a time limit");
    stream.write_all(requests.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

const KEPT: &str = "GET /pid HTTP/1.1\r\nHost: test\r\n\r\n";
const LAST: &str = "GET /pid HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[test]
fn the_example_serves_unix_and_tcp_listeners_side_by_side() {
    let folder = Folder::new();
    let path = folder.path("web");
    let (unix, second) = (format!("unix:{path}"), format!("unix:{}", folder.path("second")));
    let mut fd3 = serve(&[&unix, "127.0.0.1:0", &second]);
    let pid = fd3.ready(1)[0].to_string();
    for path in [&path, &folder.path("second")] {
        for _ in 0..10 {
            let answers = over_unix(path, &[KEPT, KEPT, LAST].concat());
            assert_eq!(answers.matches(&format!("\r\n\r\n{pid}\n")).count(), 3, "{answers}");
        }
    }
    let answer = get(fd3.port(), "/pid").expect("it answers");
    assert!(answer.ends_with(&format!("\r\n\r\n{pid}\n")), "{answer}");
    // Under way when the stop comes: it is answered, and the connection is then closed.
    let mut slow = UnixStream::connect(&path).expect("it listens");
    slow.set_read_timeout(Some(PATIENCE)).expect("it takes a time limit");
    // One that waits for somebody to take it has no more than a place in a queue.
    slow.write_all(KEPT.as_bytes()).expect("it reads");
    let (mut first, mut byte) = (Vec::new(), [0]);
    while !first.ends_with(format!("\r\n\r\n{pid}\n").as_bytes()) {
        slow.read_exact(&mut byte).expect("it answers");
        first.extend(byte);
    }
    slow.write_all(b"GET /slow?ms=200 HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    assert_eq!(fd3.stop(), 0);
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("it answers and closes");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Hello"), "{answer}");
    assert_eq!(field(&fd3.line("worker exited"), "status"), "0");
}

#[test]
fn the_example_refuses_what_takes_no_connections() {
    let mut fd3 = serve(&["127.0.0.1:0", "udp://127.0.0.1:0"]);
    assert_eq!(fd3.exit(), 1);
    fd3.line("cannot take fd 4 (unknown) as a unix listener: it is a UDP socket");
}
