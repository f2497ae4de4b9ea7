//! What is held inside the roots: protected names, secrets, the directories that must stay above them, foreign links.
//!
//! Names are collected first, then each object's descriptor is computed from the root down, so that what it inherits
//! is what its parent will have. Invariant: each directory between a held path and its root is held too, and every
//! existing name that the policy protects has an entry or the plan is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ringfence_nt::SecurityDescriptor;
use ringfence_policy::Policy;
use ringfence_policy::document::GitAccess;
use ringfence_policy::escape::escape_windows;
use ringfence_policy::policy::HiddenPattern;

use crate::layout::{Anchor, BackLink, Entry, GitDirectory, GitLayout, GitRole, NameFact};
use crate::plan::GuardedName;
use crate::windows::descriptors::{Trustees, bind_owner, secret, with_entries};
use crate::windows::error::{PlanError, below};
use crate::windows::facts::{ObjectFact, WindowsFacts, WindowsRoot};
use crate::windows::objects::Objects;
use crate::windows::path::WindowsPath;
use crate::windows::plan::{Accounts, HeldObject};
use crate::windows::reach::Reach;
use crate::windows::step::{ObjectKind, Purpose};
use crate::windows::walk::{Names, Visited, WalkRule};

const GIT: &str = ".git";

/// How a path inside a root is held. The order is the order of strength where two want the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Nobody of ours reads it.
    Secret,
    /// Nobody of ours writes it.
    Protected,
    /// A root of its own, inside another.
    Root,
    /// A file with a name outside.
    LinkedOutside,
    /// It stays where it is.
    Between,
}

/// What is held inside the roots, before descriptors are computed.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// By path; the strongest hold of each.
    pub(crate) holds: BTreeMap<WindowsPath, (Hold, String)>,
    /// Names that do not exist.
    pub(crate) absent: Vec<GuardedName<WindowsPath>>,
    /// Git directories that may be committed to.
    pub(crate) commit_directories: Vec<WindowsPath>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// Collects names.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    policy: &'a Policy,
    /// Final paths of the roots.
    roots: &'a [WindowsPath],
    /// How a secret is held: who runs as the person reads what they read, and is only kept from writing it.
    secret: Hold,
    /// Names that do not exist in directories that do: these stay where they are.
    pinned: Vec<WindowsPath>,
    collected: Collected,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(policy: &'a Policy, roots: &'a [WindowsPath], accounts: Accounts) -> Self {
        let mut collected = Collected::default();
        for root in roots {
            collected
                .holds
                .insert(root.clone(), (Hold::Root, root.to_string()));
        }
        Self {
            policy,
            roots,
            secret: match accounts {
                Accounts::Made(_) | Accounts::ToBeMade(_) => Hold::Secret,
                Accounts::Person => Hold::Protected,
            },
            pinned: Vec::new(),
            collected,
        }
    }

    /// Collects everything that the facts tell of the roots.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] where a protected name is not looked at; [`PlanError::WorkspaceHidden`].
    pub(crate) fn collect(mut self, facts: &WindowsFacts) -> Result<Collected, PlanError> {
        for root in &facts.roots {
            for anchor in &root.anchors {
                self.anchor(anchor)?;
            }
            for directory in &root.bare {
                self.bare(directory)?;
            }
            self.outside_links(root);
        }
        for reference in &facts.git_references {
            self.entry(&reference.path, &reference.entry, &reference.key);
        }
        self.secrets(facts)?;
        Ok(self.finish())
    }

    fn anchor(&mut self, anchor: &Anchor<WindowsPath>) -> Result<(), PlanError> {
        let names: HashMap<&str, &NameFact<WindowsPath>> = anchor
            .names
            .iter()
            .map(|fact| (fact.name.as_str(), fact))
            .collect();
        let mismatch = |name: &str| PlanError::FactsMismatch {
            what: format!("`{name}` at `{}`", anchor.path.printable()),
        };
        for name in &self.policy.filesystem.protected {
            if name.value == GIT {
                continue;
            }
            let fact = names
                .get(name.value.as_str())
                .ok_or_else(|| mismatch(&name.value))?;
            self.entry(&below(&anchor.path, &fact.name)?, &fact.entry, &name.value);
        }
        let git = names.get(GIT).ok_or_else(|| mismatch(GIT))?;
        let path = below(&anchor.path, GIT)?;
        match self.policy.filesystem.git.value {
            GitAccess::Full => {}
            GitAccess::ReadOnly => {
                self.entry(&path, &git.entry, GIT);
                if let Some(layout) = &anchor.git {
                    for directory in [&layout.directory, &layout.common] {
                        self.hold(directory, Hold::Protected, GIT);
                    }
                }
            }
            GitAccess::Commit => self.committable(&path, &git.entry, anchor.git.as_ref())?,
        }
        Ok(())
    }

    fn committable(
        &mut self,
        path: &WindowsPath,
        entry: &Entry<WindowsPath>,
        layout: Option<&GitLayout<WindowsPath>>,
    ) -> Result<(), PlanError> {
        let Some(layout) = layout.filter(|layout| layout.back_link == BackLink::Mutual) else {
            // No repository that may be trusted: the name is held like any other.
            self.entry(path, entry, GIT);
            if layout.is_some() {
                self.collected.notes.push(format!(
                    "`{}` names a git directory that does not name it in turn: nothing in it may be written",
                    path.printable()
                ));
            }
            return Ok(());
        };
        match entry {
            // Its own parts are judged below; the directory itself stays in place above them.
            Entry::Directory => self.hold(path, Hold::Between, GIT),
            Entry::Absent
            | Entry::AbsentParent { .. }
            | Entry::File
            | Entry::Other
            | Entry::Symlink { .. } => self.entry(path, entry, GIT),
        }
        for directory in &layout.directories {
            match directory.role {
                GitRole::OtherWorktree | GitRole::Unread => {
                    self.hold(&directory.path, Hold::Protected, GIT);
                }
                GitRole::Own | GitRole::Module | GitRole::Bare => {
                    self.inside(directory)?;
                    if self.in_root(&directory.path) {
                        self.collected
                            .commit_directories
                            .push(directory.path.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// A repository without a working tree: git started in it runs its hooks and what its configuration names.
    fn bare(&mut self, directory: &GitDirectory<WindowsPath>) -> Result<(), PlanError> {
        match self.policy.filesystem.git.value {
            GitAccess::Full => Ok(()),
            GitAccess::ReadOnly | GitAccess::Commit => self.inside(directory),
        }
    }

    /// Holds what runs something on the host in a git directory.
    fn inside(&mut self, directory: &GitDirectory<WindowsPath>) -> Result<(), PlanError> {
        for fact in &directory.names {
            let path = below(&directory.path, &fact.name)?;
            self.entry(&path, &fact.entry, &format!("{GIT}/{}", fact.name));
        }
        Ok(())
    }

    /// Holds what stands at `path`, a link and its target alike.
    fn entry(&mut self, path: &WindowsPath, entry: &Entry<WindowsPath>, origin: &str) {
        let mut absent = |path: &WindowsPath| {
            self.collected.absent.push(GuardedName {
                path: path.clone(),
                origin: origin.to_owned(),
            });
        };
        match entry {
            Entry::Absent if in_any(self.roots, path) => {
                absent(path);
                self.pinned.push(path.clone());
            }
            Entry::AbsentParent { existing } if in_any(self.roots, path) => {
                absent(path);
                let existing = existing.clone();
                self.hold(&existing, Hold::Between, origin);
            }
            Entry::Absent | Entry::AbsentParent { .. } => {}
            Entry::File | Entry::Directory | Entry::Other => {
                self.hold(path, Hold::Protected, origin);
            }
            Entry::Symlink { target, kind } => {
                if kind.is_none() && in_any(self.roots, target) {
                    absent(target);
                }
                self.hold(path, Hold::Protected, origin);
                if kind.is_some() {
                    self.hold(target, Hold::Protected, origin);
                }
            }
        }
    }

    fn outside_links(&mut self, root: &WindowsRoot) {
        for path in &root.outside_links {
            self.hold(path, Hold::LinkedOutside, "hard_links");
        }
        if let Some(first) = root.outside_links.first() {
            self.collected.notes.push(format!(
                "{} file(s) below `{}` are also something outside it, `{}` for one: commands read and start them, and do not write them",
                root.outside_links.len(),
                escape_windows(&root.named),
                first.printable()
            ));
        }
        if let Some(first) = root.unread.first() {
            self.collected.notes.push(format!(
                "{} director(ies) below `{}` could not be read, `{}` for one: what lies in them was not looked at",
                root.unread.len(),
                escape_windows(&root.named),
                first.printable()
            ));
        }
        for mount in &root.mounts {
            self.collected.notes.push(format!(
                "`{}` is another volume inside a writable root: commands do not write it (name it with `--writable-root` to let them)",
                mount.printable()
            ));
        }
    }

    fn secrets(&mut self, facts: &WindowsFacts) -> Result<(), PlanError> {
        let hidden = self.policy.filesystem.hidden.iter();
        let known: HashSet<&str> = hidden.map(|hidden| hidden.name.as_str()).collect();
        let told: HashSet<&str> = facts.hidden.iter().map(|fact| fact.name.as_str()).collect();
        for hidden in &self.policy.filesystem.hidden {
            if matches!(hidden.pattern, HiddenPattern::Path(_))
                && !told.contains(hidden.name.as_str())
            {
                return Err(PlanError::FactsMismatch {
                    what: format!("the hidden path `{}`", hidden.name),
                });
            }
        }
        for fact in &facts.hidden {
            if !known.contains(fact.name.as_str()) {
                continue;
            }
            let (path, is_directory) = match &fact.entry {
                Entry::Absent | Entry::AbsentParent { .. } | Entry::Symlink { kind: None, .. } => {
                    continue;
                }
                Entry::File | Entry::Other => (&fact.path, false),
                Entry::Directory => (&fact.path, true),
                Entry::Symlink { target, kind } => {
                    // Without its link, the next session would not find the object.
                    self.hold(&fact.path, Hold::Protected, &fact.name);
                    (target, *kind == Some(crate::layout::Kind::Directory))
                }
            };
            if is_directory
                && let Some(root) = self.roots.iter().find(|root| root.starts_with(path))
            {
                return Err(PlanError::WorkspaceHidden {
                    workspace: root.printable(),
                    hidden: path.printable(),
                });
            }
            self.hold(path, self.secret, &fact.name);
        }
        for path in &facts.ssh_names {
            self.hold(path, self.secret, "SSH configuration");
        }
        Ok(())
    }

    fn in_root(&self, path: &WindowsPath) -> bool {
        in_any(self.roots, path)
    }

    /// Holds a path that lies in a root; what lies elsewhere is judged elsewhere.
    fn hold(&mut self, path: &WindowsPath, hold: Hold, origin: &str) {
        if !self.in_root(path) {
            return;
        }
        let wanted = (hold, origin.to_owned());
        let present = self.collected.holds.entry(path.clone());
        let present = present.or_insert_with(|| wanted.clone());
        if wanted.0 < present.0 {
            *present = wanted;
        }
    }

    /// Drops what a path above covers, then adds the directories in between.
    fn finish(mut self) -> Collected {
        self.drop_covered();
        let held = self
            .collected
            .holds
            .iter()
            .filter(|(_, (hold, _))| match hold {
                Hold::Protected | Hold::Root | Hold::Between => true,
                // Their descriptors are their own, and go where they go.
                Hold::Secret | Hold::LinkedOutside => false,
            });
        let held = held.map(|(path, _)| path);
        let between: BTreeSet<WindowsPath> = held
            .chain(&self.pinned)
            .flat_map(|path| self.between(path))
            .collect();
        for path in between {
            self.hold(&path, Hold::Between, "");
        }
        let collected = &mut self.collected;
        collected.absent.sort_by(|a, b| a.path.cmp(&b.path));
        collected.absent.dedup_by(|a, b| a.path == b.path);
        collected.commit_directories.sort_unstable();
        collected.commit_directories.dedup();
        self.collected
    }

    fn drop_covered(&mut self) {
        let mut covering: Option<(WindowsPath, Hold)> = None;
        self.collected.holds.retain(|path, (hold, _)| {
            let by = covering
                .as_ref()
                .filter(|(above, _)| path.is_below(above))
                .map(|(_, by)| *by);
            match (by, *hold) {
                // Below a secret nothing is left to hold; below a protected path only secrets and roots are.
                (Some(Hold::Secret), _)
                | (Some(_), Hold::Protected | Hold::LinkedOutside | Hold::Between) => return false,
                // What a root grants by itself outranks what it inherits: names in it are held again.
                (_, Hold::Root) => covering = None,
                (_, Hold::Secret | Hold::Protected) => covering = Some((path.clone(), *hold)),
                (None, Hold::LinkedOutside | Hold::Between) => {}
            }
            true
        });
        let holds = &self.collected.holds;
        let is_covered = |path: &WindowsPath| {
            let above = path.ancestors().find_map(|above| holds.get(&above));
            above.is_some_and(|(hold, _)| matches!(hold, Hold::Secret | Hold::Protected))
        };
        self.collected.absent.retain(|name| !is_covered(&name.path));
        self.pinned.retain(|path| !is_covered(path));
    }

    /// The directories between `path` and the outermost root that it lies in, both left out.
    fn between(&self, path: &WindowsPath) -> Vec<WindowsPath> {
        let roots = self.roots.iter().filter(|root| path.is_below(root));
        let Some(outermost) = roots.min_by_key(|root| root.components().len()) else {
            return Vec::new();
        };
        path.ancestors()
            .take_while(|above| above.is_below(outermost))
            .collect()
    }
}

/// What policy and facts close inside the roots, to write or to read, as far as names tell; nothing where no plan can be.
pub(crate) fn closed(
    policy: &Policy,
    facts: &WindowsFacts,
    accounts: Accounts,
) -> Vec<WindowsPath> {
    let roots: Vec<WindowsPath> = facts.roots.iter().filter_map(WindowsRoot::path).collect();
    let Ok(collected) = Collector::new(policy, &roots, accounts).collect(facts) else {
        return Vec::new();
    };
    let closed = collected
        .holds
        .into_iter()
        .filter(|(_, (hold, _))| match hold {
            Hold::Secret | Hold::Protected => true,
            Hold::Root | Hold::LinkedOutside | Hold::Between => false,
        });
    closed.map(|(path, _)| path).collect()
}

fn in_any(roots: &[WindowsPath], path: &WindowsPath) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

/// Computes the descriptors of what is held inside the roots.
#[derive(Debug)]
pub(crate) struct Describe<'a> {
    pub(crate) objects: &'a Objects<'a>,
    pub(crate) reach: &'a Reach,
    /// Final paths of the roots, with the trustees of each.
    pub(crate) roots: &'a [(WindowsPath, Trustees)],
}

impl Describe<'_> {
    /// Every object that `collected` holds, with the descriptor that it gets, sorted by path.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] without facts of an object; [`PlanError::NotHeld`] without its descriptor.
    pub(crate) fn all(&self, collected: &Collected) -> Result<Vec<HeldObject>, PlanError> {
        let mut held: Vec<HeldObject> = Vec::with_capacity(collected.holds.len());
        // Paths are sorted, parents first: what is above is on this stack, the nearest last.
        let mut above: Vec<(WindowsPath, SecurityDescriptor)> = Vec::new();
        for (path, (hold, origin)) in &collected.holds {
            while above.last().is_some_and(|(one, _)| !path.is_below(one)) {
                above.pop();
            }
            let fact = self.objects.require(path)?;
            let Some((index, trustees)) = self.root_of(path) else {
                continue;
            };
            let parent = above
                .last()
                .filter(|(one, _)| path.parent().as_ref() == Some(one))
                .map(|(_, descriptor)| descriptor);
            let descriptor = self.describe(fact, *hold, parent, trustees)?;
            if fact.object.kind == ObjectKind::Directory && fact.reparse.is_none() {
                above.push((path.clone(), descriptor.clone()));
            }
            held.push(HeldObject {
                object: fact.object.clone(),
                purpose: purpose(*hold),
                origin: origin.clone(),
                root: Some(index),
                descriptor,
            });
        }
        Ok(held)
    }

    /// The innermost root that holds `path`.
    fn root_of(&self, path: &WindowsPath) -> Option<(usize, &Trustees)> {
        self.roots
            .iter()
            .enumerate()
            .filter(|(_, (root, _))| path.starts_with(root))
            .max_by_key(|(_, (root, _))| root.components().len())
            .map(|(index, (_, trustees))| (index, trustees))
    }

    fn describe(
        &self,
        fact: &ObjectFact,
        hold: Hold,
        parent: Option<&SecurityDescriptor>,
        trustees: &Trustees,
    ) -> Result<SecurityDescriptor, PlanError> {
        let kind = fact.object.kind;
        let not_held = |cause| PlanError::NotHeld {
            path: fact.object.path.printable(),
            cause,
        };
        let before = fact
            .descriptor
            .as_ref()
            .ok_or_else(|| not_held("its access control list can't be read"))?;
        let described = match hold {
            Hold::Secret => secret(before, kind, trustees, self.reach),
            Hold::LinkedOutside => {
                let rule = WalkRule {
                    purpose: Purpose::Root,
                    trustees,
                    reach: self.reach,
                };
                let visited = Visited {
                    kind,
                    names: Names::Outside,
                    descriptor: before,
                };
                rule.next(before, &visited)
                    .unwrap_or_else(|| before.clone())
            }
            Hold::Protected | Hold::Root | Hold::Between => {
                let ours = trustees.entries(purpose(hold), kind);
                let next = with_entries(before, parent, kind, &ours, trustees);
                bind_owner(next, kind, trustees)
            }
        };
        let changes = !crate::windows::descriptors::same_access(before, &described);
        let may_change = self
            .reach
            .of_person(Some(before))
            .contains(ringfence_nt::AccessMask::WRITE_DAC);
        if changes && !may_change {
            return Err(not_held("you may not change its access control list"));
        }
        Ok(described)
    }
}

const fn purpose(hold: Hold) -> Purpose {
    match hold {
        Hold::Secret => Purpose::Secret,
        Hold::Protected => Purpose::Protected,
        Hold::Root => Purpose::Root,
        Hold::LinkedOutside => Purpose::Walked,
        Hold::Between => Purpose::Between,
    }
}
