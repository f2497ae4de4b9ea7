//! What a command left is put right: closed objects are opened, a root that became a link is plain again.

use std::collections::BTreeSet;

use ringfence_nt::check::access_check;
use ringfence_nt::fs::{FileName, NodeId, Reparse, ReparseKind};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, SecurityDescriptor, Sid, Token, WriteClass,
};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind};

use super::desk::{Desk, ROOT, offline};
use super::steps::{ada, bob, path};
use crate::call::CallFailure;
use crate::fault::DENIED;
use crate::windows::fake::FakeFiles;
use crate::windows::runner::Tended;
use crate::windows::{Changes, Files, ObjectState, ReparsePoints, Tender};

const TENDER: fn() -> Tender = || Tender {
    person: ada(),
    owner: offline(),
};

/// A list of the target's that lets nobody in but its own user.
fn closed() -> SecurityDescriptor {
    closed_by(offline())
}

fn closed_by(owner: Sid) -> SecurityDescriptor {
    let all = AccessMask::FILE_ALL_ACCESS;
    let deny = Ace::deny(AceFlags::NONE, all, ada());
    let allow = Ace::allow(AceFlags::INHERIT_ALL, all, owner);
    SecurityDescriptor::new(owner, owner, Acl::new(vec![deny, allow])).protected()
}

fn root(files: &FakeFiles) -> Object {
    Object {
        path: path(ROOT),
        kind: ObjectKind::Directory,
        id: files.id(&path(ROOT)).unwrap(),
    }
}

fn names(all: &[&str]) -> Changes {
    let units = |name: &&str| name.encode_utf16().collect();
    Changes::Names(all.iter().map(units).collect())
}

fn tend<F: ReparsePoints>(
    files: &mut F,
    root: &Object,
    changes: &Changes,
) -> Vec<(String, Tended)> {
    let mut done = Vec::new();
    TENDER().tend(files, root, changes, &mut |path, tended| {
        let below = path.strip_prefix(ROOT).unwrap().to_owned();
        done.push((below, tended));
    });
    done
}

fn opened(path: &str) -> (String, Tended) {
    (path.to_owned(), Tended::Opened)
}

fn can_do_all(files: &FakeFiles, who: Sid, at: &str) -> bool {
    let id = files.id(&path(&format!("{ROOT}{at}"))).unwrap();
    let token = Token::new(who, &[Sid::EVERYONE]);
    let all = AccessMask::FILE_ALL_ACCESS;
    let descriptor = files.descriptor(id).unwrap();
    access_check(
        descriptor,
        &token,
        all,
        &GenericMapping::FILE,
        WriteClass::H2,
    )
    .is_granted()
}

/// A workspace in which a target has closed a directory, a file in it, and a file elsewhere.
fn workspace() -> FakeFiles {
    let mut files = Desk::new().files;
    for (at, descriptor) in [("\\kept", closed()), ("\\kept\\deeper", closed())] {
        files
            .add_directory(&format!("{ROOT}{at}"), &descriptor)
            .unwrap();
    }
    for at in ["\\kept\\deeper\\file", "\\alone", "\\kept!"] {
        files.add_file(&format!("{ROOT}{at}"), &closed()).unwrap();
    }
    files
}

#[test]
fn what_a_command_closed_is_opened_to_the_person_and_stays_its_owners() {
    let mut files = workspace();
    assert!(!can_do_all(&files, ada(), "\\kept"), "the control");
    let root = root(&files);
    let mut done = tend(&mut files, &root, &names(&["alone", "kept"]));
    done.sort_by(|one, other| one.0.cmp(&other.0));
    let all = [
        "\\alone",
        "\\kept",
        "\\kept\\deeper",
        "\\kept\\deeper\\file",
    ];
    assert_eq!(done, all.map(opened));
    for at in all {
        assert!(can_do_all(&files, ada(), at), "{at}");
        assert!(can_do_all(&files, offline(), at), "{at}");
        assert!(!can_do_all(&files, bob(), at), "{at}");
    }
    // What was not reported was not looked at, and the second time there is nothing to do.
    assert!(!can_do_all(&files, ada(), "\\kept!"));
    let writes = files.writes;
    assert_eq!(tend(&mut files, &root, &names(&["alone", "kept"])), []);
    assert_eq!(files.writes, writes);
}

#[test]
fn where_the_report_is_incomplete_all_below_the_root_is_looked_at() {
    let mut files = workspace();
    let root = root(&files);
    let done = tend(&mut files, &root, &Changes::Unknown);
    assert_eq!(done.len(), 5, "{done:?}");
    assert!(done.contains(&opened("\\kept!")));
}

#[test]
fn only_what_changed_is_opened_however_large_the_workspace_is() {
    let mut files = workspace();
    for number in 0..2000 {
        files
            .add_file(&format!("{ROOT}\\n{number}"), &closed_by(bob()))
            .unwrap();
    }
    let root = root(&files);
    let opens = files.opens;
    let done = tend(
        &mut files,
        &root,
        &names(&["alone", "kept\\deeper\\file", "gone"]),
    );
    assert_eq!(done.len(), 2);
    // The root, three names of one to three components.
    assert_eq!(files.opens - opens, 6);
}

#[test]
fn what_belongs_to_somebody_else_is_never_changed() {
    for owner in [ada(), bob(), Sid::SYSTEM] {
        let mut files = Desk::new().files;
        let id = files
            .add_file(&format!("{ROOT}\\theirs"), &closed_by(owner))
            .unwrap();
        let root = root(&files);
        assert_eq!(tend(&mut files, &root, &Changes::Unknown), []);
        assert_eq!(files.descriptor(id), Some(&closed_by(owner)));
    }
}

#[test]
fn no_link_is_followed_on_the_way_to_a_name_or_below_it() {
    let mut files = Desk::new().files;
    let outside = "C:\\Users\\ada\\out\\theirs";
    let id = files.add_file(outside, &closed()).unwrap();
    let target = Reparse {
        kind: ReparseKind::Junction,
        target: "C:\\Users\\ada\\out".to_owned(),
    };
    files
        .add_reparse(&format!("{ROOT}\\link"), &closed(), target)
        .unwrap();
    let root = root(&files);
    let done = tend(&mut files, &root, &names(&["link", "link\\theirs"]));
    // The link itself is the target's own, and is opened as any object.
    assert_eq!(done, [opened("\\link")]);
    assert_eq!(files.descriptor(id), Some(&closed()));
    assert_eq!(tend(&mut files, &root, &Changes::Unknown), []);
    assert_eq!(files.descriptor(id), Some(&closed()));
}

#[test]
fn hostile_names_lead_nowhere() {
    let mut files = workspace();
    let root = root(&files);
    let hostile = [
        "..\\..\\bob\\ws",
        ".",
        "",
        "\\",
        "a\\..\\..",
        "C:\\Windows",
        "alone:stream",
        "alone\\x",
        "*",
    ];
    assert_eq!(tend(&mut files, &root, &names(&hostile)), []);
}

#[test]
fn an_empty_root_that_was_made_a_junction_is_plain_again() {
    let mut files = Desk::new().files;
    let root = root(&files);
    let node = files.open(&root.path).unwrap().unwrap();
    files.tree.node_mut(node).unwrap().reparse = Some(Reparse {
        kind: ReparseKind::Junction,
        target: "C:\\Windows".to_owned(),
    });
    let done = tend(&mut files, &root, &names(&[]));
    assert_eq!(done, [(String::new(), Tended::Unlinked)]);
    assert!(files.tree.node(node).unwrap().reparse.is_none());
    assert_eq!(tend(&mut files, &root, &names(&[])), []);
}

/// A directory in the root that must stay is kept as a root is: a guarded name in it is looked for there, and nowhere
/// else.
#[test]
fn a_directory_that_must_stay_is_made_plain_again_where_it_stands() {
    let mut files = workspace();
    let at = path(&format!("{ROOT}\\src"));
    let stays = Object {
        id: files.id(&at).unwrap(),
        path: at.clone(),
        kind: ObjectKind::Directory,
    };
    let node = files.open(&at).unwrap().unwrap();
    files.tree.node_mut(node).unwrap().reparse = Some(Reparse {
        kind: ReparseKind::Junction,
        target: "C:\\Users\\ada\\out".to_owned(),
    });
    let done = tend(&mut files, &stays, &names(&[]));
    assert_eq!(done, [("\\src".to_owned(), Tended::Unlinked)]);
    assert!(files.tree.node(node).unwrap().reparse.is_none());
}

#[test]
fn another_object_in_place_of_the_root_is_left_alone_and_reported() {
    let mut files = workspace();
    let mut other = root(&files);
    other.id = FileId {
        volume: other.id.volume,
        file: other.id.file + 1,
    };
    let done = tend(&mut files, &other, &Changes::Unknown);
    assert!(
        matches!(done.as_slice(), [(_, Tended::Left(_))]),
        "{done:?}"
    );
    assert!(!can_do_all(&files, ada(), "\\kept"));
}

#[test]
fn what_can_not_be_opened_is_reported_and_the_rest_goes_on() {
    let mut files = workspace();
    let stuck = files.id(&path(&format!("{ROOT}\\kept"))).unwrap();
    files.unwritable.insert(stuck);
    let root = root(&files);
    let done = tend(&mut files, &root, &Changes::Unknown);
    let left: Vec<_> = done
        .iter()
        .filter(|(_, tended)| matches!(tended, Tended::Left(_)))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(left, ["\\kept"]);
    assert!(can_do_all(&files, ada(), "\\kept\\deeper\\file"));
}

/// Files on which a directory can be listed by its owner only where an entry says so.
struct Guarded(FakeFiles);

impl Files for Guarded {
    type Handle = NodeId;
    fn open(&mut self, path: &WindowsPath) -> Result<Option<NodeId>, CallFailure> {
        self.0.open(path)
    }
    fn open_id(&mut self, id: FileId) -> Result<Option<NodeId>, CallFailure> {
        self.0.open_id(id)
    }
    fn open_child(
        &mut self,
        directory: &NodeId,
        name: &FileName,
    ) -> Result<Option<NodeId>, CallFailure> {
        self.0.open_child(directory, name)
    }
    fn observe(&mut self, object: &NodeId) -> Result<ObjectState, CallFailure> {
        self.0.observe(object)
    }
    fn list(&mut self, directory: &NodeId) -> Result<Vec<FileName>, CallFailure> {
        let descriptor = self.0.observe_descriptor(directory)?;
        let user = Token::new(offline(), &[super::desk::group()]);
        let desired = AccessMask::FILE_READ_DATA;
        let file = &GenericMapping::FILE;
        if descriptor.owner == Some(offline())
            && !access_check(&descriptor, &user, desired, file, WriteClass::H2).is_granted()
        {
            return Err(CallFailure::new("NtQueryDirectoryFile", "", DENIED));
        }
        self.0.list(directory)
    }
    fn observe_names(&mut self, object: &NodeId) -> Result<Vec<Option<WindowsPath>>, CallFailure> {
        self.0.observe_names(object)
    }
    fn observe_descriptor(&mut self, object: &NodeId) -> Result<SecurityDescriptor, CallFailure> {
        self.0.observe_descriptor(object)
    }
    fn set_dacl(
        &mut self,
        object: &NodeId,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        self.0.set_dacl(object, descriptor)
    }
    fn set_owner(&mut self, object: &NodeId, owner: Sid) -> Result<(), CallFailure> {
        self.0.set_owner(object, owner)
    }
    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        self.0.make_directory(path, descriptor)
    }
    fn remove_directory(&mut self, directory: &NodeId) -> Result<(), CallFailure> {
        self.0.remove_directory(directory)
    }
}

impl ReparsePoints for Guarded {
    fn remove_reparse_point(&mut self, object: &NodeId) -> Result<(), CallFailure> {
        self.0.remove_reparse_point(object)
    }
}

#[test]
fn a_directory_that_its_own_user_can_not_list_is_entered_all_the_same() {
    let mut files = Guarded(workspace());
    let nobody = SecurityDescriptor::new(offline(), offline(), Acl::default()).protected();
    let id = files.0.id(&path(&format!("{ROOT}\\kept"))).unwrap();
    files.0.change(id, nobody).unwrap();
    let root = root(&files.0);
    let done = tend(&mut files, &root, &names(&["kept"]));
    let expected: BTreeSet<_> = ["\\kept", "\\kept\\deeper", "\\kept\\deeper\\file"].into();
    let found: BTreeSet<_> = done.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(found, expected);
    assert!(can_do_all(&files.0, ada(), "\\kept\\deeper\\file"));
}

#[test]
fn a_deep_tree_takes_no_stack() {
    let mut files = Desk::new().files;
    let node = files.open(&path(ROOT)).unwrap().unwrap();
    let mut parent = node;
    let name = FileName::new("d").unwrap();
    for _ in 0..3000 {
        let place = ringfence_nt::fs::Place {
            parent,
            name: name.clone(),
        };
        let directory = ringfence_nt::fs::Node::directory(std::sync::Arc::new(closed()));
        parent = files.tree.place_node(&place, directory).unwrap();
    }
    let root = root(&files);
    let done = tend(&mut files, &root, &names(&["d"]));
    assert_eq!(done.len(), 3000);
}
