//! The verbs of set-up: how each step is looked at, done and undone.
//!
//! They keep no record of it; that is [`super::setup`]. Invariant: nothing is changed that was there before us and is
//! not ours, and a change counts when it has been read back.

mod act;
mod look;
mod undo;

use ringfence_plan::windows::step::MachineStep;

use crate::call::CallFailure;

use super::books::{Before, MachineReceipt};
use super::trustees::KnownAccounts;

pub(super) use act::act;
pub(super) use look::look;
pub(super) use undo::{forget, undo};

/// Why a step was not done or not undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A call failed.
    #[error("a call to the system failed")]
    Call(#[source] CallFailure),
    /// The system said yes and did nothing, or something else.
    #[error("{object} is not as it was asked for, although the system said yes")]
    NotKept {
        /// What.
        object: String,
    },
    /// Something of that name is there that we did not make.
    #[error(
        "{object} {reason}; nothing was done to it: look at it, and run `ringfence setup install` again when it is gone"
    )]
    Foreign {
        /// What.
        object: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The plan names an account or a group before it makes it.
    #[error("the plan names an account or a group before it makes it")]
    TrusteeUnknown,
    /// Another person of this machine has it otherwise.
    #[error("{object} is set for another person of this machine, and otherwise")]
    HeldByAnother {
        /// What.
        object: String,
    },
}

/// What the ledger says about a step that is about to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: what is there is not ours.
    Nothing,
    /// It was about to be done, and nobody knows what came of it.
    Intended,
    /// It was done.
    Received(MachineReceipt),
}

/// A step, with what is known of its person and of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb<'a> {
    /// The step, its trustees resolved.
    pub(super) step: &'a MachineStep,
    /// The person's accounts and group.
    pub(super) accounts: KnownAccounts,
    /// What the ledger says.
    pub(super) known: Known,
}

/// What a look at the machine showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not done, or not wholly; what is there comes back when it is undone.
    Absent(Before),
    /// It is done.
    Done(MachineReceipt),
    /// What is there is not ours.
    Foreign(&'static str),
}

/// What a step is about, in words.
#[must_use]
pub fn describe(step: &MachineStep) -> String {
    match step {
        MachineStep::EnsureGroup { name, .. } => format!("the group {name}"),
        MachineStep::EnsureAccount { name, .. } => format!("the account {name}"),
        MachineStep::DenyLogon { role, .. } => format!("the denied logons of the {role:?} account"),
        MachineStep::MakeDirectory { path, .. } => format!("the directory {}", path.printable()),
        MachineStep::SetValue { key, name, .. } => format!("the value HKLM\\{key}\\{name}"),
        MachineStep::InstallFilters { filters } => format!("{} network filters", filters.len()),
        MachineStep::AddFirewallRule { rule } => format!("the firewall rule {}", rule.name),
        MachineStep::ReservePorts { ports } => {
            format!("the TCP ports {} to {}", ports.first, ports.last)
        }
    }
}
