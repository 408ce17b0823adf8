//! The laws of reloads: one at a time, of one generation more than before, and everybody who asks is
//! answered once.

use std::collections::{BTreeMap, BTreeSet};

use fd3::plan::{Rules, Surge};
use fd3::units::{Asker, CommandId, Generation, Millis, Pid, SlotId};

use crate::world::Claim;

pub struct Reloads {
    /// Who waits for an answer.
    pub asked: Vec<Asker>,
    /// Other COMMANDs that were asked for, and not loaded.
    pub offered: Vec<CommandId>,
    pub loading: Option<Generation>,
    pub under_way: Option<UnderWay>,
    /// The rules of each generation that was loaded.
    rules: BTreeMap<Generation, Rules>,
    /// One that holds: its generation, and its slots by now, of so many.
    pub canary: Option<(Generation, BTreeSet<SlotId>, usize)>,
    /// The slot whose worker is replaced because of its age.
    pub renewing: Option<SlotId>,
    /// The generations that may be started.
    pub known: BTreeSet<Generation>,
    /// How many workers more than slots any reload so far has allowed; what it began may linger.
    pub surge: usize,
    /// The shortest time that any generation gave its replaced workers.
    pub drain: Option<Millis>,
    /// A worker of an older generation was told to stop while the present reload ran.
    pub told_old: bool,
    /// Where workers of the generation that is under way were started.
    spawned: BTreeSet<SlotId>,
    /// Who was told last that it was too slow, which is its own affair.
    pub too_slow: Option<Pid>,
}

pub struct UnderWay {
    generation: Generation,
    pub rules: Rules,
}

impl Reloads {
    /// Those of a world that begins with these rules.
    pub fn of(rules: &Rules) -> Reloads {
        Reloads {
            asked: Vec::new(),
            offered: Vec::new(),
            loading: None,
            under_way: None,
            rules: BTreeMap::from([(Generation(1), rules.clone())]),
            canary: None,
            renewing: None,
            known: BTreeSet::from([Generation(1)]),
            surge: 0,
            drain: rules.drain_timeout,
            told_old: false,
            spawned: BTreeSet::new(),
            too_slow: None,
        }
    }
}

impl Reloads {
    pub fn load(&mut self, generation: Generation, command: Option<CommandId>) -> Claim {
        if let Some(id) = command {
            let Some(place) = self.offered.iter().position(|offered| *offered == id) else {
                return Err(format!("{id:?} is loaded, and nobody has asked for it, or once more"));
            };
            // Those before it were refused, or are to come no more.
            self.offered.drain(..=place);
        }
        if self.under_way.is_some()
            || self.renewing.is_some()
            || self.loading.replace(generation).is_some_and(|one| one != generation)
        {
            return Err("a reload begins while another one runs".into());
        }
        if self.canary.is_some() {
            return Err("a reload begins while a canary holds".into());
        }
        if self.known.contains(&generation) {
            return Err(format!("generation {generation} is loaded again"));
        }
        Ok(())
    }

    pub fn renew(&mut self, slot: SlotId) -> Claim {
        self.surge = self.surge.max(1);
        let runs = self.under_way.is_some() || self.loading.is_some();
        match self.renewing.replace(slot) {
            None if !runs => Ok(()),
            _ => Err(format!("slot {slot} is renewed while something else is replaced")),
        }
    }

    pub fn loaded(&mut self, rules: &Rules, count: usize) {
        let Some(generation) = self.loading.take() else { return };
        self.known.insert(generation);
        self.rules.insert(generation, rules.clone());
        self.spawned.clear();
        self.surge = self.surge.max(match rules.surge {
            Surge::All => count,
            Surge::AtMost(most) => most.max(1) as usize,
        });
        self.drain = self.drain.into_iter().chain(rules.drain_timeout).min();
        self.under_way = Some(UnderWay { generation, rules: rules.clone() });
        self.told_old = false;
    }

    /// From what was loaded before: the canary's load goes to all, or goes.
    pub fn begins(&mut self, generation: Generation, count: usize) {
        if self.under_way.is_some() {
            return;
        }
        self.surge = self.surge.max(count);
        if self.canary.as_ref().is_some_and(|(own, ..)| *own == generation) {
            self.canary = None;
        }
        if let Some(rules) = self.rules.get(&generation).cloned() {
            self.under_way = Some(UnderWay { generation, rules });
            self.told_old = false;
        }
    }

    pub fn holds(&mut self, generation: Generation, slots: u32) -> Claim {
        let own = core::mem::take(&mut self.spawned);
        if own.len() > slots as usize {
            return Err(format!("a canary of {slots} slots was started in {own:?}"));
        }
        self.canary = Some((generation, own, slots as usize));
        Ok(())
    }

    pub fn forget(&mut self, generation: Generation) -> Claim {
        if self.known.remove(&generation) {
            return Ok(());
        }
        Err(format!("generation {generation} is forgotten, and which was never known"))
    }

    pub fn may_spawn(&mut self, slot: SlotId, generation: Generation) -> Claim {
        if self.under_way.as_ref().is_some_and(|reload| reload.generation == generation) {
            self.spawned.insert(slot);
        }
        if let Some((_, own, most)) = self.canary.as_mut().filter(|(own, ..)| *own == generation) {
            own.insert(slot);
            if own.len() > *most {
                return Err(format!("a canary of {most} slots spreads to slot {slot}"));
            }
        }
        if self.known.contains(&generation) {
            return Ok(());
        }
        Err(format!("a worker of generation {generation} is started, which there is not"))
    }

    pub fn answer(&mut self, asker: Asker) -> Claim {
        match self.asked.iter().position(|waiting| *waiting == asker) {
            Some(place) => {
                self.asked.swap_remove(place);
                Ok(())
            }
            None => Err(format!("{asker:?} is answered and did not ask")),
        }
    }

    pub fn told(&mut self, pid: Pid, generation: Generation) {
        let late = self.too_slow.take() == Some(pid);
        if let Some(reload) = self.under_way.as_ref().filter(|_| !late) {
            self.told_old |= generation < reload.generation;
        }
    }
}
