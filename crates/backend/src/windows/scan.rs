//! The last word of an uninstall: what of ours is left, whatever the ledgers say.
//!
//! It removes nothing. Invariant: what an open entry of the ledger stands for is not left over; all else is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{MachineStep, ObjectKind};

use crate::call::CallFailure;
use crate::ledger::{Entry, Ledger, LedgerStore};

use super::books::{MachineBook, MachineReceipt};
use super::descent::Descent;
use super::files::{Files, Redirection};
use super::listing::Listing;
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

    fn add_entry(&mut self, entry: &Entry<MachineBook>) {
        self.add(&entry.intent.step);
        // Should somebody delete the account, the entry's undoing takes care of what is left of it.
        if let Some(MachineReceipt::Principal(sid)) = entry.receipt {
            self.name(RemnantKind::Rights, &sid.to_string());
        }
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
                | RemnantKind::Rights
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
        expected.add_entry(entry);
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
            expected.add_entry(entry);
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
) -> Result<Listing<Remnant>, CallFailure> {
    let mut found = Listing::default();
    let mut descent = Descent::new();
    let mut visited = 0_u64;
    let mut next = files.open(top)?.map(|handle| (top.clone(), Ok(handle)));
    while let Some((path, opened)) = next {
        visited = visited.saturating_add(1);
        let stopped = progress(visited).is_break();
        let is_seen = !stopped
            && opened
                .and_then(|handle| {
                    let whose = (&path, ours);
                    look_through(handle, whose, files, &mut descent, &mut found)
                })
                .is_ok();
        if !is_seen {
            // What was not looked at is not clean.
            found.push(Remnant {
                kind: RemnantKind::Unseen,
                object: path.to_string(),
            });
        }
        if stopped {
            break;
        }
        next = descent.next(files);
    }
    found.sort();
    Ok(found)
}

/// Looks at one object, and enters it where it has children.
///
/// # Errors
/// [`CallFailure`] where it could not be looked at wholly.
fn look_through<F: Files>(
    handle: F::Handle,
    (path, ours): (&WindowsPath, &BTreeSet<Sid>),
    files: &mut F,
    descent: &mut Descent<F::Handle>,
    found: &mut Listing<Remnant>,
) -> Result<(), CallFailure> {
    let state = files.observe(&handle)?;
    let descriptor = files.observe_descriptor(&handle);
    if let Ok(descriptor) = &descriptor
        && let Some(remnant) = carried(descriptor, ours, path)
    {
        found.push(remnant);
    }
    if state.kind == ObjectKind::Directory && state.redirection == Redirection::None {
        descent.enter(files, handle, path.clone())?;
    }
    descriptor.map(|_| ())
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
