//! The workspace and the writable roots: what they are, and what must be protected in them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ringfence_plan::git;
use ringfence_plan::linux::facts::{
    Anchor, Child, Entry, Kind, Listing, NameFact, RootFacts, ScanFact,
};
use ringfence_policy::document::{HardLinks, Mode};
use ringfence_policy::{AbsolutePath, Policy};

use super::error::ObserveError;
use super::git::Seen;
use super::mounts::Mounts;
use super::names::Names;
use super::resolve::{
    Directory, Resolved, absolute, kind, look_up, probe_entry, probe_name, resolve,
};
use super::scan::{Insiders, Keep, Match, Patterns, walk};
use rustix::fs::FileType;

/// The facts of all roots, and what hidden patterns match in them.
pub(super) struct Roots {
    pub(super) facts: Vec<RootFacts>,
    pub(super) matches: Vec<Match>,
}

/// Observes the workspace, then the policy's writable roots in its order.
///
/// # Errors
/// [`ObserveError`]. A root that does not exist is a fact, not an error.
pub(super) fn observe_all(
    policy: &Policy,
    mounts: &Mounts,
    state: &Resolved,
) -> Result<Roots, ObserveError> {
    let patterns = Patterns::compile(policy)?;
    let mut workspace = None;
    let mut roots = Roots {
        facts: Vec::new(),
        matches: Vec::new(),
    };
    for named in of_policy(policy) {
        let (mut facts, found) = self::named(named)?;
        workspace = workspace.or(facts.object.as_ref().map(|object| object.owner.0));
        let is_directory = facts
            .object
            .as_ref()
            .is_some_and(|object| object.kind == Kind::Directory);
        let is_scanned = is_directory && is_worth_scanning(policy, &found.path, &state.path);
        if is_directory && !is_scanned {
            facts.unread.push(absolute(&found.path)?);
        }
        if is_scanned {
            let search = Search {
                policy,
                mounts,
                patterns: &patterns,
                insiders: Insiders::of(workspace),
            };
            scan(&search, &found.path, &mut facts, &mut roots.matches)?;
        } else {
            facts.anchors.push(anchor(policy, &found.path)?);
        }
        roots.facts.push(facts);
    }
    Ok(roots)
}

/// The roots that `policy` names: the workspace first.
pub(super) fn of_policy(policy: &Policy) -> impl Iterator<Item = &AbsolutePath> {
    let more = policy.filesystem.writable_roots.iter();
    std::iter::once(&policy.workspace).chain(more.map(|root| &root.value))
}

/// What the root that is called `named` is; nothing in it is looked at.
///
/// # Errors
/// As [`resolve`].
pub(super) fn named(named: &AbsolutePath) -> Result<(RootFacts, Resolved), ObserveError> {
    let found = resolve(named.as_path())?;
    let facts = RootFacts {
        named: named.clone(),
        object: found.object(),
        links: absolutes(&found.links)?,
        anchors: Vec::new(),
        bare: Vec::new(),
        mounts: Vec::new(),
        outside_links: Vec::new(),
        unread: Vec::new(),
        scan: ScanFact::default(),
    };
    Ok((facts, found))
}

/// A root that no plan accepts is not walked to find that out; the whole file system never.
fn is_worth_scanning(policy: &Policy, path: &Path, state: &Path) -> bool {
    let accepted = match policy.mode.value {
        Mode::WorkspaceWrite | Mode::FullAccess => {
            path != policy.home.as_path() && !state.starts_with(path)
        }
        Mode::ReadOnly => true,
    };
    accepted && path.parent().is_some()
}

/// What is sought in a root, and for whom.
struct Search<'a> {
    policy: &'a Policy,
    mounts: &'a Mounts,
    patterns: &'a Patterns,
    insiders: Insiders,
}

fn scan(
    search: &Search<'_>,
    path: &Path,
    facts: &mut RootFacts,
    matches: &mut Vec<Match>,
) -> Result<(), ObserveError> {
    let policy = search.policy;
    let mounts = search.mounts.below(path);
    let keep = match policy.filesystem.hard_links.value {
        HardLinks::Warn => Keep::In(policy.state.as_path(), seconds_now()),
        HardLinks::ReadOnly => Keep::Nothing,
    };
    let found = walk(path, &mounts, search.patterns, keep, search.insiders)?;
    facts.anchors.push(anchor(policy, path)?);
    for repository in &found.repositories {
        facts.anchors.push(anchor(policy, repository)?);
    }
    for repository in &found.bare {
        facts
            .bare
            .push(git::bare(&mut Seen, &absolute(repository)?)?);
    }
    facts.mounts = absolutes(&mounts)?;
    facts.outside_links = absolutes(&found.outside_links)?;
    facts.unread = absolutes(&found.unread)?;
    facts.scan = ScanFact {
        directories: found.directories,
        read: found.read,
    };
    matches.extend(found.matches);
    Ok(())
}

/// Seconds since 1970; a clock before that settles nothing.
fn seconds_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

fn anchor(policy: &Policy, path: &Path) -> Result<Anchor, ObserveError> {
    let directory = Directory::open(path)?;
    let mut names = Vec::with_capacity(policy.filesystem.protected.len() + 1);
    let protected = policy
        .filesystem
        .protected
        .iter()
        .map(|name| name.value.as_str());
    let mut git = Entry::Absent;
    for name in protected.filter(|name| *name != ".git").chain([".git"]) {
        let entry = match &directory {
            Some(directory) if !name.contains('/') => probe_name(directory, name)?,
            Some(_) | None => probe_entry(&path.join(name))?.1,
        };
        if name == ".git" {
            git = entry.clone();
        }
        names.push(NameFact {
            name: name.to_owned(),
            entry,
        });
    }
    let path = absolute(path)?;
    Ok(Anchor {
        git: git::layout(&mut Seen, policy, &path, &git)?,
        path,
        names,
    })
}

fn absolutes(paths: &[PathBuf]) -> Result<Vec<AbsolutePath>, ObserveError> {
    paths.iter().map(|path| absolute(path)).collect()
}

/// The entries of one directory, symbolic links left out; none for one that is absent or may not be read.
///
/// # Errors
/// As [`resolve`].
pub(super) fn listing(path: AbsolutePath) -> Result<Listing, ObserveError> {
    let mut children = Vec::new();
    let names = Names::read(path.as_path()).unwrap_or_default();
    for name in names.iter() {
        let child = path.as_path().join(name);
        let Some(stat) = look_up(&child)? else {
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            children.push(Child {
                path: absolute(&child)?,
                kind: kind(&stat),
            });
        }
    }
    children.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(Listing { path, children })
}
