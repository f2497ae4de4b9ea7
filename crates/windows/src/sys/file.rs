//! Files and directories by handle, read only: identity, final path, links, descriptor, reparse target.
//!
//! An object is opened by the very letters of its path (`\\?\`), itself and never what it leads to.
//! Source: learn.microsoft.com `CreateFileW`, `GetFileInformationByHandleEx`, `GetFinalPathNameByHandleW`,
//! `FSCTL_GET_REPARSE_POINT`, [MS-FSCC] 2.1.2 (reparse buffers).

use std::ffi::OsString;
use std::mem::size_of;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::path::units;
use ringfence_plan::windows::step::FileId;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_NETPATH, ERROR_FILE_NOT_FOUND, ERROR_HANDLE_EOF,
    ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_NAME, ERROR_NOT_READY, ERROR_PATH_NOT_FOUND,
    ERROR_SHARING_VIOLATION,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, GetKernelObjectSecurity,
    OWNER_SECURITY_INFORMATION,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_ATTRIBUTE_TAG_INFO, FILE_CASE_SENSITIVE_INFO, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS, FILE_SHARE_DELETE,
    FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_STANDARD_INFO, FileAttributeTagInfo,
    FileCaseSensitiveInfo, FileIdInfo, FileStandardInfo, FindClose, FindFirstFileNameW,
    FindNextFileNameW, GetFileInformationByHandleEx, GetFinalPathNameByHandleW, OPEN_EXISTING,
    VOLUME_NAME_DOS,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::FSCTL_GET_REPARSE_POINT;

use super::error::{CallError, Win32Error, check};
use super::handle::adopt;

/// `FILE_READ_ATTRIBUTES`
pub const READ_ATTRIBUTES: u32 = 0x80;
/// `READ_CONTROL`
pub const READ_CONTROL: u32 = 0x2_0000;
/// `FILE_ATTRIBUTE_DIRECTORY`
const DIRECTORY: u32 = 0x10;
/// `FILE_ATTRIBUTE_REPARSE_POINT`
const REPARSE: u32 = 0x400;
/// `FILE_ATTRIBUTE_OFFLINE | RECALL_ON_OPEN | RECALL_ON_DATA_ACCESS`
const AWAY: u32 = 0x1000 | 0x4_0000 | 0x40_0000;
/// `MAXIMUM_REPARSE_DATA_BUFFER_SIZE`, in bytes.
const REPARSE_BYTES: usize = 16 * 1024;
/// As long as a path may be, in 16-bit units.
const PATH_UNITS: usize = 32 * 1024;

/// What the attributes of an object say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    bits: u32,
    /// Its reparse tag; 0 where it is no reparse point.
    pub tag: u32,
}

impl Attributes {
    /// Whether it has children.
    #[must_use]
    pub const fn is_directory(self) -> bool {
        self.bits & DIRECTORY != 0
    }

    /// Whether it stands for another object: a name surrogate, as [MS-FSCC] 2.1.2.1 has it.
    #[must_use]
    pub const fn is_surrogate(self) -> bool {
        self.bits & REPARSE != 0 && self.tag & 0x2000_0000 != 0
    }

    /// Whether reading its data fetches it from elsewhere.
    #[must_use]
    pub const fn is_away(self) -> bool {
        self.bits & AWAY != 0
    }
}

/// `path` as the system takes it, to the letter.
#[must_use]
pub fn verbatim(path: &WindowsPath) -> OsString {
    let mut wide: Vec<u16> = format!("\\\\?\\{}:", path.drive()).encode_utf16().collect();
    for component in path.components() {
        wide.push(u16::from(b'\\'));
        wide.extend(units(component));
    }
    if path.is_drive_root() {
        wide.push(u16::from(b'\\'));
    }
    OsString::from_wide(&wide)
}

fn zero_ended(path: &WindowsPath) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt as _;
    verbatim(path).encode_wide().chain([0]).collect()
}

/// Whether an error says that there is nothing, or nothing that the caller may see.
#[must_use]
pub const fn is_absence(error: Win32Error) -> bool {
    matches!(
        error.0,
        ERROR_FILE_NOT_FOUND
            | ERROR_PATH_NOT_FOUND
            | ERROR_ACCESS_DENIED
            | ERROR_INVALID_NAME
            | ERROR_NOT_READY
            | ERROR_BAD_NETPATH
            | ERROR_SHARING_VIOLATION
    )
}

/// Opens the object at `path` itself, with these rights; `None` where there is nothing that the caller may see.
///
/// # Errors
/// `CreateFileW`'s.
pub fn open_itself(path: &WindowsPath, access: u32) -> Result<Option<OwnedHandle>, CallError> {
    open(
        &zero_ended(path),
        access,
        FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT,
        &path.printable(),
    )
}

/// Opens what `named` leads to, links followed, as any program would; for asking where that is.
///
/// # Errors
/// `CreateFileW`'s; 123 for a name with a zero in it.
pub fn open_followed(named: &str) -> Result<Option<OwnedHandle>, CallError> {
    let wide: Vec<u16> = named.encode_utf16().chain([0]).collect();
    if wide.iter().filter(|unit| **unit == 0).count() > 1 {
        return Ok(None);
    }
    open(&wide, READ_ATTRIBUTES, FILE_FLAG_BACKUP_SEMANTICS, named)
}

fn open(
    wide: &[u16],
    access: u32,
    flags: u32,
    object: &str,
) -> Result<Option<OwnedHandle>, CallError> {
    // SAFETY: the path ends in a zero and lives for the call; no attributes, no template.
    let handle = unsafe {
        CreateFileW(
            wide.as_ptr(),
            access,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            std::ptr::null(),
            OPEN_EXISTING,
            flags,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: it was just opened, and is invalid on failure.
    if let Some(handle) = unsafe { adopt(handle) } {
        return Ok(Some(handle));
    }
    let error = Win32Error::last();
    if is_absence(error) {
        return Ok(None);
    }
    Err(CallError::new("CreateFileW", object, error))
}

fn information<T: Default>(
    file: BorrowedHandle<'_>,
    class: FILE_INFO_BY_HANDLE_CLASS,
    call: &'static str,
) -> Result<T, CallError> {
    let mut value = T::default();
    let length = u32::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the handle is open; the structure is the class's own and has the length that is said.
    let done = unsafe {
        GetFileInformationByHandleEx(file.as_raw_handle(), class, (&raw mut value).cast(), length)
    };
    check(done, call, "")?;
    Ok(value)
}

/// Which object it is.
///
/// # Errors
/// `GetFileInformationByHandleEx`'s.
pub fn id(file: BorrowedHandle<'_>) -> Result<FileId, CallError> {
    let info: FILE_ID_INFO = information(
        file,
        FileIdInfo,
        "GetFileInformationByHandleEx (FileIdInfo)",
    )?;
    Ok(FileId {
        volume: info.VolumeSerialNumber,
        file: u128::from_le_bytes(info.FileId.Identifier),
    })
}

/// Its attributes and reparse tag.
///
/// # Errors
/// `GetFileInformationByHandleEx`'s.
pub fn attributes(file: BorrowedHandle<'_>) -> Result<Attributes, CallError> {
    let info: FILE_ATTRIBUTE_TAG_INFO = information(
        file,
        FileAttributeTagInfo,
        "GetFileInformationByHandleEx (FileAttributeTagInfo)",
    )?;
    Ok(Attributes {
        bits: info.FileAttributes,
        tag: info.ReparseTag,
    })
}

/// How many names it has.
///
/// # Errors
/// `GetFileInformationByHandleEx`'s.
pub fn links(file: BorrowedHandle<'_>) -> Result<u32, CallError> {
    let info: FILE_STANDARD_INFO = information(
        file,
        FileStandardInfo,
        "GetFileInformationByHandleEx (FileStandardInfo)",
    )?;
    Ok(info.NumberOfLinks)
}

/// Whether names in a directory are told apart by case; not where the file system does not know the question.
#[must_use]
pub fn is_case_sensitive(directory: BorrowedHandle<'_>) -> bool {
    let info: Result<FILE_CASE_SENSITIVE_INFO, _> = information(
        directory,
        FileCaseSensitiveInfo,
        "GetFileInformationByHandleEx (FileCaseSensitiveInfo)",
    );
    info.is_ok_and(|info| info.Flags & 1 != 0)
}

/// Its final path as the system tells it: `\\?\C:\…`, `\\?\UNC\…`, `\\?\Volume{…}\…`.
///
/// # Errors
/// `GetFinalPathNameByHandleW`'s.
pub fn final_path(file: BorrowedHandle<'_>) -> Result<OsString, CallError> {
    let mut buffer = vec![0_u16; PATH_UNITS];
    let capacity = u32::try_from(buffer.len()).unwrap_or(0);
    // SAFETY: the handle is open; the buffer has the length that is said.
    let length = unsafe {
        GetFinalPathNameByHandleW(
            file.as_raw_handle(),
            buffer.as_mut_ptr(),
            capacity,
            VOLUME_NAME_DOS,
        )
    };
    let length = usize::try_from(length).unwrap_or(0);
    match buffer.get(..length) {
        Some(path) if length > 0 => Ok(OsString::from_wide(path)),
        _ => Err(CallError::last("GetFinalPathNameByHandleW", "")),
    }
}

/// Owner, group and DACL of an object that was opened with [`READ_CONTROL`].
///
/// # Errors
/// `GetKernelObjectSecurity`'s; 1338 for a descriptor that can't be read.
pub fn descriptor(file: BorrowedHandle<'_>) -> Result<SecurityDescriptor, CallError> {
    const CALL: &str = "GetKernelObjectSecurity";
    let wanted =
        OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let mut buffer = vec![0_u8; 1024];
    loop {
        let mut needed = 0;
        let capacity = u32::try_from(buffer.len()).unwrap_or(0);
        // SAFETY: the handle is open; the buffer has the length that is said.
        let done = unsafe {
            GetKernelObjectSecurity(
                file.as_raw_handle(),
                wanted,
                buffer.as_mut_ptr().cast(),
                capacity,
                &raw mut needed,
            )
        };
        let needed = usize::try_from(needed).unwrap_or(0);
        if done != 0 {
            return SecurityDescriptor::from_bytes(&buffer)
                .map_err(|error| CallError::new(CALL, error, Win32Error(1338)));
        }
        match Win32Error::last() {
            // It may have grown meanwhile, so more than once; it can't grow beyond this.
            Win32Error(ERROR_INSUFFICIENT_BUFFER) if needed > buffer.len() && needed <= 1 << 17 => {
                buffer = vec![0; needed];
            }
            error => return Err(CallError::new(CALL, "", error)),
        }
    }
}

/// Where a symbolic link or a junction leads, as it is written in it; `None` for every other tag.
///
/// # Errors
/// `DeviceIoControl`'s.
pub fn reparse_target(file: BorrowedHandle<'_>) -> Result<Option<OsString>, CallError> {
    let mut buffer = vec![0_u8; REPARSE_BYTES];
    let mut length = 0;
    let capacity = u32::try_from(buffer.len()).unwrap_or(0);
    // SAFETY: the handle is open; nothing goes in; the buffer has the length that is said.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_GET_REPARSE_POINT,
            std::ptr::null(),
            0,
            buffer.as_mut_ptr().cast(),
            capacity,
            &raw mut length,
            std::ptr::null_mut(),
        )
    };
    check(done, "DeviceIoControl (FSCTL_GET_REPARSE_POINT)", "")?;
    buffer.truncate(usize::try_from(length).unwrap_or(0));
    Ok(substitute_name(&buffer).map(|name| OsString::from_wide(&name)))
}

/// The substitute name in a reparse buffer: [MS-FSCC] 2.1.2.4 and 2.1.2.5.
fn substitute_name(buffer: &[u8]) -> Option<Vec<u16>> {
    let word = |at: usize| -> Option<usize> {
        let bytes: [u8; 2] = buffer.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(u16::from_le_bytes(bytes)))
    };
    let tag = u32::from_le_bytes(buffer.get(..4)?.try_into().ok()?);
    let names = match tag {
        // IO_REPARSE_TAG_MOUNT_POINT
        0xa000_0003 => 16,
        // IO_REPARSE_TAG_SYMLINK
        0xa000_000c => 20,
        _ => return None,
    };
    let start = names + word(8)?;
    let bytes = buffer.get(start..start + word(10)?)?;
    let units = bytes.chunks_exact(2).map(|pair| {
        u16::from_le_bytes([
            pair.first().copied().unwrap_or(0),
            pair.get(1).copied().unwrap_or(0),
        ])
    });
    Some(units.collect())
}

/// The names of a file on its volume, each beginning with a backslash.
///
/// # Errors
/// `FindFirstFileNameW`'s and `FindNextFileNameW`'s.
pub fn names_on_volume(path: &WindowsPath) -> Result<Vec<OsString>, CallError> {
    const CALL: &str = "FindFirstFileNameW";
    let wide = zero_ended(path);
    let mut buffer = vec![0_u16; PATH_UNITS];
    let mut length = u32::try_from(buffer.len()).unwrap_or(0);
    // SAFETY: the path ends in a zero; the buffer has the length that is said.
    let search =
        unsafe { FindFirstFileNameW(wide.as_ptr(), 0, &raw mut length, buffer.as_mut_ptr()) };
    if search == windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE {
        return Err(CallError::last(CALL, path.printable()));
    }
    let search = Search(search);
    let mut names = Vec::new();
    loop {
        let end = buffer.iter().position(|unit| *unit == 0).unwrap_or(0);
        names.push(OsString::from_wide(buffer.get(..end).unwrap_or_default()));
        length = u32::try_from(buffer.len()).unwrap_or(0);
        // SAFETY: the search is open; the buffer has the length that is said.
        let more = unsafe { FindNextFileNameW(search.0, &raw mut length, buffer.as_mut_ptr()) };
        if more == 0 {
            return match Win32Error::last() {
                Win32Error(ERROR_HANDLE_EOF) => Ok(names),
                error => Err(CallError::new("FindNextFileNameW", path.printable(), error)),
            };
        }
    }
}

struct Search(windows_sys::Win32::Foundation::HANDLE);

impl Drop for Search {
    fn drop(&mut self) {
        // SAFETY: FindFirstFileNameW gave it, and nobody else closes it.
        unsafe { FindClose(self.0) };
    }
}

/// Whether two handles are to one object.
///
/// # Errors
/// [`id`]'s.
pub fn is_same(left: &impl AsHandle, right: &impl AsHandle) -> Result<bool, CallError> {
    Ok(id(left.as_handle())? == id(right.as_handle())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_junction_is_read_from_its_buffer() {
        let target: Vec<u16> = "\\??\\C:\\x".encode_utf16().collect();
        let mut buffer = 0xa000_0003_u32.to_le_bytes().to_vec();
        let bytes = u16::try_from(target.len() * 2).unwrap();
        buffer.extend([0; 4]);
        for word in [0, bytes, bytes + 2, 0] {
            buffer.extend(word.to_le_bytes());
        }
        buffer.extend(target.iter().flat_map(|unit| unit.to_le_bytes()));
        assert_eq!(substitute_name(&buffer), Some(target));
        // Hostile: lengths that lead out of the buffer.
        for length in 0..buffer.len() {
            let cut = buffer.get(..length).unwrap();
            assert_eq!(substitute_name(cut), None, "{length}");
        }
        buffer[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(substitute_name(&buffer), None);
    }
}
