//! Keeps what was touched and takes it away.
//!
//! Invariant: a target that makes names in a loop fills neither the memory nor the quarantine without bound; what is
//! beyond a cap is said.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use ringfence_audit::SessionId;
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;
use ringfence_policy::document::NewRepositories;

use super::lease::Orders;
use super::repository::{self, Finding};
use super::search;
use super::{Repositories, Seen, Swept, Watching};
use crate::quarantine::{Entry, Quarantine, Reason, Taking, tree};
use ringfence_policy::escape::escape_os;

/// Objects that are taken at once during one command; what comes after waits for the sweep.
const MAX_AT_ONCE: usize = 64;
/// How long a touched name is looked for before it is left to the sweep: the call that was seen comes after the report.
const LOOK_FOR: Duration = Duration::from_millis(500);
/// Possible repositories that are remembered.
const MAX_CANDIDATES: usize = 100_000;

/// What was made this much later than a killed session ended is somebody else's; clocks of files are coarse.
const MARGIN: Duration = Duration::from_secs(5);

/// The end of a session that can't say any more what it made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// When its last process ended.
    pub(super) time: SystemTime,
    /// The device of the file system whose clock that is.
    pub(super) device: u64,
}

/// Guards one session.
#[derive(Debug)]
pub(crate) struct Guardian {
    orders: Orders,
    watching: Watching,
    quarantine: Quarantine,
    /// When the session ended, where it is swept after its death and that is known.
    ended: Option<Ended>,
    /// For each absent name whether the session touched it.
    touched: Vec<bool>,
    /// For each absent name whether the runner saw it appear while the session made nothing.
    foreign: Vec<bool>,
    /// For each absent name whether the runner is told by the kernel when it appears, and tells before it reports the
    /// command's end.
    in_sight: Vec<bool>,
    /// Absent names to look for now, by index, and until when.
    waiting: Vec<(usize, Instant)>,
    candidates: BTreeSet<AbsolutePath>,
    /// Directories that were moved, or may have been: what lies in them was seen elsewhere.
    moved: BTreeSet<AbsolutePath>,
    overflow: bool,
    swept: Swept,
    /// How much of `swept.quarantined` was told by [`Guardian::news`].
    told: usize,
}

impl Guardian {
    pub(crate) fn new(
        plan: &Plan,
        (watching, repositories): (Watching, Repositories),
        quarantine: Quarantine,
        session: SessionId,
    ) -> Self {
        let orders = Orders {
            session,
            harness: std::process::id(),
            workspace: plan.workspace.clone(),
            known_commands: commands_in(&plan.guard.commit_directories),
            guard: plan.guard.clone(),
            rules: plan.rules.below(&plan.guard.roots),
            repositories,
            known_repositories: Vec::new(),
        };
        let mut guardian = Self::with(orders, watching, quarantine);
        guardian.in_sight = in_sight(plan);
        if guardian.takes(NewRepositories::Quarantine) {
            guardian.orders.known_repositories = guardian.search().0;
        }
        guardian
    }

    /// Takes up the orders of a session that is dead.
    pub(super) fn after_death(
        orders: Orders,
        quarantine: Quarantine,
        ended: Option<Ended>,
    ) -> Self {
        Self {
            ended,
            ..Self::with(orders, Watching::Unobserved, quarantine)
        }
    }

    fn with(orders: Orders, watching: Watching, quarantine: Quarantine) -> Self {
        let absent = orders.guard.absent.len();
        Self {
            orders,
            watching,
            quarantine,
            ended: None,
            touched: vec![false; absent],
            foreign: vec![false; absent],
            in_sight: vec![false; absent],
            waiting: Vec::new(),
            candidates: BTreeSet::new(),
            moved: BTreeSet::new(),
            overflow: false,
            swept: Swept::default(),
            told: 0,
        }
    }

    /// What it must take away: whoever has them can do it in its place.
    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    fn takes(&self, new_repositories: NewRepositories) -> bool {
        self.orders.repositories == Repositories::AsPlanned
            && self.orders.guard.new_repositories == new_repositories
    }

    /// All repositories that the session could write, and how many directories were not looked into.
    fn search(&self) -> (Vec<AbsolutePath>, usize) {
        let found = self
            .orders
            .guard
            .roots
            .iter()
            .map(|root| search::repositories(root, &self.orders.rules));
        found.fold((Vec::new(), 0), |(mut all, unread), found| {
            all.extend(found.repositories);
            (all, unread + found.unread)
        })
    }

    /// The observer saw a call that makes or changes `path`; it may not have happened yet.
    pub(crate) fn touched(&mut self, path: &AbsolutePath) {
        for (index, name) in self.orders.guard.absent.iter().enumerate() {
            if path.starts_with(&name.path) {
                if let Some(touched) = self.touched.get_mut(index) {
                    *touched = true;
                }
                self.waiting.retain(|(waiting, _)| *waiting != index);
                self.waiting.push((index, Instant::now() + LOOK_FOR));
                return;
            }
        }
        if !self.takes(NewRepositories::Clean) && !self.takes(NewRepositories::Quarantine) {
            return;
        }
        if self.moved.len() < MAX_CANDIDATES {
            self.moved.insert(path.clone());
        } else if !self.moved.contains(path) {
            self.overflow = true;
        }
        if let Some(candidate) = repository::candidate(path) {
            if self.candidates.len() < MAX_CANDIDATES {
                self.candidates.insert(candidate);
            } else if !self.candidates.contains(&candidate) {
                self.overflow = true;
            }
        }
    }

    /// The runner saw `path` appear by somebody else's hand, or another object take the place of it.
    pub(crate) fn appeared(&mut self, path: &AbsolutePath) {
        for (index, name) in self.orders.guard.absent.iter().enumerate() {
            if let Some(foreign) = self.foreign.get_mut(index) {
                *foreign |= name.path == *path;
            }
            // What was below it was watched in the old object.
            if let Some(in_sight) = self.in_sight.get_mut(index) {
                *in_sight &= !name.path.starts_with(path);
            }
        }
    }

    /// The runner can't watch `directory`: only looking tells what is in it.
    pub(crate) fn unwatched(&mut self, directory: &AbsolutePath) {
        for (name, in_sight) in self.orders.guard.absent.iter().zip(&mut self.in_sight) {
            *in_sight &= name.path.parent().as_ref() != Some(directory);
        }
    }

    /// Whether a touched name is still looked for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes what was touched and is there by now.
    pub(crate) fn retry(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (index, until) in waiting {
            if self.swept.quarantined.len() >= MAX_AT_ONCE {
                return;
            }
            if !self.take_absent(index) && Instant::now() < until {
                self.waiting.push((index, until));
            }
        }
    }

    /// What was moved and is not recorded yet; each object is told once.
    pub(crate) fn news(&mut self) -> Vec<Entry> {
        let news = self.swept.quarantined.get(self.told..).unwrap_or_default();
        self.told = self.swept.quarantined.len();
        news.to_vec()
    }

    /// Takes everything the session left behind; [`Guardian::take_swept`] says what was done.
    ///
    /// Where not all was seen, a guarded name that is there now counts as the session's: taking a person's file, which
    /// can be restored, is the smaller harm. While the session goes on, only what may be there is looked for: else a
    /// command in a workspace of many repositories would wait for thousands of names that nobody has made.
    pub(crate) fn sweep(&mut self, seen: Seen) {
        self.waiting.clear();
        let wanted: Vec<usize> = (0..self.orders.guard.absent.len())
            .filter(|index| seen != Seen::SoFar || self.may_be_there(*index))
            .collect();
        for index in self.there(wanted) {
            let made = match (self.watching, seen) {
                (Watching::Unobserved, _) | (Watching::Observed, Seen::InPart) => true,
                // What nobody saw appear counts as the session's: a target can hide from the observer what it names.
                (Watching::Observed, Seen::All | Seen::SoFar) => {
                    let of = |list: &[bool]| list.get(index).copied();
                    of(&self.touched).unwrap_or(true) || !of(&self.foreign).unwrap_or(false)
                }
            };
            if !made {
                self.note_foreign(index, "while the command ran and was not made by it");
            } else if self.is_later(index) {
                self.note_foreign(index, "after the killed session had ended");
            } else {
                self.take_absent(index);
            }
        }
        if self.watching == Watching::Unobserved || seen == Seen::InPart || self.overflow {
            self.look_for_repositories();
        }
        self.sweep_repositories();
        self.sweep_rebases();
    }

    /// Whether an absent name may be there for all that was heard.
    fn may_be_there(&self, index: usize) -> bool {
        let of = |list: &[bool]| list.get(index).copied();
        of(&self.touched).unwrap_or(true)
            || of(&self.foreign).unwrap_or(true)
            || !of(&self.in_sight).unwrap_or(false)
    }

    /// Of some absent names, by index, those that are there or could not be looked at: few after most commands. Each
    /// directory is opened once.
    fn there(&self, wanted: Vec<usize>) -> Vec<usize> {
        let mut opened: Option<(&Path, OwnedFd)> = None;
        let mut found = Vec::new();
        for index in wanted {
            let Some(name) = self.orders.guard.absent.get(index) else {
                continue;
            };
            let path = name.path.as_path();
            let (Some(parent), Some(file_name), Some(root)) =
                (path.parent(), path.file_name(), self.root_of(&name.path))
            else {
                found.push(index);
                continue;
            };
            if opened.as_ref().is_none_or(|(path, _)| *path != parent) {
                opened = match tree::open_parent(root.as_path(), path) {
                    Ok(Some((directory, _))) => Some((parent, directory)),
                    Ok(None) => continue,
                    Err(_) => {
                        found.push(index);
                        continue;
                    }
                };
            }
            let nowhere = opened.as_ref().is_some_and(|(_, directory)| {
                matches!(tree::examine(directory.as_fd(), file_name), Ok(None))
            });
            if !nowhere {
                found.push(index);
            }
        }
        found
    }

    /// Reports what was swept for others with its own.
    pub(crate) fn inherit(&mut self, swept: Swept) {
        self.swept.quarantined.extend(swept.quarantined);
        self.swept.notes.extend(swept.notes);
    }

    /// What was done and noted since the last call.
    pub(crate) fn take_swept(&mut self) -> Swept {
        self.told = 0;
        std::mem::take(&mut self.swept)
    }

    /// Moves an absent name away; whether that was done or failed for good.
    fn take_absent(&mut self, index: usize) -> bool {
        let Some(name) = self.orders.guard.absent.get(index).cloned() else {
            return true;
        };
        self.take(
            &name.path,
            Reason::ProtectedName {
                origin: name.origin,
            },
        )
    }

    /// Whether somebody made an absent name when the session was dead.
    fn is_later(&self, index: usize) -> bool {
        let name = self.orders.guard.absent.get(index);
        name.is_some_and(|name| self.was_made_later(&name.path))
    }

    /// Whether `path` was made when the session was dead. Nobody can set the time at which a file was made; a time of
    /// another file system's clock, and none, are no proof.
    fn was_made_later(&self, path: &AbsolutePath) -> bool {
        let Some(ended) = self.ended else {
            return false;
        };
        let Ok(metadata) = path.as_path().symlink_metadata() else {
            return false;
        };
        let made = metadata.created().ok();
        metadata.dev() == ended.device && made.is_some_and(|made| made > ended.time + MARGIN)
    }

    /// Somebody else made it: it is theirs.
    fn note_foreign(&mut self, index: usize, when: &str) {
        let Some(name) = self.orders.guard.absent.get(index) else {
            return;
        };
        if name.path.as_path().symlink_metadata().is_ok() {
            self.swept.notes.push(format!(
                "{} appeared {when}: it stays",
                escape_os(name.path.as_path())
            ));
        }
    }

    fn take(&mut self, path: &AbsolutePath, reason: Reason) -> bool {
        let Some(root) = self.root_of(path).cloned() else {
            return true;
        };
        let taking = Taking {
            root: &root,
            path,
            session: &self.orders.session,
            reason,
        };
        match self.quarantine.take(&taking) {
            Ok(Some(entry)) => {
                self.swept.quarantined.push(entry);
                true
            }
            Ok(None) => false,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
                self.swept.notes.push(format!(
                    "WARNING: {} was made by the command and could not be moved away ({error}{}); look at it before you run anything there",
                    escape_os(path.as_path()),
                    cause.unwrap_or_default()
                ));
                true
            }
        }
    }

    fn root_of(&self, path: &AbsolutePath) -> Option<&AbsolutePath> {
        let holding = self
            .orders
            .guard
            .roots
            .iter()
            .filter(|root| path.starts_with(root) && path != *root);
        holding.max_by_key(|root| root.as_path().as_os_str().len())
    }

    /// Finds what nobody reported. What is only writable counts as touched: it may have been.
    fn look_for_repositories(&mut self) {
        if !self.takes(NewRepositories::Clean) && !self.takes(NewRepositories::Quarantine) {
            return;
        }
        let (found, unread) = self.search();
        let known: BTreeSet<_> = self.orders.known_repositories.iter().collect();
        let new = found
            .into_iter()
            .filter(|repository| !known.contains(repository) && !self.was_made_later(repository));
        let new: Vec<_> = new.collect();
        self.candidates.extend(new);
        if unread > 0 {
            self.swept.notes.push(format!(
                "WARNING: {unread} directories could not be searched for new repositories; look at them before you run git there"
            ));
        }
    }

    fn sweep_repositories(&mut self) {
        self.look_into_moved();
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<_> = std::mem::take(&mut self.candidates).into_iter().collect();
        while let Some(candidate) = waiting.pop() {
            let Some(root) = self.root_of(&candidate).cloned() else {
                continue;
            };
            if !seen.insert(candidate.clone()) {
                continue;
            }
            // A session that stays may go on making it.
            self.candidates.insert(candidate.clone());
            if self.orders.guard.new_repositories == NewRepositories::Quarantine {
                if repository::exists(&root, &candidate) {
                    self.take(&candidate, Reason::NewRepository);
                }
                continue;
            }
            for finding in repository::examine(&root, &candidate) {
                match finding {
                    Finding::RunsOnHost { path, what } => {
                        self.take(&path, Reason::RunsOnHost { what });
                    }
                    Finding::Elsewhere(directory) => waiting.push(directory),
                    Finding::Configuration { path, cleaned, dropped } => {
                        let what = format!("git configuration: {}", dropped.join(", "));
                        if self.take(&path, Reason::RunsOnHost { what })
                            && let Err(error) = repository::write_configuration(&root, &path, &cleaned)
                        {
                            self.swept.notes.push(format!("{}: {error}", escape_os(path.as_path())));
                        }
                    }
                    Finding::Unreadable { path, cause } => self.swept.notes.push(format!(
                        "WARNING: {} may be a repository and could not be examined ({cause}); look at it before you run git there",
                        escape_os(path.as_path())
                    )),
                }
            }
        }
    }

    /// Finds the possible repositories in directories that were moved.
    fn look_into_moved(&mut self) {
        let mut outer: Option<AbsolutePath> = None;
        // Sorted: what lies in another one of them comes after it.
        for path in std::mem::take(&mut self.moved) {
            if outer.as_ref().is_some_and(|outer| path.starts_with(outer)) {
                continue;
            }
            let Some(root) = self.root_of(&path).cloned() else {
                continue;
            };
            match repository::candidates_in(&root, &path) {
                Ok(found) => self.candidates.extend(found),
                Err((path, error)) => self.swept.notes.push(format!(
                    "WARNING: {} may hold repositories and could not be looked into ({error}); look at it before you run git there",
                    escape_os(path.as_path())
                )),
            }
            outer = Some(path);
        }
    }

    fn sweep_rebases(&mut self) {
        for directory in self.orders.guard.commit_directories.clone() {
            let known = &self.orders.known_commands;
            let new: BTreeSet<_> = repository::rebase_commands(&directory)
                .filter(|command| !known.contains(command))
                .map(|(rebase, _)| rebase)
                .collect();
            for rebase in new {
                if !self.was_made_later(&rebase) {
                    self.take(&rebase, Reason::OpenRebase);
                }
            }
        }
    }
}

/// For each absent name whether the runner is told when it appears: it watches the directories of all names, and a root
/// or a pinned directory can't be exchanged from within. Without mounts it watches none.
fn in_sight(plan: &Plan) -> Vec<bool> {
    let watches = plan.steps.contains(&Step::SealMounts);
    let pinned: BTreeSet<_> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Pin { path } => Some(path),
            _ => None,
        })
        .collect();
    let absent = plan.guard.absent.iter();
    absent
        .map(|name| {
            let parent = name.path.parent();
            watches
                && parent.is_some_and(|parent| {
                    plan.guard.roots.contains(&parent) || pinned.contains(&parent)
                })
        })
        .collect()
}

/// The commands in rebases that are open in `directories`.
fn commands_in(directories: &[AbsolutePath]) -> Vec<(AbsolutePath, Vec<u8>)> {
    let commands = directories.iter().flat_map(repository::rebase_commands);
    commands.collect()
}
