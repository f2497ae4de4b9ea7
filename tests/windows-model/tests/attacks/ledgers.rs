//! Attacks on the two ledgers, and by them (17).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_backend::fault::Faults;
use ringfence_backend::ledger::{Ledger, MemoryStore};
use ringfence_backend::windows::fake::FakeFiles;
use ringfence_backend::windows::{PersonBook, PersonIntent, remove_our_entries, sids_of};
use ringfence_nt::fs::{NewKind, Replace};
use ringfence_nt::{AccessMask, Ace, AceFlags, Dacl, SecurityDescriptor, Sid};
use ringfence_plan::windows::step::Purpose;
use ringfence_windows_model::carry::object;
use ringfence_windows_model::host::described;
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::scene::Scene;

use super::{WS, all_denied, attack, can_change, place, try_it};

const PERSONS: &str = "C:\\Users\\ann\\AppData\\Local\\Ringfence\\person.ledger";
const MACHINES: &str = "C:\\ProgramData\\Ringfence\\machine.ledger";

#[test]
fn attack_17_edit_either_ledger() {
    attack(
        17,
        "swap a path between check and use; edit either ledger",
        |class| {
            let mut scene = Scene::new(class);
            let ann = scene.ann.clone();
            scene.project(WS, ann.sid);
            scene.host.file(PERSONS, ann.sid);
            let session = scene.start(&ann, WS, "").unwrap();
            if scene.host.fs.find("C:\\ProgramData\\Ringfence").is_err() {
                scene
                    .host
                    .directory("C:\\ProgramData\\Ringfence", Sid::SYSTEM);
            }
            scene.host.file(MACHINES, Sid::SYSTEM);
            let world = scene.world("ledgers", &session, &[]);
            let at = |path: &str| place(&world.fs, path);
            let control = Operation::Create(at("n"), NewKind::File, Shape::Open);
            assert!(try_it(&world, class, &control).is_ok(), "control");
            [PERSONS, MACHINES].iter().all(|ledger| {
                let beside = at(&format!("{ledger}.new"));
                !can_change(&world.fs, &world.target, class, ledger)
                    && all_denied(
                        &world,
                        class,
                        &[
                            Operation::Delete(at(ledger)),
                            Operation::Supersede(at(ledger)),
                            Operation::Rename(at(ledger), at("n"), Replace::No),
                            Operation::Rename(at("src\\a.rs"), at(ledger), Replace::Yes),
                            Operation::Create(beside, NewKind::File, Shape::Open),
                        ],
                    )
            })
        },
    );
}

/// A person may write what they like into their own ledger: the elevated program takes entries of ours off what it
/// names, and puts nothing anywhere.
#[test]
fn a_forged_ledger_makes_the_elevated_program_give_nothing() {
    let mut scene = Scene::new(ringfence_nt::WriteClass::H2);
    let (ann, bob) = (scene.ann.clone(), scene.bob.clone());
    scene.project(WS, ann.sid);
    let plan = scene.start(&ann, WS, "").unwrap().plan;
    let ours: BTreeSet<Sid> = sids_of(&plan);
    let theirs = scene.host.file("C:\\Users\\bob\\theirs.txt", bob.sid);
    let mut marked = scene.host.descriptor(theirs);
    let bare = marked.clone();
    if let Dacl::Present(acl) = &mut marked.dacl {
        let group = plan.accounts.sids().unwrap().group;
        acl.aces
            .insert(0, Ace::deny(AceFlags::NONE, AccessMask::DELETE, group));
    }
    scene.host.describe(theirs, marked);

    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut forged: Ledger<PersonBook, MemoryStore> = Ledger::open(store.clone()).unwrap();
    let everything = Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, ann.sid);
    let open = described(ann.sid, &[everything]);
    let (before, after) = (
        forged.number_of(&open).unwrap(),
        forged.number_of(&SecurityDescriptor::clone(&open)).unwrap(),
    );
    for path in ["C:\\Users\\bob\\theirs.txt", "C:\\Windows\\kernel32.dll"] {
        let intent = PersonIntent::SetDacl {
            object: object(&scene.host.fs, scene.host.find(path)),
            purpose: Purpose::Root,
            before,
            after,
        };
        forged.intend(intent).unwrap();
    }
    forged.flush().unwrap();

    let library = scene.host.find("C:\\Windows\\kernel32.dll");
    let untouched = scene.host.descriptor(library);
    let mut files = FakeFiles::over(scene.host.fs.clone(), &faults);
    let bytes = store.durable().unwrap();
    let done = remove_our_entries(
        &bytes,
        &ours,
        &mut files,
        &mut |_| ControlFlow::Continue(()),
    );
    assert_eq!(
        done.changed.first().len(),
        1,
        "the control: what is ours goes"
    );
    let now = |id| files.tree.node(id).unwrap().descriptor.as_ref().clone();
    assert_eq!(now(theirs).dacl, bare.dacl);
    assert_eq!(now(library), untouched);
}
