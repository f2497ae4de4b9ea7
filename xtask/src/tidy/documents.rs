//! The documents that must be there: generated ones, each with the test that compares it with its source, and the
//! README's two commands.
//!
//! Whether a generated document is fresh is its own test's verdict. Invariant: a generated document that no test
//! can bless is a finding.

use super::Finding;
use super::tree::Tree;

/// The variable with which a test writes its document instead of comparing it.
const BLESS: &str = "RINGFENCE_BLESS";

/// What is generated from code.
const GENERATED: [&str; 6] = [
    "docs/errors.md",
    "docs/events.md",
    "docs/events.schema.json",
    "docs/policy.md",
    "docs/policy.schema.json",
    "docs/setup-operations.md",
];

/// What a person types first, word for word.
const README_COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo xtask ci"];

/// What every project of this kind has, beside the two documents with numbered lines.
const EXPECTED: [&str; 4] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
];

/// The findings on the documents.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = EXPECTED
        .into_iter()
        .filter(|path| tree.file(path).is_none())
        .map(|path| Finding::error(path, "there is no such document"))
        .collect();
    findings.extend(
        GENERATED
            .into_iter()
            .filter_map(|path| check_generated(tree, path)),
    );
    if let Some(readme) = tree.file("README.md") {
        let absent = README_COMMANDS.into_iter().filter(|command| {
            !readme
                .text
                .lines()
                .any(|line| line.trim_start_matches(['$', ' ']).starts_with(command))
        });
        findings.extend(absent.map(|command| {
            Finding::error(
                "README.md",
                format!("it does not show `{command}` on a line of its own"),
            )
        }));
    }
    findings
}

fn check_generated(tree: &Tree, path: &str) -> Option<Finding> {
    if tree.file(path).is_none() {
        return Some(Finding::error(path, "this generated document is missing"));
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let blessed = tree.files().iter().any(|file| {
        file.is_rust()
            && !file.path.starts_with("xtask/")
            && file.text.contains(BLESS)
            && file.text.contains("#[test]")
            && file.text.contains(name)
    });
    (!blessed).then(|| {
        let complaint = format!("no file with a test names it and reads {BLESS}");
        Finding::error(path, complaint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLESSING: &str = "#[test]\nfn fresh() { RINGFENCE_BLESS; \"errors.md events.md events.schema.json policy.md policy.schema.json setup-operations.md\" }";

    fn complete() -> Vec<(&'static str, &'static str)> {
        let mut files: Vec<(&str, &str)> = EXPECTED
            .iter()
            .chain(&GENERATED)
            .map(|path| (*path, ""))
            .filter(|(path, _)| *path != "README.md")
            .collect();
        files.push((
            "README.md",
            "    cargo run --release -- demo\n$ cargo xtask ci\n",
        ));
        files.push(("crates/policy/src/a.rs", BLESSING));
        files
    }

    #[test]
    fn a_complete_project_has_no_finding() {
        assert_eq!(check(&Tree::of(&complete())), []);
    }

    #[test]
    fn each_missing_document_is_found() {
        let files = complete();
        for missing in EXPECTED.iter().chain(&GENERATED) {
            let rest: Vec<_> = files
                .iter()
                .copied()
                .filter(|(path, _)| path != missing)
                .collect();
            assert!(!check(&Tree::of(&rest)).is_empty(), "{missing}");
        }
    }

    #[test]
    fn a_generated_document_without_its_test_is_found() {
        let rest: Vec<_> = complete()
            .into_iter()
            .filter(|(path, _)| !path.starts_with("crates/"))
            .collect();
        assert_eq!(check(&Tree::of(&rest)).len(), GENERATED.len());
    }

    #[test]
    fn a_readme_without_its_commands_is_found() {
        let mut files = complete();
        files.retain(|(path, _)| *path != "README.md");
        files.push(("README.md", "run cargo xtask ci, they say"));
        assert_eq!(check(&Tree::of(&files)).len(), 2);
    }
}
