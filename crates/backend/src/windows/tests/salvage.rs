//! An uninstall where the machine's ledger is damaged: what is recorded goes, what is not stays and is listed.

use std::ops::ControlFlow;

use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::{MachineDirectories, Subject};
use ringfence_plan::windows::step::{AccountSids, PortRange};

use super::steps::*;
use super::stored::stored_subject;
use crate::fault::Faults;
use crate::ledger::{Ledger, LedgerError};
use crate::windows::fake::{FakeFiles, FakeGroup, World};
use crate::windows::{
    InstalledState, MachineBook, Remnant, STATE_VERSION, Setup, SetupError, everything_of_machine,
    salvage,
};

/// Two people's set-ups on one machine, and the states that both have left.
struct Damaged {
    bench: Bench,
    states: [InstalledState; 2],
    /// The world with the second person's set-up alone.
    others: World,
}

fn subjects() -> [Subject; 2] {
    let one = stored_subject("windows-plain");
    let other = Subject {
        person: one.person.parent_child(4242),
        name: "bob".to_owned(),
        proxy: PortRange {
            first: one.proxy.first + 64,
            last: one.proxy.last + 64,
        },
        ..one.clone()
    };
    [other, one]
}

trait Sibling {
    fn parent_child(self, number: u32) -> Sid;
}

impl Sibling for Sid {
    /// Another account of the same machine.
    fn parent_child(self, number: u32) -> Sid {
        let (_, above) = self.subauthorities().split_last().unwrap();
        Sid::new(self.authority(), above)
            .unwrap()
            .child(number)
            .unwrap()
    }
}

fn install(bench: &mut Bench, subject: &Subject) -> InstalledState {
    let steps = subject.steps().unwrap();
    let applied = bench
        .setup(subject.person, |setup: &mut Setup<'_, _, _>| {
            setup.apply(&steps)
        })
        .unwrap();
    let accounts = AccountSids {
        offline: applied.accounts.offline.unwrap(),
        online: applied.accounts.online.unwrap(),
        group: applied.accounts.group.unwrap(),
    };
    InstalledState {
        version: STATE_VERSION,
        machine_hash: subject.hash().unwrap(),
        subject: subject.clone(),
        accounts,
    }
}

impl Damaged {
    fn new() -> Self {
        let [first, second] = subjects();
        let mut bench = Bench::new();
        let first = install(&mut bench, &first);
        let others = bench.machine.world.clone();
        let second = install(&mut bench, &second);
        Self {
            bench,
            states: [first, second],
            others,
        }
    }

    /// The ledger with one bit of its byte `at` turned.
    fn turn(&self, at: usize) {
        let mut bytes = self.bench.store.durable().unwrap();
        bytes[at] ^= 0x10;
        self.bench.store.forge(Some(bytes));
    }

    fn own(&self) -> Vec<WindowsPath> {
        let [_, state] = &self.states;
        let directories =
            MachineDirectories::below(&state.subject.program_data, state.subject.person).unwrap();
        vec![directories.record, directories.home]
    }

    fn person(&self) -> Sid {
        self.states[1].subject.person
    }

    /// The second person's uninstall, with these states.
    fn uninstall(&mut self, states: &[InstalledState]) -> Result<Vec<Remnant>, SetupError> {
        let own = self.own();
        let person = self.person();
        let store = self.bench.store.clone();
        let (mut ledger, _) = salvage(store, states, &own, &mut self.bench.machine)?;
        let mut files = FakeFiles::new(&['C'], &plain(Sid::SYSTEM), &Faults::new());
        let done = Setup {
            person,
            ledger: &mut ledger,
            machine: &mut self.bench.machine,
        }
        .uninstall_wholly(&[], &mut files, &mut |_| ControlFlow::Continue(()))?;
        assert!(done.removed.failed.is_empty(), "{:?}", done.removed.failed);
        Ok(done.left)
    }
}

fn damage_places(bytes: usize) -> impl Iterator<Item = usize> {
    // The first record, the last, and a spread between.
    (0..bytes).step_by((bytes / 24).max(1)).chain([bytes - 1])
}

#[test]
fn a_damaged_ledger_stops_what_goes_by_it_and_hides_nothing_from_the_scan() {
    let mut damaged = Damaged::new();
    damaged.turn(40);
    let world = damaged.bench.machine.world.clone();
    let opened: Result<Ledger<MachineBook, _>, _> = Ledger::open(damaged.bench.store.clone());
    assert!(matches!(opened, Err(LedgerError::Damaged(_))));
    drop(opened);
    let everything = everything_of_machine(&mut damaged.bench.machine).unwrap();
    for name in ["ringfenceoff-", "ringfenceon-", "ringfence-"] {
        let found = everything.iter().filter(|one| one.object.starts_with(name));
        assert_eq!(found.count(), 2, "{name}");
    }
    assert_eq!(damaged.bench.machine.world, world);
}

#[test]
fn wherever_it_is_damaged_the_states_complete_what_is_recorded_and_the_others_set_up_stands() {
    let length = Damaged::new().bench.store.durable().unwrap().len();
    let mut tried = 0;
    for at in damage_places(length) {
        let mut damaged = Damaged::new();
        damaged.turn(at);
        let states = damaged.states.clone();
        let left = damaged.uninstall(&states).unwrap();
        assert_eq!(left, [], "damage at {at}");
        assert!(
            damaged.bench.machine.world == damaged.others,
            "damage at {at}"
        );
        // The other's set-up is as it was, and goes by the same ledger.
        let other = &states[0];
        let steps = other.subject.steps().unwrap();
        let checked = damaged
            .bench
            .setup(other.subject.person, |setup: &mut FakeSetup<'_>| {
                Ok(setup.check(&steps))
            })
            .unwrap();
        let failed: Vec<_> = checked.iter().filter(|(_, how)| how.is_err()).collect();
        assert!(failed.is_empty(), "damage at {at}: {failed:?}");
        damaged.bench.uninstall(other.subject.person).unwrap();
        // Nobody knows any more whether the list of hidden accounts was there before: empty, it stays.
        let list = HIDDEN.to_lowercase();
        damaged.bench.machine.world.keys.remove(&list);
        assert!(damaged.bench.is_untouched(), "damage at {at}");
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn nothing_is_undone_while_somebody_elses_set_up_is_not_recorded() {
    let mut refused = 0;
    let length = Damaged::new().bench.store.durable().unwrap().len();
    for at in damage_places(length) {
        let mut damaged = Damaged::new();
        damaged.turn(at);
        let world = damaged.bench.machine.world.clone();
        let own = [damaged.states[1].clone()];
        match damaged.uninstall(&own) {
            Err(SetupError::OthersUnknown { directories }) => {
                assert_eq!(damaged.bench.machine.world, world);
                assert!(!directories.is_empty());
                refused += 1;
            }
            // Of the other's set-up enough is recorded that nothing of it goes; what is not is listed.
            Ok(left) => {
                assert!(
                    damaged.bench.machine.world == damaged.others,
                    "damage at {at}"
                );
                let letters = damaged.own();
                let own = letters[0].name().unwrap().to_lowercase();
                assert!(
                    left.iter()
                        .all(|one| !one.object.to_lowercase().contains(&own))
                );
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(
        refused > 0,
        "the control: without the guard this deletes it"
    );
}

#[test]
fn what_only_its_name_makes_ours_stays_and_is_listed() {
    let mut damaged = Damaged::new();
    let theirs = FakeGroup {
        sid: machine_sid().child(77).unwrap(),
        comment: "somebody made it".to_owned(),
    };
    let name = {
        let groups = &damaged.bench.machine.world.groups;
        let group = damaged.states[1].accounts.group;
        groups
            .iter()
            .find(|(_, one)| one.sid == group)
            .unwrap()
            .0
            .clone()
    };
    let groups = &mut damaged.bench.machine.world.groups;
    groups.insert(name.clone(), theirs.clone());
    let rules = &mut damaged.bench.machine.world.rules;
    rules
        .last_mut()
        .unwrap()
        .remote_addresses
        .push("192.0.2.1".to_owned());
    let edited = rules.last().unwrap().clone();
    damaged.turn(0);
    let states = damaged.states.clone();
    let left = damaged.uninstall(&states).unwrap();
    let world = &damaged.bench.machine.world;
    assert_eq!(world.groups.get(&name), Some(&theirs));
    assert!(world.rules.contains(&edited));
    let left: Vec<&str> = left.iter().map(|one| one.object.as_str()).collect();
    assert!(left.contains(&name.as_str()), "{left:?}");
    assert!(left.contains(&edited.name.as_str()), "{left:?}");
}

#[test]
fn with_no_record_at_all_everything_stays_and_is_listed() {
    let mut damaged = Damaged::new();
    damaged.turn(0);
    let world = damaged.bench.machine.world.clone();
    assert!(matches!(
        damaged.uninstall(&[]),
        Err(SetupError::OthersUnknown { .. })
    ));
    assert_eq!(damaged.bench.machine.world, world);
    // One person alone on the machine, whose state is gone too.
    let [_, subject] = subjects();
    let mut bench = Bench::new();
    let state = install(&mut bench, &subject);
    let mut alone = Damaged {
        others: World::default(),
        states: [state.clone(), state],
        bench,
    };
    alone.turn(0);
    let world = alone.bench.machine.world.clone();
    let left = alone.uninstall(&[]).unwrap();
    assert_eq!(alone.bench.machine.world, world);
    assert_eq!(
        left,
        everything_of_machine(&mut alone.bench.machine).unwrap()
    );
}
