//! Attacks on names: deleting, renaming, creating what is guarded (1, 2, 3, 7, 10, 11).

use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Control, CreatorDescriptor, Dacl, Sid, WriteClass,
};

use ringfence_nt::fs::{Caller, NewKind, Replace};
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::promise::{guarded_names, unswept};
use ringfence_windows_model::scene::{Scene, harness};

use super::{WS, all_denied, attack, can_change, find, opens, place, try_it};

#[test]
fn attack_01_delete_through_parent() {
    attack(1, "delete or rename .git through its parent", |class| {
        // Everyone has FILE_DELETE_CHILD on the root here, by somebody else's entry.
        let world = Scene::shared(class, None).unwrap();
        let at = |path: &str| place(&world.fs, path);
        let control = Operation::Rename(at("src"), at("n"), Replace::No);
        assert!(try_it(&world, class, &control).is_ok(), "control");
        all_denied(
            &world,
            class,
            &[
                Operation::Delete(at(".git\\config")),
                Operation::Supersede(at(".git\\config")),
                Operation::Delete(at(".git\\hooks\\pre-commit")),
                Operation::Rename(at(".git"), at("n"), Replace::No),
                Operation::Rename(at(".git\\hooks"), at("n"), Replace::No),
                Operation::Rename(at("lib\\.git"), at("lib\\n"), Replace::No),
                Operation::Rename(at("src\\a.rs"), at(".git\\config"), Replace::Yes),
            ],
        )
    });
}

#[test]
fn attack_02_rename_the_workspace_or_what_lies_above() {
    attack(
        2,
        "rename the workspace or an ancestor and rebuild it",
        |class| {
            let world = Scene::standard(class, None).unwrap();
            let at = |path: &str| place(&world.fs, path);
            let control = Operation::Rename(at("src"), at("lib\\n"), Replace::No);
            assert!(try_it(&world, class, &control).is_ok(), "control");
            all_denied(
                &world,
                class,
                &[
                    Operation::Rename(at(WS), at("C:\\Users\\ann\\n"), Replace::No),
                    Operation::Rename(at("C:\\Users\\ann"), at("C:\\Users\\n"), Replace::No),
                    Operation::Rename(at("C:\\Users"), at("C:\\n"), Replace::No),
                    Operation::Rename(at("lib"), at("n"), Replace::No),
                    Operation::Rename(at("lib"), at("src\\n"), Replace::No),
                ],
            )
        },
    );
}

#[test]
fn attack_03_create_what_is_absent() {
    attack(3, "create .git, .codex, .agents where absent", |class| {
        let mut world = Scene::standard(class, None).unwrap();
        let guarded = ["AGENTS.md", ".agents", ".codex", "lib\\.codex"];
        world.absent = guarded.map(|own| place(&world.fs, own)).into();
        let shapes = [Shape::Inherited, Shape::Open, Shape::Closed];
        guarded.iter().all(|own| {
            shapes.iter().all(|shape| {
                [NewKind::File, NewKind::Directory].iter().all(|kind| {
                    let made = Operation::Create(place(&world.fs, own), *kind, *shape);
                    // It can be made: NTFS denies no name that does not exist. The sweep must take it away.
                    let after = try_it(&world, class, &made).unwrap();
                    assert!(!guarded_names(&world, &after).is_empty(), "control: {own}");
                    unswept(&world, &after, class).is_none()
                })
            })
        })
    });
}

#[test]
fn attack_07_git_as_a_file() {
    attack(7, ".git as a file, the repository outside", |class| {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        for directory in [
            "ws",
            "repository",
            "repository\\worktrees",
            "repository\\worktrees\\ws",
        ] {
            scene.host.directory(&ann.path(directory), ann.sid);
        }
        for file in [
            "ws\\.git",
            "ws\\a.txt",
            "repository\\config",
            "repository\\worktrees\\ws\\commondir",
        ] {
            scene.host.file(&ann.path(file), ann.sid);
        }
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let fs = &scene.host.fs;
        let target = &session.target;
        assert!(can_change(fs, target, class, "a.txt"), "control");
        [
            ".git",
            "C:\\Users\\ann\\repository\\config",
            "C:\\Users\\ann\\repository\\worktrees\\ws\\commondir",
        ]
        .iter()
        .all(|path| !can_change(fs, target, class, path))
    });
}

#[test]
fn attack_10_case_sensitivity() {
    attack(10, "per-directory case sensitivity", |class| {
        let world = Scene::standard(class, None).unwrap();
        let told = Operation::TellCase(place(&world.fs, WS));
        let mut sensitive = world.clone();
        sensitive.fs = try_it(&world, class, &told).unwrap();
        let made = Operation::Create(place(&world.fs, ".CODEX"), NewKind::Directory, Shape::Open);
        let both = try_it(&sensitive, class, &made).unwrap();
        assert!(!guarded_names(&world, &both).is_empty(), "control");
        let upper = Operation::Create(place(&world.fs, ".GIT"), NewKind::Directory, Shape::Open);
        let beside = try_it(&sensitive, class, &upper).unwrap();
        assert_eq!(
            find(&beside, ".git"),
            find(&world.fs, ".git"),
            "the exact name wins"
        );
        unswept(&world, &both, class).is_none()
            && !can_change(&beside, &world.target, class, ".git")
    });
}

#[test]
fn attack_11_carry_a_file_into_a_trusted_directory() {
    attack(
        11,
        "carry a writable file into a trusted directory, a root into another",
        |class| {
            let mut scene = Scene::new(class);
            let ann = scene.ann.clone();
            scene.project(&ann.path("ws"), ann.sid);
            scene.host.directory(&ann.path("second"), ann.sid);
            scene.host.file(&ann.path("second\\s.txt"), ann.sid);
            let policy = "[filesystem]\nwritable_roots = [\"C:/Users/ann/second\"]\n";
            let session = scene.start(&ann, &ann.path("ws"), policy).unwrap();
            let world = scene.world("two roots of one policy", &session, &[]);
            let at = |path: &str| place(&world.fs, path);
            let control = Operation::Rename(
                at("src\\a.rs"),
                at("C:\\Users\\ann\\second\\n"),
                Replace::No,
            );
            assert!(try_it(&world, class, &control).is_ok(), "control");
            all_denied(
                &world,
                class,
                &[
                    Operation::Rename(at("src\\a.rs"), at(".git\\hooks\\post-commit"), Replace::No),
                    Operation::Rename(at("src"), at(".git\\n"), Replace::No),
                    Operation::Rename(at("C:\\Users\\ann\\second"), at("n"), Replace::No),
                    Operation::Rename(at("src\\a.rs"), at("C:\\Windows\\n.dll"), Replace::No),
                    Operation::Link(at("src\\a.rs"), at(".git\\hooks\\post-commit"), Replace::No),
                ],
            )
        },
    );
}

/// What moved between two roots of one policy keeps the entries of where it was made: a later session of that root
/// alone still writes it. The walk of the other root's next change, or `setup repair`, takes that away.
#[test]
fn a_moved_file_stays_writable_to_the_root_it_came_from() {
    let class = WriteClass::H2;
    let mut scene = Scene::new(class);
    let ann = scene.ann.clone();
    scene.host.directory(&ann.path("ws"), ann.sid);
    scene.host.file(&ann.path("ws\\a.txt"), ann.sid);
    scene.host.directory(&ann.path("second"), ann.sid);
    let policy = "[filesystem]\nwritable_roots = [\"C:/Users/ann/second\"]\n";
    let both = scene.start(&ann, &ann.path("ws"), policy).unwrap();
    let world = scene.world("two roots of one policy", &both, &[]);
    let moved = place(&world.fs, "C:\\Users\\ann\\second\\a.txt");
    let operation = Operation::Rename(place(&world.fs, "a.txt"), moved, Replace::No);
    scene.host.fs = try_it(&world, class, &operation).unwrap();
    let alone = scene.start(&ann, &ann.path("ws"), "").unwrap();
    let path = "C:\\Users\\ann\\second\\a.txt";
    assert!(can_change(&scene.host.fs, &alone.target, class, path));
}

/// The person's new file, renamed over another one of the workspace, as editors and checkouts do it.
fn replace(scene: &mut Scene, class: WriteClass, old: &str) {
    let person = harness(&scene.ann);
    let caller = Caller {
        token: &person,
        class,
    };
    let mut fs = scene.host.fs.clone();
    for operation in [
        Operation::Create(place(&fs, "new.tmp"), NewKind::File, Shape::Inherited),
        Operation::Rename(place(&fs, "new.tmp"), place(&fs, old), Replace::Yes),
    ] {
        fs = operation.carry_out(&fs, &caller).unwrap();
    }
    scene.host.fs = fs;
}

/// What replaces a protected file or a secret has what the root gives to all that is made in it. The session's watch
/// plans anew, which closes it; until then it is open to a running target.
#[test]
fn what_the_person_puts_in_place_of_a_protected_name_is_closed_by_the_next_plan() {
    for class in WriteClass::ALL {
        if !class.holds_a_boundary() {
            continue;
        }
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        let agent = ann.path("ws\\.mcp.json");
        scene.host.file(&agent, ann.sid);
        let secret = ann.path("ws\\.env");
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let target = &session.target;
        let is_open = |scene: &Scene| {
            let fs = &scene.host.fs;
            let read = AccessMask::FILE_READ_DATA;
            [
                can_change(fs, target, class, &agent),
                opens(fs, target, class, &secret, read),
            ]
        };
        assert_eq!(is_open(&scene), [false, false], "control");
        for old in [".mcp.json", ".env"] {
            replace(&mut scene, class, old);
        }
        assert_eq!(
            is_open(&scene),
            [true, true],
            "the window, without which this shows nothing"
        );
        let again = scene.start(&ann, &ann.path("ws"), "").unwrap();
        assert!(!again.done.is_empty());
        assert_eq!(
            is_open(&scene),
            [false, false],
            "to the session that goes on, too"
        );
    }
}

/// What a move takes into a closed directory: a file, a directory with what it holds, and what a target made with a
/// list of its own.
const MOVES: [(&str, &str, &str); 4] = [
    ("src\\a.rs", ".git\\hooks\\pre-commit", ""),
    ("scripts", ".git\\hooks\\tools", "\\deep\\run"),
    ("src\\own", ".git\\own", ""),
    ("src\\kept", ".aws\\credentials", ""),
];

/// A file of the workspace that the person moves into a closed directory keeps what the root gave it. The directory's own
/// list is as it was: the observer tells the stray, and the next plan closes it.
#[test]
fn attack_11_what_the_person_moves_into_a_closed_directory_is_closed_by_the_next_plan() {
    attack(
        11,
        "write what the person moved into a protected directory",
        |class| {
            let mut scene = Scene::new(class);
            let ann = scene.ann.clone();
            scene.project(&ann.path("ws"), ann.sid);
            scene.host.directory(&ann.path("ws\\scripts"), ann.sid);
            scene
                .host
                .directory(&ann.path("ws\\scripts\\deep"), ann.sid);
            scene
                .host
                .file(&ann.path("ws\\scripts\\deep\\run"), ann.sid);
            scene.host.file(&ann.path("ws\\src\\kept"), ann.sid);
            scene.host.directory(&ann.path("ws\\.aws"), ann.sid);
            let policy = "[filesystem]\ndeny_read = [\"**/.aws\"]\n";
            let session = scene.start(&ann, &ann.path("ws"), policy).unwrap();
            let everyone = [
                Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, Sid::EVERYONE),
                Ace::allow(
                    AceFlags::NONE,
                    AccessMask::FILE_MODIFY,
                    session.plan.roots[0].capability,
                ),
            ];
            let own = CreatorDescriptor {
                dacl: Some(Dacl::Present(Acl::new(everyone.to_vec()))),
                control: Control::DACL_PROTECTED,
                ..CreatorDescriptor::default()
            };
            let made = ann.path("ws\\src\\own");
            scene
                .make(&session, &made, NewKind::File, Some(&own))
                .unwrap();
            for (from, to, _) in MOVES {
                let place = |path: &str| ann.path(&format!("ws\\{path}"));
                scene.person_moves(&ann, &place(from), &place(to)).unwrap();
            }
            let target = &session.target;
            let is_open = |scene: &Scene| {
                MOVES.map(|(_, to, below)| {
                    let path = ann.path(&format!("ws\\{to}{below}"));
                    can_change(&scene.host.fs, target, class, &path)
                })
            };
            let read = AccessMask::FILE_READ_DATA;
            let secret = ann.path("ws\\.aws\\credentials");
            assert_eq!(
                is_open(&scene),
                [true; 4],
                "the control: a move keeps the list"
            );
            assert!(
                opens(&scene.host.fs, target, class, &secret, read),
                "control"
            );
            let again = scene.start(&ann, &ann.path("ws"), policy).unwrap();
            assert!(!again.done.is_empty(), "control");
            let is_held = is_open(&scene) == [false; 4]
                && !opens(&scene.host.fs, target, class, &secret, read);
            let idle = scene.start(&ann, &ann.path("ws"), policy).unwrap();
            assert_eq!(idle.done, [], "what is closed is not written again");
            is_held
        },
    );
}
