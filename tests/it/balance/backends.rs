//! Which backends there are, how they are reached, and how they are shared out.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::{Backend, ask, balance, get, ok, status};
use crate::harness::Folder;
use crate::refused::refused;

#[test]
fn backends_take_turns() {
    for algorithm in ["round-robin", "least", "random-two"] {
        let all: Vec<_> =
            (0..3).map(|n| Backend::answering(move |_| ok(&format!("b{n}")))).collect();
        let urls: Vec<String> = all.iter().map(Backend::url).collect();
        let words: Vec<&str> = urls.iter().flat_map(|url| ["-b", url]).collect();
        let fd3 = balance(&[&words[..], &["--algorithm", algorithm]].concat());
        let mut counts: HashMap<String, usize> = HashMap::new();
        for _ in 0..60 {
            let answer = get(fd3.port(), "/");
            *counts.entry(answer[answer.len() - 2..].into()).or_default() += 1;
        }
        assert_eq!(counts.len(), 3, "{algorithm}: {counts:?}");
        if algorithm != "random-two" {
            assert!(counts.values().all(|count| *count == 20), "{algorithm}: {counts:?}");
        }
    }
}

#[test]
fn a_unix_socket_is_a_backend() {
    let folder = Folder::new();
    let path = folder.path("app");
    let listener = UnixListener::bind(&path).expect("the folder is ours");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut room = [0; 4096];
            let count = stream.read(&mut room).unwrap_or(0);
            let heard = String::from_utf8_lossy(&room[..count]).into_owned();
            let _ = stream.write_all(ok(&heard).as_bytes());
        }
    });
    let fd3 = balance(&["-b", &format!("http://unix:{path}:/app")]);
    let answer = ask(fd3.port(), "GET /x HTTP/1.0\r\n\r\n").expect("an answer");
    assert!(status(&answer) == 200 && answer.contains("GET /app/x HTTP/1.1\r\n"), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nhost: localhost\r\n"), "{answer}");
    drop(std::fs::remove_file(&path));
    assert_eq!(status(&get(fd3.port(), "/")), 503);
}

#[test]
fn a_name_is_looked_up_and_one_that_is_not_found_is_told() {
    let backend = Backend::echo();
    let fd3 = balance(&["-b", &format!("http://localhost:{}", backend.port)]);
    let added = fd3.line("backend added");
    assert!(added.contains("127.0.0.1") || added.contains("[::1]"), "{added}");
    assert_eq!(status(&get(fd3.port(), "/")), 200);
    let fd3 = balance(&["-b", "http://does-not-exist.invalid"]);
    fd3.line("cannot resolve name=does-not-exist.invalid");
    assert_eq!(status(&get(fd3.port(), "/")), 503);
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let b = ["balance", "-b", "http://127.0.0.1:1"];
    let table: &[(&[&str], &str)] = &[
        (&["--max-conns", "0"], "--max-conns \"0\": accepted: 1 to 1000000"),
        (&["--algorithm", "x"], "--algorithm \"x\": accepted: random-two, least, round-robin"),
        (&["--rise", "3"], "--rise \"3\": needs --health-path"),
        (
            &["--health-path", "x"],
            "--health-path \"x\": accepted: a path of visible ASCII, without \"#\"",
        ),
        (
            &["--max-body", "1T"],
            "--max-body \"1T\": accepted: a number, with or without K, M or G, or none",
        ),
        (
            &["--listen", "udp://:1"],
            "--listen \"udp://:1\": accepted: a TCP address, unix:/path, unix:@abstract",
        ),
        (&["--idle-timeout", "0"], "--idle-timeout \"0\": accepted: a time from 1ms on"),
        (&["--port", "70000"], "--port \"70000\": accepted: 0 to 65535"),
        (&["--forwarded", "x"], "--forwarded \"x\": accepted: set, append, none"),
        (
            &["-b", "https://a"],
            "--backend \"https://a\": backends over TLS are not supported; accepted: http://...",
        ),
        (&["--sticky"], "--sticky: unknown option; \"fd3 help balance\" lists them"),
        (&["x"], "balance \"x\": one word too many; accepted: nothing more"),
    ];
    for (words, said) in table {
        refused(&[&b[..], words].concat(), 2, said);
    }
}
