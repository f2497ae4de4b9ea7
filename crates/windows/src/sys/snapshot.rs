//! The processes and threads of a moment: numbers, parents and names, which everybody may read.
//!
//! Source: learn.microsoft.com `CreateToolhelp32Snapshot`. Invariant: it opens none of them; a number may be another
//! process's by the time it is used.

use std::mem::size_of;
use std::os::windows::io::{AsRawHandle as _, OwnedHandle};

use windows_sys::Win32::Foundation::ERROR_NO_MORE_FILES;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CREATE_TOOLHELP_SNAPSHOT_FLAGS, CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW,
    Process32NextW, TH32CS_SNAPPROCESS, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First,
    Thread32Next,
};

use super::error::{CallError, Win32Error};
use super::handle::adopt;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedProcess {
    /// Its number.
    pub id: u32,
    /// The number of the process that started it, which may have ended.
    pub parent: u32,
    /// The file name of its program.
    pub program: String,
}

fn snapshot(of: CREATE_TOOLHELP_SNAPSHOT_FLAGS) -> Result<OwnedHandle, CallError> {
    // SAFETY: the call has no precondition.
    let snapshot = unsafe { CreateToolhelp32Snapshot(of, 0) };
    // SAFETY: it was just made, or is INVALID_HANDLE_VALUE.
    unsafe { adopt(snapshot) }.ok_or_else(|| CallError::last("CreateToolhelp32Snapshot", ""))
}

fn ended(call: &'static str) -> Result<(), CallError> {
    match Win32Error::last() {
        Win32Error(ERROR_NO_MORE_FILES) => Ok(()),
        error => Err(CallError::new(call, "", error)),
    }
}

/// All processes now.
///
/// # Errors
/// The calls'.
pub fn processes() -> Result<Vec<ListedProcess>, CallError> {
    let snapshot = snapshot(TH32CS_SNAPPROCESS)?;
    let mut entry = PROCESSENTRY32W {
        dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).unwrap_or(0),
        ..PROCESSENTRY32W::default()
    };
    let mut found = Vec::new();
    // SAFETY: the snapshot is open; the entry has its length in it.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        let name: Vec<u16> = entry
            .szExeFile
            .iter()
            .copied()
            .take_while(|unit| *unit != 0)
            .collect();
        found.push(ListedProcess {
            id: entry.th32ProcessID,
            parent: entry.th32ParentProcessID,
            program: String::from_utf16_lossy(&name),
        });
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    ended("Process32NextW").map(|()| found)
}

/// The numbers of the threads of `process` now.
///
/// # Errors
/// The calls'.
pub fn threads_of(process: u32) -> Result<Vec<u32>, CallError> {
    let snapshot = snapshot(TH32CS_SNAPTHREAD)?;
    let mut entry = THREADENTRY32 {
        dwSize: u32::try_from(size_of::<THREADENTRY32>()).unwrap_or(0),
        ..THREADENTRY32::default()
    };
    let mut found = Vec::new();
    // SAFETY: the snapshot is open; the entry has its length in it.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == process {
            found.push(entry.th32ThreadID);
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) };
    }
    ended("Thread32Next").map(|()| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_listed_with_its_threads() {
        let own = std::process::id();
        let all = processes().unwrap();
        let found = all.iter().find(|process| process.id == own).unwrap();
        assert!(found.program.to_lowercase().ends_with(".exe"), "{found:?}");
        assert!(!threads_of(own).unwrap().is_empty());
        assert_eq!(threads_of(u32::MAX - 3).unwrap(), Vec::<u32>::new());
    }
}
