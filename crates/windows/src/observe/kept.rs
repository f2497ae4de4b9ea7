//! What walks of roots have found, kept between sessions, so that the next session need not walk again.
//!
//! A kept walk is believed as far as the volume's change journal bears it out: what the journal names is looked at
//! again, and where it does not tell all, everything is. What was found is opened by its name each time. Invariant: the
//! place in the journal is taken before anything is read, and a walk that left something unread is not kept.

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;
use serde::{Deserialize, Serialize};

use super::ObserveError;
use super::look::{JournalMark, Look, Since};
use super::scan::{self, Found, Patterns};

/// The version of [`KeptScan`].
const VERSION: u32 = 1;
/// How much journal is read again rather than the scan written again, in the journal's own numbers (bytes).
const WORTH_WRITING: i64 = 1 << 20;

/// What a walk has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptScan {
    version: u32,
    /// The root's final path.
    root: WindowsPath,
    /// The patterns that were sought.
    patterns: String,
    /// Where the journal was before.
    mark: JournalMark,
    found: Found,
}

/// Where walks are kept.
pub trait Scans {
    /// What was kept of the directory `root`; what can't be read counts as nothing.
    fn kept(&mut self, root: FileId) -> Option<KeptScan>;
    /// Keeps what was found. What can't be written is found again.
    fn keep(&mut self, root: FileId, scan: &KeptScan);
}

/// Nothing is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoScans;

impl Scans for NoScans {
    fn kept(&mut self, _root: FileId) -> Option<KeptScan> {
        None
    }

    fn keep(&mut self, _root: FileId, _scan: &KeptScan) {}
}

/// What a walk of `root` finds, without walking where it is known.
///
/// # Errors
/// As [`scan::walk`].
///
/// # Security
/// As [`scan::walk`]. What is kept is a file of the person's, which no sandboxed command may write.
pub(crate) fn find<L: Look>(
    look: &mut L,
    scans: &mut dyn Scans,
    root: &WindowsPath,
    patterns: &Patterns,
) -> Result<Found, ObserveError> {
    let Some(id) = look.look(root)?.map(|seen| seen.id) else {
        return scan::walk(look, root, patterns);
    };
    let kept = scans.kept(id).filter(|kept| {
        kept.version == VERSION && kept.root == *root && kept.patterns == patterns.text()
    });
    if let Some(kept) = kept
        && let Since::Changed(changes) = look.changed_since(root, kept.mark)
    {
        let before = kept.found.clone();
        let found = scan::walk_changes(look, root, patterns, before, &changes)?;
        let is_further = changes.mark.next.saturating_sub(kept.mark.next) > WORTH_WRITING;
        if (is_further || found != kept.found) && found.unread.is_empty() {
            let now = KeptScan {
                mark: changes.mark,
                found: found.clone(),
                ..kept
            };
            scans.keep(id, &now);
        }
        return Ok(found);
    }
    let mark = look.mark(root);
    let found = scan::walk(look, root, patterns)?;
    if let Some(mark) = mark.filter(|_| found.unread.is_empty()) {
        let now = KeptScan {
            version: VERSION,
            root: root.clone(),
            patterns: patterns.text().to_owned(),
            mark,
            found: found.clone(),
        };
        scans.keep(id, &now);
    }
    Ok(found)
}
