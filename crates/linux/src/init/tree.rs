//! Reaching every process of the session.

use std::collections::{HashMap, HashSet};

use rustix::process::{Pid, Signal, kill_process};

use super::limits::process_ids;
use crate::process::parent_of;
use crate::sys;

/// Which processes belong to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// All of the process namespace that init is process 1 of.
    Namespace,
    /// init's descendants, orphans included, because init is their reaper.
    Descendants,
}

impl Tree {
    /// Which it is for this process.
    pub(crate) fn of_this_process() -> Self {
        if std::process::id() == 1 {
            Self::Namespace
        } else {
            Self::Descendants
        }
    }

    /// Sends `signal` to every process of the session but init.
    pub(crate) fn signal(self, signal: Signal) {
        match self {
            // Process 1 of a namespace may signal all of it; the one error is that nothing is there.
            Self::Namespace => {
                let _ = sys::signal_everyone(signal.as_raw());
            }
            Self::Descendants => {
                for pid in descendants() {
                    // Gone already is as good.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// The ids of all processes whose chain of parents leads to this one.
fn descendants() -> Vec<Pid> {
    let parents: HashMap<u32, u32> = process_ids()
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let own = std::process::id();
    let mut found = HashSet::from([own]);
    // Each round adds at least one level of the tree.
    loop {
        let before = found.len();
        for (pid, parent) in &parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(&own);
    found
        .into_iter()
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}
