//! What is done to a Windows machine: two closed lists that leave nothing to decide.
//!
//! [`MachineStep`] is for the elevated set-up program and goes into the machine's ledger; [`PersonStep`] is done with
//! the person's own rights and goes into the person's. What a session needs and takes away with it is no step: it is
//! the launch specification.
//!
//! Invariant: each step is idempotent and has an inverse; an inverse names exactly what the step made.

mod machine;
mod person;

use serde::{Deserialize, Serialize};

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Acl, SecurityDescriptor, Sid};

use super::path::WindowsPath;

pub use machine::{
    Condition, Filter, FilterAction, FirewallRule, Guid, Layer, LogonRight, MachineInverse,
    MachineStep, PortRange, RegistryValue,
};
pub use person::{PersonInverse, PersonStep, Purpose};

/// A file's identity: `FILE_ID_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// The volume's serial number, all 64 bits.
    pub volume: u64,
    /// The file's id on that volume, 128 bits, written in hexadecimal.
    #[serde(with = "hexadecimal")]
    pub file: u128,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{id:x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Whether an object has children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// One file or directory: where it was seen, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// Its final path.
    pub path: WindowsPath,
    /// Its identity, compared through the handle before anything is done to it.
    pub id: FileId,
    /// Whether it has children.
    pub kind: ObjectKind,
}

/// Which of a person's accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRole {
    /// Runs what has no network but the proxy.
    Offline,
    /// Runs what was given the open network.
    Online,
}

/// Whom a descriptor names before the accounts exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trustee {
    /// A SID that is known.
    Sid(Sid),
    /// One of the person's accounts.
    Account(AccountRole),
    /// The person's sandbox group.
    Group,
}

/// The SIDs of a person's accounts and group, once they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountSids {
    /// The offline account.
    pub offline: Sid,
    /// The online account.
    pub online: Sid,
    /// The group.
    pub group: Sid,
}

impl AccountSids {
    /// All three.
    #[must_use]
    pub const fn all(&self) -> [Sid; 3] {
        [self.offline, self.online, self.group]
    }

    /// The SID that `trustee` stands for.
    #[must_use]
    pub const fn resolve(&self, trustee: Trustee) -> Sid {
        match trustee {
            Trustee::Sid(sid) => sid,
            Trustee::Account(AccountRole::Offline) => self.offline,
            Trustee::Account(AccountRole::Online) => self.online,
            Trustee::Group => self.group,
        }
    }
}

/// An entry whose trustee may still have to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AceTemplate {
    /// What it does.
    pub kind: AceKind,
    /// Where it applies.
    pub flags: AceFlags,
    /// Which rights.
    pub mask: AccessMask,
    /// Whom it names.
    pub trustee: Trustee,
}

impl AceTemplate {
    /// The entry.
    #[must_use]
    pub const fn resolve(&self, accounts: &AccountSids) -> Ace {
        Ace {
            kind: self.kind,
            flags: self.flags,
            mask: self.mask,
            sid: accounts.resolve(self.trustee),
        }
    }
}

/// A protected descriptor whose trustees may still have to be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DescriptorTemplate {
    /// The owner.
    pub owner: Sid,
    /// The entries, in order.
    pub aces: Vec<AceTemplate>,
}

impl DescriptorTemplate {
    /// The descriptor, with nothing inherited into it; its primary group is its owner.
    #[must_use]
    pub fn resolve(&self, accounts: &AccountSids) -> SecurityDescriptor {
        let acl: Acl = self.aces.iter().map(|ace| ace.resolve(accounts)).collect();
        SecurityDescriptor::new(self.owner, self.owner, acl).protected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_ids_are_written_in_full() {
        let id = FileId {
            volume: u64::MAX,
            file: u128::MAX - 1,
        };
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<FileId>(&text).unwrap(), id);
    }

    #[test]
    fn templates_are_resolved_by_role() {
        let sid = |rid| Sid::new(5, &[21, 1, 2, 3, rid]).unwrap();
        let accounts = AccountSids {
            offline: sid(1001),
            online: sid(1002),
            group: sid(1003),
        };
        let template = DescriptorTemplate {
            owner: Sid::SYSTEM,
            aces: vec![AceTemplate {
                kind: AceKind::Deny,
                flags: AceFlags::NONE,
                mask: AccessMask::FILE_ALL_ACCESS,
                trustee: Trustee::Group,
            }],
        };
        let resolved = template.resolve(&accounts);
        assert_eq!(resolved.acl().unwrap().aces[0].sid, sid(1003));
        assert!(
            resolved
                .control
                .contains(ringfence_nt::Control::DACL_PROTECTED)
        );
    }
}
