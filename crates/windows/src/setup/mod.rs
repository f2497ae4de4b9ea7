//! What the elevated program does: one verb, on this machine, for one person.
//!
//! Every step is the plan's and recorded by the machine's ledger before it is made; see `ringfence_backend::windows`.
//! Invariant: where this system enforces nothing, or the request is not what was consented to, nothing is touched; and
//! success is reported after the person has read the marker, which is written last.
//!
//! # Security
//! The request's file, the person's ledger, and every object that it names may be an attacker's.

mod enforcement;
mod marker;
mod proof;
mod remove;

use std::collections::BTreeSet;
use std::error::Error;
use std::ops::ControlFlow;
use std::os::windows::io::AsHandle as _;

use ringfence_backend::call::CallFailure;
use ringfence_backend::causes::chain;
use ringfence_backend::ledger::{Ledger, LedgerError, read_untrusted};
use ringfence_backend::windows::{
    Fault, InstalledState, Listing, MachineBook, MachineReceipt, Remnant, RequestError,
    STATE_VERSION, Setup, SetupError, SetupOutcome, SetupReceipt, SetupRequest, SetupVerb,
    StepError, Surroundings, admit, agreed, explain_code, leftover_of_files, marker_of,
};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::{MachineDirectories, Subject};
use ringfence_plan::windows::step::{AccountSids, MachineStep};

use crate::custody::is_the_systems;
use crate::files::{NtFiles, Watch, failure, open_path};
use crate::ledger_file::{Custody, FileStore};
use crate::machine::WindowsMachine;
use crate::observe::machine::{MachineError, observe_dynamic_ports, person, program_data};
use crate::sys::file::descriptor;
use crate::sys::machine as system;
use crate::sys::nt_file::{self, Access};
use crate::sys::privilege::{Privilege, enable};

pub use remove::person_ledger;

/// `ERROR_PATH_NOT_FOUND`
const NOT_FOUND: u32 = 3;
/// `ERROR_CANT_ACCESS_FILE`: a reparse point stands there.
const REDIRECTED: u32 = 1920;

/// Why the elevated program did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SetupFault {
    /// It does not run as administrator.
    #[error("set-up needs an administrator's rights")]
    NotElevated(#[source] CallFailure),
    /// The request is refused.
    #[error("the request is refused; nothing was done")]
    Request(#[source] RequestError),
    /// The machine could not be asked.
    #[error("this machine can't be asked")]
    Machine(#[source] MachineError),
    /// A call failed.
    #[error("the system refused a call")]
    Call(#[source] CallFailure),
    /// Directories can't be named.
    #[error("`%ProgramData%` is no directory that anything can be put in")]
    Directories,
    /// `%ProgramData%`, or a directory above it, is somebody's who is no administrator.
    #[error("`{path}` is {owner}'s, who could exchange what set-up puts there; nothing was done")]
    ForeignData {
        /// The directory.
        path: String,
        /// Whose it is.
        owner: String,
    },
    /// The machine's ledger can't be used.
    #[error("the machine's ledger can't be used")]
    Ledger(#[source] LedgerError),
    /// Set-up failed.
    #[error("set-up failed")]
    Setup(#[source] SetupError),
    /// The person has no account here.
    #[error("the system knows no account {0}")]
    NoPerson(Sid),
    /// The accounts are not all there, although every step is done.
    #[error("the accounts are not all there, although every step is done")]
    Accounts,
    /// The state of the set-up can't be kept.
    #[error("the state of the set-up can't be kept")]
    State(#[source] CallFailure),
    /// The person can't read the marker.
    #[error("{person} can't read the marker of the finished set-up")]
    Marker {
        /// Who.
        person: Sid,
        /// Why.
        #[source]
        source: CallFailure,
    },
}

/// What an uninstall does where the machine's ledger is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// It lists what is there, and takes nothing back.
    #[default]
    List,
    /// It takes back what is recorded before the damage, and in the states of finished set-ups.
    TakeBack,
}

/// What the elevated program was started for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The verb.
    pub verb: SetupVerb,
    /// The request, where there is one.
    pub request: Option<&'a SetupRequest>,
    /// The hash on the command line.
    pub consented: &'a str,
    /// What an uninstall does where the machine's ledger is damaged.
    pub on_damage: OnDamage,
    /// Who is told how far a walk over a tree is, and may stop it.
    pub watch: Watch,
}

/// One machine's set-up, opened.
#[derive(Debug)]
struct Bench {
    directories: MachineDirectories,
    machine: WindowsMachine,
    person: Sid,
}

type MachineLedger = Ledger<MachineBook, FileStore>;

impl Bench {
    fn new(data: &WindowsPath, person: Sid) -> Result<Self, SetupFault> {
        Self::watched(data, person, |_| ControlFlow::Continue(()))
    }

    fn watched(data: &WindowsPath, person: Sid, watch: Watch) -> Result<Self, SetupFault> {
        let directories =
            MachineDirectories::below(data, person).map_err(|_| SetupFault::Directories)?;
        Ok(Self {
            machine: WindowsMachine::watched(directories.top.clone(), watch),
            directories,
            person,
        })
    }

    /// The machine's ledger; its directory has the descriptor that the plan gives it.
    fn store(&self) -> Result<FileStore, SetupFault> {
        let descriptor = MachineDirectories::top_descriptor();
        let custody = Custody::Exact(Box::new(descriptor));
        FileStore::new(self.directories.ledger.clone(), custody).ok_or(SetupFault::Directories)
    }

    fn ledger(&self) -> Result<MachineLedger, SetupFault> {
        Ledger::open(self.store()?).map_err(SetupFault::Ledger)
    }
}

/// What a verb has found, on its way into the receipt.
pub(crate) type Answer = Result<SetupReceipt, SetupFault>;

/// Does what it was started for.
///
/// # Errors
/// None: what failed is in the receipt.
#[must_use]
pub fn run(order: &Order<'_>) -> SetupReceipt {
    // Whatever is asked: the file may be another one than the person saw.
    if let Some(request) = order.request
        && let Err(error) = agreed(request, order.consented)
    {
        return refused(order.verb, &SetupFault::Request(error));
    }
    let answer = match (order.verb, order.request) {
        (SetupVerb::Install | SetupVerb::Repair, Some(request)) => install(order, request),
        (SetupVerb::Install | SetupVerb::Repair, None) => {
            let reason = "there is none: `ringfence setup install` makes it".to_owned();
            Err(SetupFault::Request(RequestError::Unreadable { reason }))
        }
        (SetupVerb::Verify, request) => proof::verify(request.map(|one| &one.subject)),
        (SetupVerb::Uninstall, _) => remove::uninstall(order),
        (SetupVerb::Dump, _) => dump(),
    };
    answer.unwrap_or_else(|fault| refused(order.verb, &fault))
}

/// The receipt of a verb that failed.
fn refused(verb: SetupVerb, fault: &SetupFault) -> SetupReceipt {
    let outcome = match fault {
        SetupFault::Request(_) | SetupFault::NotElevated(_) | SetupFault::ForeignData { .. } => {
            SetupOutcome::Refused
        }
        SetupFault::Setup(SetupError::RolledBack {
            cause: StepError::NotKept { .. },
            ..
        }) => SetupOutcome::NotEnforced,
        SetupFault::Setup(
            SetupError::Left { .. } | SetupError::Stopped | SetupError::OthersUnknown { .. },
        ) => SetupOutcome::Left,
        SetupFault::Accounts | SetupFault::Marker { .. } => SetupOutcome::Incomplete,
        SetupFault::Machine(_)
        | SetupFault::Call(_)
        | SetupFault::Directories
        | SetupFault::Ledger(_)
        | SetupFault::Setup(_)
        | SetupFault::NoPerson(_)
        | SetupFault::State(_) => SetupOutcome::Failed,
    };
    let mut receipt = SetupReceipt::new(verb, outcome);
    receipt.faults.push(fault_of(fault));
    receipt
}

/// An error with its causes, and what to do where the code below it is known.
#[must_use]
pub fn fault_of(error: &(dyn Error + 'static)) -> Fault {
    let causes = chain(error).map(ToString::to_string).collect();
    let code = chain(error)
        .filter_map(|cause| cause.downcast_ref::<CallFailure>())
        .last()
        .map(|call| call.code);
    let hint = code.and_then(explain_code).map(|meaning| {
        format!(
            "{} ({}): {}; {}",
            meaning.code, meaning.name, meaning.cause, meaning.cure
        )
    });
    Fault { causes, code, hint }
}

/// The privileges of an administrator that set-up works with; without them it does not run as one.
fn elevate() -> Result<(), SetupFault> {
    for privilege in [Privilege::Backup, Privilege::Restore, Privilege::Debug] {
        enable(privilege)
            .map_err(failure)
            .map_err(SetupFault::NotElevated)?;
    }
    Ok(())
}

/// Whoever owns a directory may exchange what is in it, so that the place of the record must be the system's up to the
/// drive.
///
/// # Security
/// The system tells `%ProgramData%` with the help of variables, and the person's own reach an elevated program.
fn check_owners(data: &WindowsPath) -> Result<(), SetupFault> {
    for path in std::iter::once(data.clone()).chain(data.ancestors()) {
        let call =
            |code| SetupFault::Call(CallFailure::new("NtCreateFile", path.printable(), code));
        let opened = open_path(&path, Access::Look).map_err(SetupFault::Call)?;
        let opened = opened.ok_or_else(|| call(NOT_FOUND))?;
        let look = nt_file::look(opened.as_handle()).map_err(failure);
        if look.map_err(SetupFault::Call)?.reparse.is_some() {
            return Err(call(REDIRECTED));
        }
        let found = descriptor(opened.as_handle()).map_err(failure);
        let owner = found.map_err(SetupFault::Call)?.owner;
        if !is_the_systems(owner) {
            return Err(SetupFault::ForeignData {
                path: path.printable(),
                owner: owner.map_or_else(|| "nobody".to_owned(), |owner| owner.to_string()),
            });
        }
    }
    Ok(())
}

fn surroundings(subject: &Subject) -> Result<Surroundings, SetupFault> {
    let call = |error| SetupFault::Call(failure(error));
    let computer = system::computer_name().map_err(call)?;
    let machine = system::sid_of(&computer).map_err(call)?;
    let machine = machine.ok_or(SetupFault::Machine(MachineError::NoMachineSid(computer)))?;
    let account = system::name_of(subject.person).map_err(call)?;
    let account = account.ok_or(SetupFault::NoPerson(subject.person))?;
    Ok(Surroundings {
        program_data: program_data().map_err(SetupFault::Machine)?,
        machine,
        name: account.name,
        dynamic: observe_dynamic_ports(),
        marker_is_an_account: system::name_of(subject.marker).map_err(call)?.is_some(),
    })
}

fn install(order: &Order<'_>, request: &SetupRequest) -> Answer {
    elevate()?;
    let checks = enforcement::observe();
    if !enforcement::is_enforced(&checks) {
        let mut receipt = SetupReceipt::new(order.verb, SetupOutcome::NotEnforced);
        receipt.checks = checks;
        return Ok(receipt);
    }
    let here = surroundings(&request.subject)?;
    check_owners(&here.program_data)?;
    let steps = admit(request, order.consented, &here).map_err(SetupFault::Request)?;
    let person = request.subject.person;
    let mut bench = Bench::watched(&here.program_data, person, order.watch)?;
    let mut ledger = bench.ledger()?;
    // Until everything is done again, nobody shall take this set-up for finished.
    marker::remove(&bench.directories).map_err(SetupFault::State)?;
    let mut setup = Setup {
        person: bench.person,
        ledger: &mut ledger,
        machine: &mut bench.machine,
    };
    let applied = setup.apply(&steps).map_err(SetupFault::Setup)?;
    let (Some(offline), Some(online), Some(group)) = (
        applied.accounts.offline,
        applied.accounts.online,
        applied.accounts.group,
    ) else {
        return Err(SetupFault::Accounts);
    };
    let accounts = AccountSids {
        offline,
        online,
        group,
    };
    let state = InstalledState {
        version: STATE_VERSION,
        machine_hash: request.plan.clone(),
        subject: request.subject.clone(),
        accounts,
    };
    let checked = marker::write(&bench.directories, &state, request.caller)?;
    let outcome = if applied.changed.is_empty() {
        SetupOutcome::Unchanged
    } else {
        SetupOutcome::Done
    };
    let mut receipt = SetupReceipt::new(order.verb, outcome);
    receipt.person = Some(bench.person);
    receipt.machine_hash = Some(request.plan.clone());
    receipt.accounts = Some(accounts);
    receipt.changed = applied.changed;
    receipt.checks = [checks, vec![checked]].concat();
    Ok(receipt)
}

/// The open entries of the machine's ledger, for an administrator to read.
fn dump() -> Answer {
    let data = program_data().map_err(SetupFault::Machine)?;
    let own = person().map_err(SetupFault::Machine)?;
    let store = Bench::new(&data, own)?.store()?;
    let bytes = store.peek().map_err(SetupFault::Call)?.unwrap_or_default();
    let mut receipt = SetupReceipt::new(SetupVerb::Dump, SetupOutcome::Done);
    receipt.ledger = Some(if bytes.is_empty() {
        serde_json::json!([])
    } else {
        let (entries, damage) = read_untrusted::<MachineBook>(&bytes);
        let entries: Vec<serde_json::Value> = entries
            .into_iter()
            .map(|entry| serde_json::json!({ "intent": entry.intent, "receipt": entry.receipt }))
            .collect();
        let damage = damage.map(|damage| damage.to_string());
        serde_json::json!({ "entries": entries, "damage": damage })
    });
    Ok(receipt)
}

/// Every object at and below `top` that carries something of the person's; what was not looked at counts as left.
///
/// # Errors
/// [`SetupFault`].
pub fn scan(
    top: &WindowsPath,
    ours: &BTreeSet<Sid>,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Listing<Remnant>, SetupFault> {
    leftover_of_files(top, ours, &mut NtFiles::new(), progress).map_err(SetupFault::Call)
}

/// Every SID that set-up has made for the person, by ledger and state: to be asked before an uninstall takes both away.
/// A ledger that is damaged is read up to the damage.
///
/// # Errors
/// [`SetupFault`].
pub fn sids(of: Option<Sid>) -> Result<BTreeSet<Sid>, SetupFault> {
    let data = program_data().map_err(SetupFault::Machine)?;
    let own = match of {
        Some(person) => person,
        None => person().map_err(SetupFault::Machine)?,
    };
    let bench = Bench::new(&data, own)?;
    let Some(bytes) = bench.store()?.peek().map_err(SetupFault::Call)? else {
        return Ok(BTreeSet::new());
    };
    let (entries, _) = read_untrusted::<MachineBook>(&bytes);
    let mut sids = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.intent.person == own) {
        if let Some(MachineReceipt::Principal(sid)) = entry.receipt {
            sids.insert(sid);
        }
        if let MachineStep::EnsureAccount { marker, .. } = entry.intent.step {
            sids.insert(marker);
        }
    }
    for state in remove::states(&bench.directories)? {
        if state.is_of(own) {
            let accounts = state.accounts;
            sids.extend([accounts.offline, accounts.online, accounts.group]);
            sids.insert(state.subject.marker);
        }
    }
    Ok(sids)
}

/// The steps of a set-up by its stored state, for looking whether they are done.
fn steps_of(subject: &Subject) -> Result<Vec<MachineStep>, SetupFault> {
    subject.steps().map_err(|_| SetupFault::Directories)
}

/// What the marker's file holds for this state.
fn marker_text(state: &[u8]) -> String {
    marker_of(state)
}

#[cfg(test)]
mod tests;
