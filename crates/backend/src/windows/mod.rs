//! What is done to a Windows machine and to a person's files, and how it is taken back.
//!
//! The operating system is behind two traits, [`Machine`] for set-up and [`Files`] for the person's own rights;
//! [`fake`] is a machine in memory behind both. Nothing of this has been executed on Windows yet.
//!
//! Invariant: nothing is changed without an entry that was on the disk before, and removal follows the entries.

mod books;
mod closed;
mod codes;
mod descent;
mod due;
pub mod fake;
mod files;
mod grants;
pub mod guard;
mod listing;
mod machine;
mod merge;
mod operations;
mod plan_rule;
mod record;
mod request;
pub mod runner;
mod scan;
mod setup;
mod tend;
mod trustees;
mod untrusted;
mod verbs;

pub use books::{
    Before, MachineBook, MachineIntent, MachineReceipt, Merging, Never, PersonBook, PersonIntent,
    PersonReceipt,
};
pub use closed::{Opened, open_closed};
pub use codes::{CODES, CodeMeaning, explain_code, render_codes};
pub use due::{Due, SetupDue};
pub use files::{Files, ObjectState, Redirection};
pub use grants::{
    GrantError, Granted, Grants, ObjectError, ObjectFailure, ObjectFault, ObjectRule, Progress,
    Refusal, Revoked, WalkReport, Walking,
};
pub use listing::{LISTED, Listing};
pub use machine::{
    Account, AccountName, Directory, KeyBefore, Logon, Machine, NewAccount, PasswordRule,
    Principal, ProfileGuard, Remnant, RemnantKind, Reservation, StoredValue,
};
pub use merge::{merge, same};
pub use operations::render_operations;
pub use plan_rule::{PlanRule, sids_of};
pub use record::{InstalledState, STATE_VERSION, StateError, marker_of};
pub use request::{
    Check, DAMAGED_ARGUMENT, Fault, MAX_RECEIPT, MAX_REQUEST, PLAN_ARGUMENT, Proof,
    RECEIPT_ARGUMENT, REQUEST_ARGUMENT, REQUEST_VERSION, RequestError, SCAN_ARGUMENT,
    SETUP_PROGRAM, SetupOutcome, SetupReceipt, SetupRequest, SetupVerb, Surroundings, admit,
    agreed, read_request,
};
pub use scan::{
    everything_of_machine, leftover_beside, leftover_of_files, leftover_of_machine,
    leftover_of_person,
};
pub use setup::{Applied, Failure, Removed, Setup, SetupError, UndoError, Uninstalled, salvage};
pub use tend::{Changes, ReparsePoints, Tender};
pub use trustees::KnownAccounts;
pub use untrusted::{Cleansed, MAX_LEDGER, Skip, remove_our_entries};
pub use verbs::{StepError, describe};

#[cfg(test)]
mod tests;
