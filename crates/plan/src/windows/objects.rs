//! The objects of the facts by their path.
//!
//! Invariant: an object that the plan needs and the facts do not hold is an error, never a guess.

use std::collections::HashMap;

use crate::windows::error::PlanError;
use crate::windows::facts::{ObjectFact, WindowsFacts};
use crate::windows::path::WindowsPath;

/// Every object of the facts.
#[derive(Debug)]
pub struct Objects<'a> {
    by_path: HashMap<&'a WindowsPath, &'a ObjectFact>,
}

impl<'a> Objects<'a> {
    /// Indexes the objects of `facts`.
    #[must_use]
    pub fn new(facts: &'a WindowsFacts) -> Self {
        Self {
            by_path: facts
                .objects
                .iter()
                .map(|fact| (&fact.object.path, fact))
                .collect(),
        }
    }

    /// The object at `path`, if the facts hold one.
    #[must_use]
    pub fn get(&self, path: &WindowsPath) -> Option<&'a ObjectFact> {
        self.by_path.get(path).copied()
    }

    /// The object at `path`.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`].
    pub fn require(&self, path: &WindowsPath) -> Result<&'a ObjectFact, PlanError> {
        self.get(path).ok_or_else(|| PlanError::FactsMismatch {
            what: format!("the object `{}`", path.printable()),
        })
    }
}
