//! The names of drives that a logon session has for itself.
//!
//! Source: learn.microsoft.com "Defining an MS-DOS Device Name" and "Local and Global MS-DOS Device Names" (each logon
//! session has its own, which are looked at before those of the machine), `NtOpenDirectoryObject`. Invariant: no name is
//! made.

use std::ptr::{null, null_mut};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::NtOpenDirectoryObject;
use windows_sys::Win32::Foundation::{HANDLE, OBJ_CASE_INSENSITIVE, UNICODE_STRING};

use super::error::CallError;
use super::handle::adopt;
use super::status;

/// What is asked of the directory of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `DIRECTORY_QUERY | DIRECTORY_TRAVERSE`: to look names up.
    Look,
    /// `DIRECTORY_CREATE_OBJECT`: to make one, also one that the machine has.
    Make,
}

/// Whether this process may do so with the names of its own logon session.
///
/// # Errors
/// `NtOpenDirectoryObject`'s; 5 is a refusal.
pub fn try_naming(naming: Naming) -> Result<(), CallError> {
    const CALL: &str = "NtOpenDirectoryObject";
    const NAME: &str = r"\??";
    let units: Vec<u16> = NAME.encode_utf16().collect();
    let bytes = u16::try_from(size_of_val(units.as_slice())).unwrap_or(0);
    let text = UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: units.as_ptr().cast_mut(),
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
        RootDirectory: null_mut(),
        ObjectName: &raw const text,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let access = match naming {
        Naming::Look => 0x3,
        Naming::Make => 0x4,
    };
    let mut handle: HANDLE = null_mut();
    // SAFETY: the name lives for the call and is only read; the handle is ours to write.
    let status = unsafe { NtOpenDirectoryObject(&raw mut handle, access, &raw const attributes) };
    status::check(status, CALL, NAME)?;
    // SAFETY: the call succeeded, so that the handle is open and nobody else's.
    drop(unsafe { adopt(handle) });
    Ok(())
}
