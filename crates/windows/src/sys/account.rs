//! Local users and groups.
//!
//! Source: learn.microsoft.com "Network Management Functions". Server `null` is this machine, never its domain.
//! Invariant: every function answers for this machine's own account database.

use std::mem::size_of;
use std::ptr::{null, null_mut};

use ringfence_backend::windows::PasswordRule;
use ringfence_nt::Sid;
use windows_sys::Win32::NetworkManagement::NetManagement::{
    FILTER_NORMAL_ACCOUNT, LOCALGROUP_INFO_0, LOCALGROUP_INFO_1, LOCALGROUP_MEMBERS_INFO_0,
    LOCALGROUP_USERS_INFO_0, MAX_PREFERRED_LENGTH, NERR_GroupNotFound, NERR_UserNotFound,
    NetApiBufferFree, NetLocalGroupAdd, NetLocalGroupAddMembers, NetLocalGroupDel,
    NetLocalGroupDelMembers, NetLocalGroupEnum, NetLocalGroupGetInfo, NetUserAdd, NetUserDel,
    NetUserEnum, NetUserGetInfo, NetUserGetLocalGroups, NetUserSetInfo, UF_ACCOUNTDISABLE,
    UF_DONT_EXPIRE_PASSWD, UF_NORMAL_ACCOUNT, UF_PASSWD_CANT_CHANGE, UF_PASSWD_NOTREQD, UF_SCRIPT,
    USER_INFO_0, USER_INFO_1, USER_INFO_1003, USER_INFO_1008, USER_PRIV_USER,
};

use super::error::{CallError, Win32Error};
use super::logon::WidePassword;
use super::machine::zero_ended;
use super::protect::Secret;
use super::wide::WideText;

/// `ERROR_NO_SUCH_ALIAS`
const NO_SUCH_ALIAS: u32 = 1376;
/// `ERROR_MEMBER_IN_ALIAS`
const MEMBER_ALREADY: u32 = 1378;
/// `ERROR_MEMBER_NOT_IN_ALIAS`
const NO_MEMBER: u32 = 1377;

/// Whether an account may be signed in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// It may.
    Yes,
    /// It is disabled.
    No,
}

/// A local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    /// What an administrator reads.
    pub comment: String,
    /// Whether it may be signed in to.
    pub enabled: Enabled,
    /// Whether its password never expires and can't be changed by it.
    pub password: PasswordRule,
}

/// What the flags of a user say of its password.
const fn password_rule(flags: u32) -> PasswordRule {
    const KEPT: u32 = UF_DONT_EXPIRE_PASSWD | UF_PASSWD_CANT_CHANGE;
    if flags & (KEPT | UF_PASSWD_NOTREQD) == KEPT {
        PasswordRule::Kept
    } else {
        PasswordRule::Loose
    }
}

/// Memory of the network management functions, given back when dropped.
struct NetBuffer(*mut u8);

impl NetBuffer {
    /// The structures that a call has put there.
    ///
    /// # Safety
    /// The buffer is null, or holds `count` of `T`.
    unsafe fn entries<T>(&self, count: u32) -> &[T] {
        if self.0.is_null() {
            return &[];
        }
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: the caller's promise; the functions align what they allocate for pointers.
        unsafe { std::slice::from_raw_parts(self.0.cast::<T>(), count) }
    }
}

impl Drop for NetBuffer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: a network management function allocated it, and nobody else frees it.
            unsafe { NetApiBufferFree(self.0.cast()) };
        }
    }
}

fn wide(text: &str, call: &'static str) -> Result<WideText, CallError> {
    WideText::new(text).map_err(|error| CallError::new(call, error, Win32Error(87)))
}

fn status(code: u32, call: &'static str, object: &str) -> Result<(), CallError> {
    if code == 0 {
        return Ok(());
    }
    Err(CallError::new(call, object, Win32Error(code)))
}

fn text(units: *const u16) -> String {
    // SAFETY: the functions answer with null or with text that ends in a zero and lives as long as its buffer.
    unsafe { zero_ended(units) }.to_string_lossy().into_owned()
}

/// The comment of a local group; none where there is no such group.
///
/// # Errors
/// `NetLocalGroupGetInfo`'s.
pub fn group_comment(name: &str) -> Result<Option<String>, CallError> {
    const CALL: &str = "NetLocalGroupGetInfo";
    let wide = wide(name, CALL)?;
    let mut buffer = null_mut();
    // SAFETY: the name ends in a zero; the result is ours to write.
    let code = unsafe { NetLocalGroupGetInfo(null(), wide.as_ptr(), 1, &raw mut buffer) };
    let buffer = NetBuffer(buffer);
    if code == NERR_GroupNotFound || code == NO_SUCH_ALIAS {
        return Ok(None);
    }
    status(code, CALL, name)?;
    // SAFETY: the call succeeded at level 1: one structure is there.
    let entries: &[LOCALGROUP_INFO_1] = unsafe { buffer.entries(1) };
    Ok(Some(entries.first().map_or_else(String::new, |group| {
        text(group.lgrpi1_comment)
    })))
}

/// Makes a local group.
///
/// # Errors
/// `NetLocalGroupAdd`'s.
pub fn add_group(name: &str, comment: &str) -> Result<(), CallError> {
    const CALL: &str = "NetLocalGroupAdd";
    let (mut wide_name, mut wide_comment) = (wide(name, CALL)?, wide(comment, CALL)?);
    let group = LOCALGROUP_INFO_1 {
        lgrpi1_name: wide_name.as_mut_ptr(),
        lgrpi1_comment: wide_comment.as_mut_ptr(),
    };
    // SAFETY: the structure is level 1's, and both texts live for the call.
    let code = unsafe { NetLocalGroupAdd(null(), 1, (&raw const group).cast(), null_mut()) };
    status(code, CALL, name)
}

/// Deletes a local group.
///
/// # Errors
/// `NetLocalGroupDel`'s.
pub fn delete_group(name: &str) -> Result<(), CallError> {
    const CALL: &str = "NetLocalGroupDel";
    let wide = wide(name, CALL)?;
    // SAFETY: the name ends in a zero.
    status(
        unsafe { NetLocalGroupDel(null(), wide.as_ptr()) },
        CALL,
        name,
    )
}

/// A local user; none where there is none of that name.
///
/// # Errors
/// `NetUserGetInfo`'s.
pub fn user(name: &str) -> Result<Option<LocalUser>, CallError> {
    const CALL: &str = "NetUserGetInfo";
    let wide = wide(name, CALL)?;
    let mut buffer = null_mut();
    // SAFETY: the name ends in a zero; the result is ours to write.
    let code = unsafe { NetUserGetInfo(null(), wide.as_ptr(), 1, &raw mut buffer) };
    let buffer = NetBuffer(buffer);
    if code == NERR_UserNotFound {
        return Ok(None);
    }
    status(code, CALL, name)?;
    // SAFETY: the call succeeded at level 1: one structure is there.
    let entries: &[USER_INFO_1] = unsafe { buffer.entries(1) };
    Ok(entries.first().map(|user| LocalUser {
        comment: text(user.usri1_comment),
        password: password_rule(user.usri1_flags),
        enabled: if user.usri1_flags & UF_ACCOUNTDISABLE == 0 {
            Enabled::Yes
        } else {
            Enabled::No
        },
    }))
}

/// A standard account's flags: its password never expires and can't be changed by it.
const FLAGS: u32 = UF_SCRIPT | UF_NORMAL_ACCOUNT | UF_DONT_EXPIRE_PASSWD | UF_PASSWD_CANT_CHANGE;

/// Makes a standard local user, enabled.
///
/// # Errors
/// `NetUserAdd`'s: 2245 for a password that a policy refuses.
pub fn add_user(name: &str, comment: &str, password: &Secret) -> Result<(), CallError> {
    const CALL: &str = "NetUserAdd";
    let (mut wide_name, mut wide_comment) = (wide(name, CALL)?, wide(comment, CALL)?);
    let mut password = WidePassword::new(password)?;
    let user = USER_INFO_1 {
        usri1_name: wide_name.as_mut_ptr(),
        usri1_password: password.as_mut_ptr(),
        usri1_priv: USER_PRIV_USER,
        usri1_comment: wide_comment.as_mut_ptr(),
        usri1_flags: FLAGS,
        ..USER_INFO_1::default()
    };
    // SAFETY: the structure is level 1's, and what it points to lives for the call.
    let code = unsafe { NetUserAdd(null(), 1, (&raw const user).cast(), null_mut()) };
    status(code, CALL, name)
}

fn set_user<T>(name: &str, level: u32, information: &T) -> Result<(), CallError> {
    const CALL: &str = "NetUserSetInfo";
    let wide = wide(name, CALL)?;
    let information = std::ptr::from_ref(information).cast();
    // SAFETY: the callers pass the structure of the level, and what it points to lives for the call.
    let code = unsafe { NetUserSetInfo(null(), wide.as_ptr(), level, information, null_mut()) };
    status(code, CALL, name)
}

/// Sets a user's password.
///
/// # Errors
/// `NetUserSetInfo`'s: 2245 for a password that a policy refuses.
pub fn set_password(name: &str, password: &Secret) -> Result<(), CallError> {
    let mut password = WidePassword::new(password)?;
    let information = USER_INFO_1003 {
        usri1003_password: password.as_mut_ptr(),
    };
    set_user(name, 1003, &information)
}

/// Enables or disables a user; what else its flags say is set anew.
///
/// # Errors
/// `NetUserSetInfo`'s.
pub fn set_enabled(name: &str, enabled: Enabled) -> Result<(), CallError> {
    let disabled = match enabled {
        Enabled::Yes => 0,
        Enabled::No => UF_ACCOUNTDISABLE,
    };
    let information = USER_INFO_1008 {
        usri1008_flags: FLAGS | disabled,
    };
    set_user(name, 1008, &information)
}

/// Deletes a user.
///
/// # Errors
/// `NetUserDel`'s.
pub fn delete_user(name: &str) -> Result<(), CallError> {
    const CALL: &str = "NetUserDel";
    let wide = wide(name, CALL)?;
    // SAFETY: the name ends in a zero.
    status(unsafe { NetUserDel(null(), wide.as_ptr()) }, CALL, name)
}

/// The names of the local groups that a user is in.
///
/// # Errors
/// `NetUserGetLocalGroups`'s.
pub fn groups_of(name: &str) -> Result<Vec<String>, CallError> {
    const CALL: &str = "NetUserGetLocalGroups";
    let wide = wide(name, CALL)?;
    let (mut buffer, mut count, mut total) = (null_mut(), 0, 0);
    // SAFETY: the name ends in a zero; the results are ours to write.
    let code = unsafe {
        NetUserGetLocalGroups(
            null(),
            wide.as_ptr(),
            0,
            0,
            &raw mut buffer,
            MAX_PREFERRED_LENGTH,
            &raw mut count,
            &raw mut total,
        )
    };
    let buffer = NetBuffer(buffer);
    status(code, CALL, name)?;
    // SAFETY: the call succeeded at level 0: that many structures are there.
    let entries: &[LOCALGROUP_USERS_INFO_0] = unsafe { buffer.entries(count) };
    Ok(entries
        .iter()
        .map(|group| text(group.lgrui0_name))
        .collect())
}

/// Whether somebody is put into a group or taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// They are in it afterwards.
    Member,
    /// They are not.
    Stranger,
}

/// Puts an account into a local group, or takes it out.
///
/// # Errors
/// `NetLocalGroupAddMembers`'s and `NetLocalGroupDelMembers`'s.
pub fn set_membership(group: &str, member: Sid, wanted: Membership) -> Result<(), CallError> {
    let call = match wanted {
        Membership::Member => "NetLocalGroupAddMembers",
        Membership::Stranger => "NetLocalGroupDelMembers",
    };
    let wide = wide(group, call)?;
    let sid = member.to_bytes();
    let entry = LOCALGROUP_MEMBERS_INFO_0 {
        lgrmi0_sid: sid.as_ptr().cast_mut().cast(),
    };
    let entry = (&raw const entry).cast();
    let code = match wanted {
        // SAFETY: one structure of level 0, whose SID lives for the call.
        Membership::Member => unsafe {
            NetLocalGroupAddMembers(null(), wide.as_ptr(), 0, entry, 1)
        },
        // SAFETY: as above.
        Membership::Stranger => unsafe {
            NetLocalGroupDelMembers(null(), wide.as_ptr(), 0, entry, 1)
        },
    };
    match (wanted, code) {
        (Membership::Member, MEMBER_ALREADY) | (Membership::Stranger, NO_MEMBER) => Ok(()),
        (Membership::Member | Membership::Stranger, code) => status(code, call, group),
    }
}

/// The names of all local users.
///
/// # Errors
/// `NetUserEnum`'s.
pub fn users() -> Result<Vec<String>, CallError> {
    const CALL: &str = "NetUserEnum";
    let (mut buffer, mut count, mut total) = (null_mut(), 0, 0);
    // SAFETY: the results are ours to write; without a resume handle all comes at once.
    let code = unsafe {
        NetUserEnum(
            null(),
            0,
            FILTER_NORMAL_ACCOUNT,
            &raw mut buffer,
            MAX_PREFERRED_LENGTH,
            &raw mut count,
            &raw mut total,
            null_mut(),
        )
    };
    let buffer = NetBuffer(buffer);
    status(code, CALL, "")?;
    // SAFETY: the call succeeded at level 0: that many structures are there.
    let entries: &[USER_INFO_0] = unsafe { buffer.entries(count) };
    Ok(entries.iter().map(|user| text(user.usri0_name)).collect())
}

/// The names of all local groups.
///
/// # Errors
/// `NetLocalGroupEnum`'s.
pub fn groups() -> Result<Vec<String>, CallError> {
    const CALL: &str = "NetLocalGroupEnum";
    let (mut buffer, mut count, mut total) = (null_mut(), 0, 0);
    // SAFETY: as in `users`.
    let code = unsafe {
        NetLocalGroupEnum(
            null(),
            0,
            &raw mut buffer,
            MAX_PREFERRED_LENGTH,
            &raw mut count,
            &raw mut total,
            null_mut(),
        )
    };
    let buffer = NetBuffer(buffer);
    status(code, CALL, "")?;
    // SAFETY: the call succeeded at level 0: that many structures are there.
    let entries: &[LOCALGROUP_INFO_0] = unsafe { buffer.entries(count) };
    Ok(entries
        .iter()
        .map(|group| text(group.lgrpi0_name))
        .collect())
}

const _: () = assert!(size_of::<LOCALGROUP_MEMBERS_INFO_0>() == size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_that_set_up_sets_are_the_ones_that_it_asks_for() {
        assert_eq!(password_rule(FLAGS), PasswordRule::Kept);
        assert_eq!(password_rule(FLAGS | UF_ACCOUNTDISABLE), PasswordRule::Kept);
        for flags in [
            FLAGS & !UF_DONT_EXPIRE_PASSWD,
            FLAGS & !UF_PASSWD_CANT_CHANGE,
            FLAGS | UF_PASSWD_NOTREQD,
            0,
        ] {
            assert_eq!(password_rule(flags), PasswordRule::Loose, "{flags:#x}");
        }
    }
}
