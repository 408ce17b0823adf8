//! A connection to a backend: its answer passed on, then kept for others, or ended.

use super::client::READS;
use super::flow::{Stage, Step, Then};
use super::wire::Pipe;
use super::{Engine, Kind, token};
use crate::balance::ConnId;
use crate::balance::exchange::{Bad, Out, Progress, Terms};
use crate::sys::conn::{self, Moved};
use crate::sys::epoll::Interest;

impl Engine {
    pub(super) fn upstream_ready(&mut self, conn: ConnId, flags: Interest) {
        let Some(upstream) = self.upstreams.get_mut(conn) else { return };
        let Some(id) = upstream.client else {
            // Whatever an idle one says, it cannot be an answer.
            return self.drop_upstream(conn);
        };
        if !upstream.is_connected {
            if let Err(errno) = conn::outcome(&upstream.fd) {
                self.not_connected(id, errno);
                return self.watch_client(id, false);
            }
            self.connected(conn, id);
        } else if flags.contains(Interest::OUT) {
            self.flush_backend(id);
        }
        let told = flags.intersects(Interest::IN | Interest::RDHUP | Interest::HUP | Interest::ERR);
        let mut in_vain = false;
        if told {
            if self.wants_backend(id, conn) {
                self.read_upstream(conn, id);
            } else {
                in_vain = true;
                // That cannot be turned off: it is read when there is room for what it may have said.
                if flags.intersects(Interest::HUP | Interest::ERR)
                    && let Some(upstream) = self.upstreams.get_mut(conn)
                {
                    upstream.watch.stop(&self.epoll, &upstream.fd);
                }
            }
        }
        self.watch_upstream(conn, in_vain);
        self.watch_client(id, false);
    }

    fn connected(&mut self, conn: ConnId, id: ConnId) {
        let Some(upstream) = self.upstreams.get_mut(conn) else { return };
        upstream.is_connected = true;
        let backend = upstream.backend;
        self.took_connection(backend);
        if let Some(client) = self.clients.get_mut(id)
            && let Stage::Busy(flow) = &mut client.stage
        {
            flow.step = Step::UnderWay;
        }
        self.progressed(id);
        self.flush_backend(id);
    }

    fn wants_backend(&self, id: ConnId, conn: ConnId) -> bool {
        let Some(client) = self.clients.get(id) else { return false };
        let Stage::Busy(flow) = &client.stage else { return false };
        flow.upstream == Some(conn) && flow.wants_backend()
    }

    pub(super) fn watch_upstream(&mut self, conn: ConnId, in_vain: bool) {
        let Some(upstream) = self.upstreams.get_mut(conn) else { return };
        let mut wanted = Interest::empty();
        match upstream.client.and_then(|id| self.clients.get(id)) {
            None => wanted |= Interest::IN | Interest::RDHUP,
            Some(_) if !upstream.is_connected => wanted |= Interest::OUT,
            Some(client) => {
                let Stage::Busy(flow) = &client.stage else { return };
                if flow.wants_backend() {
                    wanted |= Interest::IN | Interest::RDHUP;
                }
                if !flow.to_backend.is_empty() {
                    wanted |= Interest::OUT;
                }
            }
        }
        let has_room = upstream.watch.has(Interest::OUT) && !wanted.contains(Interest::OUT);
        if upstream.watch == super::wire::Watch::NONE && wanted.is_empty() {
            return;
        }
        let (token, in_vain) = (token(Kind::Upstream, conn), in_vain || has_room);
        if upstream.watch.set(&self.epoll, &upstream.fd, token, wanted, in_vain).is_err() {
            match upstream.client {
                Some(id) => self.refuse(id, 503, "out of memory"),
                None => self.drop_upstream(conn),
            }
        }
    }

    fn read_upstream(&mut self, conn: ConnId, id: ConnId) {
        let mut scratch = core::mem::take(&mut self.scratch);
        for _ in 0..READS {
            let Some(upstream) = self.upstreams.get(conn).filter(|_| !scratch.is_empty()) else {
                break;
            };
            match conn::receive(&upstream.fd, &mut scratch) {
                Ok(Moved::Bytes(0)) => {
                    self.backend_ended(id);
                    break;
                }
                Ok(Moved::Bytes(count)) => {
                    self.backend_said(id, scratch.get(..count).unwrap_or_default());
                    if count < scratch.len() || !self.wants_backend(id, conn) {
                        break;
                    }
                }
                Ok(Moved::Later) => break,
                Err(_) => {
                    self.backend_failed(id);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn backend_said(&mut self, id: ConnId, bytes: &[u8]) {
        let terms = Terms {
            keep: !matches!(self.phase, super::Phase::Draining(_)),
            via: self.plan.via.as_deref(),
        };
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let mut pipe = Pipe::new(&client.fd, &mut flow.to_client);
        let progress = flow.exchange.answer(bytes, &terms, &mut pipe);
        if pipe.finish().is_err() {
            return self.close_client(id);
        }
        self.answered(id, progress);
    }

    fn backend_ended(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        if flow.is_tunnel {
            flow.backend_ended = true;
            return self.flushed_client(id);
        }
        let mut pipe = Pipe::new(&client.fd, &mut flow.to_client);
        let progress = flow.exchange.answer_ended(&mut pipe);
        if pipe.finish().is_err() {
            return self.close_client(id);
        }
        self.answered(id, progress);
    }

    /// Its connection broke.
    fn backend_failed(&mut self, id: ConnId) {
        let Some(client) = self.clients.get(id) else { return };
        let Stage::Busy(flow) = &client.stage else { return };
        let bad = match flow.exchange.has_answer_begun() {
            _ if flow.is_tunnel => return self.close_client(id),
            _ if flow.exchange.is_answered() => Bad::CutShort,
            true => Bad::InHead,
            false => Bad::Nothing,
        };
        self.answered(id, Err(bad));
    }

    fn answered(&mut self, id: ConnId, progress: Result<Progress, Bad>) {
        match progress {
            Ok(Progress::More) => self.progressed(id),
            Ok(Progress::Over) => self.finish(id),
            Ok(Progress::Tunnel) => self.tunnel(id),
            Err(Bad::Nothing) => self.not_answered(id),
            Err(bad) => {
                let why = match bad {
                    Bad::Wrong(wrong) => wrong.why(),
                    Bad::TooManyInterim => "too many interim answers",
                    Bad::InHead | Bad::Nothing => "it ended within its head",
                    Bad::CutShort => "it ended before its end",
                };
                self.log_bad_answer(id, why);
                let is_answered = self.clients.get(id).is_some_and(|client| {
                    matches!(&client.stage, Stage::Busy(flow) if flow.exchange.is_answered())
                });
                if is_answered || bad == Bad::CutShort {
                    return self.cut_off(id);
                }
                self.refuse(id, 502, "the backend's answer was bad");
            }
        }
    }

    /// All of the answer is on its way to the client: the backend's connection is free.
    fn finish(&mut self, id: ConnId) {
        let is_draining = self.is_draining();
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let is_clean = flow.to_backend.is_empty() && !flow.is_deaf;
        let keeps_backend = is_clean && flow.exchange.keeps_backend() && !is_draining;
        let then = match flow.exchange.keeps_client() {
            true => Then::Next,
            // What the client has not been asked for yet may still come.
            false if !flow.exchange.is_sent() || flow.exchange.has_more() => Then::Linger,
            false => Then::Close,
        };
        if let (true, Some(conn), Some(backend)) = (keeps_backend, flow.upstream, flow.backend) {
            flow.upstream = None;
            self.put_back(conn, backend);
        }
        self.leave_backend(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        flow.step = Step::Last(then);
        if flow.to_client.is_empty() {
            self.end_exchange(id, then);
        } else {
            self.progressed(id);
        }
    }

    /// Into the pool.
    fn put_back(&mut self, conn: ConnId, backend: crate::balance::backends::BackendId) {
        if !self.backends.keep_idle(backend, conn) {
            return self.remove_upstream(conn);
        }
        if let Some(upstream) = self.upstreams.get_mut(conn) {
            upstream.client = None;
            let until = self.now.plus(self.plan.times.pool);
            self.upstream_timers.set(conn, &mut upstream.due, until);
        }
        self.watch_upstream(conn, false);
    }

    fn tunnel(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        if !core::mem::replace(&mut flow.is_tunnel, true) {
            let rest = flow.exchange.take_rest();
            flow.to_backend.put(&rest);
            self.flush_backend(id);
            self.watch_client(id, false);
        }
        self.progressed(id);
    }

    /// One that is idle, and shall be no more.
    pub(super) fn drop_upstream(&mut self, conn: ConnId) {
        if let Some(upstream) = self.upstreams.get(conn) {
            self.backends.drop_idle(upstream.backend, conn);
            self.remove_upstream(conn);
        }
    }

    pub(super) fn remove_upstream(&mut self, conn: ConnId) {
        if self.upstreams.remove(conn).is_some() {
            self.descriptor_is_free();
        }
    }
}
