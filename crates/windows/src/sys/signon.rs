//! One real logon of an account, and its profile.
//!
//! Source: learn.microsoft.com `LogonUserW`, `CreateProfile`, `LoadUserProfileW`, `DeleteProfileW`. Invariant: one
//! attempt for each call; nothing here tries again.

use std::mem::size_of;
use std::os::windows::io::{AsHandle, AsRawHandle as _, OwnedHandle};
use std::ptr::{null, null_mut};

use ringfence_nt::Sid;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::{
    ImpersonateAnonymousToken, ImpersonateLoggedOnUser, LOGON32_LOGON_INTERACTIVE,
    LOGON32_PROVIDER_DEFAULT, LogonUserW, RevertToSelf,
};
use windows_sys::Win32::System::Threading::GetCurrentThread;
use windows_sys::Win32::UI::Shell::{
    CreateProfile, DeleteProfileW, LoadUserProfileW, PROFILEINFOW, UnloadUserProfile,
};

use super::error::{CallError, Win32Error, check};
use super::handle::adopt;
use super::logon::WidePassword;
use super::protect::Secret;
use super::token::AccessToken;
use super::wide::WideText;

/// `PI_NOUI`
const NO_DIALOGUES: u32 = 1;
/// `HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)`
const PROFILE_EXISTS: i32 = 0x8007_00b7_u32.cast_signed();

fn wide(text: &str, call: &'static str) -> Result<WideText, CallError> {
    WideText::new(text).map_err(|error| CallError::new(call, error, Win32Error(87)))
}

/// An account that is logged on.
#[derive(Debug)]
pub struct LoggedOn {
    token: OwnedHandle,
    name: String,
}

impl LoggedOn {
    /// Logs a local account on, interactively: the type that starting a process as it uses.
    ///
    /// # Errors
    /// `LogonUserW`'s. An attempt with a wrong password counts towards a lock-out: don't repeat it.
    pub fn new(name: &str, password: &Secret) -> Result<Self, CallError> {
        const CALL: &str = "LogonUserW";
        let (user, domain) = (wide(name, CALL)?, wide(".", CALL)?);
        let mut password = WidePassword::new(password)?;
        let mut token: HANDLE = null_mut();
        // SAFETY: all texts end in a zero and live for the call; the token is ours to write.
        let done = unsafe {
            LogonUserW(
                user.as_ptr(),
                domain.as_ptr(),
                password.as_mut_ptr(),
                LOGON32_LOGON_INTERACTIVE,
                LOGON32_PROVIDER_DEFAULT,
                &raw mut token,
            )
        };
        check(done, CALL, name)?;
        // SAFETY: the call succeeded, so the token is open and ours.
        let token =
            unsafe { adopt(token) }.ok_or_else(|| CallError::new(CALL, name, Win32Error(6)))?;
        let name = name.to_owned();
        Ok(Self { token, name })
    }

    /// Whose token it is, as the token itself says: a logon that is none has no answer.
    ///
    /// # Errors
    /// `GetTokenInformation`'s.
    pub fn user(&self) -> Result<Sid, CallError> {
        let token = self
            .token
            .try_clone()
            .map_err(|_| CallError::new("DuplicateHandle", self.name.as_str(), Win32Error(6)))?;
        AccessToken::from(token).user()
    }

    /// Loads its profile and registry hive, until the answer is dropped.
    ///
    /// # Errors
    /// `LoadUserProfileW`'s; it needs the backup and restore privileges.
    pub fn load_profile(&self) -> Result<LoadedProfile<'_>, CallError> {
        const CALL: &str = "LoadUserProfileW";
        let mut name = wide(&self.name, CALL)?;
        let mut profile = PROFILEINFOW {
            dwSize: u32::try_from(size_of::<PROFILEINFOW>()).unwrap_or(0),
            dwFlags: NO_DIALOGUES,
            lpUserName: name.as_mut_ptr(),
            ..PROFILEINFOW::default()
        };
        // SAFETY: the token is open; the structure has its length in it, and its name lives for the call.
        let done = unsafe { LoadUserProfileW(self.token.as_raw_handle(), &raw mut profile) };
        check(done, CALL, &self.name)?;
        Ok(LoadedProfile {
            owner: self,
            hive: profile.hProfile,
        })
    }

    /// Does something as this account, on this thread.
    ///
    /// # Errors
    /// `ImpersonateLoggedOnUser`'s.
    pub fn act<T>(&self, act: impl FnOnce() -> T) -> Result<T, CallError> {
        impersonate(&self.token, &self.name, act)
    }
}

/// This thread acts as somebody else until it is dropped, on whatever way that comes.
struct Acting;

impl Drop for Acting {
    fn drop(&mut self) {
        // SAFETY: RevertToSelf has no precondition.
        if unsafe { RevertToSelf() } == 0 {
            // The thread would go on as somebody else; the call's own document says to end the process.
            std::process::abort();
        }
    }
}

/// Does something with a token's rights, on this thread.
///
/// # Errors
/// `ImpersonateLoggedOnUser`'s.
pub fn impersonate<T>(
    token: &impl AsHandle,
    name: &str,
    act: impl FnOnce() -> T,
) -> Result<T, CallError> {
    // SAFETY: the token is open for the call.
    let done = unsafe { ImpersonateLoggedOnUser(token.as_handle().as_raw_handle()) };
    check(done, "ImpersonateLoggedOnUser", name)?;
    let _acting = Acting;
    Ok(act())
}

/// Does something as an anonymous caller, on this thread.
///
/// # Errors
/// `ImpersonateAnonymousToken`'s.
pub fn anonymously<T>(act: impl FnOnce() -> T) -> Result<T, CallError> {
    // SAFETY: the calling thread's own pseudo handle is always valid.
    let thread = unsafe { GetCurrentThread() };
    // SAFETY: as above.
    let done = unsafe { ImpersonateAnonymousToken(thread) };
    check(done, "ImpersonateAnonymousToken", "")?;
    let _acting = Acting;
    Ok(act())
}

/// A profile that is loaded; unloaded when dropped.
#[derive(Debug)]
pub struct LoadedProfile<'a> {
    owner: &'a LoggedOn,
    hive: HANDLE,
}

impl Drop for LoadedProfile<'_> {
    fn drop(&mut self) {
        // SAFETY: LoadUserProfileW gave the hive for that very token, and nobody else unloads it.
        unsafe { UnloadUserProfile(self.owner.token.as_raw_handle(), self.hive) };
    }
}

/// Makes an account's profile; one that is there stays.
///
/// # Errors
/// `CreateProfile`'s, its `HRESULT` as a number.
pub fn create_profile(account: Sid, name: &str) -> Result<(), CallError> {
    const CALL: &str = "CreateProfile";
    let (sid, user) = (wide(&account.to_string(), CALL)?, wide(name, CALL)?);
    let mut path = [0_u16; 261];
    // SAFETY: both texts end in a zero; the path has room for as many units as is said.
    let result = unsafe { CreateProfile(sid.as_ptr(), user.as_ptr(), path.as_mut_ptr(), 260) };
    if result >= 0 || result == PROFILE_EXISTS {
        return Ok(());
    }
    Err(CallError::new(
        CALL,
        name,
        Win32Error(result.cast_unsigned()),
    ))
}

/// Deletes an account's profile with all that is in it.
///
/// # Errors
/// `DeleteProfileW`'s: 2 where there is none, 32 while its hive is loaded.
pub fn delete_profile(account: Sid) -> Result<(), CallError> {
    const CALL: &str = "DeleteProfileW";
    let sid = wide(&account.to_string(), CALL)?;
    // SAFETY: the text ends in a zero; path and machine may be null.
    let done = unsafe { DeleteProfileW(sid.as_ptr(), null(), null()) };
    check(done, CALL, account)
}
