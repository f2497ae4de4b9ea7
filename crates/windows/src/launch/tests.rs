//! The machinery between real processes, under any system: it proves nothing of the boundary.

/// Stands in what a session of such a test says of itself, and in no program that is shipped.
pub(super) const PLUMBING: &str = "unenforced: a test of the machinery alone";
