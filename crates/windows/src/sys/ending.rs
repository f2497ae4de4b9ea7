//! The processes of an account, ended.
//!
//! Source: learn.microsoft.com `TerminateProcess`. Invariant: a process is ended only
//! after the very handle that will end it has said whose it is: a number may be another process's by then.

use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};

use ringfence_nt::Sid;
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
    TerminateProcess,
};

use super::error::{CallError, Win32Error};
use super::handle::{adopt, wait};
use super::snapshot::processes;
use super::token::AccessToken;

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
    for process in processes()? {
        let number = process.id;
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
