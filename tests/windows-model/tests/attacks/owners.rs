//! What the accounts own: an owner may rewrite a list unless an OWNER RIGHTS entry says otherwise, and an earlier session
//! chose what it made (4, 8, 18).

use ringfence_nt::fs::{NewKind, Replace};
use ringfence_nt::{
    AccessMask, Control, CreatorDescriptor, Dacl, GenericMapping, WriteClass, maximum_allowed,
};
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::scene::{Scene, Session};

use super::{WS, place, try_it};

const HELD: [WriteClass; 3] = [WriteClass::H2, WriteClass::H3, WriteClass::H4];

fn reach(scene: &Scene, session: &Session, path: &str) -> AccessMask {
    let descriptor = scene.host.descriptor(scene.host.find(path));
    maximum_allowed(
        &descriptor,
        &session.target,
        &GenericMapping::FILE,
        scene.class,
    )
}

fn rewrites(scene: &Scene, session: &Session, path: &str) -> bool {
    let world = scene.world("owned", session, &[]);
    let rewritten = Operation::Descriptor(place(&world.fs, path), Shape::Open);
    try_it(&world, scene.class, &rewritten).is_ok()
}

/// A list of the target's own that gives everything to everybody it can think of.
fn open(session: &Session) -> CreatorDescriptor {
    CreatorDescriptor {
        dacl: Some(Dacl::Present(Shape::Open.acl(&session.target))),
        control: Control::DACL_PROTECTED,
        ..CreatorDescriptor::default()
    }
}

/// A command makes a `.env`, the person fills it in, and the next session must not read it, nor make itself able to.
#[test]
fn a_secret_that_the_account_made_is_closed_to_it() {
    for class in HELD {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.directory(WS, ann.sid);
        let first = scene.start(&ann, WS, "").unwrap();
        let (plain, own) = (format!("{WS}\\.env"), format!("{WS}\\.env.own"));
        scene.make(&first, &plain, NewKind::File, None).unwrap();
        scene
            .make(&first, &own, NewKind::File, Some(&open(&first)))
            .unwrap();
        let read = AccessMask::FILE_READ_DATA;
        assert!(reach(&scene, &first, &plain).contains(read), "the control");
        scene.end_command(&first);
        let second = scene.start(&ann, WS, "").unwrap();
        for path in [&plain, &own] {
            let got = reach(&scene, &second, path);
            assert!(!got.intersects(AccessMask(0x000d_0029)), "{class:?}: {got}");
            assert!(!rewrites(&scene, &second, path), "{class:?} {path}");
            let person = ringfence_windows_model::scene::harness(&ann);
            let theirs = scene.host.descriptor(scene.host.find(path));
            let theirs = maximum_allowed(&theirs, &person, &GenericMapping::FILE, class);
            assert!(theirs.contains(read | AccessMask::FILE_WRITE_DATA));
        }
    }
}

/// The same in a directory that becomes a secret: what a command put into it, with one name and with two.
#[test]
fn what_the_account_made_in_a_secret_directory_is_closed_to_it() {
    for class in HELD {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.directory(WS, ann.sid);
        let first = scene.start(&ann, WS, "").unwrap();
        let keys = format!("{WS}\\keys");
        scene.make(&first, &keys, NewKind::Directory, None).unwrap();
        let closed = CreatorDescriptor {
            dacl: Some(Dacl::Present(Shape::Closed.acl(&first.target))),
            ..open(&first)
        };
        let made: [(&str, Option<&CreatorDescriptor>); 4] = [
            ("plain", None),
            ("open", Some(&open(&first))),
            ("closed", Some(&closed)),
            ("linked", None),
        ];
        for (name, given) in made {
            let path = format!("{keys}\\{name}");
            scene.make(&first, &path, NewKind::File, given).unwrap();
        }
        let linked = format!("{keys}\\linked");
        let home = first.plan.roots[0].home.to_string();
        let world = scene.world("linked", &first, &[]);
        let second_name = place(&world.fs, &format!("{home}\\n"));
        let link = Operation::Link(place(&world.fs, &linked), second_name, Replace::No);
        scene.host.fs = try_it(&world, class, &link).unwrap();
        scene.end_command(&first);
        let second = scene
            .start(&ann, WS, "[filesystem]\ndeny_read = [\"keys\"]\n")
            .unwrap();
        for (name, _) in made {
            let path = format!("{keys}\\{name}");
            let got = reach(&scene, &second, &path);
            assert!(
                !got.intersects(AccessMask(0x000d_0029)),
                "{class:?} {name}: {got}"
            );
            assert!(!rewrites(&scene, &second, &path), "{class:?} {name}");
        }
    }
}

/// A hook that an earlier session made with a list of its own, and gave a second name in its private home.
#[test]
fn a_protected_file_of_the_account_with_a_name_outside_is_not_rewritten() {
    for class in HELD {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.project(WS, ann.sid);
        let earlier = scene
            .start(&ann, WS, "[filesystem]\ngit = \"full\"\n")
            .unwrap();
        let hook = format!("{WS}\\.git\\hooks\\post-commit");
        scene
            .make(&earlier, &hook, NewKind::File, Some(&open(&earlier)))
            .unwrap();
        let home = earlier.plan.roots[0].home.to_string();
        let world = scene.world("linked", &earlier, &[]);
        let second_name = place(&world.fs, &format!("{home}\\n"));
        let link = Operation::Link(place(&world.fs, &hook), second_name, Replace::No);
        scene.host.fs = try_it(&world, class, &link).unwrap();
        assert!(rewrites(&scene, &earlier, &hook), "the control");
        scene.end_command(&earlier);
        let session = scene.start(&ann, WS, "").unwrap();
        let got = reach(&scene, &session, &hook);
        assert!(!got.intersects(AccessMask(0x000d_0156)), "{class:?}: {got}");
        assert!(!rewrites(&scene, &session, &hook), "{class:?}");
    }
}

/// The keys of a copied home are no project's files: at the top the root is refused, further down they are secrets.
#[test]
fn ssh_directories_are_refused_at_the_top_and_closed_below() {
    let class = WriteClass::H2;
    let mut scene = Scene::new(class);
    let ann = scene.ann.clone();
    for directory in [
        "D:\\backup",
        "D:\\backup\\.ssh",
        "D:\\old",
        "D:\\old\\home",
        "D:\\old\\home\\.Ssh",
    ] {
        scene.host.directory(directory, ann.sid);
    }
    scene.host.file("D:\\backup\\.ssh\\id", ann.sid);
    let key = "D:\\old\\home\\.Ssh\\id";
    scene.host.file(key, ann.sid);
    scene.host.file("D:\\old\\home\\n.txt", ann.sid);
    let refused = scene.start(&ann, "D:\\backup", "").unwrap_err();
    assert!(refused.what.contains(".ssh"), "{refused}");
    let session = scene.start(&ann, "D:\\old", "").unwrap();
    let work = reach(&scene, &session, "D:\\old\\home\\n.txt");
    assert!(work.contains(AccessMask::FILE_MODIFY), "the control");
    assert_eq!(reach(&scene, &session, key), AccessMask::NONE);
}
