//! What the policy's hidden paths and patterns match on this host.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringfence_plan::linux::facts::{Child, Entry, HiddenFact, Kind};
use ringfence_policy::glob::Glob;
use ringfence_policy::policy::{HiddenPath, HiddenPattern};
use ringfence_policy::{AbsolutePath, Policy};

use rustix::fs::FileType;

use super::error::ObserveError;
use super::names::Names;
use super::resolve::{Resolved, look_up, probe_entry};
use super::scan::Match;

/// How many names of one directory get a placeholder each.
const MOST_MASKED: usize = 64;

/// Looks every hidden path up, expands globs with a fixed directory, and adds what the scan of the roots matched.
///
/// # Errors
/// [`ObserveError`].
pub(super) fn observe(
    policy: &Policy,
    home: &Resolved,
    matches: Vec<Match>,
) -> Result<Vec<HiddenFact>, ObserveError> {
    let mut facts = Vec::new();
    let home = HomeNames::read(policy, home);
    for hidden in &policy.filesystem.hidden {
        match &hidden.pattern {
            HiddenPattern::Path(path) => facts.push(match home.rewrite(path.as_path()) {
                Some(there) if look_up(&there)?.is_some() => fact(hidden, &there, &home)?,
                Some(_) | None => HiddenFact {
                    name: hidden.name.clone(),
                    path: path.clone(),
                    entry: Entry::Absent,
                    shown: Vec::new(),
                    masked: Vec::new(),
                },
            }),
            HiddenPattern::HomeGlob(glob) => {
                for path in expand(glob, &home)? {
                    facts.push(fact(hidden, &path, &home)?);
                }
            }
            HiddenPattern::RootGlob { .. } => {}
        }
    }
    for found in matches {
        if let Some(hidden) = policy.filesystem.hidden.get(found.hidden) {
            facts.push(fact(hidden, &found.path, &home)?);
        }
    }
    Ok(facts)
}

fn fact(hidden: &HiddenPath, path: &Path, home: &HomeNames) -> Result<HiddenFact, ObserveError> {
    let (path, entry) = probe_entry(path)?;
    let mut shown = Vec::new();
    if entry == Entry::Directory {
        for except in &hidden.except {
            let Some(except) = home.rewrite(except.as_path()) else {
                continue;
            };
            let (except, found) = probe_entry(&except)?;
            let kind = match found {
                Entry::File => Kind::File,
                Entry::Directory => Kind::Directory,
                // A link in a hidden directory may lead to any other part of it: it stays hidden.
                Entry::Absent
                | Entry::AbsentParent { .. }
                | Entry::Other
                | Entry::Symlink { .. } => continue,
            };
            if except.starts_with(&path) && except != path {
                shown.push(Child { path: except, kind });
            }
        }
    }
    let masked = if shown.is_empty() {
        Vec::new()
    } else {
        masked(&path, &shown, home)
    };
    Ok(HiddenFact {
        name: hidden.name.clone(),
        path,
        entry,
        shown,
        masked,
    })
}

/// What `directory` holds beside what is shown of it. Sockets and links are left out: for a program that asks for them,
/// nothing at all is nearer to what they are than a file.
fn masked(directory: &AbsolutePath, shown: &[Child], home: &HomeNames) -> Vec<Child> {
    let names = home.list(directory.as_path());
    let paths = names
        .iter()
        .flat_map(|names| names.iter().filter_map(|name| directory.join(name).ok()));
    let hidden = paths.filter(|path| !shown.iter().any(|child| child.path.starts_with(path)));
    let children = hidden.filter_map(|path| {
        let mode = rustix::fs::lstat(path.as_path()).ok()?.st_mode;
        let kind = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            _ => return None,
        };
        Some(Child { path, kind })
    });
    children.take(MOST_MASKED).collect()
}

/// The home, and what directories are known to hold: a hundred absent secrets cost a few directory reads instead of a
/// hundred look-ups, and four globs in one directory cost one.
struct HomeNames {
    named: PathBuf,
    resolved: PathBuf,
    top: Option<Rc<Names>>,
    below: Vec<(OsString, Option<Rc<Names>>)>,
    read: RefCell<Vec<(PathBuf, Option<Rc<Names>>)>>,
}

/// From so many names on, reading a directory is cheaper than looking them up.
const WORTH_READING: usize = 5;

impl HomeNames {
    fn read(policy: &Policy, home: &Resolved) -> Self {
        let mut names = Self {
            named: policy.home.as_path().to_owned(),
            resolved: home.path.clone(),
            top: None,
            below: Vec::new(),
            read: RefCell::default(),
        };
        names.top = names.list(&home.path);
        let mut counts: Vec<(&OsStr, usize)> = Vec::new();
        for hidden in &policy.filesystem.hidden {
            let HiddenPattern::Path(path) = &hidden.pattern else {
                continue;
            };
            let Some((first, Some(_))) = below(path.as_path(), &names.named).map(first_two) else {
                continue;
            };
            match counts.iter_mut().find(|(name, _)| *name == first) {
                Some((_, count)) => *count += 1,
                None => counts.push((first, 1)),
            }
        }
        for (name, count) in counts {
            let exists = names.top.as_ref().is_none_or(|top| top.holds(name));
            if count >= WORTH_READING && exists {
                let found = names.list(&home.path.join(name));
                names.below.push((name.to_owned(), found));
            }
        }
        names
    }

    /// The names in `directory`; `None` where they can't be read: nothing is known then.
    fn list(&self, directory: &Path) -> Option<Rc<Names>> {
        let mut read = self.read.borrow_mut();
        if let Some((_, names)) = read.iter().find(|(known, _)| known == directory) {
            return names.clone();
        }
        let names = Names::read(directory).ok().map(Rc::new);
        read.push((directory.to_owned(), names.clone()));
        names
    }

    /// `path` below the resolved home; `None` where the home is known to hold nothing by that name.
    fn rewrite(&self, path: &Path) -> Option<PathBuf> {
        let Some(relative) = below(path, &self.named) else {
            return Some(path.to_owned());
        };
        let (first, second) = first_two(relative);
        if let Some(names) = &self.top {
            if !names.holds(first) {
                return None;
            }
            let below = self.below.iter().find(|(name, _)| name == first);
            if let (Some(second), Some((_, Some(names)))) = (second, below)
                && !names.holds(second)
            {
                return None;
            }
        }
        Some(self.resolved.join(relative))
    }
}

/// What of `path` lies strictly below `above`; both are normal, so letters tell.
fn below<'a>(path: &'a Path, above: &Path) -> Option<&'a Path> {
    let rest = path
        .as_os_str()
        .as_bytes()
        .strip_prefix(above.as_os_str().as_bytes())?;
    let rest = rest.strip_prefix(b"/")?;
    (!rest.is_empty()).then(|| Path::new(OsStr::from_bytes(rest)))
}

fn first_two(relative: &Path) -> (&OsStr, Option<&OsStr>) {
    let mut parts = relative
        .as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .map(OsStr::from_bytes);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Every path that matches an absolute glob. A component matches within one directory; `**` is not expanded here.
fn expand(glob: &str, home: &HomeNames) -> Result<Vec<PathBuf>, ObserveError> {
    let mut found = vec![PathBuf::from("/")];
    for part in glob.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[', '{', '\\']) {
            found = found
                .into_iter()
                .map(|path| path.join(part))
                .filter_map(|path| {
                    home.rewrite(&path)
                        .or_else(|| home.named.starts_with(&path).then_some(path))
                })
                .collect();
            continue;
        }
        let matcher = compile(part)?;
        let mut next = Vec::new();
        for directory in found {
            // Absent, unreadable or no directory: there is nothing that the target could read either.
            let Some(names) = home.list(&directory) else {
                continue;
            };
            for name in names
                .iter()
                .filter(|name| matcher.is_match(Path::new(name)))
            {
                next.push(directory.join(name));
            }
        }
        found = next;
    }
    found.sort_unstable();
    Ok(found)
}

/// A glob in the dialect of policies.
///
/// # Errors
/// [`ObserveError::Glob`].
pub(super) fn compile(glob: &str) -> Result<Glob, ObserveError> {
    Glob::new(glob).map_err(|source| ObserveError::Glob {
        glob: glob.to_owned(),
        source,
    })
}
