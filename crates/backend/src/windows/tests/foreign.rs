//! What others do to a machine between an install and what comes after it: any of it, in any order.

use proptest::prelude::*;
use ringfence_plan::windows::step::{LogonRight, PortRange};

use super::steps::*;
use crate::windows::fake::{FakeGroup, World};
use crate::windows::{SetupError, StoredValue};

/// What somebody else does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    // Something of ours goes.
    LoseFilter(u8),
    LoseRule,
    LoseValue(bool),
    LoseGroup,
    LoseAccount(bool),
    LoseProfile(bool),
    LoseDenials,
    LoseReservation,
    // Something of ours is another.
    ChangePassword(bool),
    Disable(bool),
    DenyMore(bool),
    // Something of theirs comes.
    AddFilter,
    AddRule,
    AddValue,
    AddGroup,
    AddReservation,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let either = any::<bool>();
    let deed = prop_oneof![
        (0_u8..2).prop_map(Deed::LoseFilter),
        Just(Deed::LoseRule),
        either.prop_map(Deed::LoseValue),
        Just(Deed::LoseGroup),
        either.prop_map(Deed::LoseAccount),
        either.prop_map(Deed::LoseProfile),
        Just(Deed::LoseDenials),
        Just(Deed::LoseReservation),
        either.prop_map(Deed::ChangePassword),
        either.prop_map(Deed::Disable),
        either.prop_map(Deed::DenyMore),
        Just(Deed::AddFilter),
        Just(Deed::AddRule),
        Just(Deed::AddValue),
        Just(Deed::AddGroup),
        Just(Deed::AddReservation),
    ];
    prop::collection::vec(deed, 1..7)
}

const fn account(first: bool) -> (&'static str, &'static str) {
    if first {
        ("RingfenceOff-A", "ringfenceoff-a")
    } else {
        ("RingfenceOn-A", "ringfenceon-a")
    }
}

impl Deed {
    /// Does it to the machine.
    fn on(self, bench: &mut Bench) {
        let world = &mut bench.machine.world;
        match self {
            Self::LoseFilter(index) => {
                let key = world.filters.keys().nth(usize::from(index)).copied();
                key.and_then(|key| world.filters.remove(&key));
            }
            Self::LoseRule => world.rules.retain(|rule| rule.grouping != "Ringfence"),
            Self::LoseValue(first) => {
                let place = (HIDDEN.to_lowercase(), account(first).1.to_owned());
                world.values.remove(&place);
            }
            Self::LoseGroup => {
                world.groups.remove("ringfence-a");
            }
            Self::LoseAccount(first) => {
                // What the local security policy says of its SID stays.
                world.accounts.remove(account(first).1);
            }
            Self::LoseProfile(first) => {
                if let Some(one) = world.accounts.get_mut(account(first).1) {
                    one.profile = None;
                }
            }
            Self::LoseDenials => world.denied.clear(),
            Self::LoseReservation => {
                world.reserved.retain(|range| range.first != 40_000);
            }
            Self::ChangePassword(first) => {
                if let Some(one) = world.accounts.get_mut(account(first).1) {
                    one.password += 1_000;
                }
            }
            Self::Disable(first) => {
                if let Some(one) = world.accounts.get_mut(account(first).1) {
                    one.enabled = false;
                }
            }
            Self::DenyMore(first) => {
                if let Some(one) = world.accounts.get(account(first).1) {
                    let denied = world.denied.entry(one.sid).or_default();
                    denied.insert(LogonRight::DenyService);
                }
            }
            Self::AddFilter
            | Self::AddRule
            | Self::AddValue
            | Self::AddGroup
            | Self::AddReservation => self.add(world),
        }
    }

    /// What comes of it on a machine that never had anything of ours.
    fn add(self, world: &mut World) {
        match self {
            Self::AddFilter => world.foreign_filters += 1,
            Self::AddRule => {
                let mut theirs = rule(bob(), 443);
                "theirs".clone_into(&mut theirs.grouping);
                theirs.remote_ports.clear();
                if world.rules.iter().all(|rule| rule.grouping != "theirs") {
                    "theirs".clone_into(&mut theirs.name);
                    world.rules.push(theirs);
                }
            }
            Self::AddValue => {
                // In a key that others have too: it is there before.
                let place = ("software\\other".to_owned(), "ringfence".to_owned());
                world.values.insert(place, StoredValue::Dword(9));
            }
            Self::AddGroup => {
                let theirs = FakeGroup {
                    sid: machine_sid().child(900).unwrap(),
                    comment: "theirs".to_owned(),
                };
                world.groups.insert("builders".to_owned(), theirs);
            }
            Self::AddReservation => {
                world.reserved.insert(PortRange {
                    first: 6000,
                    last: 6001,
                });
            }
            Self::LoseFilter(_)
            | Self::LoseRule
            | Self::LoseValue(_)
            | Self::LoseGroup
            | Self::LoseAccount(_)
            | Self::LoseProfile(_)
            | Self::LoseDenials
            | Self::LoseReservation
            | Self::ChangePassword(_)
            | Self::Disable(_)
            | Self::DenyMore(_) => {}
        }
    }
}

/// What is there when nothing of ours is: what was before, and what others added.
fn theirs(deeds: &[Deed]) -> World {
    let mut world = foreign_world();
    for deed in deeds {
        deed.add(&mut world);
    }
    world
}

fn failing(bench: &mut Bench) -> Result<Vec<String>, SetupError> {
    bench.setup(ada(), |setup| {
        let checked = setup.check(&steps(ada()));
        Ok(checked
            .into_iter()
            .filter_map(|(object, result)| result.is_err().then_some(object))
            .collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_uninstall_takes_what_is_ours_and_keeps_what_others_did(deeds in deeds()) {
        let mut bench = Bench::new();
        bench.install(ada()).unwrap();
        for deed in &deeds {
            deed.on(&mut bench);
        }
        let removed = bench.uninstall(ada()).unwrap();
        prop_assert!(removed.failed.is_empty(), "{:?}", removed.failed);
        prop_assert_eq!(&bench.machine.world, &theirs(&deeds));
        prop_assert!(bench.store.durable().is_none());
    }

    #[test]
    fn a_repair_makes_whole_what_others_took_and_an_uninstall_then_leaves_theirs(deeds in deeds()) {
        let mut bench = Bench::new();
        bench.install(ada()).unwrap();
        for deed in &deeds {
            deed.on(&mut bench);
        }
        bench.install(ada()).unwrap();
        prop_assert_eq!(failing(&mut bench).unwrap(), Vec::<String>::new());
        prop_assert_eq!(bench.install(ada()).unwrap().changed, Vec::<String>::new());
        let removed = bench.uninstall(ada()).unwrap();
        prop_assert!(removed.failed.is_empty(), "{:?}", removed.failed);
        prop_assert_eq!(&bench.machine.world, &theirs(&deeds));
    }
}
