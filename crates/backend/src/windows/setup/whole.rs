//! The elevated uninstall, in its fixed order: accounts to rest, the person's objects, the machine, the scan.
//!
//! The person's own uninstall comes before it, with the person's rights: it puts descriptors back. Invariant: the
//! SIDs that are taken off objects come from the machine's ledger; the person's ledger says where to look.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::Sid;
use ringfence_plan::windows::step::MachineStep;

use crate::ledger::LedgerStore;
use crate::windows::closed::{Opened, open_closed};
use crate::windows::files::Files;
use crate::windows::machine::{Machine, Remnant};
use crate::windows::scan::leftover_of_person;
use crate::windows::trustees::KnownAccounts;
use crate::windows::untrusted::{Cleansed, remove_our_entries};
use crate::windows::verbs::{Known, Standing, StepError, Verb, describe, look};

use super::{Removed, Setup, SetupError, known};

/// What an elevated uninstall did, and what it found afterwards.
#[derive(Debug)]
pub struct Uninstalled {
    /// Objects that targets had closed to the person.
    pub opened: Opened,
    /// Objects of the person that still carried entries for the accounts.
    pub cleansed: Cleansed,
    /// The machine's entries.
    pub removed: Removed,
    /// What is left on the machine that no entry of anybody else stands for; nothing, if all went well.
    pub left: Vec<Remnant>,
}

impl<S: LedgerStore, M: Machine> Setup<'_, S, M> {
    /// Every SID that set-up has made for the person, by the machine's ledger: the accounts, their group, the marker.
    ///
    /// Capability SIDs are derived from a secret of the person's: only the person's own uninstall knows them. Once the
    /// accounts are gone no token can hold one.
    #[must_use]
    pub fn sids(&self) -> BTreeSet<Sid> {
        let mut sids: BTreeSet<Sid> = self.accounts().sids().collect();
        for (_, entry) in self.own() {
            if let MachineStep::EnsureAccount { marker, .. } = &entry.intent.step {
                sids.insert(*marker);
            }
        }
        sids
    }

    /// Looks whether each step is done, by the machine alone; changes nothing and records nothing.
    pub fn check(&mut self, steps: &[MachineStep]) -> Vec<(String, Result<(), StepError>)> {
        let accounts = self.accounts();
        let mut checked = Vec::new();
        for step in steps {
            checked.push((describe(step), self.check_step(step, accounts)));
        }
        checked
    }

    fn check_step(&mut self, step: &MachineStep, accounts: KnownAccounts) -> Result<(), StepError> {
        let step = accounts.resolve(step).ok_or(StepError::TrusteeUnknown)?;
        let object = describe(&step);
        let entry = self
            .own()
            .rev()
            .find(|(_, entry)| entry.intent.step.inverse() == step.inverse());
        let verb = Verb {
            step: &step,
            accounts,
            known: entry.map_or(Known::Nothing, |(_, entry)| known(entry)),
        };
        match look(self.machine, &verb)? {
            Standing::Done(_) => Ok(()),
            Standing::Absent(_) => Err(StepError::NotKept { object }),
            Standing::Foreign(reason) => Err(StepError::Foreign { object, reason }),
        }
    }

    /// What is on the machine that no entry of anybody else stands for: the last word of an uninstall, however it went.
    ///
    /// # Errors
    /// [`SetupError::Scan`].
    pub fn leftover(&mut self) -> Result<Vec<Remnant>, SetupError> {
        leftover_of_person(self.ledger, self.person, self.machine).map_err(SetupError::Scan)
    }

    /// Uninstalls everything of the person that needs elevation, and scans. `progress` is told how many objects of the
    /// person had their turn, and may stop that.
    ///
    /// # Errors
    /// [`SetupError`]; what could not be undone is in the answer.
    ///
    /// # Security
    /// `person_ledger` and the objects that it names may be an attacker's: see [`open_closed`] and
    /// [`remove_our_entries`].
    pub fn uninstall_wholly<F: Files>(
        &mut self,
        person_ledger: &[u8],
        files: &mut F,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Uninstalled, SetupError> {
        self.quiesce()?;
        // Nothing of theirs runs any more, and their accounts are still known.
        let accounts = self.accounts();
        let accounts = [accounts.offline, accounts.online].into_iter().flatten();
        let whose = (self.person, &accounts.collect());
        let opened = open_closed(person_ledger, whose, files, progress);
        if opened.is_stopped {
            return Err(SetupError::Stopped);
        }
        let cleansed = remove_our_entries(person_ledger, &self.sids(), files, progress);
        if cleansed.is_stopped {
            // The next call needs the SIDs that the machine's ledger knows.
            return Err(SetupError::Stopped);
        }
        let removed = self.uninstall()?;
        let left = self.leftover()?;
        Ok(Uninstalled {
            opened,
            cleansed,
            removed,
            left,
        })
    }
}
