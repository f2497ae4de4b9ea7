//! Plans of the stored machines, as the planner makes them.

use ringfence_plan::HostFacts;
use ringfence_plan::windows::facts::WindowsFacts;
use ringfence_plan::windows::machine::Subject;
use ringfence_plan::windows::{WindowsLedger, WindowsPlan, plan};
use ringfence_policy::document::Loopback;
use ringfence_policy::layers::{Layer, LayerKind, Trust, resolve};

use super::steps::{Bench, foreign_world, shape};
use crate::fault::Fault;
use crate::windows::Setup;

fn facts_of(case: &str) -> WindowsFacts {
    let HostFacts::Windows(facts) = serde_json::from_str(&read(case, "facts.json")).unwrap() else {
        panic!("facts of a Windows machine");
    };
    facts
}

fn read(case: &str, name: &str) -> String {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/cases");
    std::fs::read_to_string(format!("{cases}/{case}/{name}")).unwrap()
}

/// What set-up is asked for on `tests/golden/cases/CASE`.
pub(in crate::windows) fn stored_subject(case: &str) -> Subject {
    let plan = stored_plan(case);
    Subject::of(&facts_of(case), plan.marker, Loopback::Dynamic).unwrap()
}

/// The plan of `tests/golden/cases/CASE`.
pub(in crate::windows) fn stored_plan(case: &str) -> WindowsPlan {
    let facts = facts_of(case);
    let ledger: WindowsLedger = serde_json::from_str(&read(case, "ledger.json")).unwrap();
    let text = read(case, "policy.toml");
    let (kind, trust) = (LayerKind::User, Trust::Untrusted);
    let layer = Layer::from_file(kind, "policy.toml", text.as_bytes(), trust).unwrap();
    let policy = resolve(&[layer], &facts.policy_context().unwrap()).unwrap();
    plan(&policy, &facts, &ledger).unwrap()
}

#[test]
fn what_the_planner_asks_of_a_machine_is_done_once_and_taken_back_wholly() {
    for case in ["windows-plain", "windows-german"] {
        let plan = stored_plan(case);
        let apply = |bench: &mut Bench| {
            bench.setup(plan.person, |setup: &mut Setup<'_, _, _>| {
                setup.apply(&plan.machine_steps)
            })
        };
        let mut bench = Bench::new();
        let done = apply(&mut bench).unwrap();
        assert_eq!(done.changed.len(), plan.machine_steps.len(), "{case}");
        assert_eq!(done.accounts.sids().count(), 3);
        assert!(apply(&mut bench).unwrap().changed.is_empty(), "{case}");
        let clean = shape(&bench.machine);
        bench.uninstall(plan.person).unwrap();
        assert!(bench.is_untouched(), "{case}");

        for call in 0.. {
            let mut bench = Bench::new();
            bench.faults.strike_at(call, Fault::CrashAfter);
            let outcome = apply(&mut bench);
            let struck = bench.faults.has_struck();
            bench.restart(0);
            if outcome.is_err() {
                apply(&mut bench).unwrap();
            }
            assert!(shape(&bench.machine) == clean, "{case}: crash at {call}");
            bench.uninstall(plan.person).unwrap();
            assert!(
                bench.machine.world == foreign_world(),
                "{case}: crash at {call}"
            );
            if !struck {
                assert!(call > 60, "few calls: {call}");
                break;
            }
        }
    }
}
