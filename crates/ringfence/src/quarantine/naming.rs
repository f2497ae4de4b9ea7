//! The names of the quarantine's own files and entries.
//!
//! Invariant: what a person types becomes a part of a path only where [`EntryId::is_well_formed`] says so.

use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_policy::AbsolutePath;

use super::EntryId;
use crate::clock;
use crate::digest::Digest;

/// The object's name in its entry's directory.
pub(super) const OBJECT: &str = "object";
/// The record's name in its entry's directory.
pub(super) const RECORD: &str = "record";
/// Begins the name of an object that stays beside its origin.
pub(super) const ASIDE: &str = ".ringfence-quarantine-";

impl EntryId {
    /// A name that no other entry has: ten hexadecimal digits, short enough to type.
    pub(super) fn new(path: &AbsolutePath) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let seed = format!(
            "{} {} {count} {path:?}",
            clock::new_session_id(),
            std::process::id()
        );
        let mut name = Digest::of(seed.as_bytes()).to_string();
        name.truncate(10);
        Self(name)
    }

    /// Whether it may become a part of a path.
    pub(super) fn is_well_formed(&self) -> bool {
        self.0.len() == 10 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}
