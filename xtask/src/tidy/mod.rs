//! `cargo xtask tidy`: the rules of this project that no compiler and no lint knows.
//!
//! Each rule is a pure function from text to findings; only [`Tree`] reads the disk. Invariant: a rule that finds
//! nothing to look at (no threat model, no members) is itself a finding.

mod arrows;
mod documents;
mod promises;
mod text;
mod tree;

use std::fmt;
use std::process::ExitCode;

use crate::project::{Project, ProjectError};

use tree::{Tree, TreeError};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It fails the check.
    Error,
    /// It is printed.
    Warning,
}

/// Something that a rule objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    severity: Severity,
    place: String,
    complaint: String,
}

impl Finding {
    fn error(place: impl Into<String>, complaint: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.into(),
            complaint: complaint.into(),
        }
    }

    fn warning(place: impl Into<String>, complaint: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, complaint)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(formatter, "{word}: {}: {}", self.place, self.complaint)
    }
}

/// Why the rules could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TidyError {
    /// The workspace could not be read.
    #[error("can't read the workspace")]
    Project(#[source] ProjectError),
    /// Its files could not be read.
    #[error("can't read the project's files")]
    Tree(#[source] TreeError),
}

/// Applies every rule to the workspace.
pub(crate) fn check(project: &Project) -> Result<Vec<Finding>, TidyError> {
    let tree = Tree::observe(&project.root).map_err(TidyError::Tree)?;
    let mut findings = arrows::check(&project.packages);
    for file in tree.files() {
        findings.extend(text::check(file));
    }
    let tests = promises::tests_of(&tree);
    for letter in ['P', 'A', 'W'] {
        findings.extend(promises::check(&tree, "THREAT_MODEL.md", letter, &tests));
    }
    findings.extend(promises::check(&tree, "ARCHITECTURE.md", 'I', &tests));
    findings.extend(documents::check(&tree));
    Ok(findings)
}

/// Applies every rule and prints what they find.
pub(crate) fn run() -> Result<ExitCode, TidyError> {
    let project = Project::observe().map_err(TidyError::Project)?;
    let findings = check(&project)?;
    print!("{}", render(&findings));
    Ok(if has_errors(&findings) {
        ExitCode::FAILURE
    } else {
        println!("tidy");
        ExitCode::SUCCESS
    })
}

/// The findings, a line each.
pub(crate) fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&finding.to_string());
        text.push('\n');
    }
    text
}

/// Whether any of them fails the check.
pub(crate) fn has_errors(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_alone_does_not_fail() {
        let warning = Finding::warning("a.rs", "long");
        assert!(!has_errors(std::slice::from_ref(&warning)));
        assert!(has_errors(&[warning, Finding::error("b.rs", "too long")]));
    }
}
