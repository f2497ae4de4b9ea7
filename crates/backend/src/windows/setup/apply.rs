//! One step of a set-up: looked at, recorded, done, read back.
//!
//! Invariant: the machine is changed only for an entry that is on the disk.

use ringfence_plan::windows::step::MachineStep;

use crate::ledger::{Direction, LedgerError, LedgerStore, Sequence, Undone};
use crate::windows::books::{Before, MachineIntent, MachineReceipt};
use crate::windows::machine::{KeyBefore, Machine};
use crate::windows::trustees::KnownAccounts;
use crate::windows::verbs::{Known, Standing, StepError, Verb, act, describe, forget, look};

use super::undo::is_shared;
use super::{MachineEntry, Setup, known};

/// Whether a step changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was done already.
    Unchanged,
    /// It was done now.
    Changed,
}

/// Why a step was not carried out.
#[derive(Debug)]
pub(super) enum ApplyFault {
    /// The step.
    Step(StepError),
    /// Its record.
    Ledger(LedgerError),
}

impl<S: LedgerStore, M: Machine> Setup<'_, S, M> {
    /// The person's entry for that step: an account or group has one for all its forms.
    fn own_entry(&self, step: &MachineStep) -> Option<(Sequence, MachineEntry)> {
        let principal = matches!(
            step,
            MachineStep::EnsureGroup { .. } | MachineStep::EnsureAccount { .. }
        );
        let same =
            |other: &MachineStep| other == step || (principal && other.inverse() == step.inverse());
        self.own()
            .rev()
            .find(|(_, entry)| same(&entry.intent.step))
            .map(|(number, entry)| (number, entry.clone()))
    }

    pub(super) fn apply_step(&mut self, step: &MachineStep) -> Result<Progress, ApplyFault> {
        let accounts = self.accounts();
        let step = accounts
            .resolve(step)
            .ok_or(ApplyFault::Step(StepError::TrusteeUnknown))?;
        self.withdraw(&step, accounts)?;
        let own = self.own_entry(&step);
        // The ledger's word on an earlier form of the same thing makes what is found ours.
        let earlier = || {
            let mut entries = self.own().rev();
            entries.find(|(_, entry)| entry.intent.step.inverse() == step.inverse())
        };
        let known = match &own {
            Some((_, entry)) => known(entry),
            None => earlier().map_or(Known::Nothing, |(_, entry)| known(entry)),
        };
        let verb = Verb {
            step: &step,
            accounts,
            known,
        };
        let others = self.others(&step)?;
        match (look(self.machine, &verb).map_err(ApplyFault::Step)?, own) {
            (Standing::Foreign(reason), _) => Err(ApplyFault::Step(StepError::Foreign {
                object: describe(&step),
                reason,
            })),
            (Standing::Done(receipt), Some((number, entry))) => {
                if entry.receipt.is_none() {
                    self.receive(number, receipt)?;
                }
                Ok(Progress::Unchanged)
            }
            (Standing::Done(_), None) => {
                if let Some(other) = others {
                    self.claim(other)?;
                }
                Ok(Progress::Unchanged)
            }
            (Standing::Absent(found), Some((number, entry))) => {
                if entry.receipt.is_some() && is_made_anew(&step, &found) {
                    return self.make_anew(&verb, number, entry.intent);
                }
                self.carry_out(&verb, number, &entry.intent.before)
            }
            (Standing::Absent(before), None) => {
                self.begin()?;
                let before = self.with_key(&step, before);
                let intent = MachineIntent {
                    person: self.person,
                    step: step.clone(),
                    before: before.clone(),
                };
                let number = self.ledger.intend(intent).map_err(ApplyFault::Ledger)?;
                let known = Known::Intended;
                self.carry_out(&Verb { known, ..verb }, number, &before)
            }
        }
    }

    /// Does a step whose entry is written, reads it back, and writes the receipt.
    fn carry_out(
        &mut self,
        verb: &Verb<'_>,
        number: Sequence,
        before: &Before,
    ) -> Result<Progress, ApplyFault> {
        act(self.machine, verb, before).map_err(ApplyFault::Step)?;
        match look(self.machine, verb).map_err(ApplyFault::Step)? {
            Standing::Done(receipt) => {
                self.receive(number, receipt)?;
                Ok(Progress::Changed)
            }
            Standing::Absent(_) | Standing::Foreign(_) => {
                Err(ApplyFault::Step(StepError::NotKept {
                    object: describe(verb.step),
                }))
            }
        }
    }

    /// Makes again what is gone: it will be another object, so it gets another entry.
    fn make_anew(
        &mut self,
        verb: &Verb<'_>,
        old: Sequence,
        intent: MachineIntent,
    ) -> Result<Progress, ApplyFault> {
        self.begin()?;
        // Of an account that somebody has deleted: afterwards nobody knows its SID.
        forget(self.machine, verb.known).map_err(ApplyFault::Step)?;
        let before = intent.before.clone();
        let number = self.ledger.intend(intent).map_err(ApplyFault::Ledger)?;
        self.ledger
            .close(old, Undone::Gone)
            .map_err(ApplyFault::Ledger)?;
        let verb = Verb {
            known: Known::Intended,
            ..*verb
        };
        self.carry_out(&verb, number, &before)
    }

    fn receive(&mut self, number: Sequence, receipt: MachineReceipt) -> Result<(), ApplyFault> {
        self.ledger
            .receive(number, receipt)
            .map_err(ApplyFault::Ledger)
    }

    fn begin(&mut self) -> Result<(), ApplyFault> {
        if self.ledger.transaction(self.person).is_some() {
            return Ok(());
        }
        self.ledger
            .begin(self.person, Direction::Install)
            .map_err(ApplyFault::Ledger)
    }

    /// Another person's entry for the same thing.
    fn others(&self, step: &MachineStep) -> Result<Option<MachineEntry>, ApplyFault> {
        let mut others = self.ledger.entries().filter(|(_, entry)| {
            entry.intent.person != self.person && is_shared(&entry.intent.step, step)
        });
        let Some((_, other)) = others.next_back() else {
            return Ok(None);
        };
        if other.intent.step == *step {
            return Ok(Some(other.clone()));
        }
        Err(ApplyFault::Step(StepError::HeldByAnother {
            object: describe(step),
        }))
    }

    /// Takes a share in what another person's set-up has made: it goes with the last of them.
    fn claim(&mut self, other: MachineEntry) -> Result<(), ApplyFault> {
        let Some(receipt) = other.receipt else {
            // The other set-up was interrupted in this very step: it is not known what it has made.
            return Err(ApplyFault::Step(StepError::HeldByAnother {
                object: describe(&other.intent.step),
            }));
        };
        self.begin()?;
        let intent = MachineIntent {
            person: self.person,
            ..other.intent
        };
        let number = self.ledger.intend(intent).map_err(ApplyFault::Ledger)?;
        self.receive(number, receipt)
    }

    /// A key that an entry of ours has made goes with the last of its values, whoever set that.
    fn with_key(&self, step: &MachineStep, before: Before) -> Before {
        let Before::Value { value, key } = before else {
            return before;
        };
        let made = |entry: &MachineEntry| match (&entry.intent.step, step) {
            (MachineStep::SetValue { key: one, .. }, MachineStep::SetValue { key: other, .. }) => {
                one.eq_ignore_ascii_case(other)
                    && entry.intent.before.value().1 == KeyBefore::Absent
            }
            _ => false,
        };
        let made = self.ledger.entries().any(|(_, entry)| made(entry));
        let key = if made { KeyBefore::Absent } else { key };
        Before::Value { value, key }
    }

    /// Undoes what an interrupted call had begun with the same thing in another form: an account has been made again
    /// since and has another SID, or a later release asks for something else.
    fn withdraw(&mut self, step: &MachineStep, accounts: KnownAccounts) -> Result<(), ApplyFault> {
        let begun = |entry: &MachineEntry| {
            let other = &entry.intent.step;
            entry.receipt.is_none() && other != step && other.inverse() == step.inverse()
        };
        let numbers: Vec<Sequence> = self
            .own()
            .rev()
            .filter(|(_, entry)| begun(entry))
            .map(|(number, _)| number)
            .collect();
        for number in numbers {
            let (_, outcome) = self
                .undo_entry(number, accounts)
                .map_err(|(_, cause)| ApplyFault::Step(cause))?;
            self.ledger
                .close(number, outcome)
                .map_err(ApplyFault::Ledger)?;
        }
        Ok(())
    }
}

/// Whether doing the step again, with this found, gives something of another identity.
fn is_made_anew(step: &MachineStep, found: &Before) -> bool {
    match step {
        MachineStep::EnsureGroup { .. }
        | MachineStep::EnsureAccount { .. }
        | MachineStep::MakeDirectory { .. } => *found == Before::Nothing,
        MachineStep::SetValue { .. } => true,
        MachineStep::DenyLogon { .. }
        | MachineStep::InstallFilters { .. }
        | MachineStep::AddFirewallRule { .. }
        | MachineStep::ReservePorts { .. } => false,
    }
}
