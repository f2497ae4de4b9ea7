//! What was done to a machine, written down before it is done.
//!
//! Two ledgers exist: the machine's, which set-up writes, and each person's, which the harness writes. Both are files
//! of chained records ([`frame`]); an entry is an intent, flushed before the change, and a receipt after it. The file
//! itself belongs to a [`LedgerStore`]: this module reaches no disk.
//!
//! Invariant: whatever outlives a session has an entry that was on the disk before it was made, and the entry is
//! open until it is undone.

mod book;
pub mod frame;
mod record;
mod store;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use book::{Entry, Ledger, LedgerError, Transaction, read_untrusted};
pub use frame::{Damage, Sequence};
pub use record::{Book, Direction, Fit, LedgerKind, Record, Undone};
pub use store::{LedgerStore, MemoryStore, StoreFailure};
