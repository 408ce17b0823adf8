//! Seeded worlds against the supervisor: slow starts, crashes, failed spawns, deaf, frozen and unkillable
//! workers, reused PIDs, late facts, signals from anybody in any order. Virtual time, no system call; a
//! seed is a world. After every event stands the judgement of `laws` (what must never happen), of `model`
//! (what must happen) and of the supervisor's own invariants; at the end of each world that all gets well
//! again, and that a stop ends.
//!
//! `FD3_SIM_SEED=7 cargo test --test sim` tells the story of one world;
//! `FD3_SIM_WORLDS=5000000` runs that many, `FD3_SIM_FIRST=20000` from that one on.
#![allow(missing_debug_implementations)]

mod carry_out;
mod ending;
#[cfg(feature = "upgrade")]
mod handed;
mod happen;
mod known;
mod laws;
mod memory;
mod model;
mod mutants;
mod process;
mod reloads;
mod rng;
mod scene;
mod seen;
mod world;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::thread;

use mutants::Mutant;
use seen::Sight;
use world::{Telling, run};

const WORLDS: u64 = 20_000;
const THREADS: u64 = 2;
/// Within so many worlds every mutant must be caught.
const MUTANT_WORLDS: u64 = 1_000;

#[test]
fn no_world_breaks_a_claim() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FD3_SIM_SEED") {
        return tell(seed);
    }
    let first = number("FD3_SIM_FIRST").unwrap_or(0);
    let end = first + number("FD3_SIM_WORLDS").unwrap_or(WORLDS);
    let halves: Vec<Half> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || live(first + thread, end))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    if let Some(seed) = halves.iter().filter_map(|half| half.failed).min() {
        tell(seed);
    }
    let steps: u64 = halves.iter().map(|half| half.steps).sum();
    println!("{} worlds, {steps} events", end - first);
    for sight in Sight::ALL {
        let worlds: u64 = halves.iter().map(|half| half.seen[sight as usize]).sum();
        println!("{sight:?} in {worlds} worlds");
        assert!(
            worlds > 0 || end - first < WORLDS || sight.is_not_built(),
            "no world has seen {sight:?}"
        );
    }
}

/// What one thread saw.
struct Half {
    failed: Option<u64>,
    steps: u64,
    seen: [u64; Sight::ALL.len()],
}

/// Every second world from `first` on, until a claim is broken.
fn live(first: u64, end: u64) -> Half {
    let mut half = Half { failed: None, steps: 0, seen: [0; Sight::ALL.len()] };
    for seed in (first..end).step_by(THREADS as usize) {
        let outcome = run(seed, None, Telling::Silent);
        half.steps += outcome.steps;
        for sight in Sight::ALL {
            half.seen[sight as usize] += u64::from(outcome.seen.has(sight));
        }
        if outcome.claim.is_err() {
            half.failed = Some(seed);
            break;
        }
    }
    half
}

/// Runs a world and, if a claim is broken, tells how it came to that.
fn tell(seed: u64) {
    let outcome = run(seed, None, Telling::Story);
    if let Err(claim) = outcome.claim {
        let (rules, rest) = outcome.story.split_at(1);
        let latest = rest.len().saturating_sub(40);
        panic!(
            "seed {seed}, event {}: {claim}\n{}\n...\n{}\nFD3_SIM_SEED={seed} cargo test --test sim",
            outcome.steps,
            rules.join("\n"),
            rest[latest..].join("\n"),
        );
    }
}

#[test]
fn a_seed_is_a_world() {
    let story = |seed| {
        let mut hasher = DefaultHasher::new();
        run(seed, None, Telling::Story).story.hash(&mut hasher);
        hasher.finish()
    };
    for seed in 0..200 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
    assert_ne!(story(1), story(2));
}

#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL.into_iter().filter(|mutant| mutant.is_built()) {
        let caught = (0..MUTANT_WORLDS)
            .find_map(|seed| run(seed, Some(mutant), Telling::Silent).claim.err().zip(Some(seed)));
        match caught {
            Some((claim, seed)) => println!("{mutant:?}: world {seed}: {claim}"),
            None => panic!("{mutant:?} is not caught within {MUTANT_WORLDS} worlds"),
        }
    }
}
