//! The simulated file system against a real smbd: the same trees, the same attacks, decision for decision.
//!
//! A server knows no restricted tokens, so the two passes are two users: the *target* stands for the normal pass, the
//! *second* for the restricting SIDs, and each acts on its own. What a restricted token may do is then put together by
//! hand from what both may, and compared with the model's own answer under every hypothesis.
//!
//! Left out, because the server has another rule or none: `FILE_READ_ATTRIBUTES`, which it gives to whoever gets to an
//! object at all; new names in a directory to which the caller may not add; OWNER RIGHTS entries on the adding of
//! children, which it overlooks; generic bits in descriptors, the flags `ID` and `AI`, entries that are there twice;
//! replacing renames, reparse points, short names, hard links, deny-only SIDs, privileges. Its tokens hold Everyone,
//! NETWORK and Authenticated Users, so descriptors name groups of the stage in their place.
//!
//! Invariant: what the two sides compare is the same step on the same state; after the first difference a stage ends.

mod cast;
mod compare;
mod run;
mod stage;
mod step;

pub use cast::{Cast, Player};
pub use compare::{Difference, Tally};
pub use run::replay;
pub use stage::Stage;
pub use step::{Act, Outcome, Step};
