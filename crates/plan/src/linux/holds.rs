//! What beats every place: protected names, secrets, and the directories that must stay above them.
//!
//! Invariant: no protected name, present or absent, and no secret in a writable root lies below a directory that
//! the target could rename away: each directory in between is a pin. Linear in the number of paths: one sort.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use ringfence_policy::document::{GitAccess, HardLinks, Mode};
use ringfence_policy::filesystem::{PathAccess, PathRule, Strength};
use ringfence_policy::policy::{HiddenKind, HiddenPath, HiddenPattern};
use ringfence_policy::{AbsolutePath, Policy, RuleId};

use crate::linux::error::PlanError;
use crate::linux::facts::{
    Anchor, BackLink, Child, Entry, GitDirectory, GitLayout, GitRole, HiddenFact, Kind, LinuxFacts,
    NameFact,
};
use crate::linux::places::{PlaceKind, Places};
use crate::render::printable;
use crate::step::Placeholder;

/// How a path is held. The order is the order of strength where two want the same path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Behind an empty placeholder.
    Hide(Placeholder),
    /// Behind an empty directory in which these are shown.
    HideAround(Around),
    /// Read-only.
    Protect,
    /// A symbolic link that stays in place.
    Link,
    /// Nothing is there; what the session makes there is moved out.
    Absent(Parent),
    /// A directory that stays in place.
    Pin,
}

/// What lies in a hidden directory that shows something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Around {
    /// What is shown.
    pub(crate) shown: Vec<(AbsolutePath, Kind)>,
    /// What is there and gets a placeholder of its own, so that asking for it is refused and told.
    pub(crate) masked: Vec<(AbsolutePath, Kind)>,
}

/// Whether the directory that an absent name would lie in exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Parent {
    /// It does.
    Exists,
    /// It does not, or is not known to.
    Missing,
}

/// One path that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Where.
    pub(crate) path: AbsolutePath,
    /// How.
    pub(crate) hold: Hold,
    /// The words of the policy.
    pub(crate) origin: String,
}

/// Everything that is held, and the rules that say so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds {
    /// Sorted by path, parents first, one per path; nothing below what covers it.
    pub(crate) held: Vec<Held>,
    /// Rules of strength `Deny`, in no order.
    pub(crate) rules: Vec<PathRule>,
    /// Git directories that may be committed to.
    pub(crate) commit_directories: Vec<AbsolutePath>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// Collects what `policy` holds on this host, inside `places`.
///
/// # Errors
/// [`PlanError::FactsMismatch`] where the facts were gathered for another policy; [`PlanError::WorkspaceHidden`].
pub(crate) fn collect(
    policy: &Policy,
    facts: &LinuxFacts,
    places: &Places,
) -> Result<Holds, PlanError> {
    let mut collector = Collector {
        policy,
        places,
        holds: Holds::default(),
    };
    for root in &facts.roots {
        for anchor in &root.anchors {
            collector.anchor(anchor)?;
        }
        for directory in &root.bare {
            collector.bare(directory)?;
        }
        if policy.filesystem.hard_links.value == HardLinks::ReadOnly {
            for path in &root.outside_links {
                collector.protect(path, Hold::Protect, RuleId::HardLinkOutside, "hard_links");
            }
        }
    }
    for reference in &facts.git_references {
        collector.entry(
            &reference.path,
            &reference.entry,
            RuleId::GitExecutableConfig,
            &reference.key,
        );
    }
    collector.hidden(facts)?;
    Ok(collector.finish())
}

struct Collector<'a> {
    policy: &'a Policy,
    places: &'a Places,
    holds: Holds,
}

impl Collector<'_> {
    fn anchor(&mut self, anchor: &Anchor) -> Result<(), PlanError> {
        let names: HashMap<&str, &NameFact> = anchor
            .names
            .iter()
            .map(|fact| (fact.name.as_str(), fact))
            .collect();
        for name in &self.policy.filesystem.protected {
            if name.value == GIT {
                continue;
            }
            let fact = names
                .get(name.value.as_str())
                .ok_or_else(|| mismatch(&name.value, &anchor.path))?;
            let path = join(&anchor.path, &fact.name)?;
            self.entry(&path, &fact.entry, RuleId::ProtectedName, &name.value);
        }
        let git = names.get(GIT).ok_or_else(|| mismatch(GIT, &anchor.path))?;
        let path = join(&anchor.path, GIT)?;
        match self.policy.filesystem.git.value {
            GitAccess::Full => Ok(()),
            GitAccess::ReadOnly => {
                self.entry(&path, &git.entry, RuleId::ProtectedName, GIT);
                if let Some(layout) = &anchor.git {
                    for directory in [&layout.directory, &layout.common] {
                        self.protect(directory, Hold::Protect, RuleId::ProtectedName, GIT);
                    }
                }
                Ok(())
            }
            GitAccess::Commit => self.committable(&path, &git.entry, anchor.git.as_ref()),
        }
    }

    fn committable(
        &mut self,
        path: &AbsolutePath,
        entry: &Entry,
        layout: Option<&GitLayout>,
    ) -> Result<(), PlanError> {
        let Some(layout) = layout.filter(|layout| layout.back_link == BackLink::Mutual) else {
            // No repository that may be trusted: the name is held like any other.
            self.entry(path, entry, RuleId::ProtectedName, GIT);
            if layout.is_some() {
                self.holds.notes.push(format!(
                    "`{}` names a git directory that does not name it in turn: nothing in it may be written",
                    printable(path)
                ));
            }
            return Ok(());
        };
        match entry {
            // Its own parts are judged below; the directory itself becomes a pin above them.
            Entry::Directory => {}
            Entry::Absent
            | Entry::AbsentParent { .. }
            | Entry::File
            | Entry::Other
            | Entry::Symlink { .. } => {
                self.hold_entry(path, entry, RuleId::ProtectedName, GIT);
            }
        }
        for directory in &layout.directories {
            match directory.role {
                GitRole::OtherWorktree | GitRole::Unread => {
                    self.protect(&directory.path, Hold::Protect, RuleId::ProtectedName, GIT);
                }
                GitRole::Own | GitRole::Module | GitRole::Bare => {
                    self.inside(directory)?;
                    if self.places.kind_at(directory.path.as_path()) == PlaceKind::Root {
                        self.holds.commit_directories.push(directory.path.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// A repository without a working tree: git started in it runs its hooks and what its configuration names.
    fn bare(&mut self, directory: &GitDirectory) -> Result<(), PlanError> {
        match self.policy.filesystem.git.value {
            GitAccess::Full => Ok(()),
            GitAccess::ReadOnly | GitAccess::Commit => self.inside(directory),
        }
    }

    /// Holds what runs something on the host in a git directory.
    fn inside(&mut self, directory: &GitDirectory) -> Result<(), PlanError> {
        for fact in &directory.names {
            let path = join(&directory.path, &fact.name)?;
            let origin = format!("{GIT}/{}", fact.name);
            self.entry(&path, &fact.entry, RuleId::ProtectedName, &origin);
        }
        Ok(())
    }

    /// Holds what stands at `path`, link and target alike.
    fn entry(&mut self, path: &AbsolutePath, entry: &Entry, rule: RuleId, origin: &str) {
        self.hold_entry(path, entry, rule, origin);
        if let Entry::Symlink { target, kind } = entry {
            let hold = match kind {
                Some(_) => Hold::Protect,
                None => Hold::Absent(Parent::Missing),
            };
            self.protect(target, hold, rule, origin);
        }
    }

    /// Holds what stands at `path`, a link without its target.
    fn hold_entry(&mut self, path: &AbsolutePath, entry: &Entry, rule: RuleId, origin: &str) {
        let hold = match entry {
            Entry::Absent => Hold::Absent(Parent::Exists),
            Entry::AbsentParent { existing } => {
                if self.places.kind_at(existing.as_path()) == PlaceKind::Root
                    && self.places.exactly(existing.as_path()).is_none()
                {
                    self.hold(existing, Hold::Pin, "");
                }
                Hold::Absent(Parent::Missing)
            }
            Entry::File | Entry::Directory | Entry::Other => Hold::Protect,
            Entry::Symlink { .. } => Hold::Link,
        };
        self.protect(path, hold, rule, origin);
    }

    /// Adds a rule, and a hold where the target could write otherwise.
    fn protect(&mut self, path: &AbsolutePath, hold: Hold, rule: RuleId, origin: &str) {
        self.rule(path, PathAccess::ReadOnly, rule, origin);
        if self.places.kind_at(path.as_path()) == PlaceKind::Root {
            self.hold(path, hold, origin);
        }
    }

    fn hold(&mut self, path: &AbsolutePath, hold: Hold, origin: &str) {
        self.holds.held.push(Held {
            path: path.clone(),
            hold,
            origin: origin.to_owned(),
        });
    }

    fn rule(&mut self, path: &AbsolutePath, access: PathAccess, rule: RuleId, origin: &str) {
        self.holds.rules.push(PathRule {
            path: path.clone(),
            access,
            strength: Strength::Deny,
            rule,
            origin: origin.to_owned(),
            except: Vec::new(),
        });
    }

    fn hidden(&mut self, facts: &LinuxFacts) -> Result<(), PlanError> {
        let entries: HashMap<&str, &HiddenPath> = self
            .policy
            .filesystem
            .hidden
            .iter()
            .map(|hidden| (hidden.name.as_str(), hidden))
            .collect();
        let seen: HashSet<&str> = facts.hidden.iter().map(|fact| fact.name.as_str()).collect();
        for hidden in &self.policy.filesystem.hidden {
            let must_be_known = match hidden.pattern {
                HiddenPattern::Path(_) => true,
                HiddenPattern::HomeGlob(_) | HiddenPattern::RootGlob { .. } => false,
            };
            if must_be_known && !seen.contains(hidden.name.as_str()) {
                return Err(PlanError::FactsMismatch {
                    what: format!("the hidden path `{}`", hidden.name),
                });
            }
            if let HiddenPattern::Path(path) = &hidden.pattern {
                self.hidden_rules(path, hidden);
            }
        }
        for fact in &facts.hidden {
            if let Some(hidden) = entries.get(fact.name.as_str()) {
                self.secret(fact, hidden)?;
            }
        }
        Ok(())
    }

    fn hidden_rules(&mut self, path: &AbsolutePath, hidden: &HiddenPath) {
        let shown = hidden
            .except
            .iter()
            .filter(|except| except.starts_with(path))
            .cloned()
            .collect();
        self.hide_rules(path, hidden, shown);
    }

    fn shown_rules(&mut self, path: &AbsolutePath, hidden: &HiddenPath, shown: &[Child]) {
        let shown = shown.iter().map(|child| child.path.clone()).collect();
        self.hide_rules(path, hidden, shown);
    }

    fn hide_rules(&mut self, path: &AbsolutePath, hidden: &HiddenPath, shown: Vec<AbsolutePath>) {
        let rule = match hidden.kind {
            HiddenKind::BuiltIn => RuleId::Secret,
            HiddenKind::DenyRead => RuleId::DenyRead,
        };
        for except in &shown {
            self.rule(except, PathAccess::ReadOnly, rule, &hidden.name);
        }
        self.holds.rules.push(PathRule {
            path: path.clone(),
            access: PathAccess::Hidden,
            strength: Strength::Deny,
            rule,
            origin: hidden.name.clone(),
            except: shown,
        });
    }

    fn secret(&mut self, fact: &HiddenFact, hidden: &HiddenPath) -> Result<(), PlanError> {
        if !hidden_path_is(hidden, &fact.path) {
            self.shown_rules(&fact.path, hidden, &fact.shown);
        }
        let (object, kind) = match &fact.entry {
            Entry::Absent | Entry::AbsentParent { .. } | Entry::Symlink { kind: None, .. } => {
                return Ok(());
            }
            Entry::File => (&fact.path, Kind::File),
            Entry::Directory => (&fact.path, Kind::Directory),
            Entry::Other => (&fact.path, Kind::Other),
            Entry::Symlink {
                target,
                kind: Some(kind),
            } => {
                self.shown_rules(target, hidden, &fact.shown);
                // Without its link, the next session would not find the object.
                if self.places.kind_at(fact.path.as_path()) == PlaceKind::Root {
                    self.hold(&fact.path, Hold::Link, &fact.name);
                }
                (target, *kind)
            }
        };
        if self.policy.workspace.starts_with(object) && kind == Kind::Directory {
            return Err(PlanError::WorkspaceHidden {
                workspace: self.policy.workspace.clone(),
                hidden: object.clone(),
            });
        }
        if self.places.is_visible(object.as_path()) {
            let hold = hide(kind, fact);
            self.hold(object, hold, &fact.name);
        }
        Ok(())
    }

    /// Adds the pins, sorts once, and drops what is covered by what lies above it.
    fn finish(mut self) -> Holds {
        let mut pins = HashSet::new();
        let mut added = Vec::new();
        for held in &self.holds.held {
            if held.hold == Hold::Absent(Parent::Missing) {
                continue;
            }
            pin_above(self.places, &held.path, &mut pins, &mut added);
        }
        // A root inside another root is a mount point already, but what lies between them is not.
        for root in self.places.of_kind(PlaceKind::Root) {
            pin_above(self.places, &root, &mut pins, &mut added);
        }
        self.holds.held.extend(added.into_iter().map(|path| Held {
            path,
            hold: Hold::Pin,
            origin: String::new(),
        }));
        let held = &mut self.holds.held;
        held.sort_unstable_by(|a, b| {
            (&a.path, &a.hold, &a.origin).cmp(&(&b.path, &b.hold, &b.origin))
        });
        held.dedup_by(|later, earlier| later.path == earlier.path);
        drop_covered(held);
        self.holds.commit_directories.sort_unstable();
        self.holds.commit_directories.dedup();
        self.holds
    }
}

fn hidden_path_is(hidden: &HiddenPath, path: &AbsolutePath) -> bool {
    match &hidden.pattern {
        HiddenPattern::Path(own) => own == path,
        HiddenPattern::HomeGlob(_) | HiddenPattern::RootGlob { .. } => false,
    }
}

const GIT: &str = ".git";

/// Pins every directory above `path` up to the outermost writable root, the roots themselves left out, and between
/// roots and the private directory that they lie in: those in between are the target's own there, and one that it
/// moved away would take the root to another path than the one that is watched.
fn pin_above(
    places: &Places,
    path: &AbsolutePath,
    pins: &mut HashSet<PathBuf>,
    added: &mut Vec<AbsolutePath>,
) {
    let mut pending: Vec<&Path> = Vec::new();
    let mut read_only_above = false;
    for ancestor in path.as_path().ancestors().skip(1) {
        let met = pins.contains(ancestor);
        match places.exactly(ancestor) {
            None if !met => {
                pending.push(ancestor);
                continue;
            }
            // Read-only as far as it reaches; what lies above it may be the target's again.
            Some(PlaceKind::Shown | PlaceKind::Hidden) => {
                pending.clear();
                read_only_above = true;
                continue;
            }
            Some(PlaceKind::Root) if read_only_above => return,
            Some(PlaceKind::Root | PlaceKind::Private) | None => {}
        }
        for pin in pending.drain(..) {
            if let Ok(path) = AbsolutePath::new(pin) {
                pins.insert(pin.to_owned());
                added.push(path);
            }
        }
        if met {
            return;
        }
    }
}

/// Drops, from a list sorted by path, what lies below a hidden path, and what needs no hold below a protected one.
fn drop_covered(held: &mut Vec<Held>) {
    let mut hidden: Option<AbsolutePath> = None;
    let mut protected: Option<AbsolutePath> = None;
    held.retain(|item| {
        if hidden
            .as_ref()
            .is_some_and(|above| item.path.starts_with(above))
        {
            return false;
        }
        let covered = protected
            .as_ref()
            .is_some_and(|above| item.path.starts_with(above));
        match item.hold {
            Hold::Hide(_) | Hold::HideAround(_) => {
                hidden = Some(item.path.clone());
                true
            }
            Hold::Protect => {
                if !covered {
                    protected = Some(item.path.clone());
                }
                !covered
            }
            Hold::Link | Hold::Absent(_) | Hold::Pin => !covered,
        }
    });
}

fn hide(kind: Kind, fact: &HiddenFact) -> Hold {
    let children = |children: &[Child]| {
        let children = children.iter();
        children
            .map(|child| (child.path.clone(), child.kind))
            .collect()
    };
    match kind {
        Kind::Directory if !fact.shown.is_empty() => Hold::HideAround(Around {
            shown: children(&fact.shown),
            masked: children(&fact.masked),
        }),
        Kind::Directory => Hold::Hide(Placeholder::Directory),
        Kind::File | Kind::Other => Hold::Hide(Placeholder::File),
    }
}

fn join(base: &AbsolutePath, name: &str) -> Result<AbsolutePath, PlanError> {
    base.join(name).map_err(|source| PlanError::Path {
        name: name.to_owned(),
        source,
    })
}

fn mismatch(name: &str, anchor: &AbsolutePath) -> PlanError {
    PlanError::FactsMismatch {
        what: format!("`{name}` at `{anchor}`"),
    }
}

/// Whether the mode leaves anything of the host writable.
pub(crate) fn is_writable_mode(mode: Mode) -> bool {
    match mode {
        Mode::WorkspaceWrite | Mode::FullAccess => true,
        Mode::ReadOnly => false,
    }
}
