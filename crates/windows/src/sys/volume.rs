//! Drive letters and the volumes behind them.
//!
//! Source: learn.microsoft.com `GetVolumeInformationByHandleW`, `GetDriveTypeW`, `QueryDosDeviceW`,
//! `GetVolumePathNamesForVolumeNameW`.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Win32::Foundation::ERROR_NO_MORE_FILES;
use windows_sys::Win32::Storage::FileSystem::{
    FindFirstVolumeW, FindNextVolumeW, FindVolumeClose, GetDriveTypeW, GetLogicalDrives,
    GetVolumeInformationByHandleW, GetVolumePathNamesForVolumeNameW, QueryDosDeviceW,
};

use super::error::{CallError, Win32Error, check};

/// `FILE_PERSISTENT_ACLS`
const PERSISTENT_ACLS: u32 = 8;

/// What kind of drive the system takes a letter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveType {
    /// A disk of the machine.
    Fixed,
    /// A disk that may be pulled out.
    Removable,
    /// A share.
    Network,
    /// Anything else: a CD, a RAM disk, nothing.
    Other,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInformation {
    /// The file system's name.
    pub file_system: String,
    /// Whether it keeps access control lists.
    pub keeps_lists: bool,
}

/// The letters of drives.
#[must_use]
pub fn letters() -> Vec<char> {
    // SAFETY: GetLogicalDrives has no precondition.
    let bits = unsafe { GetLogicalDrives() };
    ('A'..='Z')
        .zip(0..26_u32)
        .filter(|(_, index)| bits & (1 << index) != 0)
        .map(|(letter, _)| letter)
        .collect()
}

/// What the system takes the drive of a letter for.
#[must_use]
pub fn drive_type(letter: char) -> DriveType {
    let root: Vec<u16> = format!("{letter}:\\").encode_utf16().chain([0]).collect();
    // SAFETY: the text ends in a zero and lives for the call.
    match unsafe { GetDriveTypeW(root.as_ptr()) } {
        3 => DriveType::Fixed,
        2 => DriveType::Removable,
        4 => DriveType::Network,
        _ => DriveType::Other,
    }
}

/// The device behind a drive letter: `\Device\HarddiskVolume3`, or `\??\C:\x` for a substituted drive.
///
/// # Errors
/// `QueryDosDeviceW`'s.
pub fn device(letter: char) -> Result<String, CallError> {
    let name: Vec<u16> = format!("{letter}:").encode_utf16().chain([0]).collect();
    let mut buffer = vec![0_u16; 32 * 1024];
    let capacity = u32::try_from(buffer.len()).unwrap_or(0);
    // SAFETY: the name ends in a zero; the buffer has the length that is said.
    let length = unsafe { QueryDosDeviceW(name.as_ptr(), buffer.as_mut_ptr(), capacity) };
    if length == 0 {
        return Err(CallError::last("QueryDosDeviceW", letter));
    }
    Ok(first(&buffer))
}

/// The volume that an open object lies on.
///
/// # Errors
/// `GetVolumeInformationByHandleW`'s.
pub fn information(file: BorrowedHandle<'_>) -> Result<VolumeInformation, CallError> {
    let mut flags = 0;
    let mut name = [0_u16; 64];
    // SAFETY: the handle is open; what is not asked for is null; the name's buffer has the length that is said.
    let done = unsafe {
        GetVolumeInformationByHandleW(
            file.as_raw_handle(),
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut flags,
            name.as_mut_ptr(),
            u32::try_from(name.len()).unwrap_or(0),
        )
    };
    check(done, "GetVolumeInformationByHandleW", "")?;
    Ok(VolumeInformation {
        file_system: first(&name),
        keeps_lists: flags & PERSISTENT_ACLS != 0,
    })
}

/// The places at which each volume of this machine is mounted.
///
/// # Errors
/// `FindFirstVolumeW`'s and `GetVolumePathNamesForVolumeNameW`'s.
pub fn mount_points() -> Result<Vec<Vec<String>>, CallError> {
    let mut name = [0_u16; 64];
    let capacity = u32::try_from(name.len()).unwrap_or(0);
    // SAFETY: the buffer has the length that is said.
    let search = unsafe { FindFirstVolumeW(name.as_mut_ptr(), capacity) };
    if search == windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE {
        return Err(CallError::last("FindFirstVolumeW", ""));
    }
    let search = Search(search);
    let mut volumes = Vec::new();
    loop {
        volumes.push(paths_of(&name)?);
        // SAFETY: the search is open; the buffer has the length that is said.
        if unsafe { FindNextVolumeW(search.0, name.as_mut_ptr(), capacity) } == 0 {
            return match Win32Error::last() {
                Win32Error(ERROR_NO_MORE_FILES) => Ok(volumes),
                error => Err(CallError::new("FindNextVolumeW", "", error)),
            };
        }
    }
}

fn paths_of(volume: &[u16]) -> Result<Vec<String>, CallError> {
    let mut buffer = vec![0_u16; 32 * 1024];
    let mut length = 0;
    // SAFETY: the volume's name ends in a zero; the buffer has the length that is said.
    let done = unsafe {
        GetVolumePathNamesForVolumeNameW(
            volume.as_ptr(),
            buffer.as_mut_ptr(),
            u32::try_from(buffer.len()).unwrap_or(0),
            &raw mut length,
        )
    };
    check(done, "GetVolumePathNamesForVolumeNameW", first(volume))?;
    let paths = buffer
        .split(|unit| *unit == 0)
        .map(String::from_utf16_lossy);
    Ok(paths.take_while(|path| !path.is_empty()).collect())
}

struct Search(windows_sys::Win32::Foundation::HANDLE);

impl Drop for Search {
    fn drop(&mut self) {
        // SAFETY: FindFirstVolumeW gave it, and nobody else closes it.
        unsafe { FindVolumeClose(self.0) };
    }
}

/// The text up to its first zero.
fn first(units: &[u16]) -> String {
    let end = units
        .iter()
        .position(|unit| *unit == 0)
        .unwrap_or(units.len());
    String::from_utf16_lossy(units.get(..end).unwrap_or_default())
}
