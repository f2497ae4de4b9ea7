//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ringfence_backend::windows::SetupVerb;

/// Sets a Windows machine up for sandboxed commands. Not executed on Windows yet.
#[derive(Debug, Parser)]
#[command(name = "ringfence-setup", version, about)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The five verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make accounts, filters and rules as the request's plan says
    Install(Asked),
    /// Make again what is missing of an earlier set-up
    Repair(Asked),
    /// Try a set-up out: a real logon, a denied write, a refused connection
    Verify(Asked),
    /// Take everything back, and list what is left
    Uninstall(Uninstall),
    /// Print the machine's ledger as JSON
    Dump(Asked),
}

/// What the harness says.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The request, which `ringfence setup` writes
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// The hash of the plan that was consented to
    #[arg(long, value_name = "HASH", requires = "request", value_parser = hash)]
    pub(crate) plan: Option<String>,
    /// The pipe that the receipt goes to
    #[arg(long, value_name = "PIPE")]
    pub(crate) receipt: Option<String>,
    /// Print the receipt as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What an uninstall takes more.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// As for every verb.
    #[command(flatten)]
    pub(crate) asked: Asked,
    /// Look through all objects at and below PATH for what is left
    #[arg(long, value_name = "PATH")]
    pub(crate) scan: Option<String>,
    /// Where the machine's ledger is damaged: take back what is recorded before the damage and in the states of
    /// finished set-ups, and list the rest
    #[arg(long)]
    pub(crate) damaged_ledger: bool,
}

impl Verb {
    pub(crate) const fn verb(&self) -> SetupVerb {
        match self {
            Self::Install(_) => SetupVerb::Install,
            Self::Repair(_) => SetupVerb::Repair,
            Self::Verify(_) => SetupVerb::Verify,
            Self::Uninstall(_) => SetupVerb::Uninstall,
            Self::Dump(_) => SetupVerb::Dump,
        }
    }

    #[cfg_attr(
        not(windows),
        expect(dead_code, reason = "there is nothing to do here")
    )]
    pub(crate) const fn asked(&self) -> &Asked {
        match self {
            Self::Install(asked)
            | Self::Repair(asked)
            | Self::Verify(asked)
            | Self::Dump(asked) => asked,
            Self::Uninstall(uninstall) => &uninstall.asked,
        }
    }
}

/// 64 hexadecimal digits.
fn hash(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a hash is 64 hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_the_one_that_the_harness_uses() {
        use ringfence_backend::windows::{
            DAMAGED_ARGUMENT, PLAN_ARGUMENT, RECEIPT_ARGUMENT, REQUEST_ARGUMENT, SCAN_ARGUMENT,
        };
        Arguments::command().debug_assert();
        let hash = "0".repeat(64);
        for verb in ["install", "repair", "verify", "uninstall", "dump"] {
            let line = [
                "ringfence-setup",
                verb,
                REQUEST_ARGUMENT,
                "r.json",
                PLAN_ARGUMENT,
                &hash,
                RECEIPT_ARGUMENT,
                r"\\.\pipe\x",
            ];
            let parsed = Arguments::try_parse_from(line).unwrap();
            assert_eq!(parsed.verb.verb().word(), verb);
        }
        let line = [
            "ringfence-setup",
            "uninstall",
            DAMAGED_ARGUMENT,
            SCAN_ARGUMENT,
            r"C:\",
        ];
        let Verb::Uninstall(parsed) = Arguments::try_parse_from(line).unwrap().verb else {
            panic!("another verb");
        };
        assert!(parsed.damaged_ledger && parsed.scan.as_deref() == Some(r"C:\"));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for plan in ["", "0", &"g".repeat(64), &"0".repeat(65)] {
            let line = [
                "ringfence-setup",
                "install",
                "--request",
                "r",
                "--plan",
                plan,
            ];
            assert!(Arguments::try_parse_from(line).is_err(), "{plan}");
        }
        assert!(Arguments::try_parse_from(["ringfence-setup", "format"]).is_err());
    }
}
