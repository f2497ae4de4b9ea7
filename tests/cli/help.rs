//! Help of every command: the whole surface, readable in one place.

use crate::program::Home;

const COMMANDS: [&[&str]; 18] = [
    &[],
    &["run"],
    &["shell"],
    &["demo"],
    &["explain"],
    &["plan"],
    &["doctor"],
    &["policy"],
    &["policy", "check"],
    &["policy", "schema"],
    &["trust"],
    &["quarantine"],
    &["quarantine", "list"],
    &["quarantine", "restore"],
    &["quarantine", "drop"],
    &["completions"],
    &["man"],
    &["run", "-h"],
];

#[test]
fn every_command_explains_itself() {
    let home = Home::new();
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        if command.last() != Some(&"-h") {
            arguments.push("--help");
        }
        let ran = home.run(&arguments);
        assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
        assert!(ran.stderr.is_empty(), "{}", ran.snapshot());
        let name = if command.is_empty() {
            "top".to_owned()
        } else {
            command.join("-")
        };
        insta::assert_snapshot!(format!("help-{name}"), ran.snapshot());
    }
}

#[test]
fn commands_of_later_work_are_not_offered() {
    let home = Home::new();
    for later in [
        "ps", "approve", "grant", "log", "learn", "mcp", "serve", "import",
    ] {
        let ran = home.run(&[later]);
        assert_eq!(ran.status, Some(2), "{}", ran.snapshot());
        assert!(
            ran.stderr.contains("unrecognized subcommand"),
            "{}",
            ran.snapshot()
        );
    }
}

#[test]
fn set_up_is_needed_on_windows_alone() {
    let home = Home::new();
    for verb in ["install", "verify", "repair", "uninstall", "dump"] {
        let ran = home.run(&["setup", verb]);
        assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
        assert!(
            ran.stdout.contains("nothing has to be"),
            "{}",
            ran.snapshot()
        );
    }
    let ran = home.run(&["audit"]);
    assert_eq!(ran.status, Some(2), "{}", ran.snapshot());
    assert!(
        ran.stderr.contains("no audit on this system"),
        "{}",
        ran.snapshot()
    );
}

#[test]
fn version_is_on_standard_output() {
    let ran = Home::new().run(&["--version"]);
    assert_eq!(
        (ran.status, ran.stdout.as_str()),
        (Some(0), "ringfence [VERSION]\n")
    );
}
