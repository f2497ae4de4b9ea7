//! What set-up asks of a Windows machine: for each verb of [`MachineStep`](ringfence_plan::windows::step::MachineStep)
//! a look, the change, and its undoing.
//!
//! The calls decide nothing: who may be touched was decided before. Invariant: a look tells what is there now, never
//! what was asked for; callers look again after each change, because some of the calls below say yes and do nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{
    FileId, Filter, FirewallRule, Guid, LogonRight, PortRange, RegistryValue,
};

use crate::call::CallFailure;

/// A local group or account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its SID.
    pub sid: Sid,
    /// What an administrator reads.
    pub comment: String,
}

/// Whether an account can be signed in to with the password of its sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logon {
    /// A real logon succeeded.
    Works,
    /// The account is disabled: nobody tried.
    Disabled,
    /// The password of the record is not the account's.
    Wrong,
    /// There is no record, or it can't be unsealed.
    NoRecord,
}

/// Whether an account's password is as set-up makes it: it never expires, and the account can't change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordRule {
    /// It is.
    Kept,
    /// Somebody has changed that, or the system never kept it.
    Loose,
}

/// Whether an account's profile and registry hive carry the entries that keep its targets from writing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileGuard {
    /// There is no profile.
    Absent,
    /// They do not, or nobody could look.
    Open,
    /// They do.
    Guarded,
}

/// A local account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its SID.
    pub sid: Sid,
    /// What an administrator reads.
    pub comment: String,
    /// The local groups that it is in.
    pub groups: BTreeSet<Sid>,
    /// Whether it can be used.
    pub logon: Logon,
    /// What holds of its password.
    pub password: PasswordRule,
    /// Whether its targets can write its profile.
    pub profile: ProfileGuard,
}

/// Which account is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountName<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its sealed password is kept.
    pub record: &'a WindowsPath,
    /// The marker SID of its targets.
    pub marker: Sid,
}

/// An account as it shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAccount<'a> {
    /// Its name.
    pub name: &'a str,
    /// What an administrator reads.
    pub comment: &'a str,
    /// Where its sealed password is kept.
    pub record: &'a WindowsPath,
    /// The marker SID of its targets, which may not write its profile.
    pub marker: Sid,
    /// The local groups that it is in, by SID: their names differ from language to language.
    pub groups: &'a [Sid],
}

/// A directory of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Which object it is.
    pub id: FileId,
    /// Its descriptor.
    pub descriptor: SecurityDescriptor,
}

/// What a registry value holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoredValue {
    /// `REG_DWORD`
    Dword(u32),
    /// `REG_SZ`
    Text(String),
    /// `REG_BINARY`
    Binary(Vec<u8>),
}

/// Where a value stood before we set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyBefore {
    /// The key was there.
    There,
    /// It was not: it goes with its last value.
    Absent,
}

/// Who has a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Nobody.
    Free,
    /// It is an administered exclusion of exactly these ports.
    Reserved,
    /// Somebody uses or has reserved some of them.
    Taken,
}

/// What kind of thing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemnantKind {
    /// A local group.
    Group,
    /// A local account.
    Account,
    /// A sealed password.
    Record,
    /// A directory of ours.
    Directory,
    /// A registry key.
    Key,
    /// A registry value, by key and name.
    Value,
    /// A filter, by its GUID.
    Filter,
    /// A rule of Windows Firewall.
    FirewallRule,
    /// Denied ways to sign in of an account that is gone, by its SID.
    Rights,
    /// An object with an access control entry for a SID of ours.
    Entry,
    /// An object that an account of ours owns.
    Owner,
    /// An object that could not be looked at.
    Unseen,
}

/// Something of ours that is on the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remnant {
    /// What it is.
    pub kind: RemnantKind,
    /// Which one.
    pub object: String,
}

/// A machine that set-up can change. Each method that changes something may be called again: it completes what is
/// there.
///
/// # Errors
/// Every method: [`CallFailure`], with the call that failed.
#[expect(
    clippy::missing_errors_doc,
    reason = "one sentence above says it for all"
)]
pub trait Machine {
    /// The local group of that name; a domain's group of that name is none (`NetLocalGroupGetInfo`).
    fn observe_group(&mut self, name: &str) -> Result<Option<Principal>, CallFailure>;
    /// Makes a local group (`NetLocalGroupAdd`).
    fn make_group(&mut self, name: &str, comment: &str) -> Result<(), CallFailure>;
    /// Deletes the local group of that name (`NetLocalGroupDel`).
    fn remove_group(&mut self, name: &str) -> Result<(), CallFailure>;

    /// The local account of that name; nobody signs in (`NetUserGetInfo`).
    fn observe_user(&mut self, name: &str) -> Result<Option<Principal>, CallFailure>;
    /// The local account of that name, tried with one real logon (`NetUserGetInfo`, `LogonUser`).
    fn observe_account(&mut self, account: AccountName<'_>)
    -> Result<Option<Account>, CallFailure>;
    /// Makes the account, enabled, in exactly these groups, with its profile; a password is made and sealed only where
    /// the present one does not work; its targets are kept from writing the profile (`NetUserAdd`,
    /// `NetLocalGroupAddMembers`, `CreateProfile`).
    fn make_account(&mut self, account: &NewAccount<'_>) -> Result<(), CallFailure>;
    /// Disables the account, ends its processes and waits until its logon sessions are gone.
    fn quiesce_account(&mut self, name: &str) -> Result<(), CallFailure>;
    /// Deletes the profile, the sealed record, the account, and what the local security policy says of it
    /// (`DeleteProfile`, `LsaRemoveAccountRights`, `NetUserDel`).
    fn remove_account(&mut self, name: &str, record: &WindowsPath) -> Result<(), CallFailure>;

    /// The ways to sign in that the account is denied (`LsaEnumerateAccountRights`).
    fn observe_denied_logons(&mut self, account: Sid) -> Result<BTreeSet<LogonRight>, CallFailure>;
    /// Denies ways to sign in (`LsaAddAccountRights`).
    fn deny_logons(&mut self, account: Sid, rights: &[LogonRight]) -> Result<(), CallFailure>;
    /// Takes such denials away (`LsaRemoveAccountRights`).
    fn allow_logons(&mut self, account: Sid, rights: &[LogonRight]) -> Result<(), CallFailure>;
    /// Takes away all that the local security policy says of an account that is gone; nothing where it is there
    /// (`LsaRemoveAccountRights`). Deleting an account leaves it.
    fn forget_logons(&mut self, account: Sid) -> Result<(), CallFailure>;

    /// The directory at that path; the way there is opened component by component, and no link followed.
    fn observe_directory(&mut self, path: &WindowsPath) -> Result<Option<Directory>, CallFailure>;
    /// Makes the directory, or gives the one that is there this descriptor.
    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure>;
    /// The administrator's policy file, where it lies in this directory of ours: it is none of set-up's.
    fn observe_policy(
        &mut self,
        directory: &WindowsPath,
    ) -> Result<Option<WindowsPath>, CallFailure>;
    /// Removes the directory of that id and what is in it; no link is followed.
    fn remove_directory(&mut self, path: &WindowsPath, id: FileId) -> Result<(), CallFailure>;

    /// The descriptor of a key below `HKEY_LOCAL_MACHINE`; none where there is no such key.
    fn observe_key(&mut self, key: &str) -> Result<Option<SecurityDescriptor>, CallFailure>;
    /// A value below `HKEY_LOCAL_MACHINE`.
    fn observe_value(&mut self, key: &str, name: &str) -> Result<Option<StoredValue>, CallFailure>;
    /// Sets a value, making its key, with this descriptor where one is given.
    fn set_value(
        &mut self,
        key: &str,
        name: &str,
        value: &RegistryValue,
        descriptor: Option<&SecurityDescriptor>,
    ) -> Result<(), CallFailure>;
    /// Puts back what a value was, or removes it, and the key with it if that was absent and is empty now.
    fn restore_value(
        &mut self,
        key: &str,
        name: &str,
        before: Option<&StoredValue>,
        key_before: KeyBefore,
    ) -> Result<(), CallFailure>;

    /// Those filters of our provider that have one of these keys and are in force; one of another form than a plan has
    /// is left out. A filter of somebody else under such a key is a failure.
    fn observe_filters(&mut self, keys: &[Guid]) -> Result<Vec<Filter>, CallFailure>;
    /// Deletes the filters of these keys and adds these, in one transaction; provider and sublayer come with the first
    /// filter and go with the last.
    fn replace_filters(&mut self, remove: &[Guid], add: &[Filter]) -> Result<(), CallFailure>;

    /// The firewall rules of that name: there may be several.
    fn observe_firewall_rules(&mut self, name: &str) -> Result<Vec<FirewallRule>, CallFailure>;
    /// Adds a rule, all its properties set before.
    fn add_firewall_rule(&mut self, rule: &FirewallRule) -> Result<(), CallFailure>;
    /// Removes one rule that is exactly this one.
    fn remove_firewall_rule(&mut self, rule: &FirewallRule) -> Result<(), CallFailure>;

    /// Who has these ports.
    fn observe_ports(&mut self, ports: PortRange) -> Result<Reservation, CallFailure>;
    /// Reserves these ports as an administered exclusion.
    fn reserve_ports(&mut self, ports: PortRange) -> Result<(), CallFailure>;
    /// Releases an administered exclusion of exactly these ports.
    fn release_ports(&mut self, ports: PortRange) -> Result<(), CallFailure>;

    /// Everything of Ringfence that is on the machine, whatever a ledger says: accounts and groups of our naming,
    /// filters of our provider, rules of our grouping, values below our key, what lies in our directory, and SIDs of
    /// local accounts that are gone and are denied what our accounts are, and nothing else.
    fn observe_remnants(&mut self) -> Result<Vec<Remnant>, CallFailure>;
}
