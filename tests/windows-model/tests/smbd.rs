//! The simulated file system agrees with a real smbd, step for step.

#![expect(
    clippy::print_stdout,
    reason = "a skip and the counts are for whoever runs the tests"
)]

use std::error::Error;

use ringfence_nt::{AccessMask, WriteClass};
use ringfence_windows_model::access::Mutation;
use ringfence_windows_model::figures::{Size, record};
use ringfence_windows_model::oracle::{Oracles, Ran};
use ringfence_windows_model::scene::Scene;
use ringfence_windows_model::smbd::{Stage, Tally, replay};

type Failed = Box<dyn Error>;

const ATTACKS: usize = 40;
const SEED: u64 = 20_260_101;

/// Both sides agree everywhere; the counts are kept.
fn agree(what: &str, tally: &Tally) {
    for difference in &tally.differences {
        println!("{difference}");
    }
    println!("{:?}", tally.other_status);
    record(&["oracle", &format!("{what} against smbd: {tally}")]);
    assert!(tally.differences.is_empty(), "{what}");
    assert!(tally.stages > 0 && tally.steps > 100, "{what}");
    assert!(tally.refused > 0 && tally.by_hand > 100, "{what}");
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

fn play(stages: &[Stage], attacks: usize) -> Result<Option<Tally>, Failed> {
    let Some(oracles) = done(Oracles::find()?) else {
        return Ok(None);
    };
    Ok(done(replay(&oracles, stages, attacks, SEED)?))
}

#[test]
fn every_step_has_the_same_end_on_a_real_server() -> Result<(), Failed> {
    let stages: Vec<Stage> = (0..Size::asked().of(3, 60))
        .map(|index| Stage::random(SEED, index))
        .collect();
    let Some(tally) = play(&stages, ATTACKS)? else {
        return Ok(());
    };
    agree("random workspaces", &tally);
    Ok(())
}

#[test]
fn what_the_planner_plans_holds_on_a_real_server() -> Result<(), Failed> {
    // The class only decides what the passes come to together; the descriptors are the same under all of them.
    let worlds = [
        Scene::standard(WriteClass::H2, None)?,
        Scene::shared(WriteClass::H2, None)?,
    ];
    let mut stages = Vec::new();
    // Each time the attacks are others.
    for world in worlds.iter().cycle().take(Size::asked().of(2, 8)) {
        stages.push(Stage::planned(world)?);
    }
    let Some(tally) = play(&stages, Size::asked().of(80, 300))? else {
        return Ok(());
    };
    agree("planned machines", &tally);
    assert!(tally.steps > 500);
    Ok(())
}

#[test]
fn a_fault_in_the_model_is_noticed_by_a_real_server() -> Result<(), Failed> {
    // With every right granted each bit of the denies counts.
    let deny_bits = AccessMask(0xd_0156).bits().map(Mutation::DropDenyBit);
    let mut stages: Vec<Stage> = deny_bits
        .chain([Mutation::Reverse])
        .map(|fault| Stage::faulty(AccessMask::FILE_ALL_ACCESS, fault))
        .collect();
    let others = [
        Mutation::AddDeleteChild,
        Mutation::AddEveryone,
        Mutation::DropOwnerRights,
    ];
    stages.extend(others.map(|fault| Stage::faulty(AccessMask::FILE_MODIFY, fault)));
    let Some(tally) = play(&stages, ATTACKS)? else {
        return Ok(());
    };
    let noticed: Vec<&str> = tally
        .differences
        .iter()
        .map(|difference| difference.stage.as_str())
        .collect();
    for stage in &stages {
        assert!(noticed.contains(&stage.name.as_str()), "{}", stage.name);
    }
    println!("{} faults noticed", noticed.len());
    Ok(())
}
