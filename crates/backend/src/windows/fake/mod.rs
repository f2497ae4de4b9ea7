//! A Windows machine in memory: the first executor.
//!
//! It keeps what it is told, refuses what Windows would refuse, and fails, lies or loses power wherever a test wants.
//! It enforces nothing and decides nothing. Invariant: what differs between two states of it is what was changed.

mod files;
mod machine;
mod profile;
mod remnants;

pub use files::FakeFiles;
pub use machine::{FakeAccount, FakeGroup, FakeMachine, World};
pub use profile::{FakeProfile, ProfilePart};
