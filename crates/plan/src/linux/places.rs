//! The places of a session: which directory is writable, private, hidden or shown, the deepest deciding.
//!
//! Knows nothing of protected names and secrets, which beat every place.
//! Invariant: a path without a place of its own or above it is read-only.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ringfence_policy::filesystem::{PathAccess, PathRule, Strength};
use ringfence_policy::{AbsolutePath, RuleId};

/// What a place is to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    /// The host's own directory, writable.
    Root,
    /// A directory of ours instead of the host's: nothing of the host's is visible in it.
    Private,
    /// Nothing of it is visible.
    Hidden,
    /// The host's own, read-only.
    Shown,
}

#[derive(Clone, Debug)]
struct Place {
    path: AbsolutePath,
    kind: PlaceKind,
    rule: RuleId,
    origin: String,
}

/// All places of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    by_path: HashMap<PathBuf, Place>,
}

impl Places {
    /// Adds a place; one that is there already wins, so add the stronger first.
    pub(crate) fn add(&mut self, path: &AbsolutePath, kind: PlaceKind, rule: RuleId, origin: &str) {
        self.by_path
            .entry(path.as_path().to_owned())
            .or_insert_with(|| Place {
                path: path.clone(),
                kind,
                rule,
                origin: origin.to_owned(),
            });
    }

    /// What decides about `path`: the place at it or nearest above it.
    pub(crate) fn kind_at(&self, path: &Path) -> PlaceKind {
        path.ancestors()
            .find_map(|ancestor| self.by_path.get(ancestor))
            .map_or(PlaceKind::Shown, |place| place.kind)
    }

    /// What decides about `path` by what lies strictly above it.
    pub(crate) fn kind_above(&self, path: &Path) -> PlaceKind {
        path.parent()
            .map_or(PlaceKind::Shown, |parent| self.kind_at(parent))
    }

    /// What is exactly at `path`.
    pub(crate) fn exactly(&self, path: &Path) -> Option<PlaceKind> {
        self.by_path.get(path).map(|place| place.kind)
    }

    /// Whether a place lies at `path` or below it.
    pub(crate) fn reach_into(&self, path: &AbsolutePath) -> bool {
        self.by_path
            .values()
            .any(|place| place.path.starts_with(path))
    }

    /// Whether the host's own object is visible at `path`.
    pub(crate) fn is_visible(&self, path: &Path) -> bool {
        match self.kind_at(path) {
            PlaceKind::Root | PlaceKind::Shown => true,
            PlaceKind::Private | PlaceKind::Hidden => false,
        }
    }

    /// The paths of all places of `kind`, sorted: parents first.
    pub(crate) fn of_kind(&self, kind: PlaceKind) -> Vec<AbsolutePath> {
        let mut paths: Vec<AbsolutePath> = self
            .by_path
            .values()
            .filter(|place| place.kind == kind)
            .map(|place| place.path.clone())
            .collect();
        paths.sort_unstable();
        paths
    }

    /// The same as rules, in no order.
    pub(crate) fn rules(&self) -> Vec<PathRule> {
        self.by_path
            .values()
            .map(|place| PathRule {
                path: place.path.clone(),
                access: match place.kind {
                    PlaceKind::Root | PlaceKind::Private => PathAccess::ReadWrite,
                    PlaceKind::Hidden => PathAccess::Hidden,
                    PlaceKind::Shown => PathAccess::ReadOnly,
                },
                strength: Strength::Place,
                rule: place.rule,
                origin: place.origin.clone(),
                except: Vec::new(),
            })
            .collect()
    }
}
