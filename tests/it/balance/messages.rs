//! What goes through: heads, bodies and interim answers, both ways, of HTTP/1.1 and 1.0.

use std::io::{Read, Write};

use super::{Backend, ask, balance, client, get, hear, ok, say, status};

#[test]
fn a_request_and_its_answer_go_through_and_tell_of_the_client() {
    let backend = Backend::echo();
    let fd3 = balance(&["-b", &format!("{}/api", backend.url()), "--via", "edge"]);
    let request = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-Mine: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\
                   Connection: close, X-Mine\r\n\r\n";
    let answer = ask(fd3.port(), request).expect("an answer");
    assert_eq!(status(&answer), 200, "{answer}");
    let (head, heard) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.to_lowercase().contains("\r\nconnection: close"), "{head}");
    assert!(head.to_lowercase().contains("\r\nvia: 1.1 edge"), "{head}");
    let heard = heard.to_lowercase();
    assert!(heard.starts_with("get /api/a?b=c http/1.1\r\n"), "{heard}");
    for line in [
        "host: example.org",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "via: 1.1 edge",
    ] {
        assert!(heard.contains(&format!("\r\n{line}\r\n")), "{line}: {heard}");
    }
    for gone in ["x-mine", "6.6.6.6", "close"] {
        assert!(!heard.contains(gone), "{gone}: {heard}");
    }
}

#[test]
fn a_connection_serves_many_requests_and_so_does_the_backends() {
    let backend = Backend::answering(|_| ok("hello"));
    let fd3 = balance(&["-b", &backend.url()]);
    for _ in 0..2 {
        let mut client = client(fd3.port());
        for _ in 0..5 {
            say(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(hear(&mut client).expect("an answer").ends_with("\r\n\r\nhello"));
        }
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let backend = Backend::answering(|request| ok(request.split(' ').nth(1).unwrap_or("?")));
    let fd3 = balance(&["-b", &backend.url(), "-n", "1"]);
    let mut requests: String =
        (0..200).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    requests.push_str("GET /200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /never");
    let answers = ask(fd3.port(), &requests).expect("answers");
    let paths: Vec<&str> = answers
        .split("HTTP/1.1 200")
        .filter_map(|one| one.split_once("\r\n\r\n"))
        .map(|(_, body)| body)
        .collect();
    let expected: Vec<String> = (0..201).map(|n| format!("/{n}")).collect();
    assert_eq!(paths, expected);
}

#[test]
fn bodies_go_through_however_they_are_framed() {
    let backend = Backend::answering(|request| {
        let (_, body) = request.split_once("\r\n\r\n").expect("a head");
        ok(body)
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let port = fd3.port();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let answer = ask(port, &format!("{head}Content-Length: 5\r\n\r\nhello")).expect("one");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let answer = ask(port, &format!("{head}{chunked}")).expect("one");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert_eq!(body, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
}

#[test]
fn a_large_body_goes_both_ways_whole() {
    const SIZE: usize = 20 << 20;
    let backend = Backend::new(|stream| {
        // Head first, then what comes is told back as it comes.
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut one = [0];
            if stream.read(&mut one).unwrap_or(0) == 0 {
                return;
            }
            bytes.extend(one);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it is open");
        let mut left = SIZE;
        let mut room = vec![0; 100_000];
        while left > 0 {
            let count = stream.read(&mut room).expect("more");
            stream.write_all(&room[..count]).expect("it is open");
            left -= count;
        }
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let mut stream = client(fd3.port());
    let mut writer = stream.try_clone().expect("a descriptor");
    say(&mut stream, &format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n"));
    let pattern: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let sent = pattern.clone();
    let sender = std::thread::spawn(move || writer.write_all(&sent).expect("it is taken"));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        stream.read_exact(&mut one).expect("a head");
        head.extend(one);
    }
    let mut body = vec![0; SIZE];
    stream.read_exact(&mut body).expect("a body");
    assert!(body == pattern);
    sender.join().expect("all was sent");
}

#[test]
fn answers_without_a_body_have_none() {
    let backend = Backend::answering(|request| match request.split(' ').nth(1) {
        Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".into(),
        Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let requests = "GET /304 HTTP/1.1\r\nHost: x\r\n\r\nGET /204 HTTP/1.1\r\nHost: x\r\n\r\n\
                    HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = ask(fd3.port(), requests).expect("answers");
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|one| &one[..3]).collect();
    assert_eq!(statuses, ["304", "204", "200"], "{answers}");
    assert!(answers.ends_with("\r\n\r\n"), "{answers}");
}

#[test]
fn interim_answers_go_through_and_the_body_follows_when_it_is_called() {
    let backend = Backend::new(|stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut one = [0];
            stream.read_exact(&mut one).expect("a head");
            head.extend(one);
        }
        say(stream, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        let mut body = [0; 5];
        stream.read_exact(&mut body).expect("a body");
        say(stream, &ok(&String::from_utf8_lossy(&body)));
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let mut client = client(fd3.port());
    say(
        &mut client,
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    let mut heard = String::new();
    while !heard.contains("100 Continue\r\n\r\n") {
        let mut one = [0];
        client.read_exact(&mut one).expect("an interim answer");
        heard.push(one[0] as char);
    }
    assert!(heard.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{heard}");
    say(&mut client, "hello");
    assert!(hear(&mut client).expect("an answer").ends_with("hello"));
}

#[test]
fn another_protocol_goes_through_both_ways_and_each_side_ends_for_itself() {
    let backend = Backend::new(|stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut one = [0];
            stream.read_exact(&mut one).expect("a head");
            head.extend(one);
        }
        assert!(String::from_utf8_lossy(&head).to_lowercase().contains("upgrade: websocket"));
        say(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
        );
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("its end");
        stream.write_all(&all).expect("it is still open");
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let mut client = client(fd3.port());
    say(
        &mut client,
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsoon",
    );
    let mut heard = String::new();
    while !heard.ends_with("\r\n\r\nhi") {
        let mut one = [0];
        client.read_exact(&mut one).expect("the switch");
        heard.push(one[0] as char);
    }
    assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
    let large = vec![b'x'; 1 << 20];
    client.write_all(&large).expect("it is taken");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("the echo and the end");
    assert!(all.len() == 4 + large.len() && all.starts_with(b"soonx"), "{}", all.len());
}

#[test]
fn a_client_of_http_1_0_gets_what_it_understands() {
    let backend = Backend::answering(|_| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".into()
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let answer = ask(fd3.port(), "GET / HTTP/1.0\r\n\r\n").expect("an answer");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_framed_anew() {
    let backend = Backend::new(|stream| {
        hear(stream);
        say(stream, "HTTP/1.1 200 OK\r\n\r\nhello");
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let mut client = client(fd3.port());
    for _ in 0..2 {
        say(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = hear(&mut client).expect("an answer");
        assert!(answer.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{answer}");
    }
}

/// The table of what is refused is long, and tested where heads are heard; here it is seen that nothing of it gets
/// through, and that the connection ends.
#[test]
fn what_could_be_understood_in_two_ways_is_refused_and_nothing_after_it_is_read() {
    let backend = Backend::echo();
    let fd3 = balance(&["-b", &backend.url(), "--max-body", "1K"]);
    let long = "a".repeat(40_000);
    let table = [
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 400),
        ("GET / HTTP/1.1\nHost: x\n\n".into(), 400),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n".into(), 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(), 501),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), 431),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
    ];
    for (request, expected) in table {
        let both = format!("{request}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = ask(fd3.port(), &both).expect("an answer and the end");
        assert_eq!(status(&answer), expected, "{}: {answer}", &request[..request.len().min(90)]);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(backend.connections(), 0);
    assert_eq!(status(&get(fd3.port(), "/")), 200);
}

#[test]
fn a_bad_chunk_in_the_middle_ends_both_connections() {
    let backend = Backend::new(|stream| {
        let heard = hear(stream);
        assert_eq!(heard, None, "never a whole request");
    });
    let fd3 = balance(&["-b", &backend.url()]);
    let mut client = client(fd3.port());
    say(
        &mut client,
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    crate::harness::until("the backend is asked", || backend.connections() == 1);
    say(&mut client, "zz\r\n");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the end");
    assert_eq!(status(&answer), 400, "{answer}");
}
