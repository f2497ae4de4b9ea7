//! Where repositories keep their parts.

use std::path::Path;

use ringfence_plan::linux::facts::{Entry, GitLayout, GitReference, RootFacts};
use ringfence_policy::Policy;

use super::error::ObserveError;
use super::resolve::Resolved;

pub(super) fn layout(
    _policy: &Policy,
    _top: &Path,
    _entry: &Entry,
) -> Result<Option<GitLayout>, ObserveError> {
    Ok(None)
}

pub(super) fn references(
    _policy: &Policy,
    _home: &Resolved,
    _roots: &[RootFacts],
) -> Result<Vec<GitReference>, ObserveError> {
    Ok(Vec::new())
}
