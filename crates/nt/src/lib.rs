//! The NT security model: who may do what to which object, computed without Windows.
//!
//! SIDs, access masks, ACLs, security descriptors and their two codecs, tokens, the access check with both its
//! passes, inheritance, and a simulated file system that follows them. Nothing here decides what *should* be
//! allowed (that is the planner) and nothing reaches an operating system (`clippy.toml` beside it bans the disk,
//! the clock, the network and the environment).
//!
//! Every rule cites its Microsoft document. A rule that no document settles says `[unsettled]`, and is a parameter
//! ([`WriteClass`]) or is taken the way that grants the attacker more.
//!
//! Invariant: same descriptor, token and request, same answer.

#![forbid(unsafe_code)]

pub mod ace;
pub mod acl;
#[cfg(test)]
mod arbitrary;
pub mod binary;
pub mod check;
pub mod descriptor;
pub mod fs;
pub mod inherit;
pub mod mask;
pub mod measure;
pub mod object;
pub mod sddl;
pub mod sid;
pub mod token;
pub mod write_class;

pub use ace::{Ace, AceFlags, AceKind};
pub use acl::Acl;
pub use binary::{DecodeError, EncodeError, ListKind};
pub use check::{Access, Denial, DenialCause, Pass, access_check, maximum_allowed};
pub use descriptor::{Control, Dacl, SecurityDescriptor};
pub use inherit::{CreatorDescriptor, ObjectKind, for_new, reinherit};
pub use mask::{AccessMask, GenericMapping};
pub use object::{Securable, SecurableKind};
pub use sddl::SddlError;
pub use sid::Sid;
pub use token::{FilterFlags, Group, GroupState, Privileges, Restriction, Token};
pub use write_class::WriteClass;
