//! What may be done: policy types, parsing, layers, rules and decisions with their reason.
//!
//! This crate does not know which operating system it runs on, and can't reach the disk, the clock, the
//! network or the environment (`clippy.toml` beside this crate bans them): everything it judges is handed in.
//!
//! Invariant: a narrower policy never allows more. Deny beats allow; a hard block beats everything.

#![forbid(unsafe_code)]

pub mod address;
pub mod allow;
pub mod decision;
pub mod document;
pub mod environment;
pub mod escape;
pub mod exit;
pub mod filesystem;
pub mod glob;
pub mod grant;
pub mod host;
pub mod layers;
pub mod network;
pub mod parse;
pub mod path;
pub mod place;
pub mod policy;
pub mod protected;
pub mod provenance;
pub mod reference;
pub mod request;
pub mod rule;
pub mod secrets;
mod suffix;
pub mod system;
pub mod units;

pub use allow::AllowRule;
pub use decision::{Decision, Grant, Operation};
pub use document::PolicyDocument;
pub use exit::ExitCode;
pub use filesystem::{FilesystemRules, PathAccess, PathRule};
pub use layers::{Layer, LayerKind, Sourced, resolve};
pub use network::Destination;
pub use path::AbsolutePath;
pub use policy::Policy;
pub use provenance::Setting;
pub use rule::RuleId;
