//! The descriptor of an open object, set raw: nothing propagates, nothing is added.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use ringfence_nt::{Acl, Control, SecurityDescriptor, Sid};
use windows_sys::Wdk::Storage::FileSystem::NtSetSecurityObject;
use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION};

use crate::sys::access::descriptor_bytes;
use crate::sys::error::CallError;
use crate::sys::status::check;

/// Sets the DACL and whether it is protected; owner and group stay.
///
/// # Errors
/// `NtSetSecurityObject`'s.
pub fn set_dacl(
    object: BorrowedHandle<'_>,
    descriptor: &SecurityDescriptor,
) -> Result<(), CallError> {
    let mut control = Control(
        descriptor.control.0 & Control::DACL_PROTECTED.with(Control::DACL_AUTO_INHERITED).0,
    );
    if control.contains(Control::DACL_AUTO_INHERITED) {
        // The system keeps the mark only from who asks for it ([MS-DTYP] 2.4.6, DR).
        control = control.with(Control::DACL_AUTO_INHERIT_REQ);
    }
    let only = SecurityDescriptor {
        owner: None,
        group: None,
        dacl: descriptor.dacl.clone(),
        sacl: None,
        control,
    };
    set(object, DACL_SECURITY_INFORMATION, &only)
}

/// Sets the owner; everything else stays.
///
/// # Errors
/// `NtSetSecurityObject`'s: 1307 for an owner that only `SeRestorePrivilege` may give.
pub fn set_owner(object: BorrowedHandle<'_>, owner: Sid) -> Result<(), CallError> {
    let mut only = SecurityDescriptor::new(owner, owner, Acl::default());
    only.group = None;
    set(object, OWNER_SECURITY_INFORMATION, &only)
}

fn set(
    object: BorrowedHandle<'_>,
    parts: u32,
    descriptor: &SecurityDescriptor,
) -> Result<(), CallError> {
    const CALL: &str = "NtSetSecurityObject";
    let bytes = descriptor_bytes(descriptor, CALL)?;
    // SAFETY: the handle is open; the descriptor lives for the call, which only reads it.
    let status = unsafe {
        NtSetSecurityObject(
            object.as_raw_handle(),
            parts,
            bytes.as_ptr().cast_mut().cast(),
        )
    };
    check(status, CALL, "")
}
