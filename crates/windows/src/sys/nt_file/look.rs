//! What an open object is, what is in it, and what it is called.

use std::mem::{offset_of, size_of};
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, BorrowedHandle};

use ringfence_plan::windows::step::{FileId, ObjectKind};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FILE_LINK_ENTRY_INFORMATION, FILE_LINKS_INFORMATION,
    FILE_NAMES_INFORMATION, FileHardLinkInformation, FileNamesInformation, NtQueryDirectoryFile,
    NtQueryInformationFile,
};
use windows_sys::Win32::Foundation::NTSTATUS;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO, FILE_ID_INFO,
    FILE_INFO_BY_HANDLE_CLASS, FILE_STANDARD_INFO, FileAttributeTagInfo, FileIdInfo,
    FileStandardInfo, GetFileInformationByHandleEx,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::sys::error::{CallError, Win32Error, check};
use crate::sys::status::{failed, value};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLook {
    /// Which one.
    pub id: FileId,
    /// Whether it has children.
    pub kind: ObjectKind,
    /// How many names it has.
    pub links: u32,
    /// Its reparse tag, if it has one.
    pub reparse: Option<u32>,
}

fn information<T: Default>(
    object: BorrowedHandle<'_>,
    class: FILE_INFO_BY_HANDLE_CLASS,
) -> Result<T, CallError> {
    let mut information = T::default();
    // SAFETY: the handle is open; the structure is the class's own and is written within its length.
    let done = unsafe {
        GetFileInformationByHandleEx(
            object.as_raw_handle(),
            class,
            (&raw mut information).cast(),
            u32::try_from(size_of::<T>()).unwrap_or(0),
        )
    };
    check(
        done,
        "GetFileInformationByHandleEx",
        format_args!("class {class}"),
    )?;
    Ok(information)
}

/// What the object is.
///
/// # Errors
/// `GetFileInformationByHandleEx`'s.
pub fn look(object: BorrowedHandle<'_>) -> Result<FileLook, CallError> {
    let id: FILE_ID_INFO = information(object, FileIdInfo)?;
    let tag: FILE_ATTRIBUTE_TAG_INFO = information(object, FileAttributeTagInfo)?;
    let standard: FILE_STANDARD_INFO = information(object, FileStandardInfo)?;
    let has = |attribute: u32| tag.FileAttributes & attribute != 0;
    Ok(FileLook {
        id: FileId {
            volume: id.VolumeSerialNumber,
            file: u128::from_le_bytes(id.FileId.Identifier),
        },
        kind: if has(FILE_ATTRIBUTE_DIRECTORY) {
            ObjectKind::Directory
        } else {
            ObjectKind::File
        },
        links: standard.NumberOfLinks,
        reparse: has(FILE_ATTRIBUTE_REPARSE_POINT).then_some(tag.ReparseTag),
    })
}

/// Room for what a directory or a file's names take: 64 KiB.
const ROOM: usize = 8 << 10;

/// Units of text that the system has written behind a structure.
fn units(buffer: &[u64], at: usize, bytes: u32) -> Option<Vec<u16>> {
    // SAFETY: any bytes are u8; the length is that of the buffer.
    let all =
        unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), size_of_val(buffer)) };
    let text = all.get(at..at.checked_add(usize::try_from(bytes).ok()?)?)?;
    let pairs = text.chunks_exact(2);
    Some(
        pairs
            .map(|pair| {
                u16::from_ne_bytes([
                    pair.first().copied().unwrap_or(0),
                    pair.get(1).copied().unwrap_or(0),
                ])
            })
            .collect(),
    )
}

/// The structure at an offset of a buffer, where there is room for it.
fn at<T: Copy>(buffer: &[u64], offset: usize) -> Option<T> {
    let end = offset.checked_add(size_of::<T>())?;
    if end > size_of_val(buffer) {
        return None;
    }
    // SAFETY: the offset lies in the buffer.
    let place = unsafe { buffer.as_ptr().cast::<u8>().add(offset) };
    // SAFETY: that many bytes are there and initialised; the structures read here are plain numbers.
    Some(unsafe { place.cast::<T>().read_unaligned() })
}

/// The names in a directory, in the file system's order, without `.` and `..`; `directory` was opened to list it.
///
/// # Errors
/// `NtQueryDirectoryFile`'s.
pub fn list(directory: BorrowedHandle<'_>) -> Result<Vec<Vec<u16>>, CallError> {
    const CALL: &str = "NtQueryDirectoryFile";
    const HEAD: usize = offset_of!(FILE_NAMES_INFORMATION, FileName);
    const DOT: u16 = b'.' as u16;
    let mut names = Vec::new();
    let mut buffer = vec![0_u64; ROOM];
    let mut first = true;
    loop {
        match query_names(directory, &mut buffer, first) {
            status if status >= 0 => {}
            value::NO_MORE_FILES => return Ok(names),
            // An empty root of a drive has not even `.`.
            value::NO_SUCH_FILE if first => return Ok(names),
            status => return Err(failed(CALL, "", status)),
        }
        first = false;
        let mut offset = 0;
        loop {
            let bad = || CallError::new(CALL, "an entry", Win32Error(13));
            // The fixed part alone: the last entry may be shorter than the structure with its padding.
            let next: u32 = at(&buffer, offset).ok_or_else(bad)?;
            let length: u32 = at(
                &buffer,
                offset + offset_of!(FILE_NAMES_INFORMATION, FileNameLength),
            )
            .ok_or_else(bad)?;
            let name = units(&buffer, offset + HEAD, length).ok_or_else(bad)?;
            if name != [DOT] && name != [DOT, DOT] {
                names.push(name);
            }
            if next == 0 {
                break;
            }
            offset = usize::try_from(next)
                .ok()
                .and_then(|next| offset.checked_add(next))
                .ok_or_else(bad)?;
        }
    }
}

fn query_names(directory: BorrowedHandle<'_>, buffer: &mut [u64], restart: bool) -> NTSTATUS {
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open and synchronous; the buffer has as many bytes as is said, and the block is ours.
    unsafe {
        NtQueryDirectoryFile(
            directory.as_raw_handle(),
            std::ptr::null_mut(),
            None,
            std::ptr::null(),
            &raw mut block,
            buffer.as_mut_ptr().cast(),
            u32::try_from(size_of_val(buffer)).unwrap_or(0),
            FileNamesInformation,
            false,
            std::ptr::null(),
            restart,
        )
    }
}

/// One name of a file: the directory that it stands in, by its id on the same volume, and the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The directory.
    pub parent: u64,
    /// The name.
    pub name: Vec<u16>,
}

/// Every name of a file (`FileHardLinkInformation`, [MS-FSCC] 2.4.21).
///
/// # Errors
/// `NtQueryInformationFile`'s.
pub fn links(object: BorrowedHandle<'_>) -> Result<Vec<Link>, CallError> {
    const CALL: &str = "NtQueryInformationFile";
    let mut room = ROOM;
    let buffer = loop {
        let mut buffer = vec![0_u64; room];
        match query(object, &mut buffer, FileHardLinkInformation) {
            status if status >= 0 => break buffer,
            // A file has at most 1,024 names of at most 255 units: 1 MiB is more than they take.
            value::BUFFER_OVERFLOW | value::BUFFER_TOO_SMALL if room < 1 << 17 => room *= 4,
            status => return Err(failed(CALL, "links", status)),
        }
    };
    let bad = || CallError::new(CALL, "links", Win32Error(13));
    let head: FILE_LINKS_INFORMATION = at(&buffer, 0).ok_or_else(bad)?;
    let mut links = Vec::new();
    let mut offset = offset_of!(FILE_LINKS_INFORMATION, Entry);
    for _ in 0..head.EntriesReturned {
        let entry: FILE_LINK_ENTRY_INFORMATION = at(&buffer, offset).ok_or_else(bad)?;
        let bytes = entry.FileNameLength.checked_mul(2).ok_or_else(bad)?;
        let text = offset + offset_of!(FILE_LINK_ENTRY_INFORMATION, FileName);
        links.push(Link {
            parent: entry.ParentFileId.cast_unsigned(),
            name: units(&buffer, text, bytes).ok_or_else(bad)?,
        });
        let next = usize::try_from(entry.NextEntryOffset).map_err(|_| bad())?;
        offset = offset.checked_add(next).ok_or_else(bad)?;
    }
    Ok(links)
}

fn query(
    object: BorrowedHandle<'_>,
    buffer: &mut [u64],
    class: FILE_INFORMATION_CLASS,
) -> NTSTATUS {
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the buffer has as many bytes as is said, and the block is ours.
    unsafe {
        NtQueryInformationFile(
            object.as_handle().as_raw_handle(),
            &raw mut block,
            buffer.as_mut_ptr().cast(),
            u32::try_from(size_of_val(buffer)).unwrap_or(0),
            class,
        )
    }
}
