//! Throws mutations at readers for a while: `fuzz [--seconds N] [--start N] [TARGET]...`.
//!
//! An input that breaks a promise is printed as a byte string, for a test. Blind: it sees no coverage.

#![expect(clippy::print_stdout, reason = "it talks to a person")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringfence_fuzz_tests::mutate::{Random, change};
use ringfence_fuzz_tests::{TARGETS, Target};

/// How many inputs are kept to go on from.
const POOL: usize = 256;

fn main() -> ExitCode {
    let (mut seconds, mut start) = (10, 1);
    let mut wanted = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        match word.as_str() {
            "--seconds" => seconds = number().unwrap_or(seconds),
            "--start" => start = number().unwrap_or(start),
            _ => wanted.push(word),
        }
    }
    let chosen =
        |target: &&Target| wanted.is_empty() || wanted.iter().any(|name| name == target.name);
    let chosen: Vec<&Target> = TARGETS.iter().filter(chosen).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        println!("fuzz: no such target; there are {}", names.join(" "));
        return ExitCode::from(2);
    }
    let mut status = ExitCode::SUCCESS;
    for target in chosen {
        if !throw(target, Duration::from_secs(seconds), start) {
            status = ExitCode::FAILURE;
        }
    }
    status
}

/// Whether all promises held.
fn throw(target: &Target, time: Duration, start: u64) -> bool {
    let mut random = Random::new(start);
    let mut pool: Vec<Vec<u8>> = target.seeds.iter().map(|seed| seed.to_vec()).collect();
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        let (one, other) = (random.below(pool.len()), random.below(pool.len()));
        let (Some(one), Some(other)) = (pool.get(one), pool.get(other)) else {
            break;
        };
        let input = change(&mut random, one, other);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            println!(
                "fuzz: {} breaks on b\"{}\"",
                target.name,
                input.escape_ascii()
            );
            return false;
        }
        count += 1;
        // Without coverage one input is as good as another: some are gone on from.
        if random.below(64) == 0 {
            if pool.len() < POOL {
                pool.push(input);
            } else {
                let place = target.seeds.len() + random.below(POOL - target.seeds.len());
                if let Some(old) = pool.get_mut(place) {
                    *old = input;
                }
            }
        }
    }
    println!("fuzz: {} held for {count} inputs", target.name);
    true
}
