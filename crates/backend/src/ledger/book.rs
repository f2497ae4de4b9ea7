//! A ledger that is open: its entries, its descriptors, and the file behind them.
//!
//! It does nothing to a machine. Invariant: what [`Ledger::entries`] shows is what reading the file again would show.

use std::collections::{BTreeMap, HashMap};

use ringfence_nt::{SecurityDescriptor, Sid};

use super::frame::{Chain, Damage, Frames, Sequence, TooLong};
use super::record::{Book, Direction, Fit, Record, Undone};
use super::store::{LedgerStore, StoreFailure};

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its file can't be used.
    #[error("can't use the ledger")]
    Store(#[source] StoreFailure),
    /// It is damaged.
    #[error(
        "the ledger is damaged; look at it with `ringfence setup dump`; `ringfence setup uninstall` lists what is there"
    )]
    Damaged(#[source] Damage),
    /// An earlier record could not be written: nothing is appended behind it.
    #[error("the ledger could not be written before; begin again")]
    Stuck,
    /// A record is too long.
    #[error("a record does not fit into the ledger")]
    TooLong(#[source] TooLong),
    /// A record can't be written as JSON.
    #[error("a record can't be written")]
    Encode(#[source] serde_json::Error),
    /// There is no open entry of that number.
    #[error("the ledger has no open entry {0}")]
    NoEntry(Sequence),
    /// There is no descriptor of that number.
    #[error("the ledger has no descriptor {0}")]
    NoDescriptor(u32),
}

/// An entry that is not undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<B: Book> {
    /// What was about to be done.
    pub intent: B::Intent,
    /// What came of it; none while nobody knows.
    pub receipt: Option<B::Receipt>,
    /// What is about to be undone.
    pub undoing: Option<B::Undoing>,
}

/// A transaction that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What it is for.
    pub direction: Direction,
    /// Its first record.
    pub since: Sequence,
}

/// What the records say, taken together.
#[derive(Clone, Debug, PartialEq)]
struct Content<B: Book> {
    entries: BTreeMap<Sequence, Entry<B>>,
    descriptors: Vec<SecurityDescriptor>,
    transactions: BTreeMap<Sid, Transaction>,
    /// Records that a new file would not have.
    stale: usize,
}

impl<B: Book> Content<B> {
    const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            descriptors: Vec::new(),
            transactions: BTreeMap::new(),
            stale: 0,
        }
    }

    /// Takes the next record in, if it can stand there.
    fn take(&mut self, number: Sequence, record: Record<B>) -> Result<(), &'static str> {
        let first = number == Sequence(0);
        match record {
            Record::Opening { kind } => {
                if !first {
                    return Err("opens the ledger a second time");
                }
                if kind != B::KIND {
                    return Err("opens another ledger");
                }
                return Ok(());
            }
            Record::Begun { .. }
            | Record::Descriptor(_)
            | Record::Intent(_)
            | Record::Receipt { .. }
            | Record::Undoing { .. }
            | Record::Undone { .. }
            | Record::Ended { .. }
                if first =>
            {
                return Err("does not open the ledger");
            }
            Record::Begun { person, direction } => {
                let since = number;
                let transaction = Transaction { direction, since };
                self.transactions.insert(person, transaction);
            }
            Record::Descriptor(descriptor) => self.descriptors.push(*descriptor),
            Record::Intent(intent) => {
                self.check_descriptors(&B::descriptors(&intent))?;
                let entry = Entry {
                    intent,
                    receipt: None,
                    undoing: None,
                };
                self.entries.insert(number, entry);
            }
            Record::Receipt { entry, receipt } => {
                let open = self.open(entry)?;
                if B::fits(&open.intent, &receipt) == Fit::Impossible {
                    return Err("is a receipt for something else");
                }
                open.receipt = Some(receipt);
            }
            Record::Undoing { entry, undoing } => {
                self.check_descriptors(&B::undoing_descriptors(&undoing))?;
                self.open(entry)?.undoing = Some(undoing);
            }
            Record::Undone { entry, .. } => {
                self.open(entry)?;
                self.entries.remove(&entry);
                self.stale = self.stale.saturating_add(3);
            }
            Record::Ended { person } => {
                if self.transactions.remove(&person).is_none() {
                    return Err("ends what had not begun");
                }
                self.stale = self.stale.saturating_add(2);
            }
        }
        Ok(())
    }

    fn open(&mut self, entry: Sequence) -> Result<&mut Entry<B>, &'static str> {
        self.entries
            .get_mut(&entry)
            .ok_or("names an entry that is not open")
    }

    fn check_descriptors(&self, named: &[u32]) -> Result<(), &'static str> {
        let known = |index: &u32| usize::try_from(*index).is_ok_and(|i| i < self.descriptors.len());
        if named.iter().all(known) {
            return Ok(());
        }
        Err("names a descriptor that is not there")
    }
}

/// What a file says.
struct Reading<B: Book> {
    content: Content<B>,
    chain: Chain,
    intact: usize,
    damage: Option<Damage>,
}

fn read<B: Book>(bytes: &[u8]) -> Reading<B> {
    let mut content = Content::new();
    let mut frames = Frames::new(bytes, B::KIND);
    let mut damage = None;
    let mut intact = 0;
    while let Some(frame) = frames.next() {
        let taken = frame.and_then(|frame| {
            let number = frame.sequence;
            let record = Record::decode(&frame)?;
            content
                .take(number, record)
                .map_err(|reason| Damage::Order {
                    record: number,
                    reason,
                })
        });
        if let Err(found) = taken {
            damage = Some(found);
            break;
        }
        intact = frames.intact();
    }
    Reading {
        content,
        chain: frames.into_chain(),
        intact,
        damage,
    }
}

/// The entries and descriptors of a ledger that nobody trusts, up to the first record that is damaged.
///
/// # Security
/// All of it comes from an attacker: it may name anything. Nothing but a hint of where to look may be taken from it.
#[must_use]
pub fn read_untrusted<B: Book>(bytes: &[u8]) -> (Vec<Entry<B>>, Option<Damage>) {
    let reading = read::<B>(bytes);
    let entries = reading.content.entries.into_values().collect();
    (entries, reading.damage)
}

/// A ledger, held by this program alone.
#[derive(Debug)]
pub struct Ledger<B: Book, S: LedgerStore> {
    store: S,
    content: Content<B>,
    chain: Chain,
    numbers: HashMap<SecurityDescriptor, u32>,
    file: FileState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileState {
    /// There is none yet.
    Absent,
    /// It says what is in memory.
    Sound,
    /// A write failed: nobody knows what stands at its end.
    Stuck,
}

/// What becomes of a ledger that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDamage {
    /// Nothing is read.
    Refuse,
    /// The records before the damage count.
    CutOff,
}

impl<B: Book, S: LedgerStore> Ledger<B, S> {
    /// Takes the ledger for this program, reads it, and cuts off a last record that never reached the disk.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] with the record; [`LedgerError::Store`].
    pub fn open(store: S) -> Result<Self, LedgerError> {
        match Self::read_store(store, OnDamage::Refuse)? {
            (ledger, None) => Ok(ledger),
            (_, Some(damage)) => Err(LedgerError::Damaged(damage)),
        }
    }

    /// As [`Ledger::open`], and where it is damaged with the records before the damage alone: what is behind it is cut
    /// off for good. To be asked for by a person, and for undoing alone.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub fn salvage(store: S) -> Result<(Self, Option<Damage>), LedgerError> {
        Self::read_store(store, OnDamage::CutOff)
    }

    fn read_store(
        mut store: S,
        on_damage: OnDamage,
    ) -> Result<(Self, Option<Damage>), LedgerError> {
        store.lock().map_err(LedgerError::Store)?;
        let Some(bytes) = store.read().map_err(LedgerError::Store)? else {
            return Ok((Self::absent(store), None));
        };
        let mut reading = read::<B>(&bytes);
        let damage = reading.damage.take();
        if let (Some(damage), OnDamage::Refuse) = (damage.as_ref(), on_damage) {
            return Err(LedgerError::Damaged(damage.clone()));
        }
        if damage.is_some() && reading.intact == 0 {
            // Not even its first record is whole.
            store.discard().map_err(LedgerError::Store)?;
            return Ok((Self::absent(store), damage));
        }
        if let Some(intact) = bytes.get(..reading.intact)
            && intact.len() < bytes.len()
        {
            store.replace(intact).map_err(LedgerError::Store)?;
            // A record that can't stand where it stands was taken into the chain before it was refused.
            reading = read::<B>(intact);
        }
        let mut numbers = HashMap::new();
        for (number, descriptor) in (0..).zip(&reading.content.descriptors) {
            numbers.entry(descriptor.clone()).or_insert(number);
        }
        let ledger = Self {
            store,
            content: reading.content,
            chain: reading.chain,
            numbers,
            file: FileState::Sound,
        };
        Ok((ledger, damage))
    }

    fn absent(store: S) -> Self {
        Self {
            store,
            content: Content::new(),
            chain: Chain::start(B::KIND),
            numbers: HashMap::new(),
            file: FileState::Absent,
        }
    }

    /// The entries that are not undone, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (Sequence, &Entry<B>)> {
        self.content
            .entries
            .iter()
            .map(|(number, entry)| (*number, entry))
    }

    /// One entry that is not undone.
    #[must_use]
    pub fn entry(&self, number: Sequence) -> Option<&Entry<B>> {
        self.content.entries.get(&number)
    }

    /// The transaction of a person that has not ended.
    #[must_use]
    pub fn transaction(&self, person: Sid) -> Option<Transaction> {
        self.content.transactions.get(&person).copied()
    }

    /// A descriptor by its number.
    ///
    /// # Errors
    /// [`LedgerError::NoDescriptor`].
    pub fn descriptor(&self, number: u32) -> Result<&SecurityDescriptor, LedgerError> {
        usize::try_from(number)
            .ok()
            .and_then(|index| self.content.descriptors.get(index))
            .ok_or(LedgerError::NoDescriptor(number))
    }

    /// The number of a descriptor, which is written if it is new. It is on the disk with the next intent.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn number_of(&mut self, descriptor: &SecurityDescriptor) -> Result<u32, LedgerError> {
        if let Some(number) = self.numbers.get(descriptor) {
            return Ok(*number);
        }
        let number = u32::try_from(self.content.descriptors.len())
            .map_err(|_| LedgerError::NoDescriptor(u32::MAX))?;
        self.append(Record::Descriptor(Box::new(descriptor.clone())))?;
        self.numbers.insert(descriptor.clone(), number);
        Ok(number)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn begin(&mut self, person: Sid, direction: Direction) -> Result<(), LedgerError> {
        self.append(Record::Begun { person, direction })?;
        self.flush()
    }

    /// Ends a transaction.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn end(&mut self, person: Sid) -> Result<(), LedgerError> {
        self.append(Record::Ended { person })?;
        self.flush()
    }

    /// Writes what is about to be done, and waits until it is on the disk.
    ///
    /// # Errors
    /// [`LedgerError`]; then it must not be done.
    pub fn intend(&mut self, intent: B::Intent) -> Result<Sequence, LedgerError> {
        let number = self.append(Record::Intent(intent))?;
        self.flush()?;
        Ok(number)
    }

    /// The same for several at once, with one wait for the disk.
    ///
    /// # Errors
    /// As [`Ledger::intend`].
    pub fn intend_all(&mut self, intents: Vec<B::Intent>) -> Result<Vec<Sequence>, LedgerError> {
        let numbers = intents
            .into_iter()
            .map(|intent| self.append(Record::Intent(intent)))
            .collect::<Result<Vec<Sequence>, LedgerError>>()?;
        self.flush()?;
        Ok(numbers)
    }

    /// Writes what came of an entry. A receipt that is lost costs a look at the machine, so nobody waits for the disk.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn receive(&mut self, entry: Sequence, receipt: B::Receipt) -> Result<(), LedgerError> {
        self.append(Record::Receipt { entry, receipt }).map(drop)
    }

    /// Writes what is about to be undone, and waits until it is on the disk.
    ///
    /// # Errors
    /// [`LedgerError`]; then it must not be undone.
    pub fn intend_undoing(
        &mut self,
        entry: Sequence,
        undoing: B::Undoing,
    ) -> Result<(), LedgerError> {
        self.append(Record::Undoing { entry, undoing })?;
        self.flush()
    }

    /// Closes an entry.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn close(&mut self, entry: Sequence, outcome: Undone) -> Result<(), LedgerError> {
        self.append(Record::Undone { entry, outcome }).map(drop)
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn flush(&mut self) -> Result<(), LedgerError> {
        if self.file == FileState::Stuck {
            return Err(LedgerError::Stuck);
        }
        self.store.flush().map_err(|failure| {
            self.file = FileState::Stuck;
            LedgerError::Store(failure)
        })
    }

    /// Writes the file anew without what is undone, if that is most of it; removes it if nothing is open.
    ///
    /// # Errors
    /// [`LedgerError`]; then the old file stands.
    pub fn compact(&mut self) -> Result<(), LedgerError> {
        if self.file == FileState::Absent {
            return Ok(());
        }
        if self.content.entries.is_empty() && self.content.transactions.is_empty() {
            self.store.discard().map_err(LedgerError::Store)?;
            self.content = Content::new();
            self.chain = Chain::start(B::KIND);
            self.numbers.clear();
            self.file = FileState::Absent;
            return Ok(());
        }
        if self.content.stale <= self.content.entries.len() {
            return Ok(());
        }
        self.rewrite()
    }

    /// Writes the open entries into a new file. Entries get new numbers.
    fn rewrite(&mut self) -> Result<(), LedgerError> {
        let mut bytes = Vec::new();
        let mut chain = Chain::start(B::KIND);
        let mut write = |record: &Record<B>| {
            let (kind, body) = record.encode().map_err(LedgerError::Encode)?;
            chain
                .append(kind, &body, &mut bytes)
                .map_err(LedgerError::TooLong)
        };
        write(&Record::Opening { kind: B::KIND })?;
        for descriptor in &self.content.descriptors {
            write(&Record::Descriptor(Box::new(descriptor.clone())))?;
        }
        let mut pending: Vec<(Sid, Transaction)> = self
            .content
            .transactions
            .iter()
            .map(|(person, transaction)| (*person, *transaction))
            .collect();
        pending.sort_by_key(|(_, transaction)| transaction.since);
        let mut pending = pending.into_iter().peekable();
        for (number, entry) in &self.content.entries {
            while let Some((person, transaction)) =
                pending.next_if(|(_, transaction)| transaction.since < *number)
            {
                let direction = transaction.direction;
                write(&Record::Begun { person, direction })?;
            }
            let entry_number = write(&Record::Intent(entry.intent.clone()))?;
            if let Some(receipt) = entry.receipt.clone() {
                let entry = entry_number;
                write(&Record::Receipt { entry, receipt })?;
            }
            if let Some(undoing) = entry.undoing.clone() {
                let entry = entry_number;
                write(&Record::Undoing { entry, undoing })?;
            }
        }
        for (person, transaction) in pending {
            let direction = transaction.direction;
            write(&Record::Begun { person, direction })?;
        }
        self.store.replace(&bytes).map_err(LedgerError::Store)?;
        // What was written is what will be read: the numbers in memory come from there.
        let reading = read::<B>(&bytes);
        if let Some(damage) = reading.damage {
            return Err(LedgerError::Damaged(damage));
        }
        self.content = reading.content;
        self.chain = reading.chain;
        self.file = FileState::Sound;
        Ok(())
    }

    fn append(&mut self, record: Record<B>) -> Result<Sequence, LedgerError> {
        match self.file {
            FileState::Stuck => return Err(LedgerError::Stuck),
            FileState::Sound => {}
            FileState::Absent => self.create()?,
        }
        let (kind, body) = record.encode().map_err(LedgerError::Encode)?;
        let mut bytes = Vec::new();
        let mut chain = self.chain.clone();
        let number = chain
            .append(kind, &body, &mut bytes)
            .map_err(LedgerError::TooLong)?;
        self.content.take(number, record).map_err(|reason| {
            LedgerError::Damaged(Damage::Order {
                record: number,
                reason,
            })
        })?;
        if let Err(failure) = self.store.append(&bytes) {
            self.file = FileState::Stuck;
            self.content.entries.remove(&number);
            return Err(LedgerError::Store(failure));
        }
        self.chain = chain;
        Ok(number)
    }

    /// Puts a file with its first record there, whole or not at all.
    fn create(&mut self) -> Result<(), LedgerError> {
        let opening = Record::<B>::Opening { kind: B::KIND };
        let (kind, body) = opening.encode().map_err(LedgerError::Encode)?;
        let mut bytes = Vec::new();
        self.chain
            .append(kind, &body, &mut bytes)
            .map_err(LedgerError::TooLong)?;
        self.store.replace(&bytes).map_err(LedgerError::Store)?;
        self.file = FileState::Sound;
        Ok(())
    }
}
