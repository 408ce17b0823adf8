//! How many slots there are, which of them is replaced alone, and the orders by name for that and for a stop.

use std::collections::VecDeque;

use fd3::plan::Ways;
use fd3::supervisor::{Ending, Terms};
use fd3::units::{Asker, Millis, Pid, SlotId};

use super::reload::{Came, Reload};
use super::{Haste, Model, Slot, Worker};

/// What is still to be carried out.
#[derive(Default)]
pub(super) struct Orders {
    scalers: Vec<Asker>,
    restarts: VecDeque<(SlotId, Vec<Asker>)>,
}

impl Model {
    /// However often it comes, it is one order.
    pub(super) fn stop_asked(&mut self, now: Millis, how: Ending) {
        let asked = match how {
            Ending::Limited => Haste::Named,
            Ending::Patient => Haste::Patient,
            Ending::Now => Haste::Now,
        };
        if self.stop.is_none_or(|stop| asked > stop.haste) {
            self.ordered_stop(now, asked, None);
        }
    }

    fn is_too_late(&mut self, asker: Asker) -> bool {
        let late = self.stop.is_some() || self.finished;
        if late {
            self.due.answers.push((asker, Came::Stopped));
        }
        late
    }

    /// Refused at once, or one with all that are wanted.
    pub(super) fn reload_ordered(&mut self, asker: Asker, terms: Terms) {
        if self.is_too_late(asker) {
            return;
        }
        let wanted = self.wanted.is_some();
        let busy = wanted || self.loading.is_some() || self.replaces_all();
        let meant = terms.if_generation.is_none_or(|it| it == self.serving && !busy);
        let taken = self.wanted_command.is_some() && terms.command.is_some();
        if !meant || taken {
            return self.due.answers.push((asker, Came::Refused));
        }
        self.wanted_command = self.wanted_command.or(terms.command);
        self.reload_asked(Some(asker));
    }

    pub(super) fn scale_asked(&mut self, workers: u32, asker: Asker) {
        if !self.is_too_late(asker) {
            self.target = workers;
            self.orders.scalers.push(asker);
        }
    }

    fn is_scaled(&mut self) {
        for asker in core::mem::take(&mut self.orders.scalers) {
            self.due.answers.push((asker, Came::Scaled(self.size)));
        }
    }

    pub(super) fn restart_asked(&mut self, slot: SlotId, asker: Asker) {
        if self.is_too_late(asker) {
            return;
        }
        let comes = slot.0 >= self.size && slot.0 < self.target;
        let comes = comes && self.rules.ways() == Ways::Own;
        if !comes && !self.may_restart(slot) {
            return self.due.answers.push((asker, Came::Refused));
        }
        let known = self.orders.restarts.iter_mut().find(|(known, _)| *known == slot);
        match known {
            Some((_, askers)) => askers.push(asker),
            None => self.orders.restarts.push_back((slot, vec![asker])),
        }
    }

    fn may_restart(&self, slot: SlotId) -> bool {
        let rests = self.slots.get(slot.0 as usize).is_none_or(|slot| slot.rests);
        slot.0 < self.size && !rests && self.rules.ways() == Ways::Own
    }

    /// The next one that can be.
    fn next_restart(&mut self) -> Option<(SlotId, Vec<Asker>)> {
        while let Some((slot, askers)) = self.orders.restarts.pop_front() {
            if self.may_restart(slot) {
                return Some((slot, askers));
            }
            self.due.answers.extend(askers.into_iter().map(|asker| (asker, Came::Refused)));
        }
        None
    }

    /// Slots come and go at the end of the row, and not while a reload runs.
    pub(super) fn scale(&mut self, now: Millis) {
        let free = self.reload.is_none() && self.loading.is_none() && self.spawning.is_none();
        if !self.running() || !free {
            return;
        }
        if self.size != self.target {
            self.change_size(now);
        }
        self.is_scaled();
    }

    fn change_size(&mut self, now: Millis) {
        self.due.scaled = true;
        let (before, after) = (self.size, self.target);
        self.size = after;
        for slot in (before..after).map(SlotId) {
            if self.slots.len() == slot.0 as usize {
                self.slots.push(Slot { rests: true, ..Slot::new() });
            }
            let (serving, place) = (self.serving, self.slot(slot));
            (place.generation, place.blameless) = (serving, true);
            if core::mem::take(&mut place.rests) {
                self.fill(slot);
            }
            self.spread.comes_back(slot);
        }
        for slot in (after..before).map(SlotId) {
            match self.holder(slot) {
                Some(pid) if self.empties(now, slot, pid) => {}
                Some(pid) => self.take_away(now, slot, pid),
                None => {
                    let place = self.slot(slot);
                    (place.vacant, place.wait, place.rests) = (false, None, true);
                    place.waits = false;
                    place.ceded = false;
                }
            }
        }
    }

    pub(super) fn take_away(&mut self, now: Millis, slot: SlotId, pid: Pid) {
        let alone = self.workers.values().all(|worker| worker.slot != slot || !worker.left);
        self.drain(now, pid);
        if alone {
            self.slot(slot).rests = true;
            self.leaves(pid);
        }
    }

    /// The oldest one that still holds its seat, when nothing else is being replaced.
    pub(super) fn renew(&mut self, now: Millis) {
        let idle = self.reload.is_none() && self.loading.is_none() && self.wanted.is_none();
        let free = self.spawning.is_none() && self.outage.is_none() && self.leaving() == 0;
        let free = free && self.empties_nobody();
        if !self.running() || !idle || !free || self.rules.ways() == Ways::Starter {
            return;
        }
        while self.reload.is_none()
            && let Some((slot, askers)) = self.next_restart()
        {
            self.renew_slot(now, slot, askers);
        }
        while self.reload.is_none()
            && let Some(pid) = self.old.pop_front()
        {
            let worker = self.workers.get(&pid);
            let holds = |worker: &&Worker| worker.is_untold() && !worker.left && !worker.newcomer;
            if let Some(slot) = worker.filter(holds).map(|worker| worker.slot) {
                self.renew_slot(now, slot, Vec::new());
                return;
            }
        }
    }

    fn renew_slot(&mut self, now: Millis, slot: SlotId, askers: Vec<Asker>) {
        let generation = self.slot(slot).generation;
        let rules = self.loads[generation.0 as usize].clone();
        let (renewal, todo, proven) = (Some(slot), vec![slot], false);
        self.reload = Some(Reload { generation, renewal, askers, rules, todo, proven });
        self.due.renewing.push(slot);
        self.go_on(now);
    }

    pub(super) fn orders_stopped(&mut self) {
        let Orders { scalers, restarts } = core::mem::take(&mut self.orders);
        let restarts = restarts.into_iter().flat_map(|(_, askers)| askers);
        let all = scalers.into_iter().chain(restarts);
        self.due.answers.extend(all.map(|asker| (asker, Came::Stopped)));
    }
}
