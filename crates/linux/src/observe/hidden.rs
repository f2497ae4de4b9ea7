//! What the policy's hidden paths and patterns match on this host.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::{Child, Entry, HiddenFact, Kind};
use ringfence_policy::Policy;
use ringfence_policy::glob::Glob;
use ringfence_policy::policy::{HiddenPath, HiddenPattern};

use super::error::ObserveError;
use super::resolve::{Resolved, probe_entry};
use super::scan::{Match, list};

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
            HiddenPattern::Path(path) => match home.rewrite(path.as_path()) {
                Some(path) => facts.push(fact(hidden, &path, &home)?),
                None => facts.push(HiddenFact {
                    name: hidden.name.clone(),
                    path: path.clone(),
                    entry: Entry::Absent,
                    shown: Vec::new(),
                }),
            },
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
    Ok(HiddenFact {
        name: hidden.name.clone(),
        path,
        entry,
        shown,
    })
}

/// The names in the home and in the directories directly below it, each read at most once: a hundred absent secrets
/// cost a few directory reads instead of a hundred look-ups.
struct HomeNames {
    named: PathBuf,
    resolved: PathBuf,
    top: Option<Names>,
    below: RefCell<Vec<(OsString, Option<Names>)>>,
}

/// Sorted names.
struct Names(Vec<OsString>);

impl Names {
    /// `None` where they can't be read: nothing is known then.
    fn read(directory: &Path) -> Option<Self> {
        let mut names: Vec<OsString> = list(directory)
            .ok()?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        Some(Self(names))
    }

    fn holds(&self, wanted: &OsStr) -> bool {
        self.0
            .binary_search_by(|name| name.as_os_str().cmp(wanted))
            .is_ok()
    }
}

impl HomeNames {
    fn read(policy: &Policy, home: &Resolved) -> Self {
        Self {
            named: policy.home.as_path().to_owned(),
            resolved: home.path.clone(),
            top: Names::read(&home.path),
            below: RefCell::default(),
        }
    }

    /// `path` below the resolved home; `None` where the home is known to hold nothing by that name.
    fn rewrite(&self, path: &Path) -> Option<PathBuf> {
        let Ok(relative) = path.strip_prefix(&self.named) else {
            return Some(path.to_owned());
        };
        let mut parts = relative.iter();
        if let (Some(first), Some(names)) = (parts.next(), &self.top) {
            let absent = !names.holds(first)
                || parts
                    .next()
                    .is_some_and(|second| self.is_absent(first, second));
            if absent {
                return None;
            }
        }
        Some(self.resolved.join(relative))
    }

    /// Whether the home's directory `first` is known to hold no `second`.
    fn is_absent(&self, first: &OsStr, second: &OsStr) -> bool {
        let mut below = self.below.borrow_mut();
        let known = below.iter().position(|(name, _)| name == first);
        let index = known.unwrap_or_else(|| {
            below.push((first.to_owned(), Names::read(&self.resolved.join(first))));
            below.len() - 1
        });
        below
            .get(index)
            .and_then(|(_, names)| names.as_ref())
            .is_some_and(|names| !names.holds(second))
    }
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
            for (name, _) in list(&directory).unwrap_or_default() {
                if matcher.is_match(Path::new(&name)) {
                    next.push(directory.join(name));
                }
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
