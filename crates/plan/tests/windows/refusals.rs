//! The refuse list: each place by its object, whatever it is called, and what may be done all the same.

use ringfence_nt::Sid;
use ringfence_plan::windows::facts::{
    AccessControl, Elsewhere, Reached, Volume, VolumeKind, WindowsFacts, WindowsRoot,
};
use ringfence_plan::windows::reach::Reach;
use ringfence_plan::windows::refuse::{Reason, RefuseList, check_root};
use ringfence_plan::windows::step::ObjectKind;
use ringfence_plan::windows::{Objects, PlanError, WindowsPath};

use crate::world::{ROOT, add, path, ready, set};

/// Why `root` is refused as a writable root on this machine; `None` where it is not.
fn refused_root(facts: &WindowsFacts, root: &WindowsRoot) -> Option<Reason> {
    let objects = Objects::new(facts);
    let list = RefuseList::new(facts, &objects);
    let reach = Reach::new(
        facts.accounts().as_ref(),
        facts.person.sid,
        &facts.person.groups,
    );
    match check_root(root, &list, &reach) {
        Ok(_) => None,
        Err(PlanError::ForbiddenRoot { refusal, .. }) => {
            assert!(!refusal.to_string().is_empty() && !refusal.reason.alternative().is_empty());
            Some(refusal.reason)
        }
        Err(other) => panic!("{other}"),
    }
}

fn root(named: &str, reached: &str) -> WindowsRoot {
    let (facts, _) = ready();
    WindowsRoot {
        named: named.to_owned(),
        reached: Reached::Directory {
            path: path(reached),
        },
        ..facts.roots[1].clone()
    }
}

#[test]
fn places_are_refused_and_projects_are_not() {
    let (mut facts, _) = ready();
    for at in [
        "C:\\Users\\ann\\Documents\\project",
        "C:\\Users\\ann\\AppData\\Local\\Temp\\x",
        "C:\\Users\\ann\\AppData\\Local\\Programs\\mine",
        "C:\\Users\\ann\\.ssh\\work",
        "C:\\Users\\ann\\AppData\\Local\\Ringfence",
        "C:\\Users\\ann\\AppData\\Local\\Ringfence\\tmp",
        "C:\\Windows\\Temp",
        "C:\\Program Files\\mine",
        "C:\\ProgramData\\mine",
        "C:\\Users\\bob",
        "C:\\Users\\bob\\src",
    ] {
        add(&mut facts, at, ObjectKind::Directory, None);
    }
    let bob = facts
        .objects
        .iter()
        .find(|one| one.object.path == path("C:\\Users\\bob"));
    let id = bob.map(|one| one.object.id);
    facts.places.push(ringfence_plan::windows::facts::Place {
        name: ringfence_plan::windows::facts::PlaceName::Profile,
        path: path("C:\\Users\\bob"),
        id,
    });
    for (at, reason) in [
        (ROOT, None),
        ("C:\\Users\\ann\\Documents\\project", None),
        ("C:\\", Some(Reason::DriveRoot)),
        ("D:\\", Some(Reason::DriveRoot)),
        ("C:\\Users", Some(Reason::Users)),
        ("C:\\Users\\ann", Some(Reason::Profile)),
        ("C:\\Users\\Public", Some(Reason::Profile)),
        ("C:\\Users\\bob\\src", Some(Reason::OthersProfile)),
        ("C:\\Users\\ann\\Desktop", Some(Reason::KnownFolder)),
        (
            "C:\\Users\\ann\\AppData\\Local\\Programs\\mine",
            Some(Reason::AppData),
        ),
        (
            "C:\\Users\\ann\\AppData\\Local\\Temp\\x",
            Some(Reason::Temp),
        ),
        ("C:\\Windows\\Temp", Some(Reason::Windows)),
        ("C:\\Program Files\\mine", Some(Reason::ProgramFiles)),
        ("C:\\Program Files\\WindowsApps", Some(Reason::WindowsApps)),
        ("C:\\ProgramData\\mine", Some(Reason::ProgramData)),
        ("C:\\Users\\ann\\.ssh\\work", Some(Reason::Ssh)),
        (
            "C:\\Users\\ann\\AppData\\Local\\Ringfence\\tmp",
            Some(Reason::State),
        ),
    ] {
        assert_eq!(refused_root(&facts, &root(at, at)), reason, "{at}");
    }
}

#[test]
fn another_name_for_a_place_is_refused_by_its_object() {
    let (mut facts, _) = ready();
    // A second path to the profile's own object: a mount point, or whatever the letters do not tell.
    let mut profile = facts
        .objects
        .iter()
        .find(|one| one.object.path == path("C:\\Users\\ann"))
        .expect("the profile")
        .clone();
    profile.object.path = path("D:\\scratch\\home");
    facts.objects.push(profile);
    let reason = refused_root(&facts, &root("D:\\scratch\\home", "D:\\scratch\\home"));
    assert_eq!(reason, Some(Reason::Profile));
}

#[test]
fn what_is_not_there_or_not_on_a_drive_is_refused() {
    let (facts, _) = ready();
    let elsewhere = |what| Reached::Elsewhere {
        path: "\\\\server\\share".to_owned(),
        what,
    };
    for (reached, reason) in [
        (Reached::Absent, Reason::Absent),
        (Reached::File, Reason::NotADirectory),
        (elsewhere(Elsewhere::Network), Reason::Network),
        (elsewhere(Elsewhere::Wsl), Reason::Wsl),
        (elsewhere(Elsewhere::Device), Reason::Device),
    ] {
        let root = WindowsRoot {
            reached,
            ..root(ROOT, ROOT)
        };
        assert_eq!(refused_root(&facts, &root), Some(reason));
    }
}

#[test]
fn volumes_that_hold_no_boundary_are_refused() {
    let change = |change: &dyn Fn(&mut Volume)| {
        let (mut facts, _) = ready();
        change(&mut facts.volumes[1]);
        refused_root(&facts, &root("D:\\scratch", "D:\\scratch"))
    };
    assert_eq!(change(&|_| ()), None);
    assert_eq!(
        change(&|volume| volume.access_control = AccessControl::None),
        Some(Reason::NoAccessControl)
    );
    assert_eq!(
        change(&|volume| volume.kind = VolumeKind::Network),
        Some(Reason::Network)
    );
    assert_eq!(
        change(&|volume| volume.kind = VolumeKind::Wsl),
        Some(Reason::Wsl)
    );
    let (facts, _) = ready();
    let serial = facts.volumes[0].serial;
    assert_eq!(
        change(&|volume| volume.serial = serial),
        Some(Reason::AmbiguousVolume)
    );
    // Named by a SUBST drive that stands for a good directory.
    let (mut facts, _) = ready();
    facts.volumes.push(Volume {
        mount_points: vec![path("X:\\")],
        kind: VolumeKind::Substitute {
            target: "C:\\Users\\ann\\src".to_owned(),
        },
        ..facts.volumes[0].clone()
    });
    assert_eq!(
        refused_root(&facts, &root("X:\\app", ROOT)),
        Some(Reason::Substitute)
    );
}

#[test]
fn descriptors_that_hold_no_boundary_are_refused() {
    let (mut facts, _) = ready();
    set(&mut facts, "D:\\scratch", Some("D:NO_ACCESS_CONTROL"));
    let scratch = root("D:\\scratch", "D:\\scratch");
    assert_eq!(refused_root(&facts, &scratch), Some(Reason::NullDacl));
    set(
        &mut facts,
        "D:\\scratch",
        Some("O:BAD:(A;OICI;0x1301bf;;;WD)"),
    );
    assert_eq!(refused_root(&facts, &scratch), Some(Reason::NoWriteDac));
    let fact = facts
        .objects
        .iter_mut()
        .find(|one| one.object.path == path("D:\\scratch"));
    fact.expect("the root").descriptor = None;
    assert_eq!(refused_root(&facts, &scratch), Some(Reason::NoWriteDac));
}

#[test]
fn a_link_in_another_root_leads_nowhere() {
    let (facts, _) = ready();
    let link = WindowsRoot {
        links: vec![path(&format!("{ROOT}\\out"))],
        ..root(&format!("{ROOT}\\out"), "D:\\scratch")
    };
    assert_eq!(refused_root(&facts, &link), Some(Reason::LinkThroughRoot));
}

#[test]
fn a_file_that_ssh_configuration_names_gets_no_entry() {
    let (mut facts, _) = ready();
    let key = path("D:\\keys\\id");
    facts.ssh_names.push(key.clone());
    let objects = Objects::new(&facts);
    let list = RefuseList::new(&facts, &objects);
    assert!(list.check_key(&key).is_some());
    assert!(list.check_key(&path("D:\\keys\\other")).is_none());
}

#[test]
fn the_ways_down_and_tools_are_excepted() {
    let (facts, _) = ready();
    let objects = Objects::new(&facts);
    let list = RefuseList::new(&facts, &objects);
    let reason = |found: Result<Option<ringfence_plan::windows::refuse::Refusal>, PlanError>| {
        found.expect("facts").map(|refusal| refusal.reason)
    };
    let at = |text: &str| -> WindowsPath { path(text) };
    assert_eq!(reason(list.check_passage(&at("C:\\Users\\ann"))), None);
    assert_eq!(
        reason(list.check_passage(&at("C:\\Users\\ann\\AppData\\Local"))),
        None
    );
    assert_eq!(
        reason(list.check_passage(&at("C:\\"))),
        Some(Reason::DriveRoot)
    );
    assert_eq!(
        reason(list.check_passage(&at("C:\\Users"))),
        Some(Reason::Users)
    );
    assert_eq!(
        reason(list.check_passage(&at("C:\\ProgramData"))),
        Some(Reason::ProgramData)
    );
    let python = at("C:\\Users\\ann\\AppData\\Local\\Programs\\Python");
    assert_eq!(reason(list.check_tool(&python)), None);
    assert_eq!(reason(list.check(&python)), Some(Reason::AppData));
    let whole = at("C:\\Users\\ann\\AppData\\Local");
    assert_eq!(reason(list.check_tool(&whole)), Some(Reason::AppData));
}

#[test]
fn two_names_that_differ_by_case_alone_stop_the_plan() {
    let (mut facts, ledger) = ready();
    let mut twin = facts
        .objects
        .iter()
        .find(|one| one.object.path == path(&format!("{ROOT}\\.git")))
        .expect("git")
        .clone();
    twin.object.path = path(&format!("{ROOT}\\.GIT"));
    twin.object.id.file += 1;
    facts.objects.push(twin);
    let policy = crate::world::policy(crate::world::POLICY, &facts);
    let error = ringfence_plan::windows::plan(&policy, &facts, &ledger).expect_err("no plan");
    assert!(matches!(error, PlanError::NotHeld { .. }), "{error}");
}

#[test]
fn another_users_sid_is_no_person_of_ours() {
    let (facts, _) = ready();
    assert_ne!(facts.person.sid, Sid::SYSTEM);
    let mut other = facts.clone();
    other.person.sid = facts.machine.sid.child(1009).expect("a SID");
    other.person.groups.clear();
    assert_eq!(
        refused_root(&other, &root(ROOT, ROOT)),
        Some(Reason::NoWriteDac)
    );
}
