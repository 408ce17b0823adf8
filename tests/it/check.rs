//! `fd3 check`: is a server there, and well. Against real ones, good and bad.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::harness::{Fd3, Folder, PATIENCE, http_server, output, run, stderr_of};
use crate::refused::refused;
use crate::servers::ReservedPort;
use crate::world::skip;

/// Longer than anything that is well takes.
const LONG: &str = "100s";

fn well(words: &[&str]) {
    let output = output(&[&["check", "--timeout", LONG], words].concat());
    let told = stderr_of(&output);
    assert_eq!((output.status.code(), told.as_str()), (Some(0), ""), "{words:?}");
    assert!(output.stdout.is_empty(), "{words:?}");
}

fn not_well(words: &[&str], said: &str) {
    refused(&[&["check", "--timeout", LONG], words].concat(), 1, said);
}

fn serving(listen: &str) -> Fd3 {
    let fd3 = run(&["-l", listen, "--ready", "notify", "--", &http_server()]);
    fd3.ready(1);
    fd3
}

#[test]
fn a_server_that_answers_is_well() {
    // Nobody else gets it when the server has gone.
    let reserved = ReservedPort::new();
    let mut fd3 = serving(&reserved.listen());
    let port = fd3.port();
    for target in [
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/pid?x=y"),
        format!("http://localhost:{port}/"),
        format!("http://:{port}/"),
        format!("tcp://127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!(":{port}"),
    ] {
        well(&[&target]);
    }
    let missing = format!("http://127.0.0.1:{port}/nope");
    not_well(&[&missing], &format!("{missing}: status 404; accepted: 200-399"));
    well(&["--status", "404", &missing]);
    well(&["--status", "400-499", &missing]);
    let there = format!("http://127.0.0.1:{port}/");
    let words = ["--status", "201-204", &there];
    not_well(&words, &format!("{there}: status 200; accepted: 201-204"));
    // The checks were whole requests: it serves, and ends as it should.
    assert_eq!(fd3.stop(), 0, "{}", fd3.log());
    let refused = "connection refused";
    not_well(&[&there], &format!("cannot connect to {there}: {refused}"));
    not_well(&[&format!(":{port}")], &format!("cannot connect to :{port}: {refused}"));
}

#[test]
fn unix_sockets_are_asked_as_well() {
    let folder = Folder::new();
    let path = folder.path("web");
    let fd3 = serving(&format!("unix:{path}"));
    well(&[&format!("unix:{path}")]);
    well(&[&format!("http://unix:{path}")]);
    well(&[&format!("http://unix:{path}:/pid")]);
    let missing = format!("http://unix:{path}:/nope");
    not_well(&[&missing], &format!("{missing}: status 404; accepted: 200-399"));
    drop(fd3);
    let name = format!("@fd3-check-{}", std::process::id());
    let fd3 = serving(&format!("unix:{name}"));
    well(&[&format!("unix:{name}")]);
    well(&[&format!("http://unix:{name}:/")]);
    drop(fd3);
    let nobody = "no such file or directory";
    let nope = format!("unix:{}", folder.path("nope"));
    not_well(&[&nope], &format!("cannot connect to {nope}: {nobody}"));
}

#[test]
fn ipv6_is_asked_and_localhost_is_either() {
    let Ok(taken) = TcpListener::bind("[::1]:0") else { return skip("there is no IPv6") };
    drop(taken);
    // At its number nobody listens at the other address.
    let reserved = ReservedPort::new();
    let port = reserved.number;
    let _fd3 = serving(&format!("[::1]:{port}"));
    well(&[&format!("http://[::1]:{port}/")]);
    well(&[&format!("[::1]:{port}")]);
    well(&[&format!("http://localhost:{port}/")]);
    let four = format!("127.0.0.1:{port}");
    not_well(&[&four], &format!("cannot connect to {four}: connection refused"));
}

/// What a server does with a connection.
type Does = fn(TcpStream);

/// A server that does this with each connection; its port.
fn server(does: Does) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            does(client);
        }
    });
    port
}

/// Reads a request, so that what follows is an answer to it.
fn hear(client: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let _ = client.read(&mut bytes);
}

/// Until the client has gone.
fn hold(mut client: TcpStream) {
    let _ = client.set_read_timeout(Some(PATIENCE));
    while client.read(&mut [0; 64]).is_ok_and(|some| some > 0) {}
}

#[test]
fn who_says_something_else_is_not_well() {
    let strange = "the answer is not HTTP/1";
    let table: [(Does, &str); 5] = [
        (
            |mut client| {
                let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
                hold(client);
            },
            strange,
        ),
        (
            |mut client| {
                hear(&mut client);
                // Nothing but interim answers, without end.
                while client.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {}
            },
            strange,
        ),
        (
            |mut client| {
                hear(&mut client);
                while client.write_all(&[b'H'; 512]).is_ok() {}
            },
            strange,
        ),
        (|mut client| hear(&mut client), "the connection ended before an answer"),
        (
            |mut client| {
                hear(&mut client);
                drop(client.write_all(b"HTTP/1.1 200"));
            },
            "the connection ended before an answer",
        ),
    ];
    for (does, said) in table {
        let target = format!("http://127.0.0.1:{}/", server(does));
        not_well(&[&target], &format!("cannot get {target}: {said}"));
        // For who only wants to be taken, it is well.
        well(&[target.trim_start_matches("http://").trim_end_matches('/')]);
    }
}

#[test]
fn an_interim_answer_and_a_slow_one_are_waited_for() {
    let port = server(|mut client| {
        hear(&mut client);
        let _ = client.set_read_timeout(Some(Duration::from_millis(1)));
        for byte in b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n" {
            let _ = client.write_all(&[*byte]);
            let _ = client.read(&mut [0]);
        }
    });
    well(&[&format!("http://127.0.0.1:{port}/")]);
}

/// The time counts from the start to the status, however much comes before.
#[test]
fn who_takes_too_long_is_not_well() {
    let table: [Does; 2] = [hold, |mut client| {
        let _ = client.set_read_timeout(Some(Duration::from_millis(1)));
        let _ = client.write_all(b"HTTP/1.1 ");
        // A blank line's worth of nothing, byte by byte: never a whole line.
        while client.write_all(b"2").is_ok() {
            let _ = client.read(&mut [0]);
        }
    }];
    for (does, said) in table.into_iter().zip(["timed out", ""]) {
        let target = format!("http://127.0.0.1:{}/", server(does));
        let output = output(&["check", "--timeout", "300ms", &target]);
        let told = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with(&format!("fd3: cannot get {target}: {said}")), "{told}");
    }
}

/// A server that takes no connection any more, and whose queue is full.
#[test]
fn a_full_queue_is_waited_for_and_then_given_up() {
    let folder = Folder::new();
    let path = folder.path("full");
    let listener = UnixListener::bind(&path).expect("the folder is ours");
    shrink_queue(&listener);
    let mut clients = Vec::new();
    while clients.len() < 100 {
        let client = socket(&path);
        match client {
            Some(client) => clients.push(client),
            None => break,
        }
    }
    assert!(clients.len() < 100, "the queue has no end");
    let target = format!("unix:{path}");
    refused(
        &["check", "--timeout", "200ms", &target],
        1,
        &format!("cannot connect to {target}: timed out"),
    );
    // Once there is room again, so is an answer.
    drop(listener.accept());
    drop(listener.accept());
    well(&[&target]);
}

#[allow(unsafe_code)]
fn shrink_queue(listener: &UnixListener) {
    use std::os::fd::AsRawFd;
    // SAFETY: no memory is passed.
    unsafe { libc::listen(listener.as_raw_fd(), 1) };
}

/// A connection, unless it would have to be waited for.
fn socket(path: &str) -> Option<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .expect("there are sockets");
    rustix::net::connect(&fd, &SocketAddrUnix::new(path).expect("it is short")).ok()?;
    Some(fd.into())
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let accepted = "accepted: http://HOST[:PORT][/PATH], http://unix:/SOCKET[:/PATH], tcp://HOST:PORT, \
                    :PORT, unix:/PATH, unix:@NAME";
    let host = "accepted: an IP address, [IPv6], localhost (fd3 looks up no other names)";
    let time = "from 1ms on, a number with ms, s, m, h or d (100ms, 30s, 5m), at most 366d";
    let table: &[(&[&str], &str)] = &[
        (&[], &format!("ADDR: missing; {accepted}")),
        (&[":80", ":81"], "check ADDR \":81\": one word too many; accepted: nothing more"),
        (&["x"], &format!("\"x\": {accepted}")),
        (&["udp://:80"], &format!("\"udp://:80\": {accepted}")),
        (
            &["http://example.com/"],
            &format!("\"http://example.com/\": host \"example.com\"; {host}"),
        ),
        (&[":0"], "\":0\": port \"0\"; accepted: 1 to 65535"),
        (
            &["https://localhost"],
            "\"https://localhost\": fd3 check speaks no TLS; accepted: http://..., tcp://HOST:PORT",
        ),
        (
            &["http://:80/a b"],
            "\"http://:80/a b\": path \"/a b\"; accepted: visible ASCII without \"#\"",
        ),
        (&["--timeout", "0", ":80"], &format!("--timeout \"0\": accepted: {time}")),
        (&["--timeout", "x", ":80"], &format!("--timeout \"x\": accepted: {time}")),
        (
            &["--status", "2xx", ":80"],
            "--status \"2xx\": accepted: N or N-N (200-399), from 200 to 599",
        ),
        (
            &["--status", "399-200", ":80"],
            "--status \"399-200\": accepted: N or N-N (200-399), from 200 to 599",
        ),
        (&["--bogus"], "--bogus: unknown option; \"fd3 help check\" lists them"),
        (&["--timeout"], "--timeout: needs a value: DURATION"),
    ];
    for (words, said) in table {
        refused(&[&["check"], *words].concat(), 2, said);
    }
}
