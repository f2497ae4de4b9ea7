//! What holds for plans and their inverses on simulated hosts: nothing to do twice, no access by narrowing, no
//! difference by a crash.

use ringfence_nt::fs::{FileSystem, NodeId};
use ringfence_nt::{AccessMask, GenericMapping, Token, WriteClass, maximum_allowed};
use ringfence_plan::windows::WindowsPlan;
use ringfence_plan::windows::step::PersonStep;
use ringfence_windows_model::carry::{Walking, carry_out, undo};
use ringfence_windows_model::figures::record;
use ringfence_windows_model::scene::Scene;

/// Policies, each narrower than the one before it.
const NARROWING: [&str; 4] = [
    "[filesystem]\ngit = \"full\"\nunprotected = [\"AGENTS.md\"]\n",
    "",
    "[filesystem]\nprotected = [\"src\"]\n",
    "[filesystem]\nprotected = [\"src\"]\ndeny_read = [\"D:/keys\", \"C:/Users/ann/ws/lib/l.txt\"]\n",
];

fn scene() -> Scene {
    let mut scene = Scene::new(WriteClass::H2);
    let ann = scene.ann.clone();
    scene.project(&ann.path("ws"), ann.sid);
    scene.host.file(&ann.path("ws\\lib\\l.txt"), ann.sid);
    scene.host.file(&ann.path("ws\\AGENTS.md"), ann.sid);
    scene
}

fn counted(property: &str, cases: usize) {
    record(&["property", property, &cases.to_string()]);
}

#[test]
fn the_same_host_gives_the_same_plan() {
    let scene = scene();
    let ann = &scene.ann;
    for policy in NARROWING {
        let plan = || scene.plan(ann, &ann.path("ws"), policy).unwrap();
        assert_eq!(plan().hash(), plan().hash());
    }
    counted("the same host gives the same plan", NARROWING.len());
}

#[test]
fn a_plan_that_was_carried_out_leaves_nothing_to_do() {
    for policy in NARROWING {
        let mut scene = scene();
        let ann = scene.ann.clone();
        let first = scene.start(&ann, &ann.path("ws"), policy).unwrap();
        assert!(!first.plan.person_steps.is_empty(), "control");
        let second = scene.plan(&ann, &ann.path("ws"), policy).unwrap();
        assert_eq!(second.person_steps, [], "under {policy}");
    }
    counted("carried out twice does nothing", NARROWING.len());
}

#[test]
fn a_narrower_policy_never_adds_access() {
    let reach = |policy| {
        let mut scene = scene();
        let ann = scene.ann.clone();
        let session = scene.start(&ann, &ann.path("ws"), policy).unwrap();
        let mapping = &GenericMapping::FILE;
        let of = |class| {
            let token = &session.target;
            let nodes = scene.host.fs.nodes();
            nodes
                .map(|(_, node)| maximum_allowed(&node.descriptor, token, mapping, class))
                .collect::<Vec<AccessMask>>()
        };
        WriteClass::ALL.map(of)
    };
    let mut cases = 0;
    let mut narrowed = 0;
    for pair in NARROWING.windows(2) {
        let [wide, narrow] = pair else { continue };
        for (wide, narrow) in reach(wide).iter().zip(reach(narrow)) {
            assert_eq!(wide.len(), narrow.len(), "the same objects");
            for (wide, narrow) in wide.iter().zip(narrow) {
                assert!(wide.contains(narrow), "{narrow} is not in {wide}");
                cases += 1;
                narrowed += usize::from(*wide != narrow);
            }
        }
    }
    assert!(narrowed > 10, "control: the policies do differ");
    counted("narrowing adds no access", cases);
}

/// Policies of one workspace with a second root, each narrower than the one before it.
const STEPS: [&str; 6] = [
    "[filesystem]\ngit = \"full\"\nunprotected = [\"AGENTS.md\"]\nwritable_roots = [\"D:/second\"]\n",
    "[filesystem]\ngit = \"full\"\nunprotected = [\"AGENTS.md\"]\n",
    "[filesystem]\ngit = \"commit\"\n",
    "[filesystem]\nprotected = [\"src\"]\n",
    "[filesystem]\nprotected = [\"src\"]\ndeny_read = [\"D:/keys\"]\n",
    "mode = \"read-only\"\n[filesystem]\nprotected = [\"src\"]\ndeny_read = [\"D:/keys\"]\n",
];

/// A machine with both roots, and what is on it before anything is done.
fn with_two_roots() -> (Scene, Vec<NodeId>) {
    let mut scene = scene();
    let ann = scene.ann.sid;
    scene.project("D:\\second", ann);
    let there = scene.host.fs.nodes().map(|(id, _)| id).collect();
    (scene, there)
}

/// What the target of a session gets on each of these.
fn reach(scene: &Scene, target: &Token, on: &[NodeId], class: WriteClass) -> Vec<AccessMask> {
    let file = &GenericMapping::FILE;
    on.iter()
        .map(|id| {
            let descriptor = scene.host.descriptor(*id);
            maximum_allowed(&descriptor, target, file, class)
        })
        .collect()
}

/// A narrower policy after a wider one: nothing is added, and but for what the person's other roots grant to read, all
/// is as if the wider one had never been.
#[test]
fn a_narrower_policy_after_a_wider_one_is_as_if_it_were_the_first() {
    let (mut cases, mut narrowed) = (0, 0);
    for (index, wide) in STEPS.iter().enumerate() {
        for narrow in STEPS.iter().skip(index + 1) {
            let (mut scene, there) = with_two_roots();
            let (mut fresh, _) = with_two_roots();
            let ann = scene.ann.clone();
            let start = |scene: &mut Scene, policy: &str| {
                scene.start(&ann, &ann.path("ws"), policy).unwrap().target
            };
            let first = start(&mut scene, wide);
            let before = WriteClass::ALL.map(|class| reach(&scene, &first, &there, class));
            let second = start(&mut scene, narrow);
            let alone = start(&mut fresh, narrow);
            let other = scene.host.find("D:\\second");
            for (class, before) in WriteClass::ALL.into_iter().zip(before) {
                let after = reach(&scene, &second, &there, class);
                let expected = reach(&fresh, &alone, &there, class);
                for (index, id) in there.iter().enumerate() {
                    let path = scene.host.fs.path_of(*id);
                    let (before, after, expected) = (before[index], after[index], expected[index]);
                    assert!(before.contains(after), "{path}: {after} is not in {before}");
                    narrowed += usize::from(before != after);
                    let lent = if scene.host.fs.is_below(*id, other) {
                        AccessMask::FILE_GENERIC_READ | AccessMask::FILE_GENERIC_EXECUTE
                    } else {
                        AccessMask::NONE
                    };
                    assert_eq!(
                        after - lent,
                        expected - lent,
                        "{path} under {class:?}: {wide} then {narrow}"
                    );
                    cases += 1;
                }
            }
        }
    }
    assert!(narrowed > 100, "control: the policies do differ");
    counted("a narrower policy after a wider one", cases);
}

fn descriptors(fs: &FileSystem) -> Vec<ringfence_nt::Dacl> {
    fs.nodes()
        .map(|(_, node)| node.descriptor.dacl.clone())
        .collect()
}

/// The plan's steps up to a crash.
fn until(plan: &WindowsPlan, step: usize) -> WindowsPlan {
    let mut cut = plan.clone();
    cut.person_steps.truncate(step);
    // Homes are made by set-up's directories on a real machine; the crash is among the descriptors.
    cut.person_steps
        .retain(|step| !matches!(step, PersonStep::MakeHome { .. }));
    cut.machine_steps.clear();
    cut
}

#[test]
fn a_crash_after_any_step_then_uninstall_restores_the_start() {
    let scene = scene();
    let ann = scene.ann.clone();
    let start = descriptors(&scene.host.fs);
    let plan = scene.plan(&ann, &ann.path("ws"), "").unwrap();
    for step in 0..=plan.person_steps.len() {
        let mut fs = scene.host.fs.clone();
        let done = carry_out(&mut fs, &until(&plan, step), Walking::Whole);
        let inverses: Vec<_> = done.iter().rev().map(PersonStep::inverse).collect();
        undo(&mut fs, &inverses);
        assert_eq!(descriptors(&fs), start, "after {step} steps");
    }
    counted("crash, then uninstall", plan.person_steps.len() + 1);
}

/// Resuming does the whole transaction of the ledger again: every step may be done twice.
#[test]
fn a_crash_after_any_step_then_resume_equals_no_crash() {
    let scene = scene();
    let ann = scene.ann.clone();
    let plan = scene.plan(&ann, &ann.path("ws"), NARROWING[3]).unwrap();
    let whole = until(&plan, plan.person_steps.len());
    let mut expected = scene.host.fs.clone();
    carry_out(&mut expected, &whole, Walking::Whole);
    for step in 0..=plan.person_steps.len() {
        let mut crashed = scene.host.fs.clone();
        carry_out(&mut crashed, &until(&plan, step), Walking::Whole);
        carry_out(&mut crashed, &whole, Walking::Whole);
        assert_eq!(
            descriptors(&crashed),
            descriptors(&expected),
            "after {step} steps"
        );
    }
    counted("crash, then resume", plan.person_steps.len() + 1);
}

/// A directory that has its entries and was not walked looks done to a planner, which walks no tree: so what a ledger
/// holds unfinished must be resumed before anything is planned.
#[test]
fn a_new_plan_alone_does_not_finish_what_a_crash_left() {
    let scene = scene();
    let ann = scene.ann.clone();
    let plan = scene.plan(&ann, &ann.path("ws"), NARROWING[3]).unwrap();
    let before_walks = plan
        .person_steps
        .iter()
        .position(|step| matches!(step, PersonStep::Walk { .. }))
        .unwrap();
    let mut crashed = scene.clone();
    carry_out(
        &mut crashed.host.fs,
        &until(&plan, before_walks),
        Walking::Whole,
    );
    let again = crashed.plan(&ann, &ann.path("ws"), NARROWING[3]).unwrap();
    let walks = |plan: &WindowsPlan| {
        let steps = plan.person_steps.iter();
        steps
            .filter(|step| matches!(step, PersonStep::Walk { .. }))
            .count()
    };
    assert!(walks(&plan) > walks(&again));
}
