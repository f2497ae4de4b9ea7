//! What is done to a Windows machine and to a person's files, and how it is taken back.
//!
//! The operating system is behind two traits, [`Machine`] for set-up and `Files` for the person's own rights;
//! [`fake`] is a machine in memory behind both. Nothing of this has been executed on Windows yet.
//!
//! Invariant: nothing is changed without an entry that was on the disk before, and removal follows the entries.

mod books;
pub mod fake;
mod machine;
mod scan;
mod setup;
mod trustees;
mod verbs;

pub use books::{
    Before, MachineBook, MachineIntent, MachineReceipt, Merging, Never, PersonBook, PersonIntent,
    PersonReceipt,
};
pub use machine::{
    Account, Directory, Group, KeyBefore, Logon, Machine, NewAccount, Remnant, RemnantKind,
    Reservation, StoredValue,
};
pub use scan::leftover_of_machine;
pub use setup::{Applied, Failure, Removed, Setup, SetupError, UndoError};
pub use trustees::KnownAccounts;
pub use verbs::{StepError, describe};

#[cfg(test)]
mod tests;
