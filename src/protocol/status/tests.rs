//! What is told, word for word: tests/golden/status.txt and status.json. After a change that is meant:
//! `FD3_BLESS=1 cargo test --lib status`, and a look at the difference.

use super::*;
use crate::units::{Generation, Signal};
use alloc::vec::Vec;

const fn worker(pid: i32, role: Role, state: WorkerState, generation: u32, age: u64) -> WorkerView {
    let (pid, generation, age) = (Pid(pid), Generation(generation), Millis(age));
    WorkerView { pid, role, state, generation, age }
}

fn said(memory: u64, said: &str) -> More {
    More { memory: Some(memory), said: said.to_string() }
}

/// Of each state one slot.
fn slots_of_all_kinds() -> Vec<(SlotView, Past, Vec<More>)> {
    let last = |status, ago| Some(LastEnd { status, ago: Millis(ago) });
    let never = Past::default();
    let of = |state, workers: &[WorkerView]| SlotView { state, workers: workers.to_vec() };
    let holder = worker(4_194_304, Role::Holder, WorkerState::Ready, 12, 18_720_000);
    let former = worker(4242, Role::Leaving, WorkerState::Draining, 11, 100_000_000);
    let newcomer = worker(4243, Role::Newcomer, WorkerState::Starting, 12, 40);
    let killed = worker(77, Role::Leaving, WorkerState::Killed, 9, 3_600_000);
    let crashed =
        Past { restarts: 1_000, last: last(Some(Status::Killed(Signal(44))), 86_000_000) };
    let (exited, never_was) = (last(Some(Status::Exited(3)), 200), last(None, 60_000));
    let (long, odd) = ("long ".repeat(40), "\"odd\" \\ \u{1b}[2J é\u{7f}");
    Vec::from([
        (
            of(SlotState::Held, &[holder, former]),
            crashed,
            Vec::from([said(12_900_000, "Processing requests"), said(u64::MAX, &long)]),
        ),
        (
            of(SlotState::Held, &[former, newcomer]),
            never,
            Vec::from([said(1023, odd), More::default()]),
        ),
        (
            of(SlotState::Resting(Millis(29_900)), &[]),
            Past { restarts: 7, last: exited },
            Vec::new(),
        ),
        (of(SlotState::Vacant, &[]), Past { restarts: 1, last: never_was }, Vec::new()),
        (of(SlotState::Vacant, &[newcomer]), never, Vec::from([More::default()])),
        (of(SlotState::Waiting, &[]), never, Vec::new()),
        (of(SlotState::Ended, &[]), Past { restarts: 0, last: exited }, Vec::new()),
        (of(SlotState::Gone, &[killed]), never, Vec::from([said(1024, "")])),
    ])
}

fn told(form: Form, course: Course) -> String {
    let mut out = String::new();
    let overview =
        Overview { course, generation: Generation(11), workers: 7, ready: 1, waiting: 0 };
    let (version, uptime) = ("0.1.0", Millis(187_200_000));
    let long = format!("unix:/run/{}", "x".repeat(100));
    let listeners = [
        ("web", "tcp://[::]:8080", Some((3, 4096))),
        ("unknown", "udp://[::]:53", None),
        ("full", "unix:@full", Some((129, 128))),
        ("half", &long, Some((64, 128))),
        ("odd\u{1b}\"", "unix:/a\nb", Some((u32::MAX, u32::MAX))),
    ];
    let command = ["/app", "--name", "a \"b\"\n", &"x".repeat(80)].map(str::to_string);
    let why = Some("operation not permitted, which is a pity and a long story to tell");
    let spread = SpreadLine { steering: Some("cbpf"), why };
    let first = Head { version, pid: Pid(812), uptime, overview, command: &command, spread };
    head(form, &first, listeners.len(), &mut out);
    for (nth, (name, address, queue)) in listeners.into_iter().enumerate() {
        let slot = (nth < 2).then_some(SlotId(1023));
        let line = ListenerLine { fd: 3 + nth, name, address, slot, queue };
        listener(form, nth, &line, &mut out);
    }
    slots(form, &mut out);
    for (nth, (view, past, more)) in slots_of_all_kinds().iter().enumerate() {
        slot(form, nth, (SlotId(nth as u32), view), *past, more, &mut out);
    }
    tail(form, &mut out);
    out
}

fn is_golden(name: &str, told: &str, golden: &str) {
    if std::env::var_os("FD3_BLESS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        std::fs::write(path.join(name), told).expect("the sources can be written to");
    } else {
        assert_eq!(told, golden, "see tests/golden/{name}");
    }
}

#[test]
fn a_table_and_a_document_are_as_in_the_golden_files() {
    let reloading = Course::Reloading { generation: Generation(12), left: 3 };
    let table = told(Form::Table, reloading);
    is_golden("status.txt", &table, include_str!("../../../tests/golden/status.txt"));
    let json = told(Form::Json, reloading);
    is_golden("status.json", &json, include_str!("../../../tests/golden/status.json"));
    for line in table.lines() {
        assert!(line.chars().count() <= COLUMNS && !line.contains(char::is_control), "{line:?}");
    }
    assert_eq!((json.matches('\n').count(), json.contains(char::is_control)), (1, true));
}

#[test]
fn what_goes_on_is_told_in_the_first_line() {
    for (course, words, state) in [
        (Course::Running, "up 2d4h\n", "\"state\":\"running\""),
        (Course::Stopping, "up 2d4h, stopping\n", "\"state\":\"stopping\""),
    ] {
        let table = told(Form::Table, course);
        let first = format!("fd3 812, generation 11: 1 of 7 slots ready, {words}");
        assert!(table.starts_with(&first), "{table}");
        let json = told(Form::Json, course);
        assert!(json.contains(state) && json.contains("\"reload\":null"), "{json}");
    }
}

#[test]
fn nothing_is_told_of_nothing() {
    let (mut table, mut json) = (String::new(), String::new());
    let overview = Overview {
        course: Course::Running,
        generation: Generation(1),
        workers: 1,
        ready: 0,
        waiting: 0,
    };
    let command = ["/app".to_string()];
    let (pid, uptime) = (Pid(1), Millis(0));
    let spread = SpreadLine::default();
    let first = Head { version: "0.1.0", pid, uptime, overview, command: &command, spread };
    for (form, out) in [(Form::Table, &mut table), (Form::Json, &mut json)] {
        head(form, &first, 0, out);
        slots(form, out);
        tail(form, out);
    }
    let header = "SLOT PID     GEN  STATE    AGE      RESTARTS MEMORY LAST END";
    let first = "fd3 1, generation 1: 0 of 1 slots ready, up 0ms\nCOMMAND      /app\n";
    assert_eq!(table, format!("{first}{header}\nok\n"));
    assert!(json.ends_with("\"listeners\":[],\"slots\":[]}\n"), "{json}");
}

#[test]
fn memory_is_told_in_five_characters() {
    for (bytes, told) in [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (102_399, "99.9K"),
        (102_400, "100K"),
        (1_048_575, "1023K"),
        (1 << 20, "1.0M"),
        (12_900_000, "12.3M"),
        (u64::MAX, "1677721T"),
    ] {
        assert_eq!(in_units(bytes), told, "{bytes}");
    }
}

#[test]
fn what_is_wrong_is_red_and_nothing_else_is_touched() {
    let row = |state: &str| format!("0    4242    3    {state:<8} 5h12m    0        12.3M  -");
    for (state, colour) in [
        ("ready", Some(32)),
        ("starting", Some(33)),
        ("draining", Some(33)),
        ("backoff", Some(31)),
        ("killed", Some(31)),
        ("waiting", None),
        ("readyish", None),
    ] {
        let line = row(state);
        let expected = match colour {
            Some(colour) => line.replacen(state, &format!("\x1b[{colour}m{state}\x1b[0m"), 1),
            None => line.clone(),
        };
        assert_eq!(coloured(&line), expected);
    }
    for (line, expected) in [
        ("4096/4096    tcp://:80", "\x1b[31m4096/4096\x1b[0m    tcp://:80"),
        ("64/128       unix:@x", "\x1b[33m64/128\x1b[0m       unix:@x"),
        ("63/128       unix:@x", "63/128       unix:@x"),
        ("-            udp://:53", "-            udp://:53"),
        ("     0 says  ready ready", "     0 says  ready ready"),
        ("0", "0"),
        ("é/é é", "é/é é"),
        ("0 ééééééééééééééééé", "0 ééééééééééééééééé"),
        ("", ""),
    ] {
        assert_eq!(coloured(line), expected);
    }
}
