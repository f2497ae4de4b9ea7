//! What of a set-up is taken back for the person whose process this is, whatever directory they stand in.
//!
//! It changes nothing. Invariant: no plan is needed: what a policy refuses as a workspace must not keep a set-up on the
//! machine.

use std::collections::BTreeSet;

use ringfence_nt::Sid;
use ringfence_plan::windows::filters::FilterForm;
use ringfence_plan::windows::machine::Subject;
use ringfence_plan::windows::sids::{AccountNames, marker};
use ringfence_plan::windows::step::PortRange;
use ringfence_policy::document::Loopback;

use super::person::{PersonError, PersonFiles};
use crate::files::failure;
use crate::observe::machine::{self, MachineError};
use crate::sys::CallError;
use crate::sys::machine as system;

/// What is taken back.
#[derive(Clone, Debug)]
pub struct Undoing {
    /// Every SID that Ringfence has made for the person.
    pub ours: BTreeSet<Sid>,
    /// What their set-up was made from, as far as it is known: an uninstall reads nothing of it but the person.
    pub subject: Subject,
}

fn called(error: CallError) -> PersonError {
    PersonError::Place(MachineError::Call(failure(error)))
}

/// Finds it out: by the state of a finished set-up, by the names of the accounts, by the person's ledger and secret.
///
/// # Errors
/// [`PersonError`].
pub fn observe(files: &PersonFiles) -> Result<Undoing, PersonError> {
    let person = machine::person()?;
    let kept = files.kept()?;
    let marker = marker(&kept.secret, kept.shape, person);
    let mut ours = BTreeSet::from([marker]);
    ours.extend(files.capabilities()?.iter().map(|one| one.sid));
    let names = AccountNames::of(person);
    for name in [&names.offline, &names.online, &names.group] {
        ours.extend(system::sid_of(name).map_err(called)?);
    }
    let subject = match files.state(person)? {
        Some(state) => {
            let accounts = state.accounts;
            ours.extend([accounts.offline, accounts.online, accounts.group]);
            ours.insert(state.subject.marker);
            state.subject
        }
        // A set-up that never finished has left no state.
        None => Subject {
            person,
            name: system::name_of(person)
                .map_err(called)?
                .map(|account| account.name)
                .unwrap_or_default(),
            program_data: machine::program_data()?,
            marker,
            proxy: PortRange { first: 0, last: 0 },
            dynamic: PortRange { first: 0, last: 0 },
            loopback: Loopback::Dynamic,
            form: FilterForm::Named,
        },
    };
    Ok(Undoing { ours, subject })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_known_without_a_plan() {
        let files = PersonFiles::open().unwrap();
        let undoing = observe(&files).unwrap();
        assert_eq!(undoing.subject.person, machine::person().unwrap());
        assert!(undoing.ours.contains(&undoing.subject.marker));
        assert!(undoing.subject.hash().is_ok());
    }
}
