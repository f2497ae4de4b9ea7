//! A file put in another's place, and an object moved by its handle.
//!
//! Source: learn.microsoft.com `MoveFileExW`, `SetFileInformationByHandle`, `FILE_RENAME_INFO`.

use std::ffi::OsStr;
use std::mem::offset_of;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Win32::Storage::FileSystem::{
    FILE_RENAME_INFO, FileRenameInfo, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH,
    MoveFileExW, SetFileInformationByHandle,
};

use super::error::{CallError, Win32Error, check};
use super::wide::WideText;

/// Renames `from` to `to`, in the place of what is there, and waits until that is on the disk.
///
/// # Errors
/// `MoveFileExW`'s.
pub fn replace(from: &OsStr, to: &OsStr) -> Result<(), CallError> {
    const CALL: &str = "MoveFileExW";
    let object = to.display();
    let wide =
        |text| WideText::new(text).map_err(|_| CallError::new(CALL, &object, Win32Error(123)));
    let (from, onto) = (wide(from)?, wide(to)?);
    let flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    // SAFETY: both names live for the call and end in a zero.
    let done = unsafe { MoveFileExW(from.as_ptr(), onto.as_ptr(), flags) };
    check(done, CALL, &object)
}

/// Moves an object, opened with DELETE, to the name `to` on its volume, which must be free. The object moves, whatever
/// its path leads to by now.
///
/// # Errors
/// `SetFileInformationByHandle`'s: 17 for another volume, 80 or 183 where the name is taken.
pub fn relocate(object: BorrowedHandle<'_>, to: &OsStr) -> Result<(), CallError> {
    const CALL: &str = "SetFileInformationByHandle (FileRenameInfo)";
    let shown = to.display();
    let name: Vec<u16> = to.encode_wide().collect();
    let too_long = || CallError::new(CALL, &shown, Win32Error(206));
    let name_length = u32::try_from(size_of_val(&*name)).map_err(|_| too_long())?;
    let head = offset_of!(FILE_RENAME_INFO, FileName);
    // The structure's own end counts too, and a zero after the name.
    let length = (head + size_of_val(&*name) + 2).max(size_of::<FILE_RENAME_INFO>());
    let mut bytes = vec![0_u8; length.next_multiple_of(8)];
    let mut put = |at: usize, part: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
    };
    put(
        offset_of!(FILE_RENAME_INFO, FileNameLength),
        &name_length.to_ne_bytes(),
    );
    for (index, unit) in name.iter().enumerate() {
        put(head + 2 * index, &unit.to_ne_bytes());
    }
    // Zeros elsewhere: nothing is replaced, and the name is a whole path. In units of eight bytes, for its alignment.
    let buffer: Vec<u64> = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|unit| u64::from_ne_bytes(*unit))
        .collect();
    // SAFETY: the handle is open; the buffer lives for the call and has at least the length that is said.
    let done = unsafe {
        SetFileInformationByHandle(
            object.as_raw_handle(),
            FileRenameInfo,
            buffer.as_ptr().cast(),
            u32::try_from(length).map_err(|_| too_long())?,
        )
    };
    check(done, CALL, &shown)
}
