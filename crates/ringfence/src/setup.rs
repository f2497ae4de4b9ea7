//! Set-up on Windows, from the person's side: what is asked of the elevated program, and what their own rights suffice
//! for.
//!
//! Nothing here runs elevated. Invariant: what is asked for has the hash that the person was shown.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ringfence_backend::Backend as _;
use ringfence_backend::session::Cause;
use ringfence_backend::windows::{
    DAMAGED_ARGUMENT, Progress, Remnant, RemnantKind, SCAN_ARGUMENT, SetupOutcome, SetupReceipt,
    SetupVerb, explain_code,
};
use ringfence_plan::windows::facts::{Consent, WindowsFacts};
use ringfence_plan::windows::filters::FilterForm;
use ringfence_plan::windows::machine::Subject;
use ringfence_plan::windows::{WindowsPath, WindowsPlan, plan};
use ringfence_policy::{ExitCode, Policy};
use ringfence_windows::backend::elevated::{self, ElevateError};
use ringfence_windows::backend::grants::{self, ApplyError};
use ringfence_windows::backend::person::{PersonError, PersonFiles};
use ringfence_windows::backend::undoing::{self, Undoing};
use ringfence_windows::backend::{PortFacts, Windows, code_of, observe_with};

/// Why set-up could not be asked for, or the person's part not be done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The machine could not be examined.
    #[error("the machine could not be examined")]
    Observe(#[source] Cause),
    /// There is no plan.
    #[error("set-up can't be planned")]
    Plan(#[source] ringfence_plan::windows::PlanError),
    /// What the person keeps can't be used.
    #[error("your Ringfence directory can't be used")]
    Person(#[source] PersonError),
    /// The elevated program was not asked, or did not answer.
    #[error("the elevated part was not done")]
    Elevate(#[source] ElevateError),
    /// The person's part failed.
    #[error("the access rights of your files could not be set")]
    Grants(#[source] ApplyError),
}

impl SetupError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Plan(error) => error.exit_code(),
            Self::Elevate(_) => ExitCode::SetupMissing,
            Self::Observe(_) | Self::Person(_) | Self::Grants(_) => ExitCode::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        if let Self::Plan(error) = self {
            return error.hints().join("\n");
        }
        match code_of(self).and_then(explain_code) {
            Some(meaning) => format!("{}: {}; {}", meaning.name, meaning.cause, meaning.cure),
            None => "ringfence doctor".to_owned(),
        }
    }
}

/// What an uninstall does where the machine's ledger is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DamagedLedger {
    /// It lists what is there.
    #[default]
    List,
    /// It takes back what is recorded still.
    TakeBack,
}

/// How everything is taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// What to do where the machine's ledger is damaged.
    pub damaged_ledger: DamagedLedger,
    /// A tree to look through for what is left.
    pub scan: Option<PathBuf>,
}

/// What set-up is for this person, this machine and a policy.
#[derive(Debug)]
pub struct Prepared {
    /// The plan; its machine steps are empty where they have been done.
    pub plan: WindowsPlan,
    facts: WindowsFacts,
    subject: Subject,
    files: PersonFiles,
}

impl Prepared {
    /// Examines the machine and plans; changes nothing but what the person keeps of themselves. The system is asked for
    /// its ports, which an administrator may have changed since.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(policy: &Policy) -> Result<Self, SetupError> {
        Self::with(policy, PortFacts::Asked, None)
    }

    /// The same for an install where somebody says whether network filters may hit others than the accounts; nothing of
    /// that is kept before [`Prepared::keep_filters`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn with_filters(policy: &Policy, complement: Option<Consent>) -> Result<Self, SetupError> {
        Self::with(policy, PortFacts::Asked, complement)
    }

    /// Plans anew what is left to do, after [`Prepared::keep`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn again(policy: &Policy) -> Result<Self, SetupError> {
        Self::with(policy, PortFacts::Kept, None)
    }

    fn with(
        policy: &Policy,
        ports: PortFacts,
        complement: Option<Consent>,
    ) -> Result<Self, SetupError> {
        let files = PersonFiles::open().map_err(SetupError::Person)?;
        let mut facts = observe_with(policy, ports).map_err(SetupError::Observe)?;
        if let Some(consent) = complement {
            facts.filtering.complement_consent = consent;
        }
        let ledger = Windows
            .ledger()
            .map_err(|error| SetupError::Observe(Box::new(error)))?;
        let plan = plan(policy, &facts, &ledger).map_err(SetupError::Plan)?;
        let subject = Subject::of(&facts, plan.marker, policy.windows_loopback.value)
            .map_err(SetupError::Plan)?;
        Ok(Self {
            plan,
            facts,
            subject,
            files,
        })
    }

    /// The hash of the machine's steps: what the person consents to.
    ///
    /// # Errors
    /// [`SetupError::Plan`].
    pub fn hash(&self) -> Result<String, SetupError> {
        self.subject.hash().map_err(SetupError::Plan)
    }

    /// Directories of tools that commands could start programs in if the person agreed.
    pub fn tools(&self) -> impl Iterator<Item = &WindowsPath> {
        self.facts
            .tools
            .iter()
            .filter(|tool| tool.consent == Consent::Missing)
            .map(|tool| &tool.path)
    }

    /// Asks the elevated program; one question to the person.
    ///
    /// # Errors
    /// [`SetupError::Elevate`].
    pub fn ask(&self, verb: SetupVerb) -> Result<SetupReceipt, SetupError> {
        elevated::ask(verb, &self.subject, &self.hash()?, &[], &self.files)
            .map_err(SetupError::Elevate)
    }

    /// Keeps the ports as this found them, so that no later command has to ask the system, and the directories of
    /// tools that the person has agreed to.
    ///
    /// # Errors
    /// [`SetupError::Person`].
    pub fn keep(&self, agreed: &[WindowsPath]) -> Result<(), SetupError> {
        let mut kept = self.files.kept().map_err(SetupError::Person)?;
        kept.ports = Some(self.facts.ports.clone());
        for path in agreed {
            if !kept.agreed.contains(path) {
                kept.agreed.push(path.clone());
            }
        }
        self.files.keep(&kept).map_err(SetupError::Person)
    }

    /// Keeps whether network filters may hit others, once set-up has made them so.
    ///
    /// # Errors
    /// [`SetupError::Person`].
    pub fn keep_filters(&self) -> Result<(), SetupError> {
        let mut kept = self.files.kept().map_err(SetupError::Person)?;
        kept.complement = self.facts.filtering.complement_consent;
        self.files.keep(&kept).map_err(SetupError::Person)
    }

    /// The form of the network filters that this asks for.
    #[must_use]
    pub const fn filters(&self) -> FilterForm {
        self.subject.form
    }

    /// Does the person's steps; answers how many objects got another list.
    ///
    /// # Errors
    /// [`SetupError::Grants`].
    pub fn apply(
        &self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<u64, SetupError> {
        let granted =
            grants::apply_with(&self.plan, &self.files, progress).map_err(SetupError::Grants)?;
        let walked: u64 = granted.walks.iter().map(|walk| walk.progress.changed).sum();
        Ok(granted.changed + walked)
    }

    /// Brings one object and what lies below it in line with the root that it was moved into.
    ///
    /// # Errors
    /// [`SetupError::Grants`].
    pub fn repair(
        &self,
        path: &WindowsPath,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<u64, SetupError> {
        let report =
            grants::repair(&self.plan, &self.files, path, progress).map_err(SetupError::Grants)?;
        Ok(report.progress.changed)
    }
}

/// A set-up that is taken back, whatever directory one stands in.
#[derive(Debug)]
pub struct Uninstall {
    undoing: Undoing,
    files: PersonFiles,
}

impl Uninstall {
    /// Finds out what there is of the person's; changes nothing.
    ///
    /// # Errors
    /// [`SetupError::Person`].
    pub fn new() -> Result<Self, SetupError> {
        let files = PersonFiles::open().map_err(SetupError::Person)?;
        let undoing = undoing::observe(&files).map_err(SetupError::Person)?;
        Ok(Self { undoing, files })
    }

    /// Takes back what was done with the person's rights; what could not be is named.
    ///
    /// # Errors
    /// [`SetupError::Grants`].
    pub fn revoke(&self) -> Result<Vec<String>, SetupError> {
        let Undoing { ours, subject } = &self.undoing;
        let revoked =
            grants::revoke(subject.person, ours, &self.files).map_err(SetupError::Grants)?;
        let failed = revoked.failed.into_iter();
        Ok(failed
            .map(|failure| format!("{}: {}", failure.object, failure.cause))
            .collect())
    }

    /// Takes back what was done for the workspaces at and below `place`, and leaves all else; what could not be is
    /// named.
    ///
    /// # Errors
    /// [`SetupError::Grants`].
    pub fn release(&self, place: &WindowsPath) -> Result<Vec<String>, SetupError> {
        let Undoing { ours, subject } = &self.undoing;
        let revoked = grants::release(subject.person, ours, &self.files, place)
            .map_err(SetupError::Grants)?;
        let failed = revoked.failed.into_iter();
        Ok(failed
            .map(|failure| format!("{}: {}", failure.object, failure.cause))
            .collect())
    }

    /// Asks the elevated program to take the rest back.
    ///
    /// # Errors
    /// [`SetupError::Elevate`].
    pub fn ask(&self, removal: &Removal) -> Result<SetupReceipt, SetupError> {
        let mut more = Vec::new();
        if removal.damaged_ledger == DamagedLedger::TakeBack {
            more.push(OsString::from(DAMAGED_ARGUMENT));
        }
        if let Some(tree) = &removal.scan {
            more.extend([OsString::from(SCAN_ARGUMENT), tree.clone().into_os_string()]);
        }
        let subject = &self.undoing.subject;
        let hash = subject.hash().map_err(SetupError::Plan)?;
        elevated::ask(SetupVerb::Uninstall, subject, &hash, &more, &self.files)
            .map_err(SetupError::Elevate)
    }
}

/// What is left of an uninstall where the person's part was done again after the elevated one, which opens to them what
/// targets had closed: the receipt still names their ledger, that was not empty then.
#[must_use]
pub fn settled(mut receipt: SetupReceipt) -> SetupReceipt {
    let is_ledger = |remnant: &Remnant| {
        remnant.kind == RemnantKind::Record && remnant.object.ends_with(r"\person.ledger")
    };
    receipt.left.retain(|remnant| !is_ledger(remnant));
    if receipt.outcome == SetupOutcome::Left && receipt.left.is_empty() && receipt.faults.is_empty()
    {
        receipt.outcome = SetupOutcome::Done;
    }
    receipt
}

/// The exit status of a receipt.
#[must_use]
pub const fn exit_of(outcome: SetupOutcome) -> u8 {
    match outcome {
        SetupOutcome::Done | SetupOutcome::Unchanged => 0,
        SetupOutcome::NotEnforced => ExitCode::NotEnforceable as u8,
        SetupOutcome::Incomplete | SetupOutcome::Refused => ExitCode::SetupMissing as u8,
        SetupOutcome::Failed | SetupOutcome::Left => ExitCode::Internal as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_code_of_an_elevation_reaches_the_person_with_cause_and_cure() {
        use ringfence_windows::sys::{CallError, Win32Error};
        for meaning in ringfence_backend::windows::CODES {
            let call = CallError::new("ShellExecuteExW", "setup", Win32Error(meaning.code));
            let hint = SetupError::Elevate(ElevateError::Start(call)).hint();
            assert!(
                hint.contains(meaning.cause) && hint.contains(meaning.cure),
                "{hint}"
            );
        }
    }

    #[test]
    fn only_the_ledger_that_is_empty_by_now_is_settled() {
        let ledger = Remnant {
            kind: RemnantKind::Record,
            object: r"C:\Users\ada\AppData\Local\Ringfence\person.ledger".to_owned(),
        };
        let account = Remnant {
            kind: RemnantKind::Account,
            object: "RingfenceOff-ABCDEF".to_owned(),
        };
        let left = |left: &[&Remnant]| {
            let mut receipt = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Left);
            receipt.left = left.iter().map(|one| (*one).clone()).collect();
            settled(receipt)
        };
        assert_eq!(left(&[&ledger]).outcome, SetupOutcome::Done);
        let more = left(&[&ledger, &account]);
        assert_eq!(
            (more.outcome, more.left),
            (SetupOutcome::Left, vec![account])
        );
        let failed = SetupReceipt::new(SetupVerb::Uninstall, SetupOutcome::Failed);
        assert_eq!(settled(failed.clone()), failed);
    }
}
