//! One module per command. Each reads its options, asks the library, and prints.

pub(crate) mod audit;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod run;
pub(crate) mod setup;
pub(crate) mod trust;
