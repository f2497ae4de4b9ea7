//! Window stations and desktops: where a session's windows live, apart from the person's.
//!
//! Source: learn.microsoft.com "Window Stations", `CreateWindowStationW` (an ordinary user names none: its name comes
//! from the logon session, so all sessions of one logon share it), `CreateDesktopW`, "Desktop Security and Access
//! Rights". Invariant: what was made has the entries that were asked for, or there is none.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ringfence_nt::{Ace, Acl, Dacl, SecurableKind, SecurityDescriptor, Sid};
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

/// A desktop is made in the station that the process is in: one thread at a time moves it there and back, and none starts
/// a program meanwhile.
static MOVING: RwLock<()> = RwLock::new(());

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
        let kind = SecurableKind::WindowStation;
        // Another program of ours may do the same now: one would lose what the other adds.
        let turn = Turn::take();
        let there = user_object_dacl(self.0)?;
        let missing = missing_entries(descriptor, &there, kind);
        if missing.is_empty() {
            return Ok(());
        }
        let mut aces = entries(&there);
        aces.extend(missing);
        self.set(there, aces)?;
        let after = user_object_dacl(self.0)?;
        drop(turn);
        if missing_entries(descriptor, &after, kind).is_empty() {
            return Ok(());
        }
        Err(CallError::new(
            "SetUserObjectSecurity",
            "window station",
            Win32Error(50),
        ))
    }

    /// Takes every entry for `session` away again: the station outlives its sessions, and its list has an end.
    ///
    /// # Errors
    /// The calls'.
    pub fn dismiss(&self, session: Sid) -> Result<(), CallError> {
        let _turn = Turn::take();
        let there = user_object_dacl(self.0)?;
        let before = entries(&there);
        let mut aces = before.clone();
        aces.retain(|ace| ace.sid != session);
        if aces.len() == before.len() {
            return Ok(());
        }
        self.set(there, aces)
    }

    fn set(&self, mut descriptor: SecurityDescriptor, aces: Vec<Ace>) -> Result<(), CallError> {
        descriptor.dacl = Dacl::Present(Acl::new(aces));
        set_user_object_dacl(self.0, &descriptor)
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
        let moved = Moved::into(self)?;
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
        moved.back()?;
        made
    }
}

/// This process in another station than its own, for as long as it takes to make a desktop there.
struct Moved {
    home: HANDLE,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Moved {
    fn into(station: &Station) -> Result<Self, CallError> {
        let alone = MOVING.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: no precondition; the process's own station is not ours to close.
        let home = unsafe { GetProcessWindowStation() };
        if home.is_null() {
            return Err(CallError::last("GetProcessWindowStation", ""));
        }
        // SAFETY: the station is open.
        let there = unsafe { SetProcessWindowStation(station.0) };
        check(there, "SetProcessWindowStation", "")?;
        Ok(Self {
            home,
            _alone: alone,
        })
    }

    /// Moves back, and says whether that was done.
    fn back(self) -> Result<(), CallError> {
        // SAFETY: the process was in it a moment ago.
        let back = unsafe { SetProcessWindowStation(self.home) };
        let back = check(back, "SetProcessWindowStation", "back");
        // Done; what is left lets the others go on.
        let mut this = self;
        this.home = std::ptr::null_mut();
        back
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        if !self.home.is_null() {
            // SAFETY: the process was in it a moment ago.
            unsafe { SetProcessWindowStation(self.home) };
        }
    }
}

/// Keeps this process in its own station: a program that is started meanwhile, and is not told its desktop, gets that of
/// the process. What starts programs without this module is not held up.
pub(crate) fn stay() -> RwLockReadGuard<'static, ()> {
    MOVING.read().unwrap_or_else(PoisonError::into_inner)
}

impl Desktop {
    /// Whether its list names everybody whom `descriptor` names, gives nobody more than that does, and names nobody else.
    ///
    /// # Errors
    /// `GetUserObjectSecurity`'s; 50 (not supported) when it has others.
    pub fn verify(&self, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
        let there = user_object_dacl(self.0)?;
        let kind = SecurableKind::Desktop;
        let lacks = missing_entries(descriptor, &there, kind);
        if lacks.is_empty() && gives_no_more(&there, descriptor, kind) {
            return Ok(());
        }
        Err(CallError::new(
            "GetUserObjectSecurity",
            "desktop",
            Win32Error(50),
        ))
    }
}

/// The entries of `wanted` that `there` lacks. The system replaces generic rights by what they mean, which differs between
/// stations, so an entry is there where one of the same kind and trustee gives some of its rights and no others.
fn missing_entries(
    wanted: &SecurityDescriptor,
    there: &SecurityDescriptor,
    kind: SecurableKind,
) -> Vec<Ace> {
    let there = entries(there);
    let lacks = |ace: &Ace| !there.iter().any(|one| is_within(one, ace, kind));
    entries(wanted).into_iter().filter(lacks).collect()
}

/// Whether every entry of `there` is one of `wanted`, or gives less.
fn gives_no_more(
    there: &SecurityDescriptor,
    wanted: &SecurityDescriptor,
    kind: SecurableKind,
) -> bool {
    let wanted = entries(wanted);
    let is_wanted = |ace: &Ace| wanted.iter().any(|one| is_within(ace, one, kind));
    there.acl().is_some() && entries(there).iter().all(is_wanted)
}

/// Whether `one` is of the same kind and trustee as `other`, and has some of its rights and none besides.
fn is_within(one: &Ace, other: &Ace, kind: SecurableKind) -> bool {
    let mapping = kind.mapping();
    let (has, may) = (mapping.map(one.mask), mapping.map(other.mask));
    one.kind == other.kind && one.sid == other.sid && !has.is_empty() && may.contains(has)
}

fn entries(descriptor: &SecurityDescriptor) -> Vec<Ace> {
    let acl = descriptor.acl();
    acl.map_or_else(Vec::new, |acl| acl.aces.clone())
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
///
/// Anybody of the sign-in may have taken the name first, also a target, and keep it. Then there is no turn: what is lost
/// without one is an entry of a session that begins in the same moment, and that session sees it.
struct Turn(OwnedHandle);

impl Turn {
    fn take() -> Option<Self> {
        Self::take_named(r"Local\ringfence-window-station", 2_000)
    }

    fn take_named(name: &str, milliseconds: u32) -> Option<Self> {
        let wide = WideText::new(name).ok()?;
        // SAFETY: the name lives for the call; the DACL is the token's default.
        let handle = unsafe { CreateMutexW(std::ptr::null(), 0, wide.as_ptr()) };
        // SAFETY: it was just made or opened, or is null.
        let mutex = unsafe { adopt(handle) }?;
        match wait(mutex.as_handle(), Some(milliseconds)) {
            Ok(Waited::Signalled) => Some(Self(mutex)),
            Ok(Waited::TimedOut) | Err(_) => None,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // SAFETY: the mutex is open and this thread has it.
        unsafe { ReleaseMutex(self.0.as_raw_handle()) };
    }
}

#[cfg(test)]
mod tests;
