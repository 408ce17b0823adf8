//! The decisions of `fd3 init`, by stories and by seeded worlds.

use super::*;

use crate::plan::{Reaction, Reactions};

const TERM: Signal = Signal(libc::SIGTERM);
const INT: Signal = Signal(libc::SIGINT);
const KILL: Signal = Signal(libc::SIGKILL);
const TIMEOUT: Millis = Millis(800);

fn plan() -> Plan {
    let mut reactions = Reactions::default();
    for signal in 1..=64 {
        reactions.set(Signal(signal), Reaction::Forward(Signal(signal)));
    }
    reactions.set(Signal(libc::SIGUSR1), Reaction::Stop);
    reactions.set(Signal(libc::SIGUSR2), Reaction::StopNow);
    reactions.set(Signal(libc::SIGHUP), Reaction::Ignore);
    Plan {
        pre_start: 0,
        post_stop: 0,
        reactions,
        to: To::Group,
        drain_delay: Millis(0),
        leftovers: Leftovers::Sweep(Some(TIMEOUT)),
        pauses: false,
        map_exit: alloc::vec![(143, 0)],
    }
}

/// What follows, without what is only said.
fn tell(init: &mut Init, at: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    init.handle(Millis(at), event, &mut out);
    out.retain(|action| !matches!(action, Action::Say(_)));
    out
}

fn signalled(init: &mut Init, at: u64, signal: Signal) -> Vec<Action> {
    tell(init, at, Event::Signalled { signal })
}

/// The program runs, as 7.
fn running(plan: Plan) -> Init {
    let mut init = Init::new(plan);
    assert_eq!(tell(&mut init, 0, Event::Begin), [Action::Start(Role::Program)]);
    assert_eq!(tell(&mut init, 0, Event::Started { pid: Pid(7) }), []);
    init
}

fn ended(code: u8) -> Event {
    Event::Ended { status: Status::Exited(code) }
}

fn to_group(signal: Signal) -> Action {
    Action::Signal { pid: Pid(7), signal, to: To::Group }
}

const TELL: Action = Action::TellAll { group: Some(Pid(7)) };
const KILL_ALL: Action = Action::KillAll { group: Some(Pid(7)) };

#[test]
fn an_end_tells_all_and_waits_for_them() {
    let mut init = running(plan());
    assert_eq!(tell(&mut init, 10, ended(5)), [TELL]);
    assert_eq!(init.deadline(), Some(Millis(810)));
    assert_eq!(tell(&mut init, 809, Event::TimePassed), []);
    assert_eq!(tell(&mut init, 810, Event::TimePassed), [KILL_ALL]);
    assert_eq!(tell(&mut init, 811, Event::NobodyLeft), [Action::Finish { status: 5 }]);
    assert_eq!((init.deadline(), tell(&mut init, 812, ended(1))), (None, alloc::vec![]));
}

#[test]
fn those_who_outlive_sigkill_are_not_waited_for_for_ever() {
    let mut init = running(plan());
    tell(&mut init, 0, ended(5));
    tell(&mut init, 800, Event::TimePassed);
    let last = tell(&mut init, 5_800, Event::TimePassed);
    assert_eq!(last, [Action::Finish { status: 5 }]);
}

#[test]
fn one_deadline_is_for_program_and_leftovers() {
    for (signal, ends_at, until) in [(TERM, 300, 900), (TERM, 900, 1_700), (Signal(28), 300, 1_100)]
    {
        let mut init = running(plan());
        assert_eq!(signalled(&mut init, 100, signal), [to_group(signal)]);
        assert_eq!(init.deadline(), None);
        tell(&mut init, ends_at, ended(0));
        assert_eq!(init.deadline(), Some(Millis(until)), "{signal:?} {ends_at}");
    }
}

#[test]
fn a_limited_stop_kills_the_program_and_then_all_at_once() {
    let mut init = running(plan());
    assert_eq!(signalled(&mut init, 100, Signal(libc::SIGUSR1)), [to_group(TERM)]);
    assert_eq!(init.deadline(), Some(Millis(900)));
    assert_eq!(tell(&mut init, 900, Event::TimePassed), [to_group(KILL)]);
    assert_eq!(init.deadline(), None);
    assert_eq!(tell(&mut init, 901, ended(5)), [TELL]);
    assert_eq!(tell(&mut init, 901, Event::TimePassed), [KILL_ALL]);
    let mut init = running(plan());
    assert_eq!(signalled(&mut init, 100, Signal(libc::SIGUSR2)), [to_group(KILL)]);
    assert_eq!(
        (init.deadline(), signalled(&mut init, 100, Signal(libc::SIGHUP))),
        (None, alloc::vec![])
    );
}

#[test]
fn orders_during_the_end() {
    for told_before in [false, true] {
        let mut init = running(plan());
        if told_before {
            signalled(&mut init, 0, TERM);
        }
        tell(&mut init, 10, ended(5));
        // timeout(1) and the like signal twice.
        assert_eq!(signalled(&mut init, 20, TERM), []);
        let first = signalled(&mut init, 200, INT);
        assert_eq!(first, [KILL_ALL], "{told_before}");
    }
    // The first order only asks for what is done already.
    let mut init = running(plan());
    tell(&mut init, 10, ended(5));
    assert_eq!(signalled(&mut init, 200, INT), []);
    assert_eq!(signalled(&mut init, 300, Signal(28)), []);
    assert_eq!(signalled(&mut init, 300, TERM), [KILL_ALL]);
}

#[test]
fn a_delay_holds_back_the_first_term_alone() {
    let delayed = || running(Plan { drain_delay: Millis(500), ..plan() });
    let mut init = delayed();
    assert_eq!(signalled(&mut init, 100, TERM), []);
    assert_eq!(init.deadline(), Some(Millis(600)));
    assert_eq!(signalled(&mut init, 150, INT), [to_group(INT)]);
    assert_eq!(signalled(&mut init, 199, TERM), []);
    assert_eq!(tell(&mut init, 600, Event::TimePassed), [to_group(TERM)]);
    assert_eq!(
        (init.deadline(), signalled(&mut init, 601, TERM)),
        (None, alloc::vec![to_group(TERM)])
    );
    let mut init = delayed();
    signalled(&mut init, 100, TERM);
    assert_eq!(signalled(&mut init, 200, TERM), [to_group(TERM)]);
    assert_eq!(init.deadline(), None);
    let mut init = delayed();
    signalled(&mut init, 100, Signal(libc::SIGUSR1));
    assert_eq!(tell(&mut init, 600, Event::TimePassed), [to_group(TERM)]);
    assert_eq!(tell(&mut init, 1_400, Event::TimePassed), [to_group(KILL)]);
}

#[test]
fn jobs_stop_with_fd3_and_go_on_with_it() {
    let (stop, go_on) = (Signal(libc::SIGTSTP), Signal(libc::SIGCONT));
    let mut init = running(plan());
    let stopped = Event::Stopped { by: stop };
    let together = Action::StopTogether { by: stop, pid: Pid(7) };
    assert_eq!(tell(&mut init, 0, stopped), [together]);
    assert_eq!(signalled(&mut init, 1, stop), [to_group(stop), Action::StopSelf { by: stop }]);
    assert_eq!(tell(&mut init, 2, stopped), []);
    let given = Action::GiveTerminal { pid: Pid(7) };
    assert_eq!(signalled(&mut init, 3, go_on), [given, to_group(go_on)]);
    assert_eq!(tell(&mut init, 4, stopped), [together]);
    let by = Signal(libc::SIGSTOP);
    assert_eq!(tell(&mut init, 5, Event::Stopped { by }), []);
}

#[test]
fn an_order_before_the_program_is_heeded() {
    let mut init = Init::new(Plan { pre_start: 1, post_stop: 1, ..plan() });
    assert_eq!(tell(&mut init, 0, Event::Begin), [Action::Start(Role::PreStart(0))]);
    tell(&mut init, 0, Event::Started { pid: Pid(7) });
    assert_eq!(signalled(&mut init, 1, INT), [to_group(INT)]);
    assert_eq!(tell(&mut init, 2, ended(0)), [TELL]);
    let after = tell(&mut init, 3, Event::NobodyLeft);
    assert_eq!((after, init.status()), (alloc::vec![Action::Start(Role::PostStop(0))], 130));
    let last = tell(&mut init, 4, Event::NotStarted { status: 127 });
    assert_eq!(last, [Action::TellAll { group: None }]);
    assert_eq!(tell(&mut init, 5, Event::NobodyLeft), [Action::Finish { status: 130 }]);
}

#[test]
fn who_is_left_is_left_alone_where_that_is_the_way() {
    let with = |leftovers| running(Plan { leftovers, ..plan() });
    let mut init = with(Leftovers::Leave);
    assert_eq!(tell(&mut init, 10, ended(5)), [Action::Finish { status: 5 }]);
    let mut init = with(Leftovers::TellGroup);
    assert_eq!(tell(&mut init, 10, ended(5)), [to_group(TERM), Action::Finish { status: 5 }]);
}

#[test]
fn a_pause_ends_with_an_order_to_stop() {
    let mut init = Init::new(Plan { pauses: true, ..plan() });
    assert_eq!(tell(&mut init, 0, Event::Begin), []);
    assert_eq!(signalled(&mut init, 1, Signal(28)), []);
    assert_eq!(signalled(&mut init, 1, INT), [Action::Finish { status: 0 }]);
}

/// A world of its own for each seed (xorshift).
struct World(u64);

impl World {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn event(&mut self, can_start: bool) -> Event {
        let code = if self.below(2) == 0 { 0 } else { 3 };
        match self.below(10) {
            0..2 if can_start => Event::Started { pid: Pid(2 + self.below(1_000) as i32) },
            2 if can_start => Event::NotStarted { status: 127 },
            0..3 => Event::NobodyLeft,
            3 => ended(code),
            4 => Event::Stopped { by: Signal(1 + self.below(64) as i32) },
            5 => Event::NobodyLeft,
            6..8 => Event::TimePassed,
            _ => {
                let often = [TERM, INT, Signal(10), Signal(12), Signal(20), Signal(18)];
                let place = self.below(12) as usize;
                let any = Signal(1 + self.below(64) as i32);
                Event::Signalled { signal: often.get(place).copied().unwrap_or(any) }
            }
        }
    }
}

/// Safety in whatever order facts come; liveness once everybody obeys: it comes to its end, once.
#[test]
fn twenty_thousand_worlds() {
    for seed in 1..20_000_u64 {
        let mut world = World(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut plan = plan();
        plan.pre_start = world.below(3) as usize;
        plan.post_stop = world.below(3) as usize;
        plan.drain_delay = Millis(world.below(2) * 300);
        let leave = [Leftovers::Leave, Leftovers::TellGroup, Leftovers::Sweep(None)];
        let which = world.below(6) as usize;
        plan.leftovers = leave.get(which).copied().unwrap_or(plan.leftovers);
        let mut init = Init::new(plan);
        let (mut now, mut alive, mut finished, mut starting) = (0, None, 0, false);
        for step in 0..200 {
            now += world.below(200);
            let heals = step > 60;
            let event = match step {
                0 => Event::Begin,
                // From now on whoever runs ends, and nobody is left.
                _ if heals && starting => Event::Started { pid: Pid(9) },
                _ if heals && alive.is_some() => ended(0),
                _ if heals => Event::NobodyLeft,
                _ => world.event(starting),
            };
            if let Event::Started { pid } = event {
                (alive, starting) = (Some(pid).filter(|_| starting), false);
            } else if let Event::NotStarted { .. } = event {
                starting = false;
            }
            // Not reaped before what its end asks for is done.
            let told = alive;
            if let Event::Ended { .. } = event {
                alive = None;
            }
            for action in tell(&mut init, now, event) {
                assert_eq!(finished, 0, "{seed}: {action:?} after the end");
                match action {
                    Action::Start(_) => {
                        assert!(!starting && alive.is_none(), "{seed}: two at a time");
                        starting = true;
                    }
                    Action::Signal { pid, .. }
                    | Action::StopTogether { pid, .. }
                    | Action::GiveTerminal { pid } => {
                        assert_eq!(Some(pid), told, "{seed}: {action:?} to a stranger");
                    }
                    Action::Finish { .. } => finished += 1,
                    Action::StopSelf { .. }
                    | Action::TellAll { .. }
                    | Action::KillAll { .. }
                    | Action::Say(_) => {}
                }
            }
            if event == Event::TimePassed {
                let late = init.deadline().is_some_and(|at| at.0 <= now);
                assert!(!late, "{seed}: what was due at {now} is still due");
            }
        }
        assert_eq!(finished, 1, "{seed}: it never ended");
    }
}
