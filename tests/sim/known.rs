//! What chance finds too seldom to be relied on, told step by step.

use fd3::plan::{Backoff, Reactions, Readiness, Restart, Rules, Start, Surge};
use fd3::supervisor::{Action, Actions, Event, Fact, Status, Supervisor};
use fd3::units::{Millis, Pid, Signal, SlotId};

const SLOT: SlotId = SlotId(0);
/// The one with the greater PID is the former one, so that its deadline comes second.
const FORMER: Pid = Pid(9);
const HOLDER: Pid = Pid(3);

struct Tale {
    supervisor: Supervisor,
    now: Millis,
}

impl Tale {
    /// One slot, whose two workers were told to stop in the same millisecond.
    fn of_two_told(stop_timeout: Option<Millis>) -> Tale {
        let rules = Rules {
            readiness: Readiness::Notify(None),
            start: Start::AtOnce,
            restart: Restart::Always,
            backoff: Backoff { min: Millis(100), max: Millis(100) },
            respawn_limit: None,
            stop_signal: Signal(libc::SIGTERM),
            stop_timeout,
            surge: Surge::All,
            overlap: Millis(0),
            drain_timeout: None,
            max_age: None,
            watchdog: None,
            ways: fd3::plan::Ways::Own,
            reactions: Reactions::default(),
        };
        let mut tale = Tale { supervisor: Supervisor::new(rules, 1, 1), now: Millis(0) };
        tale.hears(Event::Begin);
        tale.hears(Event::Spawned { slot: SLOT, pid: FORMER });
        tale.hears(Event::ListenerReplaced);
        tale.waits(100);
        tale.hears(Event::Spawned { slot: SLOT, pid: HOLDER });
        assert_eq!(replaced(&tale.hears(Event::ListenerReplaced)), []);
        tale
    }

    fn hears(&mut self, event: Event) -> Actions {
        let mut actions = Actions::new();
        self.supervisor.handle(self.now, event, &mut actions);
        actions
    }

    fn waits(&mut self, span: u64) -> Actions {
        self.now = self.now.plus(Millis(span));
        self.hears(Event::TimePassed)
    }
}

fn replaced(actions: &Actions) -> Vec<Pid> {
    let pid = |action: &Action| {
        if let Action::Say(Fact::Replaced { pid, .. }) = action { Some(*pid) } else { None }
    };
    actions.iter().filter_map(pid).collect()
}

fn abandoned(actions: &Actions) -> Vec<Pid> {
    let pid = |action: &Action| {
        if let Action::Say(Fact::Abandoned { pid, .. }) = action { Some(*pid) } else { None }
    };
    actions.iter().filter_map(pid).collect()
}

#[test]
fn two_that_outlive_sigkill_together_are_both_left_behind() {
    let mut tale = Tale::of_two_told(Some(Millis(1_000)));
    // fd3 slept through both deadlines, so that both are killed now.
    tale.waits(2_000);
    let actions = tale.waits(5_000);
    assert_eq!((replaced(&actions), abandoned(&actions)), (vec![HOLDER], vec![FORMER, HOLDER]));
    let actions = tale.waits(100);
    assert!(matches!(actions.front(), Some(Action::Spawn { slot: SLOT, .. })), "{actions:?}");
}

#[test]
fn one_that_ends_before_the_slots_former_one_is_no_reason_to_hurry() {
    let mut tale = Tale::of_two_told(None);
    let actions = tale.hears(Event::Exited { pid: HOLDER, status: Status::Exited(0) });
    assert!(!actions.iter().any(|action| matches!(action, Action::Spawn { .. })), "{actions:?}");
    let actions = tale.waits(100);
    assert!(matches!(actions.front(), Some(Action::Spawn { slot: SLOT, .. })), "{actions:?}");
}
