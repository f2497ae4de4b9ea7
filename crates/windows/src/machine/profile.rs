//! The profile of an account and its registry hive, closed to its targets.
//!
//! The top is done last: an object at the top that carries the entries stands for all below it. Invariant: no reparse
//! point is entered, and no symbolic link among keys.

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::guard::{Guarded, Shape, guarded, is_guarded};
use ringfence_backend::windows::{Files as _, ProfileGuard, Redirection};
use ringfence_nt::{Ace, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::ObjectKind;

use crate::files::{NtFiles, OpenObject, failure};
use crate::sys::key::{Key, KeyAccess, Root};
use crate::sys::registry::{self, Hive};
use crate::sys::signon::LoggedOn;

/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: u32 = 2;

/// The directory of an account's profile, if it has one.
pub(super) fn directory(account: Sid) -> Result<Option<WindowsPath>, CallFailure> {
    let key = format!(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\{account}");
    let path = registry::text(Hive::Machine, &key, "ProfileImagePath").map_err(failure)?;
    path.map(|path| {
        WindowsPath::parse(&path).map_err(|_| CallFailure::new("RegGetValueW", key, 13))
    })
    .transpose()
}

/// The directory that profiles are made in.
pub(super) fn above() -> Result<Option<WindowsPath>, CallFailure> {
    let key = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList";
    let path = registry::text(Hive::Machine, key, "ProfilesDirectory").map_err(failure)?;
    path.map(|path| {
        WindowsPath::parse(&path).map_err(|_| CallFailure::new("RegGetValueW", key, 13))
    })
    .transpose()
}

/// The hives that are loaded for an account: its own, and that of its classes.
fn hives(account: Sid, access: KeyAccess) -> Result<Vec<Key>, CallFailure> {
    let own = Key::open(Root::Users, &account.to_string(), access).map_err(failure)?;
    let own =
        own.ok_or_else(|| CallFailure::new("RegOpenKeyExW", account.to_string(), NOT_FOUND))?;
    let classes = format!("{account}_Classes");
    let classes = Key::open(Root::Users, &classes, access).map_err(failure)?;
    Ok([own].into_iter().chain(classes).collect())
}

/// Whether profile and hive carry the entries.
pub(super) fn observe(
    files: &mut NtFiles,
    session: &LoggedOn,
    account: Sid,
    whom: Guarded,
) -> Result<ProfileGuard, CallFailure> {
    let Some(path) = directory(account)? else {
        return Ok(ProfileGuard::Absent);
    };
    let Some(top) = files.open(&path)? else {
        return Ok(ProfileGuard::Absent);
    };
    let found = files.observe_descriptor(&top)?;
    let mut closed = is_guarded(&found, &whom.profile(), Shape::Container);
    let _profile = session.load_profile().map_err(failure)?;
    for hive in hives(account, KeyAccess::Read)? {
        let found = hive.descriptor().map_err(failure)?;
        closed &= is_guarded(&found, &whom.hive(), Shape::Container);
    }
    Ok(if closed {
        ProfileGuard::Guarded
    } else {
        ProfileGuard::Open
    })
}

/// Puts the entries on everything in profile and hive.
pub(super) fn guard(
    files: &mut NtFiles,
    session: &LoggedOn,
    account: Sid,
    whom: Guarded,
) -> Result<(), CallFailure> {
    let missing = || CallFailure::new("CreateProfile", account.to_string(), NOT_FOUND);
    let path = directory(account)?.ok_or_else(missing)?;
    let _profile = session.load_profile().map_err(failure)?;
    for hive in hives(account, KeyAccess::Close)? {
        guard_key(&hive, &whom.hive())?;
    }
    let top = files.open(&path)?.ok_or_else(missing)?;
    guard_object(files, &top, &whom.profile())
}

fn guard_key(key: &Key, entries: &[Ace]) -> Result<(), CallFailure> {
    for name in key.keys().map_err(failure)? {
        if let Some(child) = key.child(&name, KeyAccess::Close).map_err(failure)? {
            guard_key(&child, entries)?;
        }
    }
    let found = key.descriptor().map_err(failure)?;
    match guarded(&found, entries, Shape::Container) {
        Some(closed) => key.set_dacl(&closed).map_err(failure),
        None => Ok(()),
    }
}

fn guard_object(
    files: &mut NtFiles,
    object: &OpenObject,
    entries: &[Ace],
) -> Result<(), CallFailure> {
    let state = files.observe(object)?;
    let shape = match state.kind {
        ObjectKind::Directory => Shape::Container,
        ObjectKind::File => Shape::Leaf,
    };
    if state.kind == ObjectKind::Directory && state.redirection == Redirection::None {
        for name in files.list(object)? {
            files.tick(&name.to_string())?;
            if let Some(child) = files.open_child(object, &name)? {
                guard_object(files, &child, entries)?;
            }
        }
    }
    let found = files.observe_descriptor(object)?;
    match guarded(&found, entries, shape) {
        Some(closed) => files.set_dacl(object, &closed),
        None => Ok(()),
    }
}
