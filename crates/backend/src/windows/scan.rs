//! The last word of an uninstall: what of ours is left, whatever the ledgers say.
//!
//! It removes nothing. Invariant: what an open entry of the ledger stands for is not left over; all else is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{MachineStep, ObjectKind};

use crate::call::CallFailure;
use crate::ledger::{Ledger, LedgerStore};

use super::books::MachineBook;
use super::files::{Files, Redirection};
use super::grants::child_path;
use super::machine::{Machine, Remnant, RemnantKind};

/// What open entries stand for.
#[derive(Default)]
struct Expected {
    named: BTreeSet<(RemnantKind, String)>,
    directories: Vec<WindowsPath>,
    /// Accounts, in lower case: their profiles are named after them.
    accounts: Vec<String>,
}

impl Expected {
    fn name(&mut self, kind: RemnantKind, object: &str) {
        self.named.insert((kind, object.to_lowercase()));
    }

    fn add(&mut self, step: &MachineStep) {
        match step {
            MachineStep::EnsureGroup { name, .. } => self.name(RemnantKind::Group, name),
            MachineStep::EnsureAccount { name, record, .. } => {
                self.name(RemnantKind::Account, name);
                self.accounts.push(name.to_lowercase());
                self.name(RemnantKind::Record, &record.to_string());
            }
            MachineStep::MakeDirectory { path, .. } => self.directories.push(path.clone()),
            MachineStep::SetValue { key, name, .. } => {
                self.name(RemnantKind::Key, key);
                self.name(RemnantKind::Value, &format!("{key}\\{name}"));
            }
            MachineStep::InstallFilters { filters } => {
                for filter in filters {
                    self.name(RemnantKind::Filter, &filter.key.to_string());
                }
            }
            MachineStep::AddFirewallRule { rule } => {
                self.name(RemnantKind::FirewallRule, &rule.name);
            }
            // They go with the account, and ports bear no name.
            MachineStep::DenyLogon { .. } | MachineStep::ReservePorts { .. } => {}
        }
    }

    /// Whether a directory is named after an account as profiles are: `NAME`, `NAME.COMPUTER`, `NAME.000`.
    fn is_profile(&self, path: &WindowsPath) -> bool {
        let name = path.name().unwrap_or_default().to_lowercase();
        self.accounts.iter().any(|account| {
            let rest = name.strip_prefix(account.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn has(&self, remnant: &Remnant) -> bool {
        let named = (remnant.kind, remnant.object.to_lowercase());
        self.named.contains(&named)
            || WindowsPath::parse(&remnant.object).is_ok_and(|path| match remnant.kind {
                RemnantKind::Directory => {
                    self.directories.contains(&path) || self.is_profile(&path)
                }
                // The state and the marker, which go with their directory.
                RemnantKind::Record => self
                    .directories
                    .iter()
                    .any(|directory| path.parent().as_ref() == Some(directory)),
                RemnantKind::Group
                | RemnantKind::Account
                | RemnantKind::Key
                | RemnantKind::Value
                | RemnantKind::Filter
                | RemnantKind::FirewallRule
                | RemnantKind::Entry
                | RemnantKind::Owner
                | RemnantKind::Unseen => false,
            })
    }
}

/// Everything of Ringfence on the machine that no open entry stands for: nothing, after an uninstall.
///
/// # Errors
/// [`CallFailure`].
pub fn leftover_of_machine<S: LedgerStore, M: Machine>(
    ledger: &Ledger<MachineBook, S>,
    machine: &mut M,
) -> Result<Vec<Remnant>, CallFailure> {
    let mut expected = Expected::default();
    for (_, entry) in ledger.entries() {
        expected.add(&entry.intent.step);
    }
    unexpected(&expected, machine)
}

/// The same where nobody's entries count but those of other people than `person`: what is left after an uninstall that
/// could not do everything.
///
/// # Errors
/// [`CallFailure`].
pub fn leftover_of_person<S: LedgerStore, M: Machine>(
    ledger: &Ledger<MachineBook, S>,
    person: Sid,
    machine: &mut M,
) -> Result<Vec<Remnant>, CallFailure> {
    let mut expected = Expected::default();
    for (_, entry) in ledger.entries() {
        if entry.intent.person != person {
            expected.add(&entry.intent.step);
        }
    }
    unexpected(&expected, machine)
}

/// Everything of Ringfence on the machine that none of `steps` makes: what a person can tell without the ledger.
///
/// # Errors
/// [`CallFailure`].
pub fn leftover_beside<M: Machine>(
    steps: &[MachineStep],
    machine: &mut M,
) -> Result<Vec<Remnant>, CallFailure> {
    let mut expected = Expected::default();
    for step in steps {
        expected.add(step);
    }
    unexpected(&expected, machine)
}

/// Everything of Ringfence on the machine: all that can be said where no ledger can be read.
///
/// # Errors
/// [`CallFailure`].
pub fn everything_of_machine<M: Machine>(machine: &mut M) -> Result<Vec<Remnant>, CallFailure> {
    unexpected(&Expected::default(), machine)
}

fn unexpected<M: Machine>(
    expected: &Expected,
    machine: &mut M,
) -> Result<Vec<Remnant>, CallFailure> {
    let mut found = machine.observe_remnants()?;
    found.retain(|remnant| !expected.has(remnant));
    found.sort();
    Ok(found)
}

/// Every object at and below `top` that has an entry for a SID of ours or that an account of ours owns; what could not
/// be looked at is in the list too. No reparse point is entered.
///
/// # Errors
/// [`CallFailure`] where `top` itself can't be opened.
///
/// `progress` is told how many objects were looked at; `Break` ends the scan, and the rest counts as not looked at.
pub fn leftover_of_files<F: Files>(
    top: &WindowsPath,
    ours: &BTreeSet<Sid>,
    files: &mut F,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Vec<Remnant>, CallFailure> {
    let mut found = Vec::new();
    let Some(handle) = files.open(top)? else {
        return Ok(found);
    };
    let mut open = vec![(handle, top.clone())];
    let mut visited = 0_u64;
    while let Some((handle, path)) = open.pop() {
        visited = visited.saturating_add(1);
        let unseen = |found: &mut Vec<Remnant>, path: &WindowsPath| {
            found.push(Remnant {
                kind: RemnantKind::Unseen,
                object: path.to_string(),
            });
        };
        if progress(visited).is_break() {
            // What was not looked at is not clean.
            unseen(&mut found, &path);
            break;
        }
        let Ok(state) = files.observe(&handle) else {
            unseen(&mut found, &path);
            continue;
        };
        match files.observe_descriptor(&handle) {
            Ok(descriptor) => found.extend(carried(&descriptor, ours, &path)),
            Err(_) => unseen(&mut found, &path),
        }
        if state.kind == ObjectKind::File || state.redirection == Redirection::Reparse {
            continue;
        }
        let Ok(names) = files.list(&handle) else {
            unseen(&mut found, &path);
            continue;
        };
        for name in names {
            let path = child_path(&path, &name);
            match files.open_child(&handle, &name) {
                Ok(Some(child)) => open.push((child, path)),
                Ok(None) => {}
                Err(_) => unseen(&mut found, &path),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What of ours an object carries.
fn carried(
    descriptor: &SecurityDescriptor,
    ours: &BTreeSet<Sid>,
    path: &WindowsPath,
) -> Option<Remnant> {
    let owned = descriptor.owner.is_some_and(|owner| ours.contains(&owner));
    let aces = descriptor.acl().map_or(&[][..], |acl| &acl.aces);
    let kind = if owned {
        RemnantKind::Owner
    } else if aces.iter().any(|ace| ours.contains(&ace.sid)) {
        RemnantKind::Entry
    } else {
        return None;
    };
    let object = path.to_string();
    Some(Remnant { kind, object })
}
