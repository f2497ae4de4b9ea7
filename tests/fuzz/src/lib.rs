//! Every reader of bytes that an attacker writes, as a function of bytes.
//!
//! A function panics when a promise of its reader is broken: it reads the same in pieces as at once, and what it
//! writes reads back. Finds nothing by itself: [`mutate`] makes inputs, `cargo xtask fuzz` throws them.
//! Invariant: a function is pure, so that an input that broke it once breaks it again.

#![forbid(unsafe_code)]

pub mod mutate;
mod targets;

pub use targets::TARGETS;

/// A reader, and inputs to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as `cargo xtask fuzz NAME` takes it.
    pub name: &'static str,
    /// Reads; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Well-formed and nearly well-formed inputs.
    pub seeds: &'static [&'static [u8]],
}
