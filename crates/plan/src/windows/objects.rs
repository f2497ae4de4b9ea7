//! The objects of the facts by their path.
//!
//! Invariant: an object that the plan needs and the facts do not hold is an error, never a guess.

use std::collections::{HashMap, HashSet};

use crate::windows::error::PlanError;
use crate::windows::facts::{ObjectFact, WindowsFacts};
use crate::windows::path::WindowsPath;

/// Every object of the facts.
#[derive(Debug)]
pub struct Objects<'a> {
    by_path: HashMap<&'a WindowsPath, &'a ObjectFact>,
    /// Paths that two objects have, which only a directory with case-sensitive names can hold.
    ambiguous: HashSet<&'a WindowsPath>,
}

impl<'a> Objects<'a> {
    /// Indexes the objects of `facts`.
    #[must_use]
    pub fn new(facts: &'a WindowsFacts) -> Self {
        let mut by_path: HashMap<&WindowsPath, &ObjectFact> = HashMap::new();
        let mut ambiguous = HashSet::new();
        for fact in &facts.objects {
            let path = &fact.object.path;
            if let Some(other) = by_path.insert(path, fact)
                && other.object.id != fact.object.id
            {
                ambiguous.insert(path);
            }
        }
        Self { by_path, ambiguous }
    }

    /// The object at `path`, if the facts hold one.
    #[must_use]
    pub fn get(&self, path: &WindowsPath) -> Option<&'a ObjectFact> {
        self.by_path.get(path).copied()
    }

    /// The object at `path`.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`]; [`PlanError::NotHeld`] where two objects differ by case alone.
    pub fn require(&self, path: &WindowsPath) -> Result<&'a ObjectFact, PlanError> {
        if self.ambiguous.contains(path) {
            return Err(PlanError::NotHeld {
                path: path.printable(),
                cause: "another name beside it differs by case alone",
            });
        }
        self.get(path).ok_or_else(|| PlanError::FactsMismatch {
            what: format!("the object `{}`", path.printable()),
        })
    }
}
