//! The ways in which goaround hangs, dies or answers 200 with nothing: each of them asked of fd3, and after each the
//! next request is served. (Those of its update socket are not here: fd3 has none yet.)

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Backend, balance, client, dead, get, hear, hold, ok, say, status};
use crate::harness::until;
use crate::refused::refused;

/// 1: the only backend is dead. goaround: 200 with nothing, twice, and then nothing for ever.
#[test]
fn a_dead_backend_is_503_each_time() {
    let fd3 = balance(&["-b", &dead(), "-n", "2"]);
    for _ in 0..20 {
        let answer = get(fd3.port(), "/");
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
    }
}

/// 2: a POST, while one of two backends is dead. goaround: a deadlock.
#[test]
fn a_post_goes_to_the_backend_that_lives() {
    let backend = Backend::echo();
    let fd3 = balance(&["-b", &dead(), "-b", &backend.url(), "--algorithm", "round-robin"]);
    let mut client = client(fd3.port());
    for _ in 0..20 {
        say(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        let answer = hear(&mut client).expect("an answer");
        assert!(status(&answer) == 200 && answer.ends_with("hello"), "{answer}");
        // 3: told once, however often it is tried. goaround: once more each time.
        assert_eq!(answer.to_lowercase().matches("x-forwarded-for: 127.0.0.1\r\n").count(), 1);
        assert_eq!(answer.matches("127.0.0.1").count(), 1, "{answer}");
    }
    fd3.line("backend left out");
}

/// 4: a client goes while its request is under way, or in line. goaround: a deadlock.
#[test]
fn a_client_that_goes_frees_its_place() {
    let (begun, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (begun.clone(), gone.clone());
    let backend = Backend::new(move |stream| match hear(stream) {
        Some(request) if request.contains("/slow") => {
            counts.0.fetch_add(1, Ordering::SeqCst);
            hold(stream);
            counts.1.fetch_add(1, Ordering::SeqCst);
        }
        Some(_) => say(stream, &ok("hello")),
        None => {}
    });
    let fd3 = balance(&["-b", &backend.url(), "-n", "1", "--queue-timeout", "100s"]);
    for _ in 0..10 {
        let before = begun.load(Ordering::SeqCst);
        let mut slow = client(fd3.port());
        say(&mut slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        until("it is under way", || begun.load(Ordering::SeqCst) > before);
        let mut in_line = client(fd3.port());
        say(&mut in_line, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        drop(in_line);
        drop(slow);
        assert_eq!(status(&get(fd3.port(), "/")), 200);
        until("the backend is left", || {
            gone.load(Ordering::SeqCst) == begun.load(Ordering::SeqCst)
        });
    }
}

/// 5: a backend that answers too late. goaround: tries it everywhere, and then nothing for ever.
#[test]
fn a_late_answer_is_504_and_asked_for_once() {
    let backend = Backend::new(|stream| {
        let request = hear(stream).unwrap_or_default();
        if request.contains("/slow") { hold(stream) } else { say(stream, &ok("hello")) }
    });
    let fd3 = balance(&["-b", &backend.url(), "-n", "1", "--answer-timeout", "200ms"]);
    let answer = get(fd3.port(), "/slow");
    assert_eq!(status(&answer), 504, "{answer}");
    assert_eq!(backend.connections(), 1);
    until("it serves on", || status(&get(fd3.port(), "/")) == 200);
}

/// 6: many clients that go at once, as a load generator's at the end of its run.
#[test]
fn a_crowd_that_goes_leaves_nothing_behind() {
    let backend = Backend::new(|stream| {
        while let Some(request) = hear(stream) {
            if request.contains("/slow") {
                return hold(stream);
            }
            if stream.write_all(ok("hello").as_bytes()).is_err() {
                return;
            }
        }
    });
    let fd3 = balance(&["-b", &backend.url(), "-n", "5"]);
    for _ in 0..3 {
        let mut crowd: Vec<_> = (0..60).map(|_| client(fd3.port())).collect();
        for one in &mut crowd {
            say(one, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        drop(crowd);
        until("it serves on", || status(&get(fd3.port(), "/")) == 200);
    }
}

/// 7, 8, 9: no backend at all, one that is none, one that is given twice. goaround: hangs, hangs, counts wrong.
#[test]
fn a_list_that_makes_no_sense_is_refused_at_once() {
    let missing = "--backend: missing; accepted: fd3 balance [OPTIONS] --backend URL...";
    refused(&["balance"], 2, missing);
    let accepted = "accepted: http://HOST[:PORT][/PREFIX], http://unix:/SOCKET[:/PREFIX], \
                    http://unix:@NAME[:/PREFIX]";
    refused(&["balance", "-b", "foo"], 2, &format!("--backend \"foo\": {accepted}"));
    let twice = "--backend \"http://a:80\": given twice; accepted: once";
    refused(&["balance", "-b", "http://a", "-b", "http://a:80"], 2, twice);
}

/// 10: more requests than places. goaround: they wait without end.
#[test]
fn the_line_has_an_end_and_a_time_limit() {
    let backend = Backend::new(|stream| {
        hear(stream);
        hold(stream);
    });
    let words = ["-n", "1", "--queue", "1", "--queue-timeout", "300ms"];
    let fd3 = balance(&[&["-b", &backend.url()][..], &words].concat());
    let mut under_way = client(fd3.port());
    say(&mut under_way, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it is under way", || backend.connections() == 1);
    // Whoever is second waits and is told at last; whoever comes meanwhile is told at once.
    for _ in 0..5 {
        let answer = get(fd3.port(), "/");
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(answer.contains("every backend is busy"), "{answer}");
    }
    assert_eq!(backend.connections(), 1);
}

/// 11: health that changes. goaround: a backend that is replaced or degraded is never up again.
#[test]
fn a_backend_that_is_well_again_serves_again() {
    let is_well = Arc::new(AtomicBool::new(false));
    let state = is_well.clone();
    let backend = Backend::answering(move |request| {
        let well = if state.load(Ordering::SeqCst) { "healthy" } else { "degraded" };
        if request.starts_with("GET /health ") {
            ok(&format!("{{\"state\":\"{well}\"}}"))
        } else {
            ok("hello")
        }
    });
    let words =
        ["--health-path", "/health", "--health-interval", "10ms", "--health-timeout", "100s"];
    let fd3 = balance(&[&["-b", &backend.url()][..], &words].concat());
    for round in 0..3 {
        fd3.nth_line("backend down", round);
        let answer = get(fd3.port(), "/");
        assert_eq!(status(&answer), 503, "{answer}");
        is_well.store(true, Ordering::SeqCst);
        fd3.nth_line("backend up", round);
        assert_eq!(status(&get(fd3.port(), "/")), 200);
        is_well.store(false, Ordering::SeqCst);
    }
    let mut half = client(fd3.port());
    say(&mut half, "GET");
    half.shutdown(Shutdown::Both).expect("it is open");
}
