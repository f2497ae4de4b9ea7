//! Entries of a set-up undone, the last first.
//!
//! Invariant: what somebody else on the machine still needs stays.

use ringfence_plan::windows::step::MachineStep;

use crate::ledger::{LedgerError, LedgerStore, Sequence, Undone};
use crate::windows::machine::Machine;
use crate::windows::trustees::KnownAccounts;
use crate::windows::verbs::{StepError, Verb, describe, undo};

use super::apply::ApplyFault;
use super::{Failure, Removed, Setup, SetupError, UndoError, known};

impl<S: LedgerStore, M: Machine> Setup<'_, S, M> {
    /// Undoes what an interrupted call had begun and this plan does not ask for.
    pub(super) fn settle(&mut self) -> Result<(), LedgerError> {
        let dangling: Vec<Sequence> = self
            .own()
            .rev()
            .filter(|(_, entry)| entry.receipt.is_none())
            .map(|(number, _)| number)
            .collect();
        let accounts = self.accounts();
        for number in dangling {
            // What can't be undone now stays open, and an uninstall tries again.
            if let Ok((_, outcome)) = self.undo_entry(number, accounts) {
                self.ledger.close(number, outcome)?;
            }
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, index: usize, object: String, fault: ApplyFault) -> SetupError {
        let left = match self.ledger.transaction(self.person) {
            Some(open) => self.undo_since(open.since).failed,
            None => Vec::new(),
        };
        let ended = left.is_empty() && self.ledger.transaction(self.person).is_some();
        let told = if ended {
            self.ledger
                .end(self.person)
                .and_then(|()| self.ledger.compact())
        } else {
            Ok(())
        };
        match (fault, left.is_empty()) {
            (ApplyFault::Ledger(error), _) => SetupError::Ledger(error),
            (ApplyFault::Step(cause), true) => match told {
                Ok(()) => SetupError::RolledBack {
                    index,
                    object,
                    cause,
                },
                Err(error) => SetupError::Ledger(error),
            },
            (ApplyFault::Step(cause), false) => SetupError::Left {
                index,
                object,
                cause,
                left,
            },
        }
    }

    /// Undoes the person's entries from `since` on, the last first.
    pub(super) fn undo_since(&mut self, since: Sequence) -> Removed {
        let numbers: Vec<Sequence> = self
            .own()
            .rev()
            .map(|(number, _)| number)
            .take_while(|number| *number >= since)
            .collect();
        let accounts = self.accounts();
        let mut removed = Removed::default();
        for number in numbers {
            match self.undo_entry(number, accounts) {
                Ok((object, outcome)) => match self.ledger.close(number, outcome) {
                    Ok(()) => removed.undone.push((object, outcome)),
                    Err(error) => removed.failed.push(Failure {
                        object,
                        cause: UndoError::Ledger(error),
                    }),
                },
                Err((object, cause)) => removed.failed.push(Failure {
                    object,
                    cause: UndoError::Step(cause),
                }),
            }
        }
        removed
    }

    pub(super) fn undo_entry(
        &mut self,
        number: Sequence,
        accounts: KnownAccounts,
    ) -> Result<(String, Undone), (String, StepError)> {
        let Some(entry) = self.ledger.entry(number).cloned() else {
            return Ok((format!("entry {number}"), Undone::NeverDone));
        };
        let step = &entry.intent.step;
        let object = describe(step);
        let shared = self.ledger.entries().any(|(_, other)| {
            other.intent.person != self.person && is_shared(&other.intent.step, step)
        });
        if shared {
            return Ok((object, Undone::HeldByAnother));
        }
        let verb = Verb {
            step,
            accounts,
            known: known(&entry),
        };
        match undo(self.machine, &verb, &entry.intent.before) {
            Ok(outcome) => Ok((object, outcome)),
            Err(cause) => Err((object, cause)),
        }
    }
}

/// Whether two people's steps are about one thing. Roles are each person's own: a denied logon is never shared.
pub(super) fn is_shared(one: &MachineStep, other: &MachineStep) -> bool {
    let own = matches!(one, MachineStep::DenyLogon { .. });
    !own && one.inverse() == other.inverse()
}
