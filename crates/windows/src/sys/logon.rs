//! Starting a process as another user, by its password.
//!
//! Source: learn.microsoft.com `CreateProcessWithLogonW`. It needs the Secondary Logon service and no privilege.
//! Invariant: one attempt; the password's copy is wiped.

use std::ffi::{OsStr, OsString};

use windows_sys::Win32::System::Threading::{
    CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessWithLogonW, LOGON_WITH_PROFILE,
    PROCESS_INFORMATION, STARTUPINFOW,
};

use super::error::{CallError, Win32Error, check};
use super::process::{Arguments, Child, StartError, command_line};
use super::protect::Secret;
use super::wide::WideText;

/// The longest command line that the call takes, in 16-bit units with the final zero.
const LONGEST_LINE: usize = 1024;
/// `ERROR_FILENAME_EXCED_RANGE`
const TOO_LONG: Win32Error = Win32Error(206);

/// An account of this machine, and how to log on to it.
#[derive(Clone, Copy)]
pub struct Logon<'a> {
    /// Its name, without a domain.
    pub user: &'a str,
    /// Its password, in UTF-8.
    pub password: &'a Secret,
}

/// What is started as another user. It gets the variables of that user's profile, and no handle.
#[derive(Clone, Copy, Debug)]
pub struct ForeignCommand<'a> {
    /// Its executable, by absolute path; never searched for.
    pub program: &'a OsStr,
    /// Its arguments, without its name.
    pub arguments: &'a [OsString],
    /// Where it starts: a directory that the account may enter.
    pub directory: &'a OsStr,
    /// `station\desktop`: without one the account would be added to the caller's own.
    pub desktop: &'a OsStr,
}

/// Logs on with the account's profile and starts a process that has not run its first instruction yet.
///
/// # Errors
/// [`StartError`]; nothing runs then: 206 for a command line of more than 1,023 units. An attempt with a wrong password counts towards a lock-out: don't repeat it.
pub fn start_suspended_as(
    logon: Logon<'_>,
    command: &ForeignCommand<'_>,
) -> Result<Child, StartError> {
    const CALL: &str = "CreateProcessWithLogonW";
    let wide =
        |text: &OsStr, what| WideText::new(text).map_err(|error| StartError::Path(what, error));
    let user = wide(OsStr::new(logon.user), "account")?;
    let domain = wide(OsStr::new("."), "domain")?;
    let program = wide(command.program, "program")?;
    let directory = wide(command.directory, "directory")?;
    let mut desktop = wide(command.desktop, "desktop")?;
    let mut line = command_line(command.program, Arguments::Plain(command.arguments))?;
    if line.len() > LONGEST_LINE {
        let object = command.program.display();
        return Err(CallError::new(CALL, object, TOO_LONG).into());
    }
    let password = WidePassword::new(logon.password)?;
    let startup = STARTUPINFOW {
        cb: u32::try_from(size_of::<STARTUPINFOW>()).unwrap_or(0),
        lpDesktop: desktop.as_mut_ptr(),
        ..STARTUPINFOW::default()
    };
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: every pointer is to a value that lives for the call; the line is ours to be written; no block of
    // variables is given.
    let done = unsafe {
        CreateProcessWithLogonW(
            user.as_ptr(),
            domain.as_ptr(),
            password.0.as_ptr(),
            LOGON_WITH_PROFILE,
            program.as_ptr(),
            line.as_mut_ptr(),
            // What is null here is the parent's, and that is UTF-16.
            CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT,
            std::ptr::null(),
            directory.as_ptr(),
            &raw const startup,
            &raw mut made,
        )
    };
    check(done, CALL, logon.user)?;
    // SAFETY: the call succeeded, so both handles are open and nobody else's.
    unsafe { Child::adopt(&made) }
        .ok_or_else(|| CallError::new(CALL, logon.user, Win32Error(6)).into())
}

/// A password as the call takes it: wiped when dropped.
pub(super) struct WidePassword(Vec<u16>);

impl WidePassword {
    pub(super) fn new(password: &Secret) -> Result<Self, CallError> {
        let malformed = || CallError::new("password", "with a zero in it", Win32Error(87));
        let text = str::from_utf8(password.expose()).map_err(|_| malformed())?;
        if text.contains('\0') {
            return Err(malformed());
        }
        // Room for all of it at once: growing would leave copies behind.
        let mut units = Vec::with_capacity(text.len() + 1);
        units.extend(text.encode_utf16());
        units.push(0);
        Ok(Self(units))
    }

    /// For calls that read it.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u16 {
        self.0.as_mut_ptr()
    }
}

impl Drop for WidePassword {
    fn drop(&mut self) {
        for unit in &mut self.0 {
            // SAFETY: a reference is valid to write through.
            unsafe { std::ptr::write_volatile(unit, 0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // No logon is tried: the account is none of this machine.
    #[test]
    fn a_command_line_that_the_call_would_not_take_is_refused_before_it() {
        let program = OsString::from(format!(r"C:\{}\x.exe", "a".repeat(LONGEST_LINE)));
        let command = ForeignCommand {
            program: &program,
            arguments: &[],
            directory: OsStr::new(r"C:\"),
            desktop: OsStr::new(r"station\desktop"),
        };
        let logon = Logon {
            user: "ringfence-nobody",
            password: &Secret::new(b"x".to_vec()),
        };
        match start_suspended_as(logon, &command) {
            Err(StartError::Call(error)) => assert_eq!(error.error, TOO_LONG),
            other => panic!("{other:?}"),
        }
    }
}
