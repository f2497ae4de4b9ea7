//! The refuse list: each place by its object, whatever it is called, and what may be done all the same.

use ringfence_nt::Sid;
use ringfence_plan::layout::{Entry, HiddenFact};
use ringfence_plan::windows::facts::{
    AccessControl, Capability, Elsewhere, Presence, Reached, Reparse, Residency, Volume,
    VolumeKind, WindowsFacts, WindowsRoot,
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
    let refused = match check_root(root, &list, &reach) {
        Ok(_) => None,
        Err(PlanError::ForbiddenRoot { refusal, .. }) => {
            assert!(!refusal.to_string().is_empty() && !refusal.reason.alternative().is_empty());
            assert!(!refusal.reason.instead().contains("--writable-root"));
            Some(refusal.reason)
        }
        Err(other) => panic!("{other}"),
    };
    // What is asked before a grant is offered says the same.
    let mut wider = facts.clone();
    wider.roots.push(root.clone());
    let asked = ringfence_plan::windows::refuse_root(&crate::world::policy("", facts), &wider)
        .expect("a verdict");
    assert_eq!(asked.map(|refusal| refusal.reason), refused);
    refused
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
    let change = volume;
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
    let (mut facts, _) = ready();
    let through = |link: &str| WindowsRoot {
        links: vec![path(link)],
        ..root(&format!("{link}\\x"), "D:\\scratch")
    };
    let inside = through(&format!("{ROOT}\\out"));
    assert_eq!(refused_root(&facts, &inside), Some(Reason::LinkThroughRoot));
    // The person's own link, above every root, is theirs to follow.
    let above = through("C:\\Users\\ann\\work");
    assert_eq!(refused_root(&facts, &above), None);
    // Unless it lies in a root of an earlier policy.
    facts.capabilities.push(Capability {
        sid: Sid::EVERYONE,
        root: facts.objects[0].object.id,
        path: path("C:\\Users\\ann\\work"),
        presence: Presence::Present,
    });
    assert_eq!(refused_root(&facts, &above), Some(Reason::LinkThroughRoot));
}

#[test]
fn a_root_that_has_become_a_link_is_refused() {
    let (mut facts, ledger) = ready();
    // The target of the empty root `D:\scratch` has made it a junction to the notes, and the session is over.
    let scratch = &mut facts.roots[1];
    scratch.links = vec![path("D:\\scratch")];
    scratch.reached = Reached::Directory {
        path: path("D:\\notes"),
    };
    let policy = crate::world::policy("[filesystem]\nwritable_roots = ['D:\\scratch']\n", &facts);
    let refused = ringfence_plan::windows::plan(&policy, &facts, &ledger).expect_err("no plan");
    let PlanError::ForbiddenRoot { named, refusal } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(
        (named.as_str(), refusal.reason),
        ("D:\\scratch", Reason::Link)
    );
    assert_eq!(
        refusal.place, "D:\\notes",
        "the person is told where it leads"
    );
    // Behind another link, its own place is another one than it was named by; a link above of the same name is none.
    let behind = |named: &str, links: &[&str]| {
        let links = links.iter().map(|link| path(link)).collect();
        let behind = WindowsRoot {
            links,
            ..root(named, "D:\\scratch")
        };
        refused_root(&ready().0, &behind)
    };
    let (work, real) = ("C:\\Users\\ann\\work", "C:\\Users\\ann\\src\\scratch");
    assert_eq!(
        behind(&format!("{work}\\Scratch"), &[work, real]),
        Some(Reason::Link)
    );
    assert_eq!(behind(&format!("{work}\\work"), &[work]), None);
    // Followed or not: a directory whose own name holds a reparse point is none.
    let (mut facts, _) = ready();
    let fact = facts
        .objects
        .iter_mut()
        .find(|one| one.object.path == path("D:\\scratch"))
        .expect("the root");
    fact.reparse = Some(Reparse { target: None });
    let scratch = root("D:\\scratch", "D:\\scratch");
    assert_eq!(refused_root(&facts, &scratch), Some(Reason::Link));
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

fn at(text: &str) -> Option<Reason> {
    let (mut facts, _) = ready();
    let above = path(text).parent().expect("a parent").to_string();
    for one in [above.as_str(), text] {
        if path(one).parent().is_some() {
            add(&mut facts, one, ObjectKind::Directory, None);
        }
    }
    refused_root(&facts, &root(text, text))
}

fn reached(reached: Reached) -> Option<Reason> {
    let root = WindowsRoot {
        reached,
        ..root(ROOT, ROOT)
    };
    refused_root(&ready().0, &root)
}

fn elsewhere(what: Elsewhere) -> Option<Reason> {
    reached(Reached::Elsewhere {
        path: "\\\\server\\share".to_owned(),
        what,
    })
}

fn volume(change: &dyn Fn(&mut Volume)) -> Option<Reason> {
    let (mut facts, _) = ready();
    change(&mut facts.volumes[1]);
    refused_root(&facts, &root("D:\\scratch", "D:\\scratch"))
}

fn described(sddl: &str) -> Option<Reason> {
    let (mut facts, _) = ready();
    set(&mut facts, "D:\\scratch", Some(sddl));
    refused_root(&facts, &root("D:\\scratch", "D:\\scratch"))
}

/// Facts and a root that are refused for this reason, and the reason after this one: a reason without a root that is
/// refused for it does not compile.
fn case(reason: Reason) -> (Option<Reason>, Option<Reason>) {
    match reason {
        Reason::Absent => (reached(Reached::Absent), Some(Reason::NotADirectory)),
        Reason::NotADirectory => (reached(Reached::File), Some(Reason::DriveRoot)),
        Reason::DriveRoot => (
            refused_root(&ready().0, &root("D:\\", "D:\\")),
            Some(Reason::Users),
        ),
        Reason::Users => (at("C:\\Users"), Some(Reason::Profile)),
        Reason::Profile => (at("C:\\Users\\ann"), Some(Reason::OthersProfile)),
        Reason::OthersProfile => (of_another_person(), Some(Reason::KnownFolder)),
        Reason::KnownFolder => (at("C:\\Users\\ann\\Desktop"), Some(Reason::AppData)),
        Reason::AppData => (
            at("C:\\Users\\ann\\AppData\\Local\\mine"),
            Some(Reason::Temp),
        ),
        Reason::Temp => (
            at("C:\\Users\\ann\\AppData\\Local\\Temp\\x"),
            Some(Reason::ProgramFiles),
        ),
        Reason::ProgramFiles => (at("C:\\Program Files\\mine"), Some(Reason::WindowsApps)),
        Reason::WindowsApps => (
            at("C:\\Program Files\\WindowsApps\\x"),
            Some(Reason::ProgramData),
        ),
        Reason::ProgramData => (at("C:\\ProgramData\\mine"), Some(Reason::Windows)),
        Reason::Windows => (at("C:\\Windows\\Temp"), Some(Reason::Ssh)),
        Reason::Ssh => (at("C:\\Users\\ann\\.ssh\\work"), Some(Reason::HoldsSsh)),
        Reason::HoldsSsh => (holding_ssh(Entry::Directory), Some(Reason::SshNamed)),
        Reason::SshNamed => (named_by_ssh(), Some(Reason::State)),
        Reason::State => (
            at("C:\\Users\\ann\\AppData\\Local\\Ringfence\\tmp"),
            Some(Reason::HoldsState),
        ),
        Reason::HoldsState => (holding_state(), Some(Reason::NoAccessControl)),
        Reason::NoAccessControl => (
            volume(&|volume| volume.access_control = AccessControl::None),
            Some(Reason::Network),
        ),
        Reason::Network => (elsewhere(Elsewhere::Network), Some(Reason::Substitute)),
        Reason::Substitute => (
            volume(&|volume| {
                volume.kind = VolumeKind::Substitute {
                    target: "C:\\x".to_owned(),
                };
            }),
            Some(Reason::Wsl),
        ),
        Reason::Wsl => (elsewhere(Elsewhere::Wsl), Some(Reason::Device)),
        Reason::Device => (elsewhere(Elsewhere::Device), Some(Reason::NullDacl)),
        Reason::NullDacl => (described("D:NO_ACCESS_CONTROL"), Some(Reason::NoWriteDac)),
        Reason::NoWriteDac => (
            described("O:BAD:(A;OICI;0x1301bf;;;WD)"),
            Some(Reason::AmbiguousVolume),
        ),
        Reason::AmbiguousVolume => {
            let serial = ready().0.volumes[0].serial;
            let same = volume(&|volume| volume.serial = serial);
            (same, Some(Reason::LinkThroughRoot))
        }
        Reason::LinkThroughRoot => {
            let inside = format!("{ROOT}\\out");
            let link = WindowsRoot {
                links: vec![path(&inside)],
                ..root(&format!("{inside}\\x"), "D:\\scratch")
            };
            (refused_root(&ready().0, &link), Some(Reason::Link))
        }
        Reason::Link => {
            let link = WindowsRoot {
                links: vec![path("C:\\Users\\ann\\src\\link")],
                ..root("C:\\Users\\ann\\src\\link", "D:\\scratch")
            };
            (refused_root(&ready().0, &link), None)
        }
    }
}

/// A directory in somebody else's profile.
fn of_another_person() -> Option<Reason> {
    let (mut facts, _) = ready();
    for at in ["C:\\Users\\bob", "C:\\Users\\bob\\src"] {
        add(&mut facts, at, ObjectKind::Directory, None);
    }
    facts.places.push(ringfence_plan::windows::facts::Place {
        name: ringfence_plan::windows::facts::PlaceName::Profile,
        path: path("C:\\Users\\bob"),
        id: None,
    });
    refused_root(&facts, &root("C:\\Users\\bob\\src", "C:\\Users\\bob\\src"))
}

/// A directory in which a path of the SSH configuration lies, or that it names.
fn named_by_ssh() -> Option<Reason> {
    let (mut facts, _) = ready();
    assert_eq!(
        refused_root(&facts, &root("D:\\scratch", "D:\\scratch")),
        None
    );
    facts.ssh_names.push(path("D:\\scratch"));
    refused_root(&facts, &root("D:\\scratch", "D:\\scratch"))
}

/// A directory that holds a `.ssh`, in whatever case.
fn holding_ssh(entry: Entry<WindowsPath>) -> Option<Reason> {
    let (mut facts, _) = ready();
    facts.hidden.push(HiddenFact {
        name: ".ssh".to_owned(),
        path: path("D:\\scratch\\.SSH"),
        entry,
        shown: Vec::new(),
        masked: Vec::new(),
    });
    refused_root(&facts, &root("D:\\scratch", "D:\\scratch"))
}

#[test]
fn a_link_called_ssh_refuses_a_root_and_an_absent_one_does_not() {
    let target = path("C:\\Users\\ann\\.ssh");
    let link = Entry::Symlink { target, kind: None };
    assert_eq!(holding_ssh(link), Some(Reason::HoldsSsh));
    assert_eq!(holding_ssh(Entry::Absent), None);
}

/// A directory above Ringfence's own.
fn holding_state() -> Option<Reason> {
    let (mut facts, _) = ready();
    assert_eq!(
        refused_root(&facts, &root("D:\\scratch", "D:\\scratch")),
        None
    );
    facts.state = path("D:\\scratch\\deep\\Ringfence");
    refused_root(&facts, &root("D:\\scratch", "D:\\scratch"))
}

#[test]
fn every_reason_refuses_a_root() {
    let mut next = Some(Reason::Absent);
    let mut seen = Vec::new();
    while let Some(reason) = next {
        let (found, after) = case(reason);
        assert_eq!(found, Some(reason));
        assert!(!reason.text().is_empty() && !reason.alternative().is_empty());
        assert!(!seen.contains(&reason), "{reason:?} comes twice");
        seen.push(reason);
        next = after;
    }
    assert_eq!(seen.len(), 28, "{seen:?}");
}

/// A placeholder's data comes when it is read: said, not refused.
#[test]
fn a_root_that_onedrive_keeps_is_warned_of() {
    let (mut facts, ledger) = ready();
    let policy = crate::world::policy(crate::world::POLICY, &facts);
    let warned = |facts: &WindowsFacts| {
        let plan = ringfence_plan::windows::plan(&policy, facts, &ledger).expect("a plan");
        plan.notes.iter().any(|note| note.contains("OneDrive"))
    };
    assert!(!warned(&facts), "the control");
    let root = facts
        .objects
        .iter_mut()
        .find(|one| one.object.path == path(ROOT));
    root.expect("the root").residency = Residency::Placeholder;
    assert!(warned(&facts));
}
