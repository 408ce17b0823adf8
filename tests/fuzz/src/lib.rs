//! What must hold of any bytes: nothing panics, nothing depends on how they are cut, what is accepted httparse accepts
//! alike, and what goes on is heard again as the same. A few bytes at the front choose limits and cuts.

extern crate alloc;

// These rooms alone, so that nothing else is built, nor watched by the fuzzer.
#[path = "../../../src/balance"]
pub mod balance {
    pub mod exchange;
    pub mod http;
}

use balance::exchange::{Bad, Exchange, Progress, Terms};
use balance::http;
use http::body::{Out, Relay, Then};
use http::head::{Asked, Field, Framing, Kind, Limits, RequestParser, ResponseParser, Version};
use http::rewrite::{self, Back, Forwarded, Onward, Passage};
use http::{Wrong, cookie, proxy_protocol};

pub type Target = fn(&[u8]);

pub const TARGETS: [(&str, Target); 5] = [
    ("request", request),
    ("response", response),
    ("body", body),
    ("proxy", proxy),
    ("exchange", exchange),
];

/// The first bytes choose.
struct Choice<'a> {
    first: [u8; 4],
    rest: &'a [u8],
    turn: usize,
}

impl<'a> Choice<'a> {
    fn of(bytes: &'a [u8]) -> Option<Choice<'a>> {
        let (first, rest) = bytes.split_first_chunk()?;
        Some(Choice { first: *first, rest, turn: 0 })
    }

    /// How long the next piece is.
    fn cut(&mut self) -> usize {
        self.turn += 1;
        1 + usize::from(self.first[self.turn % 4]) % 31
    }

    fn limits(&self) -> Limits {
        match self.first[0] {
            small @ 0..20 => Limits {
                head: 20 + u32::from(small) * 8,
                line: 10 + u32::from(small) * 4,
                fields: u16::from(small) / 4,
            },
            _ => Limits::USUAL,
        }
    }
}

fn same_fields(ours: &[Field], bytes: &[u8], theirs: &[httparse::Header<'_>]) {
    assert_eq!(ours.len(), theirs.len());
    for (our, their) in ours.iter().zip(theirs) {
        assert_eq!(our.name.of(bytes), their.name.as_bytes());
        assert_eq!(our.value.of(bytes), their.value);
    }
}

/// Hears in pieces what `hear` hears.
fn in_pieces<T>(
    choice: &mut Choice<'_>,
    mut hear: impl FnMut(&[u8]) -> Result<Option<T>, Wrong>,
) -> Result<Option<T>, Wrong> {
    let mut end = 0;
    loop {
        let heard = hear(&choice.rest[..end]);
        if !matches!(heard, Ok(None)) || end == choice.rest.len() {
            return heard;
        }
        end = (end + choice.cut()).min(choice.rest.len());
    }
}

pub fn request(bytes: &[u8]) {
    let Some(mut choice) = Choice::of(bytes) else { return };
    let (limits, bytes) = (choice.limits(), choice.rest);
    let mut parser = RequestParser::new();
    let whole = parser.parse(bytes, &limits);
    let mut pieces = RequestParser::new();
    assert_eq!(in_pieces(&mut choice, |so_far| pieces.parse(so_far, &limits)), whole);
    let Ok(Some(heard)) = whole else { return };
    assert_eq!(parser.fields(), pieces.fields());

    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut oracle = httparse::Request::new(&mut fields);
    assert_eq!(oracle.parse(bytes), Ok(httparse::Status::Complete(heard.len)));
    same_fields(parser.fields(), bytes, oracle.headers);
    let _ = cookie::get(parser.fields(), bytes, "a");

    let forwarded = match choice.first[1] % 3 {
        0 => Forwarded::Set,
        1 => Forwarded::Append,
        _ => Forwarded::Drop,
    };
    let onward = Onward {
        forwarded,
        client: "192.0.2.7",
        https: choice.first[2] % 2 == 0,
        via: (choice.first[2] % 3 == 0).then_some("fd3"),
        prefix: if choice.first[3] % 2 == 0 { "/pre" } else { "" },
        host: "b:80",
    };
    let mut out = Vec::new();
    rewrite::request(&heard, parser.fields(), bytes, &onward, &mut out);
    let roomy = Limits { head: u32::MAX, line: u32::MAX, fields: u16::MAX };
    let mut parser = RequestParser::new();
    let again = parser.parse(&out, &roomy).expect("well formed").expect("whole");
    assert_eq!(again.len, out.len());
    assert_eq!(
        (again.method, again.framing, again.upgrade),
        (heard.method, heard.framing, heard.upgrade)
    );
    let host = heard.host.map_or(&b"b:80"[..], |host| host.of(bytes));
    assert_eq!(again.host.map(|host| host.of(&out)), Some(host));
    assert!(again.target.of(&out).ends_with(heard.target.of(bytes)));
}

pub fn response(bytes: &[u8]) {
    let Some(mut choice) = Choice::of(bytes) else { return };
    let (limits, bytes) = (choice.limits(), choice.rest);
    let asked = Asked { head: choice.first[1] % 4 == 0, upgrade: choice.first[1] % 2 == 0 };
    let mut parser = ResponseParser::new();
    let whole = parser.parse(bytes, &limits, asked);
    let mut pieces = ResponseParser::new();
    assert_eq!(in_pieces(&mut choice, |so_far| pieces.parse(so_far, &limits, asked)), whole);
    let Ok(Some(heard)) = whole else { return };
    assert_eq!(parser.fields(), pieces.fields());

    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut oracle = httparse::Response::new(&mut fields);
    assert_eq!(oracle.parse(bytes), Ok(httparse::Status::Complete(heard.len)));
    assert_eq!(oracle.code, Some(heard.status));
    same_fields(parser.fields(), bytes, oracle.headers);

    let version = if choice.first[2] % 2 == 0 { Version::Http11 } else { Version::Http10 };
    let passage = Passage::of(&heard, version, true, choice.first[3] % 2 == 0);
    let mut out = Vec::new();
    let back = Back { via: Some("fd3"), cookie: Some("a=b") };
    rewrite::response(&heard, parser.fields(), bytes, version, passage, &back, &mut out);
    let roomy = Limits { head: u32::MAX, line: u32::MAX, fields: u16::MAX };
    let mut parser = ResponseParser::new();
    let again = parser.parse(&out, &roomy, asked).expect("well formed").expect("whole");
    assert_eq!((again.len, again.status, again.kind), (out.len(), heard.status, heard.kind));
    let framing = match passage.out {
        Out::AsItCame => heard.framing,
        Out::Chunks => Framing::Chunked,
        Out::Data => Framing::UntilClose,
    };
    assert_eq!(again.framing, framing);
}

/// What is written for a body, how much of the input it was, and how much data.
type Passed = Result<(Vec<u8>, usize, u64), Wrong>;

fn pass(framing: Framing, out: Out, input: &[u8], mut cut: impl FnMut() -> usize) -> Passed {
    let mut relay = Relay::new(framing, out, 1 << 40)?;
    let (mut written, mut used, mut end) = (Vec::new(), 0, 0);
    loop {
        let step = relay.step(&input[used..end])?;
        written.extend_from_slice(step.before.as_bytes());
        written.extend_from_slice(&input[used..used + step.pass]);
        written.extend_from_slice(step.after);
        used += step.pass + step.skip;
        assert!(used <= end);
        if step.then == Then::End {
            break;
        }
        if used == end {
            if end == input.len() {
                relay.closed()?;
                break;
            }
            end = (end + cut()).min(input.len());
        } else {
            assert!(step.pass + step.skip > 0, "it goes on");
        }
    }
    assert!(relay.is_over());
    written.extend_from_slice(relay.tail());
    Ok((written, used, relay.data()))
}

pub fn body(bytes: &[u8]) {
    let Some(mut choice) = Choice::of(bytes) else { return };
    let input = choice.rest;
    let framing = match choice.first[0] % 4 {
        0 => Framing::Length(u64::from(choice.first[1]) * 4),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let data = pass(framing, Out::Data, input, || usize::MAX / 2);
    for out in [Out::AsItCame, Out::Data, Out::Chunks] {
        let cut = pass(framing, out, input, || choice.cut());
        let (Ok(data), Ok(cut)) = (&data, &cut) else {
            assert_eq!(data.as_ref().err(), cut.as_ref().err());
            continue;
        };
        assert_eq!((data.1, data.2), (cut.1, cut.2));
        // What was written is a body of its own, with the same data in it.
        let framed = match out {
            Out::Data => Framing::UntilClose,
            Out::Chunks => Framing::Chunked,
            Out::AsItCame => framing,
        };
        let again = pass(framed, Out::Data, &cut.0, || 7).expect("well framed");
        assert_eq!((&again.0, again.1), (&data.0, cut.0.len()));
    }
}

pub fn proxy(bytes: &[u8]) {
    let Some(mut choice) = Choice::of(bytes) else { return };
    let whole = proxy_protocol::hear(choice.rest);
    assert_eq!(in_pieces(&mut choice, proxy_protocol::hear), whole);
    let Ok(Some(header)) = whole else { return };
    assert!(header.len <= choice.rest.len().min(proxy_protocol::MAX));
    for write in [proxy_protocol::write_v1, proxy_protocol::write_v2] {
        let mut out = Vec::new();
        write(header.source, &mut out);
        let again = proxy_protocol::hear(&out).expect("well formed").expect("whole");
        assert_eq!((again.len, again.source), (out.len(), header.source));
    }
}

/// Between what the client says and what the backend does.
const TURN: &[u8] = b"\n--\n";

/// A client and a backend that speak in pieces, in any order. What the backend gets is one request and nothing more,
/// and what the client gets is one answer and nothing more; neither looks whole before it is.
pub fn exchange(bytes: &[u8]) {
    let Some(mut choice) = Choice::of(bytes) else { return };
    let Some(at) = choice.rest.windows(TURN.len()).position(|here| here == TURN) else { return };
    let (mut request, mut answer) = (&choice.rest[..at], &choice.rest[at + TURN.len()..]);
    let onward = Onward {
        forwarded: Forwarded::Set,
        client: "192.0.2.7",
        https: false,
        via: None,
        prefix: "",
        host: "b:80",
    };
    let terms = Terms { keep: choice.first[0] % 2 == 0, via: None };
    let mut exchange = Exchange::default();
    let (mut to_backend, mut to_client) = (Vec::new(), Vec::new());
    let mut progress = Ok(Progress::More);
    while progress == Ok(Progress::More) && (!request.is_empty() || !answer.is_empty()) {
        let len = choice.cut();
        let has_asked = exchange.request().is_some();
        if !has_asked && request.is_empty() {
            return;
        }
        let is_clients = !has_asked || answer.is_empty() || choice.first[choice.turn % 4] % 2 == 0;
        if is_clients && !request.is_empty() {
            let part;
            (part, request) = request.split_at(len.min(request.len()));
            let heard = if has_asked {
                exchange.upload(part, &mut to_backend).map(|()| false)
            } else {
                exchange.hear(part, &Limits::USUAL)
            };
            let begun = match heard {
                Ok(true) => exchange.begin(&onward, 1 << 40, &mut to_backend),
                Ok(false) => Ok(()),
                Err(wrong) => Err(wrong),
            };
            if begun.is_err() {
                break;
            }
            if choice.turn % 7 == 0 && exchange.may_be_sent_again(false) {
                to_backend.clear();
                exchange.begin(&onward, 1 << 40, &mut to_backend).expect("as before");
            }
        } else {
            let part;
            (part, answer) = answer.split_at(len.min(answer.len()));
            progress = exchange.answer(part, &terms, &mut to_client);
        }
    }
    if progress == Ok(Progress::More) && answer.is_empty() {
        progress = exchange.answer_ended(&mut to_client);
    }
    backend_got(&exchange, &to_backend);
    client_got(&exchange, progress, &to_client);
}

fn backend_got(exchange: &Exchange, bytes: &[u8]) {
    let Some(meant) = exchange.request() else { return assert!(bytes.is_empty()) };
    let roomy = Limits { head: u32::MAX, line: u32::MAX, fields: u16::MAX };
    let heard = RequestParser::new().parse(bytes, &roomy).expect("well formed");
    let Some(heard) = heard else { return assert!(!exchange.is_sent()) };
    assert_eq!((heard.framing, heard.method), (meant.framing, meant.method));
    let (is_over, used) = whole(heard.framing, &bytes[heard.len..]);
    assert_eq!(used, bytes.len() - heard.len, "nothing behind the request");
    assert!(is_over || !exchange.is_sent());
}

fn client_got(exchange: &Exchange, progress: Result<Progress, Bad>, mut bytes: &[u8]) {
    let Some(request) = exchange.request() else { return assert!(bytes.is_empty()) };
    let roomy = Limits { head: u32::MAX, line: u32::MAX, fields: u16::MAX };
    let answer = loop {
        let heard = ResponseParser::new().parse(bytes, &roomy, Asked::by(request));
        let Some(heard) = heard.expect("well formed") else {
            assert!(bytes.is_empty() && progress != Ok(Progress::Over));
            return;
        };
        bytes = &bytes[heard.len..];
        match heard.kind {
            Kind::Interim => assert_eq!(request.version, Version::Http11),
            Kind::Switch => return assert!(progress == Ok(Progress::Tunnel)),
            Kind::Final => break heard,
        }
    };
    let (is_over, used) = whole(answer.framing, bytes);
    assert_eq!(used, bytes.len(), "nothing behind the answer");
    let by_closing = answer.framing == Framing::UntilClose;
    assert_eq!(is_over, by_closing || progress == Ok(Progress::Over));
    if progress == Err(Bad::CutShort) && by_closing {
        assert!(exchange.ends_by_closing(), "the end must not look like one");
    }
}

/// Whether a body is over, and how many bytes are of it.
fn whole(framing: Framing, bytes: &[u8]) -> (bool, usize) {
    let mut relay = Relay::new(framing, Out::Data, u64::MAX).expect("any length");
    let mut used = 0;
    loop {
        let step = relay.step(&bytes[used..]).expect("well framed");
        used += step.pass + step.skip;
        if step.then == Then::End || step.pass + step.skip == 0 {
            break;
        }
    }
    (relay.closed().is_ok(), used)
}
