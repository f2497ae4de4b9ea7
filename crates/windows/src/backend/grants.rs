//! The person's steps on this machine's files, by their ledger; and what the ledger and the record tell.
//!
//! Invariant: in steady state (no step, nothing owed) nothing is written.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ringfence_backend::call::CallFailure;
use ringfence_backend::ledger::{Ledger, LedgerError, read_untrusted};
use ringfence_backend::windows::{
    GrantError, Granted, Grants, PersonBook, PersonIntent, PlanRule, Progress, Revoked, WalkReport,
    Walking, sids_of,
};
use ringfence_nt::Sid;
use ringfence_plan::windows::facts::{Capability, Presence};
use ringfence_plan::windows::machine::{ENTROPY, entropy_key};
use ringfence_plan::windows::sids::{self, RootGrant};
use ringfence_plan::windows::step::{Object, Purpose};
use ringfence_plan::windows::{WindowsPath, WindowsPlan, home_name};
use ringfence_policy::document::NetworkMode;

use super::live::{LiveError, LiveSessions};
use super::person::{Kept, PersonError, PersonFiles, machine_directories};
use super::scans::ScanFiles;
use crate::files::NtFiles;
use crate::ledger_file::{Custody, FileStore};
use crate::observe::disk::{Disk, failure};
use crate::observe::look::Look as _;
use crate::sys::file::verbatim;
use crate::sys::protect::{self, Secret};
use crate::sys::registry::{self, Hive};

/// Why the person's steps were not done or undone.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The ledger can't be opened.
    #[error("your ledger can't be opened")]
    Ledger(#[source] LedgerError),
    /// Its directory is a drive's root, or too deep.
    #[error("your Ringfence directory is no directory below a drive that anything can be put in")]
    Place,
    /// The steps.
    #[error(transparent)]
    Grants(#[from] GrantError),
    /// It is not known which sessions are alive.
    #[error("it can't be told which sessions run")]
    Live(#[source] LiveError),
    /// A session runs in the workspace.
    #[error("the session {session} runs there; end it first")]
    InUse {
        /// Which.
        session: String,
    },
    /// A part of a workspace has no rights of its own.
    #[error("it is a part of the workspace `{root}`; name that one")]
    Inside {
        /// The workspace.
        root: String,
    },
    /// The ledger can't be read.
    #[error("your ledger can't be read")]
    Read(#[source] CallFailure),
    /// It is not known where private homes are.
    #[error("it can't be told where the private homes are")]
    Homes(#[source] PersonError),
}

fn store(files: &PersonFiles) -> Option<FileStore> {
    let path = files.directory().join("person.ledger").ok()?;
    FileStore::new(path, Custody::Inherited)
}

/// Does what of the plan's steps is not done.
///
/// # Errors
/// [`ApplyError`]; then what this call did is undone, but for what the error names.
pub fn apply(plan: &WindowsPlan, files: &PersonFiles) -> Result<Granted, ApplyError> {
    apply_with(plan, files, &mut |_| ControlFlow::Continue(()))
}

/// [`apply`], with somebody who is told of progress and may stop it.
///
/// # Errors
/// As [`apply`].
pub fn apply_with(
    plan: &WindowsPlan,
    files: &PersonFiles,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Granted, ApplyError> {
    let mut ledger = open(files)?;
    let is_owed = ledger.transaction(plan.person).is_some();
    if plan.person_steps.is_empty() && !is_owed {
        return Ok(Granted::default());
    }
    let rule = PlanRule::new(plan);
    let mut walking = Walking {
        rule: &rule,
        progress,
    };
    let ours = sids_of(plan);
    on_ledger(&mut ledger, (plan.person, &ours), |grants| {
        grants.apply(&plan.person_steps, &mut walking)
    })
}

/// Does `work` on this machine's files by an open ledger, for a person and the SIDs that are theirs.
fn on_ledger<T>(
    ledger: &mut Ledger<PersonBook, FileStore>,
    (person, ours): (Sid, &BTreeSet<Sid>),
    work: impl FnOnce(&mut Grants<'_, FileStore, NtFiles>) -> Result<T, GrantError>,
) -> Result<T, ApplyError> {
    let mut grants = Grants {
        person,
        ours,
        ledger,
        files: &mut NtFiles::default(),
    };
    work(&mut grants).map_err(ApplyError::Grants)
}

/// Brings one object, and what lies below it, in line with the root that it was moved into.
///
/// # Errors
/// [`ApplyError`]; above all where nothing above it is set up.
pub fn repair(
    plan: &WindowsPlan,
    files: &PersonFiles,
    path: &WindowsPath,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<WalkReport, ApplyError> {
    let rule = PlanRule::new(plan);
    let mut walking = Walking {
        rule: &rule,
        progress,
    };
    let ours = sids_of(plan);
    on_ledger(&mut open(files)?, (plan.person, &ours), |grants| {
        grants.repair(path, &mut walking)
    })
}

/// Takes everything back that the person's ledger says was done.
///
/// `ours` are the SIDs whose entries go from objects that others have changed meanwhile.
///
/// # Errors
/// [`ApplyError`].
pub fn revoke(
    person: Sid,
    ours: &BTreeSet<Sid>,
    files: &PersonFiles,
) -> Result<Revoked, ApplyError> {
    on_ledger(&mut open(files)?, (person, ours), |grants| {
        grants.uninstall()
    })
}

/// Takes back what was done for the workspaces at and below `place`, with their private homes; all else stays.
///
/// # Errors
/// [`ApplyError`]; above all where a session runs there, or a workspace lies above.
pub fn release(
    person: Sid,
    ours: &BTreeSet<Sid>,
    files: &PersonFiles,
    place: &WindowsPath,
) -> Result<Revoked, ApplyError> {
    let sessions = LiveSessions::below(files.directory())
        .observe()
        .map_err(ApplyError::Live)?;
    let overlaps = |path: &WindowsPath| path.starts_with(place) || place.starts_with(path);
    for session in &sessions {
        let mut roots = session.roots.iter().filter_map(|root| root.path.as_ref());
        if roots.any(overlaps) {
            return Err(ApplyError::InUse {
                session: session.id.clone(),
            });
        }
    }
    let bytes = ledger_bytes(files).map_err(ApplyError::Read)?;
    let roots = roots_of(&bytes);
    if let Some(above) = roots.iter().find(|root| place.is_below(&root.path)) {
        return Err(ApplyError::Inside {
            root: above.path.printable(),
        });
    }
    let roots: Vec<Object> = roots
        .into_iter()
        .filter(|root| root.path.starts_with(place))
        .collect();
    let homes = homes_of(person, files, &roots)?;
    // Before anything goes: a ledger that can't be used must not lose what it tells of.
    let mut ledger = open(files)?;
    for home in &homes {
        // What commands left in it; what can't be removed keeps the home, which is said below.
        let _ = fs::remove_dir_all(PathBuf::from(verbatim(home)));
    }
    for root in &roots {
        ScanFiles::below(files.directory()).forget(root.id);
    }
    on_ledger(&mut ledger, (person, ours), |grants| {
        grants.release(place, &homes)
    })
}

/// The roots that a ledger tells of.
fn roots_of(ledger: &[u8]) -> Vec<Object> {
    let (entries, _) = read_untrusted::<PersonBook>(ledger);
    entries
        .into_iter()
        .filter_map(|entry| match entry.intent {
            PersonIntent::SetDacl {
                object,
                purpose: Purpose::Root,
                ..
            } => Some(object),
            PersonIntent::SetDacl { .. }
            | PersonIntent::Walk { .. }
            | PersonIntent::MakeHome { .. } => None,
        })
        .collect()
}

/// Where the private homes of `roots` are, whether they were made or not. A place that can't be named is an error: a
/// home there would stay, and nobody would hear of it.
fn homes_of(
    person: Sid,
    files: &PersonFiles,
    roots: &[Object],
) -> Result<BTreeSet<WindowsPath>, ApplyError> {
    let of_account = machine_directories(person).map_err(ApplyError::Homes)?.home;
    let below = |top: &WindowsPath, name: &str| top.join(name).map_err(|_| ApplyError::Place);
    let of_person = below(files.directory(), "Homes")?;
    let mut homes = BTreeSet::new();
    for root in roots {
        for network in [
            NetworkMode::Offline,
            NetworkMode::Allowlist,
            NetworkMode::Open,
        ] {
            let name = home_name(root.id, network);
            homes.insert(below(&of_account, &name)?);
            homes.insert(below(&of_person, &name)?);
        }
    }
    Ok(homes)
}

fn open(files: &PersonFiles) -> Result<Ledger<PersonBook, FileStore>, ApplyError> {
    let store = store(files).ok_or(ApplyError::Place)?;
    Ledger::open(store).map_err(ApplyError::Ledger)
}

/// The bytes of the person's ledger; none where there is none.
///
/// # Errors
/// [`CallFailure`] where it can't be read.
pub fn ledger_bytes(files: &PersonFiles) -> Result<Vec<u8>, CallFailure> {
    let Some(store) = store(files) else {
        return Ok(Vec::new());
    };
    Ok(store.peek()?.unwrap_or_default())
}

/// The capability SIDs that stand on roots.
///
/// # Errors
/// [`CallFailure`] where the ledger or a volume can't be read.
pub(super) fn capabilities(
    files: &PersonFiles,
    kept: &Kept,
) -> Result<Vec<Capability>, CallFailure> {
    let bytes = ledger_bytes(files)?;
    let mut found = Vec::new();
    for root in roots_of(&bytes) {
        let presence = presence(&root)?;
        for grant in [RootGrant::Write, RootGrant::Commit] {
            found.push(Capability {
                sid: sids::capability(&kept.secret, kept.shape, root.id, grant),
                root: root.id,
                path: root.path.clone(),
                presence,
            });
        }
    }
    found.sort_by_key(|one| one.sid);
    found.dedup_by_key(|one| one.sid);
    Ok(found)
}

fn presence(root: &Object) -> Result<Presence, CallFailure> {
    let mut disk = Disk;
    match disk.look(&root.path)? {
        Some(seen) if seen.id == root.id => Ok(Presence::Present),
        Some(_) => Ok(Presence::Gone),
        None => {
            let drive = root.path.ancestors().last();
            let mounted = match drive {
                Some(drive) => disk.look(&drive)?,
                None => None,
            };
            Ok(match mounted {
                Some(drive) if drive.id.volume == root.id.volume => Presence::Gone,
                Some(_) | None => Presence::VolumeAbsent,
            })
        }
    }
}

/// Opens the sealed password of an account of `person`.
///
/// # Errors
/// [`CallFailure`]: it or its entropy can't be read, or was sealed elsewhere.
pub(super) fn open_password(person: Sid, path: &WindowsPath) -> Result<Secret, CallFailure> {
    let sealed = fs::read(PathBuf::from(verbatim(path))).map_err(|error| {
        let code = error.raw_os_error().map_or(0, i32::cast_unsigned);
        CallFailure::new("CreateFileW", path.printable(), code)
    })?;
    let key = entropy_key(person);
    let entropy = registry::binary(Hive::Machine, &key, ENTROPY)
        .map_err(failure)?
        // ERROR_FILE_NOT_FOUND
        .ok_or_else(|| CallFailure::new("RegGetValueW", format!("{key}\\{ENTROPY}"), 2))?;
    protect::open(&sealed, &entropy).map_err(failure)
}
