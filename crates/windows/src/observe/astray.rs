//! Strays: objects in closed directories whose list is not what their directory gives.
//!
//! A move keeps an object's list: what a person moves out of the workspace into `.git\\hooks` lets in whom the workspace
//! let in. Which directories are closed, and what becomes of a stray, the planner says. Invariant: without an earlier
//! look and a journal since then, everything in a closed directory is looked at.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_backend::call::CallFailure;
use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::ObjectKind;
use ringfence_plan::windows::walk::inherits_alone;

use super::ObserveError;
use super::kept::Scanned;
use super::look::{Changes, ListedKind, Look};
use super::scan::MAX_DIRECTORIES;

/// What is closed in one root.
#[derive(Debug)]
pub(crate) struct Closed<'a> {
    /// Files and directories.
    pub(crate) paths: BTreeSet<WindowsPath>,
    /// Every root: what lies in one is not closed by what is above it.
    pub(crate) roots: &'a BTreeSet<WindowsPath>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// By path.
    pub(crate) found: BTreeSet<WindowsPath>,
    /// Directories that could not be read.
    pub(crate) unread: BTreeSet<WindowsPath>,
}

/// Whether what lies in the directories of a directory is looked at too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Tree,
    Itself,
}

/// Looks for strays in what is closed.
///
/// # Errors
/// [`ObserveError`]: a look-up failed, or there are too many directories.
///
/// # Security
/// A target may have made what somebody moved here, with a list of its choice.
pub(crate) fn find<L: Look>(
    look: &mut L,
    scan: &Scanned,
    closed: &Closed<'_>,
) -> Result<Strays, ObserveError> {
    let mut search = Search {
        look,
        closed,
        root: scan.root(),
        strays: Strays::default(),
        read: 0,
    };
    let tops = closed
        .paths
        .iter()
        .filter(|path| !path.ancestors().any(|above| closed.paths.contains(&above)));
    let due: Vec<(WindowsPath, Extent)> = match scan.earlier() {
        None => tops.map(|top| (top.clone(), Extent::Tree)).collect(),
        Some((before, astray, changes)) => {
            for path in astray {
                search.again(path)?;
            }
            tops.flat_map(|top| changed_in(top, before, changes))
                .collect()
        }
    };
    search.run(due)?;
    Ok(search.strays)
}

/// What of a closed path has to be looked at again.
fn changed_in(
    top: &WindowsPath,
    before: &BTreeSet<WindowsPath>,
    changes: &Changes,
) -> Vec<(WindowsPath, Extent)> {
    let is_moved = changes.moved.iter().any(|moved| top.starts_with(moved));
    let was_covered = before.contains(top) || top.ancestors().any(|above| before.contains(&above));
    if is_moved || !was_covered {
        return vec![(top.clone(), Extent::Tree)];
    }
    let within = |path: &&WindowsPath| path.starts_with(top);
    let trees = changes.moved.iter().filter(within);
    let single = changes.directories.iter().filter(within);
    trees
        .map(|path| (path.clone(), Extent::Tree))
        .chain(single.map(|path| (path.clone(), Extent::Itself)))
        .collect()
}

struct Search<'a, L> {
    look: &'a mut L,
    closed: &'a Closed<'a>,
    root: &'a WindowsPath,
    strays: Strays,
    read: usize,
}

impl<L: Look> Search<'_, L> {
    fn run(&mut self, mut left: Vec<(WindowsPath, Extent)>) -> Result<(), ObserveError> {
        // Each directory once, and by the widest extent.
        let mut done: BTreeMap<WindowsPath, Extent> = BTreeMap::new();
        left.sort_by_key(|(_, extent)| *extent == Extent::Tree);
        while let Some((directory, extent)) = left.pop() {
            if done.contains_key(&directory) || self.is_elsewhere(&directory) {
                continue;
            }
            let seen = self.look.look(&directory)?;
            // A file that is closed itself, or a link, which is not followed.
            let is_directory =
                seen.is_some_and(|seen| seen.kind == ObjectKind::Directory && seen.leads.is_none());
            if !is_directory {
                continue;
            }
            self.read += 1;
            if self.read > MAX_DIRECTORIES {
                return Err(ObserveError::TooManyDirectories {
                    root: self.root.clone(),
                    limit: MAX_DIRECTORIES,
                });
            }
            let below = self.directory(&directory)?;
            if extent == Extent::Tree {
                left.extend(below.into_iter().map(|path| (path, Extent::Tree)));
            }
            done.insert(directory, extent);
        }
        Ok(())
    }

    /// Whether a root lies between a directory and what closes it.
    fn is_elsewhere(&self, directory: &WindowsPath) -> bool {
        let mut own = std::iter::once(directory.clone()).chain(directory.ancestors());
        own.find_map(|path| {
            let is_closed = self.closed.paths.contains(&path);
            (is_closed || self.closed.roots.contains(&path)).then_some(!is_closed)
        })
        .unwrap_or(true)
    }

    /// Looks at what lies in a directory; gives back the directories in it.
    fn directory(&mut self, directory: &WindowsPath) -> Result<Vec<WindowsPath>, ObserveError> {
        let parent = self.look.descriptor(directory)?;
        let (Some(parent), Some(names)) = (parent, self.look.list(directory)?) else {
            self.strays.unread.insert(directory.clone());
            return Ok(Vec::new());
        };
        let mut below = Vec::new();
        for listed in names {
            let Ok(path) = directory.join_observed(&listed.name) else {
                self.strays.unread.insert(directory.clone());
                continue;
            };
            let kind = match listed.kind {
                ListedKind::Directory => Some(ObjectKind::Directory),
                ListedKind::File => Some(ObjectKind::File),
                ListedKind::Link => self.look.look(&path)?.map(|seen| seen.kind),
            };
            if let Some(kind) = kind {
                self.judge(&parent, path.clone(), kind)?;
            }
            if listed.kind == ListedKind::Directory {
                below.push(path);
            }
        }
        Ok(below)
    }

    /// Looks once more at one that was astray.
    fn again(&mut self, path: &WindowsPath) -> Result<(), ObserveError> {
        let parent = path.parent().filter(|parent| !self.is_elsewhere(parent));
        let (Some(parent), Some(seen)) = (parent, self.look.look(path)?) else {
            return Ok(());
        };
        match self.look.descriptor(&parent)? {
            Some(parent) => self.judge(&parent, path.clone(), seen.kind)?,
            None => {
                self.strays.unread.insert(parent);
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        parent: &SecurityDescriptor,
        path: WindowsPath,
        kind: ObjectKind,
    ) -> Result<(), CallFailure> {
        let own = self.look.descriptor(&path)?;
        if !own.is_some_and(|own| inherits_alone(parent, kind, &own)) {
            self.strays.found.insert(path);
        }
        Ok(())
    }
}
