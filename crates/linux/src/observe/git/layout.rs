//! Git directories: of a tree, of its other working trees, of submodules at any depth.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::{
    BackLink, Entry, GitDirectory, GitLayout, GitRole, Kind, NameFact,
};
use ringfence_plan::linux::git_config;
use ringfence_policy::Policy;
use ringfence_policy::document::GitAccess;
use rustix::fs::{CWD, OFlags};

use super::super::error::ObserveError;
use super::super::host::read_at;
use super::super::names::Names;
use super::super::resolve::{Resolved, absolute, look_up, probe_entry, resolve};

/// What runs something on the host, or says where that is, in any git directory.
const NAMES: [&str; 6] = [
    "hooks",
    "config",
    "config.worktree",
    "info",
    "commondir",
    "gitdir",
];

/// How deep submodules are followed.
const MAX_DEPTH: usize = 16;

/// The layout of the repository whose `.git` at `top` is `entry`; `None` where that leads to none.
///
/// # Errors
/// [`ObserveError`] of the look-ups; a broken repository is no error.
pub(in super::super) fn layout(
    policy: &Policy,
    top: &Path,
    entry: &Entry,
) -> Result<Option<GitLayout>, ObserveError> {
    let Some(own) = own_directory(top, entry)? else {
        return Ok(None);
    };
    let common = common_directory(&own)?;
    let back_link = back_link(top, entry, &own, &common)?;
    let directories = match (policy.filesystem.git.value, back_link) {
        (GitAccess::Commit, BackLink::Mutual) => directories(&own.path, &common.path)?,
        (GitAccess::Commit | GitAccess::ReadOnly | GitAccess::Full, _) => Vec::new(),
    };
    Ok(Some(GitLayout {
        directory: own.absolute()?,
        common: common.absolute()?,
        back_link,
        directories,
    }))
}

fn own_directory(top: &Path, entry: &Entry) -> Result<Option<Resolved>, ObserveError> {
    let dot_git = top.join(".git");
    let found = match entry {
        Entry::Directory
        | Entry::Symlink {
            kind: Some(Kind::Directory),
            ..
        } => resolve(&dot_git)?,
        Entry::File
        | Entry::Symlink {
            kind: Some(Kind::File),
            ..
        } => match pointer(&dot_git, b"gitdir:") {
            Some(path) => resolve(&top.join(path))?,
            None => return Ok(None),
        },
        Entry::Absent | Entry::AbsentParent { .. } | Entry::Other | Entry::Symlink { .. } => {
            return Ok(None);
        }
    };
    let is_directory = found
        .object()
        .is_some_and(|object| object.kind == Kind::Directory);
    Ok(is_directory.then_some(found))
}

fn common_directory(own: &Resolved) -> Result<Resolved, ObserveError> {
    match pointer(&own.path.join("commondir"), b"") {
        Some(path) => resolve(&own.path.join(path)),
        None => resolve(&own.path),
    }
}

/// The path that a small file of git's holds after `prefix`, on its first line.
fn pointer(file: &Path, prefix: &[u8]) -> Option<PathBuf> {
    let content = read_at(CWD, file.as_os_str(), OFlags::empty()).ok()?;
    let line = content.split(|byte| *byte == b'\n').next()?;
    let path = line.strip_prefix(prefix)?.trim_ascii();
    (!path.is_empty() && !path.contains(&0)).then(|| PathBuf::from(OsStr::from_bytes(path)))
}

fn back_link(
    top: &Path,
    entry: &Entry,
    own: &Resolved,
    common: &Resolved,
) -> Result<BackLink, ObserveError> {
    let plain = own.links.is_empty() && common.links.is_empty();
    let mutual = match entry {
        Entry::Directory => own.path == common.path,
        Entry::File if own.path == common.path => {
            let worktree = core_worktree(&own.path);
            match worktree {
                Some(path) => resolve(&own.path.join(path))?.path == top,
                None => false,
            }
        }
        Entry::File => {
            let registered = own.path.parent() == Some(common.path.join("worktrees").as_path());
            match pointer(&own.path.join("gitdir"), b"") {
                Some(path) if registered => resolve(&own.path.join(path))?.path == top.join(".git"),
                Some(_) | None => false,
            }
        }
        Entry::Absent | Entry::AbsentParent { .. } | Entry::Other | Entry::Symlink { .. } => false,
    };
    Ok(if mutual && plain {
        BackLink::Mutual
    } else {
        BackLink::OneSided
    })
}

fn core_worktree(directory: &Path) -> Option<PathBuf> {
    let config = directory.join("config");
    let content = read_at(CWD, config.as_os_str(), OFlags::NOFOLLOW).ok()?;
    git_config::parse(&content)
        .into_iter()
        .rfind(|variable| variable.section == "core" && variable.name == "worktree")
        .and_then(|variable| variable.value)
        .map(|value| PathBuf::from(OsStr::from_bytes(&value)))
}

fn directories(own: &Path, common: &Path) -> Result<Vec<GitDirectory>, ObserveError> {
    let mut found = vec![inside(common, GitRole::Own)?];
    if own != common {
        found.push(inside(own, GitRole::Own)?);
    }
    for path in children(&common.join("worktrees"))? {
        if path != own {
            found.push(GitDirectory {
                path: absolute(&path)?,
                role: GitRole::OtherWorktree,
                names: Vec::new(),
            });
        }
    }
    modules(&common.join("modules"), MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn inside(directory: &Path, role: GitRole) -> Result<GitDirectory, ObserveError> {
    let mut names = Vec::new();
    let mut add = |name: &str, entry| {
        names.push(NameFact {
            name: name.to_owned(),
            entry,
        });
    };
    for name in NAMES {
        add(name, probe_entry(&directory.join(name))?.1);
    }
    // Where there are submodules, the inside of each is judged; where there are none, none may be planted.
    match probe_entry(&directory.join("modules"))?.1 {
        Entry::Directory => {}
        entry => add("modules", entry),
    }
    Ok(GitDirectory {
        path: absolute(directory)?,
        role,
        names,
    })
}

/// The git directory `directory` of a repository without a working tree.
///
/// # Errors
/// As the look-ups'.
pub(in super::super) fn bare(directory: &Path) -> Result<GitDirectory, ObserveError> {
    inside(directory, GitRole::Bare)
}

/// Submodules' git directories: a name with slashes makes them lie deeper, and each may hold more of them.
fn modules(
    directory: &Path,
    depth: usize,
    found: &mut Vec<GitDirectory>,
) -> Result<(), ObserveError> {
    if depth == 0 {
        return Ok(());
    }
    for path in children(directory)? {
        if look_up(&path.join("HEAD"))?.is_some() {
            found.push(inside(&path, GitRole::Module)?);
            modules(&path.join("modules"), depth - 1, found)?;
        } else {
            modules(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// The directories in `directory`, sorted, links left out; none where it is absent.
fn children(directory: &Path) -> Result<Vec<PathBuf>, ObserveError> {
    let mut paths = Vec::new();
    let names = Names::read(directory).unwrap_or_default();
    for name in names.iter() {
        let path = directory.join(name);
        if probe_entry(&path)?.1 == Entry::Directory {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}
