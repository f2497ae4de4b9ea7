//! Git directories: of a tree, of its other working trees, of submodules at any depth.

use ringfence_policy::Policy;
use ringfence_policy::document::GitAccess;

use super::{Disk, Links, Place, config};
use crate::layout::{BackLink, Entry, GitDirectory, GitLayout, GitRole, Kind, NameFact};

/// What runs something on the host, or says where that is, in any git directory.
const NAMES: [&str; 6] = [
    "hooks",
    "config",
    "config.worktree",
    "info",
    "commondir",
    "gitdir",
];

/// How deep submodules are followed; what lies deeper is closed whole.
const MAX_DEPTH: usize = 16;

/// The layout of the repository whose `.git` at `top` is `entry`; `None` where that leads to none.
///
/// # Errors
/// The disk's; a broken repository is no error.
pub fn layout<D: Disk>(
    disk: &mut D,
    policy: &Policy,
    top: &D::Path,
    entry: &Entry<D::Path>,
) -> Result<Option<GitLayout<D::Path>>, D::Error> {
    let Some(own) = own_directory(disk, top, entry)? else {
        return Ok(None);
    };
    let common = common_directory(disk, &own)?;
    let back_link = back_link(disk, top, entry, &own, &common)?;
    let directories = match (policy.filesystem.git.value, back_link) {
        (GitAccess::Commit, BackLink::Mutual) => directories(disk, &own.path, &common.path)?,
        (GitAccess::Commit | GitAccess::ReadOnly | GitAccess::Full, _) => Vec::new(),
    };
    Ok(Some(GitLayout {
        directory: own.path,
        common: common.path,
        back_link,
        directories,
    }))
}

/// The git directory `directory` of a repository without a working tree.
///
/// # Errors
/// The disk's.
pub fn bare<D: Disk>(disk: &mut D, directory: &D::Path) -> Result<GitDirectory<D::Path>, D::Error> {
    inside(disk, directory, GitRole::Bare)
}

fn own_directory<D: Disk>(
    disk: &mut D,
    top: &D::Path,
    entry: &Entry<D::Path>,
) -> Result<Option<Place<D::Path>>, D::Error> {
    let Some(dot_git) = disk.below(top, ".git") else {
        return Ok(None);
    };
    let found = match entry {
        Entry::Directory
        | Entry::Symlink {
            kind: Some(Kind::Directory),
            ..
        } => disk.resolve(&dot_git)?,
        Entry::File
        | Entry::Symlink {
            kind: Some(Kind::File),
            ..
        } => pointed(disk, &dot_git, b"gitdir:", top)?,
        Entry::Absent | Entry::AbsentParent { .. } | Entry::Other | Entry::Symlink { .. } => None,
    };
    Ok(found.filter(|place| place.kind == Some(Kind::Directory)))
}

fn common_directory<D: Disk>(
    disk: &mut D,
    own: &Place<D::Path>,
) -> Result<Place<D::Path>, D::Error> {
    let common = match disk.below(&own.path, "commondir") {
        Some(file) => pointed(disk, &file, b"", &own.path)?,
        None => None,
    };
    Ok(common.unwrap_or_else(|| own.clone()))
}

/// What the path leads to that a small file of git's holds after `prefix`, on its first line.
fn pointed<D: Disk>(
    disk: &mut D,
    file: &D::Path,
    prefix: &[u8],
    base: &D::Path,
) -> Result<Option<Place<D::Path>>, D::Error> {
    let Some(content) = disk.read(file, Links::Followed)? else {
        return Ok(None);
    };
    let line = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    match line.strip_prefix(prefix).map(<[u8]>::trim_ascii) {
        Some(path) => follow(disk, base, path),
        None => Ok(None),
    }
}

fn follow<D: Disk>(
    disk: &mut D,
    base: &D::Path,
    value: &[u8],
) -> Result<Option<Place<D::Path>>, D::Error> {
    if value.is_empty() || value.contains(&0) {
        return Ok(None);
    }
    disk.follow(base, value)
}

fn back_link<D: Disk>(
    disk: &mut D,
    top: &D::Path,
    entry: &Entry<D::Path>,
    own: &Place<D::Path>,
    common: &Place<D::Path>,
) -> Result<BackLink, D::Error> {
    let mutual = match entry {
        Entry::Directory => own.path == common.path,
        Entry::File if own.path == common.path => {
            core_worktree(disk, &own.path)?.is_some_and(|worktree| worktree.path == *top)
        }
        Entry::File => {
            let worktrees = disk.below(&common.path, "worktrees");
            let is_registered = worktrees.is_some() && disk.above(&own.path) == worktrees;
            let named = match disk.below(&own.path, "gitdir") {
                Some(file) if is_registered => pointed(disk, &file, b"", &own.path)?,
                Some(_) | None => None,
            };
            named.is_some_and(|named| Some(named.path) == disk.below(top, ".git"))
        }
        Entry::Absent | Entry::AbsentParent { .. } | Entry::Other | Entry::Symlink { .. } => false,
    };
    let is_plain = own.links == Links::Refused && common.links == Links::Refused;
    Ok(if mutual && is_plain {
        BackLink::Mutual
    } else {
        BackLink::OneSided
    })
}

fn core_worktree<D: Disk>(
    disk: &mut D,
    directory: &D::Path,
) -> Result<Option<Place<D::Path>>, D::Error> {
    let Some(config) = disk.below(directory, "config") else {
        return Ok(None);
    };
    // Not through a link: it would be somebody else's word.
    let Some(content) = disk.read(&config, Links::Refused)? else {
        return Ok(None);
    };
    let value = config::parse(&content)
        .into_iter()
        .rfind(|variable| variable.section == "core" && variable.name == "worktree")
        .and_then(|variable| variable.value);
    match value {
        Some(value) => follow(disk, directory, &value),
        None => Ok(None),
    }
}

fn directories<D: Disk>(
    disk: &mut D,
    own: &D::Path,
    common: &D::Path,
) -> Result<Vec<GitDirectory<D::Path>>, D::Error> {
    let mut found = vec![inside(disk, common, GitRole::Own)?];
    if own != common {
        found.push(inside(disk, own, GitRole::Own)?);
    }
    if let Some(worktrees) = disk.below(common, "worktrees") {
        match disk.directories(&worktrees)? {
            Some(paths) => found.extend(
                paths
                    .into_iter()
                    .filter(|path| path != own)
                    .map(|path| closed(path, GitRole::OtherWorktree)),
            ),
            None => found.push(closed(worktrees, GitRole::Unread)),
        }
    }
    if let Some(below) = disk.below(common, "modules") {
        modules(disk, below, MAX_DEPTH, &mut found)?;
    }
    Ok(found)
}

fn closed<P>(path: P, role: GitRole) -> GitDirectory<P> {
    GitDirectory {
        path,
        role,
        names: Vec::new(),
    }
}

fn inside<D: Disk>(
    disk: &mut D,
    directory: &D::Path,
    role: GitRole,
) -> Result<GitDirectory<D::Path>, D::Error> {
    let mut names = Vec::new();
    for name in NAMES.into_iter().chain(["modules"]) {
        let Some(path) = disk.below(directory, name) else {
            continue;
        };
        let entry = disk.probe(&path)?.1;
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

/// Submodules' git directories: a name with slashes makes them lie deeper, and each may hold more of them.
fn modules<D: Disk>(
    disk: &mut D,
    directory: D::Path,
    depth: usize,
    found: &mut Vec<GitDirectory<D::Path>>,
) -> Result<(), D::Error> {
    let listed = match depth {
        0 if disk.probe(&directory)?.1 == Entry::Directory => None,
        0 => Some(Vec::new()),
        _ => disk.directories(&directory)?,
    };
    // Whoever closed it to us may open it again, and hold in it what git runs.
    let Some(paths) = listed else {
        found.push(closed(directory, GitRole::Unread));
        return Ok(());
    };
    for path in paths {
        let head = match disk.below(&path, "HEAD") {
            Some(head) => disk.probe(&head)?.1,
            None => Entry::Absent,
        };
        let below = match head {
            Entry::Absent | Entry::AbsentParent { .. } => Some(path),
            Entry::File | Entry::Directory | Entry::Other | Entry::Symlink { .. } => {
                found.push(inside(disk, &path, GitRole::Module)?);
                disk.below(&path, "modules")
            }
        };
        if let Some(below) = below {
            modules(disk, below, depth - 1, found)?;
        }
    }
    Ok(())
}
