//! What the two ledgers of a Windows machine hold.
//!
//! Invariant: an intent has all that its undoing needs, so that nothing has to be asked of a machine that has already
//! been changed.

use serde::{Deserialize, Serialize};

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{
    FileId, Filter, FirewallRule, LogonRight, MachineStep, Object, Purpose,
};

use crate::ledger::{Book, Fit, LedgerKind};

use super::machine::{KeyBefore, StoredValue};

/// The machine's ledger: steps of set-up, each with the person whom it was done for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineBook;

/// A step of set-up that is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineIntent {
    /// For whom.
    pub person: Sid,
    /// The step, its trustees resolved.
    pub step: MachineStep,
    /// What was there.
    pub before: Before,
}

/// What was there before a step was done, and comes back when it is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Nothing.
    Nothing,
    /// The account itself, ours, in need of mending.
    Principal,
    /// Our directory, with this descriptor, from an earlier set-up.
    Directory(Box<SecurityDescriptor>),
    /// Of the ways to sign in, these were denied already.
    Logons(Vec<LogonRight>),
    /// The value, and whether its key was there.
    Value {
        /// What it held.
        value: Option<StoredValue>,
        /// Its key.
        key: KeyBefore,
    },
    /// Filters of the same keys, from an earlier set-up.
    Filters(Vec<Filter>),
    /// Our rule of the same name, from an earlier set-up.
    Rules(Vec<FirewallRule>),
}

impl Before {
    /// The ways to sign in that were denied already.
    #[must_use]
    pub fn logons(&self) -> &[LogonRight] {
        match self {
            Self::Logons(logons) => logons,
            Self::Nothing
            | Self::Principal
            | Self::Directory(_)
            | Self::Value { .. }
            | Self::Filters(_)
            | Self::Rules(_) => &[],
        }
    }

    /// The filters of an earlier set-up.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        match self {
            Self::Filters(filters) => filters,
            Self::Nothing
            | Self::Principal
            | Self::Directory(_)
            | Self::Logons(_)
            | Self::Value { .. }
            | Self::Rules(_) => &[],
        }
    }

    /// The rules of an earlier set-up.
    #[must_use]
    pub fn rules(&self) -> &[FirewallRule] {
        match self {
            Self::Rules(rules) => rules,
            Self::Nothing
            | Self::Principal
            | Self::Directory(_)
            | Self::Logons(_)
            | Self::Value { .. }
            | Self::Filters(_) => &[],
        }
    }

    /// The value, and whether its key was there.
    #[must_use]
    pub const fn value(&self) -> (Option<&StoredValue>, KeyBefore) {
        match self {
            Self::Value { value, key } => (value.as_ref(), *key),
            Self::Nothing
            | Self::Principal
            | Self::Directory(_)
            | Self::Logons(_)
            | Self::Filters(_)
            | Self::Rules(_) => (None, KeyBefore::There),
        }
    }
}

/// What came of a step of set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineReceipt {
    /// An account or group of this SID.
    Principal(Sid),
    /// A directory of this id.
    Directory(FileId),
    /// A value with this SHA-256: what was drawn at random is not written down.
    Value([u8; 32]),
    /// What the step says, and nothing that it does not.
    Done,
}

impl Book for MachineBook {
    const KIND: LedgerKind = LedgerKind::Machine;
    type Intent = MachineIntent;
    type Receipt = MachineReceipt;
    type Undoing = Never;

    fn descriptors(_: &MachineIntent) -> Vec<u32> {
        Vec::new()
    }

    fn undoing_descriptors(undoing: &Never) -> Vec<u32> {
        match *undoing {}
    }

    fn fits(intent: &MachineIntent, receipt: &MachineReceipt) -> Fit {
        let fits = match intent.step {
            MachineStep::EnsureGroup { .. } | MachineStep::EnsureAccount { .. } => {
                matches!(receipt, MachineReceipt::Principal(_))
            }
            MachineStep::MakeDirectory { .. } => matches!(receipt, MachineReceipt::Directory(_)),
            MachineStep::SetValue { .. } => matches!(receipt, MachineReceipt::Value(_)),
            MachineStep::DenyLogon { .. }
            | MachineStep::InstallFilters { .. }
            | MachineStep::AddFirewallRule { .. }
            | MachineStep::ReservePorts { .. } => matches!(receipt, MachineReceipt::Done),
        };
        if fits { Fit::Possible } else { Fit::Impossible }
    }
}

/// The machine's own undoing leaves nothing open: a look at the machine tells how far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Never {}

/// A person's ledger: descriptors of objects, and homes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonBook;

/// A step with the person's own rights that is about to be done. Descriptors are numbers of records before it: most
/// objects of a tree share a few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PersonIntent {
    /// Replaces the DACL of one object.
    SetDacl {
        /// Which.
        object: Object,
        /// Why.
        purpose: Purpose,
        /// Its descriptor.
        before: u32,
        /// Its descriptor afterwards.
        after: u32,
    },
    /// Brings what lies below a directory in line with it.
    Walk {
        /// The directory.
        root: Object,
        /// Its purpose.
        purpose: Purpose,
    },
    /// Makes the private home of a root.
    MakeHome {
        /// Where.
        path: WindowsPath,
        /// Its descriptor.
        descriptor: u32,
    },
}

/// What came of such a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonReceipt {
    /// It was read back.
    Done,
    /// A home of this id.
    Home(FileId),
}

/// How a descriptor that another changed since is about to be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merging {
    /// The descriptor that will be written.
    pub target: u32,
}

impl Book for PersonBook {
    const KIND: LedgerKind = LedgerKind::Person;
    type Intent = PersonIntent;
    type Receipt = PersonReceipt;
    type Undoing = Merging;

    fn descriptors(intent: &PersonIntent) -> Vec<u32> {
        match intent {
            PersonIntent::SetDacl { before, after, .. } => vec![*before, *after],
            PersonIntent::Walk { .. } => Vec::new(),
            PersonIntent::MakeHome { descriptor, .. } => vec![*descriptor],
        }
    }

    fn undoing_descriptors(undoing: &Merging) -> Vec<u32> {
        vec![undoing.target]
    }

    fn fits(intent: &PersonIntent, receipt: &PersonReceipt) -> Fit {
        let fits = match (intent, receipt) {
            (PersonIntent::SetDacl { .. } | PersonIntent::Walk { .. }, PersonReceipt::Done)
            | (PersonIntent::MakeHome { .. }, PersonReceipt::Home(_)) => true,
            (PersonIntent::SetDacl { .. } | PersonIntent::Walk { .. }, PersonReceipt::Home(_))
            | (PersonIntent::MakeHome { .. }, PersonReceipt::Done) => false,
        };
        if fits { Fit::Possible } else { Fit::Impossible }
    }
}
