//! What set-up leaves for later programs to read: the state of a finished set-up, and its marker.
//!
//! The state is written first; the marker names it by its hash and comes last, after everything was read back.
//! Invariant: a state without a marker that fits it is a set-up that did not finish.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use ringfence_nt::Sid;
use ringfence_plan::windows::facts::{Marker, Record};
use ringfence_plan::windows::machine::Subject;
use ringfence_plan::windows::step::AccountSids;

/// The version of the state that this program writes.
pub const STATE_VERSION: u32 = 1;

/// What a finished set-up has made for one person (`state.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledState {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// The hash of the machine steps that were carried out.
    pub machine_hash: String,
    /// What they were made from.
    pub subject: Subject,
    /// The accounts and the group.
    pub accounts: AccountSids,
}

/// Why a state can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is no JSON of this kind.
    #[error("the state of the set-up can't be read")]
    Json(#[source] serde_json::Error),
    /// It is of another version.
    #[error("the state of the set-up has version {found}, and this program knows {STATE_VERSION}")]
    Version {
        /// Which.
        found: u32,
    },
}

impl InstalledState {
    /// The bytes of `state.json`.
    ///
    /// # Errors
    /// [`StateError::Json`]; none of the types here gives one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        serde_json::to_vec(self).map_err(StateError::Json)
    }

    /// Reads `state.json`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(bytes).map_err(StateError::Json)?;
        if state.version == STATE_VERSION {
            return Ok(state);
        }
        Err(StateError::Version {
            found: state.version,
        })
    }

    /// The planner's fact of it, with what the marker's file holds.
    #[must_use]
    pub fn record(&self, state: &[u8], marker: Option<&[u8]>) -> Record {
        let finished = marker.is_some_and(|marker| marker == marker_of(state).as_bytes());
        Record {
            machine_hash: self.machine_hash.clone(),
            marker: if finished {
                Marker::Present
            } else {
                Marker::Missing
            },
            proxy_ports: self.subject.proxy,
            person: self.subject.person,
        }
    }

    /// Whether it is this person's.
    #[must_use]
    pub fn is_of(&self, person: Sid) -> bool {
        self.subject.person == person
    }
}

/// What the marker's file holds for a state of these bytes: their SHA-256, in hexadecimal.
#[must_use]
pub fn marker_of(state: &[u8]) -> String {
    ringfence_plan::render::hexadecimal(&Sha256::digest(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::tests::stored::stored_subject;

    fn state() -> InstalledState {
        let subject = stored_subject("windows-plain");
        InstalledState {
            version: STATE_VERSION,
            machine_hash: subject.hash().unwrap(),
            subject,
            accounts: ringfence_plan::windows::sids::accounts_to_be(),
        }
    }

    #[test]
    fn a_state_counts_as_finished_with_its_own_marker_alone() {
        let state = state();
        let bytes = state.to_bytes().unwrap();
        assert_eq!(InstalledState::from_bytes(&bytes).unwrap(), state);
        let marker = marker_of(&bytes);
        let present = state.record(&bytes, Some(marker.as_bytes()));
        assert_eq!(present.marker, Marker::Present);
        assert_eq!(present.machine_hash, state.machine_hash);
        for other in [
            None,
            Some(b"".as_slice()),
            Some(&[0; 64]),
            Some(b"complete"),
        ] {
            assert_eq!(state.record(&bytes, other).marker, Marker::Missing);
        }
    }

    #[test]
    fn a_state_of_another_version_is_not_guessed_at() {
        let mut state = state();
        state.version = 2;
        let bytes = state.to_bytes().unwrap();
        assert!(matches!(
            InstalledState::from_bytes(&bytes),
            Err(StateError::Version { found: 2 })
        ));
        assert!(matches!(
            InstalledState::from_bytes(&[0; 32]),
            Err(StateError::Json(_))
        ));
    }
}
