//! Attacks on other people, other sessions and what outlives a session (19, 21, 22).

use ringfence_nt::fs::{Caller, NewKind, Replace};
use ringfence_nt::{AccessMask, Ace, AceFlags, SecurityDescriptor, Sid, WriteClass};
use ringfence_plan::windows::descriptors::PROTECT;
use ringfence_windows_model::host::described;
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::scene::Scene;

use super::{all_denied, attack, can_change, elsewhere, opens, place, try_it};

#[test]
fn attack_19_services_under_other_identities() {
    elsewhere(
        19,
        "tasks, services, WMI, COM, BITS as the sandbox user",
        "rung 7, audit on Windows",
    );
}

#[test]
fn attack_21_other_peoples_and_other_policies_roots() {
    attack(
        21,
        "another person's roots, the same person's other root",
        |class| {
            let world = Scene::standard(class, None).unwrap();
            let at = |path: &str| place(&world.fs, path);
            let control = Operation::Create(at("n"), NewKind::File, Shape::Inherited);
            assert!(try_it(&world, class, &control).is_ok(), "control");
            let (notes, work) = ("C:\\Users\\ann\\notes", "C:\\Users\\bob\\work");
            let into = |root: &str| at(&format!("{root}\\new"));
            let denied = all_denied(
                &world,
                class,
                &[
                    Operation::Create(into(notes), NewKind::File, Shape::Open),
                    Operation::Create(into(work), NewKind::Directory, Shape::Open),
                    Operation::Rename(at("src\\a.rs"), into(notes), Replace::No),
                    Operation::Rename(at("C:\\Users\\ann\\notes\\n.txt"), at("n"), Replace::No),
                    Operation::Delete(at("C:\\Users\\ann\\notes\\made\\m.txt")),
                    Operation::Delete(at("C:\\Users\\bob\\work\\w.txt")),
                ],
            );
            let read = AccessMask::FILE_READ_DATA;
            denied
                && ["n.txt", "made", "made\\m.txt"].iter().all(|own| {
                    !can_change(&world.fs, &world.target, class, &format!("{notes}\\{own}"))
                })
                && ["w.txt", "made"].iter().all(|own| {
                    let path = format!("{work}\\{own}");
                    !can_change(&world.fs, &world.target, class, &path)
                        && !opens(&world.fs, &world.target, class, &path, read)
                })
        },
    );
}

/// The list that the sandbox profile and its hive need, in order, without one of its entries.
fn profile(scene: &Scene, marker: Sid, without: Option<usize>) -> SecurityDescriptor {
    let below = AceFlags::INHERIT_ALL;
    let ann = &scene.ann;
    let mut entries = vec![
        // Hits targets alone, in the second pass.
        Ace::deny(below, PROTECT, marker),
        // Which need not cover FILE_DELETE_CHILD: the first pass denies it.
        Ace::deny(below, AccessMask::FILE_DELETE_CHILD, ann.group),
        // What the account made it owns, and an owner's WRITE_DAC comes before every deny.
        Ace::allow(below, AccessMask::READ_CONTROL, Sid::OWNER_RIGHTS),
        Ace::allow(below, AccessMask::FILE_ALL_ACCESS, ann.offline),
    ];
    if let Some(index) = without {
        entries.remove(index);
    }
    described(ann.offline, &entries).protected()
}

/// Whether a target keeps its hands off a profile with this list.
fn profile_holds(class: WriteClass, without: Option<usize>) -> bool {
    let mut scene = Scene::new(class);
    let ann = scene.ann.clone();
    scene.host.directory(&ann.path("ws"), ann.sid);
    let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
    let descriptor = profile(&scene, session.plan.marker, without);
    let top = scene
        .host
        .put("C:\\Users\\sandbox", Some(descriptor), ann.offline);
    scene.host.file(PROFILE_FILE, ann.offline);
    let runner = Caller {
        token: &session.runner,
        class,
    };
    let fs = &scene.host.fs;
    let by_runner = fs.open_by_id(&runner, top, AccessMask::FILE_WRITE_DATA);
    assert!(by_runner.is_ok(), "control: the runner writes its profile");
    ["C:\\Users\\sandbox", PROFILE_FILE]
        .iter()
        .all(|path| !can_change(fs, &session.target, class, path))
}

const PROFILE_FILE: &str = "C:\\Users\\sandbox\\profile.ps1";

#[test]
fn attack_22_state_in_the_sandbox_profile() {
    let title = "state carried through the sandbox profile or registry";
    attack(22, title, |class| profile_holds(class, None));
}

/// Each of the three entries is needed: the marker alone leaves the DACL to its owner, and names to
/// `FILE_DELETE_CHILD`.
#[test]
fn the_marker_alone_does_not_hold_the_profile() {
    assert!(!profile_holds(WriteClass::H2, Some(0)));
    assert!(!profile_holds(WriteClass::H4, Some(1)));
    assert!(!profile_holds(WriteClass::H2, Some(2)));
}
