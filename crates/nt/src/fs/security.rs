//! Descriptors of files: what a new one gets, who may read and who may change one.
//!
//! Setting a descriptor is raw, as the system call is: nothing is propagated to children, nothing is inherited anew.
//! Invariant: a descriptor changes only through a handle with `WRITE_DAC` or `WRITE_OWNER`.

use std::sync::Arc;

use crate::descriptor::{Control, Dacl, SecurityDescriptor};
use crate::inherit::{self, CreatorDescriptor, ObjectKind};
use crate::mask::{AccessMask, GenericMapping};
use crate::sid::Sid;
use crate::token::{GroupState, Privileges};

use super::Status;
use super::open::{Caller, Handle, NewKind};
use super::tree::FileSystem;

/// The descriptor of a new child of a directory.
pub(super) fn of_new_object(
    caller: &Caller<'_>,
    parent: &SecurityDescriptor,
    kind: NewKind,
    given: Option<&CreatorDescriptor>,
) -> Result<SecurityDescriptor, Status> {
    if let Some(owner) = given.and_then(|given| given.owner) {
        check_owner(caller, owner)?;
    }
    let kind = match kind {
        NewKind::File => ObjectKind::Leaf,
        NewKind::Directory => ObjectKind::Container,
    };
    let file = &GenericMapping::FILE;
    Ok(inherit::for_new(
        Some(parent),
        caller.token,
        given,
        kind,
        file,
    ))
}

/// learn.microsoft.com "Taking Object Ownership in C++", `SetSecurityInfo`: the user, a group that may be owner, or with
/// `SeRestorePrivilege` anyone. `[unsettled]` here which enabled groups carry `SE_GROUP_OWNER`: all of them do.
fn check_owner(caller: &Caller<'_>, owner: Sid) -> Result<(), Status> {
    let token = caller.token;
    let enabled = |state: GroupState| state == GroupState::Enabled;
    let own = (token.user == owner && enabled(token.user_state))
        || token.default_owner == owner
        || token
            .groups
            .iter()
            .any(|group| group.sid == owner && enabled(group.state));
    if own || token.privileges.contains(Privileges::RESTORE) {
        Ok(())
    } else {
        Err(Status::InvalidOwner)
    }
}

impl FileSystem {
    /// The descriptor. [MS-FSA] 2.1.5.14: `READ_CONTROL`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn descriptor(&self, handle: &Handle) -> Result<&SecurityDescriptor, Status> {
        handle.need(AccessMask::READ_CONTROL)?;
        let node = self.node(handle.node).ok_or(Status::InvalidHandle)?;
        Ok(&node.descriptor)
    }

    /// Replaces the DACL and whether it is protected. [MS-FSA] 2.1.5.17: `WRITE_DAC`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn set_dacl(
        &mut self,
        handle: &Handle,
        dacl: Dacl,
        control: Control,
    ) -> Result<(), Status> {
        handle.need(AccessMask::WRITE_DAC)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        let descriptor = SecurityDescriptor {
            dacl,
            control,
            ..node.descriptor.as_ref().clone()
        };
        node.descriptor = Arc::new(descriptor);
        Ok(())
    }

    /// Replaces the owner. [MS-FSA] 2.1.5.17: `WRITE_OWNER`, and the caller must be able to be or to assign that owner.
    ///
    /// # Errors
    /// [`Status`].
    pub fn set_owner(
        &mut self,
        caller: &Caller<'_>,
        handle: &Handle,
        owner: Sid,
    ) -> Result<(), Status> {
        handle.need(AccessMask::WRITE_OWNER)?;
        check_owner(caller, owner)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        let descriptor = SecurityDescriptor {
            owner: Some(owner),
            ..node.descriptor.as_ref().clone()
        };
        node.descriptor = Arc::new(descriptor);
        Ok(())
    }
}
