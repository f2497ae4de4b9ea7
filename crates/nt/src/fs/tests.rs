//! The simulated file system against the rules it cites. Each denial has its control: the same operation with the one
//! right more that it lacks.

use super::*;
use crate::ace::{Ace, AceFlags};
use crate::acl::Acl;
use crate::descriptor::{Control, Dacl, SecurityDescriptor};
use crate::inherit::CreatorDescriptor;
use crate::mask::AccessMask;
use crate::sid::Sid;
use crate::token::{Privileges, Token};
use crate::write_class::WriteClass;

const ALL: AccessMask = AccessMask::FILE_ALL_ACCESS;

fn person() -> Sid {
    "S-1-5-21-1-2-3-1001".parse().unwrap()
}

fn agent() -> Sid {
    "S-1-5-21-1-2-3-1002".parse().unwrap()
}

fn token_of(user: Sid) -> Token {
    let mut token = Token::new(user, &[Sid::EVERYONE]);
    token.privileges = Privileges::CHANGE_NOTIFY;
    token
}

fn granting(mask: AccessMask) -> SecurityDescriptor {
    let list = vec![
        Ace::allow(AceFlags::INHERIT_ALL, ALL, person()),
        Ace::allow(AceFlags::NONE, mask, agent()),
    ];
    SecurityDescriptor::new(person(), person(), Acl::new(list))
}

/// `C:\ws\{a.txt,d\b.txt}`; the agent has the given rights on the directory `ws`, `a.txt` and `d`.
struct World {
    fs: FileSystem,
    agent: Token,
}

impl World {
    fn new(ws: AccessMask, file: AccessMask, directory: AccessMask) -> Self {
        let mut fs = FileSystem::new();
        let names = vec![VolumeName::Letter('C'), VolumeName::Device(3)];
        let volume = fs.add_volume(names, ShortNames::Made, granting(AccessMask::NONE));
        let root = fs.volume(volume).unwrap().root;
        let mut put = |parent, name: &str, node| {
            let name = FileName::new(name).unwrap();
            fs.place_node(&Place { parent, name }, node).unwrap()
        };
        let ws = put(root, "ws", Node::directory(granting(ws).into()));
        put(ws, "a.txt", Node::file(granting(file).into()));
        let d = put(ws, "d", Node::directory(granting(directory).into()));
        put(d, "b.txt", Node::file(granting(AccessMask::NONE).into()));
        let agent = token_of(agent());
        Self { fs, agent }
    }

    fn caller(token: &Token) -> Caller<'_> {
        let class = WriteClass::H2;
        Caller { token, class }
    }

    fn open(&self, path: &str, desired: AccessMask) -> Result<Handle, Status> {
        let caller = Self::caller(&self.agent);
        self.fs.open(&caller, path, desired, FinalReparse::Open)
    }

    fn place(&self, parent: &str, name: &str) -> Place {
        Place {
            parent: self.fs.find(parent).unwrap(),
            name: FileName::new(name).unwrap(),
        }
    }
}

const NONE: AccessMask = AccessMask::NONE;
const DELETE: AccessMask = AccessMask::DELETE;
const ADD_FILE: AccessMask = AccessMask::FILE_WRITE_DATA;
const ADD_DIRECTORY: AccessMask = AccessMask::FILE_APPEND_DATA;

#[test]
fn the_parents_delete_child_deletes_what_the_child_denies() {
    let world = World::new(AccessMask::FILE_DELETE_CHILD, NONE, NONE);
    assert!(world.open("C:\\ws\\a.txt", DELETE).is_ok());
    let without = World::new(ALL - AccessMask::FILE_DELETE_CHILD, NONE, NONE);
    assert_eq!(
        without.open("C:\\ws\\a.txt", DELETE),
        Err(Status::AccessDenied)
    );
    let mut own = World::new(NONE, DELETE, NONE);
    let handle = own.open("C:\\ws\\a.txt", DELETE).unwrap();
    own.fs.delete(&handle).unwrap();
    assert_eq!(
        own.fs.find("C:\\ws\\a.txt"),
        Err(Status::ObjectNameNotFound)
    );
}

#[test]
fn a_directory_that_may_be_listed_shows_its_childrens_attributes() {
    let world = World::new(AccessMask::FILE_READ_DATA, NONE, NONE);
    let attributes = AccessMask::FILE_READ_ATTRIBUTES;
    assert!(world.open("C:\\ws\\a.txt", attributes).is_ok());
    assert!(
        World::new(NONE, NONE, NONE)
            .open("C:\\ws\\a.txt", attributes)
            .is_err()
    );
}

#[test]
fn a_directory_that_is_not_empty_stays() {
    let mut world = World::new(NONE, NONE, DELETE);
    let handle = world.open("C:\\ws\\d", DELETE).unwrap();
    assert_eq!(world.fs.delete(&handle), Err(Status::DirectoryNotEmpty));
}

#[test]
fn creating_asks_the_directory_and_the_handle_has_everything() {
    let mut world = World::new(ADD_FILE, NONE, NONE);
    let caller = World::caller(&world.agent);
    let made = world
        .fs
        .create(&caller, "C:\\ws\\new", NewKind::File, None)
        .unwrap();
    assert_eq!(made.granted, ALL);
    let directory = world
        .fs
        .create(&caller, "C:\\ws\\sub", NewKind::Directory, None);
    assert_eq!(directory, Err(Status::AccessDenied));
    let taken = world
        .fs
        .create(&caller, "C:\\ws\\A.TXT", NewKind::File, None);
    assert_eq!(taken, Err(Status::ObjectNameCollision));
}

#[test]
fn a_creator_may_give_a_descriptor_but_not_anybodys_as_owner() {
    let mut world = World::new(ADD_FILE, NONE, NONE);
    let caller = World::caller(&world.agent);
    let open_to_all = Acl::new(vec![Ace::allow(AceFlags::NONE, ALL, Sid::EVERYONE)]);
    let mut given = CreatorDescriptor {
        owner: Some(person()),
        group: None,
        dacl: Some(Dacl::Present(open_to_all.clone())),
        control: Control::DACL_PROTECTED,
    };
    let path = "C:\\ws\\new";
    let refused = world.fs.create(&caller, path, NewKind::File, Some(&given));
    assert_eq!(refused, Err(Status::InvalidOwner));
    given.owner = Some(agent());
    let made = world
        .fs
        .create(&caller, path, NewKind::File, Some(&given))
        .unwrap();
    let descriptor = &world.fs.node(made.node).unwrap().descriptor;
    assert_eq!(descriptor.acl(), Some(&open_to_all));
}

#[test]
fn what_is_made_inherits_and_what_is_moved_keeps_its_descriptor() {
    let mut world = World::new(ADD_FILE, NONE, ADD_FILE);
    let caller = World::caller(&world.agent);
    let made = world
        .fs
        .create(&caller, "C:\\ws\\new", NewKind::File, None)
        .unwrap();
    let before = world.fs.node(made.node).unwrap().descriptor.clone();
    let inherited = Ace::allow(AceFlags::INHERITED, ALL, person());
    assert_eq!(before.acl(), Some(&Acl::new(vec![inherited])));
    let to = world.place("C:\\ws\\d", "new");
    world.fs.rename(&caller, &made, &to, Replace::No).unwrap();
    assert_eq!(world.fs.node(made.node).unwrap().descriptor, before);
    assert_eq!(world.fs.path_of(made.node), "C:\\ws\\d\\new");
}

#[test]
fn a_rename_asks_for_delete_and_for_room_in_another_directory() {
    let attempt = |file, directory| {
        let mut world = World::new(NONE, file, directory);
        let caller = World::caller(&world.agent);
        let to = world.place("C:\\ws\\d", "moved");
        let handle = world.open("C:\\ws\\a.txt", AccessMask::MAXIMUM_ALLOWED)?;
        world.fs.rename(&caller, &handle, &to, Replace::No)
    };
    assert_eq!(attempt(DELETE, ADD_FILE), Ok(()));
    assert_eq!(attempt(DELETE, ADD_DIRECTORY), Err(Status::AccessDenied));
    assert_eq!(attempt(ALL - DELETE, ADD_FILE), Err(Status::AccessDenied));
}

#[test]
fn a_rename_within_a_directory_asks_for_delete_alone() {
    let mut world = World::new(NONE, DELETE, NONE);
    let caller = World::caller(&world.agent);
    let handle = world.open("C:\\ws\\a.txt", DELETE).unwrap();
    let to = world.place("C:\\ws", "z.txt");
    assert_eq!(world.fs.rename(&caller, &handle, &to, Replace::No), Ok(()));
    assert!(world.fs.find("C:\\ws\\z.txt").is_ok());
}

#[test]
fn replacing_asks_for_delete_on_what_is_replaced() {
    let attempt = |ws: AccessMask, replaced: AccessMask| {
        let mut world = World::new(ws | ADD_FILE, replaced, NONE);
        let caller = World::caller(&world.agent);
        let made = world
            .fs
            .create(&caller, "C:\\ws\\new", NewKind::File, None)
            .unwrap();
        let to = world.place("C:\\ws", "a.txt");
        let collision = world.fs.rename(&caller, &made, &to, Replace::No);
        assert_eq!(collision, Err(Status::ObjectNameCollision));
        world.fs.rename(&caller, &made, &to, Replace::Yes)
    };
    assert_eq!(attempt(NONE, DELETE), Ok(()));
    assert_eq!(attempt(AccessMask::FILE_DELETE_CHILD, NONE), Ok(()));
    assert_eq!(attempt(NONE, ALL - DELETE), Err(Status::AccessDenied));
}

#[test]
fn a_directory_never_moves_into_itself() {
    let mut world = World::new(ALL, NONE, ALL);
    let caller = World::caller(&world.agent);
    let handle = world.open("C:\\ws\\d", DELETE).unwrap();
    let to = world.place("C:\\ws\\d", "self");
    assert_eq!(
        world.fs.rename(&caller, &handle, &to, Replace::No),
        Err(Status::InvalidParameter)
    );
}

#[test]
fn a_link_is_a_name_of_the_same_node() {
    let mut world = World::new(NONE, AccessMask::FILE_READ_DATA, ADD_FILE);
    let caller = World::caller(&world.agent);
    let handle = world
        .open("C:\\ws\\a.txt", AccessMask::FILE_READ_DATA)
        .unwrap();
    let to = world.place("C:\\ws\\d", "link");
    world.fs.link(&caller, &handle, &to, Replace::No).unwrap();
    let linked = world.fs.find("C:\\ws\\d\\link").unwrap();
    assert_eq!(linked, handle.node);
    assert_eq!(world.fs.places(linked).count(), 2);
    let directory = world.open("C:\\ws\\d", AccessMask::NONE).unwrap();
    let to = world.place("C:\\ws\\d", "loop");
    assert_eq!(
        world.fs.link(&caller, &directory, &to, Replace::No),
        Err(Status::FileIsADirectory)
    );
}

#[test]
fn what_a_link_asks_of_the_file_is_a_fact_of_the_host() {
    let attempt = |rule, right| {
        let mut world = World::new(NONE, right, ADD_FILE);
        world.fs.link_rule = rule;
        let caller = World::caller(&world.agent);
        let handle = world.open("C:\\ws\\a.txt", right).unwrap();
        let to = world.place("C:\\ws\\d", "link");
        world.fs.link(&caller, &handle, &to, Replace::No)
    };
    let read = AccessMask::FILE_READ_DATA;
    let write = AccessMask::FILE_WRITE_ATTRIBUTES;
    assert_eq!(attempt(LinkRule::AnyHandle, read), Ok(()));
    assert_eq!(attempt(LinkRule::WriteAttributes, write), Ok(()));
    assert_eq!(
        attempt(LinkRule::WriteAttributes, read),
        Err(Status::AccessDenied)
    );
}

#[test]
fn superseding_empties_a_file_that_may_be_deleted() {
    let attempt = |ws, file| {
        let mut world = World::new(ws, file, NONE);
        let caller = World::caller(&world.agent);
        let place = world.place("C:\\ws", "a.txt");
        world.fs.supersede(&caller, &place)
    };
    assert_eq!(attempt(NONE, DELETE), Ok(()));
    assert_eq!(attempt(AccessMask::FILE_DELETE_CHILD, NONE), Ok(()));
    assert_eq!(attempt(NONE, ALL - DELETE), Err(Status::AccessDenied));
}

#[test]
fn a_link_asks_for_room_in_the_directory() {
    let mut world = World::new(NONE, ALL, ADD_DIRECTORY);
    let caller = World::caller(&world.agent);
    let handle = world.open("C:\\ws\\a.txt", DELETE).unwrap();
    let to = world.place("C:\\ws\\d", "link");
    assert_eq!(
        world.fs.link(&caller, &handle, &to, Replace::No),
        Err(Status::AccessDenied)
    );
}

#[test]
fn a_file_goes_with_its_last_name() {
    let mut world = World::new(ADD_FILE, DELETE, NONE);
    let caller = World::caller(&world.agent);
    let handle = world.open("C:\\ws\\a.txt", DELETE).unwrap();
    let to = world.place("C:\\ws", "link");
    world.fs.link(&caller, &handle, &to, Replace::No).unwrap();
    world.fs.delete(&handle).unwrap();
    assert_eq!(world.fs.find("C:\\ws\\link"), Ok(handle.node));
    let last = world.open("C:\\ws\\link", DELETE).unwrap();
    world.fs.delete(&last).unwrap();
    assert!(world.fs.node(handle.node).is_none());
}

#[test]
fn a_junction_leads_elsewhere_and_the_rights_there_decide() {
    let mut world = World::new(ADD_DIRECTORY, NONE, NONE);
    let caller = World::caller(&world.agent);
    let made = world
        .fs
        .create(&caller, "C:\\ws\\j", NewKind::Directory, None)
        .unwrap();
    let junction = Reparse {
        kind: ReparseKind::Junction,
        target: "\\??\\C:\\ws\\d".into(),
    };
    world.fs.set_reparse(&made, junction.clone()).unwrap();
    assert_eq!(
        world.fs.find("C:\\ws\\j\\b.txt"),
        world.fs.find("C:\\ws\\d\\b.txt")
    );
    let through = world
        .fs
        .create(&caller, "C:\\ws\\j\\new", NewKind::File, None);
    assert_eq!(through, Err(Status::AccessDenied));
    assert_eq!(world.fs.read_reparse(&made), Ok(&junction));
    world.fs.delete_reparse(&made).unwrap();
    assert!(world.fs.find("C:\\ws\\j\\b.txt").is_err());
}

#[test]
fn a_reparse_point_needs_a_write_right_and_an_empty_directory() {
    let junction = || Reparse {
        kind: ReparseKind::Junction,
        target: "C:\\ws".into(),
    };
    let write = AccessMask::FILE_WRITE_ATTRIBUTES;
    let mut world = World::new(NONE, write, write | AccessMask::FILE_READ_DATA);
    let directory = world.open("C:\\ws\\d", write).unwrap();
    assert_eq!(
        world.fs.set_reparse(&directory, junction()),
        Err(Status::DirectoryNotEmpty)
    );
    let reader = world.open("C:\\ws\\d", AccessMask::FILE_READ_DATA).unwrap();
    assert_eq!(
        world.fs.set_reparse(&reader, junction()),
        Err(Status::AccessDenied)
    );
    let file = world.open("C:\\ws\\a.txt", write).unwrap();
    assert_eq!(
        world.fs.set_reparse(&file, junction()),
        Err(Status::NotADirectory)
    );
}

#[test]
fn a_circle_of_reparse_points_ends() {
    let mut world = World::new(ADD_DIRECTORY, NONE, NONE);
    let caller = World::caller(&world.agent);
    let made = world
        .fs
        .create(&caller, "C:\\ws\\j", NewKind::Directory, None)
        .unwrap();
    let circle = Reparse {
        kind: ReparseKind::Symlink,
        target: "C:\\ws\\j".into(),
    };
    world.fs.set_reparse(&made, circle).unwrap();
    assert_eq!(
        world.fs.find("C:\\ws\\j\\x"),
        Err(Status::ReparsePointNotResolved)
    );
}

#[test]
fn an_owner_rewrites_the_dacl_unless_owner_rights_says_otherwise() {
    let own = |aces: Vec<Ace>| {
        let mut world = World::new(NONE, NONE, NONE);
        let id = world.fs.find("C:\\ws\\a.txt").unwrap();
        let descriptor = SecurityDescriptor::new(agent(), agent(), Acl::new(aces));
        world.fs.node_mut(id).unwrap().descriptor = descriptor.into();
        let handle = world.open("C:\\ws\\a.txt", AccessMask::WRITE_DAC)?;
        world.fs.set_dacl(&handle, Dacl::Null, Control(0))
    };
    let owner_rights = Ace::allow(AceFlags::NONE, AccessMask::READ_CONTROL, Sid::OWNER_RIGHTS);
    assert_eq!(own(vec![]), Ok(()));
    assert_eq!(own(vec![owner_rights]), Err(Status::AccessDenied));
}

#[test]
fn taking_ownership_needs_write_owner_and_a_sid_of_ones_own() {
    let mut world = World::new(NONE, AccessMask::WRITE_OWNER, NONE);
    let caller = World::caller(&world.agent);
    let handle = world
        .open("C:\\ws\\a.txt", AccessMask::WRITE_OWNER)
        .unwrap();
    assert_eq!(
        world.fs.set_owner(&caller, &handle, Sid::SYSTEM),
        Err(Status::InvalidOwner)
    );
    world.fs.set_owner(&caller, &handle, agent()).unwrap();
    let descriptor = &world.fs.node(handle.node).unwrap().descriptor;
    assert_eq!(descriptor.owner, Some(agent()));
}

#[test]
fn every_spelling_and_the_file_id_reach_the_same_descriptor() {
    let world = World::new(NONE, NONE, AccessMask::FILE_READ_DATA);
    let directory = world.fs.find("C:\\ws\\d").unwrap();
    for spelling in [
        "c:/WS/D",
        "C:\\ws\\d. .",
        "\\\\?\\C:\\ws\\d",
        "\\\\.\\C:\\ws\\d",
        "\\\\localhost\\c$\\ws\\d",
        "\\Device\\HarddiskVolume3\\ws\\d",
        "C:\\ws\\d::$INDEX_ALLOCATION",
    ] {
        let read = world.open(spelling, AccessMask::FILE_READ_DATA).unwrap();
        assert_eq!(read.node, directory, "{spelling}");
        let write = world.open(spelling, AccessMask::FILE_WRITE_DATA);
        assert_eq!(write, Err(Status::AccessDenied), "{spelling}");
    }
    let caller = World::caller(&world.agent);
    let by_id = |right| world.fs.open_by_id(&caller, directory, right);
    assert!(by_id(AccessMask::FILE_READ_DATA).is_ok());
    assert_eq!(
        by_id(AccessMask::FILE_WRITE_DATA),
        Err(Status::AccessDenied)
    );
}

#[test]
fn a_short_name_is_a_name() {
    let mut world = World::new(ADD_DIRECTORY, NONE, NONE);
    let caller = World::caller(&world.agent);
    let made = world
        .fs
        .create(&caller, "C:\\ws\\.git", NewKind::Directory, None)
        .unwrap();
    assert_eq!(world.fs.find("C:\\ws\\GIT~1"), Ok(made.node));
    let again = world
        .fs
        .create(&caller, "C:\\ws\\git~1", NewKind::Directory, None);
    assert_eq!(again, Err(Status::ObjectNameCollision));
}

#[test]
fn a_directory_that_tells_case_apart_holds_both_names() {
    let right = ADD_FILE | AccessMask::FILE_WRITE_ATTRIBUTES;
    let mut world = World::new(right, NONE, NONE);
    let caller = World::caller(&world.agent);
    let ws = world.open("C:\\ws", right).unwrap();
    world.fs.set_case_rule(&ws, CaseRule::Sensitive).unwrap();
    let upper = world
        .fs
        .create(&caller, "C:\\ws\\A.TXT", NewKind::File, None)
        .unwrap();
    assert_ne!(world.fs.find("C:\\ws\\a.txt"), Ok(upper.node));
    assert_eq!(world.fs.find("C:\\ws\\A.TXT"), Ok(upper.node));
    assert_eq!(
        world.fs.set_case_rule(&ws, CaseRule::Insensitive),
        Err(Status::InvalidParameter)
    );
}

#[test]
fn a_stream_belongs_to_its_file() {
    let mut world = World::new(NONE, AccessMask::FILE_READ_DATA, ADD_FILE);
    let caller = World::caller(&world.agent);
    let on_file = world
        .fs
        .create(&caller, "C:\\ws\\a.txt:s", NewKind::File, None);
    assert_eq!(on_file, Err(Status::AccessDenied));
    let on_directory = world
        .fs
        .create(&caller, "C:\\ws\\d:s", NewKind::File, None)
        .unwrap();
    world.fs.write(&on_directory, b"x").unwrap();
    let nodes = world.fs.nodes().count();
    assert_eq!(nodes, 5, "a stream is no object");
}

#[test]
fn without_the_privilege_every_directory_is_asked() {
    let mut world = World::new(NONE, AccessMask::FILE_READ_DATA, NONE);
    assert!(
        world
            .open("C:\\ws\\a.txt", AccessMask::FILE_READ_DATA)
            .is_ok()
    );
    world.agent.privileges = Privileges::NONE;
    assert_eq!(
        world.open("C:\\ws\\a.txt", AccessMask::FILE_READ_DATA),
        Err(Status::AccessDenied)
    );
}

#[test]
fn each_change_needs_its_own_right() {
    let rights = [
        AccessMask::FILE_WRITE_DATA,
        AccessMask::FILE_APPEND_DATA,
        AccessMask::FILE_WRITE_EA,
        AccessMask::FILE_WRITE_ATTRIBUTES,
        AccessMask::WRITE_DAC,
        AccessMask::WRITE_OWNER,
        AccessMask::DELETE,
    ];
    for granted in rights {
        let done = rights.map(|right| {
            let mut world = World::new(NONE, granted, NONE);
            let handle = world.open("C:\\ws\\a.txt", granted).unwrap();
            let caller = World::caller(&world.agent);
            let fs = &mut world.fs;
            match right {
                AccessMask::FILE_WRITE_DATA => fs.write(&handle, b"x"),
                AccessMask::FILE_APPEND_DATA => fs.append(&handle, b"x"),
                AccessMask::FILE_WRITE_EA => fs.set_extended(&handle, b"x"),
                AccessMask::FILE_WRITE_ATTRIBUTES => fs.set_attributes(&handle, 2),
                AccessMask::WRITE_DAC => fs.set_dacl(&handle, Dacl::Null, Control(0)),
                AccessMask::WRITE_OWNER => fs.set_owner(&caller, &handle, agent()),
                _ => fs.delete(&handle),
            }
        });
        for (right, result) in rights.iter().zip(done) {
            let expected = if *right == granted {
                Ok(())
            } else {
                Err(Status::AccessDenied)
            };
            assert_eq!(result, expected, "{granted} {right}");
        }
    }
}
