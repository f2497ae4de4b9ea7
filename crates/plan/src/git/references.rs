//! What git configuration runs or reads inside a root: system, user and repository files, with their includes.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use ringfence_policy::Policy;

use super::config::{Bases, Certainty, Content, Lead, leads, parse};
use super::{Disk, layout};
use crate::layout::{Anchor, BackLink, Entry, GitDirectory, GitLayout, GitReference};

/// As deep as git follows includes.
const MAX_DEPTH: usize = 10;

/// A writable root, and the repositories that were found in it.
#[derive(Debug)]
pub struct Root<'a, P> {
    /// The directory, resolved; `None` where there is none.
    pub top: Option<&'a P>,
    /// The root and its repositories.
    pub anchors: &'a [Anchor<P>],
    /// Its repositories without a working tree.
    pub bare: &'a [GitDirectory<P>],
}

/// Every path in a root that git, started by the person in a repository there, would run or read as configuration.
///
/// `global` are the files that hold for every repository, the system's first.
///
/// # Errors
/// The disk's: a configuration file that exists and can't be read might name anything.
pub fn references<D: Disk>(
    disk: &mut D,
    policy: &Policy,
    home: &D::Path,
    global: &[PathBuf],
    roots: &[Root<'_, D::Path>],
) -> Result<Vec<GitReference<D::Path>>, D::Error> {
    let tops: Vec<&D::Path> = roots.iter().filter_map(|root| root.top).collect();
    let home = disk.written(home);
    let mut search = Search {
        tops: &tops,
        asked: HashSet::new(),
        found: BTreeMap::new(),
    };
    for (top, layout) in repositories(disk, policy, roots, &tops)? {
        let own = [
            disk.below(&layout.common, "config"),
            disk.below(&layout.directory, "config.worktree"),
        ];
        let own: Vec<PathBuf> = own
            .iter()
            .flatten()
            .map(|file| disk.written(file))
            .collect();
        let mut reading = Reading {
            home: &home,
            top: &disk.written(&top),
            seen: HashSet::new(),
            leads: Vec::new(),
        };
        for file in global.iter().chain(&own) {
            reading.file(disk, file, MAX_DEPTH)?;
        }
        for lead in reading.leads {
            search.add(disk, &lead)?;
        }
    }
    Ok(search.found.into_values().collect())
}

type Repositories<P> = Vec<(P, GitLayout<P>)>;

/// The repositories in the roots and above them: their configuration may lead into a root.
fn repositories<D: Disk>(
    disk: &mut D,
    policy: &Policy,
    roots: &[Root<'_, D::Path>],
    tops: &[&D::Path],
) -> Result<Repositories<D::Path>, D::Error> {
    let mut repositories: Repositories<D::Path> = roots
        .iter()
        .flat_map(|root| root.anchors)
        .filter_map(|anchor| Some((anchor.path.clone(), anchor.git.clone()?)))
        .collect();
    for bare in roots.iter().flat_map(|root| root.bare) {
        // Git started in it has no other top.
        let layout = GitLayout {
            directory: bare.path.clone(),
            common: bare.path.clone(),
            back_link: BackLink::Mutual,
            directories: Vec::new(),
        };
        repositories.push((bare.path.clone(), layout));
    }
    for top in tops {
        let mut above = disk.above(top);
        while let Some(directory) = above {
            above = disk.above(&directory);
            let Some(dot_git) = disk.below(&directory, ".git") else {
                continue;
            };
            let (_, entry) = disk.probe(&dot_git)?;
            if let Some(layout) = layout(disk, policy, &directory, &entry)? {
                repositories.push((directory, layout));
            }
        }
    }
    Ok(repositories)
}

/// What was found in the roots, so far.
struct Search<'a, P> {
    tops: &'a [&'a P],
    asked: HashSet<(PathBuf, Certainty)>,
    found: BTreeMap<P, GitReference<P>>,
}

impl<P: Clone + Ord> Search<'_, P> {
    fn add<D: Disk<Path = P>>(&mut self, disk: &mut D, lead: &Lead) -> Result<(), D::Error> {
        if !self.asked.insert((lead.path.clone(), lead.certainty)) {
            return Ok(());
        }
        for (path, entry) in disk.probe_written(&lead.path)? {
            let is_inside = |path: &P| self.tops.iter().any(|top| disk.is_within(path, top));
            let is_target_inside = match &entry {
                Entry::Symlink { target, .. } => is_inside(target),
                Entry::Absent
                | Entry::AbsentParent { .. }
                | Entry::File
                | Entry::Directory
                | Entry::Other => false,
            };
            let counts = match lead.certainty {
                Certainty::Path => !self.tops.contains(&&path),
                Certainty::IfFile => entry == Entry::File,
            };
            if counts && (is_inside(&path) || is_target_inside) {
                let key = lead.key.clone();
                self.found
                    .entry(path.clone())
                    .or_insert(GitReference { key, path, entry });
            }
        }
        Ok(())
    }
}

/// The configuration of one repository, as it is read.
struct Reading<'a> {
    home: &'a Path,
    top: &'a Path,
    seen: HashSet<PathBuf>,
    leads: Vec<Lead>,
}

impl Reading<'_> {
    fn file<D: Disk>(&mut self, disk: &mut D, file: &Path, depth: usize) -> Result<(), D::Error> {
        if depth == 0 || !self.seen.insert(file.to_owned()) {
            return Ok(());
        }
        for (directory, content) in disk.configuration(file)? {
            let bases = Bases {
                home: self.home,
                file: &directory,
                top: self.top,
            };
            for lead in parse(&content).iter().flat_map(|one| leads(one, &bases)) {
                if lead.content == Content::Configuration {
                    self.file(disk, &lead.path, depth - 1)?;
                }
                self.leads.push(lead);
            }
        }
        Ok(())
    }
}
