//! Starting a program with administrator's rights: the one question to the person.
//!
//! Source: learn.microsoft.com `ShellExecuteExW` (verb `runas`), `SHELLEXECUTEINFOW`.

use std::ffi::OsStr;
use std::os::windows::io::{AsRawHandle as _, OwnedHandle};

use windows_sys::Win32::System::Threading::GetProcessId;
use windows_sys::Win32::UI::Shell::{
    SEE_MASK_NOASYNC, SEE_MASK_NOCLOSEPROCESS, SHELLEXECUTEINFOW, ShellExecuteExW,
};

use super::com::Apartment;
use super::error::{CallError, Win32Error, check};
use super::handle::adopt;
use super::wide::WideText;

/// `SW_SHOWNORMAL`: progress is on the program's own console.
const SHOW: i32 = 1;

/// Starts `program` elevated with `parameters`, which are quoted by the caller; its process and its id.
///
/// # Errors
/// `ShellExecuteExW`'s: 1223 where the person said no; 740 where elevation is switched off.
pub fn start(
    program: &OsStr,
    parameters: &OsStr,
    directory: &OsStr,
) -> Result<(OwnedHandle, u32), CallError> {
    const CALL: &str = "ShellExecuteExW";
    let wide = |text: &OsStr| {
        WideText::new(text).map_err(|error| CallError::new(CALL, error, Win32Error(87)))
    };
    let (verb, file) = (wide(OsStr::new("runas"))?, wide(program)?);
    let (parameters, directory) = (wide(parameters)?, wide(directory)?);
    let mut execute = SHELLEXECUTEINFOW {
        cbSize: u32::try_from(size_of::<SHELLEXECUTEINFOW>()).unwrap_or(0),
        fMask: SEE_MASK_NOCLOSEPROCESS | SEE_MASK_NOASYNC,
        lpVerb: verb.as_ptr(),
        lpFile: file.as_ptr(),
        lpParameters: parameters.as_ptr(),
        lpDirectory: directory.as_ptr(),
        nShow: SHOW,
        ..SHELLEXECUTEINFOW::default()
    };
    // It may hand the work to an extension of the shell, and these speak COM.
    let _com = Apartment::enter()?;
    // SAFETY: every text lives for the call, and the structure has the length that it says.
    let done = unsafe { ShellExecuteExW(&raw mut execute) };
    check(done, CALL, program.display())?;
    // SAFETY: the flag asked for the process's handle, which is ours; null where there is none.
    let process = unsafe { adopt(execute.hProcess) };
    let process = process.ok_or_else(|| CallError::new(CALL, program.display(), Win32Error(6)))?;
    // SAFETY: the process's handle is open.
    let id = unsafe { GetProcessId(process.as_raw_handle()) };
    Ok((process, id))
}
