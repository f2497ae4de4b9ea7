//! Conformance: the real boundary, attacked through the real `ringfence` by a probe that answers in typed results.
//!
//! What it does not do: look inside the product. It knows the command line and the specification, nothing else.
//! Invariant: a denial counts only beside a control (the same attack without the boundary succeeds) and a sibling
//! (the same call where it is allowed succeeds inside); a crash, silence or a missing file is never a denial.

pub mod cases;
pub mod checks;
pub mod fixture;
pub mod ground;
pub mod internet;
pub mod launch;
pub mod objects;
pub mod signals;
pub mod snapshot;
pub mod suite;
pub mod verdict;
pub mod write_calls;
