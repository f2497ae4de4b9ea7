//! A fault at every call of an install and of an uninstall.

use super::steps::*;
use crate::fault::Fault;
use crate::windows::SetupError;

/// How many unflushed bytes survive a power cut, in turns: none, a part of a record, all.
const SURVIVING: [usize; 3] = [0, 41, 1 << 20];

fn clean() -> String {
    let mut bench = Bench::new();
    bench.install(ada()).unwrap();
    shape(&bench.machine)
}

/// Calls `check` after an install with that fault at each call, until the fault comes too late.
fn at_each_call(fault: Fault, mut check: impl FnMut(u64, Bench, Result<(), SetupError>)) {
    for call in 0.. {
        let mut bench = Bench::new();
        bench.faults.strike_at(call, fault);
        let outcome = bench.install(ada()).map(drop);
        if !bench.faults.has_struck() {
            assert!(outcome.is_ok());
            assert!(call > 40, "an install has more calls than {call}");
            return;
        }
        check(call, bench, outcome);
    }
}

#[test]
fn a_refused_call_at_any_step_rolls_everything_back() {
    let clean = clean();
    at_each_call(Fault::Refused, |call, mut bench, outcome| {
        let context = format!("refused at call {call}");
        bench.faults.restart();
        match outcome {
            // It was about the ledger's tidiness alone, or about nothing that matters.
            Ok(()) => assert!(shape(&bench.machine) == clean, "{context}"),
            Err(_) if shape(&bench.machine) == clean => {}
            Err(_) => assert!(bench.machine.world == foreign_world(), "{context}"),
        }
        let again = bench.install(ada()).unwrap();
        assert!(shape(&bench.machine) == clean, "{context} {again:?}");
        bench.uninstall(ada()).unwrap();
        assert!(bench.is_untouched(), "{context}");
    });
}

#[test]
fn a_call_that_says_yes_and_does_nothing_is_found_out() {
    let clean = clean();
    let mut found_out = 0;
    at_each_call(Fault::Lie, |call, mut bench, outcome| {
        if outcome.is_ok() {
            assert!(shape(&bench.machine) == clean, "lie at call {call}");
        } else {
            found_out += 1;
            assert!(bench.machine.world == foreign_world(), "lie at call {call}");
        }
        bench.uninstall(ada()).unwrap();
        assert!(bench.is_untouched());
    });
    assert!(found_out >= steps(ada()).len(), "{found_out}");
}

#[test]
fn a_crash_at_any_step_is_resumed_rolled_back_or_uninstalled() {
    let clean = clean();
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for surviving in SURVIVING {
            let context = |call| format!("{fault:?} at call {call}, {surviving} bytes");
            at_each_call(fault, |call, mut bench, _| {
                bench.restart(surviving);
                bench.install(ada()).unwrap();
                assert!(shape(&bench.machine) == clean, "{}", context(call));
                assert!(bench.install(ada()).unwrap().changed.is_empty());
                bench.uninstall(ada()).unwrap();
                assert!(bench.is_untouched(), "{}", context(call));
            });
            at_each_call(fault, |call, mut bench, _| {
                bench.restart(surviving);
                let removed = bench.roll_back(ada()).unwrap();
                assert!(removed.failed.is_empty());
                // An install that had ended is not rolled back.
                if shape(&bench.machine) != clean {
                    assert!(bench.machine.world == foreign_world(), "{}", context(call));
                }
            });
            at_each_call(fault, |call, mut bench, _| {
                bench.restart(surviving);
                bench.uninstall(ada()).unwrap();
                assert!(bench.is_untouched(), "{}", context(call));
            });
        }
    }
}

#[test]
fn a_fault_at_any_step_of_an_uninstall_is_overcome_by_the_next() {
    for fault in Fault::ALL {
        for call in 0.. {
            let mut bench = Bench::new();
            bench.install(ada()).unwrap();
            for account in bench.machine.world.accounts.values_mut() {
                account.processes = 2;
            }
            bench.faults.strike_at(call, fault);
            let outcome = bench.uninstall(ada());
            let struck = bench.faults.has_struck();
            bench.restart(0);
            if let Ok(removed) = outcome
                && removed.failed.is_empty()
            {
                assert!(
                    bench.machine.world == foreign_world(),
                    "{fault:?} at {call}"
                );
            }
            bench.uninstall(ada()).unwrap();
            assert!(bench.is_untouched(), "{fault:?} at {call}");
            if !struck {
                assert!(call > 20, "an uninstall has more calls than {call}");
                break;
            }
        }
    }
}
