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
