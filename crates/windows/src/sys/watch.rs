//! What changes below a directory, as the file system reports it.
//!
//! Source: learn.microsoft.com `ReadDirectoryChangesW`, `FILE_NOTIFY_INFORMATION`. The system keeps what happens
//! between two questions in a buffer of its own, and says so when it overflowed. Invariant: what was not reported is
//! said to be lost, never taken for nothing.

use std::os::windows::io::{AsHandle as _, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use ringfence_plan::windows::WindowsPath;
use windows_sys::Win32::Foundation::{ERROR_IO_INCOMPLETE, ERROR_NOTIFY_ENUM_DIR};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_ACTION_REMOVED, FILE_ACTION_RENAMED_OLD_NAME, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_FLAG_OVERLAPPED, FILE_LIST_DIRECTORY,
    FILE_NOTIFY_CHANGE_DIR_NAME, FILE_NOTIFY_CHANGE_FILE_NAME, FILE_NOTIFY_CHANGE_SECURITY,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING, ReadDirectoryChangesW,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};

use super::error::{CallError, Win32Error, check};
use super::file::verbatim;
use super::handle::{Signal, adopt};
use super::wide::WideText;

/// The buffer, in 4-byte units: 256 KiB, some thousand names.
const BUFFER: usize = 64 << 10;
/// The parts of a record before its name, in bytes.
const HEAD: usize = 12;

/// A directory that is watched, with all below it.
pub struct Watch {
    directory: OwnedHandle,
    signal: Signal,
    buffer: Box<[u32]>,
    /// Of the question that is being answered. Boxed: its address must stay.
    overlapped: Box<OVERLAPPED>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").finish_non_exhaustive()
    }
}

// SAFETY: the structure is the system's while a question is open, and whoever has the watch asks one thing at a time;
// no part of it belongs to a thread.
unsafe impl Send for Watch {}

/// What has happened since the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// These names, from the watched directory: made, renamed to, or given another descriptor.
    Names(Vec<Vec<u16>>),
    /// More than was kept.
    Lost,
}

impl Watch {
    /// Watches the directory at `path` from now on.
    ///
    /// # Errors
    /// The calls'.
    pub fn begin(path: &WindowsPath) -> Result<Self, CallError> {
        const CALL: &str = "CreateFileW";
        let object = path.printable();
        let wide = WideText::new(verbatim(path))
            .map_err(|_| CallError::new(CALL, &object, Win32Error(123)))?;
        // SAFETY: the path lives for the call; no attributes and no template are given.
        let handle = unsafe {
            CreateFileW(
                wide.as_ptr(),
                FILE_LIST_DIRECTORY,
                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                std::ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_OVERLAPPED,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: it was just opened, or is INVALID_HANDLE_VALUE.
        let directory = unsafe { adopt(handle) }.ok_or_else(|| CallError::last(CALL, &object))?;
        let signal = Signal::new()?;
        let mut watch = Self {
            directory,
            signal,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            overlapped: Box::default(),
        };
        watch.ask()?;
        Ok(watch)
    }

    /// The directory that is watched.
    #[must_use]
    pub fn directory(&self) -> BorrowedHandle<'_> {
        self.directory.as_handle()
    }

    /// What is signalled when something has happened.
    #[must_use]
    pub fn readiness(&self) -> BorrowedHandle<'_> {
        self.signal.as_handle()
    }

    /// What has happened since the last time, without waiting.
    ///
    /// # Errors
    /// The calls'; the watch is of no use then.
    pub fn take(&mut self) -> Result<Seen, CallError> {
        const CALL: &str = "ReadDirectoryChangesW";
        let mut bytes = 0;
        // SAFETY: the directory is open and the operation is this structure's.
        let done = unsafe {
            GetOverlappedResult(
                self.directory.as_raw_handle(),
                &raw const *self.overlapped,
                &raw mut bytes,
                0,
            )
        };
        let seen = match check(done, CALL, "") {
            Ok(()) if bytes == 0 => Seen::Lost,
            Ok(()) => self.parse(bytes),
            Err(error) if error.error.0 == ERROR_IO_INCOMPLETE => return Ok(Seen::Nothing),
            Err(error) if error.error.0 == ERROR_NOTIFY_ENUM_DIR => Seen::Lost,
            Err(error) => return Err(error),
        };
        self.ask()?;
        Ok(seen)
    }

    fn ask(&mut self) -> Result<(), CallError> {
        self.signal.clear();
        *self.overlapped = OVERLAPPED {
            hEvent: self.signal.as_handle().as_raw_handle(),
            ..OVERLAPPED::default()
        };
        let length = u32::try_from(size_of_val(&*self.buffer)).unwrap_or(0);
        // SAFETY: the buffer has as many bytes as is said and is aligned for its records; it and the structure live
        // until the operation is over: `drop` waits for it.
        let done = unsafe {
            ReadDirectoryChangesW(
                self.directory.as_raw_handle(),
                self.buffer.as_mut_ptr().cast(),
                length,
                1,
                FILE_NOTIFY_CHANGE_FILE_NAME
                    | FILE_NOTIFY_CHANGE_DIR_NAME
                    | FILE_NOTIFY_CHANGE_SECURITY,
                std::ptr::null_mut(),
                &raw mut *self.overlapped,
                None,
            )
        };
        check(done, "ReadDirectoryChangesW", "")
    }

    fn parse(&self, bytes: u32) -> Seen {
        let units = self.buffer.iter().flat_map(|unit| unit.to_ne_bytes());
        let length = usize::try_from(bytes).unwrap_or(0);
        let records: Vec<u8> = units.take(length).collect();
        names(&records).map_or(Seen::Lost, Seen::Names)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let directory = self.directory.as_raw_handle();
        // SAFETY: the directory is open and the operation is its own; one that is over is not found, which is fine.
        unsafe { CancelIoEx(directory, &raw const *self.overlapped) };
        let mut bytes = 0;
        // SAFETY: waits until the operation is over, so that nobody writes to buffer and structure afterwards.
        unsafe { GetOverlappedResult(directory, &raw const *self.overlapped, &raw mut bytes, 1) };
    }
}

/// The names in a chain of records that still mean something; `None` where a record reaches beyond the end.
fn names(mut records: &[u8]) -> Option<Vec<Vec<u16>>> {
    let mut found = Vec::new();
    loop {
        let (head, rest) = records.split_at_checked(HEAD)?;
        let mut words = head.chunks_exact(4).map(|word| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(word);
            u32::from_ne_bytes(bytes)
        });
        let (next, action, length) = (words.next()?, words.next()?, words.next()?);
        let name = rest.get(..usize::try_from(length).ok()?)?;
        if ![FILE_ACTION_REMOVED, FILE_ACTION_RENAMED_OLD_NAME].contains(&action) {
            let units = name.chunks_exact(2).map(|pair| match pair {
                [low, high] => u16::from_ne_bytes([*low, *high]),
                _ => 0,
            });
            found.push(units.collect());
        }
        if next == 0 {
            return Some(found);
        }
        records = records.get(usize::try_from(next).ok()?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn text(names: &[Vec<u16>]) -> Vec<String> {
        names
            .iter()
            .map(|name| String::from_utf16_lossy(name))
            .collect()
    }

    fn record(next: u32, action: u32, claims: u32, name: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = [next, action, claims]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        bytes.extend(name.encode_utf16().flat_map(u16::to_ne_bytes));
        bytes
    }

    #[test]
    fn records_are_read_to_their_end_and_no_further() {
        let two = [record(16, 1, 4, "ab"), record(0, 5, 2, "c")].concat();
        assert_eq!(text(&names(&two).unwrap()), ["ab", "c"]);
        let gone = [record(16, 2, 4, "ab"), record(0, 4, 2, "c")].concat();
        assert_eq!(text(&names(&gone).unwrap()), Vec::<String>::new());
        assert_eq!(names(&[]), None);
        assert_eq!(names(&record(0, 1, 400, "ab")), None);
        assert_eq!(names(&record(4000, 1, 4, "ab")), None);
    }

    // enforced-by-wine at the top alone: it does not watch what lies deeper.
    #[test]
    fn what_is_made_below_a_directory_is_seen() {
        let directory =
            std::env::temp_dir().join(format!("ringfence-watch-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = WindowsPath::parse(directory.to_str().unwrap()).unwrap();
        let mut watch = Watch::begin(&path).unwrap();
        assert_eq!(watch.take().unwrap(), Seen::Nothing);
        // wine reports later than the call that made the change returns, and misses what comes right after the start.
        let mut seen = Vec::new();
        let (begun, mut number) = (Instant::now(), 0);
        while seen.len() < 2 && begun.elapsed() < Duration::from_mins(1) {
            std::fs::write(directory.join(format!("file{number}")), "x").unwrap();
            number += 1;
            std::thread::sleep(Duration::from_millis(20));
            match watch.take().unwrap() {
                Seen::Names(names) => seen.extend(text(&names)),
                Seen::Nothing => {}
                Seen::Lost => panic!("lost"),
            }
        }
        assert!(seen.len() >= 2, "{seen:?} of {number}");
        assert!(seen.iter().all(|name| name.starts_with("file")), "{seen:?}");
        drop(watch);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
