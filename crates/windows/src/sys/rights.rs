//! Ways to sign in that an account is denied, in the local security policy.
//!
//! Source: learn.microsoft.com "Managing Account Permissions", "Account Rights Constants".

use std::mem::size_of;
use std::ptr::{null, null_mut};

use ringfence_nt::Sid;
use ringfence_plan::windows::step::LogonRight;
use windows_sys::Win32::Security::Authentication::Identity::{
    LSA_ENUMERATION_INFORMATION, LSA_HANDLE, LSA_OBJECT_ATTRIBUTES, LSA_UNICODE_STRING,
    LsaAddAccountRights, LsaClose, LsaEnumerateAccountRights, LsaEnumerateAccountsWithUserRight,
    LsaFreeMemory, LsaNtStatusToWinError, LsaOpenPolicy, LsaRemoveAccountRights,
    POLICY_CREATE_ACCOUNT, POLICY_LOOKUP_NAMES, POLICY_VIEW_LOCAL_INFORMATION,
};

use super::access::copy_sid;
use super::error::{CallError, Win32Error};
use super::status::value;

/// The ways, by their names in the policy.
const NAMES: [(LogonRight, &str); 4] = [
    (LogonRight::DenyNetwork, "SeDenyNetworkLogonRight"),
    (
        LogonRight::DenyRemoteInteractive,
        "SeDenyRemoteInteractiveLogonRight",
    ),
    (LogonRight::DenyBatch, "SeDenyBatchLogonRight"),
    (LogonRight::DenyService, "SeDenyServiceLogonRight"),
];

/// What a look at rights of accounts needs.
const LOOK: i32 = POLICY_LOOKUP_NAMES | POLICY_VIEW_LOCAL_INFORMATION;

/// The local security policy, open.
#[derive(Debug)]
pub struct Policy(LSA_HANDLE);

impl Drop for Policy {
    fn drop(&mut self) {
        // SAFETY: LsaOpenPolicy gave it, and nobody else closes it.
        unsafe { LsaClose(self.0) };
    }
}

fn check(status: i32, call: &'static str, object: &dyn std::fmt::Display) -> Result<(), CallError> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: LsaNtStatusToWinError has no precondition.
    let code = unsafe { LsaNtStatusToWinError(status) };
    Err(CallError::new(call, object, Win32Error(code)))
}

/// The rights as the calls take them: texts that live as long as the list.
struct Texts {
    list: Vec<LSA_UNICODE_STRING>,
    _units: Vec<Vec<u16>>,
}

impl Texts {
    fn new(rights: &[LogonRight]) -> Self {
        let named = NAMES.iter().filter(|(right, _)| rights.contains(right));
        let units: Vec<Vec<u16>> = named
            .map(|(_, name)| name.encode_utf16().collect())
            .collect();
        let list = units
            .iter()
            .map(|name| {
                let bytes = u16::try_from(name.len().saturating_mul(2)).unwrap_or(0);
                LSA_UNICODE_STRING {
                    Length: bytes,
                    MaximumLength: bytes,
                    Buffer: name.as_ptr().cast_mut(),
                }
            })
            .collect();
        Self {
            list,
            _units: units,
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(0)
    }
}

impl Policy {
    /// Opens the policy, to look and to change rights of accounts.
    ///
    /// # Errors
    /// `LsaOpenPolicy`'s.
    pub fn open() -> Result<Self, CallError> {
        Self::open_with(LOOK | POLICY_CREATE_ACCOUNT)
    }

    /// Opens the policy, to look.
    ///
    /// # Errors
    /// `LsaOpenPolicy`'s.
    pub fn open_to_look() -> Result<Self, CallError> {
        Self::open_with(LOOK)
    }

    fn open_with(access: i32) -> Result<Self, CallError> {
        let attributes = LSA_OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<LSA_OBJECT_ATTRIBUTES>()).unwrap_or(0),
            ..LSA_OBJECT_ATTRIBUTES::default()
        };
        let mut handle: LSA_HANDLE = 0;
        // SAFETY: no system means this one; the attributes live for the call; the handle is ours to write.
        let status = unsafe {
            LsaOpenPolicy(
                null(),
                &raw const attributes,
                access.cast_unsigned(),
                &raw mut handle,
            )
        };
        check(status, "LsaOpenPolicy", &"")?;
        Ok(Self(handle))
    }

    /// The ways that the account is denied.
    ///
    /// # Errors
    /// `LsaEnumerateAccountRights`'s.
    pub fn denied(&self, account: Sid) -> Result<Vec<LogonRight>, CallError> {
        let names = self.rights(account)?;
        let denied = |name: &String| NAMES.iter().find(|(_, known)| known == name);
        Ok(names
            .iter()
            .filter_map(denied)
            .map(|(right, _)| *right)
            .collect())
    }

    /// Accounts that are denied all the ways that set-up denies, and have no other right or privilege of their own.
    ///
    /// # Errors
    /// `LsaEnumerateAccountsWithUserRight`'s, `LsaEnumerateAccountRights`'s.
    pub fn denied_everything(&self) -> Result<Vec<Sid>, CallError> {
        let mut found = Vec::new();
        // All of them hold each of the rights, so one tells whom to ask about.
        let [(first, _), ..] = NAMES;
        for account in self.holders(first)? {
            let mut names = self.rights(account)?;
            names.sort();
            let mut wanted = NAMES.map(|(_, name)| name);
            wanted.sort_unstable();
            if names == wanted {
                found.push(account);
            }
        }
        Ok(found)
    }

    /// Accounts with a right of their own, whether they are there any more or not.
    fn holders(&self, right: LogonRight) -> Result<Vec<Sid>, CallError> {
        const CALL: &str = "LsaEnumerateAccountsWithUserRight";
        let texts = Texts::new(&[right]);
        let (mut list, mut count) = (null_mut(), 0);
        // SAFETY: the policy is open; the name lives for the call; the results are ours to write.
        let status = unsafe {
            LsaEnumerateAccountsWithUserRight(
                self.0,
                texts.list.as_ptr(),
                &raw mut list,
                &raw mut count,
            )
        };
        if status == value::NO_MORE_ENTRIES {
            return Ok(Vec::new());
        }
        check(status, CALL, &"")?;
        let entries: *mut LSA_ENUMERATION_INFORMATION = list.cast();
        let sids = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
            // SAFETY: the call has written that many entries.
            let entry = unsafe { entries.add(index) };
            // SAFETY: as above.
            let entry = unsafe { *entry };
            // SAFETY: each entry points to a valid SID until the list is freed, which is below.
            unsafe { copy_sid(entry.Sid, CALL) }
        });
        let sids = sids.collect();
        // SAFETY: the call allocated it, and nobody else frees it.
        unsafe { LsaFreeMemory(list) };
        sids
    }

    /// All rights and privileges of the account's own, by name.
    fn rights(&self, account: Sid) -> Result<Vec<String>, CallError> {
        let bytes = account.to_bytes();
        let (mut list, mut count) = (null_mut(), 0);
        // SAFETY: the policy is open; the SID lives for the call; the results are ours to write.
        let status = unsafe {
            LsaEnumerateAccountRights(
                self.0,
                bytes.as_ptr().cast_mut().cast(),
                &raw mut list,
                &raw mut count,
            )
        };
        // The policy has nothing on that account.
        if status == value::OBJECT_NAME_NOT_FOUND {
            return Ok(Vec::new());
        }
        check(status, "LsaEnumerateAccountRights", &account)?;
        let mut names = Vec::new();
        for index in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the call has written that many entries.
            let entry = unsafe { list.add(index) };
            // SAFETY: as above.
            let entry = unsafe { *entry };
            let length = usize::from(entry.Length / 2);
            // SAFETY: an entry's text has as many bytes as it says.
            let units = unsafe { std::slice::from_raw_parts(entry.Buffer, length) };
            names.push(String::from_utf16_lossy(units));
        }
        // SAFETY: the call allocated it, and nobody else frees it.
        unsafe { LsaFreeMemory(list.cast()) };
        Ok(names)
    }

    /// Denies ways to sign in.
    ///
    /// # Errors
    /// `LsaAddAccountRights`'s.
    pub fn deny(&self, account: Sid, rights: &[LogonRight]) -> Result<(), CallError> {
        let (bytes, texts) = (account.to_bytes(), Texts::new(rights));
        // SAFETY: the policy is open; SID and texts live for the call.
        let status = unsafe {
            LsaAddAccountRights(
                self.0,
                bytes.as_ptr().cast_mut().cast(),
                texts.list.as_ptr(),
                texts.count(),
            )
        };
        check(status, "LsaAddAccountRights", &account)
    }

    /// Takes denials away; what is not denied stays so.
    ///
    /// # Errors
    /// `LsaRemoveAccountRights`'s.
    pub fn allow(&self, account: Sid, rights: &[LogonRight]) -> Result<(), CallError> {
        let (bytes, texts) = (account.to_bytes(), Texts::new(rights));
        // SAFETY: as in `deny`.
        let status = unsafe {
            LsaRemoveAccountRights(
                self.0,
                bytes.as_ptr().cast_mut().cast(),
                false,
                texts.list.as_ptr(),
                texts.count(),
            )
        };
        // The policy has nothing on that account: nothing of it is denied.
        if status == value::OBJECT_NAME_NOT_FOUND {
            return Ok(());
        }
        check(status, "LsaRemoveAccountRights", &account)
    }

    /// Takes away all that the policy says of an account, which deletes what it keeps of it; nothing is left to fail
    /// where it keeps nothing.
    ///
    /// # Errors
    /// `LsaRemoveAccountRights`'s.
    pub fn forget(&self, account: Sid) -> Result<(), CallError> {
        let bytes = account.to_bytes();
        // SAFETY: the policy is open; the SID lives for the call; with all rights no list is read.
        let status = unsafe {
            LsaRemoveAccountRights(self.0, bytes.as_ptr().cast_mut().cast(), true, null(), 0)
        };
        if status == value::OBJECT_NAME_NOT_FOUND {
            return Ok(());
        }
        check(status, "LsaRemoveAccountRights", &account)
    }
}
