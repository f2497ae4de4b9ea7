//! The options of what is done to a Windows machine: `ringfence setup` and `ringfence audit`.
//!
//! Nothing is done here. Invariant: an option that mirrors a policy key is in [`PolicyOptions`] and nowhere else.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PolicyOptions;

/// `ringfence setup`
#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "one value in a process's life, and the options read better flat; not large on every system"
)]
pub(crate) enum Setup {
    /// Show what will be done to the machine, ask, and do it; then set the access rights of the workspace
    Install(SetupInstall),
    /// Try as the sandbox account what must be refused: a write, a connection
    Verify(SetupPlain),
    /// Bring accounts, filters and rules back to what they were made as; with a path, the access rights of what was
    /// moved into a workspace
    Repair(SetupRepair),
    /// Take everything back, look for what is left, and say so
    Uninstall(SetupUninstall),
    /// Print what the machine's ledger and record hold
    Dump(SetupPlain),
}

/// `ringfence setup install`
#[derive(Args, Clone, Debug)]
pub(crate) struct SetupInstall {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Let sandboxed commands read and start what lies in the directories of tools that are listed
    #[arg(long)]
    pub(crate) tools: bool,
    #[command(flatten)]
    pub(crate) filters: FilterOptions,
    /// Do not ask: the plan was read before, with `ringfence plan`
    #[arg(long)]
    pub(crate) yes: bool,
}

/// How network filters tell the sandbox account from everybody else; without either it stays as it is.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilterOptions {
    /// Agree to network filters that permit everybody but the sandbox account and block what is left, where
    /// `ringfence audit` has seen that copies of a token get past filters that name it
    #[arg(long)]
    pub(crate) complement_filters: bool,
    /// Take that back: filters name the sandbox account
    #[arg(long, conflicts_with = "complement_filters")]
    pub(crate) named_filters: bool,
}

/// `ringfence setup verify` and `dump`
#[derive(Args, Clone, Debug)]
pub(crate) struct SetupPlain {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print the receipt as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence setup repair`
#[derive(Args, Clone, Debug)]
pub(crate) struct SetupRepair {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// What was moved into a workspace and has no access rights of Ringfence's yet
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
}

/// `ringfence setup uninstall`
#[derive(Args, Clone, Debug)]
pub(crate) struct SetupUninstall {
    /// Take back the access rights of the workspaces at and below PATH alone; nothing is elevated, and the set-up stays
    #[arg(long, value_name = "PATH", conflicts_with_all = ["scan", "damaged_ledger"])]
    pub(crate) root: Option<PathBuf>,
    /// Look through everything at and below PATH for what is left, in the elevated program's window
    #[arg(long, value_name = "PATH")]
    pub(crate) scan: Option<PathBuf>,
    /// Where the machine's ledger is damaged: take back what is recorded before the damage and in the states of
    /// finished set-ups, and list the rest
    #[arg(long)]
    pub(crate) damaged_ledger: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `ringfence audit`
#[derive(Args, Clone, Debug)]
pub(crate) struct Audit {
    /// Print the answers as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Try one probe here: what the audit runs inside a session
    #[arg(long, hide = true, value_name = "PROBE")]
    pub(crate) inside: Option<String>,
    /// What was prepared outside for that probe
    #[arg(long, hide = true, value_name = "JSON", requires = "inside")]
    pub(crate) stage: Option<String>,
}
