//! What a person was told already: a hint is good once, and a nuisance after every `grep` that finds nothing.
//!
//! It decides nothing of a session. Invariant: what can't be remembered is told.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::StateDirectory;
use crate::digest::Digest;
use crate::state::file::StateFile;

/// How long a hint is not repeated, in seconds.
const PERIOD: u64 = 24 * 60 * 60;
/// How many hints are remembered; of more, the oldest are told again.
const MOST: usize = 200;

/// When each hint was told, in seconds since 1970.
type Told = BTreeMap<Digest, u64>;

/// Whether `hint` was not told within a day; remembers that it is told now.
///
/// A hint of another workspace is another hint: put its path into the text.
#[must_use]
pub fn is_news(state: &StateDirectory, hint: &str, now: SystemTime) -> bool {
    let file: StateFile<Told> = StateFile::new(state.path().as_path().join("told"), "told", 1);
    let key = Digest::of(hint.as_bytes());
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let is_known = |told: &Told| told.get(&key).is_some_and(|at| is_recent(*at, now));
    match file.read() {
        Ok(Some(told)) if is_known(&told) => return false,
        Ok(_) => {}
        // Damaged: nothing in it is worth keeping.
        Err(_) => {
            let _ = file.write(&Told::from([(key, now)]));
            return true;
        }
    }
    // Where it can't be written, it is told again.
    let _ = file.update(|told| {
        let mut told = told.unwrap_or_default();
        told.retain(|_, at| is_recent(*at, now));
        while told.len() >= MOST {
            let oldest = told.iter().min_by_key(|(_, at)| **at).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            told.remove(&oldest);
        }
        told.insert(key, now);
        (told, ())
    });
    true
}

/// Whether `at` lies within the last period; a time to come is a clock that was set back.
fn is_recent(at: u64, now: u64) -> bool {
    now.checked_sub(at).is_some_and(|age| age < PERIOD)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(&directory.path().join("state")).unwrap();
        (directory, state)
    }

    #[test]
    fn a_hint_is_told_once_a_day() {
        let (_directory, state) = state();
        let now = SystemTime::now();
        assert!(is_news(&state, "one", now));
        assert!(!is_news(&state, "one", now));
        assert!(is_news(&state, "another", now));
        assert!(!is_news(
            &state,
            "one",
            now + Duration::from_secs(PERIOD - 60)
        ));
        assert!(is_news(&state, "one", now + Duration::from_secs(PERIOD)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_damage_is_only_told_again() {
        let (_directory, state) = state();
        let now = SystemTime::now();
        for number in 0..=MOST {
            assert!(is_news(&state, &number.to_string(), now));
        }
        assert!(!is_news(&state, &MOST.to_string(), now));
        std::fs::write(state.path().as_path().join("told"), [0; 100]).unwrap();
        assert!(is_news(&state, "one", now));
        assert!(!is_news(&state, "one", now));
    }
}
