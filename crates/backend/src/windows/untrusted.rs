//! What an elevated set-up does with a person's ledger: it looks where that points, and takes off what is ours.
//!
//! The person, and whatever runs as them, may have written the file: any object, any descriptor, any number of them.
//! Invariant: nothing in it is believed but where to look. No descriptor of it is written, no owner is changed, no
//! entry is added; what goes are entries for SIDs that the machine's own record names.
//!
//! # Security
//! An entry may name another person's object, a system file, or a path that leads elsewhere by now. Then either the id
//! does not fit and nothing is touched, or the object loses entries for accounts that are being deleted.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::{Acl, Dacl, SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object};

use crate::call::CallFailure;
use crate::ledger::{Damage, read_untrusted};

use super::books::{PersonBook, PersonIntent};
use super::files::Files;
use super::listing::Listing;
use super::merge::same;

/// The longest ledger that set-up reads: above what a million objects take.
pub const MAX_LEDGER: usize = 1 << 30;

/// Why an object that the ledger names was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// There is nothing.
    Gone,
    /// It is another object.
    Replaced,
    /// It has no entry of ours.
    NothingOfOurs,
    /// A call failed.
    Failed(CallFailure),
    /// The system said yes and did nothing.
    NotKept,
}

/// What set-up did with a person's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleansed {
    /// Objects that lost entries of ours.
    pub changed: Listing<WindowsPath>,
    /// Objects that have nothing of ours to lose.
    pub skipped: Listing<(WindowsPath, Skip)>,
    /// Objects that may carry entries of ours still.
    pub failed: Listing<(WindowsPath, Skip)>,
    /// Whether somebody stopped it before the last one's turn.
    pub is_stopped: bool,
    /// Where the ledger can't be read any further.
    pub damage: Option<Damage>,
}

/// Takes the entries for SIDs of ours off the objects that a person's ledger names.
///
/// `ours` comes from the machine's record alone. `progress` is told how many objects had their turn; after a `Break`
/// the rest are left for the next call.
pub fn remove_our_entries<F: Files>(
    ledger: &[u8],
    ours: &BTreeSet<Sid>,
    files: &mut F,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Cleansed {
    let ledger = ledger.get(..MAX_LEDGER).unwrap_or(ledger);
    let (entries, damage) = read_untrusted::<PersonBook>(ledger);
    let mut cleansed = Cleansed {
        damage,
        ..Cleansed::default()
    };
    let mut seen: BTreeSet<(WindowsPath, FileId)> = BTreeSet::new();
    for entry in entries {
        let object = match entry.intent {
            PersonIntent::SetDacl { object, .. } | PersonIntent::Walk { root: object, .. } => {
                object
            }
            // What set-up may remove of homes, its own ledger says.
            PersonIntent::MakeHome { .. } => continue,
        };
        if !seen.insert((object.path.clone(), object.id)) {
            continue;
        }
        let turns = u64::try_from(seen.len()).unwrap_or(u64::MAX);
        if progress(turns).is_break() {
            cleansed.is_stopped = true;
            break;
        }
        match cleanse(&object, ours, files) {
            Ok(()) => cleansed.changed.push(object.path),
            Err(skip @ (Skip::Failed(_) | Skip::NotKept)) => {
                cleansed.failed.push((object.path, skip));
            }
            Err(skip @ (Skip::Gone | Skip::Replaced | Skip::NothingOfOurs)) => {
                cleansed.skipped.push((object.path, skip));
            }
        }
    }
    cleansed
}

fn cleanse<F: Files>(object: &Object, ours: &BTreeSet<Sid>, files: &mut F) -> Result<(), Skip> {
    let handle = files.open(&object.path).map_err(Skip::Failed)?;
    let handle = handle.ok_or(Skip::Gone)?;
    if files.observe(&handle).map_err(Skip::Failed)?.id != object.id {
        return Err(Skip::Replaced);
    }
    let found = files.observe_descriptor(&handle).map_err(Skip::Failed)?;
    let clean = without_ours(&found, ours).ok_or(Skip::NothingOfOurs)?;
    files.set_dacl(&handle, &clean).map_err(Skip::Failed)?;
    let left = files.observe_descriptor(&handle).map_err(Skip::Failed)?;
    if same(&left, &clean) {
        return Ok(());
    }
    Err(Skip::NotKept)
}

/// The descriptor without entries for SIDs of ours; `None` where it has none.
fn without_ours(found: &SecurityDescriptor, ours: &BTreeSet<Sid>) -> Option<SecurityDescriptor> {
    let acl = found.acl()?;
    let kept: Acl = acl
        .aces
        .iter()
        .filter(|ace| !ours.contains(&ace.sid))
        .copied()
        .collect();
    (kept.aces.len() < acl.aces.len()).then(|| SecurityDescriptor {
        dacl: Dacl::Present(kept),
        ..found.clone()
    })
}
