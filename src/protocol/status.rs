//! How things stand, as it is told on the control socket: a table for people that fits 80 columns, or one JSON
//! document on one line. In parts, as a whole one may be large: head, listeners, slots, tail.
//!
//! The JSON's members (README, "JSON") are never renamed or taken away, and keep their types; there may be more.

#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{Display, Write};

use super::log_line::escaped;
use super::signal_name;
use super::spread::SpreadLine;
use crate::supervisor::{
    Course, Overview, Role, SlotState, SlotView, Status, WorkerState, WorkerView,
};
use crate::units::{Millis, Pid, SlotId};

/// No line of the table is longer, in characters.
const COLUMNS: usize = 80;
/// Where a worker's state stands in its line.
const STATE: core::ops::Range<usize> = 18..27;
/// What a listener's line leaves for its queue.
const QUEUE: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub version: &'a str,
    pub pid: Pid,
    pub uptime: Millis,
    pub overview: Overview,
    /// What the generation that serves was started from, word by word.
    pub command: &'a [String],
    pub spread: SpreadLine<'a>,
}

#[derive(Clone, Copy, Debug)]
pub struct ListenerLine<'a> {
    pub fd: usize,
    pub name: &'a str,
    pub address: &'a str,
    /// Whose it is, where each slot has its own.
    pub slot: Option<SlotId>,
    /// How many wait, and how many may, where that can be told.
    pub queue: Option<(u32, u32)>,
}

/// What became of a slot's workers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Past {
    /// How often one was started again, reloads aside.
    pub restarts: u32,
    pub last: Option<LastEnd>,
}

/// One that nobody had asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastEnd {
    /// `None`: it could not be started.
    pub status: Option<Status>,
    pub ago: Millis,
}

/// What is known of a worker from elsewhere.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct More {
    /// In bytes.
    pub memory: Option<u64>,
    /// Its STATUS=; empty if it said none.
    pub said: String,
}

pub fn head(form: Form, head: &Head<'_>, listeners: usize, out: &mut String) {
    let Head { version, pid, uptime, overview, command, spread } = *head;
    let Overview { course, generation, workers, ready, waiting: _ } = overview;
    match form {
        Form::Table => {
            put(out, format_args!("fd3 {pid}, generation {generation}: {ready} of {workers} "));
            put(out, format_args!("slots ready, up {uptime}"));
            match course {
                Course::Running => {}
                Course::Reloading { generation, left } => {
                    put(out, format_args!(", reloading to {generation} ({left} left)"));
                }
                Course::Stopping => out.push_str(", stopping"),
            }
            put(out, format_args!("\nCOMMAND      {}\n", cut(&command.join(" "), COLUMNS - 13)));
            if spread.steering.is_some() {
                put(out, format_args!("SPREAD       {}\n", cut(&spread.words(), COLUMNS - 13)));
            }
            if listeners > 0 {
                out.push_str("QUEUE        LISTENER\n");
            }
        }
        Form::Json => {
            let (state, reload) = match course {
                Course::Running => ("running", None),
                Course::Reloading { generation, left } => ("reloading", Some((generation, left))),
                Course::Stopping => ("stopping", None),
            };
            let mut object = Object::new(out);
            object.text("version", Some(version)).number("pid", Some(&pid));
            object.number("uptime_ms", Some(&uptime.0)).text("state", Some(state));
            object.number("generation", Some(&generation));
            object.name("command").push('[');
            for (nth, word) in command.iter().enumerate() {
                quoted(word, next(nth, object.out));
            }
            object.out.push(']');
            match reload {
                Some((generation, left)) => {
                    let mut inner = Object::new(object.name("reload"));
                    inner.number("generation", Some(&generation)).number("slots_left", Some(&left));
                    inner.end();
                }
                None => object.name("reload").push_str("null"),
            }
            object.number("workers", Some(&workers)).number("ready", Some(&ready));
            let mut inner = Object::new(object.name("spread"));
            inner.text("mode", Some(spread.mode())).text("steering", spread.steering);
            inner.text("why", spread.why);
            inner.end();
            object.name("listeners").push('[');
        }
    }
}

/// `nth` from 0 on.
pub fn listener(form: Form, nth: usize, line: &ListenerLine<'_>, out: &mut String) {
    let ListenerLine { fd, name, address, slot, queue } = *line;
    match form {
        Form::Table => {
            let fill = queue.map_or("-".into(), |(len, max)| format!("{len}/{max}"));
            let room = COLUMNS - 1 - QUEUE.max(fill.len());
            let mut words =
                if name == "unknown" { address.into() } else { format!("{address} {name}") };
            if let Some(slot) = slot {
                words.push_str(&format!(" slot {slot}"));
            }
            put(out, format_args!("{fill:<QUEUE$} {}\n", cut(&words, room)));
        }
        Form::Json => {
            let mut object = Object::new(next(nth, out));
            object.number("fd", Some(&fd)).text("name", Some(name)).text("address", Some(address));
            object.number("slot", display(&slot));
            let (len, max) = queue.unzip();
            object.number("queue", display(&len)).number("backlog", display(&max));
            object.end();
        }
    }
}

/// What stands before the slots.
pub fn slots(form: Form, out: &mut String) {
    out.push_str(match form {
        Form::Table => "SLOT PID     GEN  STATE    AGE      RESTARTS MEMORY LAST END\n",
        Form::Json => "],\"slots\":[",
    });
}

/// `more` is of each worker, in the same order.
pub fn slot(
    form: Form,
    nth: usize,
    (id, view): (SlotId, &SlotView),
    past: Past,
    more: &[More],
    out: &mut String,
) {
    match form {
        Form::Table => rows(id, view, past, more, out),
        Form::Json => {
            let mut object = Object::new(next(nth, out));
            let wait = match view.state {
                SlotState::Resting(wait) => Some(wait.0),
                SlotState::Held | SlotState::Vacant | SlotState::Waiting => None,
                SlotState::Ended | SlotState::Gone => None,
            };
            object.number("slot", Some(&id)).text("state", Some(state_word(view.state)));
            object.number("next_start_ms", display(&wait));
            object.number("restarts", Some(&past.restarts));
            last_end(past.last, object.name("last_end"));
            object.name("workers").push('[');
            for (nth, (worker, more)) in view.workers.iter().zip(more).enumerate() {
                worker_object(nth, worker, more, object.out);
            }
            object.out.push(']');
            object.end();
        }
    }
}

pub fn tail(form: Form, out: &mut String) {
    out.push_str(match form {
        // The word for machines that the last line of every answer begins with.
        Form::Table => "ok\n",
        Form::Json => "]}\n",
    });
}

fn rows(id: SlotId, view: &SlotView, past: Past, more: &[More], out: &mut String) {
    let ends = past.last.map_or("-".into(), |last| {
        let what = match last.status {
            Some(Status::Exited(code)) => format!("status {code}"),
            Some(Status::Killed(signal)) => signal_name::name(signal),
            None => "not started".into(),
        };
        format!("{what}, {} ago", last.ago)
    });
    let restarts = past.restarts;
    let first = match view.state {
        SlotState::Held => false,
        // Its newcomer, or its former one, tells enough.
        SlotState::Vacant | SlotState::Gone => view.workers.is_empty(),
        SlotState::Resting(_) | SlotState::Waiting | SlotState::Ended => true,
    };
    if first {
        let wait = match view.state {
            SlotState::Resting(wait) => format!("in {wait}"),
            SlotState::Held | SlotState::Vacant | SlotState::Waiting => "-".into(),
            SlotState::Ended | SlotState::Gone => "-".into(),
        };
        let state = state_word(view.state);
        put(out, format_args!("{id:<4} -       -    {state:<8} {wait:<8} "));
        put(out, format_args!("{restarts:<8} -      {ends}\n"));
    }
    for (nth, (worker, more)) in view.workers.iter().zip(more).enumerate() {
        let WorkerView { pid, generation, age, .. } = worker;
        let state = worker_word(worker.state);
        let memory = more.memory.map_or("-".into(), in_units);
        let age = age.to_string();
        put(out, format_args!("{id:<4} {pid:<7} {generation:<4} {state:<8} {age:<8} "));
        if nth == 0 && !first {
            put(out, format_args!("{restarts:<8} {memory:<6} {ends}\n"));
        } else {
            put(out, format_args!("-        {memory:<6} -\n"));
        }
        if !more.said.is_empty() {
            put(out, format_args!("     {}\n", cut(&more.said, COLUMNS - 5)));
        }
    }
}

fn worker_object(nth: usize, worker: &WorkerView, more: &More, out: &mut String) {
    let role = match worker.role {
        Role::Holder => "holder",
        Role::Newcomer => "newcomer",
        Role::Leaving => "leaving",
    };
    let mut object = Object::new(next(nth, out));
    object.number("pid", Some(&worker.pid)).text("role", Some(role));
    object.text("state", Some(worker_word(worker.state)));
    object.number("generation", Some(&worker.generation)).number("age_ms", Some(&worker.age.0));
    object.number("memory_bytes", display(&more.memory));
    object.text("status", Some(&*more.said).filter(|said| !said.is_empty()));
    object.end();
}

fn last_end(last: Option<LastEnd>, out: &mut String) {
    let Some(last) = last else { return out.push_str("null") };
    let (code, signal) = match last.status {
        Some(Status::Exited(code)) => (Some(code), None),
        Some(Status::Killed(signal)) => (None, Some(signal_name::name(signal))),
        None => (None, None),
    };
    let mut object = Object::new(out);
    object.number("exit_code", display(&code)).text("signal", signal.as_deref());
    object.number("ago_ms", Some(&last.ago.0));
    object.end();
}

fn state_word(state: SlotState) -> &'static str {
    match state {
        SlotState::Held => "held",
        SlotState::Vacant => "vacant",
        SlotState::Resting(_) => "backoff",
        SlotState::Waiting => "waiting",
        SlotState::Ended => "ended",
        SlotState::Gone => "gone",
    }
}

fn worker_word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Ready => "ready",
        WorkerState::Draining => "draining",
        WorkerState::Killed => "killed",
    }
}

/// `812B`, `12.3M`: five characters at the most.
fn in_units(bytes: u64) -> String {
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "B");
    for larger in ["K", "M", "G", "T"] {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    if unit == "B" || tenths >= 1_000 {
        format!("{}{unit}", tenths / 10)
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

/// So many characters at the most, with nothing that takes hold of a terminal.
fn cut(words: &str, most: usize) -> String {
    let words = super::control::one_line(words);
    match words.char_indices().nth(most) {
        None => words,
        Some(_) => {
            let kept: String = words.chars().take(most - 3).collect();
            format!("{kept}...")
        }
    }
}

/// A line of the table for a terminal: what is wrong is red, what is on its way yellow.
pub fn coloured(line: &str) -> String {
    let place = match line.split_once(' ') {
        Some((fill, _)) if fill.contains('/') => {
            queue_colour(fill).map(|colour| (0..fill.len(), colour))
        }
        Some((slot, _)) if !slot.is_empty() && slot.bytes().all(|it| it.is_ascii_digit()) => {
            let word = line.get(STATE).map_or("", |word| word.trim_ascii_end());
            state_colour(word).map(|colour| (STATE.start..STATE.start + word.len(), colour))
        }
        Some(_) | None => None,
    };
    match place.and_then(|(at, colour)| {
        Some((line.get(..at.start)?, line.get(at.clone())?, line.get(at.end..)?, colour))
    }) {
        Some((before, word, after, colour)) => {
            format!("{before}\x1b[{colour}m{word}\x1b[0m{after}")
        }
        None => line.to_string(),
    }
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

fn state_colour(word: &str) -> Option<u8> {
    Some(match word {
        "ready" => GREEN,
        "starting" | "draining" | "vacant" => YELLOW,
        "backoff" | "killed" | "ended" => RED,
        _ => return None,
    })
}

/// Nobody is refused before the queue is full, but half of it is a lot.
fn queue_colour(fill: &str) -> Option<u8> {
    let (len, max) = fill.split_once('/')?;
    let (len, max) = (len.parse::<u64>().ok()?, max.parse::<u64>().ok()?);
    if len >= max { Some(RED) } else { (len * 2 >= max).then_some(YELLOW) }
}

/// A JSON object in the making.
struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl Object<'_> {
    fn new(out: &mut String) -> Object<'_> {
        out.push('{');
        Object { out, empty: true }
    }

    /// What is written next is this member's value.
    fn name(&mut self, name: &str) -> &mut String {
        let comma = if core::mem::take(&mut self.empty) { "" } else { "," };
        put(self.out, format_args!("{comma}\"{name}\":"));
        self.out
    }

    fn number(&mut self, name: &str, number: Option<&dyn Display>) -> &mut Self {
        match number {
            Some(number) => put(self.name(name), format_args!("{number}")),
            None => self.name(name).push_str("null"),
        }
        self
    }

    fn text(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        let out = self.name(name);
        match text {
            Some(text) => quoted(text, out),
            None => out.push_str("null"),
        }
        self
    }

    fn end(self) {
        self.out.push('}');
    }
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    text.chars().for_each(|character| escaped(character, out));
    out.push('"');
}

fn display<T: Display>(value: &Option<T>) -> Option<&dyn Display> {
    value.as_ref().map(|value| value as &dyn Display)
}

/// The next one of a list.
fn next(nth: usize, out: &mut String) -> &mut String {
    if nth > 0 {
        out.push(',');
    }
    out
}

fn put(out: &mut String, arguments: core::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(arguments);
}
