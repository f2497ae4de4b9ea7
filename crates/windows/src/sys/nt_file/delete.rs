//! An open object deleted.

use std::mem::size_of;
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FileBasicInformation, FileDispositionInformation,
    FileDispositionInformationEx, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::NTSTATUS;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_NORMAL, FILE_BASIC_INFO, FILE_DISPOSITION_FLAG_DELETE,
    FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE, FILE_DISPOSITION_FLAG_POSIX_SEMANTICS,
    FILE_DISPOSITION_INFO, FILE_DISPOSITION_INFO_EX,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::sys::error::CallError;
use crate::sys::status::{check, value};

/// Deletes an object that was opened for it; its name is free at once where the file system knows how.
///
/// # Errors
/// `NtSetInformationFile`'s: 145 for a directory that is not empty.
pub fn delete(object: BorrowedHandle<'_>) -> Result<(), CallError> {
    const CALL: &str = "NtSetInformationFile";
    let at_once = FILE_DISPOSITION_INFO_EX {
        Flags: FILE_DISPOSITION_FLAG_DELETE
            | FILE_DISPOSITION_FLAG_POSIX_SEMANTICS
            | FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE,
    };
    match set(object, FileDispositionInformationEx, &at_once) {
        value::INVALID_PARAMETER
        | value::INVALID_INFO_CLASS
        | value::NOT_IMPLEMENTED
        | value::NOT_SUPPORTED
        | value::OBJECT_NAME_INVALID => {}
        status => return check(status, CALL, ""),
    }
    // An older file system: the name goes with the last handle.
    let later = FILE_DISPOSITION_INFO { DeleteFile: true };
    let writable = FILE_BASIC_INFO {
        FileAttributes: FILE_ATTRIBUTE_NORMAL,
        ..FILE_BASIC_INFO::default()
    };
    if set(object, FileDispositionInformation, &later) == value::CANNOT_DELETE {
        // Its read-only mark forbids it there.
        check(set(object, FileBasicInformation, &writable), CALL, "")?;
    }
    check(set(object, FileDispositionInformation, &later), CALL, "")
}

fn set<T>(object: BorrowedHandle<'_>, class: FILE_INFORMATION_CLASS, information: &T) -> NTSTATUS {
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the structure is the class's own and is only read.
    unsafe {
        NtSetInformationFile(
            object.as_raw_handle(),
            &raw mut block,
            std::ptr::from_ref(information).cast(),
            u32::try_from(size_of::<T>()).unwrap_or(0),
            class,
        )
    }
}
