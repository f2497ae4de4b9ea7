//! Threads that may still be in a call that makes a name.
//!
//! A call goes on after the observer has answered it, and a target can hold it up for long: by a thread that hardly ever
//! runs, or by a directory that takes seconds to read. Its path can be another by then. Decides nothing. Invariant: a
//! thread is left out only once it was seen outside the call, and after what it may have made was heard of.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// How long after such a call a protected name that appears counts as made by the session in any case.
const ATTRIBUTION: Duration = Duration::from_secs(5);
/// How long after one look at the threads the next one comes.
const INTERVAL: Duration = Duration::from_millis(500);
/// How many threads are remembered; of more nothing is known until the session ends.
const MOST: usize = 1 << 16;

/// The last such call of a thread.
#[derive(Clone, Copy, Debug)]
struct Made {
    number: u32,
    at: Instant,
}

/// The threads.
#[derive(Debug, Default)]
pub(super) struct Makers {
    calls: HashMap<u32, Made>,
    /// No look before then.
    next: Option<Instant>,
    overflow: bool,
}

impl Makers {
    /// A call of `thread` was let through.
    pub(super) fn add(&mut self, thread: u32, number: u32, at: Instant) {
        if self.calls.len() < MOST || self.calls.contains_key(&thread) {
            self.calls.insert(thread, Made { number, at });
            self.next.get_or_insert(at + ATTRIBUTION);
        } else {
            self.overflow = true;
        }
    }

    /// Whether a name that appears may be one of theirs.
    pub(super) fn may_make(&self) -> bool {
        self.overflow || !self.calls.is_empty()
    }

    /// When to look whether they are still in their calls.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next
    }

    /// The threads that have left their calls; what they made has appeared by now.
    pub(super) fn gone(&self, now: Instant) -> Vec<u32> {
        let old = self
            .calls
            .iter()
            .filter(|(_, made)| now.saturating_duration_since(made.at) >= ATTRIBUTION);
        let gone = old.filter(|(thread, made)| !may_be_in(**thread, made.number));
        gone.map(|(thread, _)| *thread).collect()
    }

    /// Leaves `threads` out, once what has appeared is heard of.
    pub(super) fn forget(&mut self, threads: &[u32], now: Instant) {
        for thread in threads {
            self.calls.remove(thread);
        }
        let oldest = self.calls.values().map(|made| made.at).min();
        self.next = oldest.map(|at| (at + ATTRIBUTION).max(now + INTERVAL));
    }
}

/// Whether `thread` may be in the call of that number (proc(5), `/proc/pid/syscall`): one that runs, or waits for its
/// turn, may be anywhere.
fn may_be_in(thread: u32, number: u32) -> bool {
    match fs::read_to_string(format!("/proc/{thread}/syscall")) {
        Ok(text) => {
            let first = text.split_ascii_whitespace().next().unwrap_or_default();
            first == "running" || first == number.to_string()
        }
        // ESRCH: it ended while it was looked at.
        Err(error) => {
            error.kind() != ErrorKind::NotFound && error.raw_os_error() != Some(libc::ESRCH)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_until_it_was_seen_outside_its_call() {
        let begun = Instant::now();
        let later = begun + ATTRIBUTION;
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let sleeper = child.id();
        let in_call = || fs::read_to_string(format!("/proc/{sleeper}/syscall")).unwrap();
        let mut number = None;
        while number.is_none() {
            let text = in_call();
            let is_sleeping =
                fs::read_to_string(format!("/proc/{sleeper}/comm")).unwrap() == "sleep\n";
            let first = text.split_ascii_whitespace().next().map(str::to_owned);
            number = first
                .filter(|_| is_sleeping)
                .and_then(|first| first.parse().ok());
        }
        let number: u32 = number.unwrap();
        let mut makers = Makers::default();
        assert!(!makers.may_make());
        makers.add(sleeper, number, begun);
        assert!(makers.gone(begun).is_empty());
        assert!(makers.gone(later).is_empty(), "it is in the call");
        assert!(makers.may_make());
        makers.add(sleeper, number + 1, begun);
        assert!(
            makers.gone(begun).is_empty(),
            "it may have come back just now"
        );
        let gone = makers.gone(later);
        assert_eq!(gone, [sleeper]);
        assert!(makers.may_make(), "what it made is not heard of yet");
        makers.forget(&gone, later);
        assert!(!makers.may_make());
        assert_eq!(makers.next_look(), None);
        makers.add(sleeper, number, begun);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(makers.gone(later), [sleeper]);
    }

    #[test]
    fn of_too_many_threads_nothing_is_known() {
        let begun = Instant::now();
        let mut makers = Makers::default();
        for thread in 0..=u32::try_from(MOST).unwrap() {
            makers.add(u32::MAX - thread, 1, begun);
        }
        let gone = makers.gone(begun + ATTRIBUTION);
        makers.forget(&gone, begun);
        assert!(makers.may_make());
    }
}
