//! What the system tells of the machine and of accounts: names, SIDs, version, language, membership, known folders.
//!
//! Source: learn.microsoft.com `LookupAccountNameW`, `NetGetJoinInformation`, `SHGetKnownFolderPath`,
//! `GetComputerNameExW`, `GetSystemDefaultLocaleName`.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt as _;

use ringfence_nt::Sid;
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NONE_MAPPED};
use windows_sys::Win32::Globalization::GetUserDefaultLocaleName;
use windows_sys::Win32::NetworkManagement::NetManagement::{
    NETSETUP_JOIN_STATUS, NetApiBufferFree, NetGetJoinInformation, NetSetupDomainName,
};
use windows_sys::Win32::Security::{LookupAccountNameW, LookupAccountSidW, SID_NAME_USE};
use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::System::SystemInformation::{
    ComputerNameNetBIOS, GetComputerNameExW, GetSystemDirectoryW,
};
use windows_sys::Win32::UI::Shell::SHGetKnownFolderPath;
use windows_sys::core::GUID;

use super::access::copy_sid;
use super::error::{CallError, Win32Error, check};
use super::wide::WideText;

/// An account, as the system spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName {
    /// Its name.
    pub name: String,
    /// The machine or domain that it belongs to.
    pub domain: String,
}

/// The machine's name.
///
/// # Errors
/// `GetComputerNameExW`'s.
pub fn computer_name() -> Result<String, CallError> {
    let mut buffer = [0_u16; 256];
    let mut length = 256;
    // SAFETY: the buffer has the length that is said.
    let done =
        unsafe { GetComputerNameExW(ComputerNameNetBIOS, buffer.as_mut_ptr(), &raw mut length) };
    check(done, "GetComputerNameExW", "")?;
    Ok(text(&buffer))
}

/// The person's locale: `en-US`.
#[must_use]
pub fn language() -> String {
    let mut buffer = [0_u16; 85];
    // SAFETY: the buffer has the length that is said.
    unsafe { GetUserDefaultLocaleName(buffer.as_mut_ptr(), 85) };
    text(&buffer)
}

/// `C:\Windows\System32`
///
/// # Errors
/// `GetSystemDirectoryW`'s.
pub fn system_directory() -> Result<OsString, CallError> {
    let mut buffer = [0_u16; 512];
    // SAFETY: the buffer has the length that is said.
    let length = unsafe { GetSystemDirectoryW(buffer.as_mut_ptr(), 512) };
    match buffer.get(..usize::try_from(length).unwrap_or(0)) {
        Some(path) if length > 0 => Ok(OsString::from_wide(path)),
        _ => Err(CallError::last("GetSystemDirectoryW", "")),
    }
}

/// The name of the domain that the machine has joined.
///
/// # Errors
/// `NetGetJoinInformation`'s.
pub fn domain() -> Result<Option<String>, CallError> {
    let mut name = std::ptr::null_mut();
    let mut status: NETSETUP_JOIN_STATUS = 0;
    // SAFETY: no server means this machine; both results are ours to write.
    let code = unsafe { NetGetJoinInformation(std::ptr::null(), &raw mut name, &raw mut status) };
    if code != 0 {
        return Err(CallError::new(
            "NetGetJoinInformation",
            "",
            Win32Error(code),
        ));
    }
    // SAFETY: the call succeeded: it is a text that ends in a zero, or null.
    let domain = unsafe { zero_ended(name) };
    // SAFETY: the call allocated it, and nobody else frees it.
    unsafe { NetApiBufferFree(name.cast()) };
    Ok((status == NetSetupDomainName).then(|| domain.to_string_lossy().into_owned()))
}

/// A known folder of the caller; `None` where there is none of this kind.
///
/// # Errors
/// None: a folder that the system does not know is none.
#[must_use]
pub fn known_folder(folder: &GUID) -> Option<OsString> {
    let mut path = std::ptr::null_mut();
    // KF_FLAG_DONT_VERIFY: it is not made, and need not exist.
    // SAFETY: the id lives for the call; no token means the caller; the result is ours to write.
    let status =
        unsafe { SHGetKnownFolderPath(folder, 0x4000, std::ptr::null_mut(), &raw mut path) };
    let found = if status == 0 && !path.is_null() {
        // SAFETY: the call succeeded: it is a text that ends in a zero.
        Some(unsafe { zero_ended(path) })
    } else {
        None
    };
    // SAFETY: the call allocated it or left null, which this takes too.
    unsafe { CoTaskMemFree(path.cast()) };
    found
}

/// The SID of an account or machine; `None` where there is none of this name.
///
/// # Errors
/// `LookupAccountNameW`'s.
pub fn sid_of(name: &str) -> Result<Option<Sid>, CallError> {
    const CALL: &str = "LookupAccountNameW";
    let wide = WideText::new(name).map_err(|error| CallError::new(CALL, error, Win32Error(87)))?;
    let mut sid = [0_u64; 16];
    let mut sid_bytes = 128;
    let mut domain = [0_u16; 512];
    let mut domain_units = 512;
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: no system means this one; the name ends in a zero; both buffers have the lengths that are said, and the
    // SID's is aligned.
    let done = unsafe {
        LookupAccountNameW(
            std::ptr::null(),
            wide.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_bytes,
            domain.as_mut_ptr(),
            &raw mut domain_units,
            &raw mut kind,
        )
    };
    if done == 0 {
        return match Win32Error::last() {
            Win32Error(ERROR_NONE_MAPPED | ERROR_INSUFFICIENT_BUFFER) => Ok(None),
            error => Err(CallError::new(CALL, name, error)),
        };
    }
    // SAFETY: the call succeeded: the buffer holds a valid SID.
    unsafe { copy_sid(sid.as_mut_ptr().cast(), CALL) }.map(Some)
}

/// The name of an account; `None` where the system knows none for the SID.
///
/// # Errors
/// `LookupAccountSidW`'s.
pub fn name_of(sid: Sid) -> Result<Option<AccountName>, CallError> {
    const CALL: &str = "LookupAccountSidW";
    let bytes = sid.to_bytes();
    let mut name = [0_u16; 512];
    let mut name_units = 512;
    let mut domain = [0_u16; 512];
    let mut domain_units = 512;
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: no system means this one; the bytes are a valid SID; both buffers have the lengths that are said.
    let done = unsafe {
        LookupAccountSidW(
            std::ptr::null(),
            bytes.as_ptr().cast_mut().cast(),
            name.as_mut_ptr(),
            &raw mut name_units,
            domain.as_mut_ptr(),
            &raw mut domain_units,
            &raw mut kind,
        )
    };
    if done == 0 {
        return match Win32Error::last() {
            Win32Error(ERROR_NONE_MAPPED) => Ok(None),
            error => Err(CallError::new(CALL, sid, error)),
        };
    }
    Ok(Some(AccountName {
        name: text(&name),
        domain: text(&domain),
    }))
}

/// # Safety
/// `text` is null or ends in a zero and lives for the call.
pub(super) unsafe fn zero_ended(text: *const u16) -> OsString {
    if text.is_null() {
        return OsString::new();
    }
    let mut length = 0;
    loop {
        // SAFETY: every unit up to the zero may be read, and the zero has not been met yet.
        let at = unsafe { text.add(length) };
        // SAFETY: as above.
        if unsafe { *at } == 0 {
            break;
        }
        length += 1;
    }
    // SAFETY: so many units were just read.
    OsString::from_wide(unsafe { std::slice::from_raw_parts(text, length) })
}

fn text(units: &[u16]) -> String {
    let end = units
        .iter()
        .position(|unit| *unit == 0)
        .unwrap_or(units.len());
    String::from_utf16_lossy(units.get(..end).unwrap_or_default())
}
