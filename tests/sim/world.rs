//! A world: virtual time, what is to happen, and the seam over which it speaks with the supervisor.
//! One world is one seed; nothing else decides what happens in it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use fd3::supervisor::{Action, Actions, Ending, Event, Fact, Sender, Status};
use fd3::units::{Millis, Pid, Signal, SlotId};

use crate::laws::Laws;
use crate::model::Model;
use crate::mutants::{Mutant, Subject};
use crate::process::{Deed, Process, Who};
use crate::rng::Rng;
use crate::scene::Scene;
use crate::seen::{Seen, Sight};

/// `Err` tells which claim was broken.
pub type Claim = Result<(), String>;

#[derive(Clone, Copy, Debug)]
pub enum Happening {
    Begin,
    Does(Who, Deed),
    /// It ends, by a signal or by itself.
    Dies(Who, Status),
    /// fd3 learns of its end.
    Noticed(Who),
    /// The last child of its group is gone.
    GroupGone(Who),
    Signalled(Signal, Sender),
    /// By somebody whom a dead worker left behind.
    SignalledByGroup(Who, Signal),
    ListenerReplaced,
    ListenerDead,
    Reload,
    /// Somebody orders by name.
    StopAsked(Ending),
    ReloadOrdered,
    ScaleAsked,
    RestartAsked,
    /// Somebody connects.
    Demand,
    /// fd3 has looked whether anybody waits there.
    Looked(SlotId),
    /// A late, doubled or unknown fact.
    Noise,
}

pub struct World {
    pub rng: Rng,
    pub scene: Scene,
    pub now: Millis,
    pub queue: BTreeMap<(Millis, u64), Happening>,
    pub queued: u64,
    pub processes: BTreeMap<Pid, Process>,
    pub born: u64,
    /// The PIDs that were a worker's once.
    pub used: BTreeSet<Pid>,
    /// A dead listener cannot be replaced until then.
    pub outage_until: Millis,
    /// How many have asked for a reload.
    pub asked: u64,
    /// How many slots there are.
    pub size: u32,
    /// Forks fail until then.
    pub fork_fails_until: Millis,
    pub healed: bool,
    /// How late fd3 wakes up for which deadline.
    pub oversleep: (Option<Millis>, Millis),
    /// The process whose end is being told.
    pub noticed: Option<Pid>,
    pub subject: Subject,
    pub laws: Laws,
    pub model: Model,
    pub finished: Option<u8>,
    pub steps: u64,
    pub seen: Seen,
    /// Written only when asked for: a failed world is run again to tell its story.
    pub story: Option<Vec<String>>,
}

/// What became of a world.
pub struct Outcome {
    pub claim: Claim,
    pub steps: u64,
    pub seen: Seen,
    pub story: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Silent,
    Story,
}

pub fn run(seed: u64, mutant: Option<Mutant>, telling: Telling) -> Outcome {
    let mut world = World::new(seed, mutant, telling);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let claim = lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map_or("it panicked", |text| text);
        Err(format!("panic: {text}"))
    });
    Outcome {
        claim,
        steps: world.steps,
        seen: world.seen,
        story: world.story.take().unwrap_or_default(),
    }
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>, telling: Telling) -> World {
        let mut rng = Rng::new(seed);
        let scene = Scene::draw(&mut rng);
        let story = (telling == Telling::Story)
            .then(|| vec![format!("workers {} {:?}", scene.workers, tell_rules(&scene))]);
        World {
            now: Millis(rng.below(1000)),
            queue: BTreeMap::new(),
            queued: 0,
            processes: BTreeMap::new(),
            born: 0,
            used: BTreeSet::new(),
            outage_until: Millis(0),
            asked: 0,
            size: scene.workers,
            fork_fails_until: Millis(0),
            healed: false,
            oversleep: (None, Millis(0)),
            noticed: None,
            subject: Subject::new(&scene, mutant),
            laws: Laws::new(&scene),
            model: Model::new(&scene),
            finished: None,
            steps: 0,
            seen: Seen::default(),
            story,
            rng,
            scene,
        }
    }

    fn live(&mut self) -> Claim {
        let begin = Millis(self.rng.pick([0, 0, 5]));
        self.happens_in(begin, Happening::Begin);
        for _ in 0..self.scene.steps {
            self.weather();
            if self.finished.is_some() {
                break;
            }
            if !self.advance(None)? {
                self.now = self.now.plus(Millis(self.rng.below(20_000)));
            }
        }
        self.end()
    }

    /// The next thing happens, unless it is later than `until`; `false` when there is none.
    pub fn advance(&mut self, until: Option<Millis>) -> Result<bool, String> {
        let wake = self.wake_up();
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        let Some(at) = wake.into_iter().chain(next).min() else { return Ok(false) };
        if until.is_some_and(|until| until < at) {
            return Ok(false);
        }
        self.now = self.now.max(at);
        let both = wake == next && self.rng.percent(50);
        if wake == Some(at) && !both {
            self.deliver(Event::TimePassed)?;
        } else if let Some((_, happening)) = self.queue.pop_first() {
            self.happen(happening)?;
        }
        Ok(true)
    }

    /// When fd3 wakes up for its deadline: not before it, sometimes long after.
    fn wake_up(&mut self) -> Option<Millis> {
        let deadline = self.subject.deadline()?;
        if self.oversleep.0 != Some(deadline) {
            let late = self.rng.percent(self.scene.moods.oversleeps);
            let lag = if late { self.rng.pick([1, 30, 2_000]) } else { 0 };
            self.oversleep = (Some(deadline), Millis(lag));
        }
        Some(deadline.plus(self.oversleep.1).max(self.now))
    }

    pub fn happens_in(&mut self, span: Millis, happening: Happening) {
        // What happens in the same millisecond happens in any order.
        let order = (self.rng.next() << 32) | (self.queued & u64::from(u32::MAX));
        self.queued += 1;
        self.queue.insert((self.now.plus(span), order), happening);
    }

    /// Hands over a fact, carries out what is asked for, and goes on with the answers.
    pub fn deliver(&mut self, event: Event) -> Claim {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            next = self.step(event)?;
        }
        Ok(())
    }

    /// Returns the answer to an action.
    fn step(&mut self, event: Event) -> Result<Option<Event>, String> {
        self.steps += 1;
        if let Some(story) = &mut self.story {
            story.push(format!("{:>8} > {event:?}", self.now.0));
        }
        let now = self.now;
        self.laws.before(now, &event)?;
        self.model.before(now, &event)?;
        let mut actions = Actions::new();
        let slept = matches!(event, Event::TimePassed);
        let dead_listener = matches!(event, Event::ListenerReplaced | Event::ListenerDead);
        self.subject.handle(now, event, &mut actions);
        let mut answer = None;
        for action in actions {
            if let Some(story) = &mut self.story {
                story.push(format!("         < {action:?}"));
            }
            self.laws.action(now, &action, &self.processes, self.noticed)?;
            self.model.action(now, &action)?;
            self.seen.action(&action);
            if let Action::Say(Fact::Scaled { workers }) = action {
                let more = workers > self.size;
                self.seen.note(if more { Sight::ScaledUp } else { Sight::ScaledDown });
                self.size = workers;
            }
            if let Action::Say(Fact::TooOld { after, .. }) = action
                && after.0 >= 2 * self.scene.rules.max_age.unwrap_or_default().0
            {
                self.seen.note(Sight::TooOldByFar);
            }
            if let Action::Say(Fact::Replaced { .. }) = action
                && !dead_listener
            {
                self.seen.note(Sight::MadeRoomLater);
            }
            answer = self.carry_out(action).or(answer);
        }
        let deadline = self.subject.deadline();
        self.laws.after(now, deadline, slept)?;
        self.model.after(deadline, self.subject.awaits_demand())?;
        if self.model.outlived_kill() {
            self.seen.note(Sight::OutlivedKill);
        }
        // Debug builds ask for it after every event.
        if !cfg!(debug_assertions) {
            self.subject.check()?;
        }
        Ok(answer)
    }
}

/// The rules without the long table of reactions.
fn tell_rules(scene: &Scene) -> String {
    let rules = &scene.rules;
    let defaults = fd3::plan::Reactions::default();
    let on: Vec<_> = (1..65)
        .map(Signal)
        .filter(|signal| rules.reactions.to(*signal) != defaults.to(*signal))
        .map(|signal| (signal.0, rules.reactions.to(signal)))
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} stop {:?} {:?} on {on:?}",
        rules.ways(),
        rules.max_age,
        rules.readiness,
        rules.restart,
        rules.backoff,
        rules.respawn_limit,
        rules.stop_signal,
        rules.stop_timeout,
    )
}
