//! `trust` and `quarantine`: what outlives a session.

use crate::program::Home;

#[test]
fn trust_is_given_listed_and_taken_back() {
    let home = Home::new();
    home.write("project/.ringfence/policy.toml", "mode = \"read-only\"\n");
    let mut text = String::new();
    for arguments in [
        &["trust", "--list"] as &[&str],
        &["trust"],
        &["trust", "--remove"],
        &["trust", "--remove"],
        &["trust", "nothing.toml"],
    ] {
        text.push_str(&home.run(arguments).snapshot());
    }
    insta::assert_snapshot!(text);
    home.run(&["trust"]);
    let listed: serde_json::Value =
        serde_json::from_str(&home.run(&["trust", "--list", "--json"]).stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        listed[0]["path"],
        "[SCRATCH]/home/project/.ringfence/policy.toml"
    );
}

#[test]
fn quarantine_is_empty_at_first_and_unknown_items_are_refused() {
    let home = Home::new();
    let mut text = String::new();
    for arguments in [
        &["quarantine", "list"] as &[&str],
        &["quarantine", "list", "--json"],
        &["quarantine", "restore", "nothing"],
        &["quarantine", "drop", "../../etc"],
    ] {
        text.push_str(&home.run(arguments).snapshot());
    }
    insta::assert_snapshot!(text);
}
