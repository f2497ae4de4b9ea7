//! A Windows machine, as set-up changes it: accounts, rights, directories, keys, filters, rules, ports.
//!
//! It decides nothing and keeps no record. Every look is a question to the system; whoever changes something looks
//! again afterwards, because some of these calls say yes and do nothing. Not executed on Windows yet.
//!
//! Invariant: outside of the accounts that it is given and their profiles, it writes only below our own directory, our own key, and the
//! list of accounts that the sign-in screen does not show.

pub mod accounts;
mod profile;
mod registry;
mod remnants;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::{
    Account, AccountName, Directory, Files as _, KeyBefore, Logon, Machine, NewAccount, Principal,
    Redirection, Remnant, Reservation, StoredValue,
};
use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::ExcludedBy;
use ringfence_plan::windows::machine::POLICY_FILE;
use ringfence_plan::windows::step::{
    FileId, Filter, FirewallRule, Guid, LogonRight, ObjectKind, PortRange, RegistryValue,
};

use crate::files::{NtFiles, Watch, failure};
use crate::observe::machine::observe_excluded_ports;
use crate::sys::account;
use crate::sys::firewall::Firewall;
use crate::sys::machine as system;
use crate::sys::rights::Policy;
use crate::sys::wfp::Engine;

/// `ERROR_ACCESS_DENIED`: it is not ours to change.
const REFUSED: u32 = 5;
/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: u32 = 2;
/// `ERROR_CANT_ACCESS_FILE`: a link, or a file in the place of a directory.
const REDIRECTED: u32 = 1920;

/// This machine.
#[derive(Debug)]
pub struct WindowsMachine {
    files: NtFiles,
    /// `%ProgramData%\Ringfence`
    own: WindowsPath,
    /// What the last look at an account's logon came to: a wrong password is not tried twice.
    tried: Option<(String, Logon)>,
}

impl WindowsMachine {
    /// This machine, with our own directory at `own`.
    #[must_use]
    pub const fn new(own: WindowsPath) -> Self {
        Self::with_files(own, NtFiles::new())
    }

    /// The same, and walks over trees tell how far they are and may be stopped.
    #[must_use]
    pub const fn watched(own: WindowsPath, watch: Watch) -> Self {
        Self::with_files(own, NtFiles::watched(watch))
    }

    const fn with_files(own: WindowsPath, files: NtFiles) -> Self {
        Self {
            files,
            own,
            tried: None,
        }
    }

    fn check_own(&self, path: &WindowsPath) -> Result<(), CallFailure> {
        if path.starts_with(&self.own) {
            return Ok(());
        }
        Err(CallFailure::new(
            "not below our own directory",
            path.printable(),
            REFUSED,
        ))
    }
}

/// Starts `netsh`, which alone makes exclusions that any program may bind. Its words are in the system's language; only
/// its exit status counts, and the look afterwards.
fn netsh(arguments: &[String]) -> Result<(), CallFailure> {
    const CALL: &str = "netsh.exe";
    let directory = system::system_directory().map_err(failure)?;
    let run = Command::new(Path::new(&directory).join(CALL))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let object = arguments.join(" ");
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let code = status.code().map_or(1, i32::cast_unsigned);
            Err(CallFailure::new(CALL, object, code))
        }
        Err(error) => {
            let code = error.raw_os_error().map_or(NOT_FOUND, i32::cast_unsigned);
            Err(CallFailure::new(CALL, object, code))
        }
    }
}

fn exclusion(verb: &str, ports: PortRange) -> Vec<String> {
    let count = u32::from(ports.last.saturating_sub(ports.first)).saturating_add(1);
    let mut arguments = ["int", "ipv4", verb, "excludedportrange", "protocol=tcp"]
        .map(str::to_owned)
        .to_vec();
    arguments.push(format!("startport={}", ports.first));
    arguments.push(format!("numberofports={count}"));
    arguments.push("store=persistent".to_owned());
    arguments
}

impl Machine for WindowsMachine {
    fn observe_group(&mut self, name: &str) -> Result<Option<Principal>, CallFailure> {
        let Some(comment) = account::group_comment(name).map_err(failure)? else {
            return Ok(None);
        };
        let sid = system::sid_of(name).map_err(failure)?;
        Ok(sid.map(|sid| Principal { sid, comment }))
    }

    fn make_group(&mut self, name: &str, comment: &str) -> Result<(), CallFailure> {
        account::add_group(name, comment).map_err(failure)
    }

    fn remove_group(&mut self, name: &str) -> Result<(), CallFailure> {
        account::delete_group(name).map_err(failure)
    }

    fn observe_user(&mut self, name: &str) -> Result<Option<Principal>, CallFailure> {
        accounts::observe_user(name)
    }

    fn observe_account(
        &mut self,
        account: AccountName<'_>,
    ) -> Result<Option<Account>, CallFailure> {
        self.look_at_account(account)
    }

    fn make_account(&mut self, account: &NewAccount<'_>) -> Result<(), CallFailure> {
        self.check_own(account.record)?;
        self.complete_account(account)
    }

    fn quiesce_account(&mut self, name: &str) -> Result<(), CallFailure> {
        accounts::quiesce(name)
    }

    fn remove_account(&mut self, name: &str, record: &WindowsPath) -> Result<(), CallFailure> {
        self.check_own(record)?;
        accounts::remove(&mut self.files, name, record)
    }

    fn observe_denied_logons(&mut self, account: Sid) -> Result<BTreeSet<LogonRight>, CallFailure> {
        let denied = Policy::open().and_then(|policy| policy.denied(account));
        denied
            .map(|rights| rights.into_iter().collect())
            .map_err(failure)
    }

    fn deny_logons(&mut self, account: Sid, rights: &[LogonRight]) -> Result<(), CallFailure> {
        let policy = Policy::open().map_err(failure)?;
        policy.deny(account, rights).map_err(failure)
    }

    fn allow_logons(&mut self, account: Sid, rights: &[LogonRight]) -> Result<(), CallFailure> {
        let policy = Policy::open().map_err(failure)?;
        policy.allow(account, rights).map_err(failure)
    }

    fn forget_logons(&mut self, account: Sid) -> Result<(), CallFailure> {
        if system::name_of(account).map_err(failure)?.is_some() {
            return Ok(());
        }
        let policy = Policy::open().map_err(failure)?;
        policy.forget(account).map_err(failure)
    }

    fn observe_directory(&mut self, path: &WindowsPath) -> Result<Option<Directory>, CallFailure> {
        let Some(object) = self.files.open(path)? else {
            return Ok(None);
        };
        let state = self.files.observe(&object)?;
        if state.kind == ObjectKind::File || state.redirection == Redirection::Reparse {
            return Err(CallFailure::new(
                "NtCreateFile",
                path.printable(),
                REDIRECTED,
            ));
        }
        Ok(Some(Directory {
            id: state.id,
            descriptor: self.files.observe_descriptor(&object)?,
        }))
    }

    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        self.check_own(path)?;
        self.files.make_directory(path, descriptor)
    }

    fn observe_policy(
        &mut self,
        directory: &WindowsPath,
    ) -> Result<Option<WindowsPath>, CallFailure> {
        if *directory != self.own {
            return Ok(None);
        }
        let Ok(policy) = directory.join(POLICY_FILE) else {
            return Ok(None);
        };
        Ok(self.files.open(&policy)?.map(|_| policy))
    }

    fn remove_directory(&mut self, path: &WindowsPath, id: FileId) -> Result<(), CallFailure> {
        self.check_own(path)?;
        let absent = || CallFailure::new("NtCreateFile", path.printable(), NOT_FOUND);
        let object = self.files.open(path)?.ok_or_else(absent)?;
        if self.files.observe(&object)?.id != id {
            return Err(absent());
        }
        self.files.remove_directory(&object)
    }

    fn observe_key(&mut self, key: &str) -> Result<Option<SecurityDescriptor>, CallFailure> {
        registry::observe_key(key)
    }

    fn observe_value(&mut self, key: &str, name: &str) -> Result<Option<StoredValue>, CallFailure> {
        registry::observe_value(key, name)
    }

    fn set_value(
        &mut self,
        key: &str,
        name: &str,
        value: &RegistryValue,
        descriptor: Option<&SecurityDescriptor>,
    ) -> Result<(), CallFailure> {
        registry::set_value(key, name, value, descriptor)
    }

    fn restore_value(
        &mut self,
        key: &str,
        name: &str,
        before: Option<&StoredValue>,
        key_before: KeyBefore,
    ) -> Result<(), CallFailure> {
        registry::restore_value(key, name, before, key_before)
    }

    fn observe_filters(&mut self, keys: &[Guid]) -> Result<Vec<Filter>, CallFailure> {
        let engine = Engine::open().map_err(failure)?;
        engine.filters(keys).map_err(failure)
    }

    fn replace_filters(&mut self, remove: &[Guid], add: &[Filter]) -> Result<(), CallFailure> {
        let engine = Engine::open().map_err(failure)?;
        engine.replace(remove, add).map_err(failure)
    }

    fn observe_firewall_rules(&mut self, name: &str) -> Result<Vec<FirewallRule>, CallFailure> {
        let firewall = Firewall::open().map_err(failure)?;
        firewall.rules(name).map_err(failure)
    }

    fn add_firewall_rule(&mut self, rule: &FirewallRule) -> Result<(), CallFailure> {
        let firewall = Firewall::open().map_err(failure)?;
        firewall.add(rule).map_err(failure)
    }

    fn remove_firewall_rule(&mut self, rule: &FirewallRule) -> Result<(), CallFailure> {
        let firewall = Firewall::open().map_err(failure)?;
        firewall.remove(&rule.name).map_err(failure)
    }

    fn observe_ports(&mut self, ports: PortRange) -> Result<Reservation, CallFailure> {
        let excluded = observe_excluded_ports();
        let exact = excluded
            .iter()
            .any(|one| one.range == ports && one.by == ExcludedBy::Administrator);
        if exact {
            return Ok(Reservation::Reserved);
        }
        let meets = |other: PortRange| other.first <= ports.last && ports.first <= other.last;
        Ok(if excluded.iter().any(|one| meets(one.range)) {
            Reservation::Taken
        } else {
            Reservation::Free
        })
    }

    fn reserve_ports(&mut self, ports: PortRange) -> Result<(), CallFailure> {
        netsh(&exclusion("add", ports))
    }

    fn release_ports(&mut self, ports: PortRange) -> Result<(), CallFailure> {
        netsh(&exclusion("delete", ports))
    }

    fn observe_remnants(&mut self) -> Result<Vec<Remnant>, CallFailure> {
        remnants::observe(&mut self.files, &self.own)
    }
}

#[cfg(test)]
mod tests;
