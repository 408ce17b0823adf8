//! Where a request goes: to a backend, to the line, to another backend, or back to the client with the reason.

use super::Engine;
use super::flow::{Failure, Flow, Stage, Step, Then, Upstream};
use super::wire::{Pipe, Watch};
use crate::balance::ConnId;
use crate::balance::backends::{BackendId, Choice};
use crate::balance::exchange::Out;
use crate::balance::http::answer::{self, Answer};
use crate::balance::http::head::{Method, Version};
use crate::balance::http::rewrite::Onward;
use crate::balance::origin::Place;
use crate::balance::timers::Due;
use crate::error::Errno;
use crate::sys::clock;
use crate::sys::conn::{self, Begun, Follows};
use crate::sys::socket::Name;

/// What a client is told to wait, in seconds, where nobody serves it now.
const RETRY_AFTER: u32 = 1;

pub(super) const NOBODY: Failure = Failure { status: 503, why: "no backend is up" };
const NO_CONNECTION: Failure = Failure { status: 503, why: "no backend takes a connection" };
const LINE_FULL: Failure = Failure { status: 503, why: "every backend is busy" };
const NO_ANSWER: Failure =
    Failure { status: 502, why: "the backend ended the connection without an answer" };

/// Whether a connection failed for a reason that says nothing of the backend.
pub(super) fn is_our_own(errno: Errno) -> bool {
    let ours = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
    // EAGAIN: the queue of a unix socket is full, behind which somebody lives.
    ours.contains(&errno.0) || errno.0 == libc::EAGAIN
}

impl Engine {
    fn flow(&mut self, id: ConnId) -> Option<&mut Flow> {
        match &mut self.clients.get_mut(id)?.stage {
            Stage::Busy(flow) => Some(flow),
            Stage::Idle | Stage::Lingering(_) => None,
        }
    }

    /// A request is heard, or is to be tried once more.
    pub(super) fn dispatch(&mut self, id: ConnId) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        match self.backends.choose(&flow.tried, now) {
            Choice::Go(backend) => {
                flow.backend = Some(backend);
                self.connect(id, backend);
            }
            Choice::Wait => {
                if self.backends.wait(id) {
                    flow.step = Step::InLine;
                    self.progressed(id);
                } else {
                    self.refuse(id, LINE_FULL.status, LINE_FULL.why);
                }
            }
            Choice::Nobody => {
                let failure = flow.failure.unwrap_or(NOBODY);
                self.refuse(id, failure.status, failure.why);
            }
        }
    }

    /// Those in line, as far as there are places now.
    pub(super) fn move_line(&mut self) {
        while let Some(id) = self.backends.call() {
            let now = self.now;
            let Some(flow) = self.flow(id).filter(|flow| flow.step == Step::InLine) else {
                continue;
            };
            let tried = core::mem::take(&mut flow.tried);
            let choice = self.backends.choose(&tried, now);
            let Some(flow) = self.flow(id) else { continue };
            flow.tried = tried;
            match choice {
                Choice::Go(backend) => {
                    flow.backend = Some(backend);
                    self.connect(id, backend);
                    self.watch_client(id, false);
                }
                // Also where nobody is up: somebody may be soon, and its time is limited.
                Choice::Wait | Choice::Nobody => return self.backends.call_later(id),
            }
        }
    }

    /// Over a connection that is there, or a new one.
    fn connect(&mut self, id: ConnId, backend: BackendId) {
        let Some(flow) = self.flow(id) else { return };
        let only_fresh = flow.only_fresh;
        let is_idempotent =
            flow.exchange.request().is_some_and(|request| request.method.is_idempotent());
        while !only_fresh && let Some(idle) = self.backends.take_idle(backend) {
            // What cannot be sent again is not risked on a connection that has ended.
            let is_usable = |up: &&mut Upstream| is_idempotent || conn::is_quiet(&up.fd);
            if let Some(upstream) = self.upstreams.get_mut(idle).filter(is_usable) {
                (upstream.client, upstream.is_reused) = (Some(id), true);
                upstream.due.never();
                return self.begin(id, idle);
            }
            self.remove_upstream(idle);
        }
        let Some(place) = self.backends.get(backend).map(|one| &one.target.place) else { return };
        match conn::connect(&name(place)) {
            Ok((fd, begun)) => {
                let upstream = Upstream {
                    fd,
                    backend,
                    client: Some(id),
                    is_connected: begun == Begun::Connected,
                    is_reused: false,
                    watch: Watch::NONE,
                    due: Due::default(),
                };
                let conn = self.upstreams.insert(upstream);
                self.begin(id, conn);
            }
            Err(errno) => self.not_connected(id, errno),
        }
    }

    /// Sends the request from its beginning. A connection that is under way takes it mostly, too.
    fn begin(&mut self, id: ConnId, conn: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let Some(upstream) = self.upstreams.get(conn) else { return };
        let Some(backend) = self.backends.get(upstream.backend) else { return };
        self.text.clear();
        if let Some(from) = client.from {
            let _ = core::fmt::Write::write_fmt(&mut self.text, format_args!("{from}"));
        }
        let onward = Onward {
            forwarded: self.plan.forwarded,
            client: &self.text,
            https: false,
            via: self.plan.via.as_deref(),
            prefix: &backend.target.prefix,
            host: &backend.target.authority,
        };
        flow.upstream = Some(conn);
        flow.step = if upstream.is_connected { Step::UnderWay } else { Step::Connecting };
        (flow.is_untouched, flow.is_deaf) = (true, false);
        flow.to_backend.clear();
        let begun = flow.exchange.begin(&onward, self.plan.max_body, &mut flow.to_backend);
        if let Err(wrong) = begun {
            return self.refuse(id, wrong.status(), wrong.why());
        }
        self.progressed(id);
        self.flush_backend(id);
        self.watch_upstream(conn, false);
    }

    /// More of its body.
    pub(super) fn upload(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let Some(upstream) = flow.upstream.and_then(|conn| self.upstreams.get(conn)) else {
            return;
        };
        let mut pipe = Pipe::new(&upstream.fd, &mut flow.to_backend);
        let uploaded = flow.exchange.upload(bytes, &mut pipe);
        let sent = pipe.finish();
        if let Err(wrong) = uploaded {
            if flow.exchange.is_answered() {
                return self.cut_off(id);
            }
            return self.refuse(id, wrong.status(), wrong.why());
        }
        if sent.is_err() {
            self.is_deaf(id);
        }
        self.progressed(id);
        self.watch_its_upstream(id);
    }

    /// The backend takes nothing more; what it has said already, or says still, counts.
    pub(super) fn is_deaf(&mut self, id: ConnId) {
        if let Some(flow) = self.flow(id) {
            flow.is_deaf = true;
            flow.to_backend.clear();
        }
    }

    /// Sends what waits for the backend.
    pub(super) fn flush_backend(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        let Some(conn) = flow.upstream else { return };
        let Some(upstream) = self.upstreams.get_mut(conn) else { return };
        let was_waiting = !flow.to_backend.is_empty();
        match flow.to_backend.flush(&upstream.fd, Follows::Nothing) {
            Ok(0) => {}
            Ok(_) => {
                flow.is_untouched = false;
                if !upstream.is_connected {
                    upstream.is_connected = true;
                    flow.step = Step::UnderWay;
                    let backend = upstream.backend;
                    self.took_connection(backend);
                }
                self.progressed(id);
            }
            Err(errno) if !upstream.is_connected => return self.not_connected(id, errno),
            Err(_) => self.is_deaf(id),
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        if was_waiting && flow.to_backend.is_empty() {
            if flow.is_tunnel
                && client.has_ended
                && let Some(upstream) = flow.upstream.and_then(|conn| self.upstreams.get(conn))
            {
                conn::end(&upstream.fd);
            }
            self.watch_client(id, false);
        }
    }

    pub(super) fn took_connection(&mut self, backend: BackendId) {
        let change = self.backends.connected(backend);
        if let (Some(change), Some(one)) = (change, self.backends.get(backend)) {
            self.log.changed(&one.target.name, change, "");
        }
    }

    pub(super) fn connection_timed_out(&mut self, id: ConnId) {
        self.not_connected(id, Errno(libc::ETIMEDOUT));
    }

    /// Nothing was sent: another backend may have it, whatever it is.
    pub(super) fn not_connected(&mut self, id: ConnId, errno: Errno) {
        let Some(backend) = self.flow(id).and_then(|flow| flow.backend) else { return };
        if !is_our_own(errno) {
            let change = self.backends.not_connected(backend, self.now);
            if let (Some(change), Some(one)) = (change, self.backends.get(backend)) {
                self.log.changed(&one.target.name, change, &errno.to_string());
            }
        }
        self.try_another(id, backend, NO_CONNECTION);
    }

    fn try_another(&mut self, id: ConnId, failed: BackendId, failure: Failure) {
        self.leave_backend(id);
        let retries = self.plan.retries as usize;
        let Some(flow) = self.flow(id) else { return };
        flow.tried.push(failed);
        flow.failure = Some(failure);
        if flow.tried.len() > retries {
            return self.refuse(id, failure.status, failure.why);
        }
        self.dispatch(id);
    }

    /// The backend's connection ended before it said anything.
    pub(super) fn not_answered(&mut self, id: ConnId) {
        let Some(flow) = self.flow(id) else { return };
        let (Some(backend), Some(conn)) = (flow.backend, flow.upstream) else { return };
        let may_again = flow.exchange.may_be_sent_again(flow.is_untouched);
        let is_reused = self.upstreams.get(conn).is_some_and(|upstream| upstream.is_reused);
        if !may_again {
            self.log_bad_answer(id, NO_ANSWER.why);
            return self.refuse(id, NO_ANSWER.status, NO_ANSWER.why);
        }
        if is_reused {
            // It had ended while nobody used it: no fault of the backend's.
            self.leave_backend(id);
            if let Some(flow) = self.flow(id) {
                flow.only_fresh = true;
            }
            return self.dispatch(id);
        }
        self.try_another(id, backend, NO_ANSWER);
    }

    /// Gives back its place and what is left of its connection.
    pub(super) fn leave_backend(&mut self, id: ConnId) {
        let Some(flow) = self.flow(id) else { return };
        let (conn, backend) = (flow.upstream.take(), flow.backend.take());
        flow.to_backend.clear();
        if let Some(conn) = conn {
            self.remove_upstream(conn);
        }
        if let Some(backend) = backend {
            self.leave(backend);
        }
    }

    pub(super) fn leave(&mut self, backend: BackendId) {
        self.backends.leave(backend);
        self.is_line_moving |= self.backends.waits();
    }

    /// An answer of our own.
    pub(super) fn refuse(&mut self, id: ConnId, status: u16, why: &str) {
        self.leave_backend(id);
        let (is_draining, now) = (self.is_draining(), clock::realtime_ms() / 1000);
        let Some(client) = self.clients.get_mut(id) else { return };
        let Stage::Busy(flow) = &mut client.stage else { return };
        if flow.step == Step::InLine {
            self.backends.leave_line(id);
        }
        let request = flow.exchange.request().copied();
        // After a request that was wrong nothing can be told from where the next one begins.
        let goes_on = status == 503
            && request.is_some_and(|request| request.persistent)
            && flow.exchange.is_without_body()
            && !is_draining
            && !client.has_ended;
        let own = Answer {
            status,
            why,
            retry_after: (status == 503).then_some(RETRY_AFTER),
            close: !goes_on,
            head_only: request.is_some_and(|request| request.method == Method::Head),
            http10: request.is_some_and(|request| request.version == Version::Http10),
            now,
        };
        answer::answer(&own, flow.to_client.pending());
        flow.exchange.answered_by_us();
        flow.step = Step::Last(if goes_on { Then::Next } else { Then::Linger });
        self.progressed(id);
        self.flush_client(id);
    }

    pub(super) fn watch_its_upstream(&mut self, id: ConnId) {
        if let Some(conn) = self.flow(id).and_then(|flow| flow.upstream) {
            self.watch_upstream(conn, false);
        }
    }

    pub(super) fn log_bad_answer(&mut self, id: ConnId, why: &str) {
        let backend = self.flow(id).and_then(|flow| flow.backend);
        if let Some(one) = backend.and_then(|backend| self.backends.get(backend)) {
            self.log.bad_answer(&one.target.name, why);
        }
    }
}

/// As the kernel is told.
pub(super) fn name(place: &Place) -> Name {
    match place {
        Place::Inet(core::net::SocketAddr::V4(address)) => Name::V4(*address),
        Place::Inet(core::net::SocketAddr::V6(address)) => Name::V6(*address),
        Place::Path(path) => Name::Path(path.clone()),
        Place::Abstract(name) => Name::Abstract(name.clone()),
    }
}
