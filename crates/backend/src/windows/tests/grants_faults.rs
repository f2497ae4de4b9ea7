//! A fault at every call of an apply and of an uninstall of the person's steps.

use ringfence_nt::fs::{Node, NodeId};
use ringfence_nt::{AccessMask, Ace, AceFlags, SecurityDescriptor};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::PersonStep;

use super::desk::*;
use super::grants::{Foreign, change, sorted};
use super::steps::ada;
use crate::fault::Fault;
use crate::windows::GrantError;

#[test]
fn a_fault_at_any_call_of_an_apply_rolls_back_or_goes_on() {
    let clean = {
        let mut desk = Desk::new();
        let steps = desk.steps();
        desk.apply(&steps).unwrap();
        nodes(&desk.files.tree)
    };
    for fault in Fault::ALL {
        for way in 0..3 {
            for call in 0.. {
                let mut desk = Desk::new();
                let start = nodes(&desk.files.tree);
                let steps = desk.steps();
                desk.faults.strike_at(call, fault);
                let outcome = desk.apply(&steps);
                let struck = desk.faults.has_struck();
                let died = !desk.faults.is_alive();
                desk.restart(if call % 2 == 0 { 0 } else { 77 });
                let context = format!("{fault:?} at {call}, then {way}");
                if outcome.is_ok() {
                    left_out_is_fine(&desk, &clean, &context);
                } else if let Err(GrantError::Step { .. }) = &outcome
                    && !died
                {
                    assert!(nodes(&desk.files.tree) == start, "{context}");
                }
                match way {
                    0 => {
                        desk.apply(&steps).unwrap();
                        left_out_is_fine(&desk, &clean, &context);
                    }
                    1 => {
                        let complete = outcome.is_ok() || nodes(&desk.files.tree) == clean;
                        desk.roll_back().unwrap();
                        assert!(complete || nodes(&desk.files.tree) == start, "{context}");
                    }
                    _ => {}
                }
                let revoked = desk.uninstall().unwrap();
                assert!(revoked.failed.is_empty(), "{context}");
                assert!(nodes(&desk.files.tree) == start, "{context}");
                assert_eq!(desk.store.durable(), None);
                if !struck {
                    assert!(call > 30, "few calls: {call}");
                    break;
                }
            }
        }
    }
}

/// A grant that one object refused is complete without it, and less.
fn left_out_is_fine(desk: &Desk, clean: &[(NodeId, Node)], context: &str) {
    let start = nodes(&Desk::new().files.tree);
    for ((id, found), (_, wanted)) in nodes(&desk.files.tree).iter().zip(clean) {
        let before = start.iter().find(|(other, _)| other == id);
        let untouched = before.is_some_and(|(_, node)| node.descriptor == found.descriptor);
        assert!(
            found.descriptor == wanted.descriptor || untouched,
            "{context}"
        );
    }
}

#[test]
fn a_fault_at_any_call_of_an_uninstall_is_overcome_by_the_next() {
    for fault in Fault::ALL {
        for call in 0.. {
            let mut desk = Desk::new();
            let start = nodes(&desk.files.tree);
            let steps = desk.steps();
            desk.apply(&steps).unwrap();
            // Somebody else has changed one: it is merged, and a second merge would take too much.
            let twice = Foreign::Add(
                0,
                Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, ada()),
            );
            change(&mut desk, &twice);
            desk.faults.strike_at(call, fault);
            let _first = desk.uninstall();
            let struck = desk.faults.has_struck();
            desk.restart(0);
            desk.uninstall().unwrap();
            let mut expected = Desk::new();
            change(&mut expected, &twice);
            assert_ne!(nodes(&desk.files.tree), start);
            for ((id, found), (_, wanted)) in nodes(&desk.files.tree)
                .iter()
                .zip(&nodes(&expected.files.tree))
            {
                let path = desk.files.tree.path_of(*id);
                assert_eq!(
                    sorted(&found.descriptor),
                    sorted(&wanted.descriptor),
                    "{path} {fault:?} at {call}"
                );
            }
            assert_eq!(desk.store.durable(), None);
            if !struck {
                assert!(call > 20, "few calls: {call}");
                break;
            }
        }
    }
}

#[test]
fn what_lies_below_a_stamped_directory_is_walked_after_a_crash_though_no_step_asks_for_it() {
    let descriptors = |desk: &Desk| -> Vec<(WindowsPath, SecurityDescriptor)> {
        nodes(&desk.files.tree)
            .iter()
            .filter_map(|(id, node)| {
                let path = WindowsPath::parse(&desk.files.tree.path_of(*id)).ok()?;
                Some((path, node.descriptor.as_ref().clone()))
            })
            .collect()
    };
    let clean = {
        let mut desk = Desk::new();
        let steps = desk.steps();
        desk.apply(&steps).unwrap();
        descriptors(&desk)
    };
    let (mut owed, mut walked) = (0, 0);
    for call in 0.. {
        let mut desk = Desk::new();
        let steps = desk.steps();
        desk.faults.strike_at(call, Fault::CrashAfter);
        let _crashed = desk.apply(&steps);
        let struck = desk.faults.has_struck();
        desk.restart(0);
        let before = descriptors(&desk);
        // The planner looks at single objects: it asks for no walk of a directory that is stamped.
        let single = |step: &&PersonStep| !matches!(step, PersonStep::Walk { .. });
        let asked: Vec<PersonStep> = steps.iter().filter(single).cloned().collect();
        desk.apply(&asked).unwrap();
        let after = descriptors(&desk);
        for step in &steps {
            let PersonStep::Walk { root, .. } = step else {
                continue;
            };
            let at = |all: &[(WindowsPath, SecurityDescriptor)]| {
                let found = all.iter().find(|(path, _)| *path == root.path);
                found.map(|(_, descriptor)| descriptor.clone())
            };
            if at(&before) != at(&clean) {
                continue;
            }
            let below = |all: &[(WindowsPath, SecurityDescriptor)]| -> Vec<_> {
                let below = all.iter().filter(|(path, _)| path.is_below(&root.path));
                below.cloned().collect()
            };
            owed += usize::from(below(&before) != below(&clean));
            walked += 1;
            assert!(below(&after) == below(&clean), "{} at {call}", root.path);
        }
        if !struck {
            break;
        }
    }
    assert!(owed > 3 && walked > owed, "{owed} of {walked} were owed");
}
