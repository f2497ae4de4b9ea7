//! What holds for every plan of a Windows host, whatever stands in the roots.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where its input is not what it says"
)]

mod egress;
mod links;
mod mutations;
mod network;
mod projects;
mod refusals;
mod setup;
mod walks;
mod world;

use proptest::prelude::*;
use ringfence_nt::check::{Pass, maximum_of_pass};
use ringfence_nt::{AccessMask, GenericMapping, WriteClass};
use ringfence_plan::windows::lint::lint;
use ringfence_plan::windows::step::Purpose;
use ringfence_plan::windows::{PlanError, WindowsPlan, plan, reach};

use crate::world::{POLICY, ROOT, carry_out, granted, hosts, path, policy, ready};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_input_gives_the_same_plan((facts, ledger) in hosts()) {
        let policy = policy(POLICY, &facts);
        let first = plan(&policy, &facts, &ledger).expect("a plan");
        let mut turned = facts.clone();
        turned.objects.reverse();
        turned.roots[0].anchors[1..].reverse();
        let second = plan(&policy, &turned, &ledger).expect("a plan");
        prop_assert_eq!(first.render_text(), plan(&policy, &facts, &ledger).expect("a plan").render_text());
        prop_assert_eq!(&first.held, &second.held);
        prop_assert_eq!(&first.person_steps, &second.person_steps);
        let json = serde_json::to_string(&first).expect("json");
        prop_assert_eq!(serde_json::from_str::<WindowsPlan>(&json).expect("a plan").hash(), first.hash());
    }

    #[test]
    fn carried_out_twice_is_carried_out_once((mut facts, ledger) in hosts(), git in "read-only|commit|full") {
        let policy = policy(&format!("{POLICY}git = \"{git}\"\n"), &facts);
        let first = plan(&policy, &facts, &ledger).expect("a plan");
        carry_out(&mut facts, &first);
        let second = plan(&policy, &facts, &ledger).expect("a plan");
        prop_assert!(second.person_steps.is_empty(), "{}", second.render_text());
        prop_assert_eq!(&second.held.len(), &first.held.len());
    }

    #[test]
    fn the_planners_own_plans_have_no_finding((facts, ledger) in hosts(), git in "read-only|commit|full") {
        let plan = plan(&policy(&format!("{POLICY}git = \"{git}\"\n"), &facts), &facts, &ledger).expect("a plan");
        prop_assert_eq!(lint(&plan, &facts), Vec::new());
    }

    #[test]
    fn targets_write_no_protected_path_and_read_no_secret((mut facts, ledger) in hosts()) {
        let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
        carry_out(&mut facts, &plan);
        for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
            facts.write_class = Some(class);
            for held in &plan.held {
                let got = granted(&plan, &facts, &held.descriptor);
                let refused = match held.purpose {
                    Purpose::Protected => AccessMask(0xd_0156),
                    Purpose::Root | Purpose::Between => AccessMask(0xd_0040),
                    Purpose::Secret | Purpose::DeniedRead => AccessMask(0xd_0029),
                    _ => AccessMask(0xd_0000),
                };
                prop_assert!(!got.intersects(refused), "{} {:?}: {got}", held.object.path, held.purpose);
            }
            let root = plan.held_at(&path(ROOT)).expect("the root");
            prop_assert!(granted(&plan, &facts, &root.descriptor).contains(AccessMask(0x12_01bf)), "the control: a root is written");
        }
    }

    #[test]
    fn narrowing_never_adds_access((facts, ledger) in hosts(), narrow in "mode = \"read-only\"\n|\\[filesystem\\]\nprotected = \\[\"src\"\\]\n") {
        let text = format!("{POLICY}git = \"full\"\n");
        let mut wide_facts = facts.clone();
        let wide = plan(&policy(&text, &facts), &facts, &ledger).expect("a plan");
        carry_out(&mut wide_facts, &wide);
        let narrow = match narrow.strip_prefix("mode") {
            Some(_) => format!("{narrow}{text}"),
            None => format!("{POLICY}protected = []\ngit = \"read-only\"\n"),
        };
        let mut narrow_facts = facts.clone();
        let narrow = plan(&policy(&narrow, &facts), &facts, &ledger).expect("a plan");
        carry_out(&mut narrow_facts, &narrow);
        for (before, after) in wide_facts.objects.iter().zip(&narrow_facts.objects) {
            prop_assert_eq!(&before.object.path, &after.object.path);
            let (Some(before), Some(descriptor)) = (&before.descriptor, &after.descriptor) else { continue };
            let added = granted(&narrow, &facts, descriptor) - granted(&wide, &facts, before);
            prop_assert!(added.is_empty(), "{} {added}", after.object.path);
        }
    }

    #[test]
    fn text_from_the_host_never_starts_a_line((facts, ledger) in hosts()) {
        let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
        for line in plan.render_text().lines() {
            let known = line.is_empty()
                || line.starts_with(' ')
                || ["plan ", "level ", "missing ", "note ", "names", "machine steps", "steps with", "held", "watched", "launch", "environment"]
                    .iter()
                    .any(|start| line.starts_with(start));
            prop_assert!(known, "{:?}", line);
        }
    }
}

#[test]
fn in_steady_state_there_is_no_step() {
    let (mut facts, ledger) = ready();
    let policy = policy(POLICY, &facts);
    let first = plan(&policy, &facts, &ledger).expect("a plan");
    assert!(first.machine_steps.is_empty());
    assert!(!first.person_steps.is_empty());
    carry_out(&mut facts, &first);
    let second = plan(&policy, &facts, &ledger).expect("a plan");
    assert!(second.machine_steps.is_empty() && second.person_steps.is_empty());
}

#[test]
fn entries_of_an_earlier_plan_go() {
    let (mut facts, ledger) = ready();
    let first = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    carry_out(&mut facts, &first);
    let agents = path(&format!("{ROOT}\\AGENTS.md"));
    assert!(first.held_at(&agents).is_some());
    let wider = policy(&format!("{POLICY}unprotected = [\"AGENTS.md\"]\n"), &facts);
    let second = plan(&wider, &facts, &ledger).expect("a plan");
    assert_eq!(second.person_steps.len(), 1, "{}", second.render_text());
    carry_out(&mut facts, &second);
    let fact = facts
        .objects
        .iter()
        .find(|one| one.object.path == agents)
        .expect("the file");
    let descriptor = fact.descriptor.as_ref().expect("a descriptor");
    assert!(granted(&second, &facts, descriptor).contains(AccessMask::FILE_WRITE_DATA));
    assert!(
        plan(&wider, &facts, &ledger)
            .expect("a plan")
            .person_steps
            .is_empty()
    );
}

#[test]
fn the_first_hypothesis_is_refused() {
    let (mut facts, ledger) = ready();
    facts.write_class = Some(WriteClass::H1);
    assert_eq!(
        plan(&policy(POLICY, &facts), &facts, &ledger),
        Err(PlanError::WriteClass)
    );
    let same_user = format!("{POLICY}[windows]\nsandbox = \"unelevated\"\n");
    facts.write_class = Some(WriteClass::H4);
    assert_eq!(
        plan(&policy(&same_user, &facts), &facts, &ledger),
        Err(PlanError::WriteClass)
    );
    facts.write_class = None;
    assert_eq!(
        plan(&policy(&same_user, &facts), &facts, &ledger),
        Err(PlanError::NotMeasured)
    );
}

#[test]
fn what_the_accounts_reach_without_us_is_computed() {
    let (facts, ledger) = ready();
    let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let accounts = plan.accounts.sids().expect("accounts");
    let [offline, _] = reach::account_tokens(&accounts);
    let notes = facts
        .objects
        .iter()
        .find(|one| one.object.path == path("D:\\notes"))
        .expect("notes");
    let before = maximum_of_pass(
        notes.descriptor.as_ref().expect("a list"),
        &offline,
        Pass::Normal,
        &GenericMapping::FILE,
    );
    assert!(
        before.contains(AccessMask::FILE_READ_DATA),
        "the control: it was readable"
    );
    let held = plan.held_at(&path("D:\\notes")).expect("held");
    let after = maximum_of_pass(
        &held.descriptor,
        &offline,
        Pass::Normal,
        &GenericMapping::FILE,
    );
    assert!(!after.intersects(AccessMask(0x29)));
    assert!(
        plan.held_at(&path("C:\\Users\\ann\\.ssh")).is_none(),
        "what is not reachable is left alone"
    );
}
