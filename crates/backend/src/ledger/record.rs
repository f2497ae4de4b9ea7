//! What the records of a ledger say.
//!
//! Bodies are JSON, so that an administrator can read what was done, and so that a later program can read what an
//! earlier one wrote. Invariant: a record that is written is read back as the same record.

use std::fmt::Debug;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use ringfence_nt::{SecurityDescriptor, Sid};

use super::frame::{Damage, Frame, Kind, Sequence};

/// Which of the two ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerKind {
    /// The machine's, written by set-up.
    Machine,
    /// A person's, written by the harness.
    Person,
}

/// What one of the two ledgers holds.
pub trait Book: Clone + Debug + PartialEq {
    /// Which it is.
    const KIND: LedgerKind;
    /// What is about to be done, with all that its inverse needs.
    type Intent: Clone + Debug + PartialEq + Serialize + DeserializeOwned;
    /// What came of it.
    type Receipt: Clone + Debug + PartialEq + Serialize + DeserializeOwned;
    /// What is about to be undone, where the machine alone would not tell afterwards.
    type Undoing: Clone + Debug + PartialEq + Serialize + DeserializeOwned;

    /// The numbers of the descriptors that an intent names.
    fn descriptors(intent: &Self::Intent) -> Vec<u32>;

    /// The same for an undoing.
    fn undoing_descriptors(undoing: &Self::Undoing) -> Vec<u32>;

    /// Whether `receipt` can come of `intent`.
    fn fits(intent: &Self::Intent, receipt: &Self::Receipt) -> Fit;
}

/// Whether a receipt can come of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It can.
    Possible,
    /// It can't: the record was made up.
    Impossible,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To install.
    Install,
    /// To remove.
    Uninstall,
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undone {
    /// It had never been done.
    NeverDone,
    /// What was there before is there again.
    Restored,
    /// Another changed it since: exactly what the step had added was taken away, and the change kept.
    Merged,
    /// The object is gone.
    Gone,
    /// Somebody else on this machine still needs it.
    HeldByAnother,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<B: Book> {
    /// Which ledger this is.
    Opening {
        /// Its kind.
        kind: LedgerKind,
    },
    /// A transaction begins.
    Begun {
        /// Whose.
        person: Sid,
        /// What for.
        direction: Direction,
    },
    /// The next descriptor: they are numbered from 0 in the order in which they come.
    Descriptor(Box<SecurityDescriptor>),
    /// What is about to be done. Its number names the entry.
    Intent(B::Intent),
    /// What came of it.
    Receipt {
        /// The entry.
        entry: Sequence,
        /// What came.
        receipt: B::Receipt,
    },
    /// What is about to be undone.
    Undoing {
        /// The entry.
        entry: Sequence,
        /// How.
        undoing: B::Undoing,
    },
    /// The entry is closed.
    Undone {
        /// The entry.
        entry: Sequence,
        /// How it ended.
        outcome: Undone,
    },
    /// The transaction is over.
    Ended {
        /// Whose.
        person: Sid,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    kind: LedgerKind,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    person: Sid,
    direction: Direction,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfEntry<T> {
    entry: Sequence,
    what: T,
}

impl<B: Book> Record<B> {
    /// The record's kind and body.
    ///
    /// # Errors
    /// That of the JSON writer; none of the types here gives one.
    pub fn encode(&self) -> Result<(Kind, Vec<u8>), serde_json::Error> {
        Ok(match self {
            Self::Opening { kind } => {
                (Kind::Opening, serde_json::to_vec(&Opening { kind: *kind })?)
            }
            Self::Begun { person, direction } => (
                Kind::Begun,
                serde_json::to_vec(&Begun {
                    person: *person,
                    direction: *direction,
                })?,
            ),
            Self::Descriptor(descriptor) => (Kind::Descriptor, serde_json::to_vec(descriptor)?),
            Self::Intent(intent) => (Kind::Intent, serde_json::to_vec(intent)?),
            Self::Receipt { entry, receipt } => (Kind::Receipt, body(*entry, receipt)?),
            Self::Undoing { entry, undoing } => (Kind::Undoing, body(*entry, undoing)?),
            Self::Undone { entry, outcome } => (Kind::Undone, body(*entry, outcome)?),
            Self::Ended { person } => (Kind::Ended, serde_json::to_vec(person)?),
        })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Damage::Body`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, Damage> {
        Ok(match frame.kind {
            Kind::Opening => Self::Opening {
                kind: read::<Opening>(frame)?.kind,
            },
            Kind::Begun => {
                let Begun { person, direction } = read(frame)?;
                Self::Begun { person, direction }
            }
            Kind::Descriptor => Self::Descriptor(read(frame)?),
            Kind::Intent => Self::Intent(read(frame)?),
            Kind::Receipt => {
                let OfEntry { entry, what } = read(frame)?;
                Self::Receipt {
                    entry,
                    receipt: what,
                }
            }
            Kind::Undoing => {
                let OfEntry { entry, what } = read(frame)?;
                Self::Undoing {
                    entry,
                    undoing: what,
                }
            }
            Kind::Undone => {
                let OfEntry { entry, what } = read(frame)?;
                Self::Undone {
                    entry,
                    outcome: what,
                }
            }
            Kind::Ended => Self::Ended {
                person: read(frame)?,
            },
        })
    }
}

fn body<T: Serialize>(entry: Sequence, what: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&OfEntry { entry, what })
}

fn read<T: DeserializeOwned>(frame: &Frame<'_>) -> Result<T, Damage> {
    serde_json::from_slice(frame.body).map_err(|error| Damage::Body {
        record: frame.sequence,
        reason: error.to_string(),
    })
}
