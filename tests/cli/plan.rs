//! `plan`: on stored facts, on any machine.

use crate::program::Home;

#[test]
fn plan_of_this_machine_is_json_or_text_and_does_nothing() {
    let home = Home::new();
    let text = home.run(&["plan"]);
    if text.status != Some(0) {
        // A machine without any boundary: the typed refusal, never a plan.
        assert_eq!(text.status, Some(102), "{}", text.snapshot());
        return;
    }
    let json: serde_json::Value =
        serde_json::from_str(&home.run(&["plan", "--json"]).stdout).unwrap();
    assert!(text.stdout.starts_with("plan "), "{}", text.snapshot());
    assert!(
        json["steps"]
            .as_array()
            .is_some_and(|steps| !steps.is_empty())
    );
    assert_eq!(
        std::fs::read_dir(home.project()).unwrap().count(),
        0,
        "the workspace is untouched"
    );
}

/// The same facts, policies and plans as the planner's own golden tests, through the command line.
#[test]
fn stored_facts_give_the_stored_plan_on_any_machine() {
    let home = Home::new();
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/cases");
    let mut seen = 0;
    for case in ["git-commit", "landlock-2", "hostile-names"] {
        let file = |name: &str| format!("{cases}/{case}/{name}");
        let mut arguments = vec![
            "plan".to_owned(),
            "--host-facts".to_owned(),
            file("facts.json"),
        ];
        if std::path::Path::new(&file("policy.toml")).exists() {
            arguments.extend(["--config".to_owned(), file("policy.toml")]);
        }
        let ran = home.run(&arguments);
        assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
        assert_eq!(
            ran.stdout,
            std::fs::read_to_string(file("plan.txt")).unwrap(),
            "{case}"
        );
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn a_stored_windows_host_gives_its_stored_plan_on_any_machine() {
    let home = Home::new();
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/cases");
    for (case, status) in [("windows-plain", 0), ("windows-domain-firewall", 102)] {
        let file = |name: &str| format!("{cases}/{case}/{name}");
        let ran = home.run(&[
            "plan",
            "--host-facts",
            &file("facts.json"),
            "--ledger",
            &file("ledger.json"),
            "--config",
            &file("policy.toml"),
        ]);
        assert_eq!(ran.status, Some(status), "{}", ran.snapshot());
        if status == 0 {
            assert_eq!(
                ran.stdout,
                std::fs::read_to_string(file("plan.txt")).unwrap(),
                "{case}"
            );
        } else {
            assert!(ran.stdout.is_empty(), "{}", ran.snapshot());
        }
    }
}

#[test]
fn facts_that_are_none_are_refused() {
    let home = Home::new();
    home.write("project/facts.json", "{}");
    insta::assert_snapshot!(
        "facts-empty",
        home.run(&["plan", "--host-facts", "facts.json"]).snapshot()
    );
    insta::assert_snapshot!(
        "facts-missing",
        home.run(&["plan", "--host-facts", "nothing.json"])
            .snapshot()
    );
}
