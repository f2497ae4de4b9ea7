//! One test over all cases.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where its input is not what it says"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ringfence_plan::lint::{Severity, lint};
use ringfence_plan::linux::error::PlanError;
use ringfence_plan::linux::facts::LinuxFacts;
use ringfence_plan::{HostFacts, Plan};
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, Policy};

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

fn facts(case: &Path) -> LinuxFacts {
    let text = std::fs::read_to_string(case.join("facts.json")).expect("facts.json");
    match serde_json::from_str(&text).expect("host facts") {
        HostFacts::Linux(facts) => facts,
        HostFacts::Windows(_) => panic!("{}: not a Linux machine", case.display()),
    }
}

fn policy(case: &Path, facts: &LinuxFacts) -> Policy {
    let text = std::fs::read_to_string(case.join("policy.toml")).expect("policy.toml");
    let layer = Layer::from_file(
        LayerKind::User,
        "policy.toml",
        text.as_bytes(),
        Trust::Untrusted,
    )
    .expect("a policy file");
    let home = facts.home.as_ref().map_or_else(
        || AbsolutePath::new("/home/u").expect("absolute"),
        |home| home.path.clone(),
    );
    let context = Context {
        home,
        workspace: facts.roots[0].named.clone(),
        state: facts.state.clone(),
        platform: Platform::Linux,
    };
    resolve(&[layer], &context).expect("a policy")
}

fn render(result: &Result<Plan, PlanError>) -> String {
    match result {
        Ok(plan) => plan.render_text(),
        Err(error) => {
            let mut text = format!("error {}: {error}\n", error.exit_code().code());
            for hint in error.hints() {
                let _ = writeln!(text, "hint {hint}");
            }
            text
        }
    }
}

#[test]
fn every_case_gives_its_stored_plan() {
    let bless = std::env::var_os("RINGFENCE_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 12, "{} cases", cases.len());
    let mut changed = Vec::new();
    for case in cases {
        let facts = facts(&case);
        let policy = policy(&case, &facts);
        let result = ringfence_plan::linux::plan(&policy, &facts);
        if let Ok(plan) = &result {
            let errors: Vec<_> = lint(plan)
                .into_iter()
                .filter(|finding| finding.severity == Severity::Error)
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", case.display());
        }
        let text = render(&result);
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
