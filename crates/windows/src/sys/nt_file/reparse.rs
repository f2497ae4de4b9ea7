//! A reparse point taken off an open object.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{FSCTL_DELETE_REPARSE_POINT, FSCTL_GET_REPARSE_POINT};

use crate::sys::error::{CallError, Win32Error, check};

/// `MAXIMUM_REPARSE_DATA_BUFFER_SIZE`, in bytes.
const LARGEST: usize = 16 << 10;
/// The head of a tag of Microsoft's: tag, length, and two bytes that mean nothing. [MS-FSCC] 2.1.2.2.
const HEAD: usize = 8;
/// The head of any other tag: as before, and whose it is. [MS-FSCC] 2.1.2.3.
const HEAD_WITH_OWNER: usize = 24;

/// Makes an object plain that was opened for writing; where it led to is not touched.
///
/// # Errors
/// `DeviceIoControl`'s: 4390 for an object that is none.
///
/// # Security
/// Whoever may add to an empty directory may put any tag on it, also one that nobody knows.
pub fn remove_reparse_point(object: BorrowedHandle<'_>) -> Result<(), CallError> {
    let handle = object.as_raw_handle();
    let mut found = vec![0_u8; LARGEST];
    let mut bytes = 0;
    // SAFETY: the handle is open; the buffer has as many bytes as is said.
    let done = unsafe {
        DeviceIoControl(
            handle,
            FSCTL_GET_REPARSE_POINT,
            std::ptr::null(),
            0,
            found.as_mut_ptr().cast(),
            u32::try_from(LARGEST).unwrap_or(0),
            &raw mut bytes,
            std::ptr::null_mut(),
        )
    };
    check(done, "FSCTL_GET_REPARSE_POINT", "")?;
    let wanted = request(&found)
        .ok_or_else(|| CallError::new("FSCTL_GET_REPARSE_POINT", "too short", Win32Error(4392)))?;
    // SAFETY: the handle is open; the request has as many bytes as is said and is only read.
    let done = unsafe {
        DeviceIoControl(
            handle,
            FSCTL_DELETE_REPARSE_POINT,
            wanted.as_ptr().cast(),
            u32::try_from(wanted.len()).unwrap_or(0),
            std::ptr::null_mut(),
            0,
            &raw mut bytes,
            std::ptr::null_mut(),
        )
    };
    check(done, "FSCTL_DELETE_REPARSE_POINT", "")
}

/// What the call wants to see again: the head of what is there, its data left out.
fn request(found: &[u8]) -> Option<Vec<u8>> {
    let tag = u32::from_le_bytes(*found.first_chunk()?);
    let is_microsofts = tag & 0x8000_0000 != 0;
    let length = if is_microsofts { HEAD } else { HEAD_WITH_OWNER };
    let mut head = found.get(..length)?.to_vec();
    head.get_mut(4..8)?.fill(0);
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::windows::fs::OpenOptionsExt as _;
    use std::os::windows::io::AsHandle as _;

    #[test]
    fn the_head_names_the_tag_and_its_owner_and_no_data() {
        let mut junction = 0xa000_0003_u32.to_le_bytes().to_vec();
        junction.extend([40, 0, 9, 9]);
        junction.extend([7; 40]);
        let expected = [3, 0, 0, 0xa0, 0, 0, 0, 0];
        assert_eq!(request(&junction).unwrap(), expected);
        let mut other = 5_u32.to_le_bytes().to_vec();
        other.extend([1, 0, 0, 0]);
        other.extend([8; 17]);
        let head = request(&other).unwrap();
        assert_eq!((head.len(), head[8]), (24, 8));
        assert_eq!(request(&[1, 2]), None);
        assert_eq!(request(&5_u32.to_le_bytes()), None);
    }

    // plumbing-only: wine has no junctions.
    #[test]
    fn a_plain_directory_is_said_to_be_none() {
        let directory =
            std::env::temp_dir().join(format!("ringfence-plain-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let open = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(0x0200_0000 | 0x0020_0000)
            .open(&directory)
            .unwrap();
        assert!(remove_reparse_point(open.as_handle()).is_err());
        drop(open);
        std::fs::remove_dir(&directory).unwrap();
    }
}
