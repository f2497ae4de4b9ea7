//! The model's access check agrees with Samba's, and the comparison would notice if it did not.

#![expect(
    clippy::print_stdout,
    reason = "a skip and the counts are for whoever runs the tests"
)]

use std::error::Error;

use ringfence_nt::AccessMask;
use ringfence_windows_model::access::{Mutation, Settings, Tally, compare_cases, compare_examples};
use ringfence_windows_model::oracle::{Oracles, Ran};

/// How many cases, where nobody says otherwise.
const CASES: u64 = 4_000;

type Failed = Box<dyn Error>;

fn cases() -> Result<u64, Failed> {
    match std::env::var("RINGFENCE_ORACLE_CASES") {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(CASES),
    }
}

/// What ran; a skip is printed.
fn done<T>(ran: Ran<T>) -> Option<T> {
    match ran {
        Ran::Done(value) => Some(value),
        Ran::Skipped(skip) => {
            println!("{skip}");
            None
        }
    }
}

fn compare(cases: u64, mutation: Option<Mutation>) -> Result<Option<Tally>, Failed> {
    let Some(oracles) = done(Oracles::find()?) else {
        return Ok(None);
    };
    let settings = Settings {
        cases,
        processes: 2,
        seed: 20_260_101,
        mutation,
    };
    Ok(done(compare_cases(&oracles, settings)?))
}

#[test]
fn every_answer_agrees_in_every_pass() -> Result<(), Failed> {
    let Some(tally) = compare(cases()?, None)? else {
        return Ok(());
    };
    println!("{tally}");
    for disagreement in &tally.disagreements {
        println!("{disagreement}");
    }
    assert_eq!(tally.disagreed, 0);
    assert_eq!(tally.agreed + tally.silent_in_all(), tally.asked);
    // The cases must be worth asking: both verdicts, both passes, and few without an answer.
    let share = |count: u64| count * 100 / tally.asked;
    assert!(share(tally.granted) >= 10, "too few granted");
    assert!(share(tally.agreed - tally.granted) >= 30, "too few denied");
    assert!(
        share(tally.denied_by_second_pass) >= 4,
        "too few second passes"
    );
    assert!(share(tally.packed) >= 5, "too few packings");
    assert!(
        share(tally.silent_in_all()) <= 15,
        "too many without an answer"
    );
    Ok(())
}

#[test]
fn a_fault_in_the_model_is_noticed() -> Result<(), Failed> {
    let deny_bits = AccessMask(0xd_0156).bits().map(Mutation::DropDenyBit);
    let others = [
        Mutation::AddDeleteChild,
        Mutation::AddEveryone,
        Mutation::SwapFirstTwo,
        Mutation::Reverse,
        Mutation::DropOwnerRights,
        Mutation::ForgetInheritOnly,
    ];
    let mut noticed = 0;
    for mutation in deny_bits.chain(others) {
        let Some(tally) = compare(600, Some(mutation))? else {
            return Ok(());
        };
        assert!(tally.disagreed > 0, "{mutation:?} was not noticed");
        noticed += 1;
    }
    println!("{noticed} faults noticed");
    Ok(())
}

#[test]
fn the_known_cases_hold() -> Result<(), Failed> {
    let Some(oracles) = done(Oracles::find()?) else {
        return Ok(());
    };
    for file in ["access-walk.json", "access-two-pass.json"] {
        let examples = compare_examples(&oracles, file)?;
        println!("{file}: {examples:?}");
        assert!(examples.differences.is_empty(), "{file}");
        assert!(examples.agreed > 20, "{file}: too few examples");
        // Whole requests with the narrow class: a mixture of H1 and H3, which is refused as H1 is.
        assert!(examples.other_classes.len() <= 1, "{file}");
    }
    Ok(())
}
