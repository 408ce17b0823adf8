//! Without cargo-fuzz and a nightly compiler: `plain TARGET SECONDS [SEED]` spoils the seeds of a target at random, and
//! tells how often. It sees no coverage, so that it finds less, but what it finds is the same.

use std::time::{Duration, Instant};
use std::{env, fs, path::Path, process::ExitCode};

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % end.max(1)
    }
}

const SPICE: [&[u8]; 18] = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\xff",
    b",",
    b";",
    b"\"",
    b"chunked",
    b"0",
    b"_",
    b"\\",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
];

fn spoil(chance: &mut Chance, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=chance.below(5) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(6) {
            0 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 => {
                let end = (at + chance.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + chance.below(60)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len() + 1);
                let end = (from + chance.below(80)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            _ => drop(bytes.splice(at..at, SPICE[chance.below(SPICE.len())].iter().copied())),
        }
    }
    bytes.truncate(70_000);
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let named =
        words.first().and_then(|name| fd3_fuzz::TARGETS.iter().find(|(own, _)| own == name));
    let seconds = words.get(1).and_then(|word| word.parse().ok());
    let (Some((name, target)), Some(seconds)) = (named, seconds) else {
        eprintln!("usage: plain request|response|body|proxy|exchange SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let seed = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut seeds: Vec<Vec<u8>> = files.filter_map(|file| fs::read(file.path()).ok()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds.iter().for_each(|seed| target(seed));
    let (mut chance, begun, mut runs) = (Chance(seed), Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..1_000 {
            let mut bytes = seeds[chance.below(seeds.len())].clone();
            spoil(&mut chance, &mut bytes, &seeds);
            // What a panic was about is in the file, even if the panic aborts.
            let run = std::panic::catch_unwind(|| target(&bytes));
            if run.is_err() {
                let found = env::temp_dir().join(format!("fd3-fuzz-{name}-{seed}-{runs}"));
                let kept = fs::write(&found, &bytes);
                eprintln!("{name}: found {} ({kept:?})", found.display());
                return ExitCode::FAILURE;
            }
            runs += 1;
        }
    }
    println!("{name}: {runs} runs in {seconds} s, seed {seed}: nothing found");
    ExitCode::SUCCESS
}
