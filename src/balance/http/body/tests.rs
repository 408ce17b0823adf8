//! Bodies however they are cut, against a plain reading of the whole.

use super::super::Wrong;
use super::super::random_tests::Chance;
use super::reader::{CHUNK_MAX, EXTENSION_MAX, TRAILERS_MAX};
use super::{Framing, Out, Relay, Then};

/// What became of a body.
#[derive(PartialEq, Eq, Debug)]
struct Passed {
    written: Vec<u8>,
    /// Bytes of the input that were of the body.
    used: usize,
    data: u64,
}

/// Through a relay, in pieces that `cut` gives.
fn relay(
    framing: Framing,
    out: Out,
    max: u64,
    input: &[u8],
    mut cut: impl FnMut() -> usize,
) -> Result<Passed, Wrong> {
    let mut relay = Relay::new(framing, out, max)?;
    let mut written = Vec::new();
    let (mut used, mut end) = (0, 0);
    loop {
        let step = relay.step(&input[used..end])?;
        written.extend_from_slice(step.before.as_bytes());
        written.extend_from_slice(&input[used..used + step.pass]);
        written.extend_from_slice(step.after);
        used += step.pass + step.skip;
        assert!(used <= end, "it takes no more than there is");
        if step.then == Then::End {
            break;
        }
        if step.pass + step.skip == 0 || used == end {
            assert_eq!(used, end, "all is taken");
            if end == input.len() {
                relay.closed()?;
                break;
            }
            end = (end + cut().max(1)).min(input.len());
        }
    }
    assert!(relay.is_over());
    written.extend_from_slice(relay.tail());
    Ok(Passed { written, used, data: relay.data() })
}

/// At once, and byte by byte: the same.
#[track_caller]
fn pass(framing: Framing, out: Out, input: &[u8]) -> Result<Passed, Wrong> {
    let whole = relay(framing, out, u64::MAX, input, || usize::MAX / 2);
    let bytes = relay(framing, out, u64::MAX, input, || 1);
    if out == Out::Chunks {
        // One chunk for each piece: they differ in framing.
        let plain = |passed: &Passed| decode(&passed.written).map(|plain| plain.data);
        assert_eq!(whole.as_ref().map(plain), bytes.as_ref().map(plain));
    } else {
        assert_eq!(whole, bytes, "{:?}", String::from_utf8_lossy(input));
    }
    whole
}

#[track_caller]
fn refused(input: &str, wrong: Wrong) {
    for out in [Out::AsItCame, Out::Data, Out::Chunks] {
        assert_eq!(pass(Framing::Chunked, out, input.as_bytes()), Err(wrong), "{input:?}");
    }
}

/// A chunked body, read plainly.
#[derive(PartialEq, Eq, Debug)]
struct Plain {
    data: Vec<u8>,
    trailers: Vec<String>,
    len: usize,
    extensions: bool,
}

fn decode(bytes: &[u8]) -> Option<Plain> {
    let mut plain = Plain { data: Vec::new(), trailers: Vec::new(), len: 0, extensions: false };
    let line = |at: usize| -> Option<(&[u8], usize)> {
        let len = bytes.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        Some((&bytes[at..at + len], at + len + 2))
    };
    loop {
        let (size, next) = line(plain.len)?;
        let digits = size.split(|byte| *byte == b';').next()?;
        plain.extensions |= digits.len() < size.len();
        let digits = str::from_utf8(digits).ok()?;
        assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{digits}");
        let size = usize::from_str_radix(digits, 16).ok()?;
        plain.len = next;
        if size == 0 {
            break;
        }
        plain.data.extend_from_slice(bytes.get(next..next + size)?);
        assert_eq!(bytes.get(next + size..next + size + 2)?, b"\r\n");
        plain.len = next + size + 2;
    }
    loop {
        let (trailer, next) = line(plain.len)?;
        plain.len = next;
        if trailer.is_empty() {
            return Some(plain);
        }
        plain.trailers.push(String::from_utf8_lossy(trailer).into_owned());
    }
}

#[test]
fn a_length_is_passed_and_no_more() {
    let passed = pass(Framing::Length(5), Out::AsItCame, b"helloGET /").expect("good");
    assert_eq!(passed, Passed { written: b"hello".into(), used: 5, data: 5 });
    let nothing = Passed { written: vec![], used: 0, data: 0 };
    assert_eq!(pass(Framing::Length(0), Out::AsItCame, b"GET /"), Ok(nothing));
    assert_eq!(pass(Framing::Empty, Out::AsItCame, b"GET /").map(|passed| passed.used), Ok(0));
    assert_eq!(pass(Framing::Length(5), Out::AsItCame, b"hell"), Err(Wrong::Truncated));
}

#[test]
fn chunks_are_passed_as_they_are() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\nA\r\n0123456789\r\n0000\r\n\r\n",
        "1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n",
    ] {
        let passed = pass(Framing::Chunked, Out::AsItCame, format!("{body}GET /").as_bytes());
        let passed = passed.expect("good");
        assert_eq!((passed.written.as_slice(), passed.used), (body.as_bytes(), body.len()));
    }
}

#[test]
fn chunks_become_plain_data_and_plain_data_chunks() {
    let body = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\nrest";
    let passed = pass(Framing::Chunked, Out::Data, body).expect("good");
    assert_eq!((passed.written.as_slice(), passed.used), (&b"hello world"[..], body.len() - 4));
    let passed = pass(Framing::UntilClose, Out::Chunks, b"hello world").expect("good");
    assert_eq!(passed.written, b"b\r\nhello world\r\n0\r\n\r\n");
    let passed = pass(Framing::UntilClose, Out::Chunks, b"").expect("good");
    assert_eq!(passed.written, b"0\r\n\r\n");
    let passed = pass(Framing::UntilClose, Out::AsItCame, b"hello").expect("good");
    assert_eq!(passed.written, b"hello");
    let long = vec![b'x'; 0x1_2345];
    let passed = relay(Framing::UntilClose, Out::Chunks, u64::MAX, &long, || usize::MAX / 2);
    assert!(passed.expect("good").written.starts_with(b"12345\r\nxxx"));
}

#[test]
fn extensions_go_no_further() {
    for extension in [";a", ";a=b", ";a=\"b;\\\"c\"", ";;", "; a = b", ";\u{e9}"] {
        let body = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        let passed = pass(Framing::Chunked, Out::AsItCame, body.as_bytes()).expect("good");
        assert_eq!(passed.written, b"5\r\nhello\r\n0\r\n\r\n");
    }
}

#[test]
fn bad_extensions_are_refused() {
    refused("5;\nxx\r\nhello", Wrong::ChunkExtension);
    refused("5;a\nb\r\nhello", Wrong::ChunkExtension);
    refused("5;a\0\r\nhello", Wrong::ChunkExtension);
    refused("5;a=\"\r\nhello", Wrong::ChunkExtension);
    refused("5;a=\"\\\"\r\nhello", Wrong::ChunkExtension);
    refused("5;a\rb\r\nhello", Wrong::ChunkSize);
    let long = |len: u16| format!("0;{}\r\n\r\n", "a".repeat(usize::from(len) - 1));
    assert!(pass(Framing::Chunked, Out::AsItCame, long(EXTENSION_MAX).as_bytes()).is_ok());
    refused(&long(EXTENSION_MAX + 1), Wrong::ChunkExtension);
    let many = format!("1;{}\r\nx\r\n", "a".repeat(250)).repeat(70);
    refused(&many, Wrong::ChunkExtension);
}

#[test]
fn bad_sizes_are_refused() {
    for size in [
        "",
        " 5",
        "5 ",
        "+5",
        "-5",
        "0x5",
        "5\t",
        "g",
        "\r",
        "00000000000000005",
        "80000000",
        "ffffffffffffffff",
        "10000000000000000",
        "5 ;a",
        "5,5",
        "\u{b2}",
        "_5",
        "1_0",
    ] {
        refused(&format!("{size}\r\nhello\r\n0\r\n\r\n"), Wrong::ChunkSize);
    }
    refused("5\nhello\r\n0\r\n\r\n", Wrong::ChunkSize);
    refused("5\rhello\r\n0\r\n\r\n", Wrong::ChunkSize);
    refused("0\n\n", Wrong::ChunkSize);
    let whole = "0000000000000005\r\nhello\r\n0\r\n\r\n";
    assert!(pass(Framing::Chunked, Out::AsItCame, whole.as_bytes()).is_ok());
    let largest = format!("{CHUNK_MAX:x}\r\nhello");
    refused(&largest, Wrong::Truncated);
}

#[test]
fn a_chunk_ends_where_its_size_says() {
    refused("4\r\nhello\r\n0\r\n\r\n", Wrong::ChunkEnd);
    refused("5\r\nhello0\r\n\r\n", Wrong::ChunkEnd);
    refused("5\r\nhello\n0\r\n\r\n", Wrong::ChunkEnd);
    refused("5\r\nhello\r0\r\n\r\n", Wrong::ChunkEnd);
    refused("6\r\nhello\r\n0\r\n\r\n", Wrong::ChunkEnd);
}

#[test]
fn a_body_cut_short_is_no_body() {
    let body = "5\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for end in 0..body.len() {
        refused(&body[..end], Wrong::Truncated);
    }
}

#[test]
fn trailers_go_on_but_for_those_that_would_change_the_head() {
    let body = "1\r\nx\r\n0\r\nX-A: 1\r\nCookie: a\r\nAuthorization: b\r\nX-B:2\r\nx-forwarded-for: c\r\n\r\n";
    let passed = pass(Framing::Chunked, Out::AsItCame, body.as_bytes()).expect("good");
    assert_eq!(passed.written, b"1\r\nx\r\n0\r\nX-A: 1\r\nX-B:2\r\n\r\n");
    assert_eq!(passed.used, body.len());
    let passed = pass(Framing::Chunked, Out::AsItCame, b"0\r\nTE: a\r\n\r\n").expect("good");
    assert_eq!(passed.written, b"0\r\n\r\n");
}

#[test]
fn bad_trailers_are_refused() {
    for trailer in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: a",
        "content_length: 5",
        "no colon",
        " A: b",
        "A : b",
        ": b",
        "A: b\r\n c: d",
        "A: \0",
        "A: b\nC: d",
        "A: b\rC: d",
        "\n",
        "A: b\u{7f}",
    ] {
        refused(&format!("0\r\n{trailer}\r\n\r\n"), Wrong::Trailers);
    }
    refused("0\r\n\rX", Wrong::Trailers);
    refused("0\r\n\n", Wrong::Trailers);
    let long = |len: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(len - 6));
    assert!(pass(Framing::Chunked, Out::AsItCame, long(TRAILERS_MAX).as_bytes()).is_ok());
    refused(&long(TRAILERS_MAX + 1), Wrong::Trailers);
    refused(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(33)), Wrong::Trailers);
    refused(&format!("0\r\n{}\r\n", "Cookie: b\r\n".repeat(33)), Wrong::Trailers);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_passed() {
    assert!(Relay::new(Framing::Length(10), Out::AsItCame, 10).is_ok());
    assert_eq!(
        Relay::new(Framing::Length(11), Out::AsItCame, 10).map(drop),
        Err(Wrong::BodyTooLarge)
    );
    let chunked = |body: &str, max| {
        relay(Framing::Chunked, Out::AsItCame, max, body.as_bytes(), || 1).map(|passed| passed.data)
    };
    assert_eq!(chunked("5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", 10), Ok(10));
    assert_eq!(chunked("5\r\nhello\r\n6\r\nhello", 10), Err(Wrong::BodyTooLarge));
    let close = |max| relay(Framing::UntilClose, Out::AsItCame, max, b"hello", || 1).map(drop);
    assert_eq!((close(5), close(4)), (Ok(()), Err(Wrong::BodyTooLarge)));
    assert_eq!(Wrong::BodyTooLarge.status(), 413);
}

#[test]
fn what_went_unseen_counts() {
    for (framing, input, out) in [
        (Framing::Length(9), &b""[..], Out::AsItCame),
        (Framing::Chunked, b"9\r\n", Out::AsItCame),
        (Framing::Chunked, b"9\r\n", Out::Data),
    ] {
        let mut relay = Relay::new(framing, out, u64::MAX).expect("good");
        relay.step(input).expect("good");
        assert_eq!(relay.unseen(), 9);
        relay.went(4);
        assert_eq!(relay.unseen(), 5);
        relay.step(b"hell").expect("good");
        relay.went(1);
        assert_eq!((relay.unseen(), relay.data()), (0, 9));
        assert_eq!(relay.is_over(), framing == Framing::Length(9));
    }
    let relay = |out| Relay::new(Framing::UntilClose, out, u64::MAX).expect("good");
    assert_eq!((relay(Out::AsItCame).unseen(), relay(Out::Chunks).unseen()), (u64::MAX, 0));
}

fn random_body(chance: &mut Chance) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..chance.below(4) {
        let size = 1 + chance.below(40);
        let zeros = chance.pick(&["", "", "0", "000"]);
        let extension = chance.pick(&["", "", ";a", ";a=\"b\\\"\"", "; x=y;z"]);
        body.extend_from_slice(format!("{zeros}{size:X}{extension}\r\n").as_bytes());
        body.extend((0..size).map(|_| *b"\r\nab0;"[chance.below(6)..].first().expect("one")));
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(chance.pick(&["0\r\n", "000\r\n", "0;a=b\r\n"]).as_bytes());
    for _ in 0..chance.below(3) {
        body.extend_from_slice(chance.pick(&["X-A: b\r\n", "Cookie: a\r\n", "x:\r\n"]).as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    if chance.one_in(3) {
        chance.spoil(&mut body);
    }
    body.extend_from_slice(b"GET / HTTP/1.1\r\n");
    body
}

#[test]
fn random_bodies_at_random_cuts_are_what_a_plain_reading_finds() {
    let mut chance = Chance::new(12);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let body = random_body(&mut chance);
        for out in [Out::AsItCame, Out::Data, Out::Chunks] {
            let whole = pass(Framing::Chunked, out, &body);
            let cut = relay(Framing::Chunked, out, u64::MAX, &body, || chance.below(20));
            assert_eq!(whole.as_ref().err(), cut.as_ref().err());
            let (Ok(whole), Ok(cut)) = (whole, cut) else {
                bad += 1;
                continue;
            };
            good += 1;
            let plain = decode(&body).expect("what passed can be read");
            assert_eq!((whole.used, cut.used), (plain.len, plain.len));
            assert_eq!(whole.data, u64::try_from(plain.data.len()).expect("it fits"));
            for passed in [whole, cut] {
                let data = match out {
                    Out::Data => passed.written,
                    Out::AsItCame | Out::Chunks => {
                        let again = decode(&passed.written).expect("it is well framed");
                        assert_eq!(again.len, passed.written.len());
                        assert!(!again.extensions);
                        again.data
                    }
                };
                assert_eq!(data, plain.data);
            }
        }
    }
    assert!(good > 10_000 && bad > 2_000, "{good} {bad}");
}
