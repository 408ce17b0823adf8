//! Checks of backends: one connection and one request each, so often, and what the answer says.

use std::os::fd::OwnedFd;

use super::json;
use super::route::{is_our_own, name};
use super::wire::{Pending, Watch};
use super::{Engine, Kind, token};
use crate::balance::ConnId;
use crate::balance::backends::BackendId;
use crate::balance::exchange::Out;
use crate::balance::health::{Change, Verdict};
use crate::balance::http::body::{Out as Framed, Relay, Then};
use crate::balance::http::head::{Asked, Kind as HeadKind, Limits, ResponseParser};
use crate::error::Errno;
use crate::sys::conn::{self, Begun, Follows, Moved};
use crate::sys::epoll::Interest;
use crate::units::Millis;

/// What is read of an answer.
const ANSWER_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Checks {
    under_way: Vec<Check>,
    /// When each backend's next one begins.
    planned: Vec<(BackendId, Millis)>,
    /// Tells apart those that had the same place.
    count: u32,
}

#[derive(Debug)]
struct Check {
    id: ConnId,
    backend: BackendId,
    fd: OwnedFd,
    is_connected: bool,
    watch: Watch,
    until: Millis,
    request: Pending,
    answer: Vec<u8>,
}

/// What there is of an answer.
enum Said {
    More,
    Verdict(Verdict, String),
}

impl Checks {
    pub(super) fn next(&self) -> Option<Millis> {
        let due = self.under_way.iter().map(|check| check.until);
        due.chain(self.planned.iter().map(|(_, at)| *at)).min()
    }
}

impl Engine {
    /// Those whose time has come; of a backend that is new, at once.
    pub(super) fn begin_checks(&mut self) {
        let Some(plan) = self.plan.check.clone() else { return };
        if self.is_draining() {
            self.checks.planned.clear();
            return;
        }
        let now = self.now;
        let listed: Vec<BackendId> = self.backends.listed().map(|(id, _)| id).collect();
        let planned = &mut self.checks.planned;
        if planned.len() != listed.len() || planned.iter().any(|(id, _)| !listed.contains(id)) {
            planned.retain(|(id, _)| listed.contains(id));
            for id in listed {
                if !planned.iter().any(|(known, _)| *known == id) {
                    planned.push((id, now));
                }
            }
        }
        let mut due = Vec::new();
        for (id, at) in planned.iter_mut().filter(|(_, at)| *at <= now) {
            *at = now.plus(plan.interval);
            due.push(*id);
        }
        for id in due {
            self.check(id, &plan.path, now.plus(plan.timeout));
        }
    }

    fn check(&mut self, backend: BackendId, path: &str, until: Millis) {
        let Some(one) = self.backends.get_mut(backend).filter(|one| !one.is_asked) else { return };
        one.is_asked = true;
        let target = &one.target;
        let request = format!(
            "GET {}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: fd3\r\nConnection: close\r\n\r\n",
            target.prefix, target.authority
        );
        let begun = conn::connect(&name(&target.place));
        match begun {
            Err(errno) if is_our_own(errno) => {
                if let Some(one) = self.backends.get_mut(backend) {
                    one.is_asked = false;
                }
            }
            Err(errno) => self.checked(backend, Verdict::Bad, &errno.to_string()),
            Ok((fd, begun)) => {
                self.checks.count = self.checks.count.wrapping_add(1) % super::GENERATIONS;
                let id = ConnId { slot: backend.0, generation: self.checks.count };
                let mut pending = Pending::default();
                pending.put(request.as_bytes());
                self.checks.under_way.push(Check {
                    id,
                    backend,
                    fd,
                    is_connected: begun == Begun::Connected,
                    watch: Watch::NONE,
                    until,
                    request: pending,
                    answer: Vec::new(),
                });
                self.go_on(self.checks.under_way.len() - 1);
            }
        }
    }

    pub(super) fn check_ready(&mut self, id: ConnId) {
        if let Some(index) = self.checks.under_way.iter().position(|check| check.id == id) {
            self.go_on(index);
        }
    }

    pub(super) fn checks_expired(&mut self) {
        let now = self.now;
        while let Some(index) = self.checks.under_way.iter().position(|check| check.until <= now) {
            self.end_check(index, Verdict::Bad, "no answer in time");
        }
    }

    fn go_on(&mut self, index: usize) {
        let Some(check) = self.checks.under_way.get_mut(index) else { return };
        let said = match check.step(&mut self.scratch) {
            Ok(Said::More) => {
                let mut wanted = Interest::empty();
                if check.is_connected {
                    wanted |= Interest::IN | Interest::RDHUP;
                }
                if !check.is_connected || !check.request.is_empty() {
                    wanted |= Interest::OUT;
                }
                let token = token(Kind::Check, check.id);
                let watched = check.watch.set(&self.epoll, &check.fd, token, wanted, true);
                match watched {
                    Ok(()) => return,
                    Err(errno) => Err(errno),
                }
            }
            other => other,
        };
        match said {
            Ok(Said::More) => {}
            Ok(Said::Verdict(verdict, why)) => self.end_check(index, verdict, &why),
            Err(errno) => self.end_check(index, Verdict::Bad, &errno.to_string()),
        }
    }

    fn end_check(&mut self, index: usize, verdict: Verdict, why: &str) {
        if index < self.checks.under_way.len() {
            let check = self.checks.under_way.swap_remove(index);
            self.checked(check.backend, verdict, why);
        }
    }

    fn checked(&mut self, backend: BackendId, verdict: Verdict, why: &str) {
        let name = self.backends.get(backend).map(|one| one.target.name.clone());
        let Some(change) = self.backends.checked(backend, verdict) else { return };
        if let Some(name) = name {
            self.log.changed(&name, change, if change == Change::Up { "" } else { why });
        }
        self.is_line_moving |= change == Change::Up;
    }
}

impl Check {
    /// Sends and reads what can be.
    fn step(&mut self, scratch: &mut [u8]) -> Result<Said, Errno> {
        if !self.is_connected && self.watch != Watch::NONE {
            conn::outcome(&self.fd)?;
            self.is_connected = true;
        }
        if self.request.flush(&self.fd, Follows::Nothing)? > 0 {
            self.is_connected = true;
        }
        while self.is_connected {
            match conn::receive(&self.fd, scratch)? {
                Moved::Later => break,
                Moved::Bytes(0) => return Ok(judge(&self.answer, true)),
                Moved::Bytes(count) => {
                    self.answer.extend_from_slice(scratch.get(..count).unwrap_or_default());
                    let said = judge(&self.answer, self.answer.len() > ANSWER_MAX);
                    if matches!(said, Said::Verdict(..)) {
                        return Ok(said);
                    }
                }
            }
        }
        Ok(Said::More)
    }
}

/// Of the whole answer, or as much as is read of it.
fn judge(answer: &[u8], is_all: bool) -> Said {
    let bad = |why: String| Said::Verdict(Verdict::Bad, why);
    let asked = Asked { head: false, upgrade: false };
    let mut rest = answer;
    let response = loop {
        match ResponseParser::new().parse(rest, &Limits::USUAL, asked) {
            Err(wrong) => return bad(wrong.why().into()),
            Ok(None) if is_all => return bad("it ended without an answer".into()),
            Ok(None) => return Said::More,
            Ok(Some(interim)) if interim.kind == HeadKind::Interim => {
                rest = rest.get(interim.len..).unwrap_or_default();
            }
            Ok(Some(response)) => break response,
        }
    };
    let input = rest.get(response.len..).unwrap_or_default();
    let body = match body(response.framing, input) {
        Some(body) => body,
        None if is_all => input.to_vec(),
        None => return Said::More,
    };
    let is_ok = response.status == 200;
    let is_good = match json::text_of(&body, "state").as_deref() {
        Some("healthy") => true,
        Some("degraded") => return bad("its state is degraded".into()),
        Some(_) | None => is_ok,
    };
    if is_good {
        return Said::Verdict(Verdict::Good, String::new());
    }
    bad(format!("status {}", response.status))
}

/// Its data, if all of it is there.
fn body(framing: crate::balance::http::head::Framing, mut input: &[u8]) -> Option<Vec<u8>> {
    let mut relay = Relay::new(framing, Framed::Data, u64::MAX).ok()?;
    let mut data = Vec::new();
    loop {
        let step = relay.step(input).ok()?;
        data.extend_from_slice(input.get(..step.pass)?);
        let moved = step.pass.saturating_add(step.skip);
        input = input.get(moved..)?;
        match step.then {
            Then::End => return Some(data),
            Then::More if moved == 0 => return None,
            Then::More => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: &str) -> Option<Verdict> {
        match judge(answer.as_bytes(), false) {
            Said::More => None,
            Said::Verdict(verdict, _) => Some(verdict),
        }
    }

    fn with_body(status: u16, body: &str) -> Option<Verdict> {
        let length = body.len();
        verdict(&format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    /// What goaround does with each of these.
    #[test]
    fn a_state_that_is_told_counts_more_than_the_status_and_the_status_otherwise() {
        let (good, bad) = (Some(Verdict::Good), Some(Verdict::Bad));
        let table = [
            (200, r#"{"state":"healthy"}"#, good),
            (200, r#"{"state":"degraded"}"#, bad),
            (503, r#"{"state":"healthy","more":[1,{"state":"x"}]}"#, good),
            (200, "plain", good),
            (500, "plain", bad),
            (204, "", bad),
            (200, r#"{"status":"UP"}"#, good),
            (302, "", bad),
            (200, "[]", good),
            (200, r#"{"state":7}"#, good),
        ];
        for (status, body, expected) in table {
            let got = if status == 204 {
                verdict("HTTP/1.1 204 No Content\r\n\r\n")
            } else {
                with_body(status, body)
            };
            assert_eq!(got, expected, "{status} {body}");
        }
    }

    #[test]
    fn an_answer_is_judged_when_all_of_it_is_there() {
        let chunked = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n\
                       8\r\n{\"state\"\r\nb\r\n:\"healthy\"}\r\n0\r\n\r\n";
        for end in 0..chunked.len() {
            assert_eq!(verdict(&chunked[..end]), None, "{end}");
        }
        assert_eq!(verdict(chunked), Some(Verdict::Good));
        assert_eq!(verdict("SSH-2.0\r\n"), Some(Verdict::Bad));
        let until_close = b"HTTP/1.1 200 OK\r\n\r\nfine";
        assert!(matches!(judge(until_close, false), Said::More));
        assert!(matches!(judge(until_close, true), Said::Verdict(Verdict::Good, _)));
        assert!(matches!(judge(b"HTTP/1.1 200", true), Said::Verdict(Verdict::Bad, _)));
    }
}
