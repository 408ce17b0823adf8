//! A client's connection: read, answered, watched, ended.

use super::flow::{Failure, Flow, Stage, Step, Then, WaitsFor};
use super::wire::Pipe;
use super::{Engine, Kind, SPARE_MAX, token};
use crate::balance::ConnId;
use crate::balance::http::head::Limits;
use crate::sys::conn::{self, Follows, Moved};
use crate::sys::epoll::Interest;
use crate::units::Millis;

/// Readings in a row of one connection, so that the others get their turn.
pub(super) const READS: usize = 16;
/// What a client may still say, and how long, when it has had its last answer: whoever closes at once takes the answer
/// back (RFC 9112, section 9.6).
const LINGER_BYTES: usize = 256 << 10;
const LINGER: Millis = Millis::seconds(2);

/// When the balancer is told to stop: how long who has nothing under way may ask for something. So what was just sent
/// is answered.
const LAST_WORDS: Millis = Millis::seconds(2);
/// The same for who has said nothing so far.
const FIRST_WORDS: Millis = Millis::seconds(5);

pub(super) const SLOW_HEAD: Failure =
    Failure { status: 408, why: "the request's head took too long" };
const SLOW_BODY: Failure = Failure { status: 408, why: "the request's body took too long" };
const NO_PLACE: Failure = Failure { status: 503, why: "every backend is busy" };
const NO_ANSWER: Failure = Failure { status: 504, why: "the backend did not answer in time" };
const SLOW_BACKEND: Failure = Failure { status: 504, why: "the backend did not take the request" };

impl Engine {
    pub(super) fn client_ready(&mut self, id: ConnId, flags: Interest) {
        if flags.intersects(Interest::HUP | Interest::ERR) {
            return self.close_client(id);
        }
        if flags.contains(Interest::OUT) {
            self.flush_client(id);
        }
        let mut in_vain = false;
        if flags.intersects(Interest::IN | Interest::RDHUP) {
            if self.wants_client(id) {
                self.read_client(id);
            } else {
                in_vain = true;
                if flags.contains(Interest::RDHUP) {
                    self.client_ended(id);
                }
            }
        }
        self.watch_client(id, in_vain);
    }

    fn wants_client(&self, id: ConnId) -> bool {
        let Some(client) = self.clients.get(id) else { return false };
        match &client.stage {
            _ if client.has_ended => false,
            Stage::Idle | Stage::Lingering(_) => true,
            Stage::Busy(flow) => flow.wants_client(),
        }
    }

    /// Has epoll watch for what is of use now. `in_vain`: something was told that is not.
    pub(super) fn watch_client(&mut self, id: ConnId, in_vain: bool) {
        let wants = self.wants_client(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        let mut wanted = Interest::empty();
        if wants {
            wanted |= Interest::IN;
        }
        if !client.has_ended {
            wanted |= Interest::RDHUP;
        }
        if let Stage::Busy(flow) = &client.stage
            && !flow.to_client.is_empty()
        {
            wanted |= Interest::OUT;
        }
        let is_idle_out = client.watch.has(Interest::OUT) && !wanted.contains(Interest::OUT);
        let token = token(Kind::Client, id);
        let in_vain = in_vain || is_idle_out;
        if client.watch.set(&self.epoll, &client.fd, token, wanted, in_vain).is_err() {
            // Nobody would tell of it any more.
            self.close_client(id);
        }
    }

    pub(super) fn read_client(&mut self, id: ConnId) {
        let mut scratch = core::mem::take(&mut self.scratch);
        for _ in 0..READS {
            let Some(client) = self.clients.get(id).filter(|_| !scratch.is_empty()) else { break };
            match conn::receive(&client.fd, &mut scratch) {
                Ok(Moved::Bytes(0)) => {
                    self.client_ended(id);
                    break;
                }
                Ok(Moved::Bytes(count)) => {
                    self.client_said(id, scratch.get(..count).unwrap_or_default());
                    if count < scratch.len() || !self.wants_client(id) {
                        break;
                    }
                }
                Ok(Moved::Later) => break,
                Err(_) => {
                    self.close_client(id);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn client_said(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        match &mut client.stage {
            Stage::Lingering(left) => {
                *left = left.saturating_sub(bytes.len());
                if *left == 0 {
                    self.close_client(id);
                }
            }
            Stage::Idle => {
                let flow = self.spare.pop().unwrap_or_default();
                client.stage = Stage::Busy(flow);
                self.hear(id, bytes);
            }
            Stage::Busy(flow) if flow.step == Step::Hearing => self.hear(id, bytes),
            Stage::Busy(flow) => {
                let is_tunnel = flow.is_tunnel;
                if is_tunnel { self.tunnel_on(id, bytes) } else { self.upload(id, bytes) }
            }
        }
    }

    /// More of a request's head, or what came behind the request before.
    pub(super) fn hear(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        if flow.step != Step::Hearing {
            return;
        }
        let had_begun = flow.exchange.has_begun();
        match flow.exchange.hear(bytes, &Limits::USUAL) {
            Ok(true) => match flow.exchange.judge_body(self.plan.max_body) {
                Ok(()) => self.dispatch(id),
                Err(wrong) => self.refuse(id, wrong.status(), wrong.why()),
            },
            Ok(false) => {
                // All of the head has so long, however it comes.
                if !had_begun {
                    let limit = self.plan.times.head;
                    self.client_waits(id, limit);
                }
            }
            Err(wrong) => self.refuse(id, wrong.status(), wrong.why()),
        }
    }

    /// It says nothing more.
    fn client_ended(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.has_ended = true;
        let Stage::Busy(flow) = &mut client.stage else { return self.close_client(id) };
        let waits_on = match flow.step {
            Step::Hearing => false,
            Step::Last(_) => true,
            Step::UnderWay if flow.is_tunnel => return self.tunnel_ended(id),
            Step::InLine | Step::Connecting | Step::UnderWay => {
                // Who meant to ask again and now says nothing more is gone; who said that this was
                // all may wait for the answer.
                let is_last = flow.exchange.request().is_some_and(|request| !request.persistent);
                let is_whole = flow.exchange.is_sent() || flow.exchange.is_without_body();
                is_last && is_whole
            }
        };
        if !waits_on {
            self.close_client(id);
        }
    }

    /// Sends what waits. What follows when all is sent, follows.
    pub(super) fn flush_client(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        match flow.to_client.flush(&client.fd, Follows::Nothing) {
            Err(_) => return self.close_client(id),
            Ok(0) => {}
            Ok(_) => self.progressed(id),
        }
        self.flushed_client(id);
    }

    /// Something was sent to it, maybe all.
    pub(super) fn flushed_client(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        if !flow.to_client.is_empty() {
            return;
        }
        match flow.step {
            Step::Last(then) => self.end_exchange(id, then),
            Step::UnderWay if flow.is_tunnel && flow.backend_ended => {
                conn::end(&client.fd);
                if client.has_ended {
                    self.close_client(id);
                }
            }
            Step::UnderWay => {
                if let Some(upstream) = flow.upstream {
                    self.watch_upstream(upstream, false);
                }
            }
            Step::Hearing | Step::InLine | Step::Connecting => {}
        }
    }

    /// The answer is with the client: what now.
    pub(super) fn end_exchange(&mut self, id: ConnId, then: Then) {
        let is_draining = self.is_draining();
        let Some(client) = self.clients.get_mut(id) else { return };
        client.has_asked = true;
        let Stage::Busy(flow) = &mut client.stage else { return };
        match then {
            Then::Close => return self.close_client(id),
            Then::Linger => {
                conn::end(&client.fd);
                if client.has_ended {
                    return self.close_client(id);
                }
                let flow = core::mem::replace(&mut client.stage, Stage::Lingering(LINGER_BYTES));
                self.put_by(flow);
                return self.client_waits(id, LINGER);
            }
            Then::Next => {}
        }
        flow.reset();
        if flow.exchange.go_on() {
            self.client_waits(id, self.plan.times.head);
            return self.again.push(id);
        }
        if client.has_ended || is_draining {
            return self.close_client(id);
        }
        let flow = core::mem::replace(&mut client.stage, Stage::Idle);
        self.put_by(flow);
        self.client_waits(id, self.plan.times.idle);
    }

    /// An exchange with its buffers, for whoever comes next.
    fn put_by(&mut self, stage: Stage) {
        if let Stage::Busy(mut flow) = stage
            && self.spare.len() < SPARE_MAX
        {
            flow.recycle();
            self.spare.push(flow);
        }
    }

    pub(super) fn client_waits(&mut self, id: ConnId, limit: Millis) {
        if let Some(client) = self.clients.get_mut(id) {
            self.client_timers.set(id, &mut client.due, self.now.plus(limit));
        }
    }

    /// Bytes have moved, or something else is waited for now.
    pub(super) fn progressed(&mut self, id: ConnId) {
        if let Some(client) = self.clients.get_mut(id)
            && let Stage::Busy(flow) = &client.stage
        {
            let limit = flow.patience(&self.plan.times);
            self.client_timers.set(id, &mut client.due, self.now.plus(limit));
        }
    }

    pub(super) fn client_expired(&mut self, id: ConnId) {
        let Some(client) = self.clients.get(id) else { return };
        let Stage::Busy(flow) = &client.stage else { return self.close_client(id) };
        let has_begun = flow.exchange.has_begun();
        let is_answered = flow.exchange.is_answered();
        let failure = match flow.waits_for() {
            WaitsFor::Head if has_begun => SLOW_HEAD,
            WaitsFor::Connection => return self.connection_timed_out(id),
            WaitsFor::Place => NO_PLACE,
            WaitsFor::Body if !is_answered => SLOW_BODY,
            WaitsFor::BackendTakes if !is_answered => SLOW_BACKEND,
            WaitsFor::Answer if !is_answered => NO_ANSWER,
            WaitsFor::Head
            | WaitsFor::ClientTakes
            | WaitsFor::BackendTakes
            | WaitsFor::Body
            | WaitsFor::Answer => return self.cut_off(id),
            WaitsFor::Tunnel => return self.close_client(id),
        };
        if failure == NO_ANSWER {
            self.log_bad_answer(id, "no answer in time");
        }
        self.refuse(id, failure.status, failure.why);
    }

    /// Ends a connection in the middle of an answer, so that it cannot be taken for a whole one.
    pub(super) fn cut_off(&mut self, id: ConnId) {
        if let Some(client) = self.clients.get(id)
            && let Stage::Busy(flow) = &client.stage
            && flow.exchange.ends_by_closing()
        {
            conn::cut_off(&client.fd);
        }
        self.close_client(id);
    }

    /// The balancer stops: whoever has nothing under way gets so long to ask for something.
    pub(super) fn last_words(&mut self, id: ConnId) {
        let Some(client) = self.clients.get(id) else { return };
        if matches!(client.stage, Stage::Idle) {
            let limit = if client.has_asked { LAST_WORDS } else { FIRST_WORDS };
            self.client_waits(id, limit);
        }
    }

    pub(super) fn close_client(&mut self, id: ConnId) {
        self.leave_backend(id);
        let Some(client) = self.clients.remove(id) else { return };
        if let Stage::Busy(flow) = &client.stage
            && flow.step == Step::InLine
        {
            self.backends.leave_line(id);
        }
        // Its descriptor goes, and epoll's interest with it: nobody else has a copy.
        let super::Client { fd, stage, .. } = client;
        drop(fd);
        self.put_by(stage);
        self.descriptor_is_free();
    }

    // Bytes as they are.

    fn tunnel_on(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let Some(upstream) = flow.upstream.and_then(|conn| self.upstreams.get(conn)) else {
            return;
        };
        let mut pipe = Pipe::new(&upstream.fd, &mut flow.to_backend);
        crate::balance::exchange::Out::put(&mut pipe, bytes);
        match pipe.finish() {
            Ok(_) => self.progressed(id),
            Err(_) => return self.close_client(id),
        }
        self.watch_its_upstream(id);
    }

    fn tunnel_ended(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let flow: &mut Flow = flow;
        if flow.backend_ended && flow.to_client.is_empty() {
            return self.close_client(id);
        }
        if flow.to_backend.is_empty()
            && let Some(upstream) = flow.upstream.and_then(|conn| self.upstreams.get(conn))
        {
            conn::end(&upstream.fd);
        }
    }
}
