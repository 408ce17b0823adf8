//! Which backend a request goes to, and who waits.

use super::*;
use alloc::format;

const RULES: Rules = Rules { rise: 2, fall: 3 };
const NOW: Millis = Millis(0);

fn backends(algorithm: Algorithm, count: u32, places: Option<u32>) -> Backends {
    let limits = Limits { places, queue: 2 };
    let mut all = Backends::new(algorithm, limits, RULES, false, Random::new(7));
    for one in 0..count {
        all.add(target(one));
    }
    all
}

fn target(one: u32) -> Target {
    Target {
        name: format!("http://unix:/run/{one}"),
        place: Place::Path(format!("/run/{one}").into_bytes()),
        authority: "localhost".into(),
        prefix: String::new(),
        origin: one,
    }
}

fn go(backends: &mut Backends) -> u32 {
    match backends.choose(&[], NOW) {
        Choice::Go(id) => id.0,
        other @ (Choice::Wait | Choice::Nobody) => panic!("{other:?}"),
    }
}

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 1 }
}

#[test]
fn in_turn_each_gets_the_same() {
    let mut all = backends(Algorithm::RoundRobin, 3, None);
    let turns: Vec<u32> = (0..7).map(|_| go(&mut all)).collect();
    assert_eq!(turns, [1, 2, 0, 1, 2, 0, 1]);
}

#[test]
fn the_least_busy_is_chosen_and_ties_go_in_turn() {
    let mut all = backends(Algorithm::Least, 3, None);
    let first: Vec<u32> = (0..3).map(|_| go(&mut all)).collect();
    assert_eq!(first, [1, 2, 0]);
    all.leave(BackendId(2));
    assert_eq!(go(&mut all), 2);
    assert_eq!(all.get(BackendId(2)).map(Backend::requests), Some(1));
}

#[test]
fn of_two_by_chance_the_less_busy_keeps_all_even() {
    let mut all = backends(Algorithm::RandomTwo, 10, None);
    for _ in 0..1000 {
        go(&mut all);
    }
    let loads: Vec<u32> = all.listed().map(|(_, one)| one.requests()).collect();
    assert!(loads.iter().all(|load| (90..=110).contains(load)), "{loads:?}");
    let mut one = backends(Algorithm::RandomTwo, 1, None);
    assert_eq!((go(&mut one), go(&mut one)), (0, 0));
}

#[test]
fn who_finds_no_place_waits_in_line_and_the_line_has_an_end() {
    let mut all = backends(Algorithm::RandomTwo, 2, Some(1));
    go(&mut all);
    go(&mut all);
    assert_eq!(all.choose(&[], NOW), Choice::Wait);
    assert!(all.wait(conn(1)) && all.wait(conn(2)) && !all.wait(conn(3)));
    all.leave_line(conn(1));
    assert!(all.wait(conn(3)));
    all.leave(BackendId(1));
    assert_eq!(all.call(), Some(conn(2)));
    assert_eq!(all.choose(&[], NOW), Choice::Go(BackendId(1)));
    assert_eq!((all.call(), all.call(), all.waits()), (Some(conn(3)), None, false));
}

#[test]
fn who_was_tried_or_is_down_gets_nothing_and_the_last_one_is_never_left_out() {
    let mut all = backends(Algorithm::Least, 2, None);
    let (one, other) = (BackendId(0), BackendId(1));
    assert_eq!(all.choose(&[one], NOW), Choice::Go(other));
    assert_eq!(all.choose(&[one, other], NOW), Choice::Nobody);
    for _ in 0..3 {
        all.not_connected(one, NOW);
    }
    assert_eq!((go(&mut all), go(&mut all)), (1, 1));
    // Now there is nobody else.
    assert_eq!(all.choose(&[other], NOW), Choice::Go(one));
    for _ in 0..3 {
        all.not_connected(other, NOW);
    }
    assert!(matches!(all.choose(&[], NOW), Choice::Go(_)));
    // One that a check found down is out for good.
    for id in [one, other] {
        for _ in 0..3 {
            all.checked(id, Verdict::Bad);
        }
    }
    assert_eq!(all.choose(&[], NOW), Choice::Nobody);
    assert_eq!(backends(Algorithm::RandomTwo, 0, None).choose(&[], NOW), Choice::Nobody);
}

#[test]
fn one_that_is_retired_finishes_and_its_number_is_free_only_then() {
    let mut all = backends(Algorithm::Least, 1, None);
    let old = BackendId(go(&mut all));
    assert!(all.keep_idle(old, conn(5)));
    assert_eq!(all.retire(old), [conn(5)]);
    assert_eq!(all.choose(&[], NOW), Choice::Nobody);
    let new = all.add(target(8));
    assert_ne!(new, old);
    assert!(!all.keep_idle(old, conn(6)));
    all.leave(old);
    assert!(all.get(old).is_none());
    assert_eq!(all.add(target(9)), old);
}

#[test]
fn the_connection_used_last_is_used_first() {
    let mut all = backends(Algorithm::Least, 1, None);
    let id = BackendId(0);
    for slot in 1..4 {
        assert!(all.keep_idle(id, conn(slot)));
    }
    all.drop_idle(id, conn(2));
    let taken = [all.take_idle(id), all.take_idle(id), all.take_idle(id)];
    assert_eq!(taken, [Some(conn(3)), Some(conn(1)), None]);
}
