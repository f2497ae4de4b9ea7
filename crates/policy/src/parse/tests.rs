//! Unit and property tests of parsing and its errors.

use super::*;
use crate::document::{GitAccess, Mode};
use proptest::prelude::*;

fn error(text: &str) -> ParseError {
    parse("policy.toml", text.as_bytes()).expect_err(text)
}

/// Line, column and key of an error.
fn place(error: &ParseError) -> (usize, usize, &str) {
    let spot = error.place.spot.as_ref().unwrap();
    (spot.line, spot.column, &error.place.key)
}

const EVERY_KEY: &str = r#"
mode = "workspace-write"
require = "partial"

[filesystem]
writable_roots = ["~/scratch"]
deny_read = ["~/notes", "**/*.pem"]
allow_read = ["~/.npmrc"]
protected = ["infra/prod"]
unprotected = ["AGENTS.md"]
git = "read-only"
new_repositories = "clean"
hard_links = "warn"

[network]
mode = "offline"
allow = ["packages.example.org", "*.example.net", "example.com:22"]
deny = []
ask = false
publish = [3000]
connect = ["127.0.0.1:5432"]
unix_sockets = []
upstream_proxy = "http://proxy.example.com:8080"

[environment]
mode = "filtered"
pass = ["CI", "MY_API_TOKEN"]
set = { NODE_ENV = "test" }

[limits]
memory = "4GiB"
processes = 512
time = "30m"

[approvals]
reviewer = "prompt"
command = ["/usr/local/bin/my-approver"]
timeout = "120s"
max_duration = "8h"

[audit]
otlp = { endpoint = "http://localhost:4318", protocol = "http/protobuf" }

[windows]
sandbox = "elevated"
"#;

#[test]
fn every_key_is_read_and_written_back() {
    let document = parse("policy.toml", EVERY_KEY.as_bytes()).unwrap();
    assert_eq!(document.mode, Some(Mode::WorkspaceWrite));
    assert_eq!(document.filesystem.git, Some(GitAccess::ReadOnly));
    assert_eq!(document.network.allow[2].to_string(), "example.com:22");
    assert_eq!(document.limits.memory, Some(ByteSize(4 << 30)));
    assert_eq!(document.approvals.timeout, Some(Span(120_000)));
    assert_eq!(
        document.audit.otlp.as_ref().unwrap().endpoint,
        "http://localhost:4318"
    );
    let written = toml_edit::ser::to_string_pretty(&document).unwrap();
    assert_eq!(parse("policy.toml", written.as_bytes()), Ok(document));
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(parse("policy.toml", b""), Ok(PolicyDocument::default()));
    assert_eq!(
        toml_edit::ser::to_string(&PolicyDocument::default()).unwrap(),
        ""
    );
}

#[test]
fn an_unknown_key_is_placed_and_corrected() {
    let found = error("mode = \"read-only\"\n\n[filesystem]\n  writeable_roots = [\"/a\"]\n");
    assert_eq!(place(&found), (4, 3, "filesystem.writeable_roots"));
    assert_eq!(
        found.to_string(),
        "policy.toml:4:3: filesystem.writeable_roots: unknown key `writeable_roots`; did you mean `writable_roots`?"
    );
    assert!(
        found
            .report()
            .contains("4 | writeable_roots = [\"/a\"]\n    | ^^^^^^^^^^^^^^^"),
        "{}",
        found.report()
    );
    assert!(found.hint().contains("deny_read"));
    assert_eq!(place(&error("[netwrok]\nmode = \"open\"")).2, "netwrok");
    assert!(
        error("[netwrok]\nmode = \"open\"")
            .to_string()
            .contains("did you mean `network`?")
    );
    assert!(matches!(
        error("zzz = 1").fault,
        ParseFault::UnknownKey {
            suggestion: None,
            ..
        }
    ));
    assert_eq!(
        place(&error("audit = { otlp = { endpiont = \"x\" } }")).2,
        "audit.otlp.endpiont"
    );
}

#[test]
fn an_unknown_word_is_placed_and_corrected() {
    let found = error("[filesystem]\ngit = \"comit\"\n");
    assert_eq!(place(&found), (2, 7, "filesystem.git"));
    assert_eq!(
        found.to_string(),
        "policy.toml:2:7: filesystem.git: `comit` is not one of read-only, commit, full; did you mean `commit`?"
    );
}

#[test]
fn a_wrong_type_says_what_is_expected() {
    for (text, key, message) in [
        (
            "mode = 3",
            "mode",
            "expected one of read-only, workspace-write, full-access, found a number",
        ),
        (
            "[filesystem]\ndeny_read = \"x\"",
            "filesystem.deny_read",
            "expected a list of texts, found text",
        ),
        (
            "[filesystem]\ndeny_read = [1]",
            "filesystem.deny_read",
            "expected text, found a number",
        ),
        (
            "[network]\nask = \"yes\"",
            "network.ask",
            "expected true or false, found text",
        ),
        (
            "filesystem = 1",
            "filesystem",
            "expected a table, found a number",
        ),
        (
            "[limits]\nprocesses = 1.5",
            "limits.processes",
            "expected a whole number, found a number with a fraction",
        ),
        (
            "[limits]\nmemory = true",
            "limits.memory",
            "expected text or a whole number, found true or false",
        ),
        (
            "[[network]]\nmode = \"open\"",
            "network",
            "expected a table, found a list of tables",
        ),
    ] {
        let found = error(text);
        assert_eq!(found.place.key, key, "{text}");
        assert!(found.to_string().ends_with(message), "{found}");
    }
    assert_eq!(
        error("[filesystem]\ndeny_read = \"x\"").hint(),
        "write it in brackets: `deny_read = [ … ]`"
    );
}

#[test]
fn a_bad_value_says_why_and_how() {
    for (text, place_of, message, hint) in [
        (
            "[limits]\nmemory = \"4G\"",
            (2, 10, "limits.memory"),
            "`G` is not a unit",
            "4GiB",
        ),
        (
            "[limits]\nmemory = -1",
            (2, 10, "limits.memory"),
            "negative",
            "4GiB",
        ),
        (
            "[limits]\ntime = \"\"",
            (2, 8, "limits.time"),
            "empty",
            "30m",
        ),
        (
            "[limits]\nprocesses = -1",
            (2, 13, "limits.processes"),
            "not a whole number from 0 to 4294967295",
            "",
        ),
        (
            "[network]\npublish = [70000]",
            (2, 12, "network.publish"),
            "not a whole number from 0 to 65535",
            "",
        ),
        (
            "[network]\npublish = [70000]",
            (2, 12, "network.publish"),
            "",
            "65535",
        ),
        (
            "[network]\nallow = [\"a.example\", \"*\"]",
            (2, 23, "network.allow"),
            "network.mode = \"open\"",
            "",
        ),
        (
            "[network]\ndeny = [\"*\"]",
            (2, 9, "network.deny"),
            "refused already",
            "",
        ),
        (
            "[network]\nallow = [\"a.example get /v1\"]",
            (2, 10, "network.allow"),
            "capital letters",
            "",
        ),
        (
            "[network]\nallow = [\"a.example\", { host = \"b.example\", methods = [\"get\"] }]",
            (2, 55, "network.allow"),
            "capital letters",
            "",
        ),
        (
            "[network]\nallow = [{ host = \"b.example\", path = [\"/x\"] }]",
            (2, 32, "network.allow"),
            "unknown field `path`",
            "",
        ),
        (
            "[network]\nallow = [{ host = \"b.example\" }]",
            (2, 10, "network.allow"),
            "write the host as text",
            "",
        ),
        (
            "[network]\nallow = [\"127.1\"]",
            (2, 10, "network.allow"),
            "looks like an address",
            "",
        ),
    ] {
        let found = error(text);
        assert_eq!(place(&found), place_of, "{text}");
        assert!(found.to_string().contains(message), "{found}");
        assert!(found.hint().contains(hint), "{}", found.hint());
    }
}

#[test]
fn a_key_twice_and_broken_toml_are_placed() {
    let found = error("[network]\nmode = \"open\"\nmode = \"offline\"\n");
    assert_eq!(found.fault, ParseFault::DuplicateKey);
    assert_eq!(place(&found), (3, 1, "network.mode"));
    assert_eq!(
        error("[limits]\n[limits]\n").fault,
        ParseFault::DuplicateKey
    );
    let found = error("[network]\nmode = \n");
    assert!(matches!(found.fault, ParseFault::Syntax(_)));
    assert_eq!((place(&found).0, place(&found).2), (2, "network.mode"));
}

#[test]
fn what_is_no_text_file_is_refused() {
    for (bytes, fault) in [
        (
            &b"\xef\xbb\xbfmode = \"open\""[..],
            ParseFault::ByteOrderMark("UTF-8"),
        ),
        (
            b"\xff\xfem\0",
            ParseFault::ByteOrderMark("UTF-16, little-endian"),
        ),
        (b"mode = \"\0\"", ParseFault::Nul(8)),
        (b"# \xff", ParseFault::NotUtf8(2)),
    ] {
        assert_eq!(parse("policy.toml", bytes).unwrap_err().fault, fault);
    }
    let huge = vec![b'#'; MAX_FILE_BYTES + 1];
    assert_eq!(
        parse("policy.toml", &huge).unwrap_err().fault,
        ParseFault::TooLarge(MAX_FILE_BYTES + 1)
    );
    assert!(parse("policy.toml", &huge[1..]).is_ok());
}

#[test]
fn a_hostile_file_can_not_write_to_the_terminal() {
    for text in [
        "\u{1b}[2J = 1",
        "\"\u{202e}\" = 1",
        "mode = \"\\u001b[2J\"",
        "\"a\\u001bb\" = \"\u{9b}\"",
    ] {
        let report = error(text).report();
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!report.chars().any(bad), "{report:?}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse("policy.toml", deep.as_bytes()).is_err());
    let dotted = format!("{} = 1", vec!["a"; 10_000].join("."));
    assert!(parse("policy.toml", dotted.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        if let Err(error) = parse("policy.toml", &bytes) {
            let _ = error.report();
        }
    }

    /// Mutations of a good file reach deeper than noise.
    #[test]
    fn no_damaged_file_panics(start in 0..EVERY_KEY.len(), length in 0_usize..20, filler in "[\\[\\]{}\"=.a0 \n-]{0,6}") {
        let end = (start + length).min(EVERY_KEY.len());
        if let (Some(head), Some(tail)) = (EVERY_KEY.get(..start), EVERY_KEY.get(end..)) {
            let text = format!("{head}{filler}{tail}");
            if let Err(error) = parse("policy.toml", text.as_bytes()) {
                let _ = error.report();
                prop_assert!(error.place.spot.is_some());
            }
        }
    }
}
