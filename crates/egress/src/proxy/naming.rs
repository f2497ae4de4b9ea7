//! Which process a refused caller is: found out before the caller hears of it, since it may be gone right after.
//!
//! Finding out takes the system about a millisecond and is made on a thread where that is no matter. Invariant: a
//! refused caller waits for its own name at most [`PATIENCE`], nobody else waits at all, and a flood of refusals costs
//! a bounded number of searches, beyond which callers stay unnamed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringfence_policy::decision::Process;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;
use crate::caller::{Attribution, Ends};

/// How long a refusal is held back for a name.
const PATIENCE: Duration = Duration::from_millis(500);
/// Searches at one time.
const AT_ONCE: usize = 4;
/// Searches after a pause, without waiting for [`REFILL`].
const BURST: u32 = 64;
/// The time in which one more search may be made.
const REFILL: Duration = Duration::from_millis(50);

/// Names callers, as far as its budget goes.
pub(super) struct Naming {
    attribution: Arc<dyn Attribution>,
    places: Arc<Semaphore>,
    budget: Mutex<Budget>,
}

impl Naming {
    pub(super) fn new(attribution: Arc<dyn Attribution>) -> Self {
        Self {
            attribution,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            budget: Mutex::new(Budget {
                left: BURST,
                refilled: Instant::now(),
            }),
        }
    }

    /// The process at the caller's end, where it is found in time.
    pub(super) async fn process(&self, ends: Ends) -> Option<Process> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        if !lock(&self.budget).take(Instant::now()) {
            return None;
        }
        self.search(ends, place).await
    }

    /// The program at the caller's end, for a rule that asks: the caller waits for its turn, and pays for it itself.
    pub(super) async fn program(&self, ends: Ends) -> Option<String> {
        let turn = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(PATIENCE, turn).await.ok()?.ok()?;
        let found = self.search(ends, place).await?;
        Some(found.program)
    }

    async fn search(&self, ends: Ends, place: OwnedSemaphorePermit) -> Option<Process> {
        let attribution = Arc::clone(&self.attribution);
        let search = tokio::task::spawn_blocking(move || {
            let found = attribution.process(ends);
            // A search that nobody waits for any more takes its place all the same.
            drop(place);
            found
        });
        // Without an answer in time, or of a search that panicked, the refusal stands without a name.
        tokio::time::timeout(PATIENCE, search).await.ok()?.ok()?
    }
}

/// How many searches may be made.
struct Budget {
    left: u32,
    refilled: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        let earned = passed.as_nanos() / REFILL.as_nanos();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            self.left = self.left.saturating_add(earned).min(BURST);
            self.refilled = now;
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_named_in_part_and_a_pause_earns_new_searches() {
        let begun = Instant::now();
        let mut budget = Budget {
            left: BURST,
            refilled: begun,
        };
        let named = (0..1000).filter(|_| budget.take(begun)).count();
        assert_eq!(named, BURST as usize);
        assert!(budget.take(begun + REFILL));
        assert!(!budget.take(begun + REFILL));
        let later = begun + REFILL * 10_000;
        let named = (0..1000).filter(|_| budget.take(later)).count();
        assert_eq!(named, BURST as usize);
    }
}
