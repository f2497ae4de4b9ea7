//! `policy check|schema`: provenance, and every kind of bad input.

use crate::program::Home;

#[test]
fn defaults_are_shown_with_their_layer() {
    insta::assert_snapshot!(Home::new().run(&["policy", "check"]).snapshot());
}

#[test]
fn each_setting_names_the_layer_that_said_it() {
    let home = Home::new();
    home.write(
        ".config/ringfence/policy.toml",
        "require = \"full\"\n[limits]\nmemory = \"4GiB\"\n",
    );
    home.write("project/.ringfence/policy.toml", "mode = \"read-only\"\n");
    let ran = home.run(&[
        "policy",
        "check",
        "--limit",
        "time=30m",
        "--deny-read",
        "**/*.pem",
    ]);
    insta::assert_snapshot!(ran.snapshot());
}

#[test]
fn an_untrusted_project_can_not_widen() {
    let home = Home::new();
    home.write("scratch/keep", "");
    home.write(
        "project/.ringfence/policy.toml",
        "[filesystem]\nwritable_roots = [\"~/scratch\"]\n",
    );
    insta::assert_snapshot!(
        "untrusted_project",
        home.run(&["policy", "check"]).snapshot()
    );
    let trusted = home.run(&["trust"]);
    assert_eq!(trusted.status, Some(0), "{}", trusted.snapshot());
    insta::assert_snapshot!(
        "trusted_project",
        without_digests(&home.run(&["policy", "check"]).snapshot())
    );
}

fn without_digests(text: &str) -> String {
    text.to_owned()
}

#[test]
fn bad_files_are_refused_with_their_place() {
    for (name, text) in [
        ("unknown_key", "[filesystem]\nwritable_root = [\"~/x\"]\n"),
        ("unknown_word", "mode = \"workspace-wirte\"\n"),
        ("wrong_type", "[filesystem]\nwritable_roots = \"~/x\"\n"),
        ("syntax", "mode = \n"),
        (
            "relative_root",
            "[filesystem]\nwritable_roots = [\"scratch\"]\n",
        ),
        (
            "file_system_root",
            "[filesystem]\nwritable_roots = [\"/\"]\n",
        ),
        ("home_root", "[filesystem]\nwritable_roots = [\"~\"]\n"),
        ("bad_size", "[limits]\nmemory = \"lots\"\n"),
        (
            "unknown_secret",
            "[filesystem]\nallow_read = [\"~/nothing-we-know\"]\n",
        ),
    ] {
        let home = Home::new();
        let file = home.write("given.toml", text);
        let ran = home.run(&["policy".as_ref(), "check".as_ref(), file.as_os_str()]);
        assert_eq!(ran.status, Some(101), "{}", ran.snapshot());
        assert!(ran.stdout.is_empty(), "{}", ran.snapshot());
        insta::assert_snapshot!(format!("bad-{name}"), ran.snapshot());
    }
}

#[test]
fn schema_is_json_and_knows_every_section() {
    let ran = Home::new().run(&["policy", "schema"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let schema: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    for section in ["mode", "filesystem", "network", "environment", "limits"] {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}
