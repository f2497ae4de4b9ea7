//! The bytes of a ledger: records that are numbered, sealed and chained.
//!
//! A record is a head of 18 bytes (version, kind, length of the body, sequence, a check of these), the body, and a
//! seal: the SHA-256 of the seal before, the head and the body. The first seal before is that of the ledger's kind.
//!
//! It judges no body. Invariant: bytes are either read whole, or read whole but for a last record that never reached
//! the disk, or refused with the number of the record that is wrong.
//!
//! # Security
//! The chain finds damage and careless edits. Whoever may write the file can make a new chain, or end it earlier: the
//! machine's ledger is kept by its descriptor, and the person's is taken for hostile by an elevated program.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::record::LedgerKind;

/// The version of this format.
pub const VERSION: u8 = 1;
/// The length of a record's head.
pub const HEAD: usize = 18;
/// The length of a record's seal.
pub const SEAL: usize = 32;
/// The largest body. A descriptor of 64 KiB, the largest that NT knows, stays far below it.
pub const MAX_BODY: usize = 1 << 20;

/// Where the check of a head begins.
const CHECK: usize = 14;

/// A record's number, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl std::fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first record: which ledger this is.
    Opening = 1,
    /// A transaction begins.
    Begun = 2,
    /// A descriptor that later records name by its number.
    Descriptor = 3,
    /// What is about to be done.
    Intent = 4,
    /// What came of it.
    Receipt = 5,
    /// What is about to be undone, where that can't be told from the machine afterwards.
    Undoing = 6,
    /// It is undone.
    Undone = 7,
    /// The transaction is over.
    Ended = 8,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Opening,
        Self::Begun,
        Self::Descriptor,
        Self::Intent,
        Self::Receipt,
        Self::Undoing,
        Self::Undone,
        Self::Ended,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One record, its body still unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number.
    pub sequence: Sequence,
    /// Its body.
    pub body: &'a [u8],
}

/// What is wrong with a ledger, and at which record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// There is not even a first record.
    #[error("the ledger has no first record")]
    Empty,
    /// NUL bytes stand where a record should begin, and something after them.
    #[error("record {record} of the ledger is NUL bytes")]
    Nul {
        /// Which.
        record: Sequence,
    },
    /// A version that this program does not know.
    #[error("record {record} of the ledger has version {found}, and this program knows {VERSION}")]
    Version {
        /// Which.
        record: Sequence,
        /// Its version.
        found: u8,
    },
    /// A head does not fit its own check.
    #[error("the head of record {record} of the ledger is damaged")]
    Head {
        /// Which.
        record: Sequence,
    },
    /// A kind that this program does not know.
    #[error("record {record} of the ledger is of the unknown kind {found}")]
    Kind {
        /// Which.
        record: Sequence,
        /// Its kind.
        found: u8,
    },
    /// A body longer than any that is written.
    #[error("record {record} of the ledger claims {length} bytes")]
    Length {
        /// Which.
        record: Sequence,
        /// What it claims.
        length: u32,
    },
    /// A record out of its place: taken away, put in, moved or repeated.
    #[error("record {record} of the ledger carries the number {found}")]
    Sequence {
        /// Which it should be.
        record: Sequence,
        /// Which it is.
        found: Sequence,
    },
    /// A record does not fit its seal and all before it.
    #[error("record {record} of the ledger does not fit its seal")]
    Seal {
        /// Which.
        record: Sequence,
    },
    /// A body that can't be read.
    #[error("record {record} of the ledger can't be read: {reason}")]
    Body {
        /// Which.
        record: Sequence,
        /// Why.
        reason: String,
    },
    /// A record that can't stand where it stands.
    #[error("record {record} of the ledger {reason}")]
    Order {
        /// Which.
        record: Sequence,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A body is longer than [`MAX_BODY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {length} bytes is longer than the ledger takes")]
pub struct TooLong {
    /// How long it is.
    pub length: usize,
}

/// Where the next record goes: its number, and the seal before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    next: Sequence,
    seal: [u8; SEAL],
}

impl Chain {
    /// The chain of an empty ledger.
    #[must_use]
    pub fn start(kind: LedgerKind) -> Self {
        let name = match kind {
            LedgerKind::Machine => "ringfence machine ledger",
            LedgerKind::Person => "ringfence person ledger",
        };
        Self {
            next: Sequence(0),
            seal: Sha256::digest(name).into(),
        }
    }

    /// The number of the next record.
    #[must_use]
    pub const fn next(&self) -> Sequence {
        self.next
    }

    /// Writes a record to the end of `out`.
    ///
    /// # Errors
    /// [`TooLong`]; then nothing was written.
    pub fn append(
        &mut self,
        kind: Kind,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Sequence, TooLong> {
        let too_long = TooLong { length: body.len() };
        if body.len() > MAX_BODY {
            return Err(too_long);
        }
        let length = u32::try_from(body.len()).map_err(|_| too_long)?;
        let mut head = Vec::with_capacity(HEAD);
        head.extend([VERSION, kind as u8]);
        head.extend(length.to_le_bytes());
        head.extend(self.next.0.to_le_bytes());
        head.extend(check_of(&head));
        let sequence = self.next;
        out.extend(&head);
        out.extend(body);
        out.extend(self.seal(&head, body));
        Ok(sequence)
    }

    /// Seals the next record, and goes on to the one after it.
    fn seal(&mut self, head: &[u8], body: &[u8]) -> [u8; SEAL] {
        self.seal = self.sealed(head, body);
        self.next = Sequence(self.next.0.saturating_add(1));
        self.seal
    }

    fn sealed(&self, head: &[u8], body: &[u8]) -> [u8; SEAL] {
        let mut hash = Sha256::new();
        hash.update(self.seal);
        hash.update(head);
        hash.update(body);
        hash.finalize().into()
    }
}

fn check_of(head: &[u8]) -> [u8; 4] {
    let digest: [u8; SEAL] = Sha256::digest(head).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// Reads record after record, until the end, a last record that never reached the disk, or damage.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
    chain: Chain,
    over: bool,
}

/// What stands at an offset.
enum Next<'a> {
    Frame(Frame<'a>, usize),
    End,
    Damage(Damage),
}

impl<'a> Frames<'a> {
    /// Reads `bytes` as a ledger of that kind.
    #[must_use]
    pub fn new(bytes: &'a [u8], kind: LedgerKind) -> Self {
        Self {
            bytes,
            offset: 0,
            chain: Chain::start(kind),
            over: false,
        }
    }

    /// How many bytes the records take that were read so far: what comes after them is to be cut off at the end.
    #[must_use]
    pub const fn intact(&self) -> usize {
        self.offset
    }

    /// The chain after the records that were read so far.
    #[must_use]
    pub fn into_chain(self) -> Chain {
        self.chain
    }

    fn look(&mut self) -> Next<'a> {
        let record = self.chain.next;
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() && record != Sequence(0) {
            return Next::End;
        }
        let Some((head, after)) = rest.split_first_chunk::<HEAD>() else {
            return self.torn();
        };
        if rest.iter().all(|byte| *byte == 0) {
            return self.torn();
        }
        let (kind, length) = match read_head(*head, record) {
            Ok(read) => read,
            Err(damage) => return Next::Damage(damage),
        };
        let Some((body, after)) = after.split_at_checked(length) else {
            return self.torn();
        };
        let Some((seal, after)) = after.split_first_chunk::<SEAL>() else {
            return self.torn();
        };
        if *seal != self.chain.sealed(head, body) {
            // The file had grown when the power went, and what was to stand there had not been written.
            return if *seal == [0; SEAL] && after.iter().all(|byte| *byte == 0) {
                self.torn()
            } else {
                Next::Damage(Damage::Seal { record })
            };
        }
        let frame = Frame {
            kind,
            sequence: record,
            body,
        };
        self.chain.seal(head, body);
        Next::Frame(frame, HEAD.saturating_add(length).saturating_add(SEAL))
    }

    /// A record that never reached the disk whole. The first one is put there by a rename: it can't be torn.
    fn torn(&self) -> Next<'a> {
        if self.chain.next != Sequence(0) {
            return Next::End;
        }
        Next::Damage(
            if self.bytes.contains(&0) && self.bytes.iter().all(|byte| *byte == 0) {
                Damage::Nul {
                    record: Sequence(0),
                }
            } else {
                Damage::Empty
            },
        )
    }
}

fn read_head(head: [u8; HEAD], record: Sequence) -> Result<(Kind, usize), Damage> {
    let [version, kind, l0, l1, l2, l3, sequence @ .., c0, c1, c2, c3] = head;
    if head == [0; HEAD] {
        return Err(Damage::Nul { record });
    }
    if version != VERSION {
        return Err(Damage::Version {
            record,
            found: version,
        });
    }
    if check_of(head.get(..CHECK).unwrap_or_default()) != [c0, c1, c2, c3] {
        return Err(Damage::Head { record });
    }
    let found = Sequence(u64::from_le_bytes(sequence));
    if found != record {
        return Err(Damage::Sequence { record, found });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let kind = Kind::of(kind).ok_or(Damage::Kind {
        record,
        found: kind,
    })?;
    match usize::try_from(length) {
        Ok(length) if length <= MAX_BODY => Ok((kind, length)),
        Ok(_) | Err(_) => Err(Damage::Length { record, length }),
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.look() {
            Next::Frame(frame, length) => {
                self.offset = self.offset.saturating_add(length);
                Some(Ok(frame))
            }
            Next::End => {
                self.over = true;
                None
            }
            Next::Damage(damage) => {
                self.over = true;
                Some(Err(damage))
            }
        }
    }
}
