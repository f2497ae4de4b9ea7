//! Single rights to processes, their tokens and their threads, asked for to see whether they are refused.
//!
//! Source: learn.microsoft.com "Process Security and Access Rights", "Thread Security and Access Rights". Invariant: a
//! handle that is given is closed at once and never used.

use std::os::windows::io::AsRawHandle as _;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::{TOKEN_ACCESS_MASK, TOKEN_QUERY};
use windows_sys::Win32::System::Threading::{
    OpenProcess, OpenProcessToken, OpenThread, PROCESS_CREATE_PROCESS, PROCESS_CREATE_THREAD,
    PROCESS_DUP_HANDLE, PROCESS_QUERY_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SET_INFORMATION, PROCESS_SUSPEND_RESUME, PROCESS_TERMINATE, PROCESS_VM_OPERATION,
    PROCESS_VM_READ, PROCESS_VM_WRITE, THREAD_DIRECT_IMPERSONATION, THREAD_GET_CONTEXT,
    THREAD_IMPERSONATE, THREAD_SET_CONTEXT, THREAD_SET_THREAD_TOKEN, THREAD_SUSPEND_RESUME,
    THREAD_TERMINATE,
};

use super::error::Win32Error;
use super::handle::adopt;

/// Rights by which a process is changed, ended, or its handles taken.
pub const CHANGING: &[(&str, u32)] = &[
    ("PROCESS_TERMINATE", PROCESS_TERMINATE),
    ("PROCESS_CREATE_THREAD", PROCESS_CREATE_THREAD),
    ("PROCESS_VM_OPERATION", PROCESS_VM_OPERATION),
    ("PROCESS_VM_WRITE", PROCESS_VM_WRITE),
    ("PROCESS_DUP_HANDLE", PROCESS_DUP_HANDLE),
    ("PROCESS_CREATE_PROCESS", PROCESS_CREATE_PROCESS),
    ("PROCESS_SET_INFORMATION", PROCESS_SET_INFORMATION),
    ("PROCESS_SUSPEND_RESUME", PROCESS_SUSPEND_RESUME),
    ("WRITE_DAC", 0x0004_0000),
    ("WRITE_OWNER", 0x0008_0000),
];

/// Rights by which a process is read.
pub const READING: &[(&str, u32)] = &[
    ("PROCESS_VM_READ", PROCESS_VM_READ),
    ("PROCESS_QUERY_INFORMATION", PROCESS_QUERY_INFORMATION),
];

/// Rights by which a thread is changed, ended, or acted as.
pub const OF_THREADS: &[(&str, u32)] = &[
    ("THREAD_TERMINATE", THREAD_TERMINATE),
    ("THREAD_SUSPEND_RESUME", THREAD_SUSPEND_RESUME),
    ("THREAD_GET_CONTEXT", THREAD_GET_CONTEXT),
    ("THREAD_SET_CONTEXT", THREAD_SET_CONTEXT),
    ("THREAD_SET_THREAD_TOKEN", THREAD_SET_THREAD_TOKEN),
    ("THREAD_IMPERSONATE", THREAD_IMPERSONATE),
    ("THREAD_DIRECT_IMPERSONATION", THREAD_DIRECT_IMPERSONATION),
    ("WRITE_DAC", 0x0004_0000),
    ("WRITE_OWNER", 0x0008_0000),
];

fn given(handle: HANDLE) -> Result<(), Win32Error> {
    let failed = Win32Error::last();
    // SAFETY: the caller's call has just opened it, or it is null.
    unsafe { adopt(handle) }.map(drop).ok_or(failed)
}

/// Whether this right to a process is given.
///
/// # Errors
/// The code of the refusal.
pub fn process(id: u32, right: u32) -> Result<(), Win32Error> {
    // SAFETY: the call has no precondition: a number that is no process is refused.
    given(unsafe { OpenProcess(right, 0, id) })
}

/// Whether this right to a thread is given.
///
/// # Errors
/// The code of the refusal.
pub fn thread(id: u32, right: u32) -> Result<(), Win32Error> {
    // SAFETY: the call has no precondition: a number that is no thread is refused.
    given(unsafe { OpenThread(right, 0, id) })
}

/// Whether a process's token may be read, or whatever else `right` is.
///
/// # Errors
/// The code of the refusal, of the process or of its token.
pub fn token(id: u32, right: TOKEN_ACCESS_MASK) -> Result<(), Win32Error> {
    // SAFETY: as in `process`.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, id) };
    let failed = Win32Error::last();
    // SAFETY: it was just opened, or is null.
    let process = unsafe { adopt(process) }.ok_or(failed)?;
    let mut token: HANDLE = std::ptr::null_mut();
    // SAFETY: the process is open; the result is ours to write.
    let done = unsafe { OpenProcessToken(process.as_raw_handle(), right, &raw mut token) };
    if done == 0 {
        return Err(Win32Error::last());
    }
    given(token)
}

/// `TOKEN_QUERY`
pub const READ_TOKEN: TOKEN_ACCESS_MASK = TOKEN_QUERY;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::snapshot::threads_of;

    #[test]
    fn this_process_gives_itself_every_right_and_a_number_of_nobody_none() {
        let own = std::process::id();
        for (name, right) in CHANGING.iter().chain(READING) {
            assert_eq!(process(own, *right), Ok(()), "{name}");
        }
        let threads = threads_of(own).unwrap();
        for (name, right) in OF_THREADS {
            assert_eq!(thread(threads[0], *right), Ok(()), "{name}");
        }
        assert_eq!(token(own, READ_TOKEN), Ok(()));
        for (_, right) in CHANGING {
            assert!(process(u32::MAX - 3, *right).is_err());
        }
    }
}
