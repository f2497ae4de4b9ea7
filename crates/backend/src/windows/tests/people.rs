//! Several people, several homes, one machine.

use proptest::prelude::*;
use ringfence_nt::Sid;

use super::steps::*;
use crate::fault::Fault;

#[derive(Clone, Copy, Debug)]
enum Act {
    Install(bool),
    Uninstall(bool),
    /// The install of somebody is interrupted at that call.
    Crash(bool, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => any::<bool>().prop_map(Act::Install),
        2 => any::<bool>().prop_map(Act::Uninstall),
        1 => (any::<bool>(), 0_u64..60).prop_map(|(who, call)| Act::Crash(who, call)),
    ];
    prop::collection::vec(act, 1..7)
}

fn person(first: bool) -> Sid {
    if first { ada() } else { bob() }
}

fn password(bench: &Bench, first: bool) -> Option<(Sid, u64)> {
    let name = if first {
        "ringfenceoff-a"
    } else {
        "ringfenceoff-b"
    };
    let account = bench.machine.world.accounts.get(name)?;
    Some((account.sid, account.password))
}

#[test]
fn two_homes_of_one_person_share_accounts_and_rotate_no_password() {
    let mut bench = Bench::new();
    let first = bench.install(ada()).unwrap().accounts;
    let (passwords, before) = (bench.machine.passwords, password(&bench, true));
    let second = bench.install(ada()).unwrap().accounts;
    assert_eq!(first, second);
    assert_eq!(
        (bench.machine.passwords, password(&bench, true)),
        (passwords, before)
    );
}

#[test]
fn one_persons_uninstall_leaves_the_others_set_up() {
    for (first, second) in [(ada(), bob()), (bob(), ada())] {
        let mut alone = Bench::new();
        alone.install(second).unwrap();
        let mut bench = Bench::new();
        bench.install(first).unwrap();
        bench.install(second).unwrap();
        bench.uninstall(first).unwrap();
        assert!(shape(&bench.machine) == shape(&alone.machine));
        assert!(bench.install(second).unwrap().changed.is_empty());
        bench.uninstall(second).unwrap();
        assert!(bench.is_untouched());
    }
}

#[test]
fn nothing_of_one_person_names_the_accounts_of_the_other() {
    let mut bench = Bench::new();
    let one = bench.install(ada()).unwrap().accounts;
    let other = bench.install(bob()).unwrap().accounts;
    let directory = &bench.machine.world.directories[&path("C:\\ProgramData\\Ringfence\\A")];
    let named: Vec<Sid> = directory
        .descriptor
        .acl()
        .unwrap()
        .aces
        .iter()
        .map(|ace| ace.sid)
        .collect();
    assert!(named.contains(&one.group.unwrap()) && named.contains(&ada()));
    assert!(!other.sids().any(|sid| named.contains(&sid)) && !named.contains(&bob()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_of_two_peoples_set_ups_gives_what_each_alone_would(script in acts()) {
        let mut bench = Bench::new();
        let mut installed = [false, false];
        for act in script {
            let (Act::Install(who) | Act::Uninstall(who) | Act::Crash(who, _)) = act;
            let other = password(&bench, !who);
            match act {
                Act::Install(_) => {
                    let before = password(&bench, who).filter(|_| installed[usize::from(who)]);
                    bench.install(person(who)).unwrap();
                    if before.is_some() {
                        prop_assert_eq!(password(&bench, who), before, "a password was rotated");
                    }
                    installed[usize::from(who)] = true;
                }
                Act::Uninstall(_) => {
                    let removed = bench.uninstall(person(who)).unwrap();
                    prop_assert!(removed.failed.is_empty());
                    installed[usize::from(who)] = false;
                }
                Act::Crash(_, call) => {
                    bench.faults.strike_at(call, Fault::CrashAfter);
                    let outcome = bench.install(person(who));
                    bench.restart(0);
                    // Whoever was interrupted goes on before anybody looks.
                    if outcome.is_err() {
                        bench.install(person(who)).unwrap();
                    }
                    installed[usize::from(who)] = true;
                }
            }
            prop_assert_eq!(password(&bench, !who), other, "the other person was touched");
            let mut expected = Bench::new();
            for who in [false, true] {
                if installed[usize::from(who)] {
                    expected.install(person(who)).unwrap();
                }
            }
            prop_assert!(shape(&bench.machine) == shape(&expected.machine));
        }
        for who in [true, false] {
            bench.uninstall(person(who)).unwrap();
        }
        prop_assert!(bench.is_untouched());
    }
}
