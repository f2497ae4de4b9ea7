//! Git directories: of a tree, of its other working trees, of submodules at any depth. Git itself is never run.
//!
//! # Security
//! Every file of a repository is an attacker's. A `.git` file can name anybody's repository: it counts as the working
//! tree's own only if that repository names the tree in turn, and no link was followed on the way.

use ringfence_backend::call::CallFailure;
use ringfence_plan::layout::{BackLink, Entry, GitDirectory, GitLayout, GitRole, Kind, NameFact};
use ringfence_plan::linux::git_config;
use ringfence_plan::windows::WindowsPath;
use ringfence_policy::Policy;
use ringfence_policy::document::GitAccess;

use super::git_paths::place;
use super::look::{ListedKind, Look};
use super::resolve::{Resolution, Resolved, probe_or_absent, resolve};

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
/// The look-ups'; a broken repository is no error.
pub(crate) fn layout<L: Look>(
    look: &mut L,
    policy: &Policy,
    top: &WindowsPath,
    entry: &Entry<WindowsPath>,
) -> Result<Option<GitLayout<WindowsPath>>, CallFailure> {
    let Some(own) = own_directory(look, top, entry)? else {
        return Ok(None);
    };
    let common = common_directory(look, &own)?;
    let back_link = back_link(look, top, entry, &own, &common)?;
    let directories = match (policy.filesystem.git.value, back_link) {
        (GitAccess::Commit, BackLink::Mutual) => directories(look, &own.path, &common.path)?,
        (GitAccess::Commit | GitAccess::ReadOnly | GitAccess::Full, _) => Vec::new(),
    };
    Ok(Some(GitLayout {
        directory: own.path,
        common: common.path,
        back_link,
        directories,
    }))
}

fn own_directory<L: Look>(
    look: &mut L,
    top: &WindowsPath,
    entry: &Entry<WindowsPath>,
) -> Result<Option<Resolved>, CallFailure> {
    let Ok(dot_git) = top.join(".git") else {
        return Ok(None);
    };
    let found = match entry {
        Entry::Directory
        | Entry::Symlink {
            kind: Some(Kind::Directory),
            ..
        } => on_drive(look, &dot_git)?,
        Entry::File
        | Entry::Symlink {
            kind: Some(Kind::File),
            ..
        } => pointed(look, &dot_git, b"gitdir:", top)?,
        Entry::Absent | Entry::AbsentParent { .. } | Entry::Other | Entry::Symlink { .. } => None,
    };
    Ok(found.filter(Resolved::is_directory))
}

fn common_directory<L: Look>(look: &mut L, own: &Resolved) -> Result<Resolved, CallFailure> {
    let common = match own.path.join("commondir") {
        Ok(file) => pointed(look, &file, b"", &own.path)?,
        Err(_) => None,
    };
    Ok(common.unwrap_or_else(|| own.clone()))
}

fn on_drive<L: Look>(look: &mut L, path: &WindowsPath) -> Result<Option<Resolved>, CallFailure> {
    resolve(look, path).map(Resolution::on_drive)
}

/// What the path leads to that a small file of git's holds after `prefix`, on its first line.
fn pointed<L: Look>(
    look: &mut L,
    file: &WindowsPath,
    prefix: &[u8],
    base: &WindowsPath,
) -> Result<Option<Resolved>, CallFailure> {
    let Some(content) = read_following(look, file)? else {
        return Ok(None);
    };
    let line = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let Some(path) = line.strip_prefix(prefix).map(<[u8]>::trim_ascii) else {
        return Ok(None);
    };
    match place(path, base) {
        Some(path) => on_drive(look, &path),
        None => Ok(None),
    }
}

/// A file's content, through links: git follows them too.
///
/// # Errors
/// The look-ups'.
pub(crate) fn read_following<L: Look>(
    look: &mut L,
    file: &WindowsPath,
) -> Result<Option<Vec<u8>>, CallFailure> {
    match on_drive(look, file)? {
        Some(end) if end.seen.is_some() => look.read(&end.path),
        Some(_) | None => Ok(None),
    }
}

fn back_link<L: Look>(
    look: &mut L,
    top: &WindowsPath,
    entry: &Entry<WindowsPath>,
    own: &Resolved,
    common: &Resolved,
) -> Result<BackLink, CallFailure> {
    let plain = own.links.is_empty() && common.links.is_empty();
    let mutual = match entry {
        Entry::Directory => own.path == common.path,
        Entry::File if own.path == common.path => match core_worktree(look, &own.path)? {
            Some(path) => on_drive(look, &path)?.is_some_and(|end| end.path == *top),
            None => false,
        },
        Entry::File => {
            let worktrees = common.path.join("worktrees").ok();
            let registered = worktrees.is_some() && own.path.parent() == worktrees;
            let named = match own.path.join("gitdir") {
                Ok(file) if registered => pointed(look, &file, b"", &own.path)?,
                Ok(_) | Err(_) => None,
            };
            named.is_some_and(|end| top.join(".git").is_ok_and(|own| own == end.path))
        }
        Entry::Absent | Entry::AbsentParent { .. } | Entry::Other | Entry::Symlink { .. } => false,
    };
    Ok(if mutual && plain {
        BackLink::Mutual
    } else {
        BackLink::OneSided
    })
}

fn core_worktree<L: Look>(
    look: &mut L,
    directory: &WindowsPath,
) -> Result<Option<WindowsPath>, CallFailure> {
    let Ok(config) = directory.join("config") else {
        return Ok(None);
    };
    // Not through a link: it would be somebody else's word.
    let Some(content) = look.read(&config)? else {
        return Ok(None);
    };
    let value = git_config::parse(&content)
        .into_iter()
        .rfind(|variable| variable.section == "core" && variable.name == "worktree")
        .and_then(|variable| variable.value);
    Ok(value.and_then(|value| place(&value, directory)))
}

fn directories<L: Look>(
    look: &mut L,
    own: &WindowsPath,
    common: &WindowsPath,
) -> Result<Vec<GitDirectory<WindowsPath>>, CallFailure> {
    let mut found = vec![inside(look, common, GitRole::Own)?];
    if own != common {
        found.push(inside(look, own, GitRole::Own)?);
    }
    if let Ok(worktrees) = common.join("worktrees") {
        for path in children(look, &worktrees)? {
            if path != *own {
                found.push(GitDirectory {
                    path,
                    role: GitRole::OtherWorktree,
                    names: Vec::new(),
                });
            }
        }
    }
    if let Ok(below) = common.join("modules") {
        modules(look, &below, MAX_DEPTH, &mut found)?;
    }
    Ok(found)
}

fn inside<L: Look>(
    look: &mut L,
    directory: &WindowsPath,
    role: GitRole,
) -> Result<GitDirectory<WindowsPath>, CallFailure> {
    let mut names = Vec::new();
    for name in NAMES.into_iter().chain(["modules"]) {
        let Ok(path) = directory.join(name) else {
            continue;
        };
        let entry = probe_or_absent(look, &path)?.1;
        // Where there are submodules, the inside of each is judged; where there are none, none may be planted.
        if name == "modules" && entry == Entry::Directory {
            continue;
        }
        names.push(NameFact {
            name: name.to_owned(),
            entry,
        });
    }
    Ok(GitDirectory {
        path: directory.clone(),
        role,
        names,
    })
}

/// The git directory `directory` of a repository without a working tree.
///
/// # Errors
/// The look-ups'.
pub(crate) fn bare<L: Look>(
    look: &mut L,
    directory: &WindowsPath,
) -> Result<GitDirectory<WindowsPath>, CallFailure> {
    inside(look, directory, GitRole::Bare)
}

/// Submodules' git directories: a name with slashes makes them lie deeper, and each may hold more of them.
fn modules<L: Look>(
    look: &mut L,
    directory: &WindowsPath,
    depth: usize,
    found: &mut Vec<GitDirectory<WindowsPath>>,
) -> Result<(), CallFailure> {
    if depth == 0 {
        return Ok(());
    }
    for path in children(look, directory)? {
        let head = match path.join("HEAD") {
            Ok(head) => look.look(&head)?,
            Err(_) => None,
        };
        if head.is_none() {
            modules(look, &path, depth - 1, found)?;
            continue;
        }
        found.push(inside(look, &path, GitRole::Module)?);
        if let Ok(below) = path.join("modules") {
            modules(look, &below, depth - 1, found)?;
        }
    }
    Ok(())
}

/// The directories in `directory`, sorted, links left out; none where it is absent.
fn children<L: Look>(
    look: &mut L,
    directory: &WindowsPath,
) -> Result<Vec<WindowsPath>, CallFailure> {
    let listed = look.list(directory)?.unwrap_or_default();
    let mut paths: Vec<WindowsPath> = listed
        .into_iter()
        .filter(|listed| listed.kind == ListedKind::Directory)
        .filter_map(|listed| directory.join_observed(&listed.name).ok())
        .collect();
    paths.sort_unstable();
    Ok(paths)
}
