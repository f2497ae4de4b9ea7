//! Install, repair, upgrade, uninstall; what is not ours.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::{AccessMask, Ace, AceFlags, SecurityDescriptor, Sid};
use ringfence_plan::windows::step::{LogonRight, Object, ObjectKind, PortRange, Purpose, Trustee};

use super::steps::*;
use crate::fault::{Fault, Faults};
use crate::ledger::{Ledger, MemoryStore, Undone};
use crate::windows::fake::{FakeAccount, FakeFiles, FakeGroup};
use crate::windows::{
    Directory, Machine, PasswordRule, PersonBook, PersonIntent, Remnant, RemnantKind, Setup,
    SetupError, StepError, StoredValue, leftover_of_machine,
};

fn cause(error: SetupError) -> StepError {
    match error {
        SetupError::RolledBack { cause, .. } => cause,
        other => panic!("not rolled back: {other:?}"),
    }
}

fn leftover(bench: &mut Bench) -> Vec<Remnant> {
    let ledger = Ledger::open(bench.store.clone()).unwrap();
    leftover_of_machine(&ledger, &mut bench.machine).unwrap()
}

#[test]
fn the_second_set_up_of_a_machine_changes_nothing() {
    let mut bench = Bench::new();
    let first = bench.install(ada()).unwrap();
    assert_eq!(first.changed.len(), steps(ada()).len());
    let (world, writes) = (bench.machine.world.clone(), bench.store.writes());
    let (calls, passwords) = (bench.faults.calls(), bench.machine.passwords);
    let second = bench.install(ada()).unwrap();
    assert_eq!(second.changed, Vec::<String>::new());
    assert_eq!(second.accounts, first.accounts);
    assert_eq!(bench.machine.world, world);
    assert_eq!(
        bench.store.writes(),
        writes,
        "nothing is written to the ledger"
    );
    assert_eq!(bench.faults.calls(), calls);
    assert_eq!(bench.machine.passwords, passwords);
}

#[test]
fn uninstalling_leaves_the_machine_as_it_was() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    assert!(!bench.is_untouched(), "the control: it was changed");
    for account in bench.machine.world.accounts.values_mut() {
        account.processes = 3;
    }
    let removed = bench.uninstall(ada()).unwrap();
    assert!(removed.failed.is_empty(), "{:?}", removed.failed);
    assert!(
        removed
            .undone
            .iter()
            .all(|(_, how)| *how == Undone::Restored)
    );
    assert!(bench.is_untouched());
    assert_eq!(leftover(&mut bench), []);
    assert!(bench.uninstall(ada()).unwrap().undone.is_empty());
}

#[test]
fn groups_are_found_by_sid_in_every_language() {
    let mut bench = Bench::new();
    let accounts = bench.install(bob()).unwrap().accounts;
    let made: Vec<&FakeAccount> = bench.machine.world.accounts.values().collect();
    assert_eq!(made.len(), 2);
    for account in made {
        assert_eq!(
            account.groups,
            BTreeSet::from([Sid::USERS, accounts.group.unwrap()])
        );
    }
}

#[test]
fn a_person_of_a_domain_gets_accounts_of_the_machine() {
    let mut bench = Bench::new();
    let accounts = bench.install(bob()).unwrap().accounts;
    let local = machine_sid().subauthorities().to_vec();
    for sid in accounts.sids() {
        assert!(sid.subauthorities().starts_with(&local), "{sid}");
    }
    assert_eq!(accounts.sids().count(), 3);
    bench.uninstall(bob()).unwrap();
    assert!(bench.is_untouched());
}

#[test]
fn an_account_or_group_that_we_did_not_make_stops_set_up() {
    let planted: [fn(&mut Bench); 4] = [
        |bench| {
            let sid = machine_sid().child(77).unwrap();
            let comment = format!("accounts of {}", ada());
            let group = FakeGroup { sid, comment };
            bench
                .machine
                .world
                .groups
                .insert("ringfence-a".to_owned(), group);
        },
        |bench| {
            let account = FakeAccount {
                sid: machine_sid().child(78).unwrap(),
                comment: format!("runs commands of {}", ada()),
                groups: BTreeSet::new(),
                password: 9,
                enabled: true,
                locked: None,
                rule: PasswordRule::Kept,
                processes: 0,
                profile: None,
            };
            let accounts = &mut bench.machine.world.accounts;
            accounts.insert("ringfenceoff-a".to_owned(), account);
        },
        |bench| {
            let directory = Directory {
                id: ringfence_plan::windows::step::FileId { volume: 1, file: 9 },
                descriptor: plain(ada()),
            };
            let directories = &mut bench.machine.world.directories;
            directories.insert(path("C:\\ProgramData\\Ringfence"), directory);
        },
        |bench| {
            bench.machine.world.rules.push(rule(ada(), 9));
        },
    ];
    for plant in planted {
        let mut bench = Bench::new();
        plant(&mut bench);
        let world = bench.machine.world.clone();
        let error = cause(bench.install(ada()).unwrap_err());
        assert!(matches!(error, StepError::Foreign { .. }), "{error:?}");
        assert_eq!(bench.machine.world, world);
        assert_eq!(bench.store.durable(), None);
    }
    let mut bench = Bench::new();
    bench.machine.world.used.insert(PortRange {
        first: 40_003,
        last: 40_003,
    });
    let error = cause(bench.install(ada()).unwrap_err());
    assert!(matches!(error, StepError::Foreign { .. }));
}

#[test]
fn an_administrators_policy_outlives_the_last_set_up() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    let top = path("C:\\ProgramData\\Ringfence");
    let policy = top.join("policy.toml").unwrap();
    bench.machine.world.policies.insert(policy.clone());
    let removed = bench.uninstall(ada()).unwrap();
    assert!(removed.failed.is_empty(), "{:?}", removed.failed);
    let world = &bench.machine.world;
    assert!(
        world.policies.contains(&policy),
        "nobody else has a copy of it"
    );
    assert_eq!(world.directories.keys().collect::<Vec<_>>(), [&top]);
    assert_eq!(bench.store.durable(), None);
    // The next set-up takes the directory as it is, and its uninstall leaves it too.
    bench.install(ada()).unwrap();
    bench.uninstall(ada()).unwrap();
    assert!(bench.machine.world.policies.contains(&policy));
    // The control: without it nothing stays.
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    bench.uninstall(ada()).unwrap();
    assert_eq!(bench.machine.world, foreign_world());
}

#[test]
fn what_an_account_that_somebody_deleted_was_denied_is_seen_and_goes() {
    let mut bench = Bench::new();
    let gone = bench.install(ada()).unwrap().accounts.offline.unwrap();
    bench.machine.world.accounts.remove("ringfenceoff-a");
    assert!(
        bench.machine.world.denied.contains_key(&gone),
        "the control"
    );
    assert_eq!(leftover(&mut bench), [], "its entry knows of it");
    let unrecorded = Ledger::open(MemoryStore::new(&Faults::new())).unwrap();
    let left = leftover_of_machine(&unrecorded, &mut bench.machine).unwrap();
    let rights = Remnant {
        kind: RemnantKind::Rights,
        object: gone.to_string(),
    };
    assert!(left.contains(&rights), "{left:?}");
    // Made again it has another SID.
    let again = bench.install(ada()).unwrap().accounts.offline.unwrap();
    assert_ne!(again, gone);
    assert!(!bench.machine.world.denied.contains_key(&gone));
    bench.machine.world.accounts.remove("ringfenceoff-a");
    bench.uninstall(ada()).unwrap();
    assert_eq!(bench.machine.world, foreign_world());
}

#[test]
fn what_was_changed_by_others_meanwhile_is_kept() {
    let mut bench = Bench::new();
    let accounts = bench.install(ada()).unwrap().accounts;
    let world = &mut bench.machine.world;
    let mut expected = foreign_world();

    let sid = machine_sid().child(900).unwrap();
    let theirs = FakeGroup {
        sid,
        comment: "theirs".to_owned(),
    };
    for world in [&mut *world, &mut expected] {
        world.groups.insert("builders".to_owned(), theirs.clone());
        // Ours was deleted, and somebody made one of that name.
        world
            .groups
            .insert("ringfence-a".to_owned(), theirs.clone());
        world.foreign_filters += 1;
        let place = (HIDDEN.to_lowercase(), "guest".to_owned());
        world.values.insert(place, StoredValue::Dword(0));
        // Our own value, which somebody has changed.
        let place = (HIDDEN.to_lowercase(), "ringfenceon-a".to_owned());
        world.values.insert(place, StoredValue::Dword(1));
        world.rules.retain(|rule| rule.grouping != "Ringfence");
        let mut edited = rule(ada(), 7);
        edited.user = Trustee::Sid(Sid::EVERYONE);
        world.rules.push(edited);
        world.reserved.insert(PortRange {
            first: 6000,
            last: 6001,
        });
    }
    expected
        .keys
        .insert(HIDDEN.to_lowercase(), plain(Sid::SYSTEM));
    let denied = world.denied.get_mut(&accounts.offline.unwrap()).unwrap();
    denied.insert(LogonRight::DenyService);

    let removed = bench.uninstall(ada()).unwrap();
    assert!(removed.failed.is_empty(), "{:?}", removed.failed);
    assert_eq!(bench.machine.world, expected);
    let outcomes: BTreeSet<_> = removed
        .undone
        .iter()
        .map(|(_, how)| format!("{how:?}"))
        .collect();
    assert!(outcomes.contains("Merged") && outcomes.contains("Gone"));
    // What they made under our names is reported: a person has to look at it.
    let left: Vec<RemnantKind> = leftover(&mut bench)
        .into_iter()
        .map(|one| one.kind)
        .collect();
    assert_eq!(
        left,
        [
            RemnantKind::Group,
            RemnantKind::Value,
            RemnantKind::FirewallRule
        ]
    );
}

#[test]
fn what_is_missing_is_made_again_and_a_working_password_is_kept() {
    let mut bench = Bench::new();
    let before = bench.install(ada()).unwrap().accounts;
    let passwords = bench.machine.passwords;
    bench.machine.world.filters.pop_first();
    bench.machine.world.denied.clear();
    let mended = bench.install(ada()).unwrap();
    assert_eq!(mended.changed.len(), 3, "{:?}", mended.changed);
    assert_eq!(
        (mended.accounts, bench.machine.passwords),
        (before, passwords)
    );

    // A password that was changed by an administrator is made anew, the account stays.
    let accounts = &mut bench.machine.world.accounts;
    accounts.get_mut("ringfenceon-a").unwrap().password = 99;
    let mended = bench.install(ada()).unwrap();
    assert_eq!(
        (mended.accounts, bench.machine.passwords),
        (before, passwords + 1)
    );

    // A group and an account that are gone come again with other SIDs.
    bench.machine.remove_group("Ringfence-A").unwrap();
    bench.machine.quiesce_account("RingfenceOff-A").unwrap();
    bench
        .machine
        .remove_account("RingfenceOff-A", &path("C:\\x"))
        .unwrap();
    let mended = bench.install(ada()).unwrap();
    assert_ne!(mended.accounts.group, before.group);
    assert_eq!(mended.accounts.online, before.online);
    assert!(bench.install(ada()).unwrap().changed.is_empty());
    bench.uninstall(ada()).unwrap();
    assert!(bench.is_untouched());
}

#[test]
fn a_failed_upgrade_leaves_the_earlier_set_up() {
    let clean = {
        let mut bench = Bench::new();
        bench.install(ada()).unwrap();
        bench
            .setup(ada(), |setup| setup.apply(&steps_of(ada(), 2)))
            .unwrap();
        bench.machine
    };
    for fault in [Fault::Refused, Fault::Lie] {
        for call in 0.. {
            let mut bench = Bench::new();
            bench.install(ada()).unwrap();
            let earlier = bench.machine.world.clone();
            bench.faults.strike_at(call, fault);
            let outcome = bench.setup(ada(), |setup| setup.apply(&steps_of(ada(), 2)));
            if !bench.faults.has_struck() {
                assert!(call > 6, "few calls: {call}");
                break;
            }
            bench.faults.restart();
            match outcome {
                Ok(_) => assert!(shape(&bench.machine) == shape(&clean)),
                // All was done, and only the ledger could not be told that it is over.
                Err(SetupError::Ledger(_)) if shape(&bench.machine) == shape(&clean) => {}
                Err(_) => assert!(bench.machine.world == earlier, "{fault:?} at {call}"),
            }
            bench
                .setup(ada(), |setup| setup.apply(&steps_of(ada(), 2)))
                .unwrap();
            assert!(
                shape(&bench.machine) == shape(&clean),
                "{fault:?} at {call}"
            );
            bench.uninstall(ada()).unwrap();
            assert!(bench.is_untouched(), "{fault:?} at {call}");
        }
    }
}

#[test]
fn an_account_that_nobody_can_sign_in_to_stops_a_set_up_with_its_code_and_no_uninstall() {
    /// `ERROR_ACCOUNT_LOCKED_OUT`, `ERROR_LOGON_TYPE_NOT_GRANTED`
    const CODES: [u32; 2] = [1909, 1385];
    for code in CODES {
        let mut bench = Bench::new();
        bench.install(ada()).unwrap();
        let accounts = &mut bench.machine.world.accounts;
        accounts.get_mut("ringfenceoff-a").unwrap().locked = Some(code);
        let StepError::Call(failure) = cause(bench.install(ada()).unwrap_err()) else {
            panic!("another cause");
        };
        assert_eq!(failure.code, code);
        let logons = bench.machine.logons;
        let removed = bench.uninstall(ada()).unwrap();
        assert!(removed.failed.is_empty(), "{:?}", removed.failed);
        assert_eq!(
            bench.machine.logons, logons,
            "an uninstall signs in to nothing"
        );
        assert!(bench.is_untouched());
    }
}

#[test]
fn a_password_that_may_expire_again_is_mended() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    let (world, passwords) = (bench.machine.world.clone(), bench.machine.passwords);
    let accounts = &mut bench.machine.world.accounts;
    accounts.get_mut("ringfenceon-a").unwrap().rule = PasswordRule::Loose;
    let mended = bench.install(ada()).unwrap();
    assert_eq!(mended.changed, ["the account RingfenceOn-A"]);
    assert_eq!(bench.machine.world, world);
    assert_eq!(bench.machine.passwords, passwords, "the password is kept");
}

#[test]
fn a_filter_that_is_disabled_counts_as_missing_and_goes_by_its_key() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    let whole = bench.machine.world.clone();
    let disable = |bench: &mut Bench| {
        let world = &mut bench.machine.world;
        let (key, _) = world.filters.pop_first().unwrap();
        world.changed_filters.insert(key);
    };
    disable(&mut bench);
    let mended = bench.install(ada()).unwrap();
    assert_eq!(mended.changed.len(), 1, "{:?}", mended.changed);
    assert_eq!(bench.machine.world, whole);
    // Every one of them: nothing of ours is seen any more, and all of it goes.
    while !bench.machine.world.filters.is_empty() {
        disable(&mut bench);
    }
    let removed = bench.uninstall(ada()).unwrap();
    assert!(removed.failed.is_empty(), "{:?}", removed.failed);
    assert!(bench.is_untouched());
    assert_eq!(leftover(&mut bench), []);
}

#[test]
fn a_profile_that_stays_when_its_account_goes_is_left_and_one_of_an_account_is_not() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    let profile = |bench: &mut Bench, name: &str| {
        let directory = Directory {
            id: ringfence_plan::windows::step::FileId {
                volume: 1,
                file: 99,
            },
            descriptor: plain(ada()),
        };
        let place = path(&format!("C:\\Users\\{name}"));
        bench.machine.world.directories.insert(place, directory);
    };
    for name in ["RingfenceOff-A", "RingfenceOn-A.COMPUTER"] {
        profile(&mut bench, name);
    }
    assert_eq!(leftover(&mut bench), [], "the accounts are there");
    profile(&mut bench, "RingfenceOff-AB");
    let left = |bench: &mut Bench| leftover(bench).len();
    assert_eq!(left(&mut bench), 1, "that account is not");
    bench.uninstall(ada()).unwrap();
    assert_eq!(left(&mut bench), 3);
}

#[test]
fn after_an_interrupted_uninstall_only_an_uninstall_goes_on() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    bench.faults.strike_at(12, Fault::CrashAfter);
    let removed = bench.uninstall(ada()).unwrap();
    assert!(bench.faults.has_struck() && !removed.failed.is_empty());
    bench.restart(0);
    let world = bench.machine.world.clone();
    assert!(matches!(
        bench.install(ada()),
        Err(SetupError::UninstallUnfinished)
    ));
    assert_eq!(bench.machine.world, world);
    bench.uninstall(ada()).unwrap();
    assert!(bench.is_untouched());
    bench.install(ada()).unwrap();
}

#[test]
fn a_plan_that_names_an_account_before_it_is_made_is_refused() {
    let mut bench = Bench::new();
    let mut wrong = steps(ada());
    wrong.swap(0, 2);
    let error = cause(
        bench
            .setup(ada(), |setup: &mut Setup<'_, _, _>| setup.apply(&wrong))
            .unwrap_err(),
    );
    assert_eq!(error, StepError::TrusteeUnknown);
    assert!(bench.is_untouched());
}

#[test]
fn an_elevated_uninstall_takes_its_sids_from_the_machines_ledger_alone() {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    let theirs = bench.install(bob()).unwrap().accounts.group.unwrap();
    let own = bench.setup(ada(), |setup| Ok(setup.sids())).unwrap();
    assert_eq!(own.len(), 4, "two accounts, a group, a marker: {own:?}");
    assert!(!own.contains(&theirs));

    // An object of hers with entries for both people's groups, named by a ledger that she may have written.
    let mut files = FakeFiles::new(&['C'], &plain(Sid::SYSTEM), &Faults::new());
    let deny = |sid| Ace::deny(AceFlags::NONE, AccessMask::DELETE, sid);
    let aces = own.iter().copied().chain([theirs]).map(deny);
    let object = SecurityDescriptor::new(ada(), ada(), aces.collect());
    let id = files.add_file("C:\\x", &object).unwrap();
    let person = MemoryStore::new(&Faults::new());
    let mut ledger: Ledger<PersonBook, MemoryStore> = Ledger::open(person.clone()).unwrap();
    let number = ledger.number_of(&plain(Sid::EVERYONE)).unwrap();
    let object = Object {
        path: path("C:\\x"),
        id,
        kind: ObjectKind::File,
    };
    let purpose = Purpose::Root;
    let intent = PersonIntent::SetDacl {
        object,
        purpose,
        before: number,
        after: number,
    };
    ledger.intend(intent).unwrap();

    let bytes = person.durable().unwrap();
    let done = bench
        .setup(ada(), |setup| {
            setup.uninstall_wholly(&bytes, &mut files, &mut |_| ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(
        (done.cleansed.changed.first().len(), done.left),
        (1, Vec::new())
    );
    let kept = &files.descriptor(id).unwrap().acl().unwrap().aces;
    assert_eq!(*kept, [deny(theirs)]);
    assert!(
        bench.install(bob()).unwrap().changed.is_empty(),
        "the other's set-up stands"
    );
    bench.uninstall(bob()).unwrap();
    assert!(bench.is_untouched());
}

#[test]
fn a_check_finds_what_somebody_took_away_and_changes_nothing() {
    let mut bench = Bench::new();
    let check = |bench: &mut Bench| {
        let checked = bench.setup(ada(), |setup: &mut FakeSetup<'_>| {
            Ok(setup.check(&steps(ada())))
        });
        let failed =
            |(object, result): (String, Result<(), StepError>)| result.is_err().then_some(object);
        let failed: Vec<String> = checked.unwrap().into_iter().filter_map(failed).collect();
        failed
    };
    assert_eq!(
        check(&mut bench).len(),
        steps(ada()).len(),
        "nothing is there"
    );
    bench.install(ada()).unwrap();
    let (world, writes) = (bench.machine.world.clone(), bench.store.writes());
    assert_eq!(check(&mut bench), Vec::<String>::new());
    assert_eq!(bench.machine.world, world);
    assert_eq!(bench.store.writes(), writes);
    bench.machine.world.rules.clear();
    for account in bench.machine.world.accounts.values_mut() {
        account.profile = None;
    }
    assert_eq!(
        check(&mut bench),
        [
            "the account RingfenceOff-A",
            "the account RingfenceOn-A",
            "the firewall rule Ringfence A"
        ]
    );
}
