//! Rules on one file at a time: its name, its length, where `unsafe` may stand, and words that tie the project to
//! one machine.
//!
//! It understands Rust only as far as comments and strings. Invariant: it looks at text, never at the disk.

use super::Finding;
use super::tree::SourceFile;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "common",
    "helper",
    "helpers",
    "misc",
    "shared",
    "util",
    "utils",
    "utilities",
];

/// Where `unsafe` may stand.
const UNSAFE_PLACES: [&str; 5] = [
    "bench/",
    "crates/linux/",
    "crates/macos/",
    "crates/windows/",
    "tests/conformance/",
];

const LONG: usize = 600;
const TOO_LONG: usize = 700;
const README_TOO_LONG: usize = 120;

/// Places of one machine and hosts of registries, in two halves so that this file does not hold them itself.
const TIES: [(&str, &str); 9] = [
    ("/wor", "k/main"),
    ("/wor", "k/shared"),
    ("/tmp/", "wt/"),
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("registry.npmjs", ".org"),
    ("py", "pi.org"),
    ("deb.debian", ".org"),
    ("proxy.golang", ".org"),
];

/// The findings on one file.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::from_iter(check_name(file));
    findings.extend(check_length(file));
    findings.extend(check_ties(file));
    if file.is_rust() {
        findings.extend(check_unsafe(file));
    }
    if file.path.ends_with("Cargo.toml") {
        findings.extend(check_lints(file));
    }
    findings
}

fn check_name(file: &SourceFile) -> Option<Finding> {
    let empty = file.path.split('/').find(|part| {
        let stem = part.split('.').next().unwrap_or(part);
        EMPTY_NAMES.contains(&stem)
    })?;
    let complaint = format!("`{empty}` says nothing: name it after what it is for");
    Some(Finding::error(file.path.as_str(), complaint))
}

fn check_length(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let place = file.path.as_str();
    if place == "README.md" {
        let complaint = format!("{lines} lines; a README has at most {README_TOO_LONG}");
        return (lines > README_TOO_LONG).then(|| Finding::error(place, complaint));
    }
    if !file.is_rust() || lines <= LONG {
        return None;
    }
    let complaint = format!("{lines} lines; aim at {LONG}, never above {TOO_LONG}");
    Some(if lines > TOO_LONG {
        Finding::error(place, complaint)
    } else {
        Finding::warning(place, complaint)
    })
}

fn check_ties(file: &SourceFile) -> Vec<Finding> {
    let tied = |line: &str| {
        TIES.iter()
            .map(|(head, tail)| format!("{head}{tail}"))
            .find(|tie| line.contains(tie.as_str()))
    };
    let lines = file.text.lines().enumerate();
    lines
        .filter_map(|(index, line)| {
            let place = format!("{}:{}", file.path, index.saturating_add(1));
            let complaint = format!("`{}` belongs to one machine or one registry", tied(line)?);
            Some(Finding::error(place, complaint))
        })
        .collect()
}

/// The compiler itself demands that a module opts in (`unsafe_code` is denied); it takes an `allow` for it, we do not.
fn check_unsafe(file: &SourceFile) -> Vec<Finding> {
    let place = |index: usize| format!("{}:{}", file.path, index.saturating_add(1));
    let dense: String = file.text.split_whitespace().collect();
    let mut findings = Vec::new();
    if dense.contains(concat!("allow(", "unsafe_code")) {
        let complaint = "opt in with `#![expect(unsafe_code, reason = …)]`, never with `allow`";
        findings.push(Finding::error(file.path.as_str(), complaint));
    }
    if UNSAFE_PLACES
        .iter()
        .any(|place| file.path.starts_with(place))
    {
        return findings;
    }
    let lines = file.text.lines().enumerate();
    let found = lines.filter(|(_, line)| has_word(&code_of(line), "unsafe"));
    findings.extend(found.map(|(index, _)| {
        let complaint = "`unsafe` outside the crates of an operating system";
        Finding::error(place(index), complaint)
    }));
    findings
}

/// A member that leaves the workspace's lints would leave the ban on `unsafe` with them.
fn check_lints(file: &SourceFile) -> Option<Finding> {
    let is_member = file.text.lines().any(|line| line.trim() == "[package]");
    let inherits = file.text.contains("[lints]\nworkspace = true");
    let complaint = "say `[lints] workspace = true`, so that the workspace's lints hold here";
    (is_member && !inherits).then(|| Finding::error(file.path.as_str(), complaint))
}

/// A line without its strings and its comment. Strings over several lines are taken for code: none here says it.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => {
                characters.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => code.push(character),
        }
    }
    code
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        })
        .len()
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(findings("crates/common/src/lib.rs", ""), 1);
        assert_eq!(findings("crates/plan/src/utils.rs", ""), 1);
        assert_eq!(findings("crates/plan/src/commonest.rs", ""), 0);
    }

    #[test]
    fn long_files_are_found() {
        let lines = |count| "\n".repeat(count);
        assert_eq!(findings("a.rs", &lines(600)), 0);
        let long = SourceFile {
            path: "a.rs".to_owned(),
            text: lines(601),
        };
        assert!(!super::super::has_errors(&check(&long)));
        assert_eq!(check(&long).len(), 1);
        let too_long = SourceFile {
            path: "a.rs".to_owned(),
            text: lines(701),
        };
        assert!(super::super::has_errors(&check(&too_long)));
        assert_eq!(findings("README.md", &lines(121)), 1);
        assert_eq!(findings("README.md", &lines(120)), 0);
    }

    #[test]
    fn places_of_one_machine_are_found() {
        for (head, tail) in TIES {
            assert_eq!(findings("a.md", &format!("see {head}{tail}")), 1);
        }
        assert_eq!(findings("a.md", "see packages.example.org"), 0);
    }

    #[test]
    fn unsafe_outside_its_places_is_found() {
        let block = "fn f() { unsafe { g() } }\n";
        assert_eq!(findings("crates/plan/src/a.rs", block), 1);
        assert_eq!(findings("crates/linux/src/a.rs", block), 0);
        let allowed = format!("#![{}(\n    unsafe_code\n)]\n{block}", "allow");
        assert_eq!(findings("crates/linux/src/a.rs", &allowed), 1);
    }

    #[test]
    fn a_member_without_the_workspaces_lints_is_found() {
        let member = "[package]\nname = \"a\"\n";
        assert_eq!(findings("crates/a/Cargo.toml", member), 1);
        let linted = format!("{member}\n[lints]\nworkspace = true\n");
        assert_eq!(findings("crates/a/Cargo.toml", &linted), 0);
        assert_eq!(findings("Cargo.toml", "[workspace]\n"), 0);
    }

    #[test]
    fn unsafe_in_a_comment_or_a_string_is_not_code() {
        let text = "// unsafe\nlet a = \"unsafe \\\" unsafe\";\n#![forbid(unsafe_code)]\n";
        assert_eq!(findings("crates/plan/src/a.rs", text), 0);
    }
}
