//! Where no session runs, nothing is ever quarantined.

use super::{Entry, EntryId, Listing, Quarantine, QuarantineError, Taking};

impl Quarantine {
    /// Nothing is taken here.
    ///
    /// # Errors
    /// Always.
    pub fn take(&self, taking: &Taking<'_>) -> Result<Option<Entry>, QuarantineError> {
        Err(QuarantineError::Object {
            path: taking.path.as_path().to_owned(),
            action: "quarantined",
            source: "there is no quarantine on this operating system".into(),
        })
    }

    /// There are none.
    ///
    /// # Errors
    /// Never.
    pub fn list(&self) -> Result<Listing, QuarantineError> {
        Ok(Listing::default())
    }

    /// There are none.
    ///
    /// # Errors
    /// Always.
    pub fn restore(&self, id: &EntryId) -> Result<Entry, QuarantineError> {
        Err(QuarantineError::Unknown { id: id.0.clone() })
    }

    /// There are none.
    ///
    /// # Errors
    /// Always.
    pub fn drop(&self, id: &EntryId) -> Result<Option<Entry>, QuarantineError> {
        Err(QuarantineError::Unknown { id: id.0.clone() })
    }
}
