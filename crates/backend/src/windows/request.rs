//! What is asked of the elevated program, and what it answers: one request in, one receipt out, both JSON.
//!
//! A request holds no step: the elevated program makes the steps itself, with the same planner, from the few values
//! that a request may choose, and refuses unless their hash is the one that the person has consented to.
//!
//! Invariant: there is no request that names an account, a file, a key, a filter or a rule which the planner would not
//! have made for that person.
//!
//! # Security
//! The file of a request lies where anything that runs as the person may write. What it can choose is listed in
//! [`admit`], each with the argument why it can't hurt somebody else.

use serde::{Deserialize, Serialize};

use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::{PROXY_PORTS, Subject};
use ringfence_plan::windows::sids::{SidKind, kind_of};
use ringfence_plan::windows::step::{AccountSids, MachineStep, PortRange};

use crate::ledger::Undone;

use super::machine::Remnant;

/// The version of requests and receipts.
pub const REQUEST_VERSION: u32 = 1;
/// The longest request that is read, in bytes.
pub const MAX_REQUEST: u64 = 64 << 10;

/// The elevated program's file, beside the harness's own.
pub const SETUP_PROGRAM: &str = "ringfence-setup.exe";
/// Before the path of the request: `ringfence-setup VERB --request FILE --plan HASH --receipt PIPE`.
pub const REQUEST_ARGUMENT: &str = "--request";
/// Before the hash that the person has seen and consented to.
pub const PLAN_ARGUMENT: &str = "--plan";
/// Before the name of a pipe of ours that the harness made: the receipt is written there as JSON, and the pipe closed.
///
/// A pipe, because a file that an elevated program writes where the person may write could be led elsewhere. Without
/// it the receipt goes to standard output.
pub const RECEIPT_ARGUMENT: &str = "--receipt";
/// An uninstall where the machine's ledger is damaged: what is before the damage, and what the states of finished
/// set-ups record, is taken back.
pub const DAMAGED_ARGUMENT: &str = "--damaged-ledger";
/// Before the path of a tree that an uninstall looks through for what is left.
pub const SCAN_ARGUMENT: &str = "--scan";
/// The longest receipt that is read, in bytes.
pub const MAX_RECEIPT: u64 = 4 << 20;

/// What the elevated program is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// [`REQUEST_VERSION`].
    pub version: u32,
    /// The hash of the machine steps: `WindowsPlan::machine_hash`, which the person has consented to.
    pub plan: String,
    /// What the steps are made from.
    pub subject: Subject,
    /// The process that asks, as that person: the marker is opened with its rights before success is reported.
    pub caller: Option<u32>,
}

/// What is true of the machine that a request comes to, found out by the elevated program itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// `%ProgramData%`, from the system and not from the environment.
    pub program_data: WindowsPath,
    /// The SID that local accounts are children of.
    pub machine: Sid,
    /// The name of the account with the request's SID.
    pub name: String,
    /// The ports that the system gives out by itself.
    pub dynamic: PortRange,
    /// Whether an account has the request's marker for its SID.
    pub marker_is_an_account: bool,
}

/// Why a request is refused; nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is too long, no JSON, or has a field that is not known.
    #[error("the request can't be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// It is of another version.
    #[error(
        "the request has version {found}, and this program knows {REQUEST_VERSION}: use programs of one release"
    )]
    Version {
        /// Which.
        found: u32,
    },
    /// A value can't be as it is.
    #[error("the request's {field} {reason}; run `ringfence setup install` again")]
    Value {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Its steps are not those that were consented to.
    #[error(
        "the request's steps have the hash {made}, and {consented} was consented to; run `ringfence setup install` again"
    )]
    Hash {
        /// What was made here.
        made: String,
        /// What was consented to.
        consented: String,
    },
}

/// Reads a request.
///
/// # Errors
/// [`RequestError::Unreadable`], [`RequestError::Version`].
pub fn read_request(bytes: &[u8]) -> Result<SetupRequest, RequestError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > MAX_REQUEST {
        let reason = format!("it has {length} bytes");
        return Err(RequestError::Unreadable { reason });
    }
    let request: SetupRequest =
        serde_json::from_slice(bytes).map_err(|error| RequestError::Unreadable {
            reason: error.to_string(),
        })?;
    if request.version == REQUEST_VERSION {
        return Ok(request);
    }
    Err(RequestError::Version {
        found: request.version,
    })
}

/// The steps of a request, made anew, if everything that it chooses is harmless and they are what was consented to.
///
/// `consented` is the hash on the command line that the person saw; the file may have changed since.
///
/// # Errors
/// [`RequestError`].
pub fn admit(
    request: &SetupRequest,
    consented: &str,
    here: &Surroundings,
) -> Result<Vec<MachineStep>, RequestError> {
    let wrong = |field, reason| Err(RequestError::Value { field, reason });
    let Subject {
        person,
        name,
        program_data,
        marker,
        proxy,
        dynamic,
        loopback: _,
        form: _,
    } = &request.subject;
    // Safe: accounts, group and directories bear a hash of this SID. Asked for another person, they are of use to that
    // person alone: nobody else may read the record.
    if person.authority() != 5 || person.subauthorities().first() != Some(&21) {
        return wrong("person", "is no account of a machine or a domain");
    }
    // Safe: it is a comment that an administrator reads, and must be what the system calls that account.
    if *name != here.name {
        return wrong("name", "is not the account's");
    }
    // Safe: every directory lies below the machine's own.
    if *program_data != here.program_data {
        return wrong("program_data", "is not this machine's");
    }
    // Safe: filters and denials name it beside the Offline account; a SID of ours is in no other token. The shape of a
    // domain's account is taken where no account has it.
    match kind_of(*marker) {
        Some(SidKind::Marker) => {}
        Some(
            SidKind::Write
            | SidKind::Commit
            | SidKind::Session
            | SidKind::Home
            | SidKind::Placeholder,
        ) => return wrong("marker", "is a SID of another kind"),
        None if is_unused_domain_sid(*marker, *person, here) => {}
        None => return wrong("marker", "may be somebody's SID"),
    }
    // Safe: ports that anybody uses or has reserved are not taken; these are as many as a plan ever reserves, and none
    // that a service is known by.
    let count = proxy.last.checked_sub(proxy.first).map(|more| more + 1);
    if count != Some(PROXY_PORTS) || proxy.first < 1024 {
        return wrong("proxy ports", "are not a range that a plan reserves");
    }
    // Safe: it opens loopback for the Offline account alone, and only where the system's own dynamic ports are.
    if *dynamic != here.dynamic {
        return wrong("dynamic ports", "are not this machine's");
    }
    // Safe: both values of `loopback` are narrower than what the person may do. Each form of filters blocks the Offline
    // account alone, but for the anonymous and the restricted, which the plan names that was consented to.
    let steps = request
        .subject
        .steps()
        .map_err(|error| RequestError::Unreadable {
            reason: error.to_string(),
        })?;
    agreed(request, consented)?;
    Ok(steps)
}

/// Whether a request's steps are those that were consented to. Asked for every verb: an uninstall for somebody else than
/// the person who asked would take their set-up away.
///
/// # Errors
/// [`RequestError::Hash`].
///
/// # Security
/// The file may have been changed since the person saw it; the hash on the command line can't.
pub fn agreed(request: &SetupRequest, consented: &str) -> Result<(), RequestError> {
    let made = request.subject.hash().unwrap_or_default();
    for claimed in [request.plan.as_str(), consented] {
        if claimed != made || made.is_empty() {
            return Err(RequestError::Hash {
                made,
                consented: claimed
                    .chars()
                    .filter(char::is_ascii_hexdigit)
                    .take(64)
                    .collect(),
            });
        }
    }
    Ok(())
}

/// Whether a SID of the shape `S-1-5-21-a-b-c-d` is nobody's: not of this machine, not of the person's domain.
fn is_unused_domain_sid(marker: Sid, person: Sid, here: &Surroundings) -> bool {
    let (5, [21, a, b, c, _]) = (marker.authority(), marker.subauthorities()) else {
        return false;
    };
    let domain = [21, *a, *b, *c];
    !here.marker_is_an_account
        && !here.machine.subauthorities().starts_with(&domain)
        && !person.subauthorities().starts_with(&domain)
}

/// What the elevated program was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetupVerb {
    /// Everything that is missing is made.
    Install,
    /// The same, on a machine where an earlier set-up was.
    Repair,
    /// What was made is tried out.
    Verify,
    /// What was made is taken back, and what is left is listed.
    Uninstall,
    /// The machine's ledger is shown.
    Dump,
}

impl SetupVerb {
    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Repair => "repair",
            Self::Verify => "verify",
            Self::Uninstall => "uninstall",
            Self::Dump => "dump",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetupOutcome {
    /// It is done, and was read back.
    Done,
    /// There was nothing to do.
    Unchanged,
    /// The request was refused; nothing was done.
    Refused,
    /// This system says yes and enforces nothing; what was done is undone.
    NotEnforced,
    /// A set-up is missing or did not finish.
    Incomplete,
    /// It failed; what was done is undone unless `left` says otherwise.
    Failed,
    /// Something is left, or could not be undone.
    Left,
}

/// What trying something out has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It was done, and held.
    Proven,
    /// It was done, and did not hold.
    Failed,
    /// It could not be done.
    NotTried,
}

/// One thing that was tried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried, in a stable word or two.
    pub name: String,
    /// What came of it.
    pub proof: Proof,
    /// What was seen.
    pub detail: String,
}

/// Something that failed, with its causes and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What failed, and why: the outermost first.
    pub causes: Vec<String>,
    /// The Win32 code below it all, if a call failed.
    pub code: Option<u32>,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

/// What the elevated program answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupReceipt {
    /// [`REQUEST_VERSION`].
    pub version: u32,
    /// What was asked for.
    pub verb: SetupVerb,
    /// How it ended.
    pub outcome: SetupOutcome,
    /// For whom.
    pub person: Option<Sid>,
    /// The hash of the machine steps that are done now.
    pub machine_hash: Option<String>,
    /// The accounts and the group, where they are made.
    pub accounts: Option<AccountSids>,
    /// What was changed.
    pub changed: Vec<String>,
    /// What was undone, and how each ended.
    pub undone: Vec<(String, Undone)>,
    /// What was tried out.
    pub checks: Vec<Check>,
    /// What is left.
    pub left: Vec<Remnant>,
    /// What failed.
    pub faults: Vec<Fault>,
    /// The machine's ledger, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<serde_json::Value>,
}

impl SetupReceipt {
    /// An answer that says nothing yet.
    #[must_use]
    pub const fn new(verb: SetupVerb, outcome: SetupOutcome) -> Self {
        Self {
            version: REQUEST_VERSION,
            verb,
            outcome,
            person: None,
            machine_hash: None,
            accounts: None,
            changed: Vec::new(),
            undone: Vec::new(),
            checks: Vec::new(),
            left: Vec::new(),
            faults: Vec::new(),
            ledger: None,
        }
    }
}

#[cfg(test)]
mod tests;
