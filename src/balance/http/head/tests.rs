//! Requests: what is heard and what is refused, whole and byte by byte.

use super::super::Wrong;
use super::{Framing, Limits, Method, Request, RequestParser, Version};

/// Heard as a whole, and one byte at a time; both must say the same.
pub fn request(bytes: &[u8], limits: &Limits) -> Result<Option<Request>, Wrong> {
    let mut at_once = RequestParser::new();
    let whole = at_once.parse(bytes, limits);
    let mut bit_by_bit = RequestParser::new();
    let mut last = Ok(None);
    for end in 0..=bytes.len() {
        last = bit_by_bit.parse(&bytes[..end], limits);
        if last != Ok(None) {
            break;
        }
    }
    assert_eq!(whole, last, "{:?}", String::from_utf8_lossy(bytes));
    if let Ok(Some(request)) = whole {
        assert_eq!(at_once.fields(), bit_by_bit.fields());
        assert!(request.len <= bytes.len());
    }
    whole
}

fn good(head: &str) -> Request {
    let heard = request(head.as_bytes(), &Limits::USUAL);
    heard.expect("it is well formed").unwrap_or_else(|| panic!("it is whole: {head:?}"))
}

#[track_caller]
fn refused(head: &[u8], wrong: Wrong) {
    let heard = request(head, &Limits::USUAL);
    assert_eq!(heard, Err(wrong), "{:?}", String::from_utf8_lossy(head));
}

/// A request with these lines behind the first.
#[track_caller]
fn refused_with(fields: &str, wrong: Wrong) {
    refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes(), wrong);
}

#[test]
fn a_request_is_taken_apart() {
    let head = "\r\nPOST /a/b?c=d HTTP/1.1\r\nhOsT:  Example.com:80\t \r\nContent-Length: 5\r\n\
                X-Empty:\r\nConnection: x-a\r\n\r\nhello";
    let request = good(head);
    let text = |span: super::Span| str::from_utf8(span.of(head.as_bytes())).expect("text");
    assert_eq!(request.len, head.len() - 5);
    assert_eq!(text(request.line), "POST /a/b?c=d HTTP/1.1");
    assert_eq!(text(request.method_name), "POST");
    assert_eq!(text(request.target), "/a/b?c=d");
    assert_eq!(request.host.map(text), Some("Example.com:80"));
    assert_eq!(
        (request.method, request.version, request.framing, request.persistent, request.hop_names),
        (Method::Post, Version::Http11, Framing::Length(5), true, true)
    );
    let mut parser = RequestParser::new();
    parser.parse(head.as_bytes(), &Limits::USUAL).expect("as above");
    let fields: Vec<_> = parser.fields().iter().map(|f| (text(f.name), text(f.value))).collect();
    let wanted = [
        ("hOsT", "Example.com:80"),
        ("Content-Length", "5"),
        ("X-Empty", ""),
        ("Connection", "x-a"),
    ];
    assert_eq!(fields, wanted);
}

#[test]
fn a_parser_hears_one_request_after_the_other() {
    // The first says all that can be said; nothing of it is left for the second.
    let one = "\r\nPUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close, x, upgrade\r\n\
               Upgrade: a\r\nExpect: 100-continue\r\n\r\n";
    let two = "\r\nGET /2 HTTP/1.1\r\nHost: b\r\nUpgrade: a\r\n\r\n";
    let both = format!("{one}{two}");
    let mut parser = RequestParser::new();
    let first = parser.parse(both.as_bytes(), &Limits::USUAL).expect("good").expect("whole");
    assert_eq!((first.len, first.upgrade, first.persistent), (one.len(), true, false));
    parser.clear();
    let rest = &both.as_bytes()[first.len..];
    let second = parser.parse(rest, &Limits::USUAL).expect("good").expect("whole");
    assert_eq!(Some(second), RequestParser::new().parse(rest, &Limits::USUAL).expect("good"));
    assert_eq!((second.framing, second.persistent), (Framing::Empty, true));
    assert!(!second.upgrade && !second.hop_names && !second.expects_continue);
    assert_eq!(parser.fields().len(), 2);
}

#[test]
fn an_idle_client_has_not_begun() {
    let mut parser = RequestParser::new();
    for (bytes, begun) in [(&b""[..], false), (b"\r", false), (b"\r\n", false), (b"\r\nG", true)] {
        assert_eq!(parser.parse(bytes, &Limits::USUAL), Ok(None));
        assert_eq!(parser.has_begun(), begun, "{bytes:?}");
    }
    parser.clear();
    assert!(!parser.has_begun());
}

#[test]
fn a_connection_goes_on_as_version_and_options_say() {
    for (version, options, goes_on) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: a\r\nConnection: b, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = good(&format!("GET / HTTP/{version}\r\nHost: a\r\n{options}\r\n"));
        assert_eq!(request.persistent, goes_on, "{version} {options}");
    }
}

#[test]
fn targets_have_four_forms_of_which_two_go_on() {
    let target = |line: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = good(&head);
        String::from_utf8_lossy(request.target.of(head.as_bytes())).into_owned()
    };
    assert_eq!(target("GET /"), "/");
    assert_eq!(target("OPTIONS *"), "*");
    assert_eq!(target("GET http://a/b?c"), "/b?c");
    assert_eq!(target("GET HTTP://A:80/b"), "/b");
    assert_eq!(target("GET https://a:443?c"), "?c");
    assert_eq!(target("OPTIONS http://a"), "");
    assert_eq!(target("GET //a/b"), "//a/b");
    assert_eq!(target("BREW /pot"), "/pot");
}

#[test]
fn of_an_absolute_target_the_authority_is_the_host() {
    let head = "GET http://A:80/ HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(good(head).host.map(|host| host.of(head.as_bytes())), Some(&b"A:80"[..]));
    let head = "GET http://b/ HTTP/1.0\r\n\r\n";
    assert_eq!(good(head).host.map(|host| host.of(head.as_bytes())), Some(&b"b"[..]));
    refused(b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Wrong::HostDiffers);
    refused(b"GET http://a:8080/ HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::HostDiffers);
    refused(b"GET http://a/ HTTP/1.1\r\n\r\n", Wrong::NoHost);
}

#[test]
fn bad_targets_are_refused() {
    for target in [
        "a",
        "*",
        "http://",
        "http:///a",
        "http://u@a/",
        "http://a,b/",
        "ftp://a/",
        "a:80",
        "http:/a",
        "/a#b",
        "http://a#b",
        "http://a:x/",
        "//[",
        "\\",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        match target {
            "//[" => drop(good(&head)),
            _ => refused(head.as_bytes(), Wrong::Target),
        }
    }
    refused(b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::Target);
    refused(b"GET /\ta HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::Target);
}

#[test]
fn a_request_line_is_three_words() {
    for line in [
        "GET /",
        "GET",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / a HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET / HTTP/1.1\t",
        "GET\t/ HTTP/1.1",
        "GET / HTTP /1.1",
        "GET / XTTP/1.1",
        "(GET) / HTTP/1.1",
        "GET / HTTP/11",
        "/ HTTP/1.1",
    ] {
        refused(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), Wrong::RequestLine);
    }
    refused(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::RequestLine);
}

#[test]
fn other_versions_are_505() {
    for version in ["2.0", "0.9", "1.2", "3.0", "0.0", "9.9"] {
        refused(format!("GET / HTTP/{version}\r\n\r\n").as_bytes(), Wrong::Version);
    }
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Wrong::Version);
    assert_eq!(Wrong::Version.status(), 505);
}

#[test]
fn connect_and_trace_are_405() {
    refused(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Wrong::MethodNotAllowed);
    refused(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::MethodNotAllowed);
    assert_eq!(good("connect / HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::Other);
}

#[test]
fn a_handshake_of_tls_is_refused_at_its_first_byte() {
    refused(b"\x16\x03\x01\x02", Wrong::Control);
}

#[test]
fn lines_end_with_both_bytes() {
    refused(b"GET / HTTP/1.1\nHost: a\n\n", Wrong::BareLf);
    refused(b"GET / HTTP/1.1\r\nHost: a\n\r\n", Wrong::BareLf);
    refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Wrong::BareLf);
    refused(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::BareLf);
    refused(b"GET / HTTP/1.1\rHost: a\r\n\r\n", Wrong::BareCr);
    refused(b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", Wrong::BareCr);
    refused(b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", Wrong::BareCr);
    refused(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Wrong::BareCr);
}

#[test]
fn control_characters_are_refused_everywhere() {
    for byte in (0..=31).chain([127]).filter(|byte| !b"\t\r\n".contains(byte)) {
        let at = char::from(byte);
        refused(format!("G{at}T / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), Wrong::Control);
        refused(format!("GET /{at} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), Wrong::Control);
        refused_with(&format!("A{at}: b"), Wrong::Control);
        refused_with(&format!("A: b{at}"), Wrong::Control);
    }
    good("GET / HTTP/1.1\r\nHost: a\r\nA: b\tc\u{e9}\r\n\r\n");
}

#[test]
fn folded_lines_are_refused() {
    refused_with("A: b\r\n c", Wrong::Fold);
    refused_with("A: b\r\n\tc", Wrong::Fold);
    refused_with("A: b\r\n ", Wrong::Fold);
    refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Wrong::Fold);
    refused_with("Transfer-Encoding:\r\n chunked", Wrong::Coding);
}

#[test]
fn white_space_before_a_colon_is_refused() {
    refused_with("Content-Length : 5", Wrong::SpaceBeforeColon);
    refused_with("Transfer-Encoding\t: chunked", Wrong::SpaceBeforeColon);
}

#[test]
fn bad_names_are_refused() {
    for line in
        ["no-colon", ": value", "A(b): c", "a/b: c", "a\u{e9}: b", "\"a\": b", "a=b", "a@b: c"]
    {
        refused_with(line, Wrong::FieldName);
    }
    refused_with("A B: c", Wrong::SpaceBeforeColon);
}

#[test]
fn a_length_is_one_number() {
    for value in
        ["+5", "-5", "0x5", "5.0", "5 5", "", "5,5", "5, 6", "\u{b2}", "9223372036854775808", "5;"]
    {
        refused_with(&format!("Content-Length: {value}"), Wrong::Length);
    }
    refused_with("Content-Length: 5\r\nContent-Length: 6", Wrong::SeveralLengths);
    refused_with("Content-Length: 5\r\nContent-Length: 5", Wrong::SeveralLengths);
    refused_with("Content-Length: 0\r\ncontent-length: 44", Wrong::SeveralLengths);
}

#[test]
fn length_and_coding_together_are_refused() {
    refused_with("Content-Length: 5\r\nTransfer-Encoding: chunked", Wrong::LengthAndCoding);
    refused_with("Transfer-Encoding: chunked\r\nContent-Length: 0", Wrong::LengthAndCoding);
}

#[test]
fn a_coding_is_one_chunked() {
    for value in [
        "",
        "xchunked",
        "chunked, chunked",
        "chunked, identity",
        ", chunked",
        "identity",
        "\"chunked\"",
        "chunked;a=b",
    ] {
        refused_with(&format!("Transfer-Encoding: {value}"), Wrong::Coding);
    }
    refused_with("Transfer-Encoding: \x0bchunked", Wrong::Control);
    refused_with("Transfer-Encoding: gzip, chunked", Wrong::UnknownCoding);
    refused_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Wrong::Coding);
    refused_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Wrong::Coding);
    assert_eq!(Wrong::UnknownCoding.status(), 501);
    let head = "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked \r\n\r\n";
    assert_eq!(good(head).framing, Framing::Chunked);
}

#[test]
fn a_coding_in_http10_is_refused() {
    let head = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(head, Wrong::CodingInHttp10);
}

#[test]
fn a_name_that_differs_by_an_underscore_is_refused_where_it_frames() {
    refused_with("Content_Length: 5", Wrong::Lookalike);
    refused_with("transfer_encoding: chunked", Wrong::Lookalike);
    good("GET / HTTP/1.1\r\nHost: a\r\nmy_field: 1\r\nX_Forwarded_For: 1.2.3.4\r\n\r\n");
}

#[test]
fn there_is_one_good_host() {
    refused(b"GET / HTTP/1.1\r\n\r\n", Wrong::NoHost);
    assert_eq!(good("GET / HTTP/1.0\r\n\r\n").host, None);
    refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Wrong::SeveralHosts);
    refused(b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", Wrong::SeveralHosts);
    for host in
        ["", "a b", "a,b", "a/b", "a@b", "a#b", "a?b", "a:b", "a\\b", "http://a", "[::1", "a:80:80"]
    {
        refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), Wrong::Host);
    }
}

#[test]
fn what_is_expected_is_100_continue() {
    let head = |version: &str, body: &str| {
        good(&format!("PUT / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\n{body}\r\n"))
    };
    assert!(head("1.1", "Content-Length: 1\r\n").expects_continue);
    assert!(head("1.1", "Transfer-Encoding: chunked\r\n").expects_continue);
    assert!(!head("1.0", "Content-Length: 1\r\n").expects_continue);
    assert!(!head("1.1", "").expects_continue);
    refused_with("Expect: 200-ok", Wrong::Expectation);
    refused_with("Expect: 100-continue, x", Wrong::Expectation);
    assert_eq!(Wrong::Expectation.status(), 417);
}

#[test]
fn another_protocol_is_asked_for_by_both_fields_and_without_a_body() {
    let upgrade =
        |fields: &str| good(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).upgrade;
    assert!(upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    assert!(upgrade("Connection: keep-alive, upgrade\r\nUpgrade: a, b/1\r\nContent-Length: 0\r\n"));
    assert!(!upgrade("Upgrade: websocket\r\n"));
    assert!(!upgrade("Connection: upgrade\r\n"));
    assert!(!upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"));
    assert!(!upgrade(
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"
    ));
    assert!(!upgrade("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"));
    assert!(!upgrade(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"
    ));
    assert!(!good("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade);
}

#[test]
fn connection_is_bounded() {
    refused_with(&format!("Connection: {}", "a,".repeat(33)), Wrong::Connection);
    refused_with("Connection: a b", Wrong::Connection);
}

#[test]
fn each_limit_has_its_status() {
    let limits = Limits { head: 100, line: 20, fields: 3 };
    let hear = |head: &str| request(head.as_bytes(), &limits);
    let line = |len: usize| format!("GET /{} HTTP/1.0\r\n", "a".repeat(len - 14));
    assert!(matches!(hear(&format!("{}\r\n", line(20))), Ok(Some(_))));
    assert_eq!(hear(&format!("{}\r\n", line(21))), Err(Wrong::LineTooLong));
    assert_eq!(hear(&"a".repeat(23)), Err(Wrong::LineTooLong));
    assert!(matches!(hear("GET / HTTP/1.0\r\na:\r\na:\r\na:\r\n\r\n"), Ok(Some(_))));
    let four = "GET / HTTP/1.0\r\na:\r\na:\r\na:\r\na:\r\n\r\n";
    assert_eq!(hear(four), Err(Wrong::TooManyFields));
    // The line, the field's name, colon and CRLF, the last CRLF.
    let long = |len: usize| format!("GET / HTTP/1.0\r\na:{}\r\n\r\n", "b".repeat(len - 16 - 4 - 2));
    assert!(matches!(hear(&long(100)), Ok(Some(_))));
    assert_eq!(hear(&long(101)), Err(Wrong::HeadTooLong));
    assert_eq!(hear(&long(1_000)), Err(Wrong::HeadTooLong));
    let statuses =
        [Wrong::LineTooLong, Wrong::HeadTooLong, Wrong::TooManyFields].map(Wrong::status);
    assert_eq!(statuses, [414, 431, 431]);
}

#[test]
fn what_comes_first_is_told_first() {
    // However it is cut: the line is bad before it is too long.
    let limits = Limits { head: 100, line: 20, fields: 3 };
    let head = format!("GET /\0{} HTTP/1.0\r\n\r\n", "a".repeat(200));
    assert_eq!(request(head.as_bytes(), &limits), Err(Wrong::Control));
}

#[test]
fn a_head_that_comes_byte_by_byte_is_looked_at_once() {
    // 30 KB in 30,000 pieces: parsed anew each time this would be 450 million bytes.
    let head = format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "b".repeat(30_000));
    let mut parser = RequestParser::new();
    let heard = (0..=head.len()).find_map(|end| {
        parser.parse(&head.as_bytes()[..end], &Limits::USUAL).expect("it is well formed")
    });
    assert_eq!(heard.map(|request| request.len), Some(head.len()));
}
