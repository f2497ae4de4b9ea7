//! Accounts, their sealed passwords and their one logon.
//!
//! Invariant: a password is sealed and on the disk before the account has it, so that a crash costs a new password and
//! never an account that nobody can sign in to.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::thread::sleep;
use std::time::Duration;

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::guard::Guarded;
use ringfence_backend::windows::{
    Account, AccountName, Files as _, Logon, NewAccount, Principal, ProfileGuard, StoredValue,
};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::{ENTROPY, OWN_KEY};

use super::{WindowsMachine, profile, registry};
use crate::files::{NtFiles, failure, open_path};
use crate::password;
use crate::sys::account::{self, Enabled, Membership};
use crate::sys::ending::end_all_of;
use crate::sys::key::{Key, KeyAccess, Root};
use crate::sys::machine as system;
use crate::sys::nt_file::Access;
use crate::sys::protect::{self, Secret};
use crate::sys::rights::Policy;
use crate::sys::signon::{self, LoggedOn};
use crate::sys::{random, rename};

/// `ERROR_BUSY`
const BUSY: u32 = 170;
/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: u32 = 2;
/// The longest sealed password, in bytes.
const MAX_SEALED: u64 = 1 << 16;

/// What a logon's code says of the account: another password cures it, enabling does, or neither.
const fn verdict(code: u32) -> Option<Logon> {
    match code {
        // Wrong, expired, to be changed.
        1326 | 1330 | 1907 => Some(Logon::Wrong),
        1331 => Some(Logon::Disabled),
        _ => None,
    }
}

fn file(record: &WindowsPath, more: &str) -> String {
    format!(r"\\?\{record}{more}")
}

/// The key with the entropy of the person whose record it is: both bear the same letters.
fn entropy_of(record: &WindowsPath) -> Result<Vec<u8>, CallFailure> {
    let absent = || CallFailure::new("RegQueryValueExW", ENTROPY, NOT_FOUND);
    let directory = record.parent().ok_or_else(absent)?;
    let letters = directory.name().ok_or_else(absent)?;
    match registry::observe_value(&format!(r"{OWN_KEY}\{letters}"), ENTROPY)? {
        Some(StoredValue::Binary(entropy)) => Ok(entropy),
        Some(StoredValue::Dword(_) | StoredValue::Text(_)) | None => Err(absent()),
    }
}

/// The password of a record; none where there is none, or where it can't be unsealed.
///
/// # Errors
/// [`CallFailure`] where a link stands on the way.
pub fn unseal(record: &WindowsPath) -> Result<Option<Secret>, CallFailure> {
    let Some(opened) = open_path(record, Access::Read)? else {
        return Ok(None);
    };
    let mut sealed = Vec::new();
    let read = File::from(opened).take(MAX_SEALED).read_to_end(&mut sealed);
    if read.is_err() {
        return Ok(None);
    }
    let Ok(entropy) = entropy_of(record) else {
        return Ok(None);
    };
    Ok(protect::open(&sealed, &entropy).ok())
}

/// Draws a password, seals it, and waits until it is on the disk.
fn seal_new(record: &WindowsPath) -> Result<Secret, CallFailure> {
    let io = |call, error: &std::io::Error| {
        let code = error.raw_os_error().map_or(1, i32::cast_unsigned);
        CallFailure::new(call, record.printable(), code)
    };
    let entropy = entropy_of(record)?;
    let password = Secret::new(password::draw(random::fill).map_err(failure)?);
    let sealed = protect::seal(password.expose(), &entropy).map_err(failure)?;
    let new = file(record, ".new");
    File::create(&new)
        .and_then(|mut file| {
            file.write_all(&sealed)?;
            file.sync_all()
        })
        .map_err(|error| io("WriteFile", &error))?;
    rename::replace(new.as_ref(), file(record, "").as_ref()).map_err(failure)?;
    // What can't be read back is not sealed.
    let kept = unseal(record)?;
    if kept.is_some_and(|kept| kept.expose() == password.expose()) {
        return Ok(password);
    }
    Err(CallFailure::new(
        "CryptUnprotectData",
        record.printable(),
        13,
    ))
}

fn sid_of(name: &str) -> Result<Sid, CallFailure> {
    let found = system::sid_of(name).map_err(failure)?;
    // It says that it made it, and nobody knows it.
    found.ok_or_else(|| CallFailure::new("LookupAccountNameW", name, 1332))
}

fn groups_of(name: &str) -> Result<Vec<(String, Sid)>, CallFailure> {
    let names = account::groups_of(name).map_err(failure)?;
    names
        .into_iter()
        .map(|group| sid_of(&group).map(|sid| (group, sid)))
        .collect()
}

/// The local account of that name, without signing in to it.
pub(super) fn observe_user(name: &str) -> Result<Option<Principal>, CallFailure> {
    let Some(user) = account::user(name).map_err(failure)? else {
        return Ok(None);
    };
    let sid = system::sid_of(name).map_err(failure)?;
    Ok(sid.map(|sid| Principal {
        sid,
        comment: user.comment,
    }))
}

impl WindowsMachine {
    pub(super) fn look_at_account(
        &mut self,
        wanted: AccountName<'_>,
    ) -> Result<Option<Account>, CallFailure> {
        let name = wanted.name;
        let Some(user) = account::user(name).map_err(failure)? else {
            return Ok(None);
        };
        let Some(sid) = system::sid_of(name).map_err(failure)? else {
            return Ok(None);
        };
        let groups: BTreeSet<Sid> = groups_of(name)?.into_iter().map(|(_, sid)| sid).collect();
        let mut profile = ProfileGuard::Absent;
        let logon = match (unseal(wanted.record)?, user.enabled) {
            (None, _) => Logon::NoRecord,
            (Some(_), Enabled::No) => Logon::Disabled,
            (Some(password), Enabled::Yes) => match log_on(name, sid, &password)? {
                Ok(session) => {
                    // The one that is not everybody's is the person's.
                    if let Some(group) = groups.iter().find(|group| **group != Sid::USERS) {
                        let whom = Guarded {
                            marker: wanted.marker,
                            group: *group,
                        };
                        profile = profile::observe(&mut self.files, &session, sid, whom)?;
                    }
                    Logon::Works
                }
                Err(logon) => logon,
            },
        };
        self.tried = Some((name.to_owned(), logon));
        Ok(Some(Account {
            sid,
            comment: user.comment,
            groups,
            logon,
            password: user.password,
            profile,
        }))
    }

    pub(super) fn complete_account(&mut self, new: &NewAccount<'_>) -> Result<(), CallFailure> {
        let name = new.name;
        let password = match account::user(name).map_err(failure)? {
            None => {
                let password = seal_new(new.record)?;
                account::add_user(name, new.comment, &password).map_err(failure)?;
                password
            }
            Some(_) => self.mend(new)?,
        };
        let sid = sid_of(name)?;
        for group in new.groups {
            let found = system::name_of(*group).map_err(failure)?;
            let unknown = || CallFailure::new("LookupAccountSidW", group.to_string(), 1332);
            let group = found.ok_or_else(unknown)?.name;
            account::set_membership(&group, sid, Membership::Member).map_err(failure)?;
        }
        for (group, of) in groups_of(name)? {
            if !new.groups.contains(&of) {
                account::set_membership(&group, sid, Membership::Stranger).map_err(failure)?;
            }
        }
        signon::create_profile(sid, name).map_err(failure)?;
        let session = log_on(name, sid, &password)?;
        let session = session.map_err(|_| CallFailure::new("LogonUserW", name, 1326))?;
        let group = new.groups.iter().find(|group| **group != Sid::USERS);
        let whom = Guarded {
            marker: new.marker,
            group: *group.ok_or_else(|| CallFailure::new("no group", name, NOT_FOUND))?,
        };
        profile::guard(&mut self.files, &session, sid, whom)
    }

    /// Enables the account, and gives it a new password unless the sealed one works.
    fn mend(&mut self, new: &NewAccount<'_>) -> Result<Secret, CallFailure> {
        let name = new.name;
        account::set_enabled(name, Enabled::Yes).map_err(failure)?;
        let tried = self.tried.as_ref();
        let last = tried.filter(|(of, _)| of == name).map(|(_, logon)| *logon);
        let sealed = match last {
            // It was just tried: another attempt would count towards a lock-out.
            Some(Logon::Wrong | Logon::NoRecord) => None,
            Some(Logon::Works) => unseal(new.record)?,
            Some(Logon::Disabled) | None => match unseal(new.record)? {
                Some(password) => log_on(name, sid_of(name)?, &password)?
                    .is_ok()
                    .then_some(password),
                None => None,
            },
        };
        if let Some(password) = sealed {
            return Ok(password);
        }
        let password = seal_new(new.record)?;
        account::set_password(name, &password).map_err(failure)?;
        Ok(password)
    }
}

/// One attempt. The token must say itself whose it is: a system may answer yes to any password.
fn log_on(
    name: &str,
    account: Sid,
    password: &Secret,
) -> Result<Result<LoggedOn, Logon>, CallFailure> {
    let session = match LoggedOn::new(name, password) {
        Ok(session) => session,
        Err(error) => {
            return verdict(error.error.0)
                .map(Err)
                .ok_or_else(|| failure(error));
        }
    };
    if session.user().map_err(failure)? == account {
        return Ok(Ok(session));
    }
    Err(CallFailure::new("LogonUserW", name, 1332))
}

/// Disables an account, ends its processes, and waits until its registry hive is unloaded.
pub(super) fn quiesce(name: &str) -> Result<(), CallFailure> {
    const ROUNDS: u32 = 100;
    account::set_enabled(name, Enabled::No).map_err(failure)?;
    let sid = sid_of(name)?;
    for _ in 0..ROUNDS {
        let ended = end_all_of(sid).map_err(failure)?;
        let hive = Key::open(Root::Users, &sid.to_string(), KeyAccess::Read);
        if ended == 0 && matches!(hive, Ok(None)) {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    // Something holds a logon of it still; its profile could not be deleted.
    Err(CallFailure::new("the sessions of the account", name, BUSY))
}

/// Deletes profile, record and account.
pub(super) fn remove(
    files: &mut NtFiles,
    name: &str,
    record: &WindowsPath,
) -> Result<(), CallFailure> {
    let sid = sid_of(name)?;
    if let Some(directory) = profile::directory(sid)? {
        signon::delete_profile(sid).map_err(failure)?;
        if profile::directory(sid)?.is_some() {
            return Err(CallFailure::new("DeleteProfileW", name, BUSY));
        }
        // It may take the profile off the system's list and leave files of it.
        if let Some(left) = files.open(&directory)? {
            files.remove_directory(&left)?;
        }
    }
    for name in [file(record, ".new"), file(record, "")] {
        if let Err(error) = std::fs::remove_file(name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let code = error.raw_os_error().map_or(1, i32::cast_unsigned);
            return Err(CallFailure::new("DeleteFileW", record.printable(), code));
        }
    }
    // Before the account: of one that is gone nobody would know what to look for.
    Policy::open()
        .and_then(|policy| policy.forget(sid))
        .map_err(failure)?;
    account::delete_user(name).map_err(failure)
}
