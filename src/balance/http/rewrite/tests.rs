//! What goes on, word for word; and whatever goes on is heard again as the same.

use super::super::answer::{Answer, answer};
use super::super::body::Out;
use super::super::head::{Asked, Framing, Kind, Limits, RequestParser, ResponseParser, Version};
use super::super::random_tests::Chance;
use super::copy::decimal;
use super::{Back, Forwarded, Onward, Passage, request, response};

const ONWARD: Onward<'_> = Onward {
    forwarded: Forwarded::Set,
    client: "192.0.2.7",
    https: false,
    via: None,
    prefix: "",
    host: "backend:8080",
};

fn rewritten(head: &[u8], onward: &Onward<'_>) -> String {
    let mut parser = RequestParser::new();
    let heard =
        parser.parse(head, &Limits::USUAL).expect("it is well formed").expect("it is whole");
    let mut out = b"before".to_vec();
    request(&heard, parser.fields(), head, onward, &mut out);
    let mut again = Vec::new();
    request(&heard, parser.fields(), head, onward, &mut again);
    assert_eq!(out.get(6..), Some(again.as_slice()), "another try is the same");
    String::from_utf8(again).expect("text")
}

#[track_caller]
fn sent(head: &str, onward: &Onward<'_>, wanted: &str) {
    assert_eq!(rewritten(head.as_bytes(), onward), wanted);
}

const TOLD: &str =
    "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n";

#[test]
fn a_request_goes_on_with_what_is_told_of_the_client() {
    sent(
        "\r\nGET /x?y HTTP/1.1\r\nAccept:*/*\r\nHost: a\r\nUser-Agent: b \r\nX: \r\nY:\r\nZ: 1\r\nQ: 2\r\n\r\n",
        &ONWARD,
        &format!(
            "GET /x?y HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nUser-Agent: b\r\nX: \r\nY: \r\nZ: 1\r\nQ: 2\r\n{TOLD}\r\n"
        ),
    );
    sent(
        "GET / HTTP/1.0\r\n\r\n",
        &Onward { https: true, client: "", via: Some("fd3"), ..ONWARD },
        "GET / HTTP/1.1\r\nHost: backend:8080\r\nX-Forwarded-For: unknown\r\nX-Forwarded-Proto: https\r\nVia: 1.0 fd3\r\n\r\n",
    );
}

#[test]
fn who_is_not_believed_is_not_heard() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.1.1.1\r\n\
                X_Forwarded_For: 1.1.1.1\r\nx_forwarded_proto: https\r\n\r\n";
    sent(head, &ONWARD, &format!("GET / HTTP/1.1\r\nHost: a\r\n{TOLD}\r\n"));
    let nothing = Onward { forwarded: Forwarded::Drop, ..ONWARD };
    sent(head, &nothing, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn who_is_believed_is_added_to() {
    let believed = Onward { forwarded: Forwarded::Append, ..ONWARD };
    sent(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n\
         X-Forwarded-For:\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n",
        &believed,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\r\nX-Forwarded-Host: a\r\n\r\n",
    );
    sent(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &believed,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{TOLD}\r\n"),
    );
}

#[test]
fn fields_of_one_hop_end_here() {
    sent(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a, keep-alive\r\nX-A: 1\r\nx-b: 2\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: x\r\nProxy-Authorization: y\r\nTE: gzip\r\nTrailer: z\r\nUpgrade: websocket\r\n\
         HTTP2-Settings: A\r\nConnection: X-B\r\nX-C: 3\r\n\r\n",
        &ONWARD,
        &format!("GET / HTTP/1.1\r\nHost: a\r\nX-C: 3\r\n{TOLD}\r\n"),
    );
}

#[test]
fn nobody_can_have_fields_taken_away_that_others_go_by() {
    sent(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Host, Content-Length, X-Forwarded-For, Cookie, Authorization, \
         X-Forwarded-Host, X-Forwarded-Proto\r\nCookie: b\r\nAuthorization: c\r\nContent-Length: 5\r\n\r\n",
        &Onward { forwarded: Forwarded::Append, ..ONWARD },
        &format!(
            "POST / HTTP/1.1\r\nHost: a\r\nCookie: b\r\nAuthorization: c\r\n{TOLD}Content-Length: 5\r\n\r\n"
        ),
    );
}

#[test]
fn framing_is_our_own() {
    sent(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n",
        &ONWARD,
        &format!("POST / HTTP/1.1\r\nHost: a\r\n{TOLD}Content-Length: 7\r\n\r\n"),
    );
    sent(
        "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\nTE: trailers;q=1\r\nTE: x, Trailers\r\n\r\n",
        &ONWARD,
        &format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\nExpect: 100-continue\r\n{TOLD}\
             Transfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n\r\n"
        ),
    );
    sent(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
        &ONWARD,
        &format!("POST / HTTP/1.1\r\nHost: a\r\n{TOLD}Content-Length: 0\r\n\r\n"),
    );
}

#[test]
fn another_protocol_is_asked_for_in_turn() {
    sent(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nTE: trailers\r\n\r\n",
        &ONWARD,
        &format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{TOLD}\
             Connection: upgrade\r\n\r\n"
        ),
    );
}

#[test]
fn the_target_is_joined_to_the_prefix() {
    for (line, prefix, wanted) in [
        ("GET /", "", "GET / "),
        ("GET /x?y", "/pre", "GET /pre/x?y "),
        ("GET http://a", "/pre", "GET /pre/ "),
        ("GET http://a?y", "", "GET /?y "),
        ("GET //x", "/pre", "GET /pre//x "),
        ("OPTIONS *", "/pre", "OPTIONS * "),
        ("OPTIONS http://a", "/pre", "OPTIONS * "),
        ("OPTIONS http://a?x", "/pre", "OPTIONS /pre/?x "),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let rewritten = rewritten(head.as_bytes(), &Onward { prefix, ..ONWARD });
        assert!(rewritten.starts_with(&format!("{wanted}HTTP/1.1\r\n")), "{rewritten}");
    }
    sent(
        "GET http://b:80/x HTTP/1.1\r\nHost: B\r\n\r\n",
        &Onward { forwarded: Forwarded::Drop, ..ONWARD },
        "GET /x HTTP/1.1\r\nHost: b:80\r\n\r\n",
    );
}

fn answered(head: &str, asked: Asked, version: Version, back: &Back<'_>) -> (String, Passage) {
    let mut parser = ResponseParser::new();
    let heard = parser.parse(head.as_bytes(), &Limits::USUAL, asked);
    let heard = heard.expect("it is well formed").expect("it is whole");
    let passage = Passage::of(&heard, version, true, true);
    let mut out = Vec::new();
    response(&heard, parser.fields(), head.as_bytes(), version, passage, back, &mut out);
    (String::from_utf8(out).expect("text"), passage)
}

const GET: Asked = Asked { head: false, upgrade: false };
const HEAD: Asked = Asked { head: true, upgrade: false };
const UPGRADE: Asked = Asked { head: false, upgrade: true };

#[track_caller]
fn back(head: &str, asked: Asked, version: Version, wanted: &str) -> Passage {
    let (out, passage) = answered(head, asked, version, &Back::default());
    assert_eq!(out, wanted);
    passage
}

#[test]
fn an_answer_goes_back_with_framing_that_its_client_understands() {
    use Version::{Http10, Http11};
    let long = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\nDate: y\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nServer: x\r\nDate: y\r\nContent-Length: 3\r\n";
    assert!(back(long, GET, Http11, &format!("{wanted}\r\n")).persistent);
    back(long, HEAD, Http11, &format!("{wanted}\r\n"));
    back(long, GET, Http10, &format!("{wanted}Connection: keep-alive\r\n\r\n"));

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        back(chunked, GET, Http11, wanted),
        Passage { out: Out::AsItCame, persistent: true }
    );
    let wanted = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    assert_eq!(back(chunked, GET, Http10, wanted), Passage { out: Out::Data, persistent: false });
    back(chunked, HEAD, Http11, "HTTP/1.1 200 OK\r\n\r\n");

    let close = "HTTP/1.0 200 OK\r\nTrailer: X\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(back(close, GET, Http11, wanted), Passage { out: Out::Chunks, persistent: true });
    let wanted = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    assert_eq!(back(close, GET, Http10, wanted), Passage { out: Out::AsItCame, persistent: false });

    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    back(both, GET, Http11, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    back("HTTP/1.1 204 X\r\nContent-Length: 3\r\n\r\n", GET, Http11, "HTTP/1.1 204 X\r\n\r\n");
    let unchanged = "HTTP/1.1 304 X\r\nETag: y\r\nContent-Length: 3\r\n\r\n";
    back(unchanged, GET, Http11, unchanged);
    back(
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        GET,
        Http11,
        "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn a_client_is_told_that_its_connection_ends() {
    let mut parser = ResponseParser::new();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n";
    let heard = parser.parse(head, &Limits::USUAL, GET).expect("good").expect("whole");
    for (persistent, keep) in [(false, true), (true, false), (false, false)] {
        let passage = Passage::of(&heard, Version::Http11, persistent, keep);
        assert!(!passage.persistent);
        let mut out = Vec::new();
        response(
            &heard,
            parser.fields(),
            head,
            Version::Http11,
            passage,
            &Back::default(),
            &mut out,
        );
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
    }
}

#[test]
fn a_backends_fields_of_one_hop_end_here() {
    back(
        "HTTP/1.1 200 OK\r\nConnection: close, X-A, Set-Cookie\r\nX-A: 1\r\nSet-Cookie: b\r\nKeep-Alive: 5\r\n\
         Upgrade: h2\r\nProxy-Authenticate: c\r\nContent-Length: 0\r\nX-B: 2\r\n\r\n",
        GET,
        Version::Http11,
        "HTTP/1.1 200 OK\r\nSet-Cookie: b\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn what_is_ours_is_added_to_answers() {
    let ours = Back { via: Some("fd3"), cookie: Some("at=b1; Path=/") };
    let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nVia: 1.1 fd3\r\nSet-Cookie: at=b1; Path=/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answered(head, GET, Version::Http11, &ours).0, wanted);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let wanted = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 fd3\r\n\r\n";
    assert_eq!(answered(hints, GET, Version::Http11, &ours).0, wanted);
}

#[test]
fn a_switch_of_protocols_is_passed_on() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n";
    let wanted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: y\r\nConnection: upgrade\r\n\r\n";
    back(head, UPGRADE, Version::Http11, wanted);
    let head =
        "HTTP/1.1 426 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n";
    let wanted =
        "HTTP/1.1 426 X\r\nUpgrade: websocket\r\nContent-Length: 0\r\nConnection: upgrade\r\n\r\n";
    back(head, GET, Version::Http11, wanted);
}

#[test]
fn an_answer_of_our_own_is_whole() {
    let mut out = Vec::new();
    let mut busy = Answer {
        status: 503,
        why: "no backend is up",
        retry_after: Some(2),
        close: false,
        head_only: false,
        http10: false,
        now: 784_111_777,
    };
    answer(&busy, &mut out);
    let wanted = "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                  Content-Type: text/plain; charset=utf-8\r\nContent-Length: 17\r\nRetry-After: 2\r\n\
                  Cache-Control: no-store\r\n\r\nno backend is up\n";
    assert_eq!(String::from_utf8(out), Ok(wanted.into()));
    for status in [400, 405, 408, 413, 414, 417, 431, 501, 502, 503, 504, 505] {
        for head_only in [false, true] {
            busy = Answer { status, head_only, close: !head_only, http10: true, ..busy };
            let mut out = Vec::new();
            answer(&busy, &mut out);
            let mut parser = ResponseParser::new();
            let asked = Asked { head: head_only, upgrade: false };
            let heard = parser.parse(&out, &Limits::USUAL, asked).expect("good").expect("whole");
            assert_eq!((heard.status, heard.length), (status, Some(17)));
            assert_eq!(heard.persistent, head_only);
            assert_eq!(out.len() - heard.len, if head_only { 0 } else { 17 });
            let allow = String::from_utf8_lossy(&out).contains("\r\nAllow: GET, ");
            assert_eq!(allow, status == 405, "RFC 9110, section 15.5.6");
            assert_ne!(super::super::answer::reason(status), "Internal Server Error");
        }
    }
}

#[test]
fn numbers_have_their_digits() {
    for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
        assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
    }
}

/// Whatever is accepted and rewritten is accepted again, and means the same: the backend cannot see another end of it, nor
/// another host, nor a field that was to end here.
#[test]
fn what_goes_on_is_heard_as_the_same() {
    let mut chance = Chance::new(13);
    let mut heard_again = 0;
    for _ in 0..20_000 {
        let bytes = super::super::head::oracle_tests::random_request(&mut chance);
        let mut parser = RequestParser::new();
        let Ok(Some(first)) = parser.parse(&bytes, &Limits::USUAL) else { continue };
        let mut out = Vec::new();
        request(&first, parser.fields(), &bytes, &ONWARD, &mut out);
        let mut parser = RequestParser::new();
        let second = parser.parse(&out, &Limits::USUAL).expect("good").expect("whole");
        heard_again += 1;
        assert_eq!(second.len, out.len());
        assert_eq!((first.method, first.framing), (second.method, second.framing));
        assert_eq!(
            (first.upgrade, first.expects_continue),
            (second.upgrade, second.expects_continue)
        );
        assert_eq!(first.method_name.of(&bytes), second.method_name.of(&out));
        assert!(second.target.of(&out).ends_with(first.target.of(&bytes)));
        let host = first.host.map_or(ONWARD.host.as_bytes(), |host| host.of(&bytes));
        assert_eq!(second.host.map(|host| host.of(&out)), Some(host));
        let text = String::from_utf8_lossy(&out).to_ascii_lowercase();
        assert_eq!(text.matches("\r\nx-forwarded-for:").count(), 1);
        for ended in ["keep-alive:", "x_forwarded_for", "h2c", "forwarded: "] {
            assert!(!text.contains(&format!("\r\n{ended}")), "{text}");
        }
    }
    assert!(heard_again > 2_000);
}

#[test]
fn what_goes_back_is_heard_as_the_same() {
    let mut chance = Chance::new(14);
    let mut heard_again = 0;
    for round in 0..20_000 {
        let bytes = super::super::head::oracle_tests::random_response(&mut chance);
        let asked = Asked { head: round % 3 == 0, upgrade: round % 2 == 0 };
        let version = if round % 5 == 0 { Version::Http10 } else { Version::Http11 };
        let mut parser = ResponseParser::new();
        let Ok(Some(first)) = parser.parse(&bytes, &Limits::USUAL, asked) else { continue };
        let passage = Passage::of(&first, version, true, true);
        let mut out = Vec::new();
        response(&first, parser.fields(), &bytes, version, passage, &Back::default(), &mut out);
        let mut parser = ResponseParser::new();
        let second = parser.parse(&out, &Limits::USUAL, asked).expect("good").expect("whole");
        heard_again += 1;
        assert_eq!((second.len, second.status, second.kind), (out.len(), first.status, first.kind));
        let framing = match passage.out {
            Out::AsItCame => first.framing,
            Out::Chunks => Framing::Chunked,
            Out::Data => Framing::UntilClose,
        };
        assert_eq!(second.framing, framing);
        if first.kind == Kind::Final {
            assert_eq!(
                second.persistent,
                passage.persistent && second.framing != Framing::UntilClose
            );
        }
    }
    assert!(heard_again > 2_000);
}
