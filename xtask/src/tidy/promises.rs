//! Each promise P-nn of `THREAT_MODEL.md` and each invariant I-nn of ARCHITECTURE.md names what holds it: a test, a
//! case of the conformance suite, or `[test pending]`.
//!
//! A definition is a table row, list item, heading or bold line that begins with the number. It does not run the
//! tests. Invariant: a document without any numbered line is a finding.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

const PENDING: &str = "[test pending]";

/// The names of all tests: functions under `#[test]`, tests of `proptest!`, and case names of the conformance suite.
pub(super) fn tests_of(tree: &Tree) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in tree.files().iter().filter(|file| file.is_rust()) {
        let mut marked = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with("#[test]") {
                marked = true;
            } else if let Some(rest) = line.split_once("fn ").map(|(_, rest)| rest) {
                if marked {
                    names.insert(word_at_start(rest).to_owned());
                }
                marked = false;
            }
            if file.path.starts_with("tests/conformance/") {
                names.extend(case_names(line));
            }
        }
    }
    names
}

/// Strings of the suite's tables that can be a case's name: two words or more, joined by `-`, `_`, `.` or `/`.
fn case_names(line: &str) -> impl Iterator<Item = String> {
    line.split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            let joined = text.contains(['-', '_', '.', '/']);
            let plain = text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-_./:".contains(letter));
            joined && plain && !text.starts_with(['/', '-', '.'])
        })
        .map(str::to_owned)
}

fn word_at_start(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    text.split_at(end.unwrap_or(text.len())).0
}

/// The findings on the document at `path`, whose numbers begin with `letter`.
pub(super) fn check(
    tree: &Tree,
    path: &str,
    letter: char,
    tests: &BTreeSet<String>,
) -> Vec<Finding> {
    let Some(document) = tree.file(path) else {
        return vec![Finding::error(path, "there is no such document")];
    };
    let definitions = definitions(&document.text, letter);
    if definitions.is_empty() {
        let complaint = format!("it defines no {letter}-nn");
        return vec![Finding::error(path, complaint)];
    }
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (number, text) in definitions {
        if !seen.insert(number.clone()) {
            findings.push(Finding::error(path, format!("{number} is defined twice")));
        }
        if let Some(complaint) = judge(&text, tests) {
            findings.push(Finding::error(path, format!("{number} {complaint}")));
        }
    }
    findings
}

/// Every definition: its number, and its text up to the next one, an empty line or a heading.
fn definitions(text: &str, letter: char) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        // A paragraph may begin with a number that it only speaks of.
        let begins = line.trim_start().starts_with(['|', '*', '-', '#']);
        let start = line.trim_start_matches(['|', ' ', '*', '-', '#', '`', '[']);
        if let Some(number) = number_at_start(start, letter).filter(|_| begins) {
            found.push((number, line.to_owned()));
            open = true;
        } else if line.trim().is_empty() || line.starts_with('#') || line.starts_with('|') {
            // A heading's text begins after the empty line that follows it.
            open = open && found.last().is_some_and(|(_, text)| text.starts_with('#'));
        } else if open && let Some((_, text)) = found.last_mut() {
            text.push('\n');
            text.push_str(line);
        }
    }
    found
}

/// `P-07` at the start of a definition; `P-07a` and `P-7` are no numbers.
fn number_at_start(text: &str, letter: char) -> Option<String> {
    let rest = text.strip_prefix(letter)?.strip_prefix('-')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let after = rest.chars().nth(digits.len());
    let ends = after.is_none_or(|next| !next.is_alphanumeric() && next != '–');
    (digits.len() == 2 && ends).then(|| format!("{letter}-{digits}"))
}

/// What is wrong with a definition's text.
fn judge(text: &str, tests: &BTreeSet<String>) -> Option<String> {
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    // `crate::module::tests::name` can be nothing but a test.
    let gone = quoted
        .iter()
        .filter(|name| name.contains("::tests::"))
        .find(|name| !tests.contains(last_segment(name)));
    if let Some(name) = gone {
        return Some(format!("names `{name}`, which is no test"));
    }
    let held = quoted
        .iter()
        .any(|name| tests.contains(*name) || tests.contains(last_segment(name)));
    (!held && !text.contains(PENDING))
        .then(|| format!("names no test that exists, and does not say {PENDING}"))
}

fn last_segment(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: (&str, &str) = (
        "crates/plan/src/a.rs",
        "#[test]\nfn writes_are_denied() {}\nfn not_a_test() {}\n",
    );
    const CASES: (&str, &str) = (
        "tests/conformance/src/cases.rs",
        "case(\"write/truncate\", x)",
    );

    fn complaints(document: &str) -> Vec<String> {
        let tree = Tree::of(&[SOURCE, CASES, ("THREAT_MODEL.md", document)]);
        let tests = tests_of(&tree);
        check(&tree, "THREAT_MODEL.md", 'P', &tests)
            .into_iter()
            .map(|finding| finding.complaint)
            .collect()
    }

    #[test]
    fn a_promise_with_a_test_a_case_or_a_pending_mark_is_fine() {
        let document = "| P-01 | no writes | `writes_are_denied` |\n\
            | P-02 | no truncation | `write/truncate` |\n\n\
            - **P-03** no reads\n  [test pending]\n\n\
            ### P-04 nothing\n\nHeld by `plan::a::tests::writes_are_denied`.\n";
        assert_eq!(complaints(document), Vec::<String>::new());
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        assert_eq!(complaints("- P-01 no writes").len(), 1);
        assert_eq!(complaints("- P-01 no writes, see `not_a_test`").len(), 1);
        assert_eq!(
            complaints("- P-01 one\n\n[test pending]").len(),
            1,
            "not in its block"
        );
    }

    #[test]
    fn a_test_that_is_gone_is_found() {
        let document = "- P-01 `writes_are_denied` and `plan::tests::was_renamed`";
        assert_eq!(complaints(document).len(), 1);
    }

    #[test]
    fn a_number_twice_and_a_document_without_numbers_are_found() {
        let twice = "| P-01 | a | [test pending] |\n| P-01 | b | [test pending] |\n";
        assert_eq!(complaints(twice), ["P-01 is defined twice"]);
        assert_eq!(complaints("no promises, P-1 or P-001").len(), 1);
        let tree = Tree::of(&[]);
        assert_eq!(
            check(&tree, "THREAT_MODEL.md", 'P', &BTreeSet::new()).len(),
            1
        );
    }

    #[test]
    fn a_mention_in_the_middle_of_a_line_is_no_definition() {
        let document = "- P-01 [test pending]\n\nP-02 as P-02 would say, and\nP-03 too\n";
        assert_eq!(complaints(document), Vec::<String>::new());
    }
}
