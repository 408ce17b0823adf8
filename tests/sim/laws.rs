//! What must never happen, seen from the world alone: whom fd3 signals, how many workers it starts, how
//! soon, and how it ends. Nothing here follows the supervisor's states; see `model` for what must happen.

mod reload;
mod starter;

use std::collections::BTreeMap;

use fd3::plan::{Reaction, Rules, Ways};
use fd3::supervisor::{Action, Ending, Event, Fact, Next, Sender, Target};
use fd3::units::{Generation, Millis, Pid, Signal, SlotId};

use crate::memory::{Blame, Group, Slot, Worker, blame};
use crate::process::Process;
use crate::reloads::Reloads;
use crate::scene::{BY, Scene};
use crate::world::Claim;
use starter::is_order;

/// How long SIGKILL may take before fd3 goes on without a worker.
const KILL_PATIENCE: Millis = Millis(5_000);

/// A hung worker's time to end, where stops have no limit.
const ABORT_PATIENCE: Millis = Millis(8_000);

pub struct Laws {
    rules: Rules,
    count: usize,
    /// How many slots there are now.
    size: u32,
    begun: bool,
    replaced: bool,
    spawning: Option<(SlotId, Generation)>,
    /// Of whom the present event tells.
    of: Generation,
    reloads: Reloads,
    workers: BTreeMap<Pid, Worker>,
    /// What dead workers may have left behind.
    groups: BTreeMap<Pid, Group>,
    /// For each slot, what happened to its workers of each generation.
    slots: Vec<BTreeMap<Generation, Slot>>,
    closed: Option<By>,
    /// The present event is an order to stop, or has signals forwarded.
    order: Option<Reaction>,
    stops: u32,
    limited_at: Option<Millis>,
    at_once: bool,
    /// When the latest order to stop came, or fd3 gave up.
    ordered_at: Millis,
    finished: bool,
    /// Ends that were asked for and are not counted: so many a slot at the most.
    forgiven: usize,
    /// The present event had some effect.
    acted: bool,
}

/// Who wanted the stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Order,
    Fd3,
}

impl Laws {
    pub fn new(scene: &Scene) -> Laws {
        Laws {
            rules: scene.rules.clone(),
            count: scene.workers as usize,
            size: scene.workers,
            begun: false,
            replaced: false,
            spawning: None,
            of: Generation(1),
            reloads: Reloads { drain: scene.rules.drain_timeout, ..Reloads::default() },
            workers: BTreeMap::new(),
            groups: BTreeMap::new(),
            slots: (0..scene.workers).map(|_| BTreeMap::new()).collect(),
            closed: None,
            order: None,
            stops: 0,
            limited_at: None,
            at_once: false,
            ordered_at: Millis(0),
            finished: false,
            forgiven: 0,
            acted: false,
        }
    }

    pub fn before(&mut self, now: Millis, event: &Event) -> Claim {
        self.order = None;
        self.acted = false;
        match event {
            Event::Begin => self.begun = true,
            Event::ListenerReplaced | Event::ListenerDead => self.replaced = true,
            Event::Spawned { slot, pid } => {
                if let Some((slot, generation)) = self.spawns(*slot) {
                    let worker = Worker::new(slot, generation);
                    self.workers.insert(*pid, worker);
                }
            }
            Event::SpawnFailed { slot, error } => {
                if let Some((slot, generation)) = self.spawns(*slot) {
                    self.ended(slot, generation, now, blame(error));
                }
            }
            Event::ExecFailed { pid, error } => {
                if let Some(worker) = self.workers.get_mut(pid) {
                    worker.shortage = blame(error) == Blame::Nobody;
                }
            }
            Event::Exited { pid, .. } => self.exited(now, *pid),
            Event::GroupGone { group } => drop(self.groups.remove(group)),
            Event::Signalled { signal, sender } => self.signalled(now, *signal, *sender),
            Event::ReloadAsked { asker } => self.reloads.asked.extend(*asker),
            Event::ReloadOrdered { asker, terms } => {
                self.reloads.asked.extend(*asker);
                self.reloads.offered.extend(terms.command);
            }
            Event::ScaleAsked { asker, .. } => self.reloads.asked.extend(*asker),
            Event::RestartAsked { asker, .. } => self.reloads.asked.extend(*asker),
            Event::StopAsked { how } => self.stop_asked(now, *how),
            Event::Loaded { rules } => self.reloads.loaded(rules, self.count),
            Event::LoadFailed { .. } => self.reloads.loading = None,
            Event::Stops { pid } => {
                if let Some(worker) = self.workers.get_mut(pid) {
                    worker.stops_at.get_or_insert(now);
                }
            }
            Event::MoreTime { .. } | Event::Well { .. } | Event::Hangs { .. } => {}
            Event::WatchdogSet { .. } | Event::Ready { .. } => {}
            Event::Demanded | Event::TimePassed | Event::Queue { .. } => {}
        }
        Ok(())
    }

    fn exited(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.remove(&pid) else { return };
        self.of = worker.generation;
        let since = worker.since().unwrap_or(now);
        if self.rules.ways() == Ways::Own {
            self.groups.insert(pid, Group { since, killed_at: worker.killed_at });
        }
        let told = worker.told_at.is_some() || worker.aborts_at.is_some();
        if !told && worker.killed_at.is_none() {
            let blame = if worker.shortage { Blame::Nobody } else { Blame::Command };
            self.ended(worker.slot, worker.generation, now, blame);
        }
    }

    fn spawns(&mut self, slot: SlotId) -> Option<(SlotId, Generation)> {
        let spawning = self.spawning.take_if(|(spawning, _)| *spawning == slot)?;
        self.of = spawning.1;
        Some(spawning)
    }

    /// While a reload runs, nothing is given up.
    fn blame(&self) -> Blame {
        let runs = self.reloads.under_way.is_some() || self.reloads.renewing.is_some();
        if runs { Blame::Nobody } else { Blame::Command }
    }

    fn ended(&mut self, slot: SlotId, of: Generation, now: Millis, blame: Blame) {
        let blame = if self.blame() == Blame::Nobody { Blame::Nobody } else { blame };
        if let Some(slot) = self.slots.get_mut(slot.0 as usize) {
            slot.entry(of).or_default().ended = Some((now, blame));
        }
    }

    fn signalled(&mut self, now: Millis, signal: Signal, sender: Sender) {
        let mut senders = [sender.pid, sender.group].into_iter().flatten();
        let known = |pid| self.workers.contains_key(&pid) || self.groups.contains_key(&pid);
        if self.rules.ways() == Ways::Own && senders.any(known) {
            return;
        }
        let reaction = self.rules.reactions.to(signal);
        self.order = Some(reaction);
        if is_order(reaction) {
            self.ordered_at = now;
        }
        match reaction {
            Reaction::Stop => {
                self.stops += 1;
                self.at_once |= self.stops > 1;
                self.limited_at = self.limited_at.or(Some(now));
            }
            Reaction::StopNow => self.at_once = true,
            Reaction::StopBy(_) => {}
            Reaction::Drain | Reaction::Reload | Reaction::Upgrade | Reaction::Up => {}
            Reaction::Down | Reaction::Ignore | Reaction::Forward(_) => {}
        }
    }

    fn stop_asked(&mut self, now: Millis, how: Ending) {
        self.ordered_at = now;
        self.order = Some(match how {
            Ending::Limited => Reaction::Stop,
            Ending::Patient => Reaction::Drain,
            Ending::Now => Reaction::StopNow,
        });
        match how {
            Ending::Limited => self.limited_at = self.limited_at.or(Some(now)),
            Ending::Patient => {}
            Ending::Now => self.at_once = true,
        }
    }

    pub fn action(
        &mut self,
        now: Millis,
        action: &Action,
        processes: &BTreeMap<Pid, Process>,
        noticed: Option<Pid>,
    ) -> Claim {
        self.acted = true;
        if self.finished {
            return Err(format!("after Finish: {action:?}"));
        }
        match action {
            Action::Spawn { slot, generation } => self.spawn(now, *slot, *generation, processes),
            Action::Signal { pid, signal, to } => {
                let there = processes.get(pid).is_some_and(Process::counts);
                if !there && noticed != Some(*pid) {
                    return Err(format!("{signal:?} to {pid}, which is no worker"));
                }
                self.signal(now, *pid, *signal, *to)
            }
            Action::Load { generation, command } => self.reloads.load(*generation, *command),
            Action::Steer { .. } | Action::LookAtQueue { .. } => Ok(()),
            Action::Forget { generation } => self.reloads.forget(*generation),
            Action::Answer { asker, .. } => self.reloads.answer(*asker),
            Action::SignalLeftovers { group, signal } => self.kills_group(now, *group, *signal),
            Action::MendListeners => match self.closed {
                None => Ok(()),
                Some(_) => Err("closed listeners are mended".into()),
            },
            Action::CloseListeners => {
                let ordered = if self.order.is_some_and(is_order) { By::Order } else { By::Fd3 };
                self.ordered_at = now;
                match self.closed.replace(ordered) {
                    None => Ok(()),
                    Some(_) => Err("the listeners are closed twice".into()),
                }
            }
            Action::Say(fact) => self.said(now, fact),
            Action::Finish { status } => self.finish(now, *status, processes),
        }
    }

    fn spawn(
        &mut self,
        now: Millis,
        slot: SlotId,
        generation: Generation,
        processes: &BTreeMap<Pid, Process>,
    ) -> Claim {
        if !self.begun || self.closed.is_some() {
            return Err("a worker is started before the beginning, or after the end".into());
        }
        if self.spawning.replace((slot, generation)).is_some() {
            return Err("two workers are started at a time".into());
        }
        if slot.0 >= self.size {
            return Err(format!("slot {slot} was taken away, and a worker is started there"));
        }
        self.reloads.may_spawn(generation)?;
        if self.rules.ways() == Ways::Starter {
            return self.spawn_as_starter(now, slot, generation);
        }
        self.not_in_a_whirl(now, slot, generation)?;
        let in_slot = |process: &&Process| process.slot == slot && process.counts();
        let more = self.replaced || self.reloads.surge > 0;
        if processes.values().filter(in_slot).count() > usize::from(more) {
            return Err(format!("slot {slot} has too many workers, and one more is started"));
        }
        let live = processes.values().filter(|process| process.counts()).count();
        let told = self.workers.values().filter(|worker| worker.since().is_some()).count();
        let surge = self.reloads.surge;
        let most = if self.replaced { 2 * self.count } else { self.count + surge };
        if live >= most || self.workers.len() - told >= self.count + surge {
            return Err(format!("{live} workers live, and one more is started"));
        }
        let Some(place) = self.slots.get_mut(slot.0 as usize) else {
            return Err(format!("there is no slot {slot}"));
        };
        let place = place.entry(generation).or_default();
        if self.reloads.renewing == Some(slot) {
            return Ok(());
        }
        let Some((ended, blame)) = place.ended.take() else { return Ok(()) };
        if now < ended.plus(self.rules.backoff.min) {
            return Err(format!("slot {slot} failed at {} and is started again", ended.0));
        }
        if let Some(limit) = self.rules.respawn_limit.filter(|_| blame == Blame::Command) {
            place.restarted.retain(|at| ended.since(*at) < limit.window);
            place.restarted.push_back(ended);
            if place.restarted.len() > limit.count as usize + self.forgiven {
                return Err(format!("slot {slot} is restarted more often than its limit"));
            }
        }
        Ok(())
    }

    /// Whatever the reason for another start of a slot was: it was told before, waited for, and counted.
    fn not_in_a_whirl(&mut self, now: Millis, slot: SlotId, of: Generation) -> Claim {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
        let place = place.entry(of).or_default();
        let Some(before) = place.spawned.replace(now) else { return Ok(()) };
        let waits = core::mem::take(&mut place.waits);
        if core::mem::take(&mut place.excused) || self.reloads.renewing == Some(slot) {
            place.promise = None;
            return Ok(());
        }
        if now < before.plus(self.rules.backoff.min) {
            return Err(format!("slot {slot} was started at {} and is started again", before.0));
        }
        if waits {
            return Ok(());
        }
        let limit = self.rules.respawn_limit;
        place.keeps_promise(now, limit, self.forgiven).map_err(|what| format!("slot {slot} {what}"))
    }

    fn said(&mut self, now: Millis, fact: &Fact) -> Claim {
        let mut blamed = self.blame();
        let (slot, next) = match fact {
            Fact::Exited { slot, next, .. } => (*slot, *next),
            Fact::NotStarted { slot, error, next } => {
                blamed = if blame(error) == Blame::Nobody { Blame::Nobody } else { blamed };
                (*slot, *next)
            }
            Fact::Replaced { slot, pid, next } => {
                if self.workers.get(pid).is_none_or(|worker| worker.since().is_none()) {
                    return Err(format!("{pid} is replaced and was not told to stop"));
                }
                self.of = self.workers.get(pid).map_or(self.of, |worker| worker.generation);
                (*slot, *next)
            }
            Fact::Abandoned { pid, .. } => {
                let killed_at = self.workers.remove(pid).and_then(|worker| worker.killed_at);
                let patient = killed_at.is_some_and(|at| now >= at.plus(KILL_PATIENCE));
                return if patient { Ok(()) } else { Err(format!("{pid} is given up too soon")) };
            }
            Fact::StartTimedOut { pid, .. } | Fact::Hung { pid, .. } => {
                self.reloads.too_slow = Some(*pid);
                return Ok(());
            }
            Fact::Started { .. } | Fact::Ready { .. } => return Ok(()),
            Fact::StopTimedOut { .. } | Fact::Stopping { .. } => return Ok(()),
            Fact::StoppingNow { .. } | Fact::SignalIgnored { .. } => return Ok(()),
            Fact::LeftoversKilled { .. } | Fact::ListenersDown => return Ok(()),
            Fact::Reloading { .. } | Fact::ReloadWaits { .. } => return Ok(()),
            Fact::TriedAgain { .. } | Fact::TooOld { .. } => return Ok(()),
            Fact::Renewing { slot } => return self.reloads.renew(*slot),
            Fact::RenewalEnded { slot, .. } => {
                self.reloads.renewing = None;
                self.forgiven += 1;
                for place in self.slots[slot.0 as usize].values_mut() {
                    (place.excused, place.promise, place.ended) = (true, None, None);
                }
                return Ok(());
            }
            Fact::Scaled { workers } => {
                self.size = *workers;
                self.count = self.count.max(*workers as usize);
                self.slots.resize(self.count, BTreeMap::new());
                // Those that are taken away may still finish.
                self.reloads.surge = self.reloads.surge.max(self.count);
                // One that was taken away may come back at any time.
                self.excuse();
                return Ok(());
            }
            Fact::ReloadEnded { generation, outcome } => {
                return self.reload_ended(*generation, outcome);
            }
        };
        if self.rules.ways() == Ways::Starter {
            return Ok(());
        }
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
        let place = place.entry(self.of).or_default();
        if next == Next::Wait {
            // Whoever connects may have it started again, but not in a whirl.
            (place.ended, place.waits) = (None, true);
        }
        let Next::Restart(wait) = next else { return Ok(()) };
        match place.promise.replace((now, wait, blamed)) {
            Some((before, ..)) => {
                Err(format!("slot {slot} was to be started since {}, and once more", before.0))
            }
            None => Ok(()),
        }
    }

    fn signal(&mut self, now: Millis, pid: Pid, signal: Signal, to: Target) -> Claim {
        if matches!(self.order, Some(Reaction::Forward(forwarded)) if forwarded == signal) {
            return Ok(());
        }
        let Some(worker) = self.workers.get_mut(&pid) else { return Ok(()) };
        if signal == BY {
            worker.told_at.get_or_insert(now);
            return self.told_by_another(pid, to);
        }
        if signal == self.rules.stop_signal {
            self.reloads.told(pid, worker.generation);
            return match worker.told_at.replace(now) {
                None if to == Target::Process => Ok(()),
                None => Err(format!("the group of {pid} is told to stop")),
                Some(_) => Err(format!("{pid} is told twice to stop")),
            };
        }
        if signal.0 == libc::SIGABRT && worker.aborts_at.replace(now).is_some() {
            return Err(format!("{pid} is told twice to abort"));
        }
        if signal.0 != libc::SIGKILL {
            return Ok(());
        }
        // It is the shorter one that counts.
        let timeout = self.rules.stop_timeout.into_iter().chain(self.reloads.drain).min();
        let over = |since: Option<Millis>| {
            since.zip(timeout).is_some_and(|(since, timeout)| now >= since.plus(timeout))
        };
        let since = worker.since();
        let aborted = worker.aborts_at.is_some_and(|at| now >= at.plus(ABORT_PATIENCE));
        let had_time = since.is_some() && (over(since) || over(self.limited_at)) || aborted;
        if !had_time && !self.at_once {
            return Err(format!("{pid} is killed and had no time to stop"));
        }
        if worker.killed_at.replace(now).is_some() || to != Target::Group {
            return Err(format!("{pid} is killed twice, or without its group"));
        }
        Ok(())
    }

    fn kills_group(&mut self, now: Millis, group: Pid, signal: Signal) -> Claim {
        let timeout = self.rules.stop_timeout.into_iter().chain(self.reloads.drain).min();
        let over = |since: Millis| timeout.is_some_and(|timeout| now >= since.plus(timeout));
        let Some(left) = self.groups.get_mut(&group) else {
            return Err(format!("{signal:?} to group {group}, which is none of ours"));
        };
        // Whoever was told to abort has only so long.
        let aborted = now >= left.since.plus(ABORT_PATIENCE);
        let had_time = over(left.since) || self.limited_at.is_some_and(over) || aborted;
        if signal.0 != libc::SIGKILL || left.killed_at.is_some() || !(had_time || self.at_once) {
            return Err(format!("{signal:?} to group {group} at a wrong time"));
        }
        left.killed_at = Some(now);
        Ok(())
    }

    /// Whether fd3 may not go yet: what workers left behind has some time to end.
    fn awaits_groups(&self, now: Millis) -> bool {
        let over = |group: &Group| group.killed_at.is_some_and(|at| now >= at.plus(KILL_PATIENCE));
        !self.groups.values().all(over)
    }

    fn finish(&mut self, now: Millis, status: u8, processes: &BTreeMap<Pid, Process>) -> Claim {
        self.finished = true;
        if let Some((pid, _)) = processes.iter().find(|(_, process)| process.counts()) {
            return Err(format!("fd3 finishes, and {pid} lives"));
        }
        if !self.reloads.asked.is_empty() {
            return Err("fd3 finishes, and somebody still waits for a reload".into());
        }
        if self.awaits_groups(now) {
            return Err("fd3 finishes, and what workers left behind lives".into());
        }
        if self.closed == Some(By::Order) && status != 0 {
            return Err(format!("an ordered stop ends with status {status}"));
        }
        Ok(())
    }

    pub fn after(&mut self, now: Millis, deadline: Option<Millis>, slept: bool) -> Claim {
        let due = deadline.is_some_and(|deadline| deadline <= now);
        if slept && due && !self.acted {
            return Err(format!("a busy loop: the time passed and {deadline:?} is still due"));
        }
        let patience_over = now >= self.ordered_at.plus(KILL_PATIENCE);
        let left =
            if slept && patience_over { self.awaits_groups(now) } else { !self.groups.is_empty() };
        if self.closed.is_some() && !self.finished && self.workers.is_empty() && !left {
            return Err("nobody is left to wait for, and fd3 does not finish".into());
        }
        Ok(())
    }
}
