//! How much one session's proxy bears.
//!
//! Every limit has a default that no ordinary program meets. Invariant: whatever a target does, what it can make the
//! proxy hold is bounded by these numbers.

use std::time::Duration;

/// The limits of one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the session at one time. Each takes two descriptors, and up to four more while it carries much.
    pub connections: usize,
    /// Names that get synthetic addresses.
    pub names: usize,
    /// How long the head of a request, or a greeting, may take once it has begun.
    pub head: Duration,
    /// How long resolving and connecting may take together.
    pub dial: Duration,
    /// How long a connection may carry nothing.
    pub idle: Duration,
    /// How long a connection may last.
    pub absolute: Duration,
    /// How long a person or a program may take to answer when it is asked about a connection.
    pub answer: Duration,
    /// Connections that wait for an answer at one time; more are refused.
    pub questions: usize,
    /// Bytes that may leave under one rule, over all its connections; `None` for any number.
    pub bytes_out_per_rule: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        Self {
            connections: 256,
            names: 16 * 1024,
            head: Duration::from_secs(30),
            dial: Duration::from_secs(30),
            idle: minutes(60),
            absolute: minutes(24 * 60),
            answer: minutes(2),
            questions: 64,
            bytes_out_per_rule: None,
        }
    }
}
