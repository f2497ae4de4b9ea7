//! One test over all cases.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where its input is not what it says"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ringfence_plan::HostFacts;
use ringfence_plan::lint::{Finding, Severity, lint};
use ringfence_plan::windows::WindowsLedger;
use ringfence_plan::windows::audit::AuditReport;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, ExitCode, Policy};

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

fn facts(case: &Path) -> HostFacts {
    let text = std::fs::read_to_string(case.join("facts.json")).expect("facts.json");
    let mut facts = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: no host facts: {error}", case.display()));
    // What `ringfence audit --json` prints on a machine pins what its facts leave open.
    if let (HostFacts::Windows(facts), Ok(text)) =
        (&mut facts, std::fs::read_to_string(case.join("audit.json")))
    {
        let report: AuditReport = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: no audit: {error}", case.display()));
        report.pin(facts);
    }
    facts
}

fn context(facts: &HostFacts) -> Context {
    match facts {
        HostFacts::Linux(facts) => Context {
            home: facts.home.as_ref().map_or_else(
                || AbsolutePath::new("/home/u").expect("absolute"),
                |home| home.path.clone(),
            ),
            workspace: facts.roots[0].named.clone(),
            state: facts.state.clone(),
            platform: Platform::Linux,
        },
        HostFacts::Windows(facts) => facts.policy_context().expect("a workspace"),
    }
}

fn policy(case: &Path, facts: &HostFacts) -> Policy {
    let text = std::fs::read_to_string(case.join("policy.toml")).expect("policy.toml");
    let layer = Layer::from_file(
        LayerKind::User,
        "policy.toml",
        text.as_bytes(),
        Trust::Untrusted,
    )
    .expect("a policy file");
    resolve(&[layer], &context(facts)).expect("a policy")
}

fn ledger(case: &Path) -> WindowsLedger {
    let text = std::fs::read_to_string(case.join("ledger.json")).expect("ledger.json");
    serde_json::from_str(&text).expect("a ledger")
}

/// The plan as text, after it was checked; or why there is none.
fn rendered(case: &Path) -> String {
    let facts = facts(case);
    let policy = policy(case, &facts);
    let (text, errors) = match &facts {
        HostFacts::Linux(facts) => match ringfence_plan::linux::plan(&policy, facts) {
            Ok(plan) => (plan.render_text(), errors(&lint(&plan))),
            Err(error) => return refusal(&error, error.exit_code(), &error.hints()),
        },
        HostFacts::Windows(facts) => {
            match ringfence_plan::windows::plan(&policy, facts, &ledger(case)) {
                Ok(plan) => {
                    let found = ringfence_plan::windows::lint::lint(&plan, facts);
                    let text = plan.render_text();
                    (text, lines(&found))
                }
                Err(error) => return refusal(&error, error.exit_code(), &error.hints()),
            }
        }
    };
    assert!(errors.is_empty(), "{}: {errors}", case.display());
    text
}

fn errors(findings: &[Finding]) -> String {
    let worst = findings
        .iter()
        .filter(|one| one.severity == Severity::Error);
    lines(&worst.collect::<Vec<_>>())
}

/// One line for each finding.
fn lines<F: std::fmt::Debug>(findings: &[F]) -> String {
    findings.iter().fold(String::new(), |mut text, one| {
        let _ = writeln!(text, "{one:?}");
        text
    })
}

fn refusal(error: &dyn std::error::Error, code: ExitCode, hints: &[String]) -> String {
    let mut text = format!("error {}: {error}\n", code.code());
    for hint in hints {
        let _ = writeln!(text, "hint {hint}");
    }
    text
}

#[test]
fn every_case_gives_its_stored_plan() {
    let bless = std::env::var_os("RINGFENCE_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 12, "{} cases", cases.len());
    let mut changed = Vec::new();
    for case in cases {
        let text = rendered(&case);
        let stored = case.join("plan.txt");
        if bless {
            std::fs::write(&stored, &text).expect("plan.txt");
        } else if std::fs::read_to_string(&stored).ok().as_deref() != Some(text.as_str()) {
            changed.push(format!("{}:\n{text}", case.display()));
        }
    }
    assert!(
        changed.is_empty(),
        "plans changed; if they should, run again with RINGFENCE_BLESS=1:\n{}",
        changed.join("\n")
    );
}

#[test]
#[ignore = "prints the policy of a case for making its facts"]
fn print_policies() {
    for case in cases() {
        let facts = facts(&case);
        println!(
            "{}",
            serde_json::to_string(&policy(&case, &facts)).expect("json")
        );
    }
}
