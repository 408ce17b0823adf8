//! Responses: what is heard and what is refused, whole and byte by byte.

use super::super::Wrong;
use super::{Asked, Framing, Kind, Limits, Response, ResponseParser};

pub const ANY: Asked = Asked { head: false, upgrade: false };

pub fn response(bytes: &[u8], limits: &Limits, asked: Asked) -> Result<Option<Response>, Wrong> {
    let mut at_once = ResponseParser::new();
    let whole = at_once.parse(bytes, limits, asked);
    let mut bit_by_bit = ResponseParser::new();
    let mut last = Ok(None);
    for end in 0..=bytes.len() {
        last = bit_by_bit.parse(&bytes[..end], limits, asked);
        if last != Ok(None) {
            break;
        }
    }
    assert_eq!(whole, last, "{:?}", String::from_utf8_lossy(bytes));
    if let Ok(Some(response)) = whole {
        assert_eq!(at_once.fields(), bit_by_bit.fields());
        assert!(response.len <= bytes.len());
    }
    whole
}

#[track_caller]
fn answered(head: &str, asked: Asked) -> Response {
    let heard = response(head.as_bytes(), &Limits::USUAL, asked);
    heard.expect("it is well formed").unwrap_or_else(|| panic!("it is whole: {head:?}"))
}

#[track_caller]
fn bad_answer(head: &[u8], wrong: Wrong) {
    let heard = response(head, &Limits::USUAL, ANY);
    assert_eq!(heard, Err(wrong), "{:?}", String::from_utf8_lossy(head));
}

#[test]
fn an_answer_is_taken_apart() {
    let head = "HTTP/1.1 404 Not  Found\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc";
    let response = answered(head, ANY);
    assert_eq!((response.len, response.status, response.kind), (head.len() - 3, 404, Kind::Final));
    assert_eq!(response.reason.of(head.as_bytes()), b"Not  Found");
    assert_eq!(response.framing, Framing::Length(3));
    assert!(response.persistent);
    assert_eq!(answered("HTTP/1.1 200\r\n\r\n", ANY).reason.of(b"HTTP/1.1 200\r\n\r\n"), b"");
    assert_eq!(answered("HTTP/1.1 200 \r\n\r\n", ANY).status, 200);
}

#[test]
fn where_an_answer_ends() {
    let (close, chunked) = (Framing::UntilClose, Framing::Chunked);
    let (empty, three) = (Framing::Empty, Framing::Length(3));
    let head = Asked { head: true, upgrade: false };
    for (status, fields, asked, framing, persistent) in [
        (200, "", ANY, close, false),
        (200, "Content-Length: 3\r\n", ANY, three, true),
        (200, "Content-Length: 3\r\nContent-Length: 3\r\n", ANY, three, true),
        (200, "Content-Length: 0\r\n", ANY, Framing::Length(0), true),
        (200, "Transfer-Encoding: chunked\r\n", ANY, chunked, true),
        (200, "Transfer-Encoding: chunked\r\nConnection: close\r\n", ANY, chunked, false),
        (200, "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", ANY, chunked, false),
        (200, "Content-Length: 3\r\n", head, empty, true),
        (200, "Transfer-Encoding: chunked\r\n", head, empty, true),
        (200, "", head, empty, true),
        (204, "", ANY, empty, true),
        (204, "Content-Length: 0\r\n", ANY, empty, true),
        (204, "Content-Length: 3\r\n", ANY, empty, false),
        (204, "Transfer-Encoding: chunked\r\n", ANY, empty, false),
        (304, "Content-Length: 3\r\n", ANY, empty, true),
        (103, "Link: </a>\r\n", ANY, empty, true),
        (100, "Content-Length: 3\r\n", ANY, empty, false),
    ] {
        let found = answered(&format!("HTTP/1.1 {status} X\r\n{fields}\r\n"), asked);
        let wanted = (framing, persistent);
        assert_eq!((found.framing, found.persistent), wanted, "{status} {fields}");
        let kind = if status < 200 { Kind::Interim } else { Kind::Final };
        assert_eq!(found.kind, kind);
    }
    // Of two framings none is told of what does not follow.
    let both = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(answered(both, head).length, None);
    let old = answered("HTTP/1.0 200 X\r\nContent-Length: 3\r\n\r\n", ANY);
    assert!(!old.persistent);
    let kept = "HTTP/1.0 200 X\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n";
    assert!(answered(kept, ANY).persistent);
}

#[test]
fn another_protocol_is_switched_to_if_it_was_asked_for() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(answered(head, Asked { head: false, upgrade: true }).kind, Kind::Switch);
    bad_answer(head.as_bytes(), Wrong::Switch);
}

#[test]
fn bad_answers_are_refused() {
    for line in [
        "HTTP/1.1",
        "HTTP/1.1 20 X",
        "HTTP/1.1 2000 X",
        "HTTP/1.1 099 X",
        "HTTP/1.1 -20 X",
        "HTTP/1.1  200 X",
        "HTTP/1.1 200X",
        "HTTP/1.1\t200 X",
        " HTTP/1.1 200 X",
        "ICY 200 OK",
        "http/1.1 200 X",
        "HTTP/11 200 X",
        "GET / HTTP/1.1",
        "",
        "\u{fffd}",
    ] {
        bad_answer(format!("{line}\r\n\r\n").as_bytes(), Wrong::StatusLine);
    }
    bad_answer(b"HTTP/2.0 200 X\r\n\r\n", Wrong::Version);
    bad_answer(b"HTTP/1.1 200 X\n\n", Wrong::BareLf);
    let with = |fields: &str, wrong| {
        bad_answer(format!("HTTP/1.1 200 X\r\n{fields}\r\n\r\n").as_bytes(), wrong);
    };
    with("Content-Length: 3\r\nContent-Length: 4", Wrong::SeveralLengths);
    with("Content-Length: 3, 3", Wrong::Length);
    with("Transfer-Encoding: gzip, chunked", Wrong::UnknownCoding);
    with("Transfer-Encoding: identity", Wrong::Coding);
    with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Wrong::Coding);
    with("A: b\r\n c", Wrong::Fold);
    with("A : b", Wrong::SpaceBeforeColon);
    with(": b", Wrong::FieldName);
    with("A: \0", Wrong::Control);
    with(&"A: b\r\n".repeat(101), Wrong::TooManyFields);
    with(&format!("A: {}", "b".repeat(40_000)), Wrong::HeadTooLong);
    bad_answer(b"HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", Wrong::CodingInHttp10);
}

#[test]
fn a_parser_hears_one_answer_after_the_other() {
    let one = "HTTP/1.1 103 X\r\nConnection: close, x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    let mut parser = ResponseParser::new();
    parser.parse(one.as_bytes(), &Limits::USUAL, ANY).expect("good").expect("whole");
    parser.clear();
    let second = parser.parse(two.as_bytes(), &Limits::USUAL, ANY).expect("good").expect("whole");
    assert_eq!(second, answered(two, ANY));
    assert_eq!(parser.fields().len(), 1);
}
