//! Tells a client of the control socket how things stand, a few rows at a time: as much as its connection
//! takes, made when there is room for it. A slow client costs a few kilobytes, and many slots cost no turn of
//! the loop more than some rows. Each row is true when it is told.

use super::children::Heard;
use super::launch::Launcher;
use super::listeners::Listeners;
use super::steering::Steering;
use super::{EventLoop, now, process};
use crate::error::Errno;
use crate::pid_map::PidMap;
use crate::protocol::status::{self, Form, Head, LastEnd, ListenerLine, More, Past};
use crate::supervisor::{Fact, Next, SlotState, Status, Supervisor};
use crate::sys::stream;
use crate::units::{Millis, Pid, SlotId};
use rustix::fd::OwnedFd;

/// No more is made before this much was taken.
const ENOUGH: usize = 4096;
/// Rows made in one turn for one client: each asks the kernel for its worker's memory.
const ROWS_AT_ONCE: usize = 16;

/// What was said of the slots' workers, for those who ask later.
pub(super) struct Ledger {
    pub(super) begun: Millis,
    slots: Vec<Entry>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    restarts: u32,
    last: Option<(Option<Status>, Millis)>,
}

/// How far a client was told.
pub(super) struct Tale {
    form: Form,
    next: Part,
    /// Rows of the present part.
    rows: usize,
    /// Made, and not taken yet.
    text: Vec<u8>,
    /// /proc shows workers by the PIDs that they have here.
    seen: bool,
}

enum Part {
    Head,
    Listener(usize),
    Slots,
    Slot(SlotId),
    Tail,
    End,
}

/// What is told of.
pub(super) struct Scene<'a> {
    supervisor: &'a Supervisor,
    listeners: Option<&'a Listeners>,
    steering: &'a Steering,
    notify: &'a PidMap<Heard>,
    ledger: &'a Ledger,
    launcher: &'a Launcher,
    pid: Pid,
}

/// What came of going on with a tale.
pub(super) enum Told {
    /// The rest when there is room again.
    Some,
    All,
    /// Nobody listens any more.
    Gone,
}

impl EventLoop {
    /// The client has room for more.
    pub(super) fn tell_status(&mut self, number: u32) {
        let scene = Scene {
            supervisor: &self.supervisor,
            listeners: self.listeners.as_ref(),
            steering: &self.steering,
            notify: &self.notify,
            ledger: &self.ledger,
            launcher: &self.launcher,
            pid: self.own_pid,
        };
        if let Some(control) = &mut self.control {
            control.go_on_telling(&self.epoll, number, &scene);
        }
    }
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger { begun: now(), slots: Vec::new() }
    }

    pub(super) fn note(&mut self, fact: &Fact) {
        let (slot, next, ended) = if let Fact::Exited { slot, status, next, .. } = fact {
            (*slot, *next, Some(Some(*status)))
        } else if let Fact::NotStarted { slot, next, .. } = fact {
            (*slot, *next, Some(None))
        } else if let Fact::Replaced { slot, next, .. } = fact {
            (*slot, *next, None)
        } else {
            return;
        };
        let entry = self.entry(slot);
        if let Some(status) = ended.filter(|_| !matches!(next, Next::Asked | Next::InVain)) {
            entry.last = Some((status, now()));
        }
        entry.restarts = entry.restarts.saturating_add(u32::from(matches!(next, Next::Restart(_))));
    }

    fn entry(&mut self, slot: SlotId) -> &mut Entry {
        let place = slot.0 as usize;
        if place >= self.slots.len() {
            self.slots.resize(place + 1, Entry::default());
        }
        &mut self.slots[place]
    }

    fn past(&self, slot: SlotId) -> Past {
        let entry = self.slots.get(slot.0 as usize).copied().unwrap_or_default();
        let last = entry.last.map(|(status, at)| LastEnd { status, ago: now().since(at) });
        Past { restarts: entry.restarts, last }
    }
}

impl Tale {
    pub(super) fn new(form: Form) -> Tale {
        Tale { form, next: Part::Head, rows: 0, text: Vec::new(), seen: process::are_seen() }
    }

    pub(super) fn go_on(&mut self, fd: &OwnedFd, scene: &Scene<'_>) -> Told {
        for _ in 0..ROWS_AT_ONCE {
            if self.text.len() < ENOUGH {
                self.make_row(scene);
            }
        }
        match stream::send_some(fd, &self.text) {
            Ok(count) => drop(self.text.drain(..count)),
            Err(Errno(libc::EAGAIN)) => {}
            Err(_) => return Told::Gone,
        }
        if self.text.is_empty() && matches!(self.next, Part::End) { Told::All } else { Told::Some }
    }

    #[inline(never)]
    fn make_row(&mut self, scene: &Scene<'_>) {
        let (form, mut row) = (self.form, String::new());
        let listeners = scene.listeners.map_or(&[][..], |listeners| &listeners.all);
        let next = match self.next {
            Part::Head => {
                let (version, uptime) =
                    (env!("CARGO_PKG_VERSION"), now().since(scene.ledger.begun));
                let overview = scene.supervisor.overview();
                let command = scene.launcher.command(overview.generation);
                let pid = scene.pid;
                let spread = scene.steering.line();
                let head = Head { version, pid, uptime, overview, command: &command, spread };
                status::head(form, &head, listeners.len(), &mut row);
                Part::Listener(0)
            }
            Part::Listener(place) => match listeners.get(place) {
                Some(listener) => {
                    let queue = listener.queue().map(|queue| (queue.len, queue.max));
                    let address = listener.address.to_string();
                    let (fd, name) = (3 + listener.place, listener.name.as_str());
                    let line =
                        ListenerLine { fd, name, address: &address, slot: listener.slot, queue };
                    status::listener(form, place, &line, &mut row);
                    Part::Listener(place + 1)
                }
                None => Part::Slots,
            },
            Part::Slots => {
                status::slots(form, &mut row);
                Part::Slot(SlotId(0))
            }
            Part::Slot(slot) => self.slot(slot, scene, &mut row),
            Part::Tail => {
                status::tail(form, &mut row);
                Part::End
            }
            Part::End => Part::End,
        };
        self.next = next;
        self.text.extend_from_slice(row.as_bytes());
    }

    fn slot(&mut self, slot: SlotId, scene: &Scene<'_>, row: &mut String) -> Part {
        let Some(view) = scene.supervisor.slot(now(), slot) else { return Part::Tail };
        if view.state != SlotState::Gone || !view.workers.is_empty() {
            let mut more = Vec::new();
            for worker in &view.workers {
                let memory = if self.seen { process::memory_of(worker.pid.0) } else { None };
                let heard = scene.notify.get(worker.pid);
                more.push(More { memory, said: heard.map_or("".into(), |it| it.status.clone()) });
            }
            let past = scene.ledger.past(slot);
            status::slot(self.form, self.rows, (slot, &view), past, &more, row);
            self.rows += 1;
        }
        Part::Slot(SlotId(slot.0 + 1))
    }
}
