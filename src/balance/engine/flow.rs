//! What the loop knows of its connections: clients, what each of them has under way, and connections to backends.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::wire::{Pending, Watch};
use crate::balance::ConnId;
use crate::balance::backends::BackendId;
use crate::balance::exchange::Exchange;
use crate::balance::plan::Times;
use crate::balance::timers::Due;
use crate::units::Millis;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub fd: OwnedFd,
    /// None of a unix socket's.
    pub from: Option<IpAddr>,
    pub watch: Watch,
    pub due: Due,
    /// It says nothing more.
    pub has_ended: bool,
    /// It was answered before.
    pub has_asked: bool,
    pub stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing was said, or all was answered.
    Idle,
    Busy(Box<Flow>),
    /// It has had its last answer, and is read for a while so that it sees it: so many bytes more.
    Lingering(usize),
}

/// One request on its way.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub exchange: Exchange,
    pub step: Step,
    /// Where it has a place.
    pub backend: Option<BackendId>,
    pub upstream: Option<ConnId>,
    pub to_client: Pending,
    pub to_backend: Pending,
    /// Where it failed.
    pub tried: Vec<BackendId>,
    /// A connection that is not new has failed it.
    pub only_fresh: bool,
    /// The backend's connection got nothing of it.
    pub is_untouched: bool,
    /// The backend takes nothing more of it, but may answer still.
    pub is_deaf: bool,
    pub is_tunnel: bool,
    /// One side of a tunnel has ended.
    pub backend_ended: bool,
    /// What is answered if nobody is left who could.
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Step {
    #[default]
    Hearing,
    InLine,
    Connecting,
    UnderWay,
    /// Its answer is to be taken by the client, and then there is another request, or the end.
    Last(Then),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    Next,
    Linger,
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub status: u16,
    pub why: &'static str,
}

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Upstream {
    pub fd: OwnedFd,
    pub backend: BackendId,
    /// Whom it serves; nobody while it is idle.
    pub client: Option<ConnId>,
    pub is_connected: bool,
    /// It has served before.
    pub is_reused: bool,
    pub watch: Watch,
    pub due: Due,
}

/// Whom a flow waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WaitsFor {
    Head,
    Place,
    Connection,
    /// The client takes what it is sent.
    ClientTakes,
    BackendTakes,
    Body,
    Answer,
    Tunnel,
}

impl Flow {
    pub(super) fn recycle(&mut self) {
        self.exchange.recycle();
        self.reset();
    }

    /// For another request.
    pub(super) fn reset(&mut self) {
        self.to_client.clear();
        self.to_backend.clear();
        self.tried.clear();
        self.step = Step::Hearing;
        (self.backend, self.upstream, self.failure) = (None, None, None);
        (self.only_fresh, self.is_untouched, self.is_deaf) = (false, false, false);
        (self.is_tunnel, self.backend_ended) = (false, false);
    }

    pub(super) fn waits_for(&self) -> WaitsFor {
        match self.step {
            Step::Hearing => WaitsFor::Head,
            Step::InLine => WaitsFor::Place,
            Step::Connecting => WaitsFor::Connection,
            Step::Last(_) => WaitsFor::ClientTakes,
            Step::UnderWay if self.is_tunnel => WaitsFor::Tunnel,
            Step::UnderWay if !self.to_client.is_empty() => WaitsFor::ClientTakes,
            Step::UnderWay if !self.to_backend.is_empty() => WaitsFor::BackendTakes,
            Step::UnderWay if self.wants_body() && !self.exchange.waits_to_continue() => {
                WaitsFor::Body
            }
            Step::UnderWay => WaitsFor::Answer,
        }
    }

    pub(super) fn patience(&self, times: &Times) -> Millis {
        match self.waits_for() {
            WaitsFor::Head => times.head,
            WaitsFor::Place => times.queue,
            WaitsFor::Connection => times.connect,
            WaitsFor::ClientTakes | WaitsFor::BackendTakes => times.write,
            WaitsFor::Body => times.body,
            WaitsFor::Answer => times.answer,
            WaitsFor::Tunnel => times.tunnel,
        }
    }

    /// More of the request is to come, and somebody would take it.
    fn wants_body(&self) -> bool {
        !self.exchange.is_sent() && !self.is_deaf
    }

    /// Whether to read what the client says.
    pub(super) fn wants_client(&self) -> bool {
        match self.step {
            Step::Hearing => true,
            Step::InLine | Step::Connecting | Step::Last(_) => false,
            Step::UnderWay if self.is_tunnel => self.to_backend.is_empty(),
            Step::UnderWay => self.wants_body() && self.to_backend.is_empty(),
        }
    }

    /// Whether to read what the backend says: only what the client takes.
    pub(super) fn wants_backend(&self) -> bool {
        self.step == Step::UnderWay && self.to_client.is_empty() && !self.backend_ended
    }
}
