//! A person's ledger that an attacker has written, read by an elevated set-up.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use proptest::prelude::*;
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind, Purpose};

use super::desk::*;
use super::steps::{ada, bob, path};
use crate::fault::Faults;
use crate::ledger::{Book, Damage, Ledger, MemoryStore, Sequence};
use crate::windows::fake::FakeFiles;
use crate::windows::{
    Cleansed, LISTED, Listing, Opened, PersonBook, PersonIntent, Skip, leftover_of_files,
    open_closed, same,
};

/// Nobody stops it.
fn remove_our_entries(ledger: &[u8], ours: &BTreeSet<Sid>, files: &mut FakeFiles) -> Cleansed {
    crate::windows::remove_our_entries(ledger, ours, files, &mut |_| ControlFlow::Continue(()))
}

/// The bytes of a ledger with these intents; descriptor 0 gives everything to everybody.
fn forged(intents: &[PersonIntent]) -> Vec<u8> {
    let store = MemoryStore::new(&Faults::new());
    let mut ledger: Ledger<PersonBook, MemoryStore> = Ledger::open(store.clone()).unwrap();
    let everybody = with(
        &owned(bob()),
        &[Ace::allow(
            AceFlags::INHERIT_ALL,
            AccessMask::FILE_ALL_ACCESS,
            Sid::EVERYONE,
        )],
    );
    ledger.number_of(&everybody).unwrap();
    for intent in intents {
        assert!(
            PersonBook::descriptors(intent)
                .iter()
                .all(|number| *number == 0)
        );
        ledger.intend(intent.clone()).unwrap();
    }
    drop(ledger);
    store.durable().unwrap()
}

fn intent(object: Object) -> PersonIntent {
    PersonIntent::SetDacl {
        object,
        purpose: Purpose::Root,
        before: 0,
        after: 0,
    }
}

/// Everything but entries for SIDs of ours.
fn foreign_part(descriptor: &SecurityDescriptor) -> (Option<Sid>, Vec<Ace>) {
    let foreign = |ace: &&Ace| !ours().contains(&ace.sid);
    let aces = descriptor
        .acl()
        .unwrap()
        .aces
        .iter()
        .filter(foreign)
        .copied()
        .collect();
    (descriptor.owner, aces)
}

#[test]
fn set_up_restores_nothing_that_a_persons_ledger_says() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let file = ObjectKind::File;
    let directory = ObjectKind::Directory;
    let intents = [
        intent(desk.object("C:\\Users\\bob\\ws\\plan", file)),
        intent(desk.object("C:\\Windows", directory)),
        intent(desk.object("C:\\Users\\ada\\out\\notes", file)),
        intent(desk.object(&format!("{ROOT}\\.git"), directory)),
        PersonIntent::Walk {
            root: desk.object("C:\\Users\\bob", directory),
            purpose: Purpose::Root,
        },
        PersonIntent::MakeHome {
            path: path("C:\\Windows"),
            descriptor: 0,
        },
    ];
    let before = nodes(&desk.files.tree);
    let cleansed = remove_our_entries(&forged(&intents), &ours(), &mut desk.files);
    assert_eq!(cleansed.changed.first(), [path(&format!("{ROOT}\\.git"))]);
    assert!(
        cleansed
            .skipped
            .first()
            .iter()
            .all(|(_, skip)| *skip == Skip::NothingOfOurs)
    );
    let git = desk.files.id(&path(&format!("{ROOT}\\.git"))).unwrap();
    for ((id, was), (_, is)) in before.iter().zip(&nodes(&desk.files.tree)) {
        assert_eq!(foreign_part(&was.descriptor), foreign_part(&is.descriptor));
        if desk.files.descriptor(git) != Some(&is.descriptor) {
            assert!(same(&was.descriptor, &is.descriptor), "{id:?}");
        }
    }
    assert!(
        carriers(&desk.files.tree).len() > 5,
        "only what it names is looked at"
    );
}

#[test]
fn a_path_that_leads_to_another_object_or_through_a_link_is_left_alone() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let git = desk.object(&format!("{ROOT}\\.git"), ObjectKind::Directory);
    let swapped = Object {
        path: path(ROOT),
        ..git.clone()
    };
    let gone = Object {
        path: path("C:\\Users\\ada\\nothing"),
        ..git.clone()
    };
    let through = Object {
        path: path(&format!("{ROOT}\\junction\\notes")),
        ..git
    };
    let invented = Object {
        id: FileId {
            volume: u64::MAX,
            file: u128::MAX,
        },
        ..swapped.clone()
    };
    let before = nodes(&desk.files.tree);
    let intents = [swapped, gone, through, invented].map(intent);
    let cleansed = remove_our_entries(&forged(&intents), &ours(), &mut desk.files);
    assert_eq!(nodes(&desk.files.tree), before);
    let skips = |of: &Listing<(WindowsPath, Skip)>| -> Vec<Skip> {
        of.first().iter().map(|(_, skip)| skip.clone()).collect()
    };
    assert_eq!(
        skips(&cleansed.skipped),
        [Skip::Replaced, Skip::Gone, Skip::Replaced]
    );
    assert!(matches!(skips(&cleansed.failed)[..], [Skip::Failed(_)]));
}

#[test]
fn the_entries_of_another_person_stay() {
    let mut desk = Desk::new();
    let others = Sid::new(5, &[21, 1, 2, 3, 3001]).unwrap();
    let plan = path("C:\\Users\\bob\\ws\\plan");
    let id = desk.files.id(&plan).unwrap();
    let deny = Ace::deny(AceFlags::NONE, protect(), others);
    let held = with(desk.files.descriptor(id).unwrap(), &[deny]);
    desk.files.change(id, held.clone()).unwrap();
    let object = desk.object("C:\\Users\\bob\\ws\\plan", ObjectKind::File);
    let cleansed = remove_our_entries(&forged(&[intent(object.clone())]), &ours(), &mut desk.files);
    assert_eq!(desk.files.descriptor(id), Some(&held));
    assert_eq!(cleansed.skipped.first(), [(plan, Skip::NothingOfOurs)]);
    // The control: by that person's own SIDs it goes.
    let cleansed = remove_our_entries(
        &forged(&[intent(object)]),
        &BTreeSet::from([others]),
        &mut desk.files,
    );
    assert_eq!(cleansed.changed.first().len(), 1);
}

/// A list of a target's that keeps its person out.
fn closed_by(owner: Sid) -> SecurityDescriptor {
    let all = AccessMask::FILE_ALL_ACCESS;
    let aces = [
        Ace::deny(AceFlags::NONE, all, ada()),
        Ace::allow(AceFlags::INHERIT_ALL, all, owner),
    ];
    SecurityDescriptor::new(owner, owner, Acl::new(aces.to_vec())).protected()
}

fn walk_of(root: Object) -> PersonIntent {
    let purpose = Purpose::Root;
    PersonIntent::Walk { root, purpose }
}

#[test]
fn what_a_killed_runner_left_closed_is_opened_before_the_accounts_go_and_nothing_else_is_touched() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let kept = format!("{ROOT}\\kept");
    desk.files
        .add_directory(&kept, &closed_by(offline()))
        .unwrap();
    desk.files
        .add_file(&format!("{kept}\\file"), &closed_by(offline()))
        .unwrap();
    // Somebody else's that is closed to her as well, in a tree that a forged ledger names.
    let theirs = "C:\\Users\\bob\\closed";
    desk.files.add_file(theirs, &closed_by(bob())).unwrap();
    let directory = ObjectKind::Directory;
    let junction = desk.object(&format!("{ROOT}\\junction"), directory);
    let roots = [
        desk.object(ROOT, directory),
        desk.object("C:\\Users\\bob", directory),
        desk.object("C:\\Windows", directory),
        junction.clone(),
    ];
    let ledger = forged(&roots.map(walk_of));
    let before = nodes(&desk.files.tree);
    let accounts = BTreeSet::from([offline()]);
    let mut on = |_| ControlFlow::Continue(());
    let done = open_closed(&ledger, (ada(), &accounts), &mut desk.files, &mut on);
    assert_eq!(done.failed.first(), []);
    assert_eq!(
        done.opened.first(),
        [path(&kept), path(&format!("{kept}\\file"))]
    );
    let mut changed = 0;
    for ((id, was), (_, is)) in before.iter().zip(&nodes(&desk.files.tree)) {
        if same(&was.descriptor, &is.descriptor) {
            continue;
        }
        changed += 1;
        assert_eq!(was.descriptor.owner, Some(offline()), "{id:?}");
        let first = is.descriptor.acl().unwrap().aces[0];
        assert_eq!(
            (first.sid, first.mask),
            (ada(), AccessMask::FILE_ALL_ACCESS)
        );
    }
    assert_eq!(changed, 2);
    // A link stays a link: only the runner takes one off its own root.
    assert_eq!(
        desk.object(&format!("{ROOT}\\junction"), directory),
        junction
    );
    let again = open_closed(&ledger, (ada(), &accounts), &mut desk.files, &mut on);
    assert_eq!(again, Opened::default());
    let mut stop = |_| ControlFlow::Break(());
    let stopped = open_closed(&ledger, (ada(), &accounts), &mut desk.files, &mut stop);
    assert!(stopped.is_stopped && stopped.opened.is_empty());
}

#[test]
fn a_ledger_that_names_more_than_anybody_reads_is_told_in_short_and_no_directory_is_walked_twice() {
    let mut desk = Desk::new();
    let directory = ObjectKind::Directory;
    let top = "C:\\Users\\bob\\deep";
    let all = SecurityDescriptor::from_sddl("O:SYG:SYD:(A;OICI;FA;;;SY)").unwrap();
    desk.files.add_directory(top, &all).unwrap();
    let mut place = top.to_owned();
    for _ in 0..20 {
        place.push_str("\\d");
        desk.files.add_directory(&place, &all).unwrap();
    }
    // More objects than are told, each closed to its person.
    let many = 3 * LISTED;
    for number in 0..many {
        let file = format!("{place}\\{number}");
        desk.files.add_file(&file, &closed_by(offline())).unwrap();
    }
    // Every directory on the way is named as a root of its own, the deepest first.
    let mut roots: Vec<PersonIntent> = path(&place)
        .ancestors()
        .filter(|above| above.starts_with(&path(top)))
        .map(|above| walk_of(desk.object(&above.to_string(), directory)))
        .collect();
    roots.insert(0, walk_of(desk.object(&place, directory)));
    // And paths that lead through a link: none of them can be opened.
    let through = (0..many).map(|number| {
        let id = FileId {
            volume: 9,
            file: u128::try_from(number).unwrap(),
        };
        let path = path(&format!("{ROOT}\\junction\\{number}"));
        walk_of(Object {
            path,
            id,
            kind: directory,
        })
    });
    roots.extend(through);
    let ledger = forged(&roots);
    let accounts = BTreeSet::from([offline()]);
    let mut visited = 0;
    let mut on = |count| {
        visited = count;
        ControlFlow::Continue(())
    };
    let done = open_closed(&ledger, (ada(), &accounts), &mut desk.files, &mut on);
    assert_eq!(
        visited,
        u64::try_from(many + 21 + 20).unwrap(),
        "each object once, and each root where it is met again"
    );
    let rest = u64::try_from(many - LISTED).unwrap();
    assert_eq!(
        (done.opened.first().len(), done.opened.more()),
        (LISTED, rest)
    );
    assert_eq!(
        (done.failed.first().len(), done.failed.more()),
        (LISTED, rest)
    );
    let cleansed = remove_our_entries(&ledger, &BTreeSet::from([offline()]), &mut desk.files);
    assert_eq!(
        (cleansed.failed.first().len(), cleansed.failed.more()),
        (LISTED, rest)
    );
    let mut go = |_| ControlFlow::Continue(());
    let found = leftover_of_files(
        &path(top),
        &BTreeSet::from([offline()]),
        &mut desk.files,
        &mut go,
    );
    let found = found.unwrap();
    assert_eq!((found.first().len(), found.more()), (LISTED, rest));
}

#[test]
fn a_damaged_ledger_is_used_as_far_as_it_goes() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let mut bytes = desk.store.durable().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let cleansed = remove_our_entries(&bytes, &ours(), &mut desk.files);
    assert!(cleansed.damage.is_some());
    assert!(!cleansed.changed.is_empty());
    let nul = remove_our_entries(&[0; 512], &ours(), &mut desk.files);
    assert_eq!(
        nul.damage,
        Some(Damage::Nul {
            record: Sequence(0)
        })
    );
    assert!(nul.changed.is_empty());
}

#[test]
fn what_the_person_left_behind_is_taken_off_by_set_up_and_found_by_the_scan() {
    let mut desk = Desk::new();
    let steps = desk.steps();
    desk.apply(&steps).unwrap();
    let top = path("C:\\");
    assert!(
        leftover_of_files(&top, &ours(), &mut desk.files, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
        .first()
        .len()
            > 5
    );
    let bytes = desk.store.durable().unwrap();
    let cleansed = remove_our_entries(&bytes, &ours(), &mut desk.files);
    assert!(
        cleansed.changed.first().len() > 5 && cleansed.damage.is_none(),
        "{cleansed:?}"
    );
    assert_eq!(
        leftover_of_files(&top, &ours(), &mut desk.files, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap(),
        Listing::default()
    );
    assert_eq!(carriers(&desk.files.tree), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_it_says_only_entries_of_ours_go(
        picks in prop::collection::vec((0_usize..24, 0_usize..24, any::<bool>()), 0..12),
    ) {
        let mut desk = Desk::new();
        let steps = desk.steps();
        desk.apply(&steps).unwrap();
        let before = nodes(&desk.files.tree);
        let places: Vec<_> = before
            .iter()
            .map(|(id, node)| (desk.files.tree.path_of(*id), *id, node.is_directory()))
            .collect();
        let intents: Vec<PersonIntent> = picks
            .iter()
            .map(|(one, other, right)| {
                let (text, _, directory) = &places[one % places.len()];
                let id = &places[if *right { *one } else { *other } % places.len()].1;
                let kind = if *directory { ObjectKind::Directory } else { ObjectKind::File };
                let id = FileId {
                    volume: 0x5eed_0000 + u64::from(id.volume.0),
                    file: u128::from(id.file),
                };
                intent(Object { path: path(text), id, kind })
            })
            .collect();
        remove_our_entries(&forged(&intents), &ours(), &mut desk.files);
        for ((_, was), (_, is)) in before.iter().zip(&nodes(&desk.files.tree)) {
            prop_assert_eq!(foreign_part(&was.descriptor), foreign_part(&is.descriptor));
            prop_assert!(
                is.descriptor.acl().unwrap().aces.iter().all(|ace| {
                    was.descriptor.acl().unwrap().aces.contains(ace)
                }),
                "nothing is added"
            );
        }
    }

    #[test]
    fn no_bytes_make_set_up_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut desk = Desk::new();
        let before = nodes(&desk.files.tree);
        remove_our_entries(&bytes, &ours(), &mut desk.files);
        prop_assert_eq!(nodes(&desk.files.tree), before);
    }
}
