//! A receipt for a person to read, and the exit status that it means.
//!
//! Names in it come from the system and from files; what is not plain text is escaped. Invariant: a status of zero
//! means that everything was done and nothing is left.
#![cfg_attr(
    not(any(windows, test)),
    expect(
        dead_code,
        reason = "receipts are printed on Windows; here they are tested"
    )
)]

use std::fmt::Write as _;

use ringfence_backend::windows::{Proof, SetupOutcome, SetupReceipt};
use ringfence_policy::escape::escape_again;
use ringfence_policy::exit::ExitCode;

/// The status that a receipt means.
pub(crate) fn status_of(outcome: SetupOutcome) -> u8 {
    match outcome {
        SetupOutcome::Done | SetupOutcome::Unchanged => 0,
        SetupOutcome::Refused => ExitCode::ManagedRefusal.code(),
        SetupOutcome::NotEnforced => ExitCode::NotEnforceable.code(),
        SetupOutcome::Incomplete => ExitCode::SetupMissing.code(),
        SetupOutcome::Failed | SetupOutcome::Left => ExitCode::Internal.code(),
    }
}

const fn sentence(outcome: SetupOutcome) -> &'static str {
    match outcome {
        SetupOutcome::Done => "done, and read back",
        SetupOutcome::Unchanged => "there was nothing to do",
        SetupOutcome::Refused => "refused; nothing was done",
        SetupOutcome::NotEnforced => {
            "not enforced: this system says yes and does not do it; nothing of set-up is left on it"
        }
        SetupOutcome::Incomplete => {
            "the set-up is missing or incomplete: run `ringfence setup install`"
        }
        SetupOutcome::Failed => "failed",
        SetupOutcome::Left => "something is left: run `ringfence setup uninstall` again",
    }
}

/// The receipt, line by line.
pub(crate) fn render(receipt: &SetupReceipt) -> String {
    let mut text = String::new();
    let mut line = |mark: &str, words: &str| {
        let _ = writeln!(text, "{mark} {}", escape_again(words));
    };
    for check in &receipt.checks {
        let mark = match check.proof {
            Proof::Proven => "ok     ",
            Proof::Failed => "FAILED ",
            Proof::NotTried => "not tried",
        };
        line(mark, &format!("{}: {}", check.name, check.detail));
    }
    for changed in &receipt.changed {
        line("changed", changed);
    }
    for (object, how) in &receipt.undone {
        line("undone ", &format!("{object}: {how:?}"));
    }
    for left in &receipt.left {
        line("LEFT   ", &format!("{:?} {}", left.kind, left.object));
    }
    for fault in &receipt.faults {
        line("error  ", &fault.causes.join(": "));
        if let Some(hint) = &fault.hint {
            line("hint   ", hint);
        }
    }
    let _ = writeln!(
        text,
        "setup {}: {}",
        receipt.verb.word(),
        sentence(receipt.outcome)
    );
    text
}

#[cfg(test)]
mod tests {
    use ringfence_backend::windows::{Check, Fault, Remnant, RemnantKind, SetupVerb};

    use super::*;

    #[test]
    fn only_what_is_wholly_done_ends_with_zero() {
        for (outcome, status) in [
            (SetupOutcome::Done, 0),
            (SetupOutcome::Unchanged, 0),
            (SetupOutcome::Refused, 103),
            (SetupOutcome::NotEnforced, 102),
            (SetupOutcome::Incomplete, 105),
            (SetupOutcome::Failed, 100),
            (SetupOutcome::Left, 100),
        ] {
            assert_eq!(status_of(outcome), status);
        }
    }

    #[test]
    fn a_receipt_is_read_line_by_line_and_hostile_names_stay_on_theirs() {
        let mut receipt = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Left);
        receipt.checks.push(Check {
            name: "marker".to_owned(),
            proof: Proof::Failed,
            detail: "it is not there".to_owned(),
        });
        receipt.left.push(Remnant {
            kind: RemnantKind::Entry,
            object: "C:\\x\n\u{1b}[2Jdone, and read back".to_owned(),
        });
        receipt.faults.push(Fault {
            causes: vec!["a".to_owned(), "b".to_owned()],
            code: Some(5),
            hint: Some("c".to_owned()),
        });
        let text = render(&receipt);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("error   a: b\nhint    c\n"), "{text}");
        assert!(text.ends_with("run `ringfence setup uninstall` again\n"));
    }
}
