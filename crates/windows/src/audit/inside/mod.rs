//! The probes that run inside a session, as a target: each tries one thing and prints one line.
//!
//! Invariant: only a refusal by its own code is held; anything else that went wrong is unknown, and a probe whose
//! control failed outside is never held.

mod copies;
mod drives;
pub(super) mod errands;
mod links;
pub mod network;
mod own;
mod process;
pub mod starter;

use std::io::{self, Read as _, Write};
use std::time::Duration;

use ringfence_plan::windows::audit::LINKS;

use super::Finding;
use super::stage::Stage;

/// What a held session's process waits in.
pub const HOLD: &str = "hold";
/// What a process that is left behind waits in.
pub(super) const WAIT: &str = "wait";
/// What a process does that was started with a copy of a token.
pub(super) const REACH: &str = "reach";
/// How long something that is left behind stays, if nobody ends it.
const LEFT_BEHIND: Duration = Duration::from_mins(1);

/// Tries the probe of this name; `None` where there is none.
#[must_use]
pub fn attempt(name: &str, stage: &Stage) -> Option<Finding> {
    Some(match name {
        LINKS => links::readable(),
        "egress.tcp" => network::tcp(stage),
        "egress.tcp6" => network::tcp6(stage),
        "egress.udp" => network::udp(stage),
        "loopback.fixed" => network::fixed(stage),
        "loopback.dynamic" => network::dynamic(stage),
        "loopback.itself" => network::itself(),
        "egress.deny-only" => copies::deny_only(stage),
        "egress.anonymous" => copies::anonymous(stage),
        "icmp" => network::echo(stage),
        "raw" => network::raw(),
        "dns" => network::name(),
        "smb" => network::share(stage),
        "webdav" => errands::send(errands::Service::WebDav, stage),
        "bits" => errands::send(errands::Service::Bits, stage),
        "spooler" => network::spooler(stage),
        "schannel" => network::tls(stage),
        "process.runner" => process::runner(),
        "process.runner-token" => process::runner_token(),
        "process.runner-threads" => process::runner_threads(),
        "process.sibling" => process::sibling(stage),
        "drives" => drives::drives(),
        "process.person" => process::person(stage),
        "leftovers.processes" => process::leave(),
        _ => return None,
    })
}

/// Does what `--inside NAME` stands for, and says what came of it on `out`, in a line of JSON.
///
/// # Errors
/// Where nobody reads `out`.
pub fn run(name: &str, stage: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    match name {
        HOLD => {
            writeln!(out, "{}", std::process::id())?;
            out.flush()?;
            // Until whoever holds it lets go.
            io::stdin().read_to_end(&mut Vec::new()).map(drop)
        }
        WAIT => {
            std::thread::sleep(LEFT_BEHIND);
            Ok(())
        }
        REACH => copies::reach(stage, out),
        name => {
            let stage = stage.and_then(|text| serde_json::from_str::<Stage>(text).ok());
            let Some(finding) = stage.and_then(|stage| attempt(name, &stage)) else {
                return Ok(());
            };
            serde_json::to_writer(&mut *out, &finding)?;
            writeln!(out)?;
            out.flush()
        }
    }
}
