//! Attacks by other ways to the same object, and on what our own walk reaches (5, 6, 9, 17).

use ringfence_nt::WriteClass;
use ringfence_nt::fs::{Caller, FileSystem, FinalReparse, LinkRule, NewKind, ReparseKind, Replace};
use ringfence_nt::{AccessMask, Token};
use ringfence_windows_model::carry::{Walking, carry_out};
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::promise::Promise;
use ringfence_windows_model::scene::{Scene, Session};
use ringfence_windows_model::search::{Beyond, Bounds, search};

use super::{WS, attack, can_change, place, try_it};

/// The policy under which a root gets another capability, so that the whole root is walked again.
const OTHER: &str = "[filesystem]\ngit = \"full\"\n";

/// A project, a session on it, and what its target did to it.
fn after(class: WriteClass, rule: LinkRule, operations: &[(&str, Made)]) -> (Scene, Session) {
    let mut scene = Scene::new(class);
    let ann = scene.ann.clone();
    scene.project(&ann.path("ws"), ann.sid);
    scene.host.directory(&ann.path("outside"), ann.sid);
    scene.host.file(&ann.path("outside\\o.txt"), ann.sid);
    // Readable to Users, as on a data drive: else it could not even be opened to be linked.
    let outside = scene.host.find(&ann.path("outside\\o.txt"));
    let mut own = scene.host.descriptor(outside);
    if let ringfence_nt::Dacl::Present(acl) = &mut own.dacl {
        let read = ringfence_nt::Ace::allow(
            ringfence_nt::AceFlags::NONE,
            AccessMask::FILE_GENERIC_READ,
            ringfence_nt::Sid::USERS,
        );
        acl.aces.push(read);
    }
    scene.host.describe(outside, own);
    scene.host.fs.link_rule = rule;
    let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
    for (path, made) in operations {
        let world = scene.world("walked", &session, &[]);
        let operation = made.operation(&world.fs, path);
        let done = try_it(&world, class, &operation);
        scene.host.fs = done.unwrap_or_else(|status| panic!("{path}: {status}"));
    }
    (scene, session)
}

#[derive(Clone, Copy)]
enum Made {
    Directory,
    LinkTo(&'static str),
    JunctionTo(&'static str),
    MovedTo(&'static str),
}

impl Made {
    fn operation(self, fs: &FileSystem, path: &str) -> Operation {
        let at = place(fs, path);
        match self {
            Self::Directory => Operation::Create(at, NewKind::Directory, Shape::Inherited),
            Self::LinkTo(target) => Operation::Link(place(fs, target), at, Replace::No),
            Self::JunctionTo(target) => {
                Operation::Redirect(at, ReparseKind::Junction, target.to_owned())
            }
            Self::MovedTo(target) => Operation::Rename(at, place(fs, target), Replace::No),
        }
    }
}

const OUTSIDE: &str = "C:\\Users\\ann\\outside";
const OUTSIDE_FILE: &str = "C:\\Users\\ann\\outside\\o.txt";

#[test]
fn attack_05_hard_link_for_our_walk() {
    attack(
        5,
        "plant a hard link so that our walk reaches an outside file",
        |class| {
            // The worst rule: any handle makes a link.
            let planted = [("src\\n", Made::LinkTo(OUTSIDE_FILE))];
            let (mut scene, _) = after(class, LinkRule::AnyHandle, &planted);
            let ann = scene.ann.clone();
            let next = scene.start(&ann, &ann.path("ws"), OTHER).unwrap();
            let fs = &scene.host.fs;
            assert!(!next.done.is_empty(), "control: the root was walked again");
            assert!(can_change(fs, &next.target, class, "src\\a.rs"), "control");
            !can_change(fs, &next.target, class, OUTSIDE_FILE)
        },
    );
}

/// What one policy leaves open gets a second name, which a later policy knows nothing of: whichever name the walk meets
/// first, the file stays as the protected one.
#[test]
fn a_name_given_under_a_wider_policy_opens_nothing_under_a_narrower_one() {
    for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
        for planted in ["!first", "zlast"] {
            let mut scene = Scene::new(class);
            let ann = scene.ann.clone();
            scene.project(WS, ann.sid);
            let wide = scene.start(&ann, WS, OTHER).unwrap();
            let world = scene.world("planted", &wide, &[]);
            let link = Operation::Link(
                place(&world.fs, ".git\\config"),
                place(&world.fs, planted),
                Replace::No,
            );
            scene.host.fs = try_it(&world, class, &link).unwrap();
            assert!(
                can_change(&scene.host.fs, &wide.target, class, planted),
                "control"
            );
            let narrow = scene.start(&ann, WS, "").unwrap();
            for name in [planted, ".git\\config"] {
                let changed = can_change(&scene.host.fs, &narrow.target, class, name);
                assert!(!changed, "{name} under {class:?}");
            }
            let again = scene.plan(&ann, WS, "").unwrap();
            assert_eq!(again.person_steps, [], "the next command has nothing to do");
        }
    }
}

#[test]
fn attack_06_junction_for_our_walk() {
    attack(
        6,
        "plant a junction or symlink so that our walk leaves the root",
        |class| {
            let planted = [
                ("src\\n", Made::Directory),
                ("src\\n", Made::JunctionTo(OUTSIDE)),
            ];
            let (mut scene, _) = after(class, LinkRule::WriteAttributes, &planted);
            let ann = scene.ann.clone();
            let before = scene.host.descriptor(scene.host.find(OUTSIDE_FILE));
            let next = scene.start(&ann, &ann.path("ws"), OTHER).unwrap();
            let fs = &scene.host.fs;
            assert!(can_change(fs, &next.target, class, "src\\a.rs"), "control");
            assert_eq!(
                fs.find(&format!("{WS}\\src\\n\\o.txt")),
                fs.find(OUTSIDE_FILE),
                "control"
            );
            before == scene.host.descriptor(scene.host.find(OUTSIDE_FILE))
                && !can_change(fs, &next.target, class, OUTSIDE_FILE)
        },
    );
}

#[test]
fn attack_17_swap_a_path_between_plan_and_steps() {
    attack(
        17,
        "swap a path between check and use; edit either ledger",
        |class| {
            let (mut scene, session) = after(class, LinkRule::WriteAttributes, &[]);
            let ann = scene.ann.clone();
            let plan = scene.plan(&ann, &ann.path("ws"), OTHER).unwrap();
            // Between plan and steps: the directory's name leads elsewhere now.
            for (path, made) in [
                ("src", Made::MovedTo("moved")),
                ("src", Made::Directory),
                ("src", Made::JunctionTo(OUTSIDE)),
            ] {
                let world = scene.world("swapped", &session, &[]);
                let operation = made.operation(&world.fs, path);
                scene.host.fs = try_it(&world, class, &operation).unwrap();
            }
            let before = scene.host.descriptor(scene.host.find(OUTSIDE_FILE));
            let done = carry_out(&mut scene.host.fs, &plan, Walking::Whole);
            assert!(!done.is_empty(), "control: there was something to do");
            before == scene.host.descriptor(scene.host.find(OUTSIDE_FILE))
                && !can_change(&scene.host.fs, &session.target, class, OUTSIDE_FILE)
        },
    );
}

fn opens_path(
    fs: &FileSystem,
    token: &Token,
    class: WriteClass,
    path: &str,
    right: AccessMask,
) -> bool {
    let caller = Caller { token, class };
    fs.open(&caller, path, right, FinalReparse::Follow).is_ok()
}

#[test]
fn attack_09_other_spellings() {
    attack(
        9,
        "streams, trailing dots, case, 8.3, device paths, file id",
        |class| {
            let world = Scene::standard(class, None).unwrap();
            let spellings = |path: &str| {
                let below = path.strip_prefix("C:").unwrap();
                [
                    path.to_uppercase(),
                    path.replace('\\', "/"),
                    format!("{path}. ."),
                    format!("{path}::$DATA"),
                    format!("\\\\?\\C:{below}"),
                    format!("\\\\.\\C:{below}"),
                    format!("\\\\localhost\\c${below}"),
                    format!("\\\\?\\GLOBALROOT\\Device\\HarddiskVolume3{below}"),
                    path.replace(".git", "GIT~1"),
                    path.replace(".git", ".git::$INDEX_ALLOCATION"),
                ]
            };
            let opens =
                |path: &str, right| opens_path(&world.fs, &world.target, class, path, right);
            for spelling in spellings(&format!("{WS}\\src\\a.rs")) {
                assert!(
                    opens(&spelling, AccessMask::FILE_WRITE_DATA),
                    "control: {spelling}"
                );
            }
            let caller = Caller {
                token: &world.target,
                class,
            };
            let config = format!("{WS}\\.git\\config");
            let stream =
                world
                    .fs
                    .clone()
                    .create(&caller, &format!("{config}:evil"), NewKind::File, None);
            let on_directory =
                world
                    .fs
                    .clone()
                    .create(&caller, &format!("{WS}\\.git:evil"), NewKind::File, None);
            stream.is_err()
                && on_directory.is_err()
                && spellings(&config).iter().all(|spelling| {
                    assert!(
                        opens(spelling, AccessMask::FILE_READ_DATA),
                        "control: {spelling}"
                    );
                    super::changes().all(|right| !opens(spelling, right))
                })
                && !can_change(&world.fs, &world.target, class, ".git\\config")
        },
    );
}

/// If any handle may link a file, a file that is only readable can be carried into a directory of the target's own,
/// whose `FILE_DELETE_CHILD` lets it be superseded: so what a link asks for is measured, and the plan says what it is.
#[test]
fn links_by_any_handle_would_break_protected_files() {
    let class = WriteClass::H2;
    let bounds = Bounds {
        depth: 3,
        made: 1,
        links: 1,
        states: 30_000,
        beyond: Beyond::Stop,
    };
    for rule in [LinkRule::WriteAttributes, LinkRule::AnyHandle] {
        let mut world = Scene::standard(class, None).unwrap();
        world.name = format!("links by {rule:?}");
        world.fs.link_rule = rule;
        world.redirects.clear();
        world.names = vec![ringfence_windows_model::host::name("n")];
        let report = search(&world, class, &bounds);
        println!("{report}");
        let broken: Vec<Promise> = report.broken.keys().copied().collect();
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.fs.link_rule = rule;
        scene.project(WS, ann.sid);
        let session = scene.start(&ann, WS, "").unwrap();
        let missing: Vec<&str> = session.plan.missing.iter().map(|one| &*one.what).collect();
        let (breaks, says): (&[Promise], &[&str]) = match rule {
            LinkRule::WriteAttributes => (&[], &[]),
            LinkRule::AnyHandle => (
                &[Promise::ProtectedUnchanged, Promise::OutsideUnwritten],
                &["read-only-files"],
            ),
        };
        assert_eq!((&broken[..], &missing[..]), (breaks, says), "{rule:?}");
        let verdict = match breaks {
            [] => "every promise holds".to_owned(),
            some => {
                let words: Vec<String> = some.iter().map(ToString::to_string).collect();
                format!("breaks {}; the plan is partial", words.join(", "))
            }
        };
        let asked = format!("a further name asks for {rule:?}");
        ringfence_windows_model::figures::record(&["axis", &asked, &verdict]);
    }
}
