//! Denials counted: each different one is reported once at once, its repetitions as a number.
//!
//! Invariant: what a target can make this hold is bounded, whatever it tries and however often.

use std::collections::HashMap;

use ringfence_backend::wire::Event;
use ringfence_policy::RuleId;
use ringfence_policy::decision::{Denial, Operation};

/// How many different denials are told apart.
pub const MAX_DISTINCT: usize = 1000;

/// What all further objects are reported as.
pub(super) const OVERFLOW_OBJECT: &str = "(further objects, not listed)";

#[derive(Debug)]
struct Entry {
    denial: Denial,
    unreported: u32,
}

/// All denials so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: HashMap<(Operation, RuleId, String), Entry>,
    overflow: Option<Entry>,
}

impl Tally {
    /// Counts `denial`; a new one is reported.
    pub(super) fn count(&mut self, denial: Denial, report: &mut dyn FnMut(Event)) {
        let key = (denial.operation, denial.rule, denial.object.clone());
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.unreported = entry.unreported.saturating_add(1);
        } else if self.entries.len() < MAX_DISTINCT {
            report(Event::Denied {
                denial: Box::new(denial.clone()),
                count: 1,
            });
            let entry = Entry {
                denial,
                unreported: 0,
            };
            self.entries.insert(key, entry);
        } else if let Some(entry) = &mut self.overflow {
            entry.unreported = entry.unreported.saturating_add(1);
        } else {
            let denial = Denial {
                object: OVERFLOW_OBJECT.to_owned(),
                grant: None,
                ..denial
            };
            report(Event::Denied {
                denial: Box::new(denial.clone()),
                count: 1,
            });
            self.overflow = Some(Entry {
                denial,
                unreported: 0,
            });
        }
    }

    /// The same denial as it was first counted.
    pub(super) fn find(&self, operation: Operation, rule: RuleId, object: &str) -> Option<&Denial> {
        let entry = self.entries.get(&(operation, rule, object.to_owned()))?;
        Some(&entry.denial)
    }

    /// Reports the repetitions since the last report.
    pub(super) fn flush(&mut self, report: &mut dyn FnMut(Event)) {
        for entry in self.entries.values_mut().chain(&mut self.overflow) {
            let count = std::mem::take(&mut entry.unreported);
            if count > 0 {
                report(Event::Denied {
                    denial: Box::new(entry.denial.clone()),
                    count,
                });
            }
        }
    }
}
