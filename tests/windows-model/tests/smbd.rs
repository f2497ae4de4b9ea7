//! The simulated file system agrees with a real smbd, step for step.

#![expect(
    clippy::print_stdout,
    reason = "a skip and the counts are for whoever runs the tests"
)]

use std::error::Error;

use ringfence_nt::AccessMask;
use ringfence_windows_model::access::Mutation;
use ringfence_windows_model::oracle::{Oracles, Ran};
use ringfence_windows_model::smbd::{Scene, Tally, replay};

type Failed = Box<dyn Error>;

/// How many scenes, where nobody says otherwise.
const SCENES: u64 = 4;
const ATTACKS: usize = 40;
const SEED: u64 = 20_260_101;

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

fn play(scenes: &[Scene]) -> Result<Option<Tally>, Failed> {
    let Some(oracles) = done(Oracles::find()?) else {
        return Ok(None);
    };
    Ok(done(replay(&oracles, scenes, ATTACKS, SEED)?))
}

#[test]
fn every_step_has_the_same_end_on_a_real_server() -> Result<(), Failed> {
    let scenes = match std::env::var("RINGFENCE_ORACLE_SCENES") {
        Ok(text) => text.parse()?,
        Err(_) => SCENES,
    };
    let scenes: Vec<Scene> = (0..scenes)
        .map(|index| Scene::random(SEED, index))
        .collect();
    let Some(tally) = play(&scenes)? else {
        return Ok(());
    };
    println!("{tally}");
    println!("{:#?}", tally.other_status);
    for difference in &tally.differences {
        println!("{difference}");
    }
    assert!(tally.differences.is_empty());
    Ok(())
}

#[test]
fn a_fault_in_the_model_is_noticed_by_a_real_server() -> Result<(), Failed> {
    // With every right granted each bit of the denies counts.
    let deny_bits = AccessMask(0xd_0156).bits().map(Mutation::DropDenyBit);
    let mut scenes: Vec<Scene> = deny_bits
        .chain([Mutation::Reverse])
        .map(|fault| Scene::faulty(AccessMask::FILE_ALL_ACCESS, fault))
        .collect();
    let others = [
        Mutation::AddDeleteChild,
        Mutation::AddEveryone,
        Mutation::DropOwnerRights,
    ];
    scenes.extend(others.map(|fault| Scene::faulty(AccessMask::FILE_MODIFY, fault)));
    let Some(tally) = play(&scenes)? else {
        return Ok(());
    };
    let noticed: Vec<&str> = tally
        .differences
        .iter()
        .map(|difference| difference.scene.as_str())
        .collect();
    for scene in &scenes {
        assert!(noticed.contains(&scene.name.as_str()), "{}", scene.name);
    }
    println!("{} faults noticed", noticed.len());
    Ok(())
}
