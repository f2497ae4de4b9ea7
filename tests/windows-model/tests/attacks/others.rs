//! Attacks on other people and other sessions (19, 21).

use ringfence_nt::AccessMask;
use ringfence_nt::fs::{NewKind, Replace};
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
