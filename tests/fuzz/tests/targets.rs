//! Each reader on its seeds and on a fixed number of mutations, the same at every run.

use ringfence_fuzz_tests::TARGETS;
use ringfence_fuzz_tests::mutate::{Random, change};

#[test]
fn every_reader_keeps_its_promises_on_seeds_and_mutations_of_them() {
    for target in TARGETS {
        for seed in target.seeds {
            (target.run)(seed);
        }
        let mut random = Random::new(7);
        for _ in 0..2000 {
            let one = target.seeds[random.below(target.seeds.len())];
            let other = target.seeds[random.below(target.seeds.len())];
            (target.run)(&change(&mut random, one, other));
        }
    }
}

#[test]
fn every_reader_has_seeds_and_mutations_repeat() {
    let inputs = |start| {
        let mut random = Random::new(start);
        [(); 50].map(|()| change(&mut random, b"seed", b"other"))
    };
    assert_eq!(inputs(3), inputs(3));
    assert_ne!(inputs(3), inputs(4));
    assert!(TARGETS.iter().all(|target| !target.seeds.is_empty()));
}
