//! What players do, and what the model says to it.
//!
//! Invariant: a step changes the model exactly as a server would be changed that says the same.

use ringfence_nt::fs::{Caller, FileSystem, FinalReparse, NewKind, Replace, Status};
use ringfence_nt::{AccessMask, Control, Dacl, WriteClass};

use super::cast::{Cast, Player};
use super::stage::Stage;
use crate::random::Random;

/// One thing that a player does to one path.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who.
    pub by: Player,
    /// To what, with `/` between names; the share's root is empty.
    pub path: String,
    /// What.
    pub act: Act,
}

/// What can be done.
#[derive(Clone, Debug)]
pub enum Act {
    /// Open with each right of files alone.
    Probe,
    /// Read a file.
    Read,
    /// Write into a file.
    Write,
    /// Append to a file.
    Append,
    /// Delete a file.
    Delete,
    /// Delete an empty directory.
    RemoveDirectory,
    /// Make a file.
    Create,
    /// Make a directory.
    MakeDirectory,
    /// Move to another path, where nothing may be.
    Rename(String),
    /// Replace the DACL.
    SetDacl(Dacl),
    /// Look at the descriptor, as the administrator.
    Look,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `OK`, or the status without its prefix.
    pub status: String,
    /// What a probe found.
    pub rights: Option<AccessMask>,
}

/// The rights that are compared: all but the reading of attributes, which the server always gives.
pub(super) const PROBED: AccessMask = AccessMask(0x001f_017f);

impl Step {
    /// What the model says; the model is changed where it agrees.
    pub fn play(&self, fs: &mut FileSystem, cast: &Cast) -> Outcome {
        let token = cast.token(self.by);
        let caller = Caller {
            token: &token,
            // The players have no second pass.
            class: WriteClass::H2,
        };
        if matches!(self.act, Act::Probe) {
            return match fs.find(&place(&self.path)) {
                Ok(_) => Outcome {
                    status: "OK".to_owned(),
                    rights: Some(probe(fs, &caller, &self.path)),
                },
                Err(status) => outcome(Err(status)),
            };
        }
        outcome(self.act.play(fs, &caller, &place(&self.path)))
    }
}

impl Act {
    fn play(&self, fs: &mut FileSystem, caller: &Caller<'_>, path: &str) -> Result<(), Status> {
        let open = |fs: &FileSystem, desired| fs.open(caller, path, desired, FinalReparse::Follow);
        match self {
            Self::Probe | Self::Look => Ok(()),
            Self::Read => {
                let handle = open(fs, AccessMask::FILE_READ_DATA)?;
                fs.read(&handle).map(|_| ())
            }
            Self::Write => {
                let handle = open(fs, AccessMask::FILE_WRITE_DATA)?;
                fs.write(&handle, b"x")
            }
            Self::Append => {
                let handle = open(fs, AccessMask::FILE_APPEND_DATA)?;
                fs.append(&handle, b"x")
            }
            Self::Delete | Self::RemoveDirectory => {
                let handle = open(fs, AccessMask::DELETE)?;
                fs.delete(&handle)
            }
            Self::Create => fs.create(caller, path, NewKind::File, None).map(|_| ()),
            Self::MakeDirectory => fs
                .create(caller, path, NewKind::Directory, None)
                .map(|_| ()),
            Self::Rename(to) => {
                let handle = open(fs, AccessMask::DELETE)?;
                let (parent, name) = to.rsplit_once('/').unwrap_or(("", to));
                let to = ringfence_nt::fs::Place {
                    parent: fs.find(&place(parent))?,
                    name: ringfence_nt::fs::FileName::new(name)
                        .map_err(|_| Status::ObjectNameInvalid)?,
                };
                fs.rename(caller, &handle, &to, Replace::No)
            }
            Self::SetDacl(dacl) => {
                let handle = open(fs, AccessMask::WRITE_DAC)?;
                fs.set_dacl(&handle, dacl.clone(), Control::DACL_PROTECTED)
            }
        }
    }
}

/// The rights that open one by one.
pub(super) fn probe(fs: &FileSystem, caller: &Caller<'_>, path: &str) -> AccessMask {
    let path = place(path);
    let opens = |right: &AccessMask| fs.open(caller, &path, *right, FinalReparse::Follow).is_ok();
    PROBED
        .bits()
        .filter(opens)
        .fold(AccessMask::NONE, |all, right| all | right)
}

fn place(path: &str) -> String {
    format!("C:\\{}", path.replace('/', "\\"))
}

fn outcome(result: Result<(), Status>) -> Outcome {
    let status = match result {
        Ok(()) => "OK",
        Err(status) => status_name(status),
    };
    Outcome {
        status: status.to_owned(),
        rights: None,
    }
}

const fn status_name(status: Status) -> &'static str {
    match status {
        Status::AccessDenied => "ACCESS_DENIED",
        Status::ObjectNameNotFound => "OBJECT_NAME_NOT_FOUND",
        Status::ObjectPathNotFound => "OBJECT_PATH_NOT_FOUND",
        Status::ObjectNameCollision => "OBJECT_NAME_COLLISION",
        Status::ObjectNameInvalid => "OBJECT_NAME_INVALID",
        Status::NotADirectory => "NOT_A_DIRECTORY",
        Status::FileIsADirectory => "FILE_IS_A_DIRECTORY",
        Status::DirectoryNotEmpty => "DIRECTORY_NOT_EMPTY",
        Status::NotSameDevice => "NOT_SAME_DEVICE",
        Status::TooManyLinks => "TOO_MANY_LINKS",
        Status::InvalidParameter => "INVALID_PARAMETER",
        Status::InvalidOwner => "INVALID_OWNER",
        Status::ReparsePointNotResolved => "REPARSE_POINT_NOT_RESOLVED",
        Status::NotAReparsePoint => "NOT_A_REPARSE_POINT",
        Status::CannotDelete => "CANNOT_DELETE",
        Status::InvalidHandle => "INVALID_HANDLE",
    }
}

/// Whether the server is known to have another rule for this step: it wants the right to add a child also for a new
/// name in the same directory. The system call takes such a name without opening the directory.
pub(super) fn is_judged_otherwise(step: &Step, fs: &FileSystem, cast: &Cast) -> bool {
    let Act::Rename(to) = &step.act else {
        return false;
    };
    let parent = |path: &str| {
        path.rsplit_once('/')
            .map_or("", |(parent, _)| parent)
            .to_owned()
    };
    if parent(&step.path) != parent(to) {
        return false;
    }
    let token = cast.token(step.by);
    let caller = Caller {
        token: &token,
        class: WriteClass::H2,
    };
    let both = AccessMask::FILE_WRITE_DATA | AccessMask::FILE_APPEND_DATA;
    !probe(fs, &caller, &parent(to)).contains(both)
}

/// A step by chance that makes sense on the tree as it is.
pub(super) fn choose(random: &mut Random, stage: &Stage, fs: &FileSystem, number: usize) -> Step {
    let objects = Stage::objects(fs);
    // Never the share's root: renaming it says nothing about access.
    let below: Vec<&(String, _)> = objects.iter().skip(1).collect();
    let any = below.get(random.below(below.len()));
    let (path, id) = any.map_or((String::new(), None), |(path, id)| {
        (path.clone(), Some(*id))
    });
    let node = id.and_then(|id| fs.node(id));
    let is_directory = node.is_some_and(ringfence_nt::fs::Node::is_directory);
    let by = match random.below(10) {
        0..=5 => Player::Target,
        6 | 7 => Player::Second,
        _ => Player::Person,
    };
    let directories: Vec<&String> = objects
        .iter()
        .filter(|(path, id)| {
            !path.is_empty()
                && fs
                    .node(*id)
                    .is_some_and(ringfence_nt::fs::Node::is_directory)
        })
        .map(|(path, _)| path)
        .collect();
    let somewhere = directories.get(random.below(directories.len()));
    let new_place = somewhere.map_or_else(
        || format!("n{number}"),
        |directory| format!("{directory}/n{number}"),
    );
    let (path, act) = match (random.below(12), is_directory) {
        (0 | 1, true) => (path, Act::RemoveDirectory),
        (0 | 1, false) => (path, Act::Delete),
        (2, false) => (path, Act::Write),
        (3, false) => (path, Act::Append),
        (4, false) => (path, Act::Read),
        (2, true) | (5, _) => (new_place, Act::Create),
        (3, true) | (6, _) => (new_place, Act::MakeDirectory),
        (7 | 8, _) => {
            let to = neighbour(&path, number);
            (path, Act::Rename(to))
        }
        (9, _) => (path, Act::Rename(new_place)),
        (10, _) => {
            let dacl = dacl(random, stage);
            (path, Act::SetDacl(dacl))
        }
        _ => (path, Act::Probe),
    };
    Step { by, path, act }
}

fn neighbour(path: &str, number: usize) -> String {
    match path.rsplit_once('/') {
        Some((parent, _)) => format!("{parent}/m{number}"),
        None => format!("m{number}"),
    }
}

/// A list that somebody who may rewrite one would like.
fn dacl(random: &mut Random, stage: &Stage) -> Dacl {
    use ringfence_nt::{Ace, AceFlags, Acl};
    let who = stage
        .cast
        .sid(random.one_of(&["target", "agents", "everyone", "capone"], "target"));
    let full = AccessMask::FILE_ALL_ACCESS;
    let person = stage.cast.sid("person");
    Dacl::Present(Acl::new(vec![
        Ace::allow(AceFlags::INHERIT_ALL, full, who),
        Ace::allow(AceFlags::INHERIT_ALL, full, person),
    ]))
}
