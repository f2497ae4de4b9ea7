//! What this process loads from now on, and where from.
//!
//! Source: learn.microsoft.com `SetProcessMitigationPolicy`, `PROCESS_MITIGATION_BINARY_SIGNATURE_POLICY`,
//! `PROCESS_MITIGATION_IMAGE_LOAD_POLICY`, `PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY`,
//! `SetDefaultDllDirectories`, `UpdateProcThreadAttribute`; the values of the attribute are `winbase.h`'s. What is loaded
//! already stays. Invariant: a policy counts as held only when it was read back.

use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Win32::System::LibraryLoader::{
    LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories, SetDllDirectoryW,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessMitigationPolicy, PROCESS_MITIGATION_POLICY,
    ProcessExtensionPointDisablePolicy, ProcessImageLoadPolicy, ProcessSignaturePolicy,
    SetProcessMitigationPolicy,
};

use super::error::{CallError, check};

/// A policy of a process, and what a process is told that must not have it from who starts it.
struct Policy {
    kind: PROCESS_MITIGATION_POLICY,
    name: &'static str,
    /// What is set of it.
    flags: u32,
    /// `ALWAYS_OFF` of the same in `PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY`.
    off: u64,
}

const POLICIES: [Policy; 3] = [
    Policy {
        kind: ProcessSignaturePolicy,
        name: "images signed by Microsoft alone",
        // MicrosoftSignedOnly.
        flags: 0x1,
        off: 2 << 44,
    },
    Policy {
        kind: ProcessImageLoadPolicy,
        name: "no images from shares, none of low integrity, the system's own first",
        // NoRemoteImages, NoLowMandatoryLabelImages, PreferSystem32Images.
        flags: 0x7,
        off: (2 << 52) | (2 << 56) | (2 << 60),
    },
    Policy {
        kind: ProcessExtensionPointDisablePolicy,
        name: "no libraries by extension points",
        // DisableExtensionPoints.
        flags: 0x1,
        off: 2 << 32,
    },
];

/// What this process has put on itself, as the processes that it starts are told to leave it off.
static PUT_ON: AtomicU64 = AtomicU64::new(0);

/// Why this process may load what it must not.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A policy that was set is not there.
    #[error("the policy \"{0}\" is not there after it was set")]
    NotKept(&'static str),
}

/// Loads nothing from now on but the system's own libraries.
///
/// # Errors
/// [`LoadError`]; policies that were set before stay.
///
/// # Security
/// A target may name drives for its logon session, which is its runner's too: a path of the system's may then lead to a
/// file of the target's. What it holds is not signed by Microsoft; old libraries of Microsoft's own stay loadable.
pub fn load_the_systems_own() -> Result<(), LoadError> {
    // SAFETY: a plain number.
    let done = unsafe { SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32) };
    check(done, "SetDefaultDllDirectories", "")?;
    let nowhere = [0_u16];
    // SAFETY: the text ends with a zero and lives for the call.
    let done = unsafe { SetDllDirectoryW(nowhere.as_ptr()) };
    check(done, "SetDllDirectoryW", "")?;
    for policy in &POLICIES {
        policy.put_on()?;
    }
    Ok(())
}

/// The value of `PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY` that keeps what this process has put on itself from those that it
/// starts; none where it has put on nothing.
///
/// No document says whether a process gets them from who starts it. What an administrator has set for every program was
/// there before, and is left alone.
pub(crate) fn kept_from_children() -> Option<u64> {
    match PUT_ON.load(Ordering::Acquire) {
        0 => None,
        off => Some(off),
    }
}

impl Policy {
    fn put_on(&self) -> Result<(), LoadError> {
        let before = self.read()?;
        if before & self.flags == self.flags {
            return Ok(());
        }
        let wanted = before | self.flags;
        // SAFETY: the policies are structures of one number, which lives for the call, and its size is said.
        let done = unsafe {
            SetProcessMitigationPolicy(self.kind, (&raw const wanted).cast(), size_of::<u32>())
        };
        check(done, "SetProcessMitigationPolicy", self.name)?;
        if self.read()? & self.flags != self.flags {
            return Err(LoadError::NotKept(self.name));
        }
        PUT_ON.fetch_or(self.off, Ordering::AcqRel);
        Ok(())
    }

    fn read(&self) -> Result<u32, CallError> {
        let mut flags = 0_u32;
        // SAFETY: no precondition; the pseudo handle need not be closed.
        let process = unsafe { GetCurrentProcess() };
        // SAFETY: the policies are structures of one number, which is ours to write, and its size is said.
        let done = unsafe {
            GetProcessMitigationPolicy(
                process,
                self.kind,
                (&raw mut flags).cast(),
                size_of::<u32>(),
            )
        };
        check(done, "GetProcessMitigationPolicy", self.name)?;
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Negative rung: wine takes every policy and keeps none; that must be noticed, and nothing told to children.
    #[test]
    fn not_enforced_a_policy_counts_only_when_it_is_there_afterwards() {
        match load_the_systems_own() {
            Ok(()) => {
                for policy in &POLICIES {
                    assert_eq!(policy.read().unwrap() & policy.flags, policy.flags);
                }
            }
            Err(LoadError::NotKept(name)) => {
                assert_eq!(name, POLICIES[0].name);
                assert_eq!(kept_from_children(), None);
            }
            Err(LoadError::Call(error)) => panic!("{error}: {}", error.error),
        }
    }

    #[test]
    fn what_children_are_told_is_off_and_nothing_else() {
        // `winbase.h`: four bits for each, of which 2 is ALWAYS_OFF.
        let all = POLICIES.iter().fold(0, |all, policy| all | policy.off);
        assert_eq!(all, 0x2220_2002_0000_0000);
    }
}
