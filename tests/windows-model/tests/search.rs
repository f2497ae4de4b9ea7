//! Worlds built by the planner, searched: the promises hold where the write class holds a boundary, and where it does
//! not, the search says which fail and the launch refuses.

#![expect(clippy::panic, reason = "a world that can't be built is a failed test")]

use ringfence_nt::WriteClass;
use ringfence_plan::windows::{PlanError, plan};
use ringfence_windows_model::figures::{Size, record, record_search};
use ringfence_windows_model::scene::{Scene, ledger};
use ringfence_windows_model::search::{Beyond, Bounds, Extent, Report, search};
use ringfence_windows_model::world::Role;
use ringfence_windows_model::worlds::Build;
use ringfence_windows_model::{Promise, World};

const HELD: [WriteClass; 3] = [WriteClass::H2, WriteClass::H3, WriteClass::H4];

/// Every sequence of a few steps, with two objects made and one link at a time.
fn wide(beyond: Beyond) -> Bounds {
    Bounds {
        depth: Size::asked().of(2, 3),
        made: 2,
        links: 1,
        states: 500_000,
        beyond,
    }
}

/// Every sequence of two steps.
fn near() -> Bounds {
    Bounds {
        depth: Size::asked().of(1, 2),
        ..wide(Beyond::Stop)
    }
}

/// Every state there is with at most one object made at a time and one name to give.
fn deep() -> Bounds {
    Bounds {
        depth: 60,
        made: Size::asked().of(0, 1),
        links: 0,
        states: 500_000,
        beyond: Beyond::Stop,
    }
}

fn built(build: Build, class: WriteClass) -> World {
    let world = build(class, None).unwrap_or_else(|blocked| panic!("{blocked}"));
    assert_eq!(world.blocked(class), None);
    assert_eq!(world.unseen(class), None);
    world
}

fn searched(build: Build, class: WriteClass, beyond: Beyond) -> Report {
    let report = search(&built(build, class), class, &wide(beyond));
    record_search(&report);
    assert_ne!(report.extent, Extent::Cut, "{report}");
    report
}

#[test]
fn no_state_at_all_breaks_a_promise() {
    let classes = [WriteClass::H2, WriteClass::H3, WriteClass::H4];
    for class in Size::asked().of(&classes[..1], &classes[..]) {
        let mut world = built(Scene::standard, *class);
        world.names.truncate(1);
        world.redirects.clear();
        world.name.push_str(", to the end");
        let report = search(&world, *class, &deep());
        record_search(&report);
        assert!(report.holds(), "{report}");
        assert_eq!(report.extent, Extent::Whole, "{report}");
    }
}

#[test]
fn no_sequence_breaks_a_promise_under_h2() {
    let report = searched(Scene::standard, WriteClass::H2, Beyond::Stop);
    assert!(report.holds(), "{report}");
}

#[test]
fn no_sequence_breaks_a_promise_under_h3() {
    let report = searched(Scene::standard, WriteClass::H3, Beyond::Stop);
    assert!(report.holds(), "{report}");
}

#[test]
fn no_sequence_breaks_a_promise_under_h4() {
    let report = searched(Scene::standard, WriteClass::H4, Beyond::Stop);
    assert!(report.holds(), "{report}");
}

#[test]
fn a_project_shared_with_everyone_holds_too() {
    for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
        let report = searched(Scene::shared, class, Beyond::Stop);
        assert!(report.holds(), "{report}");
    }
}

/// The other worlds, each to half the depth: what is new in each shows in one or two steps.
fn hold_too(worlds: &[Build], classes: &[WriteClass]) {
    for build in worlds {
        for class in classes {
            let world = built(*build, *class);
            let report = search(&world, *class, &near());
            record_search(&report);
            assert_ne!(report.extent, Extent::Cut, "{report}");
            assert!(report.holds(), "{report}");
        }
    }
}

#[test]
fn two_roots_and_a_root_in_a_root_hold_too() {
    hold_too(&[Scene::two_roots, Scene::nested, Scene::inner], &HELD);
}

#[test]
fn a_repository_that_takes_commits_or_is_given_whole_holds_too() {
    hold_too(&[Scene::committing, Scene::whole_repository], &HELD);
}

/// Its control: without what the harness makes plain again, a directory that must stay leads elsewhere.
#[test]
fn what_may_be_made_a_junction_has_to_be_made_plain_again() {
    let mut world = built(Scene::whole_repository, WriteClass::H2);
    let roles = world.roles();
    world
        .straightened
        .retain(|id| roles.get(id) == Some(&Role::Root));
    world.names.truncate(1);
    let bounds = Bounds {
        depth: 2,
        ..wide(Beyond::Stop)
    };
    let report = search(&world, WriteClass::H2, &bounds);
    let broken: Vec<Promise> = report.broken.keys().copied().collect();
    assert_eq!(broken, [Promise::AbsentQuarantined], "{report}");
}

#[test]
fn the_online_account_holds_too() {
    hold_too(&[Scene::online], &HELD);
}

/// Where the second pass covers `FILE_DELETE_CHILD` too; elsewhere nothing is planned.
#[test]
fn commands_of_the_person_themselves_change_nothing_outside() {
    hold_too(&[Scene::same_user], &[WriteClass::H2, WriteClass::H3]);
}

#[test]
fn the_narrowest_class_breaks_promises_and_is_refused() {
    let report = searched(Scene::standard, WriteClass::H1, Beyond::GoOn);
    assert!(!report.holds(), "the search notices nothing");
    assert!(!WriteClass::H1.holds_a_boundary());
    let mut scene = Scene::new(WriteClass::H1);
    let ann = scene.ann.clone();
    scene.project(&ann.path("ws"), ann.sid);
    let ann = &ann;
    let planned = |class| {
        let policy = ann.policy(&ann.path("ws"), "");
        let mut facts = scene.facts(ann, &ann.path("ws"), "");
        facts.write_class = Some(class);
        plan(&policy, &facts, &ledger(ann))
    };
    assert_eq!(planned(WriteClass::H1), Err(PlanError::WriteClass));
    let failing: Vec<String> = report.broken.keys().map(ToString::to_string).collect();
    let said = format!("breaks {}; no session is planned", failing.join(", "));
    record(&[
        "axis",
        "DELETE, WRITE_DAC and WRITE_OWNER in no second pass (H1)",
        &said,
    ]);
    assert_ne!(planned(WriteClass::H2), Err(PlanError::WriteClass));
}
