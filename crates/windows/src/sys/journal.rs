//! The change journal of a volume, read with an ordinary person's rights.
//!
//! Source: learn.microsoft.com `FSCTL_QUERY_USN_JOURNAL`, `FSCTL_READ_USN_JOURNAL`, `READ_USN_JOURNAL_DATA_V1`,
//! `USN_RECORD_V3`. `FSCTL_READ_UNPRIVILEGED_USN_JOURNAL` is in the headers and in no document; programs that use it
//! (`BuildXL` among them) show that a volume opened for passing through is enough, and that records carry ids without
//! names. Not executed on Windows. Invariant: a record that is not whole is an error, never skipped.

use std::mem::size_of;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, BorrowedHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_ATTRIBUTE_DIRECTORY, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_TRAVERSE, OPEN_EXISTING, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FSCTL_QUERY_USN_JOURNAL, FSCTL_READ_UNPRIVILEGED_USN_JOURNAL, READ_USN_JOURNAL_DATA_V1,
    USN_JOURNAL_DATA_V0, USN_REASON_FILE_CREATE, USN_REASON_HARD_LINK_CHANGE,
    USN_REASON_RENAME_NEW_NAME, USN_REASON_REPARSE_POINT_CHANGE,
};

use super::error::{CallError, Win32Error, check};
use super::handle::adopt;
use crate::observe::look::JournalMark;

/// The buffer, in 8-byte units: 64 KiB.
const BUFFER: usize = 8 << 10;
/// What can put a name where none was, or make one lead elsewhere.
const REASONS: u32 = USN_REASON_FILE_CREATE
    | USN_REASON_RENAME_NEW_NAME
    | USN_REASON_HARD_LINK_CHANGE
    | USN_REASON_REPARSE_POINT_CHANGE;
/// `USN_RECORD_V3` before its name, in bytes.
const RECORD: usize = 76;
/// `ERROR_INVALID_DATA`
const INVALID_DATA: Win32Error = Win32Error(13);
const READ: &str = "DeviceIoControl (FSCTL_READ_UNPRIVILEGED_USN_JOURNAL)";

/// The journal of a volume.
#[derive(Debug)]
pub struct Journal {
    volume: OwnedHandle,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The object that it tells of.
    pub file: u128,
    /// The directory of its name.
    pub parent: u128,
    reason: u32,
    attributes: u32,
}

impl Record {
    /// Whether a directory came here with what it holds.
    #[must_use]
    pub const fn is_moved_directory(&self) -> bool {
        self.reason & USN_REASON_RENAME_NEW_NAME != 0
            && self.attributes & FILE_ATTRIBUTE_DIRECTORY != 0
    }

    /// Whether a file has other names than before.
    #[must_use]
    pub const fn is_linked(&self) -> bool {
        self.reason & USN_REASON_HARD_LINK_CHANGE != 0
    }
}

/// Records, and where the next ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where to go on.
    pub next: i64,
    /// The records.
    pub records: Vec<Record>,
}

impl Journal {
    /// Opens the journal of a drive's volume.
    ///
    /// # Errors
    /// `CreateFileW`'s.
    pub fn open(letter: char) -> Result<Self, CallError> {
        let name = format!(r"\\.\{letter}:");
        let wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
        // SAFETY: the name ends in a zero and lives for the call; no attributes and no template are given.
        let handle = unsafe {
            CreateFileW(
                wide.as_ptr(),
                FILE_TRAVERSE | SYNCHRONIZE,
                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                null(),
                OPEN_EXISTING,
                0,
                null_mut(),
            )
        };
        // SAFETY: it was just opened, or is INVALID_HANDLE_VALUE.
        let volume = unsafe { adopt(handle) };
        let volume = volume.ok_or_else(|| CallError::last("CreateFileW", &name))?;
        Ok(Self { volume })
    }

    /// The volume, for opening objects by their ids.
    #[must_use]
    pub fn volume(&self) -> BorrowedHandle<'_> {
        self.volume.as_handle()
    }

    /// Where the journal is now.
    ///
    /// # Errors
    /// `DeviceIoControl`'s: 1179 where the volume has no journal.
    pub fn mark(&self) -> Result<JournalMark, CallError> {
        const CALL: &str = "DeviceIoControl (FSCTL_QUERY_USN_JOURNAL)";
        let mut told = USN_JOURNAL_DATA_V0::default();
        let mut length = 0;
        // SAFETY: the volume is open; the structure is written within the length that is said.
        let done = unsafe {
            DeviceIoControl(
                self.volume.as_raw_handle(),
                FSCTL_QUERY_USN_JOURNAL,
                null(),
                0,
                (&raw mut told).cast(),
                u32::try_from(size_of::<USN_JOURNAL_DATA_V0>()).unwrap_or(0),
                &raw mut length,
                null_mut(),
            )
        };
        check(done, CALL, "")?;
        if usize::try_from(length).is_ok_and(|length| length < size_of::<USN_JOURNAL_DATA_V0>()) {
            return Err(CallError::new(CALL, "", INVALID_DATA));
        }
        Ok(JournalMark {
            journal: told.UsnJournalID,
            next: told.NextUsn,
        })
    }

    /// Records from a mark on.
    ///
    /// # Errors
    /// `DeviceIoControl`'s: 1181 for a mark that is too old; 13 for records that are not whole.
    pub fn read(&self, mark: JournalMark) -> Result<Page, CallError> {
        let order = READ_USN_JOURNAL_DATA_V1 {
            StartUsn: mark.next,
            ReasonMask: REASONS,
            ReturnOnlyOnClose: 0,
            Timeout: 0,
            BytesToWaitFor: 0,
            UsnJournalID: mark.journal,
            MinMajorVersion: 3,
            MaxMajorVersion: 3,
        };
        let mut buffer = vec![0_u64; BUFFER];
        let mut length = 0;
        // SAFETY: the volume is open; the order lives for the call; the buffer has the length that is said and is
        // aligned for records.
        let done = unsafe {
            DeviceIoControl(
                self.volume.as_raw_handle(),
                FSCTL_READ_UNPRIVILEGED_USN_JOURNAL,
                (&raw const order).cast(),
                u32::try_from(size_of::<READ_USN_JOURNAL_DATA_V1>()).unwrap_or(0),
                buffer.as_mut_ptr().cast(),
                u32::try_from(size_of_val(&*buffer)).unwrap_or(0),
                &raw mut length,
                null_mut(),
            )
        };
        check(done, READ, "")?;
        let length = usize::try_from(length).unwrap_or(0);
        let units = buffer.iter().flat_map(|unit| unit.to_ne_bytes());
        let bytes: Vec<u8> = units.take(length).collect();
        page(&bytes).ok_or_else(|| CallError::new(READ, "", INVALID_DATA))
    }
}

/// A page as the system writes it: the next number, then records one after the other. `None` where one is not whole, or
/// of another version.
fn page(bytes: &[u8]) -> Option<Page> {
    let (next, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(u32::from_le_bytes(field(rest, 0)?)).ok()?;
        let version = u16::from_le_bytes(field(rest, 4)?);
        // Records start at multiples of eight bytes.
        if length < RECORD || !length.is_multiple_of(8) || version != 3 {
            return None;
        }
        let record = rest.get(..length)?;
        records.push(Record {
            file: u128::from_le_bytes(field(record, 8)?),
            parent: u128::from_le_bytes(field(record, 24)?),
            reason: u32::from_le_bytes(field(record, 56)?),
            attributes: u32::from_le_bytes(field(record, 68)?),
        });
        rest = rest.get(length..)?;
    }
    Some(Page {
        next: i64::from_le_bytes(*next),
        records,
    })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use windows_sys::Win32::System::Ioctl::USN_RECORD_V3;

    use super::*;

    fn record(length: u32, version: u16, reason: u32, attributes: u32) -> Vec<u8> {
        let mut bytes = vec![0; 80];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..6].copy_from_slice(&version.to_le_bytes());
        bytes[8..24].copy_from_slice(&7_u128.to_le_bytes());
        bytes[24..40].copy_from_slice(&5_u128.to_le_bytes());
        bytes[56..60].copy_from_slice(&reason.to_le_bytes());
        bytes[68..72].copy_from_slice(&attributes.to_le_bytes());
        bytes
    }

    fn with_next(records: &[Vec<u8>]) -> Vec<u8> {
        [42_i64.to_le_bytes().to_vec(), records.concat()].concat()
    }

    #[test]
    fn records_lie_as_the_header_says() {
        assert_eq!(offset_of!(USN_RECORD_V3, FileReferenceNumber), 8);
        assert_eq!(offset_of!(USN_RECORD_V3, ParentFileReferenceNumber), 24);
        assert_eq!(offset_of!(USN_RECORD_V3, Reason), 56);
        assert_eq!(offset_of!(USN_RECORD_V3, FileAttributes), 68);
        assert_eq!(offset_of!(USN_RECORD_V3, FileName), RECORD);
    }

    #[test]
    fn a_page_is_read_to_its_end_or_not_at_all() {
        let moved = record(80, 3, USN_REASON_RENAME_NEW_NAME, FILE_ATTRIBUTE_DIRECTORY);
        let linked = record(80, 3, USN_REASON_HARD_LINK_CHANGE, 0);
        let read = page(&with_next(&[moved.clone(), linked])).unwrap();
        assert_eq!((read.next, read.records.len()), (42, 2));
        assert_eq!((read.records[0].file, read.records[0].parent), (7, 5));
        assert!(read.records[0].is_moved_directory() && !read.records[0].is_linked());
        assert!(read.records[1].is_linked() && !read.records[1].is_moved_directory());
        assert_eq!(page(&with_next(&[])).unwrap().records, []);
        let torn = &with_next(std::slice::from_ref(&moved))[..60];
        assert_eq!(page(torn), None);
        assert_eq!(page(&[0; 7]), None);
        for hostile in [
            record(0, 3, 0, 0),
            record(8, 3, 0, 0),
            record(800, 3, 0, 0),
            record(80, 2, 0, 0),
            record(u32::MAX, 3, 0, 0),
        ] {
            assert_eq!(page(&with_next(&[moved.clone(), hostile])), None);
        }
    }

    // plumbing-only: wine has no journal, and says so.
    #[test]
    fn a_volume_without_a_journal_is_an_error_that_names_the_call() {
        let told = Journal::open('C').and_then(|journal| journal.mark());
        match told {
            Ok(mark) => assert!(mark.next >= 0, "a system with a journal"),
            Err(error) => assert!(
                ["CreateFileW", "DeviceIoControl (FSCTL_QUERY_USN_JOURNAL)"].contains(&error.call),
                "{error}"
            ),
        }
    }
}
