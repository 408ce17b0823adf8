//! Its end: by a signal, and under `fd3 run`, which replaces it while clients ask.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Backend, balance, client, get, hear, ok, say, status};
use crate::harness::{FD3, run, until};

#[test]
fn what_is_under_way_is_finished_and_then_it_ends() {
    let (told, hears) = std::sync::mpsc::channel::<()>();
    let hears = std::sync::Mutex::new(hears);
    let backend = Backend::new(move |stream| {
        hear(stream);
        let _ = hears.lock().expect("nobody panics").recv();
        say(stream, &ok("late"));
    });
    let mut fd3 = balance(&["-b", &backend.url()]);
    let port = fd3.port();
    let mut under_way = client(port);
    say(&mut under_way, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it is under way", || backend.connections() == 1);
    fd3.signal(libc::SIGTERM);
    fd3.line("stopping");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it still listens");
    told.send(()).expect("the backend waits");
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.ends_with("late"), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(fd3.exit(), 0);
}

#[test]
fn a_stop_has_a_time_limit_and_an_idle_client_does_not_delay_it() {
    let backend = Backend::new(|stream| {
        hear(stream);
        super::hold(stream);
    });
    let mut fd3 = balance(&["-b", &backend.url(), "--drain-timeout", "100ms"]);
    let mut under_way = client(fd3.port());
    say(&mut under_way, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it is under way", || backend.connections() == 1);
    assert_eq!(fd3.stop(), 0);
    let mut fd3 = balance(&["-b", &Backend::echo().url(), "--idle-timeout", "100s"]);
    let mut idle = client(fd3.port());
    say(&mut idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(hear(&mut idle).is_some());
    fd3.signal(libc::SIGTERM);
    fd3.line("stopping");
    assert_eq!(idle.read(&mut [0; 10]).expect("its end"), 0);
    assert_eq!(fd3.exit(), 0);
}

/// Clients that ask without a pause, while the balancer is replaced again and again.
#[test]
fn reloads_lose_nothing() {
    let backend = Backend::answering(|_| ok("hello"));
    let url = backend.url();
    let words = ["-l", "127.0.0.1:0", "--ready", "notify", "--overlap", "0", "--"];
    let fd3 = run(&[&words[..], &[FD3, "balance", "-b", &url]].concat());
    fd3.ready(1);
    let port = fd3.port();
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..4)
        .map(|n| {
            let (done, count) = (done.clone(), count.clone());
            std::thread::spawn(move || {
                let (mut kept, mut served) = (client(port), 0);
                while !done.load(Ordering::SeqCst) {
                    if n % 2 == 0 {
                        let answer = get(port, "/");
                        assert!(answer.ends_with("hello"), "{answer:?}");
                    } else {
                        // Who stalls for long finds a kept connection ended, as with any server.
                        let asked = kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                        let answer = asked.ok().and_then(|()| hear(&mut kept));
                        let Some(answer) = answer else {
                            kept = client(port);
                            continue;
                        };
                        assert_eq!(status(&answer), 200, "{answer}");
                        served += 1;
                        if answer.to_lowercase().contains("connection: close") {
                            kept = client(port);
                        }
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
                assert!(n % 2 == 0 || served > 0);
            })
        })
        .collect();
    for reload in 0..10 {
        let before = count.load(Ordering::SeqCst);
        fd3.signal(libc::SIGHUP);
        fd3.nth_line("reloaded after=", reload);
        until("they are served", || count.load(Ordering::SeqCst) > before + 20);
    }
    done.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.join().expect("every request was answered");
    }
}
