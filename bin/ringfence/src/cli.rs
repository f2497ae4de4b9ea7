//! The definition of the command line: help, man page and completions are made from it.
//!
//! Nothing is done here. Invariant: an option that mirrors a policy key is in [`PolicyOptions`] and nowhere else.

mod setup;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringfence_plan::step::Observe;
use ringfence_policy::allow::AllowRule;
use ringfence_policy::document::{GitAccess, Mode, NetworkMode, Require};
use ringfence_policy::host::HostRule;

pub(crate) use self::setup::{Audit, Setup};
#[cfg(windows)]
pub(crate) use self::setup::{SetupInstall, SetupPlain, SetupRepair, SetupUninstall};
pub(crate) use self::values::{Limit, Variable};
use self::values::{
    git_parser, mode_parser, network_parser, observe_parser, parse_allow, parse_host, parse_limit,
    parse_variable, require_parser,
};

const EXIT_STATUS: &str = "Exit status:
  The command's own status passes through; 128+N when signal N ended it.
  126 found but not executable   127 not found
  2 wrong usage                  100 internal error
  101 policy invalid             102 boundary can't be enforced; nothing ran
  103 refused by managed policy  104 time limit
  105 set-up missing or incomplete";

/// An operating-system boundary round what a coding agent runs.
///
/// The command and everything it starts can read broadly but no secrets, write only inside the workspace, and
/// reach no network, unless you grant more.
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    // Not the file's name as it was started: help reads the same on every system.
    bin_name = "ringfence",
    version,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command inside the boundary
    #[command(after_help = EXIT_STATUS, override_usage = "ringfence run [OPTIONS] -- COMMAND...")]
    Run(Run),
    /// Start an interactive shell inside the boundary
    #[command(after_help = EXIT_STATUS)]
    Shell(Shell),
    /// Show the boundary on a sample project in a scratch directory
    ///
    /// Makes a small project, runs its build, its tests and git inside the boundary, then attacks it as a hostile
    /// agent would. Each attack is first run without the boundary, where it must work. Nothing is left behind.
    Demo(Demo),
    /// Say which rule decides on a path or an address, and the narrowest grant that changes it
    Explain(Explain),
    /// Show what would be done to this machine, and do nothing
    Plan(Plan),
    /// Show what this machine can enforce, how that was proven, and how to get more
    Doctor(Doctor),
    /// Make this machine ready, check that, mend it, or take it back: on Windows, once, with an administrator's consent
    ///
    /// Elsewhere nothing has to be set up.
    #[command(subcommand)]
    Setup(Setup),
    /// Try on this machine what only a real Windows can answer, and print what it enforces
    Audit(Audit),
    /// Check a policy, or print the schema of policy files
    #[command(subcommand)]
    Policy(Policy),
    /// Trust a project's policy file, by its exact content
    ///
    /// A project's `.ringfence/policy.toml` may only narrow what you allow. After `ringfence trust` that exact
    /// content may also widen it; any change to the file ends the trust.
    Trust(Trust),
    /// Look at, restore or drop what a command made under a protected name
    #[command(subcommand)]
    Quarantine(Quarantine),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the man page
    Man,
}

/// Options that mirror the keys of a policy file, and where the policy is looked for.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyOptions {
    /// How much the command may write
    #[arg(long, value_name = "MODE", value_parser = mode_parser())]
    pub(crate) mode: Option<Mode>,
    /// The directory the command works in [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// A further directory that may be written
    #[arg(long, value_name = "DIR")]
    pub(crate) writable_root: Vec<String>,
    /// A path or glob that may not be read, beside the built-in secrets
    #[arg(long, value_name = "PATH")]
    pub(crate) deny_read: Vec<String>,
    /// A built-in secret that may be read after all
    #[arg(long, value_name = "PATH")]
    pub(crate) allow_read: Vec<String>,
    /// A further name to protect in each writable directory
    #[arg(long, value_name = "NAME")]
    pub(crate) protect: Vec<String>,
    /// A built-in protected name that may be written after all
    #[arg(long, value_name = "NAME")]
    pub(crate) unprotect: Vec<String>,
    /// What the command may do inside `.git`
    #[arg(long, value_name = "ACCESS", value_parser = git_parser())]
    pub(crate) git: Option<GitAccess>,
    /// Whether and how the command may leave
    #[arg(long, value_name = "MODE", value_parser = network_parser())]
    pub(crate) network: Option<NetworkMode>,
    /// A destination to allow; with methods and paths (`"api.example.com GET /v1/**"`) only those requests
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_allow)]
    pub(crate) allow_host: Vec<AllowRule>,
    /// A destination to refuse, whatever is allowed
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_host)]
    pub(crate) deny_host: Vec<HostRule>,
    /// Hold a connection to an unlisted destination and ask
    #[arg(long)]
    pub(crate) ask: bool,
    /// The port of a server inside, to be reached from the host's loopback
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) publish: Vec<u16>,
    /// A server on the host's loopback, to be reached from inside
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) connect: Vec<SocketAddr>,
    /// A Unix socket that may be connected to
    #[arg(long, value_name = "PATH")]
    pub(crate) unix_socket: Vec<String>,
    /// A variable to let through, or to set
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse_variable)]
    pub(crate) env: Vec<Variable>,
    /// A limit: memory=4GiB, processes=512 or time=30m
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_limit)]
    pub(crate) limit: Vec<Limit>,
    /// The level of enforcement below which nothing runs
    #[arg(long, value_name = "LEVEL", value_parser = require_parser())]
    pub(crate) require: Option<Require>,
    /// Read this file as the user's policy
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Options on what a run reports.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportOptions {
    /// Which calls of the command are watched for the report
    #[arg(long, value_name = "WHICH", value_parser = observe_parser(), default_value = "writes")]
    pub(crate) observe: Observe,
    /// Write every event to this file, as one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Print the report as one JSON object, on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but errors and what was refused
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// `ringfence run`
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `ringfence shell`
#[derive(Args, Clone, Debug)]
pub(crate) struct Shell {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// `ringfence demo`
#[derive(Args, Clone, Debug)]
pub(crate) struct Demo {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the scratch directory, and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
    /// What the attacker's tool of the demo tries, and how it ended as an exit status
    #[cfg(windows)]
    #[arg(long, hide = true, value_name = "ATTACK")]
    pub(crate) inside: Option<String>,
}

/// `ringfence explain`
#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print the decision as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// What the command would do
    #[arg(value_enum)]
    pub(crate) operation: ExplainOperation,
    /// A path, or HOST:PORT for `connect`
    #[arg(value_name = "OBJECT")]
    pub(crate) object: OsString,
}

/// What `explain` can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainOperation {
    /// Read a file or list a directory
    Read,
    /// Create, change, rename, link or remove
    Write,
    /// Connect to an address or a Unix socket
    Connect,
}

/// `ringfence plan`
#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Which calls of the command would be watched
    #[arg(long, value_name = "WHICH", value_parser = observe_parser(), default_value = "writes")]
    pub(crate) observe: Observe,
    /// Plan for the machine that this file describes, not for this one
    #[arg(long, value_name = "FILE")]
    pub(crate) host_facts: Option<PathBuf>,
    /// What was done before on a Windows machine of `--host-facts`; without it, nothing
    #[arg(long, value_name = "FILE", requires = "host_facts")]
    pub(crate) ledger: Option<PathBuf>,
    /// Print the facts of this machine that the plan depends on instead, as `--host-facts` takes them
    #[arg(long, conflicts_with = "host_facts")]
    pub(crate) facts: bool,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence doctor`
#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    /// Print the table as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy`
#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "one value in a process's life, and the options read better flat; not large on every system"
)]
pub(crate) enum Policy {
    /// Check all layers of the policy and print it, with the layer each setting comes from
    Check(PolicyCheck),
    /// Print the JSON Schema of policy files
    Schema,
}

/// `ringfence policy check`
#[derive(Args, Clone, Debug)]
pub(crate) struct PolicyCheck {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print the policy as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Check this file as the user's policy
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub(crate) file: Option<PathBuf>,
}

/// `ringfence trust`
#[derive(Args, Clone, Debug)]
pub(crate) struct Trust {
    /// The policy file [default: `.ringfence/policy.toml` of the workspace]
    #[arg(value_name = "FILE", conflicts_with = "list")]
    pub(crate) file: Option<PathBuf>,
    /// List the files that are trusted
    #[arg(long, conflicts_with = "remove")]
    pub(crate) list: bool,
    /// End the trust in the file
    #[arg(long)]
    pub(crate) remove: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence quarantine`
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List what is held
    List {
        /// Print the table as JSON
        #[arg(long)]
        json: bool,
    },
    /// Move an item back to where a command made it
    Restore {
        /// The item's name, as `list` shows it
        item: String,
    },
    /// Delete an item for good
    Drop {
        /// The item's name, as `list` shows it
        item: String,
    },
}

/// `ringfence completions`
#[derive(Args, Clone, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_listed_value_is_one_of_the_policy() {
        for mode in ["read-only", "workspace-write", "full-access"] {
            assert!(
                CommandLine::try_parse_from(["ringfence", "run", "--mode", mode, "--", "x"])
                    .is_ok()
            );
        }
        for git in ["read-only", "commit", "full"] {
            assert!(
                CommandLine::try_parse_from(["ringfence", "run", "--git", git, "--", "x"]).is_ok()
            );
        }
        for network in ["offline", "allowlist", "open"] {
            assert!(
                CommandLine::try_parse_from(["ringfence", "run", "--network", network, "--", "x"])
                    .is_ok()
            );
        }
        for observe in ["off", "writes", "all"] {
            assert!(
                CommandLine::try_parse_from(["ringfence", "run", "--observe", observe, "--", "x"])
                    .is_ok()
            );
        }
        for require in ["partial", "full"] {
            assert!(
                CommandLine::try_parse_from(["ringfence", "run", "--require", require, "--", "x"])
                    .is_ok()
            );
        }
    }

    #[test]
    fn options_after_the_command_are_the_commands() {
        let line =
            CommandLine::try_parse_from(["ringfence", "run", "cargo", "--json", "--mode", "x"])
                .unwrap();
        let Command::Run(run) = line.command else {
            panic!("not run")
        };
        assert!(!run.report.json);
        assert_eq!(run.command, ["cargo", "--json", "--mode", "x"]);
    }
}
