//! What walks of roots have found, kept between sessions, so that the next session need not walk again.
//!
//! A kept walk is believed as far as the volume's change journal bears it out: what the journal names is looked at
//! again, and where it does not tell all, everything is. What was found is opened by its name each time. Invariant: the
//! place in the journal is taken before anything is read, and a walk that left something unread is not kept.

use std::collections::BTreeSet;

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;
use serde::{Deserialize, Serialize};

use super::ObserveError;
use super::astray::Strays;
use super::look::{Changes, JournalMark, Look, Since};
use super::scan::{self, Found, Patterns};

/// The version of [`KeptScan`].
const VERSION: u32 = 2;
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
    /// Closed paths that were looked through for strays.
    closed: BTreeSet<WindowsPath>,
    /// Strays that were found there.
    astray: BTreeSet<WindowsPath>,
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

/// What was found of a root, and what of an earlier walk may be believed.
#[derive(Debug)]
pub(crate) struct Scanned {
    root: WindowsPath,
    id: Option<FileId>,
    patterns: String,
    /// Where the journal was before anything was read.
    mark: Option<JournalMark>,
    earlier: Option<(KeptScan, Changes)>,
    found: Found,
}

impl Scanned {
    /// The root's final path.
    pub(crate) const fn root(&self) -> &WindowsPath {
        &self.root
    }

    /// What the walk has found.
    pub(crate) const fn found(&self) -> &Found {
        &self.found
    }

    /// What was looked through for strays earlier, the strays there, and what has changed since.
    pub(crate) fn earlier(
        &self,
    ) -> Option<(&BTreeSet<WindowsPath>, &BTreeSet<WindowsPath>, &Changes)> {
        let (kept, changes) = self.earlier.as_ref()?;
        Some((&kept.closed, &kept.astray, changes))
    }

    /// Keeps what was found, if all was read and it is not kept so already.
    pub(crate) fn keep(self, scans: &mut dyn Scans, closed: BTreeSet<WindowsPath>, strays: Strays) {
        let (Some(id), Some(mark)) = (self.id, self.mark) else {
            return;
        };
        if !self.found.unread.is_empty() || !strays.unread.is_empty() {
            return;
        }
        let now = KeptScan {
            version: VERSION,
            root: self.root,
            patterns: self.patterns,
            mark,
            found: self.found,
            closed,
            astray: strays.found,
        };
        if let Some((kept, _)) = self.earlier {
            let is_further = mark.next.saturating_sub(kept.mark.next) > WORTH_WRITING;
            let is_same = KeptScan {
                mark: kept.mark,
                ..now.clone()
            } == kept;
            if is_same && !is_further {
                return;
            }
        }
        scans.keep(id, &now);
    }
}

/// What a walk of `root` finds, without walking where it is known; [`Scanned::keep`] keeps it.
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
) -> Result<Scanned, ObserveError> {
    let id = look.look(root)?.map(|seen| seen.id);
    let kept = id.and_then(|id| scans.kept(id)).filter(|kept| {
        kept.version == VERSION && kept.root == *root && kept.patterns == patterns.text()
    });
    let scanned = |mark, earlier, found| Scanned {
        root: root.clone(),
        id,
        patterns: patterns.text().to_owned(),
        mark,
        earlier,
        found,
    };
    if let Some(kept) = kept
        && let Since::Changed(changes) = look.changed_since(root, kept.mark)
    {
        let found = scan::walk_changes(look, root, patterns, kept.found.clone(), &changes)?;
        return Ok(scanned(Some(changes.mark), Some((kept, changes)), found));
    }
    let mark = id.and_then(|_| look.mark(root));
    let found = scan::walk(look, root, patterns)?;
    Ok(scanned(mark, None, found))
}
