//! Every way to break a plan is noticed: by the search, by the linter, or by a property of the plan.

use ringfence_nt::WriteClass;
use ringfence_plan::lint::Severity;
use ringfence_plan::windows::lint::lint;
use ringfence_windows_model::figures::{Size, record};
use ringfence_windows_model::mutate::Mutation;
use ringfence_windows_model::scene::Scene;
use ringfence_windows_model::search::{Beyond, Bounds, search};
use ringfence_windows_model::worlds::{Build, WORLDS};

const BOUNDS: Bounds = Bounds {
    depth: 2,
    made: 1,
    links: 0,
    states: 3_000,
    beyond: Beyond::Stop,
};

/// What notices the mutation, if something does.
fn killer(mutation: Option<Mutation>) -> Option<String> {
    // The other worlds are for the long run: what they alone notice is none of the mutants.
    let worlds = Size::asked().of(&WORLDS[..2], &WORLDS[..]);
    for class in [WriteClass::H2, WriteClass::H4, WriteClass::H3] {
        for (_, build) in worlds {
            if let Some(by) = noticed(*build, class, mutation) {
                return Some(by);
            }
        }
    }
    // Nobody plans for the person themselves where the second pass does not cover FILE_DELETE_CHILD.
    for class in [WriteClass::H2, WriteClass::H3] {
        if let Some(by) = noticed(Scene::same_user, class, mutation) {
            return Some(by);
        }
    }
    linted(mutation).map(|finding| format!("linter: {finding}"))
}

/// How one world notices it: by a control that fails, or by a promise that breaks.
fn noticed(build: Build, class: WriteClass, mutation: Option<Mutation>) -> Option<String> {
    let world = match build(class, mutation) {
        Ok(world) => world,
        Err(blocked) => return Some(format!("control: {blocked}")),
    };
    if let Some(blocked) = world.blocked(class) {
        return Some(format!("control: {blocked}"));
    }
    if let Some(unseen) = world.unseen(class) {
        return Some(format!("control: {unseen} can't be looked at"));
    }
    let report = search(&world, class, &BOUNDS);
    let (promise, example) = report.broken.first_key_value()?;
    let (steps, what) = (example.steps.len(), &example.broken);
    Some(format!(
        "search under {class:?}, {steps} steps, {}: {promise}: {what}",
        report.world
    ))
}

/// The first error that the linter finds in the plan of a project.
fn linted(mutation: Option<Mutation>) -> Option<String> {
    let mut scene = Scene::new(WriteClass::H2);
    let ann = scene.ann.clone();
    scene.project(&ann.path("ws"), ann.sid);
    let facts = scene.facts(&ann, &ann.path("ws"), "");
    let mut plan = scene.plan(&ann, &ann.path("ws"), "").ok()?;
    if let Some(mutation) = mutation {
        mutation.apply(&mut plan);
    }
    let found = lint(&plan, &facts);
    let mut errors = found.iter().filter(|one| one.severity == Severity::Error);
    errors.next().map(|finding| format!("{finding:?}"))
}

#[test]
fn the_linter_finds_nothing_in_a_plan_that_is_whole() {
    assert_eq!(linted(None), None);
}

#[test]
fn what_is_not_broken_is_not_killed() {
    assert_eq!(killer(None), None);
}

#[test]
fn every_mutant_is_killed() {
    let all = Mutation::all();
    let mut survivors = Vec::new();
    for mutation in &all {
        let name = format!("{mutation:?}");
        if let Some(by) = killer(Some(*mutation)) {
            record(&["mutant", &name, "killed", &by]);
        } else {
            record(&["mutant", &name, "survived", ""]);
            survivors.push(name);
        }
    }
    let killed = all.len() - survivors.len();
    println!("mutants killed: {killed}/{}", all.len());
    assert!(survivors.is_empty(), "survived: {survivors:?}");
}
