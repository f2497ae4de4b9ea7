//! Privileges of this process that are there and switched off.
//!
//! Source: learn.microsoft.com `AdjustTokenPrivileges`, "Privilege Constants".

use std::mem::size_of;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE, LUID};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
    TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use std::os::windows::io::{AsRawHandle as _, OwnedHandle};

use super::error::{CallError, Win32Error, check};
use super::handle::adopt;
use super::wide::WideText;

/// A privilege that set-up needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// To read what a descriptor would not let an administrator read, and to load a profile.
    Backup,
    /// To write it, to give an object any owner, and to load a profile.
    Restore,
    /// To end a process whose descriptor does not name administrators.
    Debug,
}

impl Privilege {
    const fn name(self) -> &'static str {
        match self {
            Self::Backup => "SeBackupPrivilege",
            Self::Restore => "SeRestorePrivilege",
            Self::Debug => "SeDebugPrivilege",
        }
    }
}

fn own_token() -> Result<OwnedHandle, CallError> {
    const CALL: &str = "OpenProcessToken";
    let mut handle: HANDLE = std::ptr::null_mut();
    // SAFETY: GetCurrentProcess has no precondition; its pseudo handle is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: the process's handle is valid; the result is ours to write.
    let done = unsafe {
        OpenProcessToken(
            process,
            TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY,
            &raw mut handle,
        )
    };
    check(done, CALL, "")?;
    // SAFETY: the call succeeded, so the handle is open and ours.
    unsafe { adopt(handle) }.ok_or_else(|| CallError::new(CALL, "", Win32Error(6)))
}

/// Switches a privilege on.
///
/// # Errors
/// `AdjustTokenPrivileges`'s: 1300 (not all assigned) where this process does not have it.
pub fn enable(privilege: Privilege) -> Result<(), CallError> {
    const CALL: &str = "AdjustTokenPrivileges";
    let token = own_token()?;
    let name = privilege.name();
    let wide = WideText::new(name).map_err(|error| CallError::new(CALL, error, Win32Error(87)))?;
    let mut luid = LUID::default();
    // SAFETY: no system means this one; the name ends in a zero; the result is ours to write.
    let found = unsafe { LookupPrivilegeValueW(std::ptr::null(), wide.as_ptr(), &raw mut luid) };
    check(found, "LookupPrivilegeValueW", name)?;
    let wanted = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Luid: luid,
            Attributes: SE_PRIVILEGE_ENABLED,
        }],
    };
    // SAFETY: the token is open; the list has the one entry that it says; the old state is not asked for.
    let done = unsafe {
        AdjustTokenPrivileges(
            token.as_raw_handle(),
            0,
            &raw const wanted,
            u32::try_from(size_of::<TOKEN_PRIVILEGES>()).unwrap_or(0),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    check(done, CALL, name)?;
    // It says yes as well when it has switched on nothing.
    match Win32Error::last() {
        Win32Error(ERROR_SUCCESS) => Ok(()),
        error => Err(CallError::new(CALL, name, error)),
    }
}
