//! An uninstall where the machine's ledger is damaged.
//!
//! Two records are left then: the ledger's own up to the damage, and the state that each finished set-up has written
//! beside it, which tells the steps and the SIDs of the accounts. What a state tells and no entry does gets an entry
//! again, if it is on the machine as the state says; the undoing is the usual one. Invariant: nothing is taken up by
//! its name alone, and nothing is undone while there is a set-up of somebody else that nothing is recorded of.
//!
//! # Security
//! Ledger and states lie in directories that administrators alone can write; whoever calls has checked that.

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::OWN_KEY;
use ringfence_plan::windows::step::{AccountRole, AccountSids, MachineStep};

use crate::ledger::{Damage, Ledger, LedgerError, LedgerStore};
use crate::windows::books::{Before, MachineBook, MachineIntent, MachineReceipt};
use crate::windows::machine::{KeyBefore, Machine, RemnantKind};
use crate::windows::record::InstalledState;
use crate::windows::trustees::KnownAccounts;
use crate::windows::verbs::{Known, Standing, StepError, Verb, look};

use super::{Setup, SetupError};

/// Opens a ledger that may be damaged, and takes up what `states` record and its entries do not. `states` are those of
/// all people of the machine, `own` the directories of the person whose set-up is taken back.
///
/// # Errors
/// [`SetupError::OthersUnknown`] where somebody else's directories would go with the shared ones;
/// [`SetupError::Ledger`]; [`SetupError::Scan`].
pub fn salvage<S: LedgerStore, M: Machine>(
    store: S,
    states: &[InstalledState],
    own: &[WindowsPath],
    machine: &mut M,
) -> Result<(Ledger<MachineBook, S>, Option<Damage>), SetupError> {
    let (mut ledger, damage) = Ledger::salvage(store).map_err(SetupError::Ledger)?;
    for state in states {
        let mut setup = Setup {
            person: state.subject.person,
            ledger: &mut ledger,
            machine,
        };
        setup.take_up(state).map_err(SetupError::Ledger)?;
    }
    let directories = unrecorded(&ledger, own, machine)?;
    if directories.is_empty() {
        return Ok((ledger, damage));
    }
    Err(SetupError::OthersUnknown { directories })
}

/// Directories of people that no entry stands for, but for those of `own`.
fn unrecorded<S: LedgerStore, M: Machine>(
    ledger: &Ledger<MachineBook, S>,
    own: &[WindowsPath],
    machine: &mut M,
) -> Result<Vec<String>, SetupError> {
    let made: Vec<&WindowsPath> = ledger
        .entries()
        .filter_map(|(_, entry)| match &entry.intent.step {
            MachineStep::MakeDirectory { path, .. } => Some(path),
            MachineStep::EnsureGroup { .. }
            | MachineStep::EnsureAccount { .. }
            | MachineStep::DenyLogon { .. }
            | MachineStep::SetValue { .. }
            | MachineStep::InstallFilters { .. }
            | MachineStep::AddFirewallRule { .. }
            | MachineStep::ReservePorts { .. } => None,
        })
        .collect();
    let known = |path: &WindowsPath| {
        made.contains(&path)
            || own
                .iter()
                .any(|own| path.starts_with(own) || own.starts_with(path))
    };
    let remnants = machine.observe_remnants().map_err(SetupError::Scan)?;
    let directories = remnants
        .into_iter()
        .filter(|remnant| remnant.kind == RemnantKind::Directory)
        .filter_map(|remnant| WindowsPath::parse(&remnant.object).ok())
        // Below a person's own directories the scan does not tell them.
        .filter(|path| !known(path));
    Ok(directories.map(|path| path.printable()).collect())
}

impl<S: LedgerStore, M: Machine> Setup<'_, S, M> {
    /// Gives what the state records an entry, where there is none and it is on the machine as the state says.
    fn take_up(&mut self, state: &InstalledState) -> Result<(), LedgerError> {
        let Ok(steps) = state.subject.steps() else {
            return Ok(());
        };
        for step in steps {
            let accounts = known_accounts(state.accounts);
            let Some(step) = accounts.resolve(&step) else {
                continue;
            };
            let recorded = |other: &MachineStep| other.inverse() == step.inverse();
            if self.own().any(|(_, entry)| recorded(&entry.intent.step)) {
                continue;
            }
            let verb = Verb {
                step: &step,
                accounts,
                known: principal(&step, state.accounts).map_or(Known::Nothing, |sid| {
                    Known::Received(MachineReceipt::Principal(sid))
                }),
            };
            // What can't be looked at is not taken up: the scan names it.
            let Some(receipt) = there(look(self.machine, &verb), verb.known) else {
                continue;
            };
            let number = self.ledger.intend(MachineIntent {
                person: self.person,
                before: before(&step),
                step,
            })?;
            self.ledger.receive(number, receipt)?;
        }
        Ok(())
    }
}

const fn known_accounts(sids: AccountSids) -> KnownAccounts {
    KnownAccounts {
        offline: Some(sids.offline),
        online: Some(sids.online),
        group: Some(sids.group),
    }
}

/// The SID that the state gives what the step makes.
const fn principal(step: &MachineStep, sids: AccountSids) -> Option<ringfence_nt::Sid> {
    match step {
        MachineStep::EnsureGroup { .. } => Some(sids.group),
        MachineStep::EnsureAccount { role, .. } => Some(match role {
            AccountRole::Offline => sids.offline,
            AccountRole::Online => sids.online,
        }),
        MachineStep::DenyLogon { .. }
        | MachineStep::MakeDirectory { .. }
        | MachineStep::SetValue { .. }
        | MachineStep::InstallFilters { .. }
        | MachineStep::AddFirewallRule { .. }
        | MachineStep::ReservePorts { .. } => None,
    }
}

/// The receipt of what is there as the state says.
fn there(found: Result<Standing, StepError>, known: Known) -> Option<MachineReceipt> {
    match found {
        Ok(Standing::Done(receipt)) => Some(receipt),
        // The account itself, by its SID: in need of mending, and ours.
        Ok(Standing::Absent(Before::Principal)) => match known {
            Known::Received(receipt) => Some(receipt),
            Known::Nothing | Known::Intended => None,
        },
        // Of our provider, and with the keys of this person's filters.
        Ok(Standing::Absent(Before::Filters(found))) if !found.is_empty() => {
            Some(MachineReceipt::Done)
        }
        Ok(Standing::Absent(_) | Standing::Foreign(_)) | Err(_) => None,
    }
}

/// What was there before is not recorded any more: nothing, as on every machine that set-up comes to first. A key that
/// is not ours stays.
fn before(step: &MachineStep) -> Before {
    match step {
        MachineStep::SetValue { key, .. } => Before::Value {
            value: None,
            key: if key.starts_with(OWN_KEY) {
                KeyBefore::Absent
            } else {
                KeyBefore::There
            },
        },
        MachineStep::DenyLogon { .. } => Before::Logons(Vec::new()),
        MachineStep::EnsureGroup { .. }
        | MachineStep::EnsureAccount { .. }
        | MachineStep::MakeDirectory { .. }
        | MachineStep::InstallFilters { .. }
        | MachineStep::AddFirewallRule { .. }
        | MachineStep::ReservePorts { .. } => Before::Nothing,
    }
}
