//! Protected names and secrets that are links, other working trees, and places that are never closed.

use ringfence_plan::layout::{
    BackLink, Entry, GitDirectory, GitLayout, GitRole, HiddenFact, Kind, NameFact,
};
use ringfence_plan::windows::facts::WindowsFacts;
use ringfence_plan::windows::lint::lint;
use ringfence_plan::windows::step::{ObjectKind, Purpose};
use ringfence_plan::windows::{WindowsPath, WindowsPlan, plan};

use crate::world::{POLICY, ROOT, add, path, policy, ready, set};

fn planned(facts: &WindowsFacts, more: &str) -> WindowsPlan {
    let (_, ledger) = ready();
    let policy = policy(&format!("{POLICY}{more}"), facts);
    let plan = plan(&policy, facts, &ledger).expect("a plan");
    assert_eq!(lint(&plan, facts), Vec::new());
    plan
}

fn inside(name: &str) -> WindowsPath {
    path(&format!("{ROOT}\\{name}"))
}

fn purpose(plan: &WindowsPlan, at: &WindowsPath) -> Option<Purpose> {
    plan.held_at(at).map(|held| held.purpose)
}

/// What stands at a protected name of the workspace.
fn stands(facts: &mut WindowsFacts, name: &str, entry: Entry<WindowsPath>) {
    let mut names = facts.roots[0].anchors[0].names.iter_mut();
    let fact: &mut NameFact<WindowsPath> = names
        .find(|one| one.name == name)
        .expect("a protected name");
    fact.entry = entry;
}

#[test]
fn a_protected_link_is_held_with_what_it_leads_to() {
    let (mut facts, _) = ready();
    let (link, target) = (inside(".idea"), inside("settings"));
    for at in [&link, &target] {
        add(&mut facts, &at.to_string(), ObjectKind::Directory, None);
    }
    let entry = |kind| Entry::Symlink {
        target: target.clone(),
        kind,
    };
    stands(&mut facts, ".idea", entry(Some(Kind::Directory)));
    let held = planned(&facts, "");
    assert_eq!(purpose(&held, &link), Some(Purpose::Protected));
    assert_eq!(purpose(&held, &target), Some(Purpose::Protected));
    // It leads nowhere yet: what may come there is watched.
    stands(&mut facts, ".idea", entry(None));
    let watched = planned(&facts, "");
    assert_eq!(purpose(&watched, &link), Some(Purpose::Protected));
    assert!(watched.guard.absent.iter().any(|one| one.path == target));
}

#[test]
fn a_name_below_what_is_missing_keeps_what_is_there() {
    let (mut facts, _) = ready();
    let existing = inside("tools");
    let at = existing.to_string();
    add(&mut facts, &at, ObjectKind::Directory, None);
    let parent = Entry::AbsentParent {
        existing: existing.clone(),
    };
    stands(&mut facts, ".idea", parent);
    let plan = planned(&facts, "");
    assert_eq!(purpose(&plan, &existing), Some(Purpose::Between));
    let name = inside(".idea");
    assert!(plan.guard.absent.iter().any(|one| one.path == name));
}

#[test]
fn the_link_to_a_secret_is_kept_and_the_secret_is_closed() {
    let (mut facts, _) = ready();
    let (link, target) = (inside("src\\.env"), inside("src\\keys.txt"));
    add(
        &mut facts,
        &inside("src").to_string(),
        ObjectKind::Directory,
        None,
    );
    for at in [&link, &target] {
        add(&mut facts, &at.to_string(), ObjectKind::File, None);
    }
    facts.hidden.push(HiddenFact {
        name: ".env".to_owned(),
        path: link.clone(),
        entry: Entry::Symlink {
            target: target.clone(),
            kind: Some(Kind::File),
        },
        shown: Vec::new(),
        masked: Vec::new(),
    });
    let plan = planned(&facts, "");
    assert_eq!(purpose(&plan, &link), Some(Purpose::Protected));
    assert_eq!(purpose(&plan, &target), Some(Purpose::Secret));
}

#[test]
fn another_working_trees_directory_is_held_where_commits_are_let() {
    let (mut facts, _) = ready();
    let (git, other) = (inside(".git"), inside(".git\\worktrees\\other"));
    add(
        &mut facts,
        &inside(".git\\worktrees").to_string(),
        ObjectKind::Directory,
        None,
    );
    add(&mut facts, &other.to_string(), ObjectKind::Directory, None);
    facts.roots[0].anchors[0].git = Some(GitLayout {
        directory: git.clone(),
        common: git.clone(),
        back_link: BackLink::Mutual,
        directories: vec![
            GitDirectory {
                path: git.clone(),
                role: GitRole::Own,
                names: Vec::new(),
            },
            GitDirectory {
                path: other.clone(),
                role: GitRole::OtherWorktree,
                names: Vec::new(),
            },
        ],
    });
    let plan = planned(&facts, "git = \"commit\"\n");
    assert_eq!(purpose(&plan, &git), Some(Purpose::Between), "the control");
    assert_eq!(purpose(&plan, &other), Some(Purpose::Protected));
}

/// An inherited deny on a profile's own folder would be on everything in it: it is said, not done.
#[test]
fn a_shared_place_of_the_refuse_list_gets_no_entry() {
    let (mut facts, _) = ready();
    let all = "D:(A;OICI;0x1f01ff;;;WD)";
    let (desktop, open) = (path("C:\\Users\\ann\\Desktop"), path("D:\\open"));
    for at in [&desktop, &open] {
        add(&mut facts, &at.to_string(), ObjectKind::Directory, None);
        let person = facts.person.sid;
        let mut objects = facts.objects.iter_mut();
        let fact = objects
            .find(|one| one.object.path == *at)
            .expect("the object");
        fact.descriptor.as_mut().expect("a list").owner = Some(person);
        set(&mut facts, &at.to_string(), Some(all));
        facts.shared_places.push(at.clone());
    }
    let plan = planned(&facts, "");
    assert_eq!(
        purpose(&plan, &open),
        Some(Purpose::WorldWritable),
        "the control"
    );
    assert_ne!(purpose(&plan, &desktop), Some(Purpose::WorldWritable));
    assert!(plan.notes.iter().any(|note| note.contains("Desktop")));
}
