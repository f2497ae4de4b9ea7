//! Which crate may depend on which: the arrows of ARCHITECTURE.md, and what the pure crates must never link.
//!
//! Development dependencies are free: a test may look at anything. Invariant: a member that is not in the table is
//! a finding, so that a new crate gets its place in the picture first.

use crate::project::Package;

use super::Finding;

/// A member and the members it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("ringfence-policy", &[]),
    ("ringfence-nt", &[]),
    ("ringfence-plan", &["ringfence-nt", "ringfence-policy"]),
    (
        "ringfence-backend",
        &["ringfence-nt", "ringfence-plan", "ringfence-policy"],
    ),
    ("ringfence-audit", &["ringfence-policy"]),
    ("ringfence-egress", &["ringfence-policy"]),
    (
        "ringfence-linux",
        &["ringfence-backend", "ringfence-plan", "ringfence-policy"],
    ),
    (
        "ringfence-windows",
        &[
            "ringfence-backend",
            "ringfence-nt",
            "ringfence-plan",
            "ringfence-policy",
        ],
    ),
    (
        "ringfence",
        &[
            "ringfence-audit",
            "ringfence-backend",
            "ringfence-egress",
            "ringfence-linux",
            "ringfence-plan",
            "ringfence-policy",
            "ringfence-windows",
        ],
    ),
    // Not the OS crates: what a person's command does to a machine goes through the library.
    (
        "ringfence-cli",
        &[
            "ringfence",
            "ringfence-audit",
            "ringfence-backend",
            "ringfence-plan",
            "ringfence-policy",
        ],
    ),
    (
        "ringfence-fuzz-tests",
        &[
            "ringfence-backend",
            "ringfence-egress",
            "ringfence-nt",
            "ringfence-plan",
            "ringfence-policy",
            "ringfence-windows",
        ],
    ),
    ("ringfence-runner", &["ringfence-windows"]),
    (
        "ringfence-setup",
        &[
            "ringfence-backend",
            "ringfence-nt",
            "ringfence-plan",
            "ringfence-policy",
            "ringfence-windows",
        ],
    ),
    (
        "ringfence-bench",
        &[
            "ringfence",
            "ringfence-egress",
            "ringfence-linux",
            "ringfence-nt",
            "ringfence-plan",
            "ringfence-policy",
        ],
    ),
    ("ringfence-bench-limit", &[]),
    (
        "ringfence-conformance-tests",
        &["ringfence-plan", "ringfence-policy", "ringfence-windows"],
    ),
    (
        "ringfence-golden-tests",
        &["ringfence-nt", "ringfence-plan", "ringfence-policy"],
    ),
    (
        "ringfence-windows-model",
        &[
            "ringfence-backend",
            "ringfence-nt",
            "ringfence-plan",
            "ringfence-policy",
            "ringfence-windows",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that decide and never do.
const PURE: &[&str] = &["ringfence-policy", "ringfence-nt", "ringfence-plan"];

/// What a pure crate must not link: each of them reaches the disk, the clock, the network or the kernel.
const IMPURE: &[&str] = &[
    "landlock",
    "libc",
    "mio",
    "nix",
    "rand",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "windows-sys",
];

/// Members that must stay free of an async runtime: OS crates, and what is built from them alone.
const SYNCHRONOUS: &[&str] = &[
    "ringfence-backend",
    "ringfence-linux",
    "ringfence-nt",
    "ringfence-plan",
];

/// The program that runs as administrator.
const ELEVATED: &str = "ringfence-setup";

/// All that it and the members it is built from may link: no network, no TLS, no async runtime, and nothing else that
/// is not looked at first.
const LINKED_ELEVATED: &[&str] = &[
    "clap",
    "globset",
    "postcard",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "strsim",
    "thiserror",
    "toml_edit",
    "windows-sys",
];

/// What the elevated program links beyond its list, by itself or through a member.
fn check_elevated(packages: &[Package]) -> Vec<Finding> {
    let mut members = vec![ELEVATED];
    let mut findings = Vec::new();
    let mut next = 0;
    while let Some(name) = members.get(next).copied() {
        next += 1;
        let package = packages.iter().find(|package| package.name == name);
        let linked = package
            .iter()
            .flat_map(|package| &package.dependencies)
            .filter(|dependency| !matches!(dependency.kind.as_deref(), Some("dev" | "build")));
        for dependency in linked {
            let other = dependency.name.as_str();
            if dependency.path.is_some() {
                if !members.contains(&other) {
                    members.push(other);
                }
            } else if !LINKED_ELEVATED.contains(&other) {
                let complaint =
                    format!("runs as administrator and must not link {other}, by {name}");
                findings.push(Finding::error(ELEVATED, complaint));
            }
        }
    }
    findings
}

/// The findings on these members.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    if packages.is_empty() {
        return vec![Finding::error("Cargo.toml", "the workspace has no members")];
    }
    let mut findings: Vec<Finding> = packages.iter().flat_map(check_package).collect();
    findings.extend(check_elevated(packages));
    findings
}

fn check_package(package: &Package) -> Vec<Finding> {
    let name = package.name.as_str();
    let Some((_, allowed)) = ARROWS.iter().find(|(member, _)| *member == name) else {
        let complaint = "this member has no arrows yet: add it to xtask/src/tidy/arrows.rs";
        return vec![Finding::error(name, complaint)];
    };
    let linked = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    let mut findings = Vec::new();
    for dependency in linked {
        let other = dependency.name.as_str();
        if dependency.path.is_some() && !allowed.contains(&other) {
            findings.push(Finding::error(name, format!("must not depend on {other}")));
        }
        if PURE.contains(&name) && IMPURE.contains(&other) {
            let complaint = format!("is pure and must not link {other}");
            findings.push(Finding::error(name, complaint));
        }
        if SYNCHRONOUS.contains(&name) && other == "tokio" {
            findings.push(Finding::error(name, "must not know tokio"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
        let dependency = |(name, kind, member): &(&str, Option<&str>, bool)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
            path: member.then(|| "crates/x".into()),
        };
        Package {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn an_arrow_against_the_picture_is_found() {
        let wrong = package("ringfence-policy", &[("ringfence-plan", None, true)]);
        assert_eq!(
            check(&[wrong]),
            [Finding::error(
                "ringfence-policy",
                "must not depend on ringfence-plan"
            )]
        );
        let right = package("ringfence-plan", &[("ringfence-policy", None, true)]);
        assert_eq!(check(&[right]), []);
    }

    #[test]
    fn a_pure_crate_that_reaches_the_kernel_is_found() {
        let impure = package("ringfence-plan", &[("rustix", None, false)]);
        assert_eq!(check(&[impure]).len(), 1);
    }

    #[test]
    fn what_runs_as_administrator_links_no_network_by_itself_or_through_a_member() {
        let setup = package(
            "ringfence-setup",
            &[("clap", None, false), ("ringfence-windows", None, true)],
        );
        let windows = package("ringfence-windows", &[("windows-sys", None, false)]);
        assert_eq!(check(&[setup, windows]), []);
        let setup = || package("ringfence-setup", &[("ringfence-windows", None, true)]);
        for library in ["tokio", "rustls", "hyper", "socket2"] {
            let windows = package("ringfence-windows", &[(library, None, false)]);
            assert_eq!(check_elevated(&[setup(), windows]).len(), 1, "{library}");
            let direct = package("ringfence-setup", &[(library, None, false)]);
            assert_eq!(check_elevated(&[direct]).len(), 1, "{library}");
        }
        let tested = package("ringfence-windows", &[("tokio", Some("dev"), false)]);
        assert_eq!(check_elevated(&[setup(), tested]), []);
    }

    #[test]
    fn a_test_may_depend_on_anything() {
        let tested = package("ringfence-policy", &[("tempfile", Some("dev"), false)]);
        assert_eq!(check(&[tested]), []);
    }

    #[test]
    fn an_unknown_member_and_an_empty_workspace_are_found() {
        assert_eq!(check(&[package("common", &[])]).len(), 1);
        assert_eq!(check(&[]).len(), 1);
    }
}
