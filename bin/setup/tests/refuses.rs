//! The shipped program on a system that enforces nothing: it must say so, and leave nothing half-made.
//!
//! Each test's name begins with what passing under wine is worth.

#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "what a test can't set up fails it")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ringfence_backend::windows::{REQUEST_VERSION, SetupOutcome, SetupReceipt, SetupRequest};
use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::filters::FilterForm;
use ringfence_plan::windows::machine::{MachineDirectories, OWN_KEY, Subject};
use ringfence_plan::windows::sids::{SidSecret, SidShape, marker};
use ringfence_plan::windows::step::PortRange;
use ringfence_policy::document::Loopback;
use ringfence_windows::observe::machine::{observe_dynamic_ports, person, program_data};
use ringfence_windows::sys::key::{Key, KeyAccess, Root};
use ringfence_windows::sys::machine::name_of;
use ringfence_windows::sys::pipe::{PipeName, PipeServer};

const SETUP: &str = env!("CARGO_BIN_EXE_ringfence-setup");

/// What the program said and how it ended.
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

/// Runs it with files for its output: services that wine starts on its behalf would keep a pipe open.
fn run(arguments: &[&str]) -> Ended {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = |what: &str| {
        let name = format!("ringfence-setup-{}-{number}-{what}", std::process::id());
        std::env::temp_dir().join(name)
    };
    let (out, err) = (file("out"), file("err"));
    let mut command = Command::new(SETUP);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap());
    let code = command.status().unwrap().code();
    let ended = Ended {
        code,
        stdout: std::fs::read(&out).unwrap(),
        stderr: std::fs::read_to_string(&err).unwrap(),
    };
    std::fs::remove_file(out).unwrap();
    std::fs::remove_file(err).unwrap();
    ended
}

fn subject() -> Subject {
    let person = person().unwrap();
    Subject {
        person,
        name: name_of(person).unwrap().unwrap().name,
        program_data: program_data().unwrap(),
        marker: marker(&SidSecret::new([7; 32]), SidShape::Null, person),
        proxy: PortRange {
            first: 20_000,
            last: 20_031,
        },
        dynamic: observe_dynamic_ports(),
        loopback: Loopback::Dynamic,
        form: FilterForm::Named,
    }
}

/// A request on the disk, as the harness writes it; its path and its hash.
fn request(name: &str) -> (String, String) {
    let subject = subject();
    let request = SetupRequest {
        version: REQUEST_VERSION,
        plan: subject.hash().unwrap(),
        subject,
        caller: Some(std::process::id()),
    };
    let file = format!("ringfence-{name}-{}.json", std::process::id());
    let path = std::env::temp_dir().join(file);
    std::fs::write(&path, serde_json::to_vec(&request).unwrap()).unwrap();
    (path.to_str().unwrap().to_owned(), request.plan)
}

fn nothing_is_left() {
    let subject = subject();
    let top = MachineDirectories::below(&subject.program_data, subject.person)
        .unwrap()
        .top;
    assert!(!Path::new(&top.to_string()).exists(), "{top}");
    let key = Key::open(Root::Machine, OWN_KEY, KeyAccess::Read).unwrap();
    assert!(key.is_none(), "HKLM\\{OWN_KEY}");
}

// Negative rung: wine accepts accounts and makes none, and has no filtering platform. On a real machine this would set
// it up, so there it is skipped.
#[test]
fn plumbing_only_a_system_that_enforces_nothing_is_refused_and_nothing_is_half_made() {
    let (path, plan) = request("refused");
    let known = run(&["verify", "--json"]);
    let known: SetupReceipt = serde_json::from_slice(&known.stdout).unwrap();
    if known.outcome != SetupOutcome::NotEnforced {
        eprintln!("skipped: this system enforces what set-up needs");
        return;
    }
    for verb in ["install", "repair", "verify"] {
        let output = run(&[verb, "--request", &path, "--plan", &plan, "--json"]);
        assert_eq!(output.code, Some(102), "{verb}");
        let receipt: SetupReceipt = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(receipt.outcome, SetupOutcome::NotEnforced);
        assert!(receipt.changed.is_empty() && receipt.accounts.is_none());
        nothing_is_left();
    }
    let words = run(&["verify"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("not enforced"), "{words}");
    assert!(words.contains("FAILED  network-filters"), "{words}");
    std::fs::remove_file(path).unwrap();
}

// Whatever the system, a request that is not the one that was consented to does nothing.
#[test]
fn plumbing_only_what_was_not_consented_to_is_not_done() {
    let (path, _) = request("consent");
    let other = "0".repeat(64);
    let output = run(&["install", "--request", &path, "--plan", &other, "--json"]);
    let receipt: SetupReceipt = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        matches!(
            receipt.outcome,
            SetupOutcome::Refused | SetupOutcome::NotEnforced
        ),
        "{receipt:?}"
    );
    assert_ne!(output.code, Some(0));
    std::fs::write(&path, b"{\"version\":1,\"steps\":[]}").unwrap();
    let output = run(&["install", "--request", &path, "--plan", &other]);
    assert_eq!(output.code, Some(103));
    nothing_is_left();
    std::fs::remove_file(path).unwrap();
}

// Pipes and the process at their other end are wine's own; their descriptors are not.
#[test]
fn plumbing_only_the_receipt_goes_to_the_pipe_that_the_harness_made() {
    let name = PipeName::random().unwrap();
    let everyone = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
    let server = PipeServer::new(name.clone(), &everyone).unwrap();
    let child = std::thread::spawn({
        let name = name.as_str().to_owned();
        move || run(&["verify", "--receipt", &name])
    });
    let connection = server.accept(60_000).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut (&connection.stream), &mut bytes).unwrap();
    let receipt: SetupReceipt = serde_json::from_slice(&bytes).unwrap();
    assert!(!receipt.checks.is_empty());
    let output = child.join().unwrap();
    assert!(output.stdout.is_empty(), "it was said once");
    // Somebody else's pipe gets nothing.
    let output = run(&["verify", "--receipt", r"\\.\pipe\other"]);
    assert!(output.stderr.contains("none of Ringfence's"));
}

#[test]
fn plumbing_only_it_asks_for_an_administrator_by_its_manifest() {
    let bytes = std::fs::read(SETUP).unwrap();
    let holds = |text: &str| {
        let mut parts = bytes.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    };
    assert!(holds(
        "requestedExecutionLevel level=\"requireAdministrator\""
    ));
}

#[test]
fn plumbing_only_an_empty_machine_has_an_empty_ledger() {
    let output = run(&["dump"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]");
    nothing_is_left();
}
