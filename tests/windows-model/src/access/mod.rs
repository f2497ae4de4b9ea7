//! The access check against Samba's: random descriptors and tokens, the passes compared one by one.
//!
//! Samba decides the walk of each pass; that the passes belong together as they do is the specification of both sides
//! and can't be found wrong here. Not asked, because Samba has no answer or a known other one: NULL DACLs, requests for
//! nothing, `MAXIMUM_ALLOWED` together with named rights or under the hypothesis that takes whole requests along,
//! a deny-only SID as owner where it matters, `SeRelabelPrivilege`, entries that name `ACCESS_SYSTEM_SECURITY` or
//! `MAXIMUM_ALLOWED`, fully restricted tokens without a restricting SID. Some of these are asked all the same, in known
//! shares, to see that the oracle stays silent where it should.
//!
//! Invariant: an answer that is missing where one was due, or there where none was due, counts as a disagreement.

mod compare;
mod examples;
mod generate;
mod question;
mod run;

pub use compare::{Disagreement, Tally};
pub use examples::{Examples, ExamplesError, compare_examples};
pub use generate::{Case, Mutation};
pub use run::{Settings, compare_cases};
