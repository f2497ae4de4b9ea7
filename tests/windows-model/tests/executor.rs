//! What the planner says, done by the executor that `ringfence` ships, on a simulated host.
//!
//! The executor of the attack search (`carry`) and this one were written apart: they have to agree.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where its input is not what it says"
)]

use std::ops::ControlFlow;

use ringfence_backend::fault::Faults;
use ringfence_backend::ledger::{Ledger, MemoryStore};
use ringfence_backend::windows::fake::FakeFiles;
use ringfence_backend::windows::{
    Due, Files as _, GrantError, Granted, Grants, PersonBook, PlanRule, Progress, Revoked,
    SetupDue, Walking, leftover_of_files, sids_of,
};
use ringfence_nt::WriteClass;
use ringfence_nt::fs::{FileName, FileSystem, Node, NodeId, Place};
use ringfence_plan::windows::facts::{Marker, Record, WindowsFacts};
use ringfence_plan::windows::step::MachineStep;
use ringfence_plan::windows::{WindowsPath, WindowsPlan};
use ringfence_windows_model::carry::{Walking as Whole, carry_out};
use ringfence_windows_model::scene::Scene;

const WORKSPACE: &str = "C:\\Users\\ann\\src\\app";
const POLICY: &str = "[filesystem]\nwritable_roots = ['D:\\data']\ndeny_read = ['D:\\keys']\n";

fn scene() -> Scene {
    let mut scene = Scene::new(WriteClass::H2);
    let person = scene.ann.sid;
    scene.host.directory("C:\\Users\\ann\\src", person);
    scene.project(WORKSPACE, person);
    for directory in [
        "",
        "\\Ringfence",
        "\\Ringfence\\Records",
        "\\Ringfence\\Homes",
    ] {
        let path = format!("C:\\ProgramData{directory}");
        if scene.host.fs.find(&path).is_err() {
            scene.host.directory(&path, person);
        }
    }
    let plan = plan(&scene);
    for root in &plan.roots {
        let above = root
            .home
            .parent()
            .expect("a home lies somewhere")
            .to_string();
        if scene.host.fs.find(&above).is_err() {
            scene.host.directory(&above, person);
        }
    }
    scene
}

fn plan(scene: &Scene) -> WindowsPlan {
    let ann = scene.ann.clone();
    scene.plan(&ann, WORKSPACE, POLICY).expect("a plan")
}

fn grants<T>(
    plan: &WindowsPlan,
    store: &MemoryStore,
    files: &mut FakeFiles,
    act: impl FnOnce(&mut Grants<'_, MemoryStore, FakeFiles>) -> T,
) -> T {
    let mut ledger: Ledger<PersonBook, MemoryStore> =
        Ledger::open(store.clone()).expect("a ledger");
    act(&mut Grants {
        person: plan.person,
        ours: &sids_of(plan),
        ledger: &mut ledger,
        files,
    })
}

fn apply(plan: &WindowsPlan, store: &MemoryStore, files: &mut FakeFiles) -> Granted {
    let rule = PlanRule::new(plan);
    let mut progress = |_: Progress| ControlFlow::Continue(());
    grants(plan, store, files, |grants| {
        let mut walking = Walking {
            rule: &rule,
            progress: &mut progress,
        };
        grants.apply(&plan.person_steps, &mut walking)
    })
    .expect("the steps are done")
}

fn uninstall(plan: &WindowsPlan, store: &MemoryStore, files: &mut FakeFiles) -> Revoked {
    let done = grants(plan, store, files, |grants| {
        let revoked = grants.uninstall()?;
        Ok::<_, GrantError>(revoked)
    });
    done.expect("the steps are undone")
}

fn nodes(tree: &FileSystem) -> Vec<(NodeId, Node)> {
    tree.nodes().map(|(id, node)| (id, node.clone())).collect()
}

#[test]
fn what_the_executor_has_done_needs_no_further_step() {
    let mut scene = scene();
    let first = plan(&scene);
    assert!(
        first.person_steps.len() > 10,
        "{:?}",
        first.person_steps.len()
    );
    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut files = FakeFiles::over(scene.host.fs.clone(), &faults);
    let done = apply(&first, &store, &mut files);
    assert!(done.walks.iter().all(|walk| walk.refused.is_empty()));
    scene.host.fs = files.tree.clone();
    let second = plan(&scene);
    assert_eq!(
        second.person_steps,
        [],
        "the next command has nothing to do"
    );

    // Nor is anything done if the first plan is carried out again.
    let (writes, records) = (files.writes, store.writes());
    let again = apply(&first, &store, &mut files);
    assert_eq!((again.changed, again.walks.len()), (0, 0));
    assert_eq!((files.writes, store.writes()), (writes, records));
}

/// Puts that many files into the workspace, as the person's tools make them: with what they inherit.
fn fill(scene: &mut Scene, files: usize) {
    const EACH: usize = 100;
    let person = scene.ann.sid;
    for directory in 0..files / EACH {
        let path = format!("{WORKSPACE}\\d{directory}");
        let parent = scene.host.directory(&path, person);
        let first = scene.host.file(&format!("{path}\\f0"), person);
        let node = scene.host.fs.node(first).expect("it was just made").clone();
        for file in 1..EACH {
            let name = FileName::new(&format!("f{file}")).expect("a name");
            let place = Place { parent, name };
            let made = scene.host.fs.place_node(&place, node.clone());
            made.expect("the name is free");
        }
    }
}

#[test]
fn the_second_command_writes_no_list_and_starts_no_helper() {
    second_command(0);
}

/// All but the few of the project are made after set-up, as most of a workspace's files are.
#[test]
fn the_second_command_in_a_workspace_of_300_000_files_writes_no_list_and_starts_no_helper() {
    second_command(300_000);
}

fn second_command(more_files: usize) {
    let mut scene = scene();
    let first = plan(&scene);
    // Before set-up is recorded as finished, the elevated program is due.
    assert_eq!(Due::of(&first).helpers(), 1);
    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut files = FakeFiles::over(scene.host.fs.clone(), &faults);
    apply(&first, &store, &mut files);
    scene.host.fs = files.tree;
    fill(&mut scene, more_files);
    let objects = scene.host.fs.nodes().count();
    assert!(objects > more_files, "{objects}");
    let mut files = FakeFiles::over(scene.host.fs.clone(), &faults);

    let ann = scene.ann.clone();
    let mut facts = scene.facts(&ann, WORKSPACE, POLICY);
    let reserved = first.machine_steps.iter().find_map(|step| match step {
        MachineStep::ReservePorts { ports } => Some(*ports),
        _ => None,
    });
    facts.installed.record = Some(Record {
        machine_hash: first.machine_hash.clone(),
        marker: Marker::Present,
        proxy_ports: reserved.expect("set-up reserves ports"),
        person: ann.sid,
    });
    let policy = ann.policy(WORKSPACE, POLICY);
    let planned = |facts: &WindowsFacts| {
        let ledger = ringfence_windows_model::scene::ledger(&ann);
        ringfence_plan::windows::plan(&policy, facts, &ledger).expect("a plan")
    };
    let second = planned(&facts);
    let due = Due::of(&second);
    assert_eq!((due.steps, due.helpers()), (0, 0));
    let records = store.writes();
    apply(&second, &store, &mut files);
    assert_eq!((files.opens, files.writes), (0, 0), "opened, written");
    assert_eq!(store.writes(), records);

    // Control: a set-up that did not finish is asked for again.
    if let Some(record) = &mut facts.installed.record {
        record.marker = Marker::Missing;
    }
    assert_eq!(Due::of(&planned(&facts)).setup, SetupDue::Again);
}

#[test]
fn both_executors_do_the_same_to_every_object() {
    let scene = scene();
    let plan = plan(&scene);
    let mut carried = scene.host.fs.clone();
    carry_out(&mut carried, &plan, Whole::Whole);
    let faults = Faults::new();
    let mut files = FakeFiles::over(scene.host.fs.clone(), &faults);
    apply(&plan, &MemoryStore::new(&faults), &mut files);
    let mut compared = 0;
    for (id, node) in scene.host.fs.nodes() {
        let path = carried.path_of(id);
        // The directories of the machine's steps are set-up's.
        if path.starts_with("C:\\ProgramData\\Ringfence") {
            continue;
        }
        let (theirs, ours) = (carried.node(id), files.tree.node(id));
        let (theirs, ours) = (theirs.expect("it is there"), ours.expect("it is there"));
        assert_eq!(theirs.descriptor.dacl, ours.descriptor.dacl, "{path}");
        compared += usize::from(node.descriptor != ours.descriptor);
    }
    assert!(compared > 15, "{compared} objects changed");
}

#[test]
fn uninstalling_what_the_planner_planned_leaves_the_host_as_it_was() {
    let scene = scene();
    let plan = plan(&scene);
    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut files = FakeFiles::over(scene.host.fs.clone(), &faults);
    apply(&plan, &store, &mut files);
    let sids = sids_of(&plan);
    let tops = ["C:\\", "D:\\"].map(|top| WindowsPath::parse(top).expect("a drive"));
    for top in &tops {
        let found = leftover_of_files(top, &sids, &mut files, &mut |_| ControlFlow::Continue(()))
            .expect("a scan");
        assert!(
            !found.is_empty(),
            "the control: the scan finds what is there"
        );
    }
    let revoked = uninstall(&plan, &store, &mut files);
    assert!(revoked.failed.is_empty(), "{:?}", revoked.failed);
    assert_eq!(nodes(&files.tree), nodes(&scene.host.fs));
    for top in &tops {
        assert_eq!(
            leftover_of_files(top, &sids, &mut files, &mut |_| ControlFlow::Continue(()))
                .expect("a scan")
                .first(),
            []
        );
    }
    assert_eq!(store.durable(), None);
    let root = WindowsPath::parse(WORKSPACE).expect("a path");
    assert!(files.open(&root).expect("a look").is_some());
}
