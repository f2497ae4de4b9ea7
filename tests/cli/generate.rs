//! Completions and the man page.

use crate::program::Home;

#[test]
fn every_shell_has_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = home.run(&["completions", shell]);
        assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
        for word in ["quarantine", "writable-root"] {
            assert!(ran.stdout.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn man_page_names_every_command_and_option() {
    let ran = Home::new().run(&["man"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains(".TH ringfence 1"), "{}", ran.stdout);
    for section in [
        "RINGFENCE RUN",
        "RINGFENCE POLICY CHECK",
        "RINGFENCE QUARANTINE RESTORE",
    ] {
        assert!(
            ran.stdout.contains(&format!(".SH \"{section}\"")),
            "{section}"
        );
    }
    assert!(ran.stdout.contains("\\-\\-writable\\-root"));
}
