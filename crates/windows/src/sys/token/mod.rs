//! Access tokens: our own, restricted ones made of it, and what is really in them.
//!
//! Source: learn.microsoft.com `CreateRestrictedToken`, `GetTokenInformation`, `DuplicateTokenEx`.
//! Invariant: a token that was asked to be restricted is read back: its restricting SIDs, its deny-only SIDs and its
//! privileges are what was asked for, or there is no token.

mod parts;

use std::mem::size_of;
use std::os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use ringfence_nt::token::{Group, GroupState};
use ringfence_nt::{Acl, Sid, binary::ListKind};
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, HANDLE};
use windows_sys::Win32::Security::{
    ACL as RAW_ACL, CREATE_RESTRICTED_TOKEN_FLAGS, CreateRestrictedToken, DISABLE_MAX_PRIVILEGE,
    DuplicateTokenEx, GetTokenInformation, LUA_TOKEN, LUID_AND_ATTRIBUTES, SID_AND_ATTRIBUTES,
    SecurityIdentification, SecurityImpersonation, SetTokenInformation, TOKEN_ACCESS_MASK,
    TOKEN_ADJUST_DEFAULT, TOKEN_ASSIGN_PRIMARY, TOKEN_DEFAULT_DACL, TOKEN_DUPLICATE, TOKEN_GROUPS,
    TOKEN_IMPERSONATE, TOKEN_INFORMATION_CLASS, TOKEN_PRIVILEGES, TOKEN_QUERY, TOKEN_USER,
    TokenDefaultDacl, TokenGroups, TokenImpersonation, TokenPrimary, TokenPrivileges,
    TokenRestrictedSids, TokenUser, WRITE_RESTRICTED,
};
use windows_sys::Win32::Storage::FileSystem::{READ_CONTROL, WRITE_DAC};
use windows_sys::Win32::System::SystemServices::{
    SE_GROUP_ENABLED, SE_GROUP_LOGON_ID, SE_GROUP_USE_FOR_DENY_ONLY,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::access::copy_sid;
use super::error::{CallError, Win32Error, check};
use super::handle::adopt;
use parts::{Buffer, SidList};

/// `SE_CHANGE_NOTIFY_PRIVILEGE` of `wdm.h`: traversal, the only one that a target keeps.
const CHANGE_NOTIFY: u32 = 23;

/// An access token.
#[derive(Debug)]
pub struct AccessToken(OwnedHandle);

/// What a restricted token is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestrictedToken {
    /// Groups that shall count for deny entries alone, where the token has them.
    pub deny_only: Vec<Sid>,
    /// The SIDs of the second pass.
    pub restricting: Vec<Sid>,
    /// The DACL of objects that inherit none.
    pub default_dacl: Acl,
}

/// Why there is no restricted token.
#[derive(Debug, thiserror::Error)]
pub enum RestrictError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The call said yes, and the token is not what was asked for: this system does not enforce it.
    #[error("the system made a token that is not restricted as asked: {0}")]
    NotEnforced(String),
}

impl AccessToken {
    /// This process's own token, for questions and copies.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn of_this_process() -> Result<Self, CallError> {
        Self::open(TOKEN_QUERY | TOKEN_DUPLICATE | TOKEN_ASSIGN_PRIMARY | TOKEN_ADJUST_DEFAULT)
    }

    fn open(access: TOKEN_ACCESS_MASK) -> Result<Self, CallError> {
        // SAFETY: GetCurrentProcess has no precondition.
        let process = unsafe { GetCurrentProcess() };
        // SAFETY: the pseudo handle needs no closing and is always valid.
        let process = unsafe { BorrowedHandle::borrow_raw(process) };
        Self::of(process, access)
    }

    /// This process's own token, to set what it makes: all that a target may open its own for.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn for_defaults() -> Result<Self, CallError> {
        Self::open(TOKEN_QUERY | TOKEN_ADJUST_DEFAULT)
    }

    /// This process's own token, for making restricted ones of it and for protecting it.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn for_launching() -> Result<Self, CallError> {
        Self::open(
            TOKEN_QUERY
                | TOKEN_DUPLICATE
                | TOKEN_ASSIGN_PRIMARY
                | TOKEN_ADJUST_DEFAULT
                | READ_CONTROL
                | WRITE_DAC,
        )
    }

    /// A copy of a process's token, to act with that process's rights on a thread.
    ///
    /// # Errors
    /// `OpenProcessToken`'s and `DuplicateTokenEx`'s.
    pub fn to_act_as(process: BorrowedHandle<'_>) -> Result<Self, CallError> {
        let own = Self::of(process, TOKEN_QUERY | TOKEN_DUPLICATE)?;
        let mut copy: HANDLE = std::ptr::null_mut();
        // SAFETY: the token is open; no attributes; the result is ours to write.
        let done = unsafe {
            DuplicateTokenEx(
                own.0.as_raw_handle(),
                TOKEN_QUERY | TOKEN_IMPERSONATE,
                std::ptr::null(),
                SecurityImpersonation,
                TokenImpersonation,
                &raw mut copy,
            )
        };
        check(done, "DuplicateTokenEx", "")?;
        // SAFETY: the call succeeded, so the handle is open and ours.
        unsafe { adopt(copy) }
            .map(Self)
            .ok_or_else(|| CallError::new("DuplicateTokenEx", "", Win32Error(6)))
    }

    /// The token of a process, for questions.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn of_process(process: BorrowedHandle<'_>) -> Result<Self, CallError> {
        Self::of(process, TOKEN_QUERY)
    }

    /// The token of a process, to make copies of it and to start others with them.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn of_process_for_copies(process: BorrowedHandle<'_>) -> Result<Self, CallError> {
        Self::of(
            process,
            TOKEN_QUERY | TOKEN_DUPLICATE | TOKEN_ASSIGN_PRIMARY,
        )
    }

    /// The token of a process, for questions and to read its descriptor.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn of_process_with_descriptor(process: BorrowedHandle<'_>) -> Result<Self, CallError> {
        Self::of(process, TOKEN_QUERY | READ_CONTROL)
    }

    /// The token of a process, to replace its DACL.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub fn of_process_to_protect(process: BorrowedHandle<'_>) -> Result<Self, CallError> {
        Self::of(process, TOKEN_QUERY | READ_CONTROL | WRITE_DAC)
    }

    fn of(process: BorrowedHandle<'_>, access: TOKEN_ACCESS_MASK) -> Result<Self, CallError> {
        const CALL: &str = "OpenProcessToken";
        let mut handle: HANDLE = std::ptr::null_mut();
        // SAFETY: the process's handle is open; the result is ours to write.
        let done = unsafe { OpenProcessToken(process.as_raw_handle(), access, &raw mut handle) };
        check(done, CALL, "")?;
        // SAFETY: the call succeeded, so the handle is open and ours.
        unsafe { adopt(handle) }
            .map(Self)
            .ok_or_else(|| CallError::new(CALL, "", Win32Error(6)))
    }

    /// The user.
    ///
    /// # Errors
    /// `GetTokenInformation`'s.
    pub fn user(&self) -> Result<Sid, CallError> {
        let buffer = self.information(TokenUser)?;
        let user = buffer.head::<TOKEN_USER>()?;
        // SAFETY: the SID lies in the buffer, which lives.
        unsafe { copy_sid(user.User.Sid, "GetTokenInformation (user)") }
    }

    /// The groups that count, and how.
    ///
    /// # Errors
    /// `GetTokenInformation`'s.
    pub fn groups(&self) -> Result<Vec<Group>, CallError> {
        let all = self.sids(TokenGroups)?;
        let enabled = SE_GROUP_ENABLED.cast_unsigned();
        let deny_only = SE_GROUP_USE_FOR_DENY_ONLY.cast_unsigned();
        let counting = all.into_iter().filter_map(|(sid, attributes)| {
            let state = if attributes & deny_only != 0 {
                GroupState::DenyOnly
            } else if attributes & enabled != 0 {
                GroupState::Enabled
            } else {
                return None;
            };
            Some(Group { sid, state })
        });
        Ok(counting.collect())
    }

    /// The SID of its logon session, where it has one.
    ///
    /// # Errors
    /// `GetTokenInformation`'s.
    pub fn logon(&self) -> Result<Option<Sid>, CallError> {
        let of_logon = SE_GROUP_LOGON_ID.cast_unsigned();
        let mut all = self.sids(TokenGroups)?.into_iter();
        let found = all.find(|(_, attributes)| attributes & of_logon == of_logon);
        Ok(found.map(|(sid, _)| sid))
    }

    /// The SIDs of the second pass.
    ///
    /// # Errors
    /// `GetTokenInformation`'s.
    pub fn restricting(&self) -> Result<Vec<Sid>, CallError> {
        let all = self.sids(TokenRestrictedSids)?;
        Ok(all.into_iter().map(|(sid, _)| sid).collect())
    }

    /// The privileges that are in it, by their numbers on every Windows.
    ///
    /// # Errors
    /// `GetTokenInformation`'s.
    pub fn privileges(&self) -> Result<Vec<u32>, CallError> {
        let buffer = self.information(TokenPrivileges)?;
        let list = buffer.head::<TOKEN_PRIVILEGES>()?;
        let count = usize::try_from(list.PrivilegeCount).unwrap_or(0);
        let first = std::ptr::from_ref(&list.Privileges).cast::<LUID_AND_ATTRIBUTES>();
        let number = |index| {
            // SAFETY: the call has written that many entries, one behind the other, into the buffer.
            let entry = unsafe { first.add(index) };
            // SAFETY: as above; entries are aligned as the structure is.
            unsafe { *entry }.Luid.LowPart
        };
        Ok((0..count).map(number).collect())
    }

    /// A copy for the system's access check.
    ///
    /// # Errors
    /// `DuplicateTokenEx`'s.
    pub fn for_access_checks(&self) -> Result<Self, CallError> {
        let mut handle: HANDLE = std::ptr::null_mut();
        // SAFETY: our handle is open; no attributes; the result is ours to write.
        let done = unsafe {
            DuplicateTokenEx(
                self.0.as_raw_handle(),
                TOKEN_QUERY,
                std::ptr::null(),
                SecurityIdentification,
                TokenImpersonation,
                &raw mut handle,
            )
        };
        check(done, "DuplicateTokenEx", "")?;
        // SAFETY: the call succeeded, so the handle is open and ours.
        let handle = unsafe { adopt(handle) };
        handle
            .map(Self)
            .ok_or_else(|| CallError::new("DuplicateTokenEx", "", Win32Error(6)))
    }

    /// Makes the token of a target: write-restricted, without privileges but traversal, as the planner says, and reads
    /// it back.
    ///
    /// # Errors
    /// [`RestrictError::NotEnforced`] where the system says yes and does another thing; then nothing may be started.
    pub fn restrict(&self, wanted: &RestrictedToken) -> Result<Self, RestrictError> {
        let deny_only = SidList::new(&wanted.deny_only);
        let restricting = SidList::new(&wanted.restricting);
        let flags: CREATE_RESTRICTED_TOKEN_FLAGS =
            DISABLE_MAX_PRIVILEGE | LUA_TOKEN | WRITE_RESTRICTED;
        let mut handle: HANDLE = std::ptr::null_mut();
        // SAFETY: our handle is open; both lists live for the call and have as many entries as is said.
        let done = unsafe {
            CreateRestrictedToken(
                self.0.as_raw_handle(),
                flags,
                deny_only.count(),
                deny_only.as_ptr(),
                0,
                std::ptr::null(),
                restricting.count(),
                restricting.as_ptr(),
                &raw mut handle,
            )
        };
        check(done, "CreateRestrictedToken", "")?;
        // SAFETY: the call succeeded, so the handle is open and ours.
        let token = unsafe { adopt(handle) }
            .map(Self)
            .ok_or_else(|| CallError::new("CreateRestrictedToken", "", Win32Error(6)))?;
        token.set_default_dacl(&wanted.default_dacl)?;
        token.verify(wanted)?;
        Ok(token)
    }

    /// A copy in which these SIDs count for deny entries alone, and reads it back: what a target can make of its own
    /// token, without any right to another process.
    ///
    /// # Errors
    /// [`RestrictError::NotEnforced`] where the system says yes and does another thing.
    pub fn with_deny_only(&self, sids: &[Sid]) -> Result<Self, RestrictError> {
        let disabled = SidList::new(sids);
        let mut handle: HANDLE = std::ptr::null_mut();
        // SAFETY: our handle is open; the list lives for the call and has as many entries as is said.
        let done = unsafe {
            CreateRestrictedToken(
                self.0.as_raw_handle(),
                0,
                disabled.count(),
                disabled.as_ptr(),
                0,
                std::ptr::null(),
                0,
                std::ptr::null(),
                &raw mut handle,
            )
        };
        check(done, "CreateRestrictedToken", "deny-only")?;
        // SAFETY: the call succeeded, so the handle is open and ours.
        let copy = unsafe { adopt(handle) }
            .map(Self)
            .ok_or_else(|| CallError::new("CreateRestrictedToken", "", Win32Error(6)))?;
        let buffer = copy.information(TokenUser)?;
        let user = buffer.head::<TOKEN_USER>()?.User.Attributes;
        let is_user = sids.contains(&copy.user()?);
        let of_user = user & SE_GROUP_USE_FOR_DENY_ONLY.cast_unsigned() != 0;
        let groups = copy.groups()?;
        let counts =
            |group: &&Group| sids.contains(&group.sid) && group.state == GroupState::Enabled;
        if (is_user && !of_user) || groups.iter().any(|group| counts(&group)) {
            return Err(RestrictError::NotEnforced(
                "a SID that shall be deny-only counts for allow entries".to_owned(),
            ));
        }
        Ok(copy)
    }

    /// A copy that a process can be started with, where this one is made of the starting process's own.
    ///
    /// # Errors
    /// `DuplicateTokenEx`'s.
    pub fn to_start_with(&self) -> Result<Self, CallError> {
        const CALL: &str = "DuplicateTokenEx";
        let mut handle: HANDLE = std::ptr::null_mut();
        // SAFETY: our handle is open; no attributes; the result is ours to write.
        let done = unsafe {
            DuplicateTokenEx(
                self.0.as_raw_handle(),
                TOKEN_QUERY | TOKEN_DUPLICATE | TOKEN_ASSIGN_PRIMARY,
                std::ptr::null(),
                SecurityImpersonation,
                TokenPrimary,
                &raw mut handle,
            )
        };
        check(done, CALL, "to start with")?;
        // SAFETY: the call succeeded, so the handle is open and ours.
        unsafe { adopt(handle) }
            .map(Self)
            .ok_or_else(|| CallError::new(CALL, "", Win32Error(6)))
    }

    /// Compares what the token is with what was asked for.
    fn verify(&self, wanted: &RestrictedToken) -> Result<(), RestrictError> {
        let mut there = self.restricting().map_err(|error| {
            RestrictError::NotEnforced(format!(
                "its restricting SIDs can't be read ({})",
                error.error
            ))
        })?;
        let mut asked = wanted.restricting.clone();
        there.sort_unstable();
        asked.sort_unstable();
        asked.dedup();
        if there != asked {
            return Err(RestrictError::NotEnforced(format!(
                "{} restricting SIDs were asked for, {} are in it",
                asked.len(),
                there.len()
            )));
        }
        for group in self.groups()? {
            if wanted.deny_only.contains(&group.sid) && group.state != GroupState::DenyOnly {
                return Err(RestrictError::NotEnforced(format!(
                    "{} still counts for allow entries",
                    group.sid
                )));
            }
        }
        let privileges = self.privileges()?;
        if let Some(other) = privileges.iter().find(|one| **one != CHANGE_NOTIFY) {
            return Err(RestrictError::NotEnforced(format!(
                "the privilege {other} is left"
            )));
        }
        let dacl = self.default_dacl()?;
        if dacl.as_ref() != Some(&wanted.default_dacl) {
            return Err(RestrictError::NotEnforced(
                "its default DACL is another".to_owned(),
            ));
        }
        Ok(())
    }

    /// Sets the DACL of objects that inherit none.
    ///
    /// # Errors
    /// `SetTokenInformation`'s.
    pub fn set_default_dacl(&self, dacl: &Acl) -> Result<(), CallError> {
        const CALL: &str = "SetTokenInformation";
        let bytes = dacl
            .to_bytes(ListKind::Discretionary)
            .map_err(|error| CallError::new(CALL, error, Win32Error(1336)))?;
        let information = TOKEN_DEFAULT_DACL {
            DefaultDacl: bytes.as_ptr().cast_mut().cast(),
        };
        // SAFETY: our handle is open; the list lives for the call, which copies it.
        let done = unsafe {
            SetTokenInformation(
                self.0.as_raw_handle(),
                TokenDefaultDacl,
                (&raw const information).cast(),
                u32::try_from(size_of::<TOKEN_DEFAULT_DACL>()).unwrap_or(0),
            )
        };
        check(done, CALL, "default DACL")
    }

    /// The DACL of objects that inherit none.
    ///
    /// # Errors
    /// `GetTokenInformation`'s; 1336 for a list that is not understood.
    pub fn default_dacl(&self) -> Result<Option<Acl>, CallError> {
        const CALL: &str = "GetTokenInformation (default DACL)";
        let buffer = self.information(TokenDefaultDacl)?;
        let list = buffer.head::<TOKEN_DEFAULT_DACL>()?.DefaultDacl;
        if list.is_null() {
            return Ok(None);
        }
        // SAFETY: the list lies in the buffer, which lives, and begins with its head.
        let length = usize::from(unsafe { (*list.cast::<RAW_ACL>()).AclSize });
        // SAFETY: a list has as many bytes as its head says.
        let bytes = unsafe { std::slice::from_raw_parts(list.cast::<u8>(), length) };
        // Windows may leave room behind the entries; the codec takes the list alone.
        Acl::from_bytes(bytes, ListKind::Discretionary)
            .map(Some)
            .map_err(|error| CallError::new(CALL, error, Win32Error(1336)))
    }

    fn sids(&self, class: TOKEN_INFORMATION_CLASS) -> Result<Vec<(Sid, u32)>, CallError> {
        let buffer = self.information(class)?;
        let groups = buffer.head::<TOKEN_GROUPS>()?;
        let count = usize::try_from(groups.GroupCount).unwrap_or(0);
        let first = std::ptr::from_ref(&groups.Groups).cast::<SID_AND_ATTRIBUTES>();
        (0..count)
            .map(|index| {
                // SAFETY: the call has written that many entries, one behind the other, into the buffer.
                let entry = unsafe { first.add(index) };
                // SAFETY: as above; entries are aligned as the structure is.
                let entry = unsafe { *entry };
                // SAFETY: the SID lies in the buffer, which lives.
                let sid = unsafe { copy_sid(entry.Sid, "GetTokenInformation (groups)") }?;
                Ok((sid, entry.Attributes))
            })
            .collect()
    }

    fn information(&self, class: TOKEN_INFORMATION_CLASS) -> Result<Buffer, CallError> {
        const CALL: &str = "GetTokenInformation";
        let token = self.0.as_raw_handle();
        let mut needed = 0;
        // SAFETY: without a buffer the call only says how many bytes it needs.
        unsafe { GetTokenInformation(token, class, std::ptr::null_mut(), 0, &raw mut needed) };
        let error = Win32Error::last();
        if needed == 0 && error.0 != ERROR_INSUFFICIENT_BUFFER {
            return Err(CallError::new(CALL, format_args!("class {class}"), error));
        }
        let mut buffer = Buffer::new(needed);
        // SAFETY: the buffer has as many bytes as is said.
        let done = unsafe {
            GetTokenInformation(token, class, buffer.as_mut_ptr(), needed, &raw mut needed)
        };
        check(done, CALL, format_args!("class {class}"))?;
        Ok(buffer)
    }
}

impl From<OwnedHandle> for AccessToken {
    /// Takes a token over that another call has given.
    fn from(token: OwnedHandle) -> Self {
        Self(token)
    }
}

impl AsHandle for AccessToken {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_user_and_groups() {
        let token = AccessToken::of_this_process().unwrap();
        assert_eq!(token.user().unwrap().authority(), 5);
        assert!(!token.groups().unwrap().is_empty());
    }

    #[test]
    fn the_number_of_traversal_is_the_systems_and_this_process_has_it() {
        let own = AccessToken::of_this_process()
            .unwrap()
            .privileges()
            .unwrap();
        assert!(own.contains(&CHANGE_NOTIFY), "{own:?}");
    }

    // Negative rung: wine says yes and restricts nothing; that must be noticed.
    #[test]
    fn a_token_that_is_not_restricted_is_no_token() {
        let token = AccessToken::of_this_process().unwrap();
        let wanted = RestrictedToken {
            deny_only: vec![Sid::ADMINISTRATORS],
            restricting: vec![Sid::WRITE_RESTRICTED],
            default_dacl: Acl::default(),
        };
        match token.restrict(&wanted) {
            Ok(restricted) => {
                assert_eq!(restricted.restricting().unwrap(), [Sid::WRITE_RESTRICTED]);
            }
            Err(RestrictError::NotEnforced(reason)) => assert!(!reason.is_empty()),
            Err(RestrictError::Call(error)) => panic!("{error}: {}", error.error),
        }
    }
}
