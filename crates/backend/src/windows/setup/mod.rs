//! Set-up: the steps of a plan done to a machine, each recorded before it is made, and taken back by the record.
//!
//! It chooses nothing: the steps are the plan's, in the plan's order. Invariant: when [`Setup::apply`] has failed, what
//! it had done is undone, or its transaction is open in the ledger and the next call goes on from there.

mod apply;
mod salvage;
mod undo;
mod whole;

use ringfence_nt::Sid;
use ringfence_plan::windows::step::{AccountRole, MachineStep};

use crate::call::CallFailure;
use crate::ledger::{Direction, Entry, Ledger, LedgerError, LedgerStore, Sequence, Undone};

use super::books::{MachineBook, MachineIntent, MachineReceipt};
use super::machine::Machine;
use super::trustees::KnownAccounts;
use super::verbs::{Known, StepError, describe};

use apply::Progress;

pub use salvage::salvage;
pub use whole::Uninstalled;

/// Why set-up did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The ledger can't be used.
    #[error("the machine's ledger can't be used")]
    Ledger(#[source] LedgerError),
    /// A step failed, and what was done before it was undone.
    #[error("step {index}, {object}, failed; everything that was done before it is undone")]
    RolledBack {
        /// Its index in the plan.
        index: usize,
        /// What it is about.
        object: String,
        /// Why.
        #[source]
        cause: StepError,
    },
    /// A step failed, and so did undoing what was done before it.
    #[error(
        "step {index}, {object}, failed, and of what was done before it {} could not be undone: run `ringfence setup uninstall`",
        list(.left)
    )]
    Left {
        /// Its index in the plan.
        index: usize,
        /// What it is about.
        object: String,
        /// Why.
        #[source]
        cause: StepError,
        /// What is left.
        left: Vec<Failure>,
    },
    /// An uninstall was interrupted.
    #[error(
        "an uninstall was interrupted: finish it with `ringfence setup uninstall`, then install again"
    )]
    UninstallUnfinished,
    /// The scan failed.
    #[error("the machine could not be scanned for what is left")]
    Scan(#[source] CallFailure),
    /// Somebody stopped it.
    #[error(
        "it was stopped; accounts, filters and rules are as they were: go on with `ringfence setup uninstall`"
    )]
    Stopped,
    /// The ledger was damaged, and set-ups of others are there that nothing is recorded of.
    #[error(
        "nothing is recorded any more of {}; taking the rest back would delete it: remove it by hand, then uninstall again",
        .directories.join(", ")
    )]
    OthersUnknown {
        /// Their directories.
        directories: Vec<String>,
    },
    /// An account's processes could not be ended.
    #[error("{object} could not be put to rest; nothing was removed")]
    Quiesce {
        /// Which.
        object: String,
        /// Why.
        #[source]
        cause: StepError,
    },
}

fn list(failures: &[Failure]) -> String {
    let objects: Vec<&str> = failures.iter().map(|one| one.object.as_str()).collect();
    objects.join(", ")
}

/// Something that could not be undone.
#[derive(Debug)]
pub struct Failure {
    /// What.
    pub object: String,
    /// Why.
    pub cause: UndoError,
}

/// Why something could not be undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The step's inverse failed.
    #[error("it could not be undone")]
    Step(#[source] StepError),
    /// It is undone, but the ledger could not be told.
    #[error("it is undone, and the ledger does not know")]
    Ledger(#[source] LedgerError),
}

/// What set-up did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The steps that changed the machine.
    pub changed: Vec<String>,
    /// The accounts and the group of the person.
    pub accounts: KnownAccounts,
}

/// What was taken back, and what was not.
#[derive(Debug, Default)]
pub struct Removed {
    /// The entries that are closed, in the order in which they were undone.
    pub undone: Vec<(String, Undone)>,
    /// What could not be undone; its entries are open.
    pub failed: Vec<Failure>,
}

/// The set-up of one person on one machine, with the ledger held.
#[derive(Debug)]
pub struct Setup<'a, S: LedgerStore, M: Machine> {
    /// For whom.
    pub person: Sid,
    /// The machine's ledger.
    pub ledger: &'a mut Ledger<MachineBook, S>,
    /// The machine.
    pub machine: &'a mut M,
}

type MachineEntry = Entry<MachineBook>;

fn known(entry: &MachineEntry) -> Known {
    entry.receipt.map_or(Known::Intended, Known::Received)
}

impl<S: LedgerStore, M: Machine> Setup<'_, S, M> {
    /// The accounts and the group of the person, by the receipts of the ledger.
    #[must_use]
    pub fn accounts(&self) -> KnownAccounts {
        accounts(self.ledger, self.person)
    }

    /// Does what of `steps` is not done, and goes on with what an earlier call was interrupted in.
    ///
    /// # Errors
    /// [`SetupError`]; then everything of this transaction is undone, or the error says what is not.
    pub fn apply(&mut self, steps: &[MachineStep]) -> Result<Applied, SetupError> {
        let open = self.ledger.transaction(self.person);
        if open.is_some_and(|open| open.direction == Direction::Uninstall) {
            return Err(SetupError::UninstallUnfinished);
        }
        let mut changed = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            match self.apply_step(step) {
                Ok(Progress::Unchanged) => {}
                Ok(Progress::Changed) => changed.push(describe(step)),
                Err(cause) => return Err(self.fail(index, describe(step), cause)),
            }
        }
        self.settle().map_err(SetupError::Ledger)?;
        if self.ledger.transaction(self.person).is_some() {
            self.ledger.end(self.person).map_err(SetupError::Ledger)?;
            self.ledger.compact().map_err(SetupError::Ledger)?;
        }
        Ok(Applied {
            changed,
            accounts: self.accounts(),
        })
    }

    /// Undoes what an interrupted [`Setup::apply`] had done.
    ///
    /// # Errors
    /// [`SetupError::Ledger`]; what could not be undone is in the answer.
    pub fn roll_back(&mut self) -> Result<Removed, SetupError> {
        let Some(open) = self.ledger.transaction(self.person) else {
            return Ok(Removed::default());
        };
        let removed = self.undo_since(open.since);
        if removed.failed.is_empty() {
            self.ledger.end(self.person).map_err(SetupError::Ledger)?;
            self.ledger.compact().map_err(SetupError::Ledger)?;
        }
        Ok(removed)
    }

    /// Disables the person's accounts and waits until nothing of theirs runs: the first thing of an uninstall.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn quiesce(&mut self) -> Result<(), SetupError> {
        let accounts: Vec<MachineIntent> = self
            .own()
            .map(|(_, entry)| entry.intent.clone())
            .filter(|intent| matches!(intent.step, MachineStep::EnsureAccount { .. }))
            .collect();
        let open = self.ledger.transaction(self.person);
        let begun = open.is_some_and(|open| open.direction == Direction::Uninstall);
        if !begun && self.own().next().is_some() {
            self.ledger
                .begin(self.person, Direction::Uninstall)
                .map_err(SetupError::Ledger)?;
        }
        for intent in accounts {
            let MachineStep::EnsureAccount { name, .. } = &intent.step else {
                continue;
            };
            let failed = |failure| SetupError::Quiesce {
                object: describe(&intent.step),
                cause: StepError::Call(failure),
            };
            // Nobody signs in: an account that is locked out, or that policy keeps out, goes all the same.
            let found = self.machine.observe_user(name).map_err(failed)?;
            let ours = self.accounts();
            if found.is_some_and(|account| ours.sids().any(|sid| sid == account.sid)) {
                self.machine.quiesce_account(name).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Undoes every entry of the person, the last first; what fails stays in the ledger and does not stop the rest.
    ///
    /// # Errors
    /// [`SetupError::Ledger`]; what could not be undone is in the answer.
    pub fn uninstall(&mut self) -> Result<Removed, SetupError> {
        self.quiesce()?;
        let removed = self.undo_since(Sequence(0));
        if removed.failed.is_empty() {
            if self.ledger.transaction(self.person).is_some() {
                self.ledger.end(self.person).map_err(SetupError::Ledger)?;
            }
            self.ledger.compact().map_err(SetupError::Ledger)?;
        }
        Ok(removed)
    }

    fn own(&self) -> impl DoubleEndedIterator<Item = (Sequence, &MachineEntry)> {
        let person = self.person;
        self.ledger
            .entries()
            .filter(move |(_, entry)| entry.intent.person == person)
    }
}

/// The accounts and the group of a person, by the receipts of the ledger.
pub(super) fn accounts<S: LedgerStore>(
    ledger: &Ledger<MachineBook, S>,
    person: Sid,
) -> KnownAccounts {
    let mut accounts = KnownAccounts::default();
    for (_, entry) in ledger.entries() {
        let Some(MachineReceipt::Principal(sid)) = entry.receipt else {
            continue;
        };
        if entry.intent.person != person {
            continue;
        }
        if let MachineStep::EnsureAccount { role, .. } = entry.intent.step {
            match role {
                AccountRole::Offline => accounts.offline = Some(sid),
                AccountRole::Online => accounts.online = Some(sid),
            }
        } else {
            accounts.group = Some(sid);
        }
    }
    accounts
}
