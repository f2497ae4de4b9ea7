//! The processes of an account, ended.
//!
//! Source: learn.microsoft.com `CreateToolhelp32Snapshot`, `TerminateProcess`. Invariant: a process is ended only
//! after the very handle that will end it has said whose it is: a number may be another process's by then.

use std::mem::size_of;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};

use ringfence_nt::Sid;
use windows_sys::Win32::Foundation::ERROR_NO_MORE_FILES;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
    TerminateProcess,
};

use super::error::{CallError, Win32Error};
use super::handle::{adopt, wait};
use super::token::AccessToken;

/// The numbers of all processes now.
///
/// # Errors
/// The calls'.
pub fn processes() -> Result<Vec<u32>, CallError> {
    const CALL: &str = "CreateToolhelp32Snapshot";
    // SAFETY: the call has no precondition.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    // SAFETY: it was just made, or is INVALID_HANDLE_VALUE.
    let snapshot = unsafe { adopt(snapshot) }.ok_or_else(|| CallError::last(CALL, ""))?;
    let mut entry = PROCESSENTRY32W {
        dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).unwrap_or(0),
        ..PROCESSENTRY32W::default()
    };
    let mut numbers = Vec::new();
    // SAFETY: the snapshot is open; the entry has its length in it.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        numbers.push(entry.th32ProcessID);
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    match Win32Error::last() {
        Win32Error(ERROR_NO_MORE_FILES) => Ok(numbers),
        error => Err(CallError::new("Process32NextW", "", error)),
    }
}

/// Opens a process, if it is that account's.
fn open_of(account: Sid, number: u32) -> Option<OwnedHandle> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE | PROCESS_SYNCHRONIZE;
    // SAFETY: the call has no precondition: a number that is no process is refused.
    let handle = unsafe { OpenProcess(access, 0, number) };
    // SAFETY: it was just opened, or is null.
    let process = unsafe { adopt(handle) }?;
    let user = AccessToken::of_process(process.as_handle())
        .ok()?
        .user()
        .ok()?;
    (user == account).then_some(process)
}

/// Ends every process of an account that is there now; how many there were.
///
/// # Errors
/// `TerminateProcess`'s.
pub fn end_all_of(account: Sid) -> Result<u32, CallError> {
    let mut ended = 0_u32;
    for number in processes()? {
        let Some(process) = open_of(account, number) else {
            continue;
        };
        // SAFETY: the process is open.
        if unsafe { TerminateProcess(process.as_raw_handle(), 1) } == 0 {
            let error = Win32Error::last();
            // It was ending already.
            if error.0 != 5 {
                return Err(CallError::new("TerminateProcess", number, error));
            }
        }
        wait(process.as_handle(), Some(5_000))?;
        ended = ended.saturating_add(1);
    }
    Ok(ended)
}
