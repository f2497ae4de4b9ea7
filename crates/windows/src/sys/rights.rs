//! Ways to sign in that an account is denied, in the local security policy.
//!
//! Source: learn.microsoft.com "Managing Account Permissions", "Account Rights Constants".

use std::mem::size_of;
use std::ptr::{null, null_mut};

use ringfence_nt::Sid;
use ringfence_plan::windows::step::LogonRight;
use windows_sys::Win32::Security::Authentication::Identity::{
    LSA_HANDLE, LSA_OBJECT_ATTRIBUTES, LSA_UNICODE_STRING, LsaAddAccountRights, LsaClose,
    LsaEnumerateAccountRights, LsaFreeMemory, LsaNtStatusToWinError, LsaOpenPolicy,
    LsaRemoveAccountRights, POLICY_CREATE_ACCOUNT, POLICY_LOOKUP_NAMES,
    POLICY_VIEW_LOCAL_INFORMATION,
};

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
        let access = POLICY_LOOKUP_NAMES | POLICY_CREATE_ACCOUNT | POLICY_VIEW_LOCAL_INFORMATION;
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
        let mut rights = Vec::new();
        for index in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the call has written that many entries.
            let entry = unsafe { list.add(index) };
            // SAFETY: as above.
            let entry = unsafe { *entry };
            let length = usize::from(entry.Length / 2);
            // SAFETY: an entry's text has as many bytes as it says.
            let units = unsafe { std::slice::from_raw_parts(entry.Buffer, length) };
            let name = String::from_utf16_lossy(units);
            rights.extend(
                NAMES
                    .iter()
                    .filter(|(_, known)| *known == name)
                    .map(|(right, _)| *right),
            );
        }
        // SAFETY: the call allocated it, and nobody else frees it.
        unsafe { LsaFreeMemory(list.cast()) };
        Ok(rights)
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

    /// Takes denials away.
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
        check(status, "LsaRemoveAccountRights", &account)
    }
}
