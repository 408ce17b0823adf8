//! The same bytes, however they arrive: cut at every position, and one by one.

use super::*;
use crate::balance::http::rewrite::Forwarded;
use alloc::string::String;

const ONWARD: Onward<'_> = Onward {
    forwarded: Forwarded::Set,
    client: "10.0.0.9",
    https: false,
    via: None,
    prefix: "/api",
    host: "backend",
};
const TERMS: Terms<'_> = Terms { keep: true, via: None };

/// What became of one request and its answer.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    to_backend: String,
    to_client: String,
    progress: Result<Progress, Bad>,
    keeps: (bool, bool),
    status: Option<u16>,
}

/// Passes both through, in these parts.
fn pass_through(request: &[&[u8]], answer: &[&[u8]], ends: bool) -> Outcome {
    let mut exchange = Exchange::default();
    let (mut to_backend, mut to_client) = (Vec::new(), Vec::new());
    for part in request {
        if exchange.request().is_some() {
            exchange.upload(part, &mut to_backend).expect("a good body");
        } else if exchange.hear(part, &Limits::USUAL).expect("a good head") {
            exchange.begin(&ONWARD, u64::MAX, &mut to_backend).expect("a good body");
        }
    }
    let mut progress = Ok(Progress::More);
    for part in answer {
        progress = exchange.answer(part, &TERMS, &mut to_client);
        if progress.is_err() {
            break;
        }
    }
    if ends && progress == Ok(Progress::More) {
        progress = exchange.answer_ended(&mut to_client);
    }
    Outcome {
        to_backend: String::from_utf8(to_backend).expect("text"),
        to_client: String::from_utf8(to_client).expect("text"),
        progress,
        keeps: (exchange.keeps_client(), exchange.keeps_backend()),
        status: exchange.status(),
    }
}

/// A request, an answer, what became of it, and who is kept.
type Row = (&'static [u8], &'static [u8], Result<Progress, Bad>, (bool, bool));

/// Without what says how a chunked body was cut.
fn uncut(text: &str) -> String {
    text.split("\r\n").filter(|line| !line.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
}

const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabz\r\n2;x\r\nyz\r\n0\r\nT: u\r\n\r\n";
const ANSWERS: [&[u8]; 7] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelxx\r\n1\r\ny\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nso long, to: you",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
];

#[test]
fn it_does_not_matter_where_the_bytes_are_cut() {
    for request in [GET, POST, CHUNKED] {
        for answer in ANSWERS {
            let whole = pass_through(&[request], &[answer], true);
            let check = |cut: Outcome, place: usize| {
                assert_eq!(uncut(&cut.to_backend), uncut(&whole.to_backend), "{place}");
                assert_eq!(uncut(&cut.to_client), uncut(&whole.to_client), "{place}");
                assert_eq!(
                    (cut.progress, cut.keeps, cut.status),
                    (whole.progress, whole.keeps, whole.status)
                );
            };
            for place in 0..=request.len() {
                let parts = [&request[..place], &request[place..]];
                check(pass_through(&parts, &[answer], true), place);
            }
            for place in 0..=answer.len() {
                let parts = [&answer[..place], &answer[place..]];
                check(pass_through(&[request], &parts, true), place);
            }
            let ones = |bytes: &'static [u8]| bytes.chunks(1).collect::<Vec<_>>();
            check(pass_through(&ones(request), &ones(answer), true), 0);
        }
    }
}

#[test]
fn both_connections_are_kept_only_after_what_is_whole() {
    let table: [Row; 8] = [
        (GET, ANSWERS[0], Ok(Progress::Over), (true, true)),
        (GET, ANSWERS[1], Ok(Progress::Over), (true, true)),
        (GET, ANSWERS[3], Ok(Progress::Over), (true, false)),
        (GET, ANSWERS[4], Ok(Progress::Over), (true, false)),
        (GET, ANSWERS[6], Err(Bad::CutShort), (true, false)),
        // It says more than its answer.
        (
            GET,
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP",
            Ok(Progress::Over),
            (true, false),
        ),
        (GET, b"", Err(Bad::Nothing), (false, false)),
        (GET, b"HTTP/1.1 2", Err(Bad::InHead), (false, false)),
    ];
    for (request, answer, progress, keeps) in table {
        let outcome = pass_through(&[request], &[answer], true);
        assert_eq!((outcome.progress, outcome.keeps), (progress, keeps), "{outcome:?}");
    }
    // Before the end of the request.
    let outcome = pass_through(&[&POST[..POST.len() - 1]], &[ANSWERS[0]], false);
    assert_eq!((outcome.progress, outcome.keeps), (Ok(Progress::Over), (false, false)));
}

#[test]
fn a_request_is_sent_again_from_its_beginning_until_that_is_no_longer_right() {
    let mut exchange = Exchange::default();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    assert_eq!(exchange.hear(&POST[..POST.len() - 2], &Limits::USUAL), Ok(true));
    exchange.begin(&ONWARD, u64::MAX, &mut first).expect("a good body");
    exchange.upload(b"lo", &mut first).expect("a good body");
    // A POST only where nothing of it was sent.
    assert!(exchange.may_be_sent_again(true) && !exchange.may_be_sent_again(false));
    exchange.begin(&ONWARD, u64::MAX, &mut second).expect("a good body");
    assert_eq!(first, second);
    let mut out = Vec::new();
    assert_eq!(exchange.answer(b"H", &TERMS, &mut out), Ok(Progress::More));
    assert!(!exchange.may_be_sent_again(true));

    let mut exchange = Exchange::default();
    let head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(exchange.hear(head, &Limits::USUAL), Ok(true));
    exchange.begin(&ONWARD, u64::MAX, &mut first).expect("a good body");
    let part = [b'x'; 40_000];
    exchange.upload(&part, &mut first).expect("a good body");
    assert!(exchange.may_be_sent_again(false));
    exchange.upload(&part, &mut first).expect("a good body");
    assert!(!exchange.may_be_sent_again(true));
    assert!(exchange.input.len() < 100, "{}", exchange.input.len());
}

#[test]
fn what_follows_a_request_waits_for_its_turn() {
    let mut exchange = Exchange::default();
    let all = [POST, CHUNKED, GET].concat();
    let (mut to_backend, mut out) = (Vec::new(), Vec::new());
    assert_eq!(exchange.hear(&all, &Limits::USUAL), Ok(true));
    for turn in 0..3 {
        to_backend.clear();
        exchange.begin(&ONWARD, u64::MAX, &mut to_backend).expect("a good body");
        assert!(exchange.is_sent());
        let sent = String::from_utf8_lossy(&to_backend).into_owned();
        assert_eq!(sent.matches("HTTP/1.1\r\n").count(), 1, "{sent}");
        assert_eq!(exchange.answer(ANSWERS[0], &TERMS, &mut out), Ok(Progress::Over));
        assert!(exchange.keeps_client());
        assert_eq!(exchange.go_on(), turn < 2);
        assert_eq!(exchange.hear(&[], &Limits::USUAL), Ok(turn < 2));
    }
}
