//! `explain`: the decision, its rule and the narrowest grant, with nothing run.

use crate::program::Home;

#[test]
fn decisions_name_rule_and_grant() {
    if std::env::var_os("RINGFENCE_SESSION").is_some() {
        eprintln!(
            "nested: inside a session the partial level is explained, and these are of the full one"
        );
        return;
    }
    let home = Home::new();
    home.write(".ssh/id_ed25519", "not a key");
    home.write("project/.git/config", "");
    home.write("project/.env", "A=b");
    for (name, arguments) in [
        ("write_etc", &["write", "/etc/hosts"] as &[&str]),
        ("write_inside", &["write", "src/main.rs"]),
        ("read_etc", &["read", "/etc/hosts"]),
        ("read_secret", &["read", "~/.ssh/id_ed25519"]),
        ("read_env", &["read", ".env"]),
        ("write_hook", &["write", ".git/hooks/pre-commit"]),
        ("write_absent_protected", &["write", ".codex/config.toml"]),
        ("connect_host", &["connect", "example.com:443"]),
        ("connect_metadata", &["connect", "169.254.169.254:80"]),
        ("connect_loopback", &["connect", "127.0.0.1:5432"]),
        ("connect_name_server", &["connect", "192.0.2.53:53"]),
        ("connect_bad", &["connect", "example.com"]),
        ("connect_url", &["connect", "https://example.com/x"]),
        (
            "full_access",
            &["--mode", "full-access", "write", "/etc/hosts"],
        ),
        (
            "read_only",
            &["--mode", "read-only", "write", "src/main.rs"],
        ),
    ] {
        let mut line = vec!["explain"];
        line.extend(arguments);
        insta::assert_snapshot!(format!("explain-{name}"), home.run(&line).snapshot());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_session_replaces_is_explained_as_it_is_inside() {
    let home = Home::new();
    home.write("project/node_modules/.env", "A=b");
    std::fs::create_dir(home.project().join("../scratch")).unwrap();
    for (arguments, words) in [
        (["read", "/dev/sda"], "denied"),
        (["read", "/dev/null"], "allowed"),
        (
            ["read", "/proc/sys/kernel/core_pattern"],
            "rule fs.read-default",
        ),
        (["write", "/proc/sys/kernel/core_pattern"], "no option"),
        (["write", "~/.bashrc"], "no option"),
        (["write", "~/scratch"], "--writable-root"),
        (["read", "node_modules/.env"], "allowed"),
    ] {
        let ran = home.run(&["explain", arguments[0], arguments[1]]);
        assert!(ran.stdout.contains(words), "{words}: {}", ran.snapshot());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn explain_plan_and_run_refuse_the_systems_directories_alike() {
    let home = Home::new();
    for root in ["/proc", "/proc/sys", "/sys", "/dev/shm", "/run"] {
        for line in [
            &["run", "--writable-root", root, "--", "true"] as &[&str],
            &["plan", "--writable-root", root],
            &[
                "explain",
                "--writable-root",
                root,
                "write",
                "/proc/sys/kernel/core_pattern",
            ],
        ] {
            let ran = home.run(line);
            assert_eq!(ran.status, Some(101), "{}", ran.snapshot());
            assert!(
                ran.stderr.contains("never writable inside"),
                "{}",
                ran.snapshot()
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_both_names_are_said() {
    let home = Home::new();
    home.write(".bashrc", "");
    std::os::unix::fs::symlink("../.bashrc", home.project().join("innocent")).unwrap();
    insta::assert_snapshot!(home.run(&["explain", "write", "innocent"]).snapshot());
}

#[test]
fn json_holds_the_same_decision() {
    let ran = Home::new().run(&["explain", "write", "/etc/hosts", "--json"]);
    insta::assert_snapshot!(ran.snapshot());
}
