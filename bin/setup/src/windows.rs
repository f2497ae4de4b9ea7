//! One verb on this machine, from the command line to the receipt.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use ringfence_backend::windows::{
    Fault, MAX_REQUEST, Remnant, SetupOutcome, SetupReceipt, SetupRequest, SetupVerb, read_request,
};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_windows::setup::{self, OnDamage, Order};
use ringfence_windows::sys::interrupt;
use ringfence_windows::sys::pipe::{PipeName, connect};

use crate::arguments::{Arguments, Asked, Verb};
use crate::say;
use crate::text::{render, status_of};

/// Does it; the exit status.
pub(crate) fn run(arguments: &Arguments) -> u8 {
    // A step is never torn in two: an interrupt ends walks, and waits for everything else.
    if let Err(error) = interrupt::watch() {
        say(&format!("{error}: {}; Ctrl-C is not noted", error.error));
    }
    let (verb, asked) = (arguments.verb.verb(), arguments.verb.asked());
    let receipt = match read(asked.request.as_deref()) {
        Ok(request) => {
            let consented = asked.plan.as_deref().unwrap_or_default();
            act(&arguments.verb, request.as_ref(), consented)
        }
        Err(causes) => failed(verb, SetupOutcome::Refused, causes),
    };
    let status = status_of(receipt.outcome);
    if deliver(&receipt, asked) {
        status
    } else {
        // The harness did not hear of it; whoever started this reads it.
        say(&render(&receipt));
        status.max(status_of(SetupOutcome::Failed))
    }
}

fn failed(verb: SetupVerb, outcome: SetupOutcome, causes: Vec<String>) -> SetupReceipt {
    let mut receipt = SetupReceipt::new(verb, outcome);
    receipt.faults.push(Fault {
        causes,
        code: None,
        hint: None,
    });
    receipt
}

/// The request, if there is one. Its bytes are an attacker's, and so is what stands at its path.
fn read(path: Option<&Path>) -> Result<Option<SetupRequest>, Vec<String>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let object = format!("the request {} can't be read", path.display());
    let mut bytes = Vec::new();
    open(path)
        .and_then(|file| file.take(MAX_REQUEST + 1).read_to_end(&mut bytes))
        .map_err(|error| vec![object.clone(), error.to_string()])?;
    read_request(&bytes)
        .map(Some)
        .map_err(|error| vec![object, error.to_string()])
}

/// Opens a file and nothing else. Whoever answers in its place, as a pipe does, learns who this is and can't act as it.
fn open(path: &Path) -> io::Result<File> {
    /// `SECURITY_IDENTIFICATION`
    const IDENTIFICATION: u32 = 0x0001_0000;
    let file = File::options()
        .read(true)
        .security_qos_flags(IDENTIFICATION)
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no file"))
}

fn act(verb: &Verb, request: Option<&SetupRequest>, consented: &str) -> SetupReceipt {
    let (on_damage, tree) = match verb {
        Verb::Uninstall(uninstall) => {
            let on_damage = if uninstall.damaged_ledger {
                OnDamage::TakeBack
            } else {
                OnDamage::List
            };
            (on_damage, uninstall.scan.as_ref())
        }
        Verb::Install(_) | Verb::Repair(_) | Verb::Verify(_) | Verb::Dump(_) => {
            (OnDamage::List, None)
        }
    };
    let order = Order {
        verb: verb.verb(),
        request,
        consented,
        on_damage,
        watch,
    };
    let Some(top) = tree else {
        return setup::run(&order);
    };
    // Asked before the ledger is gone, which alone tells them.
    let person = request.map(|request| request.subject.person);
    let ours = setup::sids(person);
    let mut receipt = setup::run(&order);
    match ours
        .map_err(|fault| fault.to_string())
        .and_then(|ours| scan(top, &ours))
    {
        Ok(left) => {
            if !left.is_empty() && status_of(receipt.outcome) == 0 {
                receipt.outcome = SetupOutcome::Left;
            }
            receipt.left.extend(left);
        }
        Err(cause) => {
            let causes = vec![format!("{top} could not be scanned"), cause];
            receipt.faults.push(Fault {
                causes,
                code: None,
                hint: None,
            });
            if status_of(receipt.outcome) == 0 {
                receipt.outcome = SetupOutcome::Failed;
            }
        }
    }
    receipt
}

/// Says how far a walk over a tree is; Ctrl-C ends it.
fn watch(visited: u64) -> ControlFlow<()> {
    const EVERY: u64 = 5_000;
    if interrupt::is_asked() {
        return ControlFlow::Break(());
    }
    if visited.is_multiple_of(EVERY) {
        say(&format!("{visited} objects looked at; Ctrl-C ends it"));
    }
    ControlFlow::Continue(())
}

/// Looks through everything at and below `top`.
fn scan(top: &str, ours: &BTreeSet<Sid>) -> Result<Vec<Remnant>, String> {
    let path = WindowsPath::parse(top).map_err(|error| error.to_string())?;
    let left = setup::scan(&path, ours, &mut watch).map_err(|fault| fault.to_string())?;
    Ok(left.remnants("carry something of ours, or could not be looked at"))
}

/// Brings the receipt to whoever asked; whether they got it.
fn deliver(receipt: &SetupReceipt, asked: &Asked) -> bool {
    let json = match serde_json::to_vec(receipt) {
        Ok(json) => json,
        Err(error) => {
            say(&format!("the receipt can't be written: {error}"));
            return false;
        }
    };
    if let Some(pipe) = &asked.receipt {
        let Some(name) = PipeName::parse(pipe) else {
            say("the pipe for the receipt is none of Ringfence's");
            return false;
        };
        return match connect(&name) {
            Ok(connection) => (&connection.stream).write_all(&json).is_ok(),
            Err(error) => {
                say(&format!("{error}: {}", error.error));
                false
            }
        };
    }
    if let Some(ledger) = &receipt.ledger {
        return print(ledger.to_string().as_bytes()) && print(b"\n");
    }
    let text = render(receipt);
    if asked.json {
        print(&json) && print(b"\n")
    } else {
        print(text.as_bytes())
    }
}

fn print(bytes: &[u8]) -> bool {
    let mut out = io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use ringfence_nt::SecurityDescriptor;
    use ringfence_windows::sys::pipe::PipeServer;

    use super::*;

    // Wine's pipes are pipes; how far a server may act as its client is not seen there.
    #[test]
    fn plumbing_only_a_request_is_a_file_and_nothing_that_answers_in_its_place() {
        let own = std::env::temp_dir().join(format!("ringfence-request-{}", std::process::id()));
        std::fs::write(&own, b"{").unwrap();
        let told = read(Some(&own)).unwrap_err();
        assert!(
            told.iter()
                .any(|line| line.contains("JSON") || line.contains("EOF")),
            "{told:?}"
        );
        std::fs::remove_file(&own).unwrap();
        let name = PipeName::random().unwrap();
        let everybody = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
        let server = PipeServer::new(name.clone(), &everybody).unwrap();
        let opened = open(Path::new(name.as_str()));
        assert!(opened.is_err(), "a pipe was taken for a file");
        drop(server);
        assert!(open(&std::env::temp_dir()).is_err());
        assert!(matches!(read(None), Ok(None)));
    }
}
