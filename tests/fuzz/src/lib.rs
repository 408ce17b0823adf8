//! What must hold of any bytes: nothing panics, nothing depends on how they are cut, what is accepted httparse accepts
//! alike, and what goes on is heard again as the same. A few bytes at the front choose limits and cuts.

extern crate alloc;

// The room alone, so that nothing else is built, nor watched by the fuzzer.
#[path = "../../../src/balance/http/mod.rs"]
pub mod http;

use http::body::{Out, Relay, Then};
use http::head::{Asked, Field, Framing, Limits, RequestParser, ResponseParser, Version};
use http::rewrite::{self, Back, Forwarded, Onward, Passage};
use http::{Wrong, cookie, proxy_protocol};

pub type Target = fn(&[u8]);

pub const TARGETS: [(&str, Target); 4] =
    [("request", request), ("response", response), ("body", body), ("proxy", proxy)];

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
