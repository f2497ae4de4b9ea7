//! Each exit status of Ringfence's own, with what a person reads.

use crate::program::Home;

#[test]
fn wrong_usage_is_2() {
    let home = Home::new();
    for (name, arguments) in [
        ("no_command", &["run"] as &[&str]),
        ("unknown_option", &["run", "--writable", "/x", "--", "true"]),
        ("unknown_mode", &["run", "--mode", "yolo", "--", "true"]),
        ("bad_limit", &["run", "--limit", "disk=1GiB", "--", "true"]),
        ("bad_port", &["run", "--publish", "99999", "--", "true"]),
        ("bad_variable", &["run", "--env", "=x", "--", "true"]),
        (
            "bad_address",
            &["run", "--connect", "localhost", "--", "true"],
        ),
        ("unknown_command", &["exlpain"]),
        ("unknown_shell", &["completions", "csh"]),
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.status, Some(2), "{}", ran.snapshot());
        assert!(ran.stdout.is_empty(), "{}", ran.snapshot());
        insta::assert_snapshot!(format!("usage-{name}"), ran.snapshot());
    }
}

#[test]
fn a_policy_that_can_not_be_is_101_and_nothing_runs() {
    let home = Home::new();
    for (name, options) in [
        ("relative_root", &["--writable-root", "scratch"] as &[&str]),
        ("file_system_root", &["--writable-root", "/"]),
        ("home_root", &["--writable-root", "~"]),
        ("missing_root", &["--writable-root", "~/nothing"]),
        ("workspace_is_home", &["--workspace", ".."]),
        ("workspace_is_missing", &["--workspace", "nothing"]),
        ("config_is_missing", &["--config", "nothing.toml"]),
        ("memory_too_small", &["--limit", "memory=1KiB"]),
    ] {
        let mut arguments = vec!["run"];
        arguments.extend(options);
        arguments.extend(["--", "sh", "-c", "echo ran > ran"]);
        let ran = home.run(&arguments);
        assert_eq!(ran.status, Some(101), "{}", ran.snapshot());
        assert!(!home.project().join("ran").exists(), "it ran");
        insta::assert_snapshot!(format!("policy-{name}"), ran.snapshot());
    }
}

#[cfg(unix)]
#[test]
fn a_file_of_ours_that_a_command_could_write_is_101_and_none_is_made() {
    let home = Home::new();
    home.write("project/mine.toml", "");
    home.write("elsewhere/file.toml", "");
    let two = home.write("two.toml", "");
    std::fs::hard_link(two, home.project().join("second")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", home.project().join("way")).unwrap();
    for (name, options) in [
        ("config_in_the_workspace", ["--config", "mine.toml"]),
        ("config_through_a_link", ["--config", "way/file.toml"]),
        ("config_with_two_names", ["--config", "../two.toml"]),
        ("events_in_the_workspace", ["--events", "ev.jsonl"]),
        ("events_through_a_link", ["--events", "way/ev.jsonl"]),
    ] {
        let ran = home.run(&[&["run"], &options[..], &["--", "touch", "ran"]].concat());
        assert_eq!(ran.status, Some(101), "{}", ran.snapshot());
        insta::assert_snapshot!(format!("policy-{name}"), ran.snapshot());
    }
    for made in ["ran", "ev.jsonl", "way/ev.jsonl"] {
        assert!(!home.project().join(made).exists(), "{made}");
    }
}

#[test]
fn no_place_for_state_is_105() {
    let home = Home::new();
    let mut command = home.command();
    command
        .args(["run", "--", "true"])
        .env("RINGFENCE_STATE", "/proc/nothing");
    let ran = home.finish(command);
    assert_eq!(ran.status, Some(105), "{}", ran.snapshot());
    insta::assert_snapshot!("state-not-writable", ran.snapshot());
}
