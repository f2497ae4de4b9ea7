//! Window stations and desktops: where a session's windows live, apart from the person's.
//!
//! Source: learn.microsoft.com "Window Stations", `CreateWindowStationW` (an ordinary user names none: its name comes
//! from the logon session, so all sessions of one logon share it), `CreateDesktopW`, "Desktop Security and Access
//! Rights". Invariant: what was made has the entries that were asked for, or there is none.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};
use std::sync::{Mutex, PoisonError};

use ringfence_nt::{Ace, Acl, Dacl, SecurityDescriptor};
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, GENERIC_ALL, HANDLE};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetUserObjectSecurity, SECURITY_ATTRIBUTES, SetUserObjectSecurity,
};
use windows_sys::Win32::System::StationsAndDesktops::{
    CloseDesktop, CloseWindowStation, CreateDesktopW, CreateWindowStationW,
    GetProcessWindowStation, GetUserObjectInformationW, SetProcessWindowStation, UOI_NAME,
};
use windows_sys::Win32::System::Threading::{CreateMutexW, ReleaseMutex};

use super::access::descriptor_bytes;
use super::error::{CallError, Win32Error, check};
use super::handle::{Waited, adopt, wait};
use super::wide::WideText;

/// A window station.
#[derive(Debug)]
pub struct Station(HANDLE);

/// A desktop. It lives as long as a handle to it, or a thread on it.
#[derive(Debug)]
pub struct Desktop(HANDLE);

// SAFETY: the handle is the process's; any thread may use or close it.
unsafe impl Send for Station {}
// SAFETY: as above.
unsafe impl Send for Desktop {}

/// A desktop is made in the station that the process is in: one thread at a time moves it there and back.
static MOVING: Mutex<()> = Mutex::new(());

impl Station {
    /// Makes the station of this logon session, or opens the one that an earlier session of ours has made.
    ///
    /// # Errors
    /// `CreateWindowStationW`'s.
    pub fn of_this_logon(descriptor: &SecurityDescriptor) -> Result<Self, CallError> {
        const CALL: &str = "CreateWindowStationW";
        let bytes = descriptor_bytes(descriptor, CALL)?;
        let attributes = attributes(&bytes);
        // SAFETY: no name; the attributes and the descriptor live for the call.
        let handle = unsafe {
            CreateWindowStationW(std::ptr::null(), 0, GENERIC_ALL, &raw const attributes)
        };
        if handle.is_null() {
            return Err(CallError::last(CALL, ""));
        }
        Ok(Self(handle))
    }

    /// Its name.
    ///
    /// # Errors
    /// `GetUserObjectInformationW`'s.
    pub fn name(&self) -> Result<OsString, CallError> {
        name(self.0)
    }

    /// Adds the entries of `descriptor` that it lacks: a station that was there has those of the sessions before.
    ///
    /// # Errors
    /// The calls'; 50 (not supported) when what was set is not there afterwards.
    pub fn admit(&self, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
        // Another program of ours may do the same now: one would lose what the other adds.
        let turn = Turn::take()?;
        let there = user_object_dacl(self.0)?;
        let missing = missing_entries(descriptor, &there);
        if missing.is_empty() {
            return Ok(());
        }
        let mut wanted = there;
        let mut aces = wanted.acl().map_or_else(Vec::new, |acl| acl.aces.clone());
        aces.extend(missing);
        wanted.dacl = Dacl::Present(Acl::new(aces));
        set_user_object_dacl(self.0, &wanted)?;
        let after = user_object_dacl(self.0)?;
        drop(turn);
        if missing_entries(descriptor, &after).is_empty() {
            return Ok(());
        }
        Err(CallError::new(
            "SetUserObjectSecurity",
            "window station",
            Win32Error(50),
        ))
    }

    /// Makes a desktop of this name in it.
    ///
    /// # Errors
    /// The calls'.
    pub fn desktop(
        &self,
        name: &str,
        descriptor: &SecurityDescriptor,
    ) -> Result<Desktop, CallError> {
        const CALL: &str = "CreateDesktopW";
        let wide = WideText::new(name).map_err(|_| CallError::new(CALL, name, Win32Error(123)))?;
        let bytes = descriptor_bytes(descriptor, CALL)?;
        let attributes = attributes(&bytes);
        let moving = MOVING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: no precondition; the process's own station is not ours to close.
        let home = unsafe { GetProcessWindowStation() };
        // SAFETY: the station is open.
        let there = unsafe { SetProcessWindowStation(self.0) };
        check(there, "SetProcessWindowStation", "")?;
        // SAFETY: name, attributes and descriptor live for the call; no device, no mode.
        let handle = unsafe {
            CreateDesktopW(
                wide.as_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                0,
                GENERIC_ALL,
                &raw const attributes,
            )
        };
        let made = if handle.is_null() {
            Err(CallError::last(CALL, name))
        } else {
            Ok(Desktop(handle))
        };
        // SAFETY: the process was in it a moment ago.
        let back = unsafe { SetProcessWindowStation(home) };
        let back = check(back, "SetProcessWindowStation", "back");
        drop(moving);
        back?;
        made
    }
}

impl Desktop {
    /// Whether it has every entry of `descriptor` and no other trustee.
    ///
    /// # Errors
    /// `GetUserObjectSecurity`'s; 50 (not supported) when it has others.
    pub fn verify(&self, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
        let there = user_object_dacl(self.0)?;
        let more = missing_entries(&there, descriptor);
        if missing_entries(descriptor, &there).is_empty() && more.is_empty() {
            return Ok(());
        }
        Err(CallError::new(
            "GetUserObjectSecurity",
            "desktop",
            Win32Error(50),
        ))
    }
}

/// The entries of `wanted` whose trustee and kind `there` does not have. Masks are not compared: the system replaces
/// generic rights by what they mean.
fn missing_entries(wanted: &SecurityDescriptor, there: &SecurityDescriptor) -> Vec<Ace> {
    let entries = |descriptor: &SecurityDescriptor| {
        descriptor
            .acl()
            .map_or_else(Vec::new, |acl| acl.aces.clone())
    };
    let there = entries(there);
    let has = |ace: &Ace| {
        there
            .iter()
            .any(|one| one.kind == ace.kind && one.sid == ace.sid)
    };
    entries(wanted)
        .into_iter()
        .filter(|ace| !has(ace))
        .collect()
}

impl Drop for Station {
    fn drop(&mut self) {
        // SAFETY: the handle is open and closed once.
        unsafe { CloseWindowStation(self.0) };
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // SAFETY: the handle is open and closed once.
        unsafe { CloseDesktop(self.0) };
    }
}

fn attributes(descriptor: &[u8]) -> SECURITY_ATTRIBUTES {
    SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
        lpSecurityDescriptor: descriptor.as_ptr().cast_mut().cast(),
        bInheritHandle: 0,
    }
}

fn name(object: HANDLE) -> Result<OsString, CallError> {
    const CALL: &str = "GetUserObjectInformationW";
    let mut units = [0_u16; 260];
    let length = u32::try_from(size_of_val(&units)).unwrap_or(0);
    let mut needed = 0;
    // SAFETY: the object is open; the buffer has as many bytes as is said.
    let done = unsafe {
        GetUserObjectInformationW(
            object,
            UOI_NAME,
            units.as_mut_ptr().cast(),
            length,
            &raw mut needed,
        )
    };
    check(done, CALL, "name")?;
    let text = units.split(|unit| *unit == 0).next().unwrap_or_default();
    Ok(OsString::from_wide(text))
}

fn user_object_dacl(object: HANDLE) -> Result<SecurityDescriptor, CallError> {
    const CALL: &str = "GetUserObjectSecurity";
    let information = DACL_SECURITY_INFORMATION;
    let mut needed = 0;
    // SAFETY: without a buffer the call only says how many bytes it needs.
    unsafe {
        GetUserObjectSecurity(
            object,
            &raw const information,
            std::ptr::null_mut(),
            0,
            &raw mut needed,
        )
    };
    let error = Win32Error::last();
    if needed == 0 && error.0 != ERROR_INSUFFICIENT_BUFFER {
        return Err(CallError::new(CALL, "", error));
    }
    let mut bytes = vec![0_u8; usize::try_from(needed).unwrap_or(0)];
    // SAFETY: the object is open; the buffer has as many bytes as is said.
    let done = unsafe {
        GetUserObjectSecurity(
            object,
            &raw const information,
            bytes.as_mut_ptr().cast(),
            needed,
            &raw mut needed,
        )
    };
    check(done, CALL, "")?;
    SecurityDescriptor::from_bytes(&bytes)
        .map_err(|error| CallError::new(CALL, error, Win32Error(1338)))
}

fn set_user_object_dacl(object: HANDLE, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
    const CALL: &str = "SetUserObjectSecurity";
    let bytes = descriptor_bytes(descriptor, CALL)?;
    let information = DACL_SECURITY_INFORMATION;
    // SAFETY: the object is open; the descriptor lives for the call and is only read.
    let done = unsafe {
        SetUserObjectSecurity(
            object,
            &raw const information,
            bytes.as_ptr().cast_mut().cast(),
        )
    };
    check(done, CALL, "")
}

/// One program of ours at a time, within this sign-in.
struct Turn(OwnedHandle);

impl Turn {
    fn take() -> Result<Self, CallError> {
        const NAME: &str = r"Local\ringfence-window-station";
        let wide = WideText::new(NAME)
            .map_err(|_| CallError::new("CreateMutexW", NAME, Win32Error(123)))?;
        // SAFETY: the name lives for the call; the DACL is the token's default.
        let handle = unsafe { CreateMutexW(std::ptr::null(), 0, wide.as_ptr()) };
        // SAFETY: it was just made or opened, or is null.
        let mutex =
            unsafe { adopt(handle) }.ok_or_else(|| CallError::last("CreateMutexW", NAME))?;
        match wait(mutex.as_handle(), Some(10_000))? {
            Waited::Signalled => Ok(Self(mutex)),
            Waited::TimedOut => Err(CallError::new("WaitForSingleObject", NAME, Win32Error(258))),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // SAFETY: the mutex is open and this thread has it.
        unsafe { ReleaseMutex(self.0.as_raw_handle()) };
    }
}
