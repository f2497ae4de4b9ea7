//! Everything taken back, and what is left said.
//!
//! The person's own uninstall comes before, with that person's rights: it alone knows the capability SIDs, which are
//! derived from a secret of the person's. Invariant: of the person's ledger nothing is believed but where to look.

use std::fs::File;
use std::io::Read as _;

use ringfence_backend::call::CallFailure;
use ringfence_backend::ledger::read_untrusted;
use ringfence_backend::windows::{
    MAX_LEDGER, PersonBook, Remnant, RemnantKind, Setup, SetupOutcome, SetupReceipt, SetupVerb,
};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;

use super::{Answer, Bench, SetupFault, elevate, fault_of, marker};
use crate::files::{NtFiles, failure, open_path};
use crate::observe::machine::{person, program_data};
use crate::sys::nt_file::Access;
use crate::sys::registry::{self, Hive};

/// Where a person's ledger lies, by the machine's list of profiles: never by what a request says.
///
/// # Errors
/// [`CallFailure`].
pub fn person_ledger(person: Sid) -> Result<Option<WindowsPath>, CallFailure> {
    let key = format!(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\{person}");
    let profile = registry::text(Hive::Machine, &key, "ProfileImagePath").map_err(failure)?;
    Ok(profile
        .and_then(|profile| WindowsPath::parse(&profile).ok())
        .and_then(|profile| {
            profile
                .join_name("AppData/Local/Ringfence/person.ledger")
                .ok()
        }))
}

/// The bytes of a person's ledger; nothing where there is none. No link is followed on the way.
fn read_person_ledger(person: Sid) -> Result<Vec<u8>, CallFailure> {
    let Some(path) = person_ledger(person)? else {
        return Ok(Vec::new());
    };
    let Some(opened) = open_path(&path, Access::Read)? else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_LEDGER).unwrap_or(u64::MAX);
    match File::from(opened).take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let code = error.raw_os_error().map_or(1, i32::cast_unsigned);
            Err(CallFailure::new("ReadFile", path.printable(), code))
        }
    }
}

/// Uninstalls for a person, or for the one who asks.
pub(super) fn uninstall(of: Option<Sid>) -> Answer {
    elevate()?;
    let data = program_data().map_err(SetupFault::Machine)?;
    let whose = match of {
        Some(person) => person,
        None => person().map_err(SetupFault::Machine)?,
    };
    let mut bench = Bench::new(&data, whose)?;
    // A ledger that can't be read hides objects, and stops nothing: the machine's own is another one.
    let (theirs, unread) = match read_person_ledger(whose) {
        Ok(bytes) => (bytes, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let mut ledger = bench.ledger()?;
    marker::remove(&bench.directories).map_err(SetupFault::State)?;
    let done = Setup {
        person: whose,
        ledger: &mut ledger,
        machine: &mut bench.machine,
    }
    .uninstall_wholly(&theirs, &mut NtFiles::new())
    .map_err(SetupFault::Setup)?;
    drop(ledger);
    let mut receipt = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Done);
    receipt.person = Some(whose);
    receipt.undone = done.removed.undone;
    receipt
        .changed
        .extend(done.cleansed.changed.iter().map(WindowsPath::printable));
    receipt.left = done.left;
    for failed in done.removed.failed {
        let mut fault = fault_of(&failed.cause);
        fault.causes.insert(0, failed.object);
        receipt.faults.push(fault);
    }
    if let Some(failure) = unread {
        receipt.faults.push(fault_of(&failure));
    }
    if let Some(path) = person_ledger(whose).map_err(SetupFault::Call)? {
        receipt.left.extend(owed_by_the_person(&theirs, &path));
    }
    if !receipt.left.is_empty() || !receipt.faults.is_empty() {
        receipt.outcome = SetupOutcome::Left;
    } else if receipt.undone.is_empty() && receipt.changed.is_empty() {
        receipt.outcome = SetupOutcome::Unchanged;
    }
    Ok(receipt)
}

/// The person's own part has not run: entries for capability SIDs may stand on that person's objects, which nobody can
/// hold any more and only `ringfence setup uninstall`, started by that person, takes off.
fn owed_by_the_person(ledger: &[u8], path: &WindowsPath) -> Option<Remnant> {
    if ledger.is_empty() {
        return None;
    }
    let (entries, damage) = read_untrusted::<PersonBook>(ledger);
    (!entries.is_empty() || damage.is_some()).then(|| Remnant {
        kind: RemnantKind::Record,
        object: path.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_with_nothing_open_owes_nothing_and_one_that_is_damaged_does() {
        let path = WindowsPath::parse("C:\\Users\\ada\\person.ledger").unwrap();
        assert_eq!(owed_by_the_person(&[], &path), None);
        assert!(owed_by_the_person(&[0; 64], &path).is_some());
    }
}
