//! What makes no policy: roots that may not be writable, contradictions, names that nobody knows.

use super::*;

#[test]
fn roots_that_take_the_boundary_away_are_refused() {
    for root in [
        "/",
        "~",
        "~/",
        "/home/ann",
        "/home",
        "~/.local",
        "~/.local/state/ringfence",
        "~/.local/state/ringfence/x",
        "/srv/../home/ann",
        "/proc",
        "/proc/sys/kernel",
        "/sys",
        "/dev",
        "/dev/shm/x",
        "/run",
        "/var/run/docker",
        "~/a/..",
    ] {
        let refused = fault(&[(
            User,
            &format!("[filesystem]\nwritable_roots = [\"{root}\"]"),
        )]);
        assert!(
            matches!(*refused.fault, ResolveFault::ForbiddenRoot { .. }),
            "{root}: {refused}"
        );
        assert_eq!(refused.place.spot.as_ref().map(|spot| spot.line), Some(2));
    }
    for root in ["relative", "./x", "$HOME/x", "~bob/x", ""] {
        let refused = fault(&[(
            User,
            &format!("[filesystem]\nwritable_roots = [\"{root}\"]"),
        )]);
        assert!(
            matches!(*refused.fault, ResolveFault::RelativePath(_)),
            "{root}: {refused}"
        );
    }
    let kept = policy(&[(User, "[filesystem]\nwritable_roots = [\"~//etc\"]")]);
    assert_eq!(
        kept.filesystem.writable_roots[0].value.to_string(),
        "/home/ann/etc"
    );
    let home = Context {
        workspace: context().home,
        ..context()
    };
    assert!(matches!(
        *resolve(&[], &home).unwrap_err().fault,
        ResolveFault::ForbiddenRoot { .. }
    ));
    assert!(resolve(&[layer(User, "mode = \"read-only\"")], &home).is_ok());
}

#[test]
fn contradictions_are_errors_with_their_place() {
    for (text, key) in [
        (
            "[filesystem]\ndeny_read = [\"~/a\"]\nallow_read = [\"/home/ann/a\"]",
            "filesystem.allow_read",
        ),
        (
            "[filesystem]\nprotected = [\"a/\"]\nunprotected = [\"a\"]",
            "filesystem.unprotected",
        ),
        (
            "[network]\nmode = \"allowlist\"\ndeny = [\"A.example\"]\nallow = [\"a.example\"]",
            "network.allow",
        ),
        (
            "[environment]\npass = [\"A\"]\nset = { A = \"b\" }",
            "environment.pass",
        ),
        ("[network]\nask = true", "network.ask"),
        ("[network]\nallow = [\"a.example\"]", "network.allow"),
        (
            "[network]\nmode = \"open\"\nallow = [\"a.example GET\"]",
            "network.allow",
        ),
        (
            "[network]\nmode = \"allowlist\"\ndeny = [\"a.example\"]\nallow = [\"a.example GET\"]",
            "network.allow",
        ),
        ("[limits]\nmemory = 0", "limits.memory"),
        ("[limits]\nmemory = \"1KiB\"", "limits.memory"),
        ("[limits]\nprocesses = 0", "limits.processes"),
        ("[limits]\ntime = \"0s\"", "limits.time"),
        ("[network]\npublish = [0]", "network.publish"),
        (
            "[network]\nconnect = [\"192.0.2.1:5432\"]",
            "network.connect",
        ),
        (
            "[network]\nconnect = [\"localhost:5432\"]",
            "network.connect",
        ),
        (
            "[network]\nunix_sockets = [\"a.sock\"]",
            "network.unix_sockets",
        ),
        ("[network]\nallow = [\"*.com\"]", "network.allow"),
        ("[network]\nallow = [\"169.254.169.254\"]", "network.allow"),
        (
            "[network]\nupstream_proxy = \"http://ann:secret@proxy.example.com:8080\"",
            "network.upstream_proxy",
        ),
        (
            "[network]\nupstream_proxy = \"socks5://proxy.example.com:8080\"",
            "network.upstream_proxy",
        ),
        (
            "[filesystem]\nprotected = [\"../a\"]",
            "filesystem.protected",
        ),
        ("[filesystem]\nprotected = [\"/a\"]", "filesystem.protected"),
        (
            "[filesystem]\nunprotected = [\".git\"]",
            "filesystem.unprotected",
        ),
        (
            "[filesystem]\ndeny_read = [\"../a\"]",
            "filesystem.deny_read",
        ),
        (
            "[filesystem]\ndeny_read = [\"**/[\"]",
            "filesystem.deny_read",
        ),
        (
            "[environment]\npass = [\"RINGFENCE_STATE\"]",
            "environment.pass",
        ),
        ("[environment]\npass = [\"A=b\"]", "environment.pass"),
        (
            "[environment.set]\nRINGFENCE_X = \"1\"",
            "environment.set.RINGFENCE_X",
        ),
        ("[approvals]\nreviewer = \"command\"", "approvals.reviewer"),
    ] {
        let refused = fault(&[(User, text)]);
        assert_eq!(refused.place.key, key, "{text}: {refused}");
        assert!(refused.place.spot.is_some(), "{text}: {refused}");
        assert_eq!(refused.exit_code(), ExitCode::PolicyInvalid);
    }
    let elsewhere = fault(&[
        (User, "[network]\ndeny = [\"a.example\"]"),
        (CommandLine, "[network]\nallow = [\"a.example\"]"),
    ]);
    assert!(matches!(
        *elsewhere.fault,
        ResolveFault::DeniedElsewhere { .. }
    ));
}

#[test]
fn unknown_names_are_corrected() {
    let secret = |name: &str| {
        fault(&[(User, &format!("[filesystem]\nallow_read = [\"{name}\"]"))]).to_string()
    };
    assert!(
        secret("~/.nmprc").contains("did you mean `~/.npmrc`?"),
        "{}",
        secret("~/.nmprc")
    );
    assert!(secret("~/.ssh/config").contains("did you mean `~/.ssh`?"));
    let name = fault(&[(User, "[filesystem]\nunprotected = [\"AGENT.md\"]")]).to_string();
    assert!(name.contains("did you mean `AGENTS.md`?"), "{name}");
}

#[test]
fn patterns_are_anchored_where_they_are_written() {
    let policy = policy(&[(
        User,
        "[filesystem]\ndeny_read = [\"~/notes\", \"~/k*\", \"/srv/**/*.key\", \"**/*.pem\", \"secrets\"]",
    )]);
    let patterns: Vec<_> = policy
        .filesystem
        .hidden
        .iter()
        .take(5)
        .map(|hidden| hidden.pattern.clone())
        .collect();
    let root_glob = |glob: &str| HiddenPattern::RootGlob {
        glob: glob.to_owned(),
        except: Vec::new(),
    };
    assert_eq!(
        patterns,
        [
            HiddenPattern::Path(AbsolutePath::new("/home/ann/notes").unwrap()),
            HiddenPattern::HomeGlob("/home/ann/k*".to_owned()),
            HiddenPattern::HomeGlob("/srv/**/*.key".to_owned()),
            root_glob("**/*.pem"),
            root_glob("secrets"),
        ]
    );
}
