//! The last word of an uninstall: what of ours is left, whatever the ledgers say.
//!
//! It removes nothing. Invariant: what an open entry of the ledger stands for is not left over; all else is.

use std::collections::BTreeSet;

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::MachineStep;

use crate::call::CallFailure;
use crate::ledger::{Ledger, LedgerStore};

use super::books::MachineBook;
use super::machine::{Machine, Remnant, RemnantKind};

/// What open entries stand for.
#[derive(Default)]
struct Expected {
    named: BTreeSet<(RemnantKind, String)>,
    directories: Vec<WindowsPath>,
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

    fn has(&self, remnant: &Remnant) -> bool {
        let named = (remnant.kind, remnant.object.to_lowercase());
        self.named.contains(&named)
            || (remnant.kind == RemnantKind::Directory
                && WindowsPath::parse(&remnant.object)
                    .is_ok_and(|path| self.directories.contains(&path)))
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
    let mut found = machine.observe_remnants()?;
    found.retain(|remnant| !expected.has(remnant));
    found.sort();
    Ok(found)
}
