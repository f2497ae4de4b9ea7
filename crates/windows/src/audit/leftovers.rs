//! What of ours is on the machine and in no record: things of set-up, and entries where none may ever be.
//!
//! It looks with the person's own rights, and removes nothing. Invariant: what could not be looked at is unknown.

use std::collections::BTreeSet;

use ringfence_backend::causes::in_one_sentence;
use ringfence_backend::ledger::read_untrusted;
use ringfence_backend::windows::{
    Files as _, PersonBook, PersonIntent, Remnant, RemnantKind, leftover_beside,
};
use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::audit::Answer;
use ringfence_plan::windows::machine::MachineDirectories;
use ringfence_plan::windows::sids::{kind_of, letters};

use super::Finding;
use crate::backend::grants;
use crate::backend::person::PersonFiles;
use crate::files::NtFiles;
use crate::machine::WindowsMachine;
use crate::observe::machine::{meaningful_places, person, program_data};

/// What is on the machine under the person's names, and what their finished set-up says that it made.
pub(super) fn of_machine() -> Finding {
    match look_at_machine() {
        Ok(finding) => finding,
        Err(cause) => Finding::unknown(cause),
    }
}

fn told(error: impl std::error::Error + 'static) -> String {
    in_one_sentence(&error)
}

fn look_at_machine() -> Result<Finding, String> {
    let own = person().map_err(told)?;
    let data = program_data().map_err(told)?;
    let directories = MachineDirectories::below(&data, own).map_err(told)?;
    let files = PersonFiles::open().map_err(told)?;
    let state = files.state(own).map_err(told)?;
    let steps = match &state {
        Some(state) => state.subject.steps().map_err(told)?,
        None => Vec::new(),
    };
    let mut machine = WindowsMachine::new(directories.top);
    let left = leftover_beside(&steps, &mut machine).map_err(told)?;
    Ok(judge(&letters(own), steps.len(), left))
}

/// Things under the person's letters are theirs; what bears no name may be another person's, whose record only they
/// can read.
fn judge(letters: &str, recorded: usize, left: Vec<Remnant>) -> Finding {
    let letters = letters.to_lowercase();
    let (own, others): (Vec<Remnant>, Vec<Remnant>) = left
        .into_iter()
        .partition(|remnant| remnant.object.to_lowercase().contains(&letters));
    let control = format!("{recorded} steps of a finished set-up are recorded, and found as such");
    if !own.is_empty() {
        let named: Vec<String> = own.into_iter().map(|one| one.object).collect();
        return Finding::new(
            Answer::Open,
            format!("in no record: {}", named.join(", ")),
            &control,
        );
    }
    // An ordinary person may not look at the local security policy.
    let others: Vec<Remnant> = others
        .into_iter()
        .filter(|remnant| remnant.kind != RemnantKind::Unseen)
        .collect();
    let nameless =
        |remnant: &&Remnant| matches!(remnant.kind, RemnantKind::Filter | RemnantKind::Rights);
    match others.iter().filter(nameless).count() {
        0 => Finding::new(
            Answer::Held,
            format!(
                "nothing of yours is beside the record, and {} things are other people's",
                others.len()
            ),
            &control,
        ),
        count => Finding::unknown(format!(
            "{count} filters of Ringfence's provider, or accounts that are gone and denied what Ringfence's are, are not yours by record: another person's, or left over; an administrator's `ringfence-setup dump` tells"
        )),
    }
}

/// Where set-up promises to put nothing: drives, profiles, the system's own directories.
pub(super) fn of_entries() -> Finding {
    match look_at_places() {
        Ok(finding) => finding,
        Err(cause) => Finding::unknown(cause),
    }
}

fn look_at_places() -> Result<Finding, String> {
    let own = person().map_err(told)?;
    let files = PersonFiles::open().map_err(told)?;
    let state = files.state(own).map_err(told)?;
    let accounts: BTreeSet<Sid> = state
        .map(|state| {
            let accounts = state.accounts;
            [accounts.offline, accounts.online, accounts.group].into()
        })
        .unwrap_or_default();
    let recorded = recorded(&files)?;
    let mut nt = NtFiles::new();
    let mut look = |path: &WindowsPath| -> Result<Option<bool>, String> {
        let Some(object) = nt.open(path).map_err(told)? else {
            return Ok(None);
        };
        let found = nt.observe_descriptor(&object).map_err(told)?;
        Ok(Some(is_carrying(&found, &accounts)))
    };
    let mut seen = 0;
    for path in &recorded {
        // What was removed since, or can't be looked at, is no control.
        seen += u32::from(matches!(look(path), Ok(Some(true))));
    }
    let control = format!(
        "of {} recorded objects {seen} are seen to carry entries",
        recorded.len()
    );
    if seen == 0 && !recorded.is_empty() {
        return Ok(Finding::unknown(format!(
            "the look itself fails: {control}"
        )));
    }
    let (mut carrying, mut unseen, mut looked) = (Vec::new(), Vec::new(), 0);
    for path in meaningful_places().map_err(told)? {
        match look(&path) {
            Ok(Some(true)) if !recorded.contains(&path) => carrying.push(path.printable()),
            Ok(Some(_)) => looked += 1,
            Ok(None) => {}
            Err(cause) => unseen.push(format!("{}: {cause}", path.printable())),
        }
    }
    Ok(if !carrying.is_empty() {
        Finding::new(
            Answer::Open,
            format!("entries of ours are on {}", carrying.join(", ")),
            &control,
        )
    } else if let Some(first) = unseen.first() {
        Finding::unknown(format!(
            "{} places can't be looked at: {first}",
            unseen.len()
        ))
    } else {
        let detail = format!("{looked} places carry none that is not recorded");
        Finding::new(Answer::Held, detail, &control)
    })
}

/// The objects that the person's ledger names.
fn recorded(files: &PersonFiles) -> Result<BTreeSet<WindowsPath>, String> {
    let bytes = grants::ledger_bytes(files).map_err(told)?;
    let (entries, _) = read_untrusted::<PersonBook>(&bytes);
    let paths = entries.into_iter().filter_map(|entry| match entry.intent {
        PersonIntent::SetDacl { object, .. } => Some(object.path),
        PersonIntent::Walk { .. } | PersonIntent::MakeHome { .. } => None,
    });
    Ok(paths.collect())
}

/// Whether a list names an account of ours, or a SID that we derive.
fn is_carrying(found: &SecurityDescriptor, accounts: &BTreeSet<Sid>) -> bool {
    let aces = found.acl().map_or(&[][..], |acl| &acl.aces);
    aces.iter()
        .any(|ace| accounts.contains(&ace.sid) || kind_of(ace.sid).is_some())
}

#[cfg(test)]
mod tests {
    use ringfence_nt::{AccessMask, Ace, AceFlags, Acl};
    use ringfence_plan::windows::sids::{SidSecret, SidShape, marker};

    use super::*;

    fn remnant(kind: RemnantKind, object: &str) -> Remnant {
        let object = object.to_owned();
        Remnant { kind, object }
    }

    #[test]
    fn what_bears_the_persons_name_and_is_in_no_record_is_left_over() {
        let other = remnant(RemnantKind::Account, "RingfenceOff-OTHERS");
        let own = remnant(RemnantKind::Group, "ringfence-abcdef");
        let filter = remnant(RemnantKind::Filter, "10606552-8fa3-815b-9f6b-940730cb3f56");
        let answer = |left| judge("ABCDEF", 17, left).answer;
        assert_eq!(answer(Vec::new()), Answer::Held);
        assert_eq!(answer(vec![other.clone()]), Answer::Held);
        assert_eq!(answer(vec![other.clone(), own]), Answer::Open);
        assert_eq!(answer(vec![other.clone(), filter]), Answer::Unknown);
        let gone = remnant(RemnantKind::Rights, "S-1-5-21-1-2-3-1005");
        assert_eq!(answer(vec![other.clone(), gone]), Answer::Unknown);
        let unseen = remnant(RemnantKind::Unseen, "the local security policy");
        assert_eq!(answer(vec![other, unseen]), Answer::Held);
    }

    #[test]
    fn a_list_carries_what_names_an_account_or_a_sid_that_we_derive() {
        let list = |sid| {
            let ace = Ace::allow(AceFlags::NONE, AccessMask(1), sid);
            SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(vec![ace]))
        };
        let account = Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap();
        let ours = marker(&SidSecret::new([7; 32]), SidShape::Null, account);
        let accounts = BTreeSet::from([account]);
        assert!(is_carrying(&list(account), &accounts));
        assert!(is_carrying(&list(ours), &BTreeSet::new()));
        assert!(!is_carrying(&list(Sid::USERS), &accounts));
        assert!(!is_carrying(&list(account), &BTreeSet::new()));
    }
}
