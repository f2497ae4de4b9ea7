//! Everything that a plan says of a filter and of an account's profile is on the machine, is missed when it is not,
//! and goes with its entry.

use std::collections::BTreeSet;

use ringfence_nt::{Acl, Dacl, SecurityDescriptor};
use ringfence_plan::windows::filters::sublayer;
use ringfence_plan::windows::machine::{hive_entries, profile_entries};
use ringfence_plan::windows::step::{AceTemplate, Guid, MachineStep, Trustee};

use super::steps::*;
use super::stored::stored_plan;
use crate::ledger::Ledger;
use crate::windows::fake::{FakeAccount, FakeProfile};
use crate::windows::{MachineBook, Setup, StepError};

fn installed() -> (Bench, Vec<MachineStep>, ringfence_nt::Sid) {
    let plan = stored_plan("windows-plain");
    let mut bench = Bench::new();
    apply(&mut bench, plan.person, &plan.machine_steps);
    (bench, plan.machine_steps, plan.person)
}

fn apply(bench: &mut Bench, person: ringfence_nt::Sid, steps: &[MachineStep]) -> usize {
    let applied = bench.setup(person, |setup: &mut Setup<'_, _, _>| setup.apply(steps));
    applied.unwrap().changed.len()
}

/// What a look finds missing.
fn missing(bench: &mut Bench, person: ringfence_nt::Sid, steps: &[MachineStep]) -> Vec<String> {
    let checked = bench.setup(person, |setup: &mut FakeSetup<'_>| Ok(setup.check(steps)));
    let failed = |(object, result): (String, Result<(), StepError>)| {
        matches!(result, Err(StepError::NotKept { .. })).then_some(object)
    };
    checked.unwrap().into_iter().filter_map(failed).collect()
}

#[test]
fn a_filter_stands_in_the_sublayer_of_its_plan_and_one_that_was_moved_is_missed_and_put_back() {
    let (mut bench, steps, person) = installed();
    let of_plan = sublayer(person);
    let world = bench.machine.world.clone();
    let sublayers: BTreeSet<Guid> = world.filters.values().map(|one| one.sublayer).collect();
    assert_eq!(sublayers, BTreeSet::from([of_plan]), "and in no other");
    let keys: Vec<Guid> = world.filters.keys().copied().collect();
    for key in keys {
        let moved = bench.machine.world.filters.get_mut(&key).unwrap();
        moved.sublayer = Guid(of_plan.0 ^ 1);
        assert_eq!(
            missing(&mut bench, person, &steps),
            [format!("{} network filters", world.filters.len())]
        );
        assert_eq!(apply(&mut bench, person, &steps), 1);
        assert_eq!(bench.machine.world, world);
    }
    bench.uninstall(person).unwrap();
    assert!(bench.is_untouched());
}

/// Whether an object carries what a template says.
fn carries(found: &SecurityDescriptor, entry: &AceTemplate, group: ringfence_nt::Sid) -> bool {
    let sid = match entry.trustee {
        Trustee::Sid(sid) => sid,
        Trustee::Group | Trustee::Account(_) => group,
    };
    let mut aces = found.acl().unwrap().aces.iter();
    aces.any(|ace| (ace.kind, ace.mask, ace.sid) == (entry.kind, entry.mask, sid))
}

fn profile(account: &mut FakeAccount) -> &mut FakeProfile {
    account.profile.as_mut().unwrap()
}

#[test]
fn each_object_of_profile_and_hive_carries_each_entry_of_the_plan() {
    let (mut bench, steps, _) = installed();
    let markers: BTreeSet<_> = steps
        .iter()
        .filter_map(|step| match step {
            MachineStep::EnsureAccount { marker, .. } => Some(*marker),
            _ => None,
        })
        .collect();
    let marker = *markers.first().unwrap();
    let (in_profile, in_hive) = (profile_entries(marker), hive_entries(marker));
    assert_eq!((in_profile.len(), in_hive.len()), (3, 3));
    let group = bench
        .machine
        .world
        .groups
        .iter()
        .find(|(name, _)| name.starts_with("ringfence-"))
        .unwrap()
        .1
        .sid;
    let mut looked_at = 0;
    for account in bench.machine.world.accounts.values_mut() {
        let profile = profile(account);
        for (part, entries) in [(&profile.directory, &in_profile), (&profile.hive, &in_hive)] {
            for (name, (_, found)) in part {
                for entry in entries {
                    assert!(carries(found, entry, group), "{name}: {entry:?}");
                    looked_at += 1;
                }
            }
        }
    }
    // Two accounts, three files and two keys each.
    assert_eq!(looked_at, 2 * (3 + 2) * 3);
    // The record that it will be taken back by names the marker.
    let ledger: Ledger<MachineBook, _> = Ledger::open(bench.store.clone()).unwrap();
    let recorded = ledger.entries().filter(|(_, entry)| {
        matches!(&entry.intent.step, MachineStep::EnsureAccount { marker, .. } if markers.contains(marker))
    });
    assert_eq!(recorded.count(), 2);
}

#[test]
fn an_entry_that_is_missing_anywhere_in_a_profile_is_missed_and_put_back() {
    let (mut bench, steps, person) = installed();
    let guarded = bench.machine.world.clone();
    let shapes = |account: &mut FakeAccount| -> Vec<(bool, String)> {
        let profile = profile(account);
        let directory = profile.directory.keys().map(|name| (true, name.clone()));
        let hive = profile.hive.keys().map(|name| (false, name.clone()));
        directory.chain(hive).collect()
    };
    let name = "ringfenceoff-".to_owned();
    let name = guarded
        .accounts
        .keys()
        .find(|one| one.starts_with(&name))
        .unwrap()
        .clone();
    let mut tried = 0;
    for (in_directory, object) in shapes(bench.machine.world.accounts.get_mut(&name).unwrap()) {
        for entry in 0..3 {
            let account = bench.machine.world.accounts.get_mut(&name).unwrap();
            let profile = profile(account);
            let part = if in_directory {
                &mut profile.directory
            } else {
                &mut profile.hive
            };
            let (_, found) = part.get_mut(&object).unwrap();
            let mut aces = found.acl().unwrap().aces.clone();
            // Ours are the two denials in front and the entry for the owner behind them.
            aces.remove(entry);
            found.dacl = Dacl::Present(Acl::new(aces));
            let found = missing(&mut bench, person, &steps);
            assert_eq!(found.len(), 1, "{object} without {entry}");
            assert!(found[0].starts_with("the account RingfenceOff-"));
            assert_eq!(apply(&mut bench, person, &steps), 1);
            assert!(bench.machine.world.accounts[&name].profile == guarded.accounts[&name].profile);
            tried += 1;
        }
    }
    assert_eq!(tried, 5 * 3);
    bench.uninstall(person).unwrap();
    assert!(bench.is_untouched(), "they go with the profile");
}
