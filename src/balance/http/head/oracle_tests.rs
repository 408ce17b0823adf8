//! httparse as the oracle: what is accepted here it accepts, too, and finds the same in it. (Not the other way round: it
//! takes bare LF and more.) And nothing depends on how bytes are cut.

use super::super::Wrong;
use super::super::random_tests::Chance;
use super::response_tests::{ANY, response};
use super::tests::request;
use super::{Asked, Field, Limits, RequestParser, ResponseParser};

const ROUNDS: u64 = 20_000;

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "CONNECT", "X-Y"];
const TARGETS: [&str; 8] =
    ["/", "/a?b=c", "*", "http://a/", "http://a:80?x", "https://[::1]/b", "/a|b[]", "a:80"];
const FIELDS: [&str; 30] = [
    "Host: a",
    "Host: a:80",
    "host: b",
    "Content-Length: 5",
    "Content-Length: 0",
    "content-length:\t44 ",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: gzip, chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x-a, x-b",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "TE: trailers",
    "Trailer: x",
    "X-Forwarded-For: 1.2.3.4",
    "x_forwarded_for: 1.2.3.4",
    "Forwarded: for=1.2.3.4",
    "Cookie: a=b; c=d",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: */*",
    "X-A: 1",
    "x-b:",
    "Keep-Alive: timeout=5",
    "Via: 1.1 a",
    "Content_Length: 7",
    "A: \u{e9}\tb",
];

pub fn random_request(chance: &mut Chance) -> Vec<u8> {
    let version = if chance.one_in(4) { "1.0" } else { "1.1" };
    let empty = if chance.one_in(8) { "\r\n" } else { "" };
    let mut head =
        format!("{empty}{} {} HTTP/{version}\r\n", chance.pick(&METHODS), chance.pick(&TARGETS));
    if !chance.one_in(4) {
        head.push_str("Host: a\r\n");
    }
    add_fields(chance, head)
}

pub fn random_response(chance: &mut Chance) -> Vec<u8> {
    let version = if chance.one_in(4) { "1.0" } else { "1.1" };
    let status = chance.pick(&[
        "200 OK",
        "204 No Content",
        "304",
        "101 X",
        "103 Y",
        "502 Bad \u{e9}",
        "999 ",
    ]);
    add_fields(chance, format!("HTTP/{version} {status}\r\n"))
}

fn add_fields(chance: &mut Chance, mut head: String) -> Vec<u8> {
    for _ in 0..chance.below(5) {
        head.push_str(chance.pick(&FIELDS));
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if chance.one_in(2) {
        chance.spoil(&mut bytes);
    }
    if chance.one_in(4) {
        bytes.extend_from_slice(b"GET /next HTTP/1.1\r\n\r\n");
    }
    bytes
}

fn same_fields(ours: &[Field], bytes: &[u8], theirs: &[httparse::Header<'_>]) {
    let ours: Vec<_> = ours.iter().map(|f| (f.name.of(bytes), f.value.of(bytes))).collect();
    let theirs: Vec<_> = theirs.iter().map(|f| (f.name.as_bytes(), f.value)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn what_is_accepted_of_a_client_the_oracle_takes_alike() {
    let mut chance = Chance::new(8);
    let mut accepted = 0;
    let mut refused = std::collections::BTreeSet::new();
    for _ in 0..ROUNDS {
        let bytes = random_request(&mut chance);
        let whole = match request(&bytes, &Limits::USUAL) {
            Ok(Some(whole)) => whole,
            Ok(None) => continue,
            Err(wrong) => {
                refused.insert(wrong.label());
                continue;
            }
        };
        accepted += 1;
        let mut parser = RequestParser::new();
        parser.parse(&bytes, &Limits::USUAL).expect("it was accepted");
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut oracle = httparse::Request::new(&mut fields);
        let len = oracle.parse(&bytes).expect("the oracle takes it");
        assert_eq!(len, httparse::Status::Complete(whole.len));
        assert_eq!(oracle.method.map(str::as_bytes), Some(whole.method_name.of(&bytes)));
        let target = oracle.path.expect("there is one").as_bytes();
        assert!(target.ends_with(whole.target.of(&bytes)));
        assert_eq!(
            oracle.version.map(|minor| minor == 1),
            Some(whole.version == super::Version::Http11)
        );
        same_fields(parser.fields(), &bytes, oracle.headers);
    }
    // A generator that makes nothing good, or nothing bad, would prove nothing.
    assert!(accepted > 2_000, "{accepted}");
    assert!(refused.len() > 15, "{refused:?}");
}

#[test]
fn what_is_accepted_of_a_backend_the_oracle_takes_alike() {
    let mut chance = Chance::new(9);
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let bytes = random_response(&mut chance);
        let asked = Asked { head: round % 3 == 0, upgrade: round % 2 == 0 };
        let Ok(Some(whole)) = response(&bytes, &Limits::USUAL, asked) else { continue };
        accepted += 1;
        let mut parser = ResponseParser::new();
        parser.parse(&bytes, &Limits::USUAL, asked).expect("it was accepted");
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut oracle = httparse::Response::new(&mut fields);
        let len = oracle.parse(&bytes).expect("the oracle takes it");
        assert_eq!(len, httparse::Status::Complete(whole.len));
        assert_eq!(oracle.code, Some(whole.status));
        let reason = oracle.reason.expect("there is one");
        // It gives nothing where there are bytes that are not ASCII.
        assert!(reason.is_empty() || reason.as_bytes() == whole.reason.of(&bytes));
        same_fields(parser.fields(), &bytes, oracle.headers);
    }
    assert!(accepted > 2_000, "{accepted}");
}

/// Random cuts in place of every one: long heads, small limits.
#[test]
fn how_a_head_is_cut_makes_no_difference() {
    let mut chance = Chance::new(10);
    for _ in 0..ROUNDS {
        let bytes = random_request(&mut chance);
        let limits = Limits {
            head: u32::try_from(20 + chance.below(150)).expect("it fits"),
            line: u32::try_from(5 + chance.below(40)).expect("it fits"),
            fields: u16::try_from(chance.below(5)).expect("it fits"),
        };
        let whole = RequestParser::new().parse(&bytes, &limits);
        let mut parser = RequestParser::new();
        let mut end = 0;
        let cut = loop {
            let heard = parser.parse(&bytes[..end], &limits);
            if heard != Ok(None) || end == bytes.len() {
                break heard;
            }
            end = (end + 1 + chance.below(30)).min(bytes.len());
        };
        assert_eq!(cut, whole, "{:?} {limits:?}", String::from_utf8_lossy(&bytes));
    }
}

/// Bytes without any sense: no panic, and nothing accepted that has a control character in its head.
#[test]
fn noise_is_no_head() {
    let mut chance = Chance::new(11);
    for _ in 0..ROUNDS {
        let mut bytes = b"GET / HTTP/1.0\r\nA: b\r\n\r\n".to_vec();
        for _ in 0..chance.below(10) {
            chance.spoil(&mut bytes);
        }
        if let Ok(Some(whole)) = RequestParser::new().parse(&bytes, &Limits::USUAL) {
            let head = &bytes[..whole.len];
            let bad = |byte: &&u8| byte.is_ascii_control() && !b"\t\r\n".contains(byte);
            assert_eq!(head.iter().find(bad), None, "{:?}", String::from_utf8_lossy(head));
        }
        let heard = ResponseParser::new().parse(&bytes, &Limits::USUAL, ANY);
        assert!(
            matches!(
                heard,
                Err(Wrong::StatusLine | Wrong::BareLf | Wrong::BareCr | Wrong::Control) | Ok(None)
            ),
            "{heard:?}"
        );
    }
}
