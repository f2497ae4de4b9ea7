//! Descriptors set, walked, taken back; what others change meanwhile.

use proptest::prelude::*;
use ringfence_nt::fs::Place;
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, Dacl, SecurityDescriptor, Sid};
use ringfence_plan::windows::step::{ObjectKind, PersonStep, Purpose};

use super::desk::*;
use super::steps::{ada, bob, path};
use crate::ledger::Undone;
use crate::windows::{GrantError, ObjectError, Walking, merge};

fn cause(error: GrantError) -> ObjectError {
    match error {
        GrantError::Step { cause, left } => {
            assert!(left.is_empty(), "{left:?}");
            cause
        }
        other => panic!("no step failed: {other:?}"),
    }
}

#[test]
fn the_second_command_writes_no_descriptor_and_no_record() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    let first = desk.apply(&steps).unwrap();
    assert_eq!(first.changed, 6);
    assert!(first.walks[0].progress.changed > 3, "{first:?}");
    let (tree, writes) = (nodes(&desk.files.tree), desk.files.writes);
    let (records, opens) = (desk.store.writes(), desk.files.opens);
    let second = desk.apply(&steps).unwrap();
    assert_eq!((second.changed, second.walks.len()), (0, 0));
    assert_eq!(nodes(&desk.files.tree), tree);
    assert_eq!((desk.files.writes, desk.store.writes()), (writes, records));
    assert_eq!(
        desk.files.opens - opens,
        6,
        "each object of a step is opened once"
    );
}

#[test]
fn uninstalling_gives_every_object_back_what_it_had() {
    let mut desk = Desk::new();
    let start = nodes(&desk.files.tree);
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    assert!(
        carriers(&desk.files.tree).len() > 8,
        "the control: it was changed"
    );
    let revoked = desk.uninstall().unwrap();
    assert!(revoked.failed.is_empty(), "{:?}", revoked.failed);
    assert!(
        revoked
            .undone
            .iter()
            .all(|(_, how)| *how == Undone::Restored)
    );
    assert_eq!(nodes(&desk.files.tree), start);
    assert_eq!(desk.store.durable(), None);
    assert!(desk.uninstall().unwrap().undone.is_empty());
}

#[test]
fn no_reparse_point_is_followed_and_a_name_outside_gives_no_write() {
    let mut desk = Desk::new();
    let (notes, bobs) = ("C:\\Users\\ada\\out\\notes", "C:\\Users\\bob\\ws\\plan");
    let before = [desk.descriptor_at(notes), desk.descriptor_at(bobs)];
    let steps = desk.steps();
    let report = desk.apply(&steps).unwrap().walks.remove(0);
    assert_eq!(
        [desk.descriptor_at(notes), desk.descriptor_at(bobs)],
        before
    );
    assert_eq!(
        report.redirections,
        [path("C:\\Users\\ada\\src\\ws\\junction")]
    );
    assert_eq!(
        report.linked_outside,
        [path("C:\\Users\\ada\\src\\ws\\linked")]
    );
    let grant = |text: &str| {
        let descriptor = desk.descriptor_at(text);
        let aces = &descriptor.acl().unwrap().aces;
        let masks = aces.iter().filter(|ace| ours().contains(&ace.sid));
        masks.fold(AccessMask::NONE, |all, ace| all | ace.mask)
    };
    assert_eq!(
        grant("C:\\Users\\ada\\out\\linked"),
        AccessMask::FILE_GENERIC_READ
    );
    // The control: both names inside, so it is written like any other.
    assert_eq!(
        grant("C:\\Users\\ada\\src\\ws\\again.rs"),
        AccessMask::FILE_MODIFY
    );
}

#[test]
fn a_protected_child_with_rights_of_its_own_gets_the_denies_itself() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let hook = desk.descriptor_at("C:\\Users\\ada\\src\\ws\\.git\\hooks\\pre-commit");
    let explicit: Vec<&Ace> = hook.acl().unwrap().explicit().collect();
    assert_eq!((explicit[0].mask, explicit[0].sid), (protect(), group()));
    // What has a step of its own is not touched by the walk of the root.
    let env = desk.descriptor_at("C:\\Users\\ada\\src\\ws\\.env");
    assert!(
        env.acl()
            .unwrap()
            .aces
            .iter()
            .all(|ace| !ours().contains(&ace.sid))
    );
}

#[test]
fn an_object_that_changed_since_the_plan_stops_it_and_what_was_done_is_undone() {
    let changes: [fn(&mut Desk); 3] = [
        |desk| {
            let id = desk.files.id(&path(&format!("{ROOT}\\.git"))).unwrap();
            desk.files.change(id, owned(bob())).unwrap();
        },
        |desk| {
            // The same path, another object.
            let tree = &mut desk.files.tree;
            let root = tree.find(ROOT).unwrap();
            let name = ringfence_nt::fs::FileName::new(".env").unwrap();
            tree.displace(&Place { parent: root, name }).unwrap();
            desk.make(&format!("{ROOT}\\.env"), ObjectKind::File);
        },
        |desk| {
            let tree = &mut desk.files.tree;
            let root = tree.find(ROOT).unwrap();
            let name = ringfence_nt::fs::FileName::new(".env").unwrap();
            tree.displace(&Place { parent: root, name }).unwrap();
        },
    ];
    let mut causes = Vec::new();
    for change in changes {
        let mut desk = Desk::new();
        let steps = desk.steps();
        change(&mut desk);
        let start = nodes(&desk.files.tree);
        causes.push(cause(desk.apply(&steps).unwrap_err()));
        assert_eq!(nodes(&desk.files.tree), start);
        assert_eq!(desk.store.durable(), None);
    }
    assert!(
        matches!(causes[0], ObjectError::Changed { .. }),
        "{causes:?}"
    );
    assert!(
        matches!(causes[1], ObjectError::Replaced { .. }),
        "{causes:?}"
    );
    assert!(matches!(causes[2], ObjectError::Gone { .. }), "{causes:?}");
}

#[test]
fn a_walk_that_was_stopped_goes_on_without_doing_anything_twice() {
    let big = || {
        let mut desk = Desk::new();
        for number in 0..700 {
            desk.make(&format!("{ROOT}\\src\\f{number}"), ObjectKind::File);
        }
        desk
    };
    let mut clean = big();
    let steps = clean.steps();
    clean.apply(&steps).unwrap();
    let mut desk = big();
    let start = nodes(&desk.files.tree);
    assert_eq!(
        cause(desk.apply_until(&steps, 300).unwrap_err()),
        ObjectError::Stopped
    );
    let stopped_at = desk.files.writes;
    assert!(
        stopped_at > 250 && stopped_at < clean.files.writes,
        "{stopped_at}"
    );
    desk.apply(&steps).unwrap();
    assert_eq!(
        desk.files.writes, clean.files.writes,
        "no object is written twice"
    );
    assert!(nodes(&desk.files.tree) == nodes(&clean.files.tree));
    desk.uninstall().unwrap();
    assert!(nodes(&desk.files.tree) == start);

    let mut desk = big();
    desk.apply_until(&steps, 300).unwrap_err();
    desk.roll_back().unwrap();
    assert!(nodes(&desk.files.tree) == start);
}

#[test]
fn an_object_that_can_not_be_written_is_left_out_of_a_grant_and_stops_a_denial() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    let main = desk
        .files
        .id(&path(&format!("{ROOT}\\src\\main.rs")))
        .unwrap();
    desk.files.unwritable.insert(main);
    let report = desk.apply(&steps).unwrap().walks.remove(0);
    assert_eq!(report.refused.len(), 1);
    let descriptor = desk.files.descriptor(main).unwrap();
    assert!(
        descriptor
            .acl()
            .unwrap()
            .aces
            .iter()
            .all(|ace| !ours().contains(&ace.sid))
    );

    let mut desk = Desk::new();
    let start = nodes(&desk.files.tree);
    let hook = desk
        .files
        .id(&path(&format!("{ROOT}\\.git\\hooks\\pre-commit")))
        .unwrap();
    desk.files.unwritable.insert(hook);
    assert!(matches!(
        cause(desk.apply(&steps).unwrap_err()),
        ObjectError::Call { .. }
    ));
    assert_eq!(nodes(&desk.files.tree), start);
}

#[test]
fn a_file_that_was_moved_in_is_brought_in_line_by_repair() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let applied = nodes(&desk.files.tree);
    // A move keeps the descriptor.
    let moved = format!("{ROOT}\\src\\moved");
    desk.files.add_file(&moved, &owned(ada())).unwrap();
    let outside = path("C:\\Users\\ada\\out\\notes");
    let rule = Rule::of(&steps);
    let repair = |desk: &mut Desk, path: &_| {
        desk.grants(|grants| {
            let mut progress = |_| std::ops::ControlFlow::Continue(());
            let (rule, progress) = (&rule, &mut progress);
            grants.repair(path, &mut Walking { rule, progress })
        })
    };
    let report = repair(&mut desk, &path(&moved)).unwrap();
    assert_eq!((report.progress.visited, report.progress.changed), (1, 1));
    let inherited = desk.descriptor_at(&moved);
    assert!(
        inherited
            .acl()
            .unwrap()
            .aces
            .iter()
            .any(|ace| ace.sid == capability())
    );
    let again = repair(&mut desk, &path(&moved)).unwrap();
    assert_eq!(again.progress.changed, 0);
    let error = cause(repair(&mut desk, &outside).unwrap_err());
    assert_eq!(error, ObjectError::NotBelowRoot { path: outside });

    desk.uninstall().unwrap();
    assert_eq!(desk.descriptor_at(&moved), owned(ada()));
    assert_eq!(carriers(&desk.files.tree), Vec::<String>::new());
    assert_ne!(nodes(&desk.files.tree), applied);
}

#[test]
fn what_a_target_made_is_the_persons_after_uninstall() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let source = desk.descriptor_at(&format!("{ROOT}\\src"));
    let made = inherited(&source, ObjectKind::Directory, offline());
    desk.files
        .add_directory(&format!("{ROOT}\\src\\target"), &made)
        .unwrap();
    // A DACL that lets nobody else in, and none at all, which lets everybody do everything.
    let own = Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, offline());
    let closed = SecurityDescriptor::new(offline(), offline(), Acl::new(vec![own])).protected();
    let open = SecurityDescriptor {
        dacl: Dacl::Null,
        ..closed.clone()
    };
    let files = ["closed", "open"].map(|name| format!("{ROOT}\\src\\target\\{name}"));
    for (path, given) in files.iter().zip([&closed, &open]) {
        desk.files.add_file(path, given).unwrap();
    }
    let revoked = desk.uninstall().unwrap();
    assert_eq!((revoked.swept, revoked.failed.len()), (3, 0));
    assert_eq!(carriers(&desk.files.tree), Vec::<String>::new());
    for path in &files {
        let left = desk.descriptor_at(path);
        assert_eq!(left.owner, Some(ada()));
        let full = |ace: &&Ace| ace.sid == ada() && ace.mask == AccessMask::FILE_ALL_ACCESS;
        assert_eq!(left.acl().unwrap().aces.iter().filter(full).count(), 1);
    }
}

#[test]
fn an_object_that_was_moved_is_found_by_its_id() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    let config = format!("{ROOT}\\.git\\config");
    let before = desk.descriptor_at(&config);
    desk.apply(&steps).unwrap();
    let id = desk.files.id(&path(&config)).unwrap();
    desk.files
        .add_link(&config, "C:\\Users\\ada\\out\\config")
        .unwrap();
    let tree = &mut desk.files.tree;
    let parent = tree.find(&format!("{ROOT}\\.git")).unwrap();
    let name = ringfence_nt::fs::FileName::new("config").unwrap();
    tree.displace(&Place { parent, name }).unwrap();
    desk.uninstall().unwrap();
    assert_eq!(
        desk.files.id(&path("C:\\Users\\ada\\out\\config")),
        Some(id)
    );
    assert_eq!(desk.descriptor_at("C:\\Users\\ada\\out\\config"), before);
}

#[test]
fn names_that_win32_would_never_make_are_walked_and_taken_back() {
    let mut desk = Desk::new();
    let parent = desk.files.tree.find(&format!("{ROOT}\\src")).unwrap();
    let inside = desk.descriptor_at(&format!("{ROOT}\\src\\main.rs"));
    let names = [
        &[0x61, 0xd800][..],
        &[0x78, 0x2e],
        &[0x6e, 0x75, 0x6c],
        &[0xdbff, 0xdfff],
    ];
    for units in names {
        let name = ringfence_nt::fs::FileName::from_units(units).unwrap();
        let node = ringfence_nt::fs::Node::file(std::sync::Arc::new(inside.clone()));
        desk.files
            .tree
            .place_node(&Place { parent, name }, node)
            .unwrap();
    }
    let start = nodes(&desk.files.tree);
    let steps = desk.steps();
    let before = carriers(&desk.files.tree).len();
    desk.apply(&steps).unwrap();
    let odd = |desk: &Desk| {
        let carriers = carriers(&desk.files.tree);
        carriers
            .iter()
            .filter(|path| path.contains("\\src\\ws\\src\\"))
            .count()
    };
    assert_eq!((before, odd(&desk)), (0, names.len()));
    desk.uninstall().unwrap();
    assert_eq!(nodes(&desk.files.tree), start);
}

/// Somebody else's change to one object.
#[derive(Clone, Debug)]
pub(super) enum Foreign {
    Add(usize, Ace),
    Drop(usize),
    Owner(usize),
    Replace(usize),
}

fn foreign() -> impl Strategy<Value = Vec<Foreign>> {
    let object = || 0_usize..8;
    let flags = prop::sample::select(vec![AceFlags::NONE, AceFlags::INHERIT_ALL]);
    let ace = (flags, 1_u32..64, any::<bool>()).prop_map(|(flags, mask, allow)| {
        let make = if allow { Ace::allow } else { Ace::deny };
        make(flags, AccessMask(mask), bob())
    });
    let change = prop_oneof![
        3 => (object(), ace).prop_map(|(object, ace)| Foreign::Add(object, ace)),
        1 => object().prop_map(Foreign::Drop),
        1 => object().prop_map(Foreign::Owner),
        1 => object().prop_map(Foreign::Replace),
    ];
    prop::collection::vec(change, 0..5)
}

/// The objects that others change: `.env` has its inherited entries replaced by explicit ones, which a rebase has to
/// bring back.
fn target(number: usize) -> String {
    let names = [
        "",
        "\\.git",
        "\\.git\\config",
        "\\.git\\hooks",
        "\\.git\\hooks\\pre-commit",
        "\\src",
        "\\src\\main.rs",
        "\\linked",
    ];
    format!("{ROOT}{}", names[number])
}

pub(super) fn change(desk: &mut Desk, change: &Foreign) {
    let (Foreign::Add(number, _)
    | Foreign::Drop(number)
    | Foreign::Owner(number)
    | Foreign::Replace(number)) = change;
    let id = desk.files.id(&path(&target(*number))).unwrap();
    let found = desk.files.descriptor(id).unwrap().clone();
    let changed = match change {
        Foreign::Add(_, ace) => with(&found, &[*ace]),
        Foreign::Drop(_) => {
            // One of theirs: what SYSTEM had.
            let mut aces = found.acl().unwrap().aces.clone();
            if let Some(place) = aces.iter().position(|ace| ace.sid == Sid::SYSTEM) {
                aces.remove(place);
            }
            SecurityDescriptor {
                dacl: Dacl::Present(Acl::new(aces)),
                ..found
            }
        }
        Foreign::Owner(_) => SecurityDescriptor {
            owner: Some(bob()),
            ..found
        },
        Foreign::Replace(_) => owned(bob()),
    };
    desk.files.change(id, changed).unwrap();
}

pub(super) fn sorted(descriptor: &SecurityDescriptor) -> (Option<Sid>, Vec<Ace>) {
    let mut aces = descriptor.acl().unwrap().aces.clone();
    aces.sort();
    (descriptor.owner, aces)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changes_of_others_are_kept_and_the_rest_is_as_it_was(changes in foreign()) {
        let mut expected = Desk::new();
        for each in &changes {
            change(&mut expected, each);
        }
        let mut desk = Desk::new();
        let steps = desk.steps();
        desk.apply(&steps).unwrap();
        for each in &changes {
            change(&mut desk, each);
        }
        let revoked = desk.uninstall().unwrap();
        prop_assert!(revoked.failed.is_empty(), "{:?}", revoked.failed);
        prop_assert_eq!(carriers(&desk.files.tree), Vec::<String>::new());
        let (found, wanted) = (nodes(&desk.files.tree), nodes(&expected.files.tree));
        prop_assert_eq!(found.len(), wanted.len());
        for ((id, found), (_, wanted)) in found.iter().zip(&wanted) {
            let path = desk.files.tree.path_of(*id);
            prop_assert_eq!(sorted(&found.descriptor), sorted(&wanted.descriptor), "{}", path);
        }
        prop_assert_eq!(desk.store.durable(), None);
    }

    #[test]
    fn a_secrets_own_list_comes_back_round_what_others_added(mask in 1_u32..64) {
        let desk = Desk::new();
        let steps = desk.steps();
        let secret = |step: &&PersonStep| {
            matches!(step, PersonStep::SetDacl { purpose: Purpose::Secret, .. })
        };
        let Some(PersonStep::SetDacl { before, after, .. }) = steps.iter().find(secret) else {
            panic!("there is a secret");
        };
        let theirs = Ace::deny(AceFlags::NONE, AccessMask(mask), bob());
        let merged = merge(&with(after, &[theirs]), before, after);
        prop_assert_eq!(merged, with(before, &[theirs]));
    }
}

#[test]
fn one_workspace_is_given_back_and_the_other_keeps_what_it_has() {
    const OTHER: &str = "C:\\Users\\ada\\src\\other";
    let mut desk = Desk::new();
    desk.make(OTHER, ObjectKind::Directory);
    desk.make(&format!("{OTHER}\\file"), ObjectKind::File);
    let start = nodes(&desk.files.tree);
    let steps = desk.steps();
    let mut other = steps.clone();
    for step in &mut other {
        if let PersonStep::SetDacl {
            object,
            before,
            after,
            purpose: Purpose::Root,
        } = step
        {
            *object = desk.object(OTHER, ObjectKind::Directory);
            *before = desk.descriptor_at(OTHER);
            let grant = Ace::allow(AceFlags::INHERIT_ALL, AccessMask(0x0013_01bf), group());
            *after = with(before, &[grant]);
        }
        if let PersonStep::Walk { root, .. } = step {
            *root = desk.object(OTHER, ObjectKind::Directory);
        }
    }
    other.retain(|step| match step {
        PersonStep::SetDacl { object, .. } => object.path.starts_with(&path(OTHER)),
        PersonStep::Walk { purpose, .. } => *purpose == Purpose::Root,
        PersonStep::MakeHome { .. } => false,
    });
    assert_eq!(other.len(), 2, "{other:?}");
    desk.apply(&other).unwrap();
    let alone = nodes(&desk.files.tree);
    assert!(alone != start, "the control: the other has something");
    desk.apply(&steps).unwrap();
    assert!(
        nodes(&desk.files.tree) != alone,
        "the control: this one too"
    );

    let homes = [path(HOME)].into();
    let revoked = desk
        .grants(|grants| grants.release(&path(ROOT), &homes))
        .unwrap();
    assert!(revoked.failed.is_empty(), "{:?}", revoked.failed);
    let above: Vec<String> = carriers(&desk.files.tree)
        .into_iter()
        .filter(|carrier| path(carrier).starts_with(&path(ROOT)))
        .collect();
    assert_eq!(above, Vec::<String>::new(), "nothing of ours is left in it");
    assert!(desk.files.tree.find(HOME).is_err());
    let kept = |text: &str| desk.descriptor_at(text);
    let (other_now, file_now) = (kept(OTHER), kept(&format!("{OTHER}\\file")));
    for descriptor in [other_now, file_now] {
        let aces = &descriptor.acl().unwrap().aces;
        assert!(aces.iter().any(|ace| ours().contains(&ace.sid)));
    }
    // What is left is known, and goes with the rest.
    desk.uninstall().unwrap();
    assert_eq!(nodes(&desk.files.tree), start);
    assert_eq!(desk.store.durable(), None);
}
