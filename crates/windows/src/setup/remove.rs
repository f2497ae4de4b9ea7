//! Everything taken back, and what is left said.
//!
//! The person's own uninstall comes before, with that person's rights: it alone knows the capability SIDs, which are
//! derived from a secret of the person's. Invariant: of the person's ledger nothing is believed but where to look.

use std::fs::File;
use std::io::Read as _;

use ringfence_backend::call::CallFailure;
use ringfence_backend::ledger::{LedgerError, StoreFailure, read_untrusted};
use ringfence_backend::windows::{
    Files as _, InstalledState, MAX_LEDGER, PersonBook, Remnant, RemnantKind, Setup, SetupError,
    SetupOutcome, SetupReceipt, SetupVerb, Skip, Uninstalled, everything_of_machine, salvage,
};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::MachineDirectories;
use ringfence_plan::windows::sids::letters;

use super::{Answer, Bench, MachineLedger, OnDamage, Order, SetupFault, elevate, fault_of, marker};
use crate::files::{NtFiles, failure, open_path};
use crate::observe::machine::{person, program_data};
use crate::sys::nt_file::Access;
use crate::sys::registry::{self, Hive};

/// The longest state that is read, in bytes.
const MAX_STATE: u64 = 1 << 20;

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
    let limit = u64::try_from(MAX_LEDGER).unwrap_or(u64::MAX);
    Ok(read_whole(&path, limit)?.unwrap_or_default())
}

/// The first `limit` bytes of a file; none where there is none. No link is followed on the way.
fn read_whole(path: &WindowsPath, limit: u64) -> Result<Option<Vec<u8>>, CallFailure> {
    let Some(opened) = open_path(path, Access::Read)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    match File::from(opened).take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) => {
            let code = error.raw_os_error().map_or(1, i32::cast_unsigned);
            Err(CallFailure::new("ReadFile", path.printable(), code))
        }
    }
}

/// The states of all finished set-ups of this machine. They lie where administrators alone can write.
pub(super) fn states(directories: &MachineDirectories) -> Result<Vec<InstalledState>, SetupFault> {
    let mut files = NtFiles::new();
    let Some(records) = files.open(&directories.records).map_err(SetupFault::Call)? else {
        return Ok(Vec::new());
    };
    let mut states = Vec::new();
    for name in files.list(&records).map_err(SetupFault::Call)? {
        let path = directories.records.join_observed(&name);
        let Some(path) = path.ok().and_then(|path| path.join("state.json").ok()) else {
            continue;
        };
        let Some(bytes) = read_whole(&path, MAX_STATE).map_err(SetupFault::Call)? else {
            continue;
        };
        // One that can't be read, or that names somebody else, records nothing.
        if let Ok(state) = InstalledState::from_bytes(&bytes)
            && name.to_string() == letters(state.subject.person)
        {
            states.push(state);
        }
    }
    Ok(states)
}

/// The machine's ledger, or what is left of it.
fn open(
    bench: &mut Bench,
    on_damage: OnDamage,
) -> Result<(MachineLedger, Option<String>), SetupFault> {
    match on_damage {
        OnDamage::List => bench.ledger().map(|ledger| (ledger, None)),
        OnDamage::TakeBack => {
            // Asked first: it looks whose the directory is that the states lie in.
            let store = bench.store()?;
            let states = match store.peek().map_err(SetupFault::Call)? {
                Some(_) => states(&bench.directories)?,
                None => Vec::new(),
            };
            let own = [
                bench.directories.record.clone(),
                bench.directories.home.clone(),
            ];
            let (ledger, damage) =
                salvage(store, &states, &own, &mut bench.machine).map_err(SetupFault::Setup)?;
            Ok((ledger, damage.map(|damage| damage.to_string())))
        }
    }
}

/// Everything that is there, where no ledger tells what of it is whose.
fn look_alone(bench: &mut Bench, fault: &SetupFault) -> SetupReceipt {
    const HINT: &str = "nothing was taken back; `ringfence setup uninstall --damaged-ledger` takes back what is recorded before the damage and in the states of finished set-ups; what is left then is removed by hand, see docs/windows.md";
    let mut receipt = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Left);
    receipt.person = Some(bench.person);
    let mut told = fault_of(fault);
    told.hint.get_or_insert_with(|| HINT.to_owned());
    receipt.faults.push(told);
    match everything_of_machine(&mut bench.machine) {
        Ok(left) => receipt.left = left,
        Err(failure) => receipt.faults.push(fault_of(&SetupError::Scan(failure))),
    }
    // The scan passes the ledger over: it goes with the last entry.
    if matches!(
        open_path(&bench.directories.ledger, Access::Pass),
        Ok(Some(_))
    ) {
        receipt.left.push(Remnant {
            kind: RemnantKind::Record,
            object: bench.directories.ledger.to_string(),
        });
    }
    receipt
}

/// Whether a fault means that nobody can say by the ledger what is whose; one that another program holds is no such
/// fault: it is at work.
const fn hides_the_record(fault: &SetupFault) -> bool {
    match fault {
        SetupFault::Ledger(error) | SetupFault::Setup(SetupError::Ledger(error)) => {
            !matches!(error, LedgerError::Store(StoreFailure::Locked { .. }))
        }
        SetupFault::Setup(error) => matches!(error, SetupError::OthersUnknown { .. }),
        SetupFault::NotElevated(_)
        | SetupFault::Request(_)
        | SetupFault::Machine(_)
        | SetupFault::Call(_)
        | SetupFault::Directories
        | SetupFault::ForeignData { .. }
        | SetupFault::NoPerson(_)
        | SetupFault::Accounts
        | SetupFault::State(_)
        | SetupFault::Marker { .. } => false,
    }
}

/// Uninstalls for a person, or for the one who asks. However it goes, it ends with the scan.
pub(super) fn uninstall(order: &Order<'_>) -> Answer {
    elevate()?;
    let data = program_data().map_err(SetupFault::Machine)?;
    let whose = match order.request {
        Some(request) => request.subject.person,
        None => person().map_err(SetupFault::Machine)?,
    };
    let mut bench = Bench::watched(&data, whose, order.watch)?;
    let (mut ledger, damage) = match open(&mut bench, order.on_damage) {
        Ok(opened) => opened,
        Err(fault) if hides_the_record(&fault) => return Ok(look_alone(&mut bench, &fault)),
        Err(fault) => return Err(fault),
    };
    let mut receipt = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Done);
    receipt.person = Some(whose);
    if let Some(damage) = damage {
        receipt.changed.push(format!(
            "the ledger was damaged ({damage}): what was before that counts, and the states of finished set-ups"
        ));
    }
    // A ledger that can't be read hides objects, and stops nothing: the machine's own is another one.
    let theirs = read_person_ledger(whose).unwrap_or_else(|failure| {
        receipt.faults.push(fault_of(&failure));
        Vec::new()
    });
    marker::remove(&bench.directories).map_err(SetupFault::State)?;
    let mut setup = Setup {
        person: whose,
        ledger: &mut ledger,
        machine: &mut bench.machine,
    };
    let mut progress = |visited| (order.watch)(visited);
    match setup.uninstall_wholly(&theirs, &mut NtFiles::watched(order.watch), &mut progress) {
        Ok(done) => tell(&mut receipt, done),
        Err(error) => {
            receipt.faults.push(fault_of(&error));
            match setup.leftover() {
                Ok(left) => receipt.left = left,
                Err(error) => receipt.faults.push(fault_of(&error)),
            }
        }
    }
    drop(ledger);
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

/// What was done, and what is left of it. A hostile ledger may name any number of objects: the first are told.
fn tell(receipt: &mut SetupReceipt, done: Uninstalled) {
    receipt.undone = done.removed.undone;
    let is_open = |path: WindowsPath| format!("{} is open to its person again", path.printable());
    let opened = done.opened.opened.map(is_open);
    receipt
        .changed
        .extend(opened.told("are open to their person again"));
    let cleansed = done.cleansed.changed.map(|path| path.printable());
    receipt
        .changed
        .extend(cleansed.told("lost entries of ours"));
    receipt.left = done.left;
    let remnant = |kind, path: &WindowsPath| Remnant {
        kind,
        object: path.to_string(),
    };
    let unopened = done.opened.failed;
    let unopened = unopened.map(|(path, _)| remnant(RemnantKind::Unseen, &path));
    receipt
        .left
        .extend(unopened.remnants("could not be opened to their person"));
    let carrying = done.cleansed.failed.map(|(path, skip)| {
        let kind = match skip {
            Skip::NotKept => RemnantKind::Entry,
            Skip::Failed(_) | Skip::Gone | Skip::Replaced | Skip::NothingOfOurs => {
                RemnantKind::Unseen
            }
        };
        remnant(kind, &path)
    });
    receipt
        .left
        .extend(carrying.remnants("may carry entries of ours"));
    for failed in done.removed.failed {
        let mut fault = fault_of(&failed.cause);
        fault.causes.insert(0, failed.object);
        receipt.faults.push(fault);
    }
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
    use ringfence_backend::windows::{Cleansed, LISTED, MAX_RECEIPT, Opened, Removed};

    #[test]
    fn no_system_a_receipt_is_bounded_however_much_a_ledger_names() {
        // As long as a path may be, and of characters that JSON writes as six.
        let long = format!("C:\\{}", ["é".repeat(200).as_str(); 150].join("\\"));
        let path = WindowsPath::parse(&long).unwrap();
        let failure = || CallFailure::new("NtCreateFile", "", 5);
        let mut opened = Opened::default();
        let mut cleansed = Cleansed::default();
        for _ in 0..5 * LISTED {
            opened.opened.push(path.clone());
            opened.failed.push((path.clone(), failure()));
            cleansed.changed.push(path.clone());
            cleansed.failed.push((path.clone(), Skip::NotKept));
        }
        let mut receipt = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Done);
        let done = Uninstalled {
            opened,
            cleansed,
            removed: Removed::default(),
            left: Vec::new(),
        };
        tell(&mut receipt, done);
        assert_eq!(receipt.left.len(), 2 * (LISTED + 1));
        let rest = format!("and {} more objects may carry", 4 * LISTED);
        assert!(
            receipt.left.iter().any(|one| one.object.starts_with(&rest)),
            "what is not listed is said"
        );
        let bytes = serde_json::to_vec(&receipt).unwrap().len();
        assert!(u64::try_from(bytes).unwrap() < MAX_RECEIPT, "{bytes}");
    }

    #[test]
    fn a_ledger_with_nothing_open_owes_nothing_and_one_that_is_damaged_does() {
        let path = WindowsPath::parse("C:\\Users\\ada\\person.ledger").unwrap();
        assert_eq!(owed_by_the_person(&[], &path), None);
        assert!(owed_by_the_person(&[0; 64], &path).is_some());
    }
}
