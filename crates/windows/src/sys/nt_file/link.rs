//! A further name for an open file, asked for by its handle alone.

use std::mem::offset_of;
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_LINK_INFORMATION, FileLinkInformation, NtSetInformationFile,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::sys::error::{CallError, Win32Error};
use crate::sys::status::check;

/// Where names begin in the structure, in bytes: a flag, a handle, a length.
const HEAD: usize = offset_of!(FILE_LINK_INFORMATION, FileName);

/// Gives `file` the name `to` as well, a full path on its volume (`C:\\…`), in the place of nothing.
///
/// `CreateHardLink` opens the file itself, with `FILE_WRITE_ATTRIBUTES`; here the handle's rights are what counts.
///
/// # Errors
/// `NtSetInformationFile`'s: 5 where the rights do not do, 17 on another volume.
pub fn link(file: BorrowedHandle<'_>, to: &str) -> Result<(), CallError> {
    const CALL: &str = "NtSetInformationFile";
    let too_long = |_| CallError::new(CALL, to, Win32Error(206));
    let name: Vec<u16> = format!("\\??\\{to}").encode_utf16().collect();
    let length = u32::try_from(name.len() * 2).map_err(too_long)?;
    // In units of eight bytes, so that the structure is aligned; all zero: replace nothing, and no directory's handle.
    let mut buffer = vec![0_u64; (HEAD + name.len() * 2).div_ceil(8) + 1];
    let size = u32::try_from(size_of_val(buffer.as_slice())).map_err(too_long)?;
    let information = buffer.as_mut_ptr().cast::<FILE_LINK_INFORMATION>();
    // SAFETY: the buffer is aligned, zeroed and larger than the fixed part.
    unsafe { (*information).FileNameLength = length };
    // SAFETY: the offset of the name lies in the buffer.
    let place = unsafe { buffer.as_mut_ptr().cast::<u8>().add(HEAD) };
    // SAFETY: HEAD and the name's bytes are in the buffer; the name is not.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast::<u8>(), place, name.len() * 2) };
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the buffer holds the class's structure with its name and is only read.
    let status = unsafe {
        NtSetInformationFile(
            file.as_raw_handle(),
            &raw mut block,
            buffer.as_ptr().cast(),
            size,
            FileLinkInformation,
        )
    };
    check(status, CALL, to)
}
