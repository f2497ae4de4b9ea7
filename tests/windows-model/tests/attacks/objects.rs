//! Attacks on rights and descriptors (4, 8, 12, 13, 14, 15, 16).

use ringfence_nt::fs::{Caller, NewKind};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, ObjectKind, Securable, SecurableKind,
    SecurityDescriptor, Sid, Token, WriteClass, for_new,
};
use ringfence_plan::windows::launch::{bind_descriptor, bind_list};
use ringfence_windows_model::World;
use ringfence_windows_model::host::described;
use ringfence_windows_model::mutate::Mutation;
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::scene::Scene;

use super::{all_denied, attack, can_change, changes, find, opens, place, try_it};

const ALL: AccessMask = AccessMask::FILE_ALL_ACCESS;

#[test]
fn attack_04_rewrite_the_dacl_of_an_own_object() {
    attack(4, "rewrite the DACL of a self-owned object", |class| {
        let world = Scene::standard(class, None).unwrap();
        let built = find(&world.fs, "src\\built");
        let owner = world.fs.node(built).unwrap().descriptor.owner;
        assert_eq!(owner, Some(world.target.user), "control: it is its own");
        let mut without = world.clone();
        let bare = described(
            world.target.user,
            &[Ace::allow(AceFlags::NONE, ALL, Sid::SYSTEM)],
        );
        without.fs.node_mut(built).unwrap().descriptor = bare.into();
        let rewrite = Operation::Descriptor(place(&world.fs, "src\\built"), Shape::Open);
        assert!(
            try_it(&without, class, &rewrite).is_ok(),
            "control: an owner may"
        );
        all_denied(
            &world,
            class,
            &[rewrite, Operation::Own(place(&world.fs, "src\\a.rs"))],
        )
    });
}

#[test]
fn attack_08_children_with_lists_of_their_own() {
    attack(
        8,
        "children with protected DACLs or explicit allows",
        |class| {
            let children = [
                ".git\\hooks",
                ".git\\hooks\\pre-commit",
                "lib\\.git\\config",
            ];
            // One session alone: a second plan would see what the walk of the first left open.
            let skipping = Scene::two_roots(class, Some(Mutation::WalkSkipsExplicit)).unwrap();
            let lost = children.iter().any(|path| {
                // The second pass still holds most: what it does not cover shows under the narrow classes.
                can_change(&skipping.fs, &skipping.target, class, path)
            });
            assert!(
                lost || matches!(class, WriteClass::H2 | WriteClass::H3),
                "control"
            );
            let world = Scene::standard(class, None).unwrap();
            children
                .iter()
                .all(|path| !can_change(&world.fs, &world.target, class, path))
        },
    );
}

#[test]
fn attack_12_order_that_is_not_canonical() {
    attack(12, "non-canonical ACE order", |class| {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        let idea = scene.host.directory(&ann.path("ws\\.idea"), ann.sid);
        let list = [
            Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::EVERYONE),
            Ace::allow(AceFlags::INHERIT_ALL, ALL, ann.offline),
            Ace::deny(
                AceFlags::INHERIT_ALL,
                AccessMask::FILE_WRITE_DATA,
                Sid::GUESTS,
            ),
            Ace::allow(AceFlags::INHERIT_ALL, ALL, ann.sid),
        ];
        scene.host.describe(idea, described(ann.sid, &list));
        assert!(!Acl::new(list.to_vec()).is_canonical(), "control");
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let after = scene.host.descriptor(idea);
        after.acl().is_some_and(Acl::is_canonical)
            && !can_change(&scene.host.fs, &session.target, class, ".idea")
    });
}

/// Every object that is protected in the standard scene.
const PROTECTED: [&str; 6] = [
    ".git",
    ".git\\config",
    ".git\\hooks",
    ".git\\hooks\\pre-commit",
    "lib\\.git",
    "lib\\.git\\config",
];

#[test]
fn attack_13_each_write_bit_alone() {
    attack(13, "each write bit alone", |class| {
        let world = Scene::standard(class, None).unwrap();
        let open = |path: &str, right| opens(&world.fs, &world.target, class, path, right);
        let granted = changes().filter(|right| open("src\\a.rs", *right)).count();
        assert_eq!(granted, 5, "control: data, append, EA, attributes, DELETE");
        PROTECTED
            .iter()
            .all(|path| changes().all(|right| !open(path, right)))
    });
}

#[test]
fn attack_14_reads_still_work() {
    attack(14, "reads with SYNCHRONIZE still work", |class| {
        let world = Scene::standard(class, None).unwrap();
        let read = AccessMask::FILE_GENERIC_READ | AccessMask::FILE_GENERIC_EXECUTE;
        assert!(
            !opens(&world.fs, &world.target, class, ".env", read),
            "control: a secret"
        );
        PROTECTED
            .iter()
            .all(|path| opens(&world.fs, &world.target, class, path, read))
    });
}

/// Objects outside the roots that everyone, or everyone who is signed in, may write.
fn shared_places(scene: &mut Scene, owner: Sid) {
    scene.host.directory("D:\\shared", owner);
    let everyone = [
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::EVERYONE),
        Ace::allow(AceFlags::INHERIT_ALL, ALL, owner),
    ];
    let shared = scene.host.find("D:\\shared");
    scene
        .host
        .describe(shared, described(owner, &everyone).protected());
    scene.host.file("D:\\shared\\s.txt", owner);
}

#[test]
fn attack_15_places_that_anyone_may_write() {
    attack(
        15,
        "world-writable and Authenticated-Users-writable places",
        |class| {
            let mut scene = Scene::new(class);
            let ann = scene.ann.clone();
            scene.project(&ann.path("ws"), ann.sid);
            shared_places(&mut scene, ann.sid);
            let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
            let runner = Caller {
                token: &session.runner,
                class,
            };
            let shared = scene.host.find("D:\\shared");
            let by_runner = scene
                .host
                .fs
                .open_by_id(&runner, shared, AccessMask::FILE_WRITE_DATA);
            assert!(by_runner.is_err(), "the group is denied, the runner too");
            let data = scene.host.find("C:\\ProgramData");
            let by_runner = scene
                .host
                .fs
                .open_by_id(&runner, data, AccessMask::FILE_WRITE_DATA);
            assert!(
                by_runner.is_ok(),
                "control: the second pass is what keeps targets out"
            );
            [
                "D:\\data",
                "D:\\data\\shared.txt",
                "D:\\shared",
                "D:\\shared\\s.txt",
                "C:\\ProgramData",
            ]
            .iter()
            .all(|path| !can_change(&scene.host.fs, &session.target, class, path))
        },
    );
}

/// In a place of somebody else that grants Everyone `FILE_DELETE_CHILD`, only the second pass holds, and under H4 it
/// does not cover that right: files there can be deleted. The plan names such places.
#[test]
fn places_of_others_lose_files_where_delete_child_is_not_covered() {
    for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.directory(&ann.path("ws"), ann.sid);
        let bob = scene.bob.sid;
        shared_places(&mut scene, bob);
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let covered = class
            .rights(&GenericMapping::FILE)
            .contains(AccessMask::FILE_DELETE_CHILD);
        let lost = opens(
            &scene.host.fs,
            &session.target,
            class,
            "D:\\shared\\s.txt",
            AccessMask::DELETE,
        );
        assert_eq!(lost, !covered, "{class:?}");
    }
}

#[test]
fn attack_16_runner_token_pipe_siblings() {
    attack(
        16,
        "open the runner, its token or pipe, the console host, a sibling session",
        |class| {
            let world = Scene::standard(class, None).unwrap();
            assert!(
                world.guarded.len() > 15,
                "control: there is something to open"
            );
            let soft = Scene::standard(class, Some(Mutation::SoftRunner)).unwrap();
            assert!(!soft.broken_by_objects(class).is_empty(), "control");
            let hosts = world.guarded.iter();
            let hosts = hosts.filter(|one| one.name.contains("console host"));
            assert_eq!(hosts.count(), 4, "control: two siblings have one each");
            assert!(
                !runners_console_host(&world)
                    .reach(&world.target, class)
                    .is_empty(),
                "control: a host that an unhardened runner starts is open to targets"
            );
            world.broken_by_objects(class).is_empty()
        },
    );
}

/// What the runner needs on its own token: `CreateProcessAsUserW` opens it with `TOKEN_DUPLICATE | TOKEN_IMPERSONATE`, other
/// calls with `TOKEN_QUERY`. And it has to open what it makes, a target's process token among that.
#[test]
fn a_runner_reaches_its_own_token_and_what_it_makes_and_a_target_reaches_neither() {
    let needed = AccessMask(0x2 | 0x4 | 0x8);
    for class in WriteClass::ALL {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let launch = session.plan.launch.as_ref().unwrap();
        let hardening = launch.runner.as_ref().unwrap();
        let mut hardened = session.runner.clone();
        hardened.default_dacl = Some(bind_list(
            &hardening.default_dacl,
            session.sid,
            session.logon,
        ));
        let kind = SecurableKind::Token;
        let own = Securable {
            kind,
            descriptor: bind_descriptor(&hardening.token, session.sid, session.logon),
        };
        let made = Securable {
            kind,
            descriptor: for_new(None, &hardened, None, ObjectKind::Leaf, &kind.mapping()),
        };
        for object in [&own, &made] {
            assert!(
                object.reach(&session.runner, class).contains(needed),
                "{class:?}"
            );
            let taken = object.reach(&session.target, class) - AccessMask::READ_CONTROL;
            assert_eq!(taken, AccessMask::NONE, "{class:?}");
        }
        assert!(
            made.reach(&session.runner, class)
                .contains(AccessMask::WRITE_DAC)
        );
    }
}

/// A probe of the audit needs something of its own that it opens with every right, or what is refused to it elsewhere
/// shows nothing. A target's own process and token are not that; what it makes after it has set its default list is.
#[test]
fn a_target_opens_with_every_right_what_it_makes_open_and_not_itself() {
    for class in WriteClass::ALL {
        let world = Scene::standard(class, None).unwrap();
        let target = &world.target;
        let mut open = target.clone();
        let all = |sid| Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, sid);
        let sids = std::iter::once(target.user).chain(target.restriction.sids().iter().copied());
        open.default_dacl = Some(sids.map(all).collect());
        for kind in [
            SecurableKind::Process,
            SecurableKind::Thread,
            SecurableKind::Token,
        ] {
            let whole = kind.mapping().all;
            let reached = |by: &Token| {
                let descriptor = for_new(None, by, None, ObjectKind::Leaf, &kind.mapping());
                Securable { kind, descriptor }.reach(target, class)
            };
            assert!(reached(&open).contains(whole), "{kind:?} {class:?}");
            assert!(
                !reached(target).contains(AccessMask::WRITE_DAC),
                "{kind:?} {class:?}"
            );
        }
    }
}

/// The token of a program that a target starts has the target's default list. With generic read in it, every session of
/// the account could copy that token, and act with the write grants in it; no second pass covers a copy.
#[test]
fn no_session_copies_the_token_of_what_another_sessions_target_starts() {
    let copy = AccessMask(0x2);
    for class in WriteClass::ALL {
        let copied = |mutation: Option<Mutation>| {
            let world = Scene::standard(class, mutation).unwrap();
            let mut tokens = world
                .guarded
                .iter()
                .filter(|one| one.name.contains("token of what a target starts"))
                .peekable();
            assert!(tokens.peek().is_some(), "there is a sibling");
            tokens.any(|one| one.object.open(&world.target, copy, class).is_granted())
        };
        assert!(
            copied(Some(Mutation::ReadableDefault)),
            "control: {class:?}"
        );
        assert!(!copied(None), "{class:?}");
    }
}

/// A console host as a runner makes it that keeps the default DACL of its user.
fn runners_console_host(world: &World) -> Securable {
    let all = |sid| Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, sid);
    let user = world.target.user;
    let mut runner = Token::new(user, &[]);
    runner.default_dacl = Some(Acl::new(vec![all(user), all(Sid::SYSTEM)]));
    let kind = SecurableKind::Process;
    Securable {
        kind,
        descriptor: for_new(None, &runner, None, ObjectKind::Leaf, &kind.mapping()),
    }
}

/// A creating handle may do anything, so a target's own object has any descriptor it likes: nobody else's has.
#[test]
fn what_a_target_makes_it_may_describe() {
    let class = WriteClass::H2;
    let world = Scene::standard(class, None).unwrap();
    let made = Operation::Create(place(&world.fs, "n"), NewKind::Directory, Shape::Closed);
    let after = try_it(&world, class, &made).unwrap();
    let closed: &SecurityDescriptor = &after.node(find(&after, "n")).unwrap().descriptor;
    assert_eq!(closed.acl(), Some(&Acl::default()));
    // The person still gets rid of it: the directory above lets them.
    assert!(opens(
        &after,
        &world.harness,
        class,
        "n",
        AccessMask::DELETE
    ));
}
