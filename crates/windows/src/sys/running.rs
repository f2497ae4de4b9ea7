//! Processes that run already: since when, and in which job.
//!
//! Source: learn.microsoft.com `OpenProcess`, `GetProcessTimes`. Invariant: what is said of a process is said of the
//! one that is held open, never of a number.

use std::os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE,
};

use super::error::{CallError, check};
use super::handle::{Waited, adopt, wait};

/// A process, held open: its number is not used again meanwhile.
#[derive(Debug)]
pub struct Process(OwnedHandle);

impl Process {
    /// Opens the process of this number, for questions.
    ///
    /// # Errors
    /// `OpenProcess`'s: 87 (invalid parameter) when there is none.
    pub fn open(id: u32) -> Result<Self, CallError> {
        Self::open_for(PROCESS_QUERY_INFORMATION, id)
    }

    /// The same, to ask no more than since when it runs and whether it does: also where it is elevated.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub fn glance(id: u32) -> Result<Self, CallError> {
        Self::open_for(PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE, id)
    }

    fn open_for(access: u32, id: u32) -> Result<Self, CallError> {
        // SAFETY: the call has no precondition: a number that is no process is refused.
        let handle = unsafe { OpenProcess(access, 0, id) };
        // SAFETY: it was just opened, or is null.
        let handle = unsafe { adopt(handle) };
        handle
            .map(Self)
            .ok_or_else(|| CallError::last("OpenProcess", id))
    }

    /// When it was created, in 100 nanoseconds since 1601.
    ///
    /// # Errors
    /// `GetProcessTimes`'s.
    pub fn created(&self) -> Result<u64, CallError> {
        let mut times = [FILETIME::default(); 4];
        let [created, ended, kernel, user] = &mut times;
        // SAFETY: the process is open; all four are ours to write.
        let done = unsafe { GetProcessTimes(self.0.as_raw_handle(), created, ended, kernel, user) };
        check(done, "GetProcessTimes", "")?;
        let [created, ..] = times;
        Ok((u64::from(created.dwHighDateTime) << 32) | u64::from(created.dwLowDateTime))
    }

    /// Whether it has ended: it can be opened for as long as somebody holds it.
    ///
    /// # Errors
    /// `WaitForSingleObject`'s.
    pub fn is_ended(&self) -> Result<bool, CallError> {
        Ok(wait(self.0.as_handle(), Some(0))? == Waited::Signalled)
    }
}

impl AsHandle for Process {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}
