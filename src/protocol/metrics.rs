//! Metrics in the text format of Prometheus (version 0.0.4), and as much of HTTP/1.1 as carries them and two
//! probes. No connection is kept: an answer ends it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Display, Write};

use super::spread::SpreadLine;
use crate::supervisor::{Course, Fact, Failure, Next, Outcome, Overview, Population, Status};
use crate::units::Millis;

/// How long a request's head may be: a scraper's is a few hundred bytes.
pub const HEAD_MAX: usize = 4096;

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// `/metrics`
    Metrics,
    /// `/healthz`: fd3 lives.
    Healthy,
    /// `/readyz`: every slot is as it should be.
    Ready,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub page: Page,
    /// GET; HEAD gets the head alone.
    pub with_body: bool,
}

const PAGES: [(&str, Page); 3] =
    [("/metrics", Page::Metrics), ("/healthz", Page::Healthy), ("/readyz", Page::Ready)];

/// A status that is not 200, and why.
pub type Refusal = (u16, &'static str);

/// What a client asks for; nothing before it has said all of its request's head (RFC 9112, section 2.1).
pub fn hear(bytes: &[u8]) -> Option<Result<Request, Refusal>> {
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    let whole = bytes.windows(4).any(|end| end == b"\r\n\r\n")
        || bytes.windows(2).any(|end| end == b"\n\n");
    match line_end {
        Some(at) if whole => Some(request(bytes.get(..at).unwrap_or_default())),
        // What is no HTTP need not go on. Else it is heard out: what is left unread when a connection is closed
        // takes the answer with it.
        Some(at) => {
            let wrong = request(bytes.get(..at).unwrap_or_default()).err();
            wrong.filter(|(status, _)| *status == 400).map(Err)
        }
        None => None,
    }
    .or_else(|| (bytes.len() >= HEAD_MAX).then_some(Err((431, "the head is too long"))))
}

/// Method, target, version (RFC 9112, section 3).
fn request(line: &[u8]) -> Result<Request, Refusal> {
    let bad = (400, "this is no request of HTTP/1");
    let line = core::str::from_utf8(line).map_err(|_| bad)?;
    let mut words = line.strip_suffix('\r').unwrap_or(line).split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad);
    };
    if !version.starts_with("HTTP/1.") {
        return Err(bad);
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err((405, "only GET and HEAD are answered"));
    }
    let path = target.split('?').next().unwrap_or(target);
    let page = PAGES.iter().find(|(name, _)| *name == path).map(|(_, page)| *page);
    let page = page.ok_or((404, "there are /metrics, /healthz and /readyz"))?;
    Ok(Request { page, with_body: method == "GET" })
}

/// A whole answer.
#[inline(never)]
pub fn answer(status: u16, kind: &str, body: &str, with_body: bool) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let body = if with_body { body } else { "" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{allow}Connection: close\r\n\r\n{body}"
    )
}

/// The kind of [`exposition`].
pub const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// Whether every slot is as it should be, in a line.
pub fn readiness(overview: &Overview) -> (bool, String) {
    let well = overview.ready + overview.waiting;
    let stops = overview.course == Course::Stopping;
    let text = match (stops, overview.waiting) {
        (true, _) => String::from("stopping\n"),
        (false, 0) => format!("{} of {} ready\n", overview.ready, overview.workers),
        (false, waiting) => {
            format!(
                "{} of {} ready, {waiting} wait for connections\n",
                overview.ready, overview.workers
            )
        }
    };
    (!stops && well == overview.workers, text)
}

/// What was counted since fd3 began.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub starts: u64,
    pub start_failures: u64,
    /// Ends that were asked for; with 0; with another status; by a signal.
    pub exits: [u64; 4],
    pub restarts: u64,
    pub start_timeouts: u64,
    pub watchdog_misses: u64,
    pub kills: u64,
    /// Done, rolled back, refused.
    pub reloads: [u64; 3],
    /// How long the latest one took that was done.
    pub last_reload: Option<Millis>,
}

const EXITS: [&str; 4] = ["asked", "success", "failure", "signal"];
const RELOADS: [&str; 3] = ["done", "rolled_back", "refused"];

impl Counts {
    /// What the log is told.
    pub fn count(&mut self, fact: &Fact) {
        if let Fact::Exited { next: Next::Restart(_), .. }
        | Fact::NotStarted { next: Next::Restart(_), .. }
        | Fact::Replaced { next: Next::Restart(_), .. } = fact
        {
            self.restarts += 1;
        }
        if let Fact::ReloadEnded { outcome: Outcome::RolledBack { why, .. }, .. }
        | Fact::RenewalEnded { outcome: Outcome::RolledBack { why, .. }, .. } = fact
            && let Failure::NotStarted { .. } = **why
        {
            self.start_failures += 1;
        }
        if let Fact::Exited { status, next, .. } = fact {
            self.exits[match (next, status) {
                (Next::Asked, _) => 0,
                (_, Status::Exited(0)) => 1,
                (_, Status::Exited(_)) => 2,
                (_, Status::Killed(_)) => 3,
            }] += 1;
        } else if let Fact::Started { .. } = fact {
            self.starts += 1;
        } else if let Fact::NotStarted { .. }
        | Fact::TriedAgain { why: Failure::NotStarted { .. }, .. } = fact
        {
            self.start_failures += 1;
        } else if let Fact::StartTimedOut { .. } = fact {
            self.start_timeouts += 1;
        } else if let Fact::Hung { .. } = fact {
            self.watchdog_misses += 1;
        } else if let Fact::StopTimedOut { .. } = fact {
            self.kills += 1;
        } else if let Fact::ReloadEnded { outcome, .. } = fact {
            match outcome {
                Outcome::Done { after, .. } => {
                    self.reloads[0] += 1;
                    self.last_reload = Some(*after);
                }
                Outcome::RolledBack { .. } => self.reloads[1] += 1,
                Outcome::Refused { .. } => self.reloads[2] += 1,
                Outcome::Stopped | Outcome::Scaled { .. } => {}
            }
        }
    }
}

/// One listener. Of those numbers the kernel tells not all for all.
#[derive(Debug)]
pub struct ListenerLine<'a> {
    pub fd: usize,
    pub name: &'a str,
    pub address: &'a str,
    /// Connections that wait, and how many may.
    pub queue: Option<(u32, u32)>,
    pub drops: Option<u32>,
}

impl ListenerLine<'_> {
    /// Another socket of the same listener.
    pub fn add(&mut self, queue: Option<(u32, u32)>, drops: Option<u32>) {
        let sum = |(a, b): (u32, u32), (c, d)| (a.saturating_add(c), b.saturating_add(d));
        self.queue = self.queue.zip(queue).map(|(one, other)| sum(one, other));
        self.drops = self.drops.zip(drops).map(|(one, other)| one.saturating_add(other));
    }
}

/// All that is told.
#[derive(Debug)]
pub struct Exposition<'a> {
    pub version: &'a str,
    pub uptime: Millis,
    pub overview: Overview,
    pub population: Population,
    pub counts: Counts,
    pub listeners: &'a [ListenerLine<'a>],
    pub spread: SpreadLine<'a>,
}

/// All metrics. Their number grows with the listeners, not with the slots.
#[inline(never)]
pub fn exposition(now: &Exposition<'_>) -> String {
    let mut text = String::new();
    family(&mut text, "fd3_build_info", "gauge", "Which fd3 this is.");
    sample(&mut text, "fd3_build_info", &format!("{{version=\"{}\"}}", now.version), &1);
    one(&mut text, "fd3_uptime_seconds", "gauge", "Since fd3 began.", &seconds(now.uptime));
    course(&mut text, &now.overview);
    workers(&mut text, &now.population, &now.counts);
    reloads(&mut text, &now.counts);
    if let Some(steering) = now.spread.steering {
        let help = "What chooses the slot that gets a connection.";
        labelled(&mut text, "fd3_spread_info", "gauge", help, "steering", &[(steering, 1)]);
    }
    listeners(&mut text, now.listeners);
    text
}

fn course(text: &mut String, overview: &Overview) {
    one(text, "fd3_generation", "gauge", "The one that serves.", &overview.generation);
    one(text, "fd3_slots", "gauge", "How many workers there are to be.", &overview.workers);
    one(text, "fd3_slots_ready", "gauge", "Those with a worker that is ready.", &overview.ready);
    let waiting = "Those without one until somebody connects.";
    one(text, "fd3_slots_waiting", "gauge", waiting, &overview.waiting);
    let (reloading, stopping) = match overview.course {
        Course::Running => (0, 0),
        Course::Reloading { .. } => (1, 0),
        Course::Stopping => (0, 1),
    };
    one(text, "fd3_reloading", "gauge", "Whether a reload runs.", &reloading);
    one(text, "fd3_stopping", "gauge", "Whether fd3 stops.", &stopping);
}

fn workers(text: &mut String, people: &Population, counts: &Counts) {
    let states = [
        ("starting", people.starting),
        ("ready", people.ready),
        ("draining", people.draining),
        ("killed", people.killed),
    ];
    labelled(text, "fd3_workers", "gauge", "Workers by state.", "state", &states);
    let exits: Vec<_> = EXITS.into_iter().zip(counts.exits).collect();
    labelled(text, "fd3_worker_exits_total", "counter", "Workers that ended.", "reason", &exits);
    for (name, help, count) in [
        ("fd3_worker_starts_total", "Workers started.", counts.starts),
        (
            "fd3_worker_start_failures_total",
            "Workers that could not be started.",
            counts.start_failures,
        ),
        ("fd3_worker_restarts_total", "Ends followed by a restart.", counts.restarts),
        (
            "fd3_worker_start_timeouts_total",
            "Workers that were not ready in time.",
            counts.start_timeouts,
        ),
        (
            "fd3_watchdog_misses_total",
            "Workers that their watchdog missed.",
            counts.watchdog_misses,
        ),
        (
            "fd3_worker_kills_total",
            "Workers that did not stop in time and were killed.",
            counts.kills,
        ),
    ] {
        one(text, name, "counter", help, &count);
    }
}

fn reloads(text: &mut String, counts: &Counts) {
    let outcomes: Vec<_> = RELOADS.into_iter().zip(counts.reloads).collect();
    labelled(text, "fd3_reloads_total", "counter", "Reloads by outcome.", "outcome", &outcomes);
    if let Some(took) = counts.last_reload {
        let help = "How long the latest reload took that was done.";
        one(text, "fd3_last_reload_duration_seconds", "gauge", help, &seconds(took));
    }
}

fn listeners(text: &mut String, all: &[ListenerLine<'_>]) {
    type Value = fn(&ListenerLine<'_>) -> Option<u32>;
    let table: [(&str, &str, &str, Value); 3] = [
        ("fd3_listener_queue_length", "gauge", "Connections that wait to be accepted.", |line| {
            line.queue.map(|(length, _)| length)
        }),
        ("fd3_listener_queue_limit", "gauge", "How many may wait.", |line| {
            line.queue.map(|(_, limit)| limit)
        }),
        (
            "fd3_listener_drops_total",
            "counter",
            "Connections, or datagrams, that found no room.",
            |line| line.drops,
        ),
    ];
    for (name, kind, help, value) in table {
        let mut told = false;
        for line in all {
            let Some(value) = value(line) else { continue };
            if !told {
                family(text, name, kind, help);
                told = true;
            }
            let (fd, listener, address) = (line.fd, Escaped(line.name), Escaped(line.address));
            let labels = format!("{{fd=\"{fd}\",name=\"{listener}\",address=\"{address}\"}}");
            sample(text, name, &labels, &value);
        }
    }
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: &dyn Display) {
    family(text, name, kind, help);
    sample(text, name, "", value);
}

fn labelled<T: Display>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    label: &str,
    values: &[(&str, T)],
) {
    family(text, name, kind, help);
    for (word, value) in values {
        sample(text, name, &format!("{{{label}=\"{word}\"}}"), value);
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // A String takes all that is written to it.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(text: &mut String, name: &str, labels: &str, value: &dyn Display) {
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn seconds(time: Millis) -> impl Display {
    format!("{}.{:03}", time.0 / 1000, time.0 % 1000)
}

/// A label's value.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for one in self.0.chars() {
            match one {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                one => f.write_char(one)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_heard_when_its_head_is_whole() {
        let page = |page, with_body| Some(Ok(Request { page, with_body }));
        let table: [(&[u8], _); 15] = [
            (b"", None),
            (b"GET /metrics HTTP/1.1\r\n", None),
            (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", page(Page::Metrics, true)),
            (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", page(Page::Metrics, true)),
            (b"HEAD /healthz HTTP/1.1\r\n\r\n", page(Page::Healthy, false)),
            (b"GET /readyz HTTP/1.1\n\n", page(Page::Ready, true)),
            (b"GET / HTTP/1.1\r\n", None),
            (
                b"GET / HTTP/1.1\r\n\r\n",
                Some(Err((404, "there are /metrics, /healthz and /readyz"))),
            ),
            (b"POST /metrics HTTP/1.1\r\n\r\n", Some(Err((405, "only GET and HEAD are answered")))),
            (b"GET /metrics\r\n\r\n", Some(Err((400, "this is no request of HTTP/1")))),
            (b"GET  /metrics HTTP/1.1\r\n", Some(Err((400, "this is no request of HTTP/1")))),
            (b"PRI * HTTP/2.0\r\n\r\n", Some(Err((400, "this is no request of HTTP/1")))),
            (b"\r\n", Some(Err((400, "this is no request of HTTP/1")))),
            (b"\x16\x03\x01\x02\n", Some(Err((400, "this is no request of HTTP/1")))),
            (&[b'a'; HEAD_MAX], Some(Err((431, "the head is too long")))),
        ];
        for (bytes, heard) in table {
            assert_eq!(hear(bytes), heard, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_answer_to_head_tells_the_length_alone() {
        let whole = answer(200, PLAIN, "well\n", true);
        assert!(whole.ends_with(
            "Content-Length: 5\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nwell\n"
        ));
        let head = answer(200, PLAIN, "well\n", false);
        assert_eq!(whole.strip_suffix("well\n"), Some(&*head));
    }

    #[test]
    fn names_are_escaped() {
        let line = ListenerLine {
            fd: 3,
            name: "a\"b\\c",
            address: "unix:/a\nb",
            queue: Some((1, 2)),
            drops: None,
        };
        let mut text = String::new();
        listeners(&mut text, &[line]);
        let labels = "{fd=\"3\",name=\"a\\\"b\\\\c\",address=\"unix:/a\\nb\"}";
        assert!(text.contains(&format!("fd3_listener_queue_length{labels} 1\n")), "{text}");
        assert!(text.contains(&format!("fd3_listener_queue_limit{labels} 2\n")), "{text}");
        assert!(!text.contains("drops"));
    }
}
