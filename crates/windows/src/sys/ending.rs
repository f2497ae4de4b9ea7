//! The processes of an account, ended.
//!
//! Source: learn.microsoft.com `TerminateProcess`, `WTSEnumerateProcessesW`. Invariant: a process is ended only after it
//! was seen whose it is while the very handle that will end it was open: a number may be another process's by then.

use std::collections::BTreeMap;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};
use std::ptr::null_mut;

use ringfence_nt::Sid;
use windows_sys::Win32::System::RemoteDesktop::{
    WTS_CURRENT_SERVER_HANDLE, WTS_PROCESS_INFOW, WTSEnumerateProcessesW, WTSFreeMemory,
};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
    TerminateProcess,
};

use super::access::copy_sid;
use super::error::{CallError, Win32Error, check};
use super::handle::{adopt, wait};
use super::snapshot::processes;
use super::token::AccessToken;

/// How long a process may take to end, in milliseconds.
const PATIENCE: u32 = 5_000;
/// `ERROR_ACCESS_DENIED`
const DENIED: Win32Error = Win32Error(5);

/// Opens a process to ask whose it is and to end it.
fn open(number: u32) -> Option<OwnedHandle> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE | PROCESS_SYNCHRONIZE;
    // SAFETY: the call has no precondition: a number that is no process is refused.
    let handle = unsafe { OpenProcess(access, 0, number) };
    // SAFETY: it was just opened, or is null.
    unsafe { adopt(handle) }
}

/// Ends every process of an account that is there now; how many there were. Whoever wants none to be left asks until
/// the answer is none.
///
/// A runner's token is closed to administrators, who are let open its process all the same: whose that is the system
/// itself tells.
///
/// # Errors
/// The calls'.
pub fn end_all_of(account: Sid) -> Result<u32, CallError> {
    let mut ended = 0_u32;
    let mut untold = Vec::new();
    for process in processes()? {
        let Some(handle) = open(process.id) else {
            continue;
        };
        match AccessToken::of_process(handle.as_handle()).and_then(|token| token.user()) {
            Ok(user) if user == account => {
                end(process.id, &handle)?;
                ended = ended.saturating_add(1);
            }
            Ok(_) => {}
            Err(_) => untold.push((process.id, handle)),
        }
    }
    if untold.is_empty() {
        return Ok(ended);
    }
    // They are held open since before: none of their numbers can be another's.
    let owners = owners()?;
    for (number, handle) in untold {
        if owners.get(&number) == Some(&account) {
            end(number, &handle)?;
            ended = ended.saturating_add(1);
        }
    }
    Ok(ended)
}

fn end(number: u32, process: &OwnedHandle) -> Result<(), CallError> {
    const CALL: &str = "TerminateProcess";
    // SAFETY: the process is open.
    if unsafe { TerminateProcess(process.as_raw_handle(), 1) } == 0 {
        let error = Win32Error::last();
        // Denied: it is ending already.
        if error != DENIED {
            return Err(CallError::new(CALL, number, error));
        }
    }
    // One that takes longer is there still at the next look.
    wait(process.as_handle(), Some(PATIENCE)).map(|_| ())
}

/// What the call has allocated, given back when dropped.
struct Listed(*mut WTS_PROCESS_INFOW);

impl Drop for Listed {
    fn drop(&mut self) {
        // SAFETY: WTSEnumerateProcessesW gave it, and nobody else frees it.
        unsafe { WTSFreeMemory(self.0.cast()) };
    }
}

/// Whose the processes of this machine are, as far as the system tells.
fn owners() -> Result<BTreeMap<u32, Sid>, CallError> {
    const CALL: &str = "WTSEnumerateProcessesW";
    let mut list = null_mut();
    let mut count = 0;
    // SAFETY: this machine; the second argument is zero and the third one, as they must; both results are ours to write.
    let done = unsafe {
        WTSEnumerateProcessesW(
            WTS_CURRENT_SERVER_HANDLE,
            0,
            1,
            &raw mut list,
            &raw mut count,
        )
    };
    check(done, CALL, "")?;
    let list = Listed(list);
    let mut owners = BTreeMap::new();
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the call has written that many entries.
        let entry = unsafe { list.0.add(index) };
        // SAFETY: as above; they live as long as the list.
        let entry = unsafe { *entry };
        // SAFETY: it is null, or a SID that lives as long as the list.
        if let Ok(owner) = unsafe { copy_sid(entry.pUserSid, CALL) } {
            owners.insert(entry.ProcessId, owner);
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    // plumbing-only: wine lists processes and says nobody's name.
    #[test]
    fn the_systems_list_says_of_this_process_what_its_token_says_or_nothing() {
        let own = AccessToken::of_this_process().unwrap().user().unwrap();
        let told = owners().unwrap().get(&std::process::id()).copied();
        assert!(told.is_none_or(|told| told == own), "{told:?}");
    }

    #[test]
    fn an_account_without_processes_has_none_ended() {
        let nobody = Sid::new(5, &[21, 9, 9, 9, 4711]).unwrap();
        assert_eq!(end_all_of(nobody).unwrap(), 0);
    }
}
