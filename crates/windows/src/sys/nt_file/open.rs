//! Handles of objects.

use std::fmt::Display;
use std::mem::size_of;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, BorrowedHandle};
use std::ptr::{null, null_mut};

use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::step::FileId;
use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_FOR_BACKUP_INTENT,
    FILE_OPEN_REPARSE_POINT, FILE_SYNCHRONOUS_IO_NONALERT, NtCreateFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INVALID_PARAMETER, HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE,
    UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, ExtendedFileIdType, FILE_ATTRIBUTE_NORMAL, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_ID_128, FILE_ID_DESCRIPTOR, FILE_ID_DESCRIPTOR_0,
    FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA, FileIdType, OpenFileById,
    READ_CONTROL, SYNCHRONIZE, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use super::FileHandle;
use crate::sys::access::descriptor_bytes;
use crate::sys::error::{CallError, Win32Error};
use crate::sys::handle::adopt;
use crate::sys::status::{failed, value};

const SHARE: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

/// What a handle is opened for. All of them can ask for ids and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To pass through, and to ask.
    Pass,
    /// To read the descriptor.
    Look,
    /// To read and to replace the DACL.
    Protect,
    /// To replace the owner.
    Own,
    /// To list a directory.
    List,
    /// To read what a file holds.
    Read,
    /// To write what a file holds.
    Write,
    /// To delete, and to change what is in the way of that.
    Delete,
}

impl Access {
    const fn mask(self) -> u32 {
        let asking = FILE_READ_ATTRIBUTES | SYNCHRONIZE;
        asking
            | match self {
                Self::Pass => 0,
                Self::Look => READ_CONTROL,
                Self::Protect => READ_CONTROL | WRITE_DAC,
                Self::Own => READ_CONTROL | WRITE_OWNER,
                Self::List => FILE_LIST_DIRECTORY,
                Self::Read => FILE_READ_DATA,
                Self::Write => FILE_READ_DATA | FILE_WRITE_DATA,
                Self::Delete => DELETE | FILE_WRITE_ATTRIBUTES,
            }
    }
}

/// How a call finds or makes its object.
struct Call<'a> {
    parent: HANDLE,
    access: u32,
    disposition: u32,
    options: u32,
    descriptor: Option<&'a [u8]>,
}

const CALL: &str = "NtCreateFile";

fn create(
    name: &[u16],
    call: &Call<'_>,
    object: &dyn Display,
) -> Result<Result<FileHandle, NTSTATUS>, CallError> {
    let bytes = u16::try_from(size_of_val(name))
        .map_err(|_| CallError::new(CALL, object, Win32Error(ERROR_INVALID_PARAMETER)))?;
    let text = UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        // Without a name: the object that `RootDirectory` is.
        Buffer: if name.is_empty() {
            null_mut()
        } else {
            name.as_ptr().cast_mut()
        },
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
        RootDirectory: call.parent,
        ObjectName: &raw const text,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: call
            .descriptor
            .map_or(null(), |bytes| bytes.as_ptr().cast()),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: name, descriptor and parent live for the call; handle and block are ours to write; no allocation size and
    // no extended attributes are given.
    let status = unsafe {
        NtCreateFile(
            &raw mut handle,
            call.access,
            &raw const attributes,
            &raw mut block,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            SHARE,
            call.disposition,
            call.options
                | FILE_OPEN_REPARSE_POINT
                | FILE_OPEN_FOR_BACKUP_INTENT
                | FILE_SYNCHRONOUS_IO_NONALERT,
            null(),
            0,
        )
    };
    if status < 0 {
        return Ok(Err(status));
    }
    // SAFETY: the call succeeded, so the handle is open and ours.
    unsafe { adopt(handle) }
        .map(|handle| Ok(FileHandle(handle)))
        .ok_or_else(|| CallError::new(CALL, object, Win32Error(6)))
}

/// None for a name that is not there, or that is on its way out.
fn found(
    result: Result<FileHandle, NTSTATUS>,
    object: &dyn Display,
) -> Result<Option<FileHandle>, CallError> {
    match result {
        Ok(handle) => Ok(Some(handle)),
        Err(
            value::OBJECT_NAME_NOT_FOUND
            | value::OBJECT_PATH_NOT_FOUND
            | value::NO_SUCH_FILE
            | value::DELETE_PENDING
            // The parent is a file: nothing is below it.
            | value::NOT_A_DIRECTORY,
        ) => Ok(None),
        Err(status) => Err(failed(CALL, object, status)),
    }
}

/// Opens the root of a drive; none where there is no such drive.
///
/// # Errors
/// `NtCreateFile`'s.
pub fn drive_root(letter: char, access: Access) -> Result<Option<FileHandle>, CallError> {
    let name = format!(r"\??\{letter}:\");
    let units: Vec<u16> = name.encode_utf16().collect();
    let call = Call {
        parent: null_mut(),
        access: access.mask(),
        disposition: FILE_OPEN,
        options: 0,
        descriptor: None,
    };
    found(create(&units, &call, &name)?, &name)
}

/// Opens `name` in an open directory; none where there is no such name. A reparse point is opened itself.
///
/// `name` is one component: a backslash in it is refused by the caller's type.
///
/// # Errors
/// `NtCreateFile`'s.
pub fn open_at(
    directory: BorrowedHandle<'_>,
    name: &[u16],
    access: Access,
    object: &dyn Display,
) -> Result<Option<FileHandle>, CallError> {
    let call = Call {
        parent: directory.as_raw_handle(),
        access: access.mask(),
        disposition: FILE_OPEN,
        options: 0,
        descriptor: None,
    };
    found(create(name, &call, object)?, object)
}

/// Opens the same object again, for something else.
///
/// # Errors
/// `NtCreateFile`'s.
pub fn reopen(
    object: BorrowedHandle<'_>,
    access: Access,
    name: &dyn Display,
) -> Result<FileHandle, CallError> {
    let call = Call {
        parent: object.as_raw_handle(),
        access: access.mask(),
        disposition: FILE_OPEN,
        options: 0,
        descriptor: None,
    };
    create(&[], &call, name)?.map_err(|status| failed(CALL, name, status))
}

/// Makes a directory with that descriptor, or with what it inherits; none where the name is taken. The handle can read
/// its descriptor and delete it again, whatever that descriptor says: it does not bind the handle that makes the object.
///
/// # Errors
/// `NtCreateFile`'s: 1307 (invalid owner) for an owner that only `SeRestorePrivilege` may give.
pub fn make_directory(
    directory: BorrowedHandle<'_>,
    name: &[u16],
    descriptor: Option<&SecurityDescriptor>,
    object: &dyn Display,
) -> Result<Option<FileHandle>, CallError> {
    let bytes = descriptor
        .map(|descriptor| descriptor_bytes(descriptor, CALL))
        .transpose()?;
    let call = Call {
        parent: directory.as_raw_handle(),
        access: Access::Look.mask() | DELETE,
        disposition: FILE_CREATE,
        options: FILE_DIRECTORY_FILE,
        descriptor: bytes.as_deref(),
    };
    match create(name, &call, object)? {
        Ok(handle) => Ok(Some(handle)),
        Err(value::OBJECT_NAME_COLLISION) => Ok(None),
        Err(status) => Err(failed(CALL, object, status)),
    }
}

/// Opens an object by its id, on the volume of `volume`, which is any handle there.
///
/// # Errors
/// `OpenFileById`'s.
pub fn open_by_id(
    volume: BorrowedHandle<'_>,
    id: FileId,
    access: Access,
) -> Result<Option<FileHandle>, CallError> {
    let bytes = id.file.to_le_bytes();
    let extended = FILE_ID_DESCRIPTOR_0 {
        ExtendedFileId: FILE_ID_128 { Identifier: bytes },
    };
    // NTFS takes its 64-bit ids; ReFS the whole of them.
    let short = i64::try_from(id.file)
        .ok()
        .map(|file| FILE_ID_DESCRIPTOR_0 { FileId: file });
    let kinds = [
        short.map(|id| (FileIdType, id)),
        Some((ExtendedFileIdType, extended)),
    ];
    for (kind, form) in kinds.into_iter().flatten() {
        let descriptor = FILE_ID_DESCRIPTOR {
            dwSize: u32::try_from(size_of::<FILE_ID_DESCRIPTOR>()).unwrap_or(0),
            Type: kind,
            Anonymous: form,
        };
        // SAFETY: the volume's handle is open; the descriptor lives for the call and is of the kind that it says.
        let handle = unsafe {
            OpenFileById(
                volume.as_handle().as_raw_handle(),
                &raw const descriptor,
                access.mask(),
                SHARE,
                null(),
                FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT,
            )
        };
        // SAFETY: it was just opened, or is INVALID_HANDLE_VALUE.
        if let Some(handle) = unsafe { adopt(handle) } {
            return Ok(Some(FileHandle(handle)));
        }
        let error = Win32Error::last();
        if !is_none_of_that_id(error) {
            // It is there: the other form must not make it absent.
            return Err(CallError::new(
                "OpenFileById",
                format_args!("{:x}", id.file),
                error,
            ));
        }
    }
    Ok(None)
}

/// Whether an error says that nothing has the id, or that the file system has no ids of that form: a volume answers
/// "invalid parameter" for either (learn.microsoft.com `OpenFileById`).
const fn is_none_of_that_id(error: Win32Error) -> bool {
    matches!(error.0, ERROR_FILE_NOT_FOUND | ERROR_INVALID_PARAMETER)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What is closed to the caller, or held by somebody, is there.
    #[test]
    fn only_an_absent_id_is_absent() {
        for code in [ERROR_FILE_NOT_FOUND, ERROR_INVALID_PARAMETER] {
            assert!(is_none_of_that_id(Win32Error(code)));
        }
        for code in [5, 32, 21, 1920] {
            assert!(!is_none_of_that_id(Win32Error(code)), "{code}");
        }
    }
}
