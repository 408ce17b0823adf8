//! What versions do with one another's fields, and that no bytes do harm.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use super::*;
use crate::plan::{Backoff, Readiness, Rules, Surge};
use crate::protocol::address::{Address, Listen, parse};
use crate::supervisor::{Actions, Event, Supervisor};
use crate::units::{Millis, Pid, SlotId};

/// A version, and the next one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct One {
    number: u32,
    words: Vec<String>,
}
group!(One, One::default(), { needed 1 number, extra 2 words });

#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Two {
    number: u32,
    words: Vec<String>,
    must: Option<u64>,
    may: String,
}
group!(Two, Two::default(), { needed 1 number, extra 2 words, extra 3 must, hint 4 may });

fn moved<A: Carry, B: Carry>(mut from: A) -> Result<B, String> {
    read(&write(&mut from).expect("it is small")).map_err(|wrong| wrong.to_string())
}

#[test]
fn versions_understand_what_they_can() {
    let one = One { number: 7, words: vec!["a".into(), String::new(), "ü".into()] };
    let two = Two { number: 7, words: one.words.clone(), must: None, may: String::new() };
    assert_eq!(moved(one.clone()), Ok(two.clone()));
    assert_eq!(moved(two.clone()), Ok(one.clone()));
    let hinted = Two { may: "x".into(), ..two.clone() };
    assert_eq!(moved(hinted.clone()), Ok(one));
    assert_eq!(moved(hinted.clone()), Ok(hinted));
    // Even nothing is something.
    let must = Two { must: Some(0), ..two };
    assert_eq!(moved(must.clone()), Ok(must.clone()));
    let said = "it needs what this version cannot do yet, field 3";
    assert_eq!(moved::<_, One>(must.clone()), Err(said.into()));
    let nested: Result<Vec<One>, _> = moved(vec![must]);
    assert_eq!(nested, Err(said.into()));
    let lacks = write(&mut Vec::<u8>::new()).expect("it is small");
    let lacks = read::<One>(&lacks).map_err(|wrong| wrong.to_string());
    assert_eq!(lacks, Err("it lacks field 1".into()));
}

#[test]
fn what_is_not_there_is_blank_whatever_was_there_before() {
    let notify = Readiness::Notify(None);
    assert_eq!(moved(notify), Ok(notify));
    let (alive, signal) = (Readiness::Alive(Millis(0)), Readiness::Signal(Some(Millis(5))));
    assert_eq!((moved(alive), moved(signal)), (Ok(alive), Ok(signal)));
    assert_eq!(
        (moved(Surge::All), moved(Surge::AtMost(0))),
        (Ok(Surge::All), Ok(Surge::AtMost(0)))
    );
    for number in [0, 1, 255, 256, u64::MAX] {
        assert_eq!((moved(number), moved(Some(number))), (Ok(number), Ok(Some(number))));
    }
    assert_eq!((moved(-1), moved(Pid(-7))), (Ok(-1), Ok(Pid(-7))));
    assert_eq!(moved(None::<u64>), Ok(None::<u64>));
    let too_large: Result<u32, _> = moved(1_u64 << 32);
    assert!(too_large.is_err());
}

#[test]
fn the_head_tells_who_may_read_on() {
    let bytes = write(&mut One::default()).expect("it is small");
    let said = |bytes: &[u8]| read::<One>(bytes).map_err(|wrong| wrong.to_string());
    assert_eq!(said(&bytes), Ok(One::default()));
    assert_eq!(said(b"#!/bin/sh\n"), Err("it is no handover of fd3's".into()));
    assert_eq!(said(b""), Err("it is no handover of fd3's".into()));
    assert!(said(&bytes[..11]).is_err());
    let with = |place: usize, value: u8| {
        let mut other = bytes.clone();
        other[place] = value;
        said(&other)
    };
    // A later version, which this one may read, may not, and one that is too old.
    assert_eq!(with(8, 9), Ok(One::default()));
    assert_eq!(with(10, 2), Err("it is of a version that came later".into()));
    assert_eq!(with(8, 0), Err("it is of a version that is too old".into()));
}

#[test]
fn addresses_come_as_they_went() {
    for text in [
        ":80",
        "127.0.0.1:0",
        "[::1]:80,v6only,name=web,backlog=7",
        "tcp6://[fe80::1%eth0]:80",
        "udp://[fe80::1%3]:53,reuseport",
        "unix:/run/x,mode=0600,user=www,group=7",
        "unix:@abstract",
        "seqpacket:/x",
        "unixgram:/x",
        "vsock://any:5000",
        "fd:7",
        "fd:web",
    ] {
        let listen = parse(text.as_bytes()).expect(text);
        assert_eq!(moved(listen.clone()), Ok(listen), "{text}");
    }
    let raw = parse(b"unix:/run/\xff\xfe").expect("a path is bytes");
    assert_eq!(moved(raw.clone()), Ok(raw));
    let odd: Result<Address, _> = moved(One { number: 9, words: Vec::new() });
    assert!(odd.is_err());
}

/// One with workers in several states.
fn busy() -> Supervisor {
    let rules = Rules {
        readiness: Readiness::Alive(Millis(100)),
        backoff: Backoff { min: Millis(50), max: Millis(500) },
        ..Rules::blank()
    };
    let (mut supervisor, mut actions) = (Supervisor::new(rules, 3, 7), Actions::new());
    let mut tell = |at, event| supervisor.handle(Millis(at), event, &mut actions);
    tell(0, Event::Begin);
    for slot in 0..3 {
        tell(1, Event::Spawned { slot: SlotId(slot), pid: Pid(10 + slot as i32) });
    }
    tell(150, Event::TimePassed);
    let status = crate::supervisor::Status::Exited(1);
    tell(200, Event::Exited { pid: Pid(11), status });
    tell(201, Event::ReloadAsked { asker: Some(crate::units::Asker(5)) });
    supervisor
}

#[test]
fn a_supervisor_goes_on_where_another_one_was() {
    let mut former = busy();
    let bytes = write(&mut former).expect("it is small");
    let mut next: Supervisor = read(&bytes).expect("it is understood");
    assert_eq!(format!("{next:?}"), format!("{former:?}"));
    assert_eq!(write(&mut next), Ok(bytes));
}

#[test]
fn no_bytes_do_harm() {
    let whole = write(&mut busy()).expect("it is small");
    for end in 0..whole.len() {
        assert!(read::<Supervisor>(&whole[..end]).is_err(), "cut at {end}");
    }
    // xorshift: the same each time.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    let mut understood = 0;
    for _ in 0..3_000 {
        let mut other = whole.clone();
        for _ in 0..1 + next(8) {
            let place = HEAD + next(other.len() - HEAD);
            other[place] = next(256) as u8;
        }
        understood += u32::from(read::<Supervisor>(&other).is_ok());
        let noise: Vec<u8> = (0..next(200)).map(|_| next(256) as u8).collect();
        let noise = [&whole[..HEAD], &noise].concat();
        let _ = (read::<Supervisor>(&noise), read::<Listen>(&noise), read::<Vec<String>>(&noise));
    }
    // Times and the like may be anything.
    assert!(understood > 0);
}

#[test]
fn answers_are_heard_as_they_were_given() {
    let heard = |line: String| answer::heard(line.as_bytes());
    assert_eq!(heard(answer::yes("0.2.0")), Some(Ok("0.2.0".into())));
    assert_eq!(heard(answer::no("field 3\nis odd")), Some(Err("field 3 is odd".into())));
    let long = heard(answer::no(&"é".repeat(400)));
    assert!(long.is_some_and(|why| why.is_err_and(|why| why.starts_with("éé"))));
    assert!(answer::no(&"é".repeat(400)).len() <= answer::ANSWER_MAX + 1);
    for line in ["", "fd3 understands 0.2.0", "hello\n", "fd3 0.1.0\n"] {
        assert_eq!(answer::heard(line.as_bytes()), None, "{line}");
    }
}
