//! Looks into a directory that may be a git repository of an attacker's making.
//!
//! Reads little and follows nothing. Invariant: what git would take for a repository is taken for one here.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringfence_policy::AbsolutePath;
use rustix::fs::{FileType, Mode, OFlags};

use super::git_config;
use crate::quarantine::ObjectKind;
use crate::quarantine::tree::{self, TreeError};

/// The largest git file that is read, in bytes; what is larger is not believed.
const MAX_FILE: usize = 1 << 20;

/// What was found in a possible repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It would run on the host.
    RunsOnHost {
        /// The object to move.
        path: AbsolutePath,
        /// What it is.
        what: String,
    },
    /// Its git directory is elsewhere.
    Elsewhere(AbsolutePath),
    /// Its configuration holds settings that are not known to be harmless.
    Configuration {
        /// The file.
        path: AbsolutePath,
        /// What may stay.
        cleaned: String,
        /// The settings that may not, by name.
        dropped: Vec<String>,
    },
    /// It could not be looked at.
    Unreadable {
        /// What.
        path: AbsolutePath,
        /// Why.
        cause: String,
    },
}

/// The git directory that a touched path may belong to.
pub(super) fn candidate(path: &AbsolutePath) -> Option<AbsolutePath> {
    let name = path.as_path().file_name()?;
    let parent = path.parent()?;
    // Directories can be made to fold case.
    if name.eq_ignore_ascii_case(".git") {
        return Some(path.clone());
    }
    let above = parent.as_path().file_name();
    if above.is_some_and(|above| above.eq_ignore_ascii_case("hooks")) {
        return parent.parent();
    }
    ["HEAD", "config", "hooks"]
        .iter()
        .any(|entry| name.eq_ignore_ascii_case(entry))
        .then_some(parent)
}

/// As many names as one look into a moved directory reads.
const MAX_NAMES: usize = 1_000_000;

/// The git directories that may lie in `tree`, itself among them.
///
/// # Errors
/// The directory that could not be looked into, and why.
pub(super) fn candidates_in(
    root: &AbsolutePath,
    tree: &AbsolutePath,
) -> Result<Vec<AbsolutePath>, (AbsolutePath, TreeError)> {
    let mut found = Vec::new();
    let mut pending = vec![tree.clone()];
    let mut names = 0;
    while let Some(path) = pending.pop() {
        let entries = match look(root, &path) {
            Ok(Look::Directory(opened)) => tree::entries_in(&opened),
            // A link leads to what is looked at where it lies.
            Ok(Look::Absent | Look::File(_) | Look::Other)
            | Err(TreeError::TooLarge | TreeError::NotDirectory) => continue,
            Err(error) => Err(error),
        };
        let entries = entries.map_err(|error| (path.clone(), error))?;
        names += entries.len();
        if names > MAX_NAMES {
            return Err((tree.clone(), TreeError::TooLarge));
        }
        for (name, kind) in entries {
            let Ok(inner) = path.join(Path::new(&name)) else {
                continue;
            };
            if name.eq_ignore_ascii_case(".git") {
                found.push(inner.clone());
            } else if name.eq_ignore_ascii_case("HEAD") {
                found.push(path.clone());
            }
            if matches!(kind, FileType::Directory | FileType::Unknown) {
                pending.push(inner);
            }
        }
    }
    Ok(found)
}

/// Whether something that git would take for a repository is there.
pub(super) fn exists(root: &AbsolutePath, directory: &AbsolutePath) -> bool {
    match look(root, directory) {
        Ok(Look::Absent) => false,
        Ok(Look::Directory(opened)) => is_dot_git(directory) || is_repository(&opened),
        Ok(Look::File(_) | Look::Other) => is_dot_git(directory),
        Err(_) => true,
    }
}

/// What in `directory` the host's git would execute or follow.
pub(super) fn examine(root: &AbsolutePath, directory: &AbsolutePath) -> Vec<Finding> {
    match look(root, directory) {
        Ok(Look::Directory(opened)) if is_dot_git(directory) || is_repository(&opened) => {
            examine_directory(directory, &opened)
        }
        Ok(Look::File(text)) if is_dot_git(directory) => examine_link_file(directory, &text),
        Ok(Look::Other) if is_dot_git(directory) => vec![Finding::RunsOnHost {
            path: directory.clone(),
            what: "a .git that is neither file nor directory".to_owned(),
        }],
        Ok(Look::Absent | Look::Directory(_) | Look::File(_) | Look::Other) => Vec::new(),
        Err(error) => vec![Finding::Unreadable {
            path: directory.clone(),
            cause: error.to_string(),
        }],
    }
}

fn is_dot_git(path: &AbsolutePath) -> bool {
    let name = path.as_path().file_name();
    name.is_some_and(|name| name.eq_ignore_ascii_case(".git"))
}

enum Look {
    Absent,
    Directory(OwnedFd),
    File(Vec<u8>),
    Other,
}

fn look(root: &AbsolutePath, path: &AbsolutePath) -> Result<Look, TreeError> {
    let Some((parent, name)) = tree::open_parent(root.as_path(), path.as_path())? else {
        return Ok(Look::Absent);
    };
    look_at(&parent, &name)
}

fn look_at(parent: &OwnedFd, name: &OsStr) -> Result<Look, TreeError> {
    let Some(stat) = tree::examine(parent.as_fd(), name)? else {
        return Ok(Look::Absent);
    };
    match tree::kind_of(&stat) {
        ObjectKind::Directory => Ok(Look::Directory(tree::open_readable(
            parent.as_fd(),
            name,
            OFlags::DIRECTORY,
        )?)),
        ObjectKind::File => Ok(Look::File(tree::read_file(parent.as_fd(), name, MAX_FILE)?)),
        ObjectKind::Symlink | ObjectKind::Special => Ok(Look::Other),
    }
}

/// git's own test: HEAD, and objects and refs, or a pointer to where they are.
fn is_repository(directory: &OwnedFd) -> bool {
    let has = |name: &str| !matches!(tree::examine(directory.as_fd(), OsStr::new(name)), Ok(None));
    has("HEAD") && (has("commondir") || (has("objects") && has("refs")))
}

/// A `.git` file: `gitdir: PATH`.
fn examine_link_file(path: &AbsolutePath, text: &[u8]) -> Vec<Finding> {
    let target = text.strip_prefix(b"gitdir:").map(<[u8]>::trim_ascii);
    let resolved = target.and_then(|target| {
        let parent = path.parent()?;
        parent.join(Path::new(OsStr::from_bytes(target))).ok()
    });
    resolved.map_or_else(Vec::new, |resolved| vec![Finding::Elsewhere(resolved)])
}

fn examine_directory(path: &AbsolutePath, opened: &OwnedFd) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |name: &str, what: Result<Option<&str>, TreeError>| {
        let Ok(path) = path.join(name) else { return };
        match what {
            Ok(None) => {}
            Ok(Some(what)) => findings.push(Finding::RunsOnHost {
                path,
                what: what.to_owned(),
            }),
            Err(error) => findings.push(Finding::Unreadable {
                path,
                cause: error.to_string(),
            }),
        }
    };
    add(
        "hooks",
        has_hooks(opened).map(|yes| yes.then_some("git hooks")),
    );
    add(
        "config.worktree",
        is_there(opened, "config.worktree").map(|yes| yes.then_some("git configuration")),
    );
    add(
        "commondir",
        points_elsewhere(opened).map(|yes| yes.then_some("git configuration elsewhere")),
    );
    for name in REBASES {
        let commands = look_at(opened, OsStr::new(name)).map(|look| match look {
            Look::Directory(rebase) => !commands_in(&rebase).is_empty(),
            Look::Absent | Look::File(_) | Look::Other => false,
        });
        add(
            name,
            commands.map(|yes| yes.then_some("an open rebase with commands")),
        );
    }
    findings.extend(examine_configuration(path, opened));
    findings
}

fn examine_configuration(path: &AbsolutePath, opened: &OwnedFd) -> Option<Finding> {
    let path = path.join("config").ok()?;
    match look_at(opened, OsStr::new("config")) {
        Ok(Look::Absent) => None,
        Ok(Look::File(text)) => {
            let mut cleaned = git_config::clean(&text);
            // By another name it could be changed unseen, also by a later session.
            if has_other_names(opened, "config") {
                cleaned.dropped.push("its other name".to_owned());
            }
            (!cleaned.dropped.is_empty()).then_some(Finding::Configuration {
                path,
                cleaned: cleaned.text,
                dropped: cleaned.dropped,
            })
        }
        Ok(Look::Directory(_) | Look::Other) => Some(Finding::RunsOnHost {
            path,
            what: "git configuration that is no file".to_owned(),
        }),
        Err(TreeError::TooLarge) => Some(Finding::RunsOnHost {
            path,
            what: "git configuration of an absurd size".to_owned(),
        }),
        Err(error) => Some(Finding::Unreadable {
            path,
            cause: error.to_string(),
        }),
    }
}

fn has_other_names(directory: &OwnedFd, name: &str) -> bool {
    let stat = tree::examine(directory.as_fd(), OsStr::new(name));
    stat.is_ok_and(|stat| stat.is_some_and(|stat| stat.st_nlink > 1))
}

fn is_there(directory: &OwnedFd, name: &str) -> Result<bool, TreeError> {
    Ok(tree::examine(directory.as_fd(), OsStr::new(name))?.is_some())
}

/// Anything but the samples that every new repository gets, which git does not run.
fn has_hooks(directory: &OwnedFd) -> Result<bool, TreeError> {
    match look_at(directory, OsStr::new("hooks"))? {
        Look::Absent => Ok(false),
        Look::Directory(hooks) => {
            let names = tree::names_in(&hooks)?;
            Ok(names
                .iter()
                .any(|name| !name.as_bytes().ends_with(b".sample")))
        }
        Look::File(_) | Look::Other => Ok(true),
    }
}

/// A linked worktree says `../..`; anything else takes configuration from somewhere else.
fn points_elsewhere(directory: &OwnedFd) -> Result<bool, TreeError> {
    match look_at(directory, OsStr::new("commondir"))? {
        Look::Absent => Ok(false),
        Look::File(text) => Ok(text.trim_ascii() != b"../.."),
        Look::Directory(_) | Look::Other => Ok(true),
    }
}

/// Directories of an operation that git goes on with later.
const REBASES: [&str; 3] = ["rebase-merge", "rebase-apply", "sequencer"];
/// Files in them that hold commands for git.
const TODO_FILES: [&str; 4] = ["git-rebase-todo", "git-rebase-todo.backup", "todo", "done"];
/// First words of lines that run nothing (git-rebase(1)).
const HARMLESS_WORDS: [&[u8]; 27] = [
    b"pick",
    b"p",
    b"reword",
    b"r",
    b"edit",
    b"e",
    b"squash",
    b"s",
    b"fixup",
    b"f",
    b"drop",
    b"d",
    b"label",
    b"l",
    b"reset",
    b"t",
    b"merge",
    b"m",
    b"update-ref",
    b"u",
    b"noop",
    b"break",
    b"b",
    b"revert",
    b"#",
    b"am",
    b"",
];

/// The open rebases of a git directory, each with every line that would run something.
pub(super) fn rebase_commands(
    directory: &AbsolutePath,
) -> impl Iterator<Item = (AbsolutePath, Vec<u8>)> {
    let opened = tree::open_directory(directory.as_path()).ok();
    let path = directory.clone();
    REBASES.into_iter().flat_map(move |name| {
        let commands = match opened
            .as_ref()
            .map(|opened| look_at(opened, OsStr::new(name)))
        {
            Some(Ok(Look::Directory(rebase))) => commands_in(&rebase),
            // What is there and can't be read as a rebase is one command: the whole.
            Some(Ok(Look::File(_) | Look::Other) | Err(_)) => vec![Vec::new()],
            Some(Ok(Look::Absent)) | None => Vec::new(),
        };
        let path = path.join(name).ok();
        commands
            .into_iter()
            .filter_map(move |command| Some((path.clone()?, command)))
    })
}

fn commands_in(rebase: &OwnedFd) -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    for name in TODO_FILES {
        match look_at(rebase, OsStr::new(name)) {
            Ok(Look::Absent) => {}
            Ok(Look::File(text)) => {
                let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                commands.extend(lines.filter(|line| runs(line)).map(<[u8]>::to_vec));
            }
            Ok(Look::Directory(_) | Look::Other) | Err(_) => {
                commands.push(name.as_bytes().to_vec());
            }
        }
    }
    commands
}

fn runs(line: &[u8]) -> bool {
    let word = line
        .split(u8::is_ascii_whitespace)
        .next()
        .unwrap_or_default();
    !word.starts_with(b"#") && !HARMLESS_WORDS.contains(&word)
}

/// Writes a configuration where the old one was moved away.
pub(super) fn write_configuration(
    root: &AbsolutePath,
    path: &AbsolutePath,
    text: &str,
) -> Result<(), TreeError> {
    let Some((parent, name)) = tree::open_parent(root.as_path(), path.as_path())? else {
        return Ok(());
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let error = |errno| TreeError::System("the cleaned configuration could not be written", errno);
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = rustix::fs::openat(&parent, &name, flags, mode).map_err(error)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).map_err(error)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}
