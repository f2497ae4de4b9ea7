//! Accounts, groups, rights, registry, filters, rules and ports in memory.
//!
//! Invariant: a call that is refused changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{
    FileId, Filter, FirewallRule, Guid, LogonRight, PortRange, RegistryValue,
};

use crate::call::CallFailure;
use crate::fault::Faults;
use crate::windows::guard::Guarded;
use crate::windows::machine::{
    Account, AccountName, Directory, KeyBefore, Logon, Machine, NewAccount, PasswordRule,
    Principal, ProfileGuard, Remnant, Reservation, StoredValue,
};

use super::profile::{FakeProfile, ProfilePart};
use super::remnants;

/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: u32 = 2;
/// `ERROR_BUSY`
const BUSY: u32 = 170;
/// `NERR_GroupExists`
const GROUP_EXISTS: u32 = 2223;
/// `FWP_E_ALREADY_EXISTS`
const FILTER_EXISTS: u32 = 0x8032_0009;

/// A local group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeGroup {
    /// Its SID.
    pub sid: Sid,
    /// Its comment.
    pub comment: String,
}

/// A local account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeAccount {
    /// Its SID.
    pub sid: Sid,
    /// Its comment.
    pub comment: String,
    /// The groups that it is in.
    pub groups: BTreeSet<Sid>,
    /// Stands for its password.
    pub password: u64,
    /// Whether it can be signed in to.
    pub enabled: bool,
    /// What an attempt to sign in ends with, whatever the password.
    pub locked: Option<u32>,
    /// What holds of its password.
    pub rule: PasswordRule,
    /// How many of its processes run.
    pub processes: u32,
    /// Its profile, if it is there.
    pub profile: Option<FakeProfile>,
}

/// What is true of the machine. Names are in lower case: Windows compares them without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Local groups by name.
    pub groups: BTreeMap<String, FakeGroup>,
    /// Local accounts by name.
    pub accounts: BTreeMap<String, FakeAccount>,
    /// Sealed passwords by path.
    pub records: BTreeMap<WindowsPath, u64>,
    /// Denied ways to sign in.
    pub denied: BTreeMap<Sid, BTreeSet<LogonRight>>,
    /// The administrator's policy files.
    pub policies: BTreeSet<WindowsPath>,
    /// Directories that matter to set-up.
    pub directories: BTreeMap<WindowsPath, Directory>,
    /// Registry keys below `HKEY_LOCAL_MACHINE`.
    pub keys: BTreeMap<String, SecurityDescriptor>,
    /// Registry values by key and name.
    pub values: BTreeMap<(String, String), StoredValue>,
    /// Filters of our provider; provider and sublayer are there as long as one of them is.
    pub filters: BTreeMap<Guid, Filter>,
    /// Filters of our provider that are disabled, or that somebody has changed.
    pub changed_filters: BTreeSet<Guid>,
    /// Filters of others.
    pub foreign_filters: u32,
    /// Firewall rules.
    pub rules: Vec<FirewallRule>,
    /// Administered exclusions.
    pub reserved: BTreeSet<PortRange>,
    /// Ports that a program uses.
    pub used: BTreeSet<PortRange>,
}

/// A machine in memory.
#[derive(Clone, Debug)]
pub struct FakeMachine {
    /// What is true of it.
    pub world: World,
    /// The SID that local accounts are children of.
    pub sid: Sid,
    /// The descriptor that a new key gets when nobody says one.
    pub key_default: SecurityDescriptor,
    /// How many passwords were made.
    pub passwords: u64,
    /// How many real logons were tried.
    pub logons: u64,
    faults: Faults,
    made: u32,
}

impl FakeMachine {
    /// A machine with nothing of ours, and `faults`.
    #[must_use]
    pub fn new(sid: Sid, key_default: SecurityDescriptor, faults: &Faults) -> Self {
        Self {
            world: World::default(),
            sid,
            key_default,
            passwords: 0,
            logons: 0,
            faults: faults.clone(),
            made: 1000,
        }
    }

    /// Its faults.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// A number that was never used.
    fn draw(&mut self) -> u32 {
        self.made = self.made.saturating_add(1);
        self.made
    }

    fn draw_sid(&mut self) -> Sid {
        let number = self.draw();
        self.sid.child(number).unwrap_or(Sid::NULL)
    }

    /// Makes a change to the world, unless a fault strikes.
    fn change(
        &mut self,
        call: &'static str,
        object: &str,
        change: impl FnOnce(&mut World) -> Result<(), u32>,
    ) -> Result<(), CallFailure> {
        let world = &mut self.world;
        self.faults.change(call, object, || {
            change(world).map_err(|code| CallFailure::new(call, object, code))
        })
    }

    /// The account of that SID.
    fn name_of(&self, sid: Sid) -> Option<&String> {
        let mut accounts = self.world.accounts.iter();
        accounts
            .find(|(_, account)| account.sid == sid)
            .map(|(name, _)| name)
    }
}

/// The group that is not everybody's: the person's.
fn group_of<'a>(groups: impl IntoIterator<Item = &'a Sid>) -> Option<Sid> {
    let mut groups = groups.into_iter();
    groups.find(|group| **group != Sid::USERS).copied()
}

pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

fn overlap(one: PortRange, other: PortRange) -> bool {
    one.first <= other.last && other.first <= one.last
}

impl Machine for FakeMachine {
    fn observe_group(&mut self, name: &str) -> Result<Option<Principal>, CallFailure> {
        self.faults.look("NetLocalGroupGetInfo", name)?;
        Ok(self.world.groups.get(&folded(name)).map(|group| Principal {
            sid: group.sid,
            comment: group.comment.clone(),
        }))
    }

    fn make_group(&mut self, name: &str, comment: &str) -> Result<(), CallFailure> {
        let group = FakeGroup {
            sid: self.draw_sid(),
            comment: comment.to_owned(),
        };
        let key = folded(name);
        self.change("NetLocalGroupAdd", name, |world| {
            if world.groups.contains_key(&key) || world.accounts.contains_key(&key) {
                return Err(GROUP_EXISTS);
            }
            world.groups.insert(key, group);
            Ok(())
        })
    }

    fn remove_group(&mut self, name: &str) -> Result<(), CallFailure> {
        let key = folded(name);
        self.change("NetLocalGroupDel", name, |world| {
            let group = world.groups.remove(&key).ok_or(NOT_FOUND)?;
            for account in world.accounts.values_mut() {
                account.groups.remove(&group.sid);
            }
            Ok(())
        })
    }

    fn observe_user(&mut self, name: &str) -> Result<Option<Principal>, CallFailure> {
        self.faults.look("NetUserGetInfo", name)?;
        let account = self.world.accounts.get(&folded(name));
        Ok(account.map(|account| Principal {
            sid: account.sid,
            comment: account.comment.clone(),
        }))
    }

    fn observe_account(
        &mut self,
        AccountName {
            name,
            record,
            marker,
        }: AccountName<'_>,
    ) -> Result<Option<Account>, CallFailure> {
        self.faults.look("NetUserGetInfo", name)?;
        let Some(account) = self.world.accounts.get(&folded(name)) else {
            return Ok(None);
        };
        let logon = match self.world.records.get(record) {
            None => Logon::NoRecord,
            Some(_) if !account.enabled => Logon::Disabled,
            Some(sealed) => {
                if let Some(code) = account.locked {
                    return Err(CallFailure::new("LogonUserW", name, code));
                }
                self.logons = self.logons.saturating_add(1);
                if *sealed == account.password {
                    Logon::Works
                } else {
                    Logon::Wrong
                }
            }
        };
        Ok(Some(Account {
            sid: account.sid,
            comment: account.comment.clone(),
            groups: account.groups.clone(),
            logon,
            password: account.rule,
            profile: match (&account.profile, group_of(&account.groups)) {
                (None, _) => ProfileGuard::Absent,
                (Some(profile), Some(group)) if profile.is_guarded(Guarded { marker, group }) => {
                    ProfileGuard::Guarded
                }
                (Some(_), _) => ProfileGuard::Open,
            },
        }))
    }

    /// Several calls, so that a crash can come between them.
    fn make_account(&mut self, new: &NewAccount<'_>) -> Result<(), CallFailure> {
        let key = folded(new.name);
        let works =
            self.world.accounts.get(&key).is_some_and(|account| {
                self.world.records.get(new.record) == Some(&account.password)
            });
        let account = FakeAccount {
            sid: self.draw_sid(),
            comment: new.comment.to_owned(),
            groups: BTreeSet::new(),
            password: 0,
            enabled: true,
            locked: None,
            rule: PasswordRule::Kept,
            processes: 0,
            profile: None,
        };
        self.change("NetUserAdd", new.name, |world| {
            let account = world.accounts.entry(key.clone()).or_insert(account);
            (account.enabled, account.rule) = (true, PasswordRule::Kept);
            Ok(())
        })?;
        let groups: BTreeSet<Sid> = new.groups.iter().copied().collect();
        self.change("NetLocalGroupAddMembers", new.name, |world| {
            let account = world.accounts.get_mut(&key).ok_or(NOT_FOUND)?;
            account.groups = groups;
            Ok(())
        })?;
        self.change("CreateProfile", new.name, |world| {
            let account = world.accounts.get_mut(&key).ok_or(NOT_FOUND)?;
            let of = account.sid;
            account.profile.get_or_insert_with(|| FakeProfile::new(of));
            Ok(())
        })?;
        let group = group_of(new.groups)
            .ok_or_else(|| CallFailure::new("NetLocalGroupAddMembers", new.name, NOT_FOUND))?;
        let whom = Guarded {
            marker: new.marker,
            group,
        };
        for part in [ProfilePart::Hive, ProfilePart::Directory] {
            self.change("NtSetSecurityObject", new.name, |world| {
                let account = world.accounts.get_mut(&key).ok_or(NOT_FOUND)?;
                let profile = account.profile.as_mut().ok_or(NOT_FOUND)?;
                profile.guard(part, whom);
                Ok(())
            })?;
        }
        if works {
            return Ok(());
        }
        self.passwords = self.passwords.saturating_add(1);
        let password = self.passwords;
        let record = new.record.clone();
        self.change("NetUserSetInfo", new.name, |world| {
            let account = world.accounts.get_mut(&key).ok_or(NOT_FOUND)?;
            account.password = password;
            world.records.insert(record, password);
            Ok(())
        })
    }

    fn quiesce_account(&mut self, name: &str) -> Result<(), CallFailure> {
        let key = folded(name);
        self.change("TerminateProcess", name, |world| {
            let account = world.accounts.get_mut(&key).ok_or(NOT_FOUND)?;
            account.enabled = false;
            account.processes = 0;
            Ok(())
        })
    }

    fn remove_account(&mut self, name: &str, record: &WindowsPath) -> Result<(), CallFailure> {
        let key = folded(name);
        self.change("NetUserDel", name, |world| {
            let account = world.accounts.get(&key).ok_or(NOT_FOUND)?;
            if account.processes > 0 || account.enabled {
                return Err(BUSY);
            }
            world.denied.remove(&account.sid);
            world.accounts.remove(&key);
            world.records.remove(record);
            Ok(())
        })
    }

    fn observe_denied_logons(&mut self, account: Sid) -> Result<BTreeSet<LogonRight>, CallFailure> {
        self.faults
            .look("LsaEnumerateAccountRights", &account.to_string())?;
        Ok(self.world.denied.get(&account).cloned().unwrap_or_default())
    }

    fn deny_logons(&mut self, account: Sid, rights: &[LogonRight]) -> Result<(), CallFailure> {
        let known = self.name_of(account).is_some();
        self.change("LsaAddAccountRights", &account.to_string(), |world| {
            if !known {
                return Err(NOT_FOUND);
            }
            world.denied.entry(account).or_default().extend(rights);
            Ok(())
        })
    }

    fn allow_logons(&mut self, account: Sid, rights: &[LogonRight]) -> Result<(), CallFailure> {
        self.change("LsaRemoveAccountRights", &account.to_string(), |world| {
            let denied = world.denied.get_mut(&account).ok_or(NOT_FOUND)?;
            denied.retain(|right| !rights.contains(right));
            if denied.is_empty() {
                world.denied.remove(&account);
            }
            Ok(())
        })
    }

    fn forget_logons(&mut self, account: Sid) -> Result<(), CallFailure> {
        let is_there = self.name_of(account).is_some();
        self.change("LsaRemoveAccountRights", &account.to_string(), |world| {
            if !is_there {
                world.denied.remove(&account);
            }
            Ok(())
        })
    }

    fn observe_directory(&mut self, path: &WindowsPath) -> Result<Option<Directory>, CallFailure> {
        self.faults.look("NtCreateFile", &path.to_string())?;
        Ok(self.world.directories.get(path).cloned())
    }

    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        let id = FileId {
            volume: 1,
            file: u128::from(self.draw()),
        };
        let (place, descriptor) = (path.clone(), descriptor.clone());
        self.change("NtCreateFile", &path.to_string(), |world| {
            let directory = world.directories.entry(place).or_insert_with(|| Directory {
                id,
                descriptor: descriptor.clone(),
            });
            directory.descriptor = descriptor;
            Ok(())
        })
    }

    fn observe_policy(
        &mut self,
        directory: &WindowsPath,
    ) -> Result<Option<WindowsPath>, CallFailure> {
        self.faults.look("NtCreateFile", &directory.to_string())?;
        let policies = self.world.policies.iter();
        let mut there = policies.filter(|path| path.parent().as_ref() == Some(directory));
        Ok(there.next().cloned())
    }

    fn remove_directory(&mut self, path: &WindowsPath, id: FileId) -> Result<(), CallFailure> {
        let place = path.clone();
        self.change("NtSetInformationFile", &path.to_string(), |world| {
            if world.directories.get(&place).map(|directory| directory.id) != Some(id) {
                return Err(NOT_FOUND);
            }
            world
                .directories
                .retain(|other, _| !other.starts_with(&place));
            world.records.retain(|other, _| !other.starts_with(&place));
            world.policies.retain(|other| !other.starts_with(&place));
            Ok(())
        })
    }

    fn observe_key(&mut self, key: &str) -> Result<Option<SecurityDescriptor>, CallFailure> {
        self.faults.look("RegGetKeySecurity", key)?;
        Ok(self.world.keys.get(&folded(key)).cloned())
    }

    fn observe_value(&mut self, key: &str, name: &str) -> Result<Option<StoredValue>, CallFailure> {
        self.faults.look("RegQueryValueEx", key)?;
        let place = (folded(key), folded(name));
        Ok(self.world.values.get(&place).cloned())
    }

    fn set_value(
        &mut self,
        key: &str,
        name: &str,
        value: &RegistryValue,
        descriptor: Option<&SecurityDescriptor>,
    ) -> Result<(), CallFailure> {
        let stored = match value {
            RegistryValue::Dword(number) => StoredValue::Dword(*number),
            RegistryValue::Text(text) => StoredValue::Text(text.clone()),
            RegistryValue::Random(length) => {
                let seed = self.draw().to_le_bytes();
                let bytes = seed.iter().copied().cycle();
                StoredValue::Binary(bytes.take(usize::from(*length)).collect())
            }
        };
        let default = self.key_default.clone();
        let (place, name) = (folded(key), folded(name));
        self.change("RegSetValueEx", key, |world| {
            let guard = world.keys.entry(place.clone()).or_insert(default);
            if let Some(descriptor) = descriptor {
                *guard = descriptor.clone();
            }
            world.values.insert((place, name), stored);
            Ok(())
        })
    }

    fn restore_value(
        &mut self,
        key: &str,
        name: &str,
        before: Option<&StoredValue>,
        key_before: KeyBefore,
    ) -> Result<(), CallFailure> {
        let (place, name) = (folded(key), folded(name));
        self.change("RegDeleteValue", key, |world| {
            match before {
                Some(before) => {
                    world.values.insert((place.clone(), name), before.clone());
                }
                None => {
                    world.values.remove(&(place.clone(), name));
                }
            }
            let empty = !world.values.keys().any(|(other, _)| *other == place);
            if empty && key_before == KeyBefore::Absent {
                world.keys.remove(&place);
            }
            Ok(())
        })
    }

    fn observe_filters(&mut self, keys: &[Guid]) -> Result<Vec<Filter>, CallFailure> {
        self.faults.look("FwpmFilterGetByKey0", "filters")?;
        let found = keys.iter().filter_map(|key| self.world.filters.get(key));
        Ok(found.cloned().collect())
    }

    fn replace_filters(&mut self, remove: &[Guid], add: &[Filter]) -> Result<(), CallFailure> {
        self.change("FwpmTransactionCommit0", "filters", |world| {
            let mut filters = world.filters.clone();
            filters.retain(|key, _| !remove.contains(key));
            world.changed_filters.retain(|key| !remove.contains(key));
            for filter in add {
                if filters.insert(filter.key, filter.clone()).is_some() {
                    return Err(FILTER_EXISTS);
                }
            }
            world.filters = filters;
            Ok(())
        })
    }

    fn observe_firewall_rules(&mut self, name: &str) -> Result<Vec<FirewallRule>, CallFailure> {
        self.faults.look("INetFwRules::get__NewEnum", name)?;
        let named = |rule: &&FirewallRule| rule.name == name;
        Ok(self.world.rules.iter().filter(named).cloned().collect())
    }

    fn add_firewall_rule(&mut self, rule: &FirewallRule) -> Result<(), CallFailure> {
        let added = rule.clone();
        self.change("INetFwRules::Add", &rule.name, |world| {
            world.rules.push(added);
            Ok(())
        })
    }

    fn remove_firewall_rule(&mut self, rule: &FirewallRule) -> Result<(), CallFailure> {
        self.change("INetFwRules::Remove", &rule.name, |world| {
            let place = world.rules.iter().position(|other| other == rule);
            world.rules.remove(place.ok_or(NOT_FOUND)?);
            Ok(())
        })
    }

    fn observe_ports(&mut self, ports: PortRange) -> Result<Reservation, CallFailure> {
        self.faults.look("ports", "TCP")?;
        let World { reserved, used, .. } = &self.world;
        Ok(if reserved.contains(&ports) {
            Reservation::Reserved
        } else if reserved.union(used).any(|taken| overlap(*taken, ports)) {
            Reservation::Taken
        } else {
            Reservation::Free
        })
    }

    fn reserve_ports(&mut self, ports: PortRange) -> Result<(), CallFailure> {
        self.change("CreatePersistentTcpPortReservation", "TCP", |world| {
            if world.used.iter().any(|used| overlap(*used, ports)) {
                return Err(BUSY);
            }
            world.reserved.insert(ports);
            Ok(())
        })
    }

    fn release_ports(&mut self, ports: PortRange) -> Result<(), CallFailure> {
        self.change("DeletePersistentTcpPortReservation", "TCP", |world| {
            if world.reserved.remove(&ports) {
                return Ok(());
            }
            Err(NOT_FOUND)
        })
    }

    fn observe_remnants(&mut self) -> Result<Vec<Remnant>, CallFailure> {
        self.faults.look("scan", "the machine")?;
        Ok(remnants::observe(&self.world))
    }
}
