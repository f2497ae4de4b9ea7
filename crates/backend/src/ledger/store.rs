//! Where a ledger's bytes lie.
//!
//! Invariant: after [`LedgerStore::flush`] has answered, what was appended survives a power cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::CallFailure;
use crate::fault::Faults;

/// Why a ledger's file could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// Another program holds it.
    #[error("another program is at work on the ledger {object}; try again when it is done")]
    Locked {
        /// Which ledger.
        object: String,
    },
    /// A call failed.
    #[error("the ledger's file can't be used")]
    Call(#[source] CallFailure),
}

/// A ledger's file, one for its kind and place.
///
/// The file and the directory that it lies in are the store's own: they are made when the first record is written, and
/// gone after [`LedgerStore::discard`].
pub trait LedgerStore {
    /// Takes the file for this program alone, until the store is dropped.
    ///
    /// # Errors
    /// [`StoreFailure::Locked`] at once when another has it.
    fn lock(&mut self) -> Result<(), StoreFailure>;

    /// The file's bytes; none when there is no file.
    ///
    /// # Errors
    /// [`StoreFailure`].
    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreFailure>;

    /// Puts bytes behind the last.
    ///
    /// # Errors
    /// [`StoreFailure`]; then nobody knows how much of them stands there.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreFailure>;

    /// Waits until all that was appended is on the disk (`FlushFileBuffers`).
    ///
    /// # Errors
    /// [`StoreFailure`].
    fn flush(&mut self) -> Result<(), StoreFailure>;

    /// Puts `bytes` in the place of the whole file: a new file, flushed, then renamed over the old one.
    ///
    /// # Errors
    /// [`StoreFailure`]; then the old file stands.
    fn replace(&mut self, bytes: &[u8]) -> Result<(), StoreFailure>;

    /// Removes the file, and the directory made for it if nothing else is in it.
    ///
    /// # Errors
    /// [`StoreFailure`].
    fn discard(&mut self) -> Result<(), StoreFailure>;
}

#[derive(Debug, Default)]
struct Disk {
    durable: Option<Vec<u8>>,
    /// Appended and not flushed.
    floating: Vec<u8>,
    /// How many appended bytes survive a power cut unflushed.
    surviving: usize,
    holder: Option<u64>,
    holders: u64,
    writes: u64,
}

/// A ledger's file in memory. Clones are other programs at the same file.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    faults: Faults,
    holder: Option<u64>,
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            faults: self.faults.clone(),
            holder: None,
        }
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut disk = self.disk();
        if self.holder.is_some() && disk.holder == self.holder {
            disk.holder = None;
        }
    }
}

impl MemoryStore {
    /// No file yet.
    #[must_use]
    pub fn new(faults: &Faults) -> Self {
        Self {
            disk: Arc::default(),
            faults: faults.clone(),
            holder: None,
        }
    }

    /// The bytes that are on the disk.
    #[must_use]
    pub fn durable(&self) -> Option<Vec<u8>> {
        self.disk().durable.clone()
    }

    /// Puts other bytes on the disk, as damage or an attacker would.
    pub fn forge(&self, bytes: Option<Vec<u8>>) {
        self.disk().durable = bytes;
    }

    /// How often anything was appended or replaced.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.disk().writes
    }

    /// What a power cut leaves: what was flushed, and the first `surviving` bytes of what was not.
    pub fn restart(&self, surviving: usize) {
        let mut disk = self.disk();
        disk.holder = None;
        disk.surviving = surviving;
        let mut floating = std::mem::take(&mut disk.floating);
        floating.truncate(surviving);
        if let Some(durable) = &mut disk.durable {
            durable.extend(floating);
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        call: &'static str,
        change: impl FnOnce(&mut Disk),
    ) -> Result<(), StoreFailure> {
        let mut change = Some(change);
        let mut act = || {
            if let Some(change) = change.take() {
                change(&mut self.disk());
            }
            Ok(())
        };
        self.faults
            .change(call, "in memory", &mut act)
            // Nobody can find a disk out that lies: it does not.
            .and_then(|()| act())
            .map_err(StoreFailure::Call)
    }
}

impl LedgerStore for MemoryStore {
    fn lock(&mut self) -> Result<(), StoreFailure> {
        self.faults
            .look("LockFileEx", "in memory")
            .map_err(StoreFailure::Call)?;
        let mut disk = self.disk();
        if disk.holder.is_some() && disk.holder != self.holder {
            return Err(StoreFailure::Locked {
                object: "in memory".to_owned(),
            });
        }
        disk.holders = disk.holders.saturating_add(1);
        disk.holder = Some(disk.holders);
        let holder = disk.holder;
        drop(disk);
        self.holder = holder;
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.faults
            .look("ReadFile", "in memory")
            .map_err(StoreFailure::Call)?;
        let disk = self.disk();
        let with_floating = |durable: &Vec<u8>| [durable.as_slice(), &disk.floating].concat();
        Ok(disk.durable.as_ref().map(with_floating))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        self.change("WriteFile", |disk| {
            disk.writes = disk.writes.saturating_add(1);
            disk.floating.extend(bytes);
        })
    }

    fn flush(&mut self) -> Result<(), StoreFailure> {
        self.change("FlushFileBuffers", |disk| {
            let floating = std::mem::take(&mut disk.floating);
            if let Some(durable) = &mut disk.durable {
                durable.extend(floating);
            }
        })
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        self.change("MoveFileEx", |disk| {
            disk.writes = disk.writes.saturating_add(1);
            disk.floating.clear();
            disk.durable = Some(bytes.to_vec());
        })
    }

    fn discard(&mut self) -> Result<(), StoreFailure> {
        self.change("DeleteFile", |disk| {
            disk.floating.clear();
            disk.durable = None;
        })
    }
}
