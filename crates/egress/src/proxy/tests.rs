//! Tests of the shell: every way in, every attack, on addresses of this machine alone.
//!
//! The resolver and the dialler are the tests' own: they know an internet of ordinary addresses whose origins listen
//! on the loopback. Every check stays as it is.

mod attacks;
mod callers;
mod disguises;
mod exchanges;
mod lifetimes;
mod names;
mod scoped;
mod sockets;
mod terms;
mod trust;
mod tunnels;
mod world;
