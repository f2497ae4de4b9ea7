//! Unit and property tests of the merge.

mod faults;

use super::*;
use crate::document::{EnvironmentMode, GitAccess, Mode, NetworkMode, Require, Reviewer};
use crate::exit::ExitCode;
use crate::policy::HiddenPattern;
use crate::units::{ByteSize, Span};

pub(crate) fn context() -> Context {
    Context {
        home: AbsolutePath::new("/home/ann").unwrap(),
        workspace: AbsolutePath::new("/home/ann/work").unwrap(),
        state: AbsolutePath::new("/home/ann/.local/state/ringfence").unwrap(),
        platform: Platform::Linux,
    }
}

pub(crate) fn layer(kind: LayerKind, text: &str) -> Layer {
    let name = format!("{}.toml", kind.word());
    let mut layer = Layer::from_file(kind, name, text.as_bytes(), Trust::Untrusted)
        .unwrap_or_else(|error| panic!("{}", error.report()));
    if kind == CommandLine {
        layer = Layer::from_command_line(layer.document);
    }
    layer
}

fn merged(layers: &[(LayerKind, &str)]) -> Result<Policy, ResolveError> {
    let layers: Vec<Layer> = layers
        .iter()
        .map(|(kind, text)| layer(*kind, text))
        .collect();
    resolve(&layers, &context())
}

fn policy(layers: &[(LayerKind, &str)]) -> Policy {
    merged(layers).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn fault(layers: &[(LayerKind, &str)]) -> ResolveError {
    let error = merged(layers).expect_err("no error");
    assert!(!error.hint().is_empty(), "{error}");
    assert!(
        !error.place.source.is_empty() && !error.place.key.is_empty(),
        "{error}"
    );
    error
}

use LayerKind::{CommandLine, Default, Managed, Project, User};

#[test]
fn no_layers_give_the_defaults() {
    let policy = policy(&[]);
    assert_eq!(policy.mode.value, Mode::WorkspaceWrite);
    assert_eq!(policy.mode.layer, Default);
    assert_eq!(policy.require.value, Require::Partial);
    assert_eq!(policy.network.mode.value, NetworkMode::Offline);
    assert_eq!(policy.environment.mode.value, EnvironmentMode::Filtered);
    assert_eq!(policy.filesystem.git.value, GitAccess::ReadOnly);
    assert_eq!(
        policy.filesystem.protected.len(),
        crate::protected::BUILT_IN.len()
    );
    assert!(
        policy
            .filesystem
            .hidden
            .iter()
            .any(|hidden| hidden.name == "~/.ssh")
    );
    assert!(
        policy
            .filesystem
            .hidden
            .iter()
            .all(|hidden| !hidden.name.contains("Library"))
    );
    assert!(policy.limits.memory.is_none() && policy.notes.is_empty());
}

#[test]
fn the_strongest_layer_decides_and_lists_add_up() {
    let policy = policy(&[
        (
            User,
            "mode = \"workspace-write\"\n[filesystem]\nwritable_roots = [\"~/a\"]\ngit = \"commit\"\n[network]\ndeny = [\"a.example\"]",
        ),
        (
            CommandLine,
            "mode = \"read-only\"\n[filesystem]\nwritable_roots = [\"/srv/b\", \"/home/ann/a\"]",
        ),
        (
            Project,
            "[network]\ndeny = [\"b.example\", \"a.example\"]\n[filesystem]\nprotected = [\"infra/prod/\"]",
        ),
    ]);
    assert_eq!(
        (policy.mode.value, policy.mode.layer),
        (Mode::ReadOnly, CommandLine)
    );
    assert_eq!(
        (policy.filesystem.git.value, policy.filesystem.git.layer),
        (GitAccess::Commit, User)
    );
    let roots: Vec<_> = policy
        .filesystem
        .writable_roots
        .iter()
        .map(|root| (root.value.to_string(), root.layer))
        .collect();
    assert_eq!(
        roots,
        [
            ("/srv/b".to_owned(), CommandLine),
            ("/home/ann/a".to_owned(), CommandLine)
        ]
    );
    let denied: Vec<_> = policy
        .network
        .deny
        .iter()
        .map(|rule| (rule.value.to_string(), rule.layer))
        .collect();
    assert_eq!(
        denied,
        [
            ("a.example".to_owned(), User),
            ("b.example".to_owned(), Project)
        ]
    );
    assert!(
        policy
            .filesystem
            .protected
            .iter()
            .any(|name| name.value == "infra/prod" && name.layer == Project)
    );
    assert_eq!(policy.layers, [CommandLine, User, Project]);
}

#[test]
fn a_managed_value_is_a_limit() {
    let managed =
        "mode = \"workspace-write\"\n[network]\nmode = \"offline\"\n[limits]\nmemory = \"1GiB\"";
    let refused = fault(&[(Managed, managed), (CommandLine, "mode = \"full-access\"")]);
    assert_eq!(refused.exit_code(), ExitCode::ManagedRefusal);
    assert_eq!(refused.exit_code().code(), 103);
    assert_eq!(refused.place.key, "--mode");
    let narrower = policy(&[
        (Managed, managed),
        (
            CommandLine,
            "mode = \"read-only\"\n[limits]\nmemory = \"8MiB\"",
        ),
    ]);
    assert_eq!(narrower.mode.value, Mode::ReadOnly);
    assert_eq!(
        narrower.limits.memory.map(|memory| memory.value),
        Some(ByteSize(8 << 20))
    );
    let noted = policy(&[
        (Managed, managed),
        (
            User,
            "[network]\nmode = \"open\"\n[limits]\nmemory = \"2GiB\"",
        ),
    ]);
    assert_eq!(
        (noted.network.mode.value, noted.network.mode.layer),
        (NetworkMode::Offline, Managed)
    );
    assert_eq!(
        noted.limits.memory.map(|memory| memory.layer),
        Some(Managed)
    );
    assert_eq!(noted.notes.len(), 2, "{:?}", noted.notes);
    assert!(
        noted
            .notes
            .iter()
            .any(|note| note.starts_with("user.toml:2:8: network.mode:")),
        "{:?}",
        noted.notes
    );
}

#[test]
fn a_managed_list_that_grants_is_the_whole_list() {
    let managed = "[filesystem]\nwritable_roots = [\"/srv\"]\n[network]\nmode = \"allowlist\"\nallow = [\"**.example.com\"]";
    let inside = policy(&[
        (Managed, managed),
        (
            User,
            "[filesystem]\nwritable_roots = [\"/srv/a\", \"/opt/b\"]\n[network]\nallow = [\"a.example.com\", \"example.org\"]",
        ),
    ]);
    assert_eq!(inside.filesystem.writable_roots.len(), 2);
    assert_eq!(inside.network.allow.len(), 2);
    assert_eq!(inside.notes.len(), 2, "{:?}", inside.notes);
    for asked in [
        "[filesystem]\nwritable_roots = [\"/opt/b\"]",
        "[network]\nallow = [\"example.com:22\"]",
    ] {
        assert_eq!(
            fault(&[(Managed, managed), (CommandLine, asked)]).exit_code(),
            ExitCode::ManagedRefusal,
            "{asked}"
        );
    }
    let nothing = "[filesystem]\nwritable_roots = []\n[environment]\npass = []";
    for asked in [
        "[filesystem]\nwritable_roots = [\"/opt/b\"]",
        "[environment]\npass = [\"CI\"]",
    ] {
        assert_eq!(
            fault(&[(Managed, nothing), (CommandLine, asked)]).exit_code(),
            ExitCode::ManagedRefusal,
            "{asked}"
        );
    }
    assert_eq!(
        policy(&[
            (Managed, "mode = \"workspace-write\""),
            (CommandLine, "[environment]\npass = [\"CI\"]")
        ])
        .environment
        .pass
        .len(),
        1
    );
}

#[test]
fn managed_denials_and_fixed_values_hold() {
    let managed = "[filesystem]\ndeny_read = [\"~/notes\", \"~/.npmrc\"]\nprotected = [\"infra\"]\n[network]\nupstream_proxy = \"http://proxy.example.com:8080\"\ndeny = [\"bad.example\"]\n[environment]\nset = { A = \"1\" }\n[approvals]\nreviewer = \"command\"\ncommand = [\"/usr/bin/approve\"]";
    for asked in [
        "[filesystem]\nallow_read = [\"~/notes\"]",
        "[filesystem]\nallow_read = [\"~/.npmrc\"]",
        "[filesystem]\nunprotected = [\"infra\"]",
        "[network]\nupstream_proxy = \"http://other.example.com:8080\"",
        "[network]\nallow = [\"bad.example\"]",
        "[environment]\nset = { A = \"2\" }",
        "[approvals]\nreviewer = \"prompt\"",
    ] {
        assert_eq!(
            fault(&[(Managed, managed), (CommandLine, asked)]).exit_code(),
            ExitCode::ManagedRefusal,
            "{asked}"
        );
    }
    let user = policy(&[
        (Managed, managed),
        (
            User,
            "[filesystem]\nallow_read = [\"~/notes\", \"~/.npmrc\"]\nunprotected = [\"infra\"]\n[approvals]\nreviewer = \"none\"",
        ),
    ]);
    let hidden = |name: &str| {
        user.filesystem
            .hidden
            .iter()
            .any(|hidden| hidden.name == name)
    };
    assert!(hidden("~/notes") && hidden("~/.npmrc"));
    assert!(
        user.filesystem
            .protected
            .iter()
            .any(|name| name.value == "infra")
    );
    assert_eq!(user.approvals.reviewer.value, Reviewer::None);
    assert_eq!(user.notes.len(), 3, "{:?}", user.notes);
}

#[test]
fn a_stronger_layer_takes_back_by_name() {
    let taken = policy(&[
        (
            User,
            "[filesystem]\nallow_read = [\"~/.npmrc\", \"/home/ann/.pypirc\", \".env\"]\nunprotected = [\"AGENTS.md\"]\ndeny_read = [\"~/notes\"]\nprotected = [\"infra\"]",
        ),
        (
            CommandLine,
            "[filesystem]\nallow_read = [\"~/notes\"]\nunprotected = [\"infra\"]",
        ),
    ]);
    for gone in ["~/.npmrc", "~/.pypirc", ".env", "~/notes"] {
        assert!(
            taken
                .filesystem
                .hidden
                .iter()
                .all(|hidden| hidden.name != gone),
            "{gone}"
        );
    }
    assert!(
        taken
            .filesystem
            .hidden
            .iter()
            .any(|hidden| hidden.name == ".env.*")
    );
    for gone in ["AGENTS.md", "infra"] {
        assert!(
            taken
                .filesystem
                .protected
                .iter()
                .all(|name| name.value != gone),
            "{gone}"
        );
    }
    let kept = policy(&[
        (CommandLine, "[filesystem]\ndeny_read = [\"~/notes\"]"),
        (User, "[filesystem]\nallow_read = [\"~/notes\"]"),
    ]);
    assert!(
        kept.filesystem
            .hidden
            .iter()
            .any(|hidden| hidden.name == "~/notes")
    );
    // A secret of another system is known, and nothing to take back here.
    policy(&[(User, "[filesystem]\nallow_read = [\"~/Library/Keychains\"]")]);
}

#[test]
fn an_untrusted_project_may_only_narrow() {
    for widening in [
        "mode = \"full-access\"",
        "[filesystem]\nwritable_roots = [\"/srv\"]",
        "[filesystem]\nallow_read = [\"~/.npmrc\"]",
        "[filesystem]\nunprotected = [\"AGENTS.md\"]",
        "[filesystem]\ngit = \"commit\"",
        "[filesystem]\nnew_repositories = \"allow\"",
        "[network]\nmode = \"allowlist\"",
        "[network]\nallow = [\"example.com\"]",
        "[network]\nask = true",
        "[network]\npublish = [3000]",
        "[network]\nconnect = [\"127.0.0.1:1\"]",
        "[network]\nunix_sockets = [\"/s\"]",
        "[network]\nupstream_proxy = \"http://a.example:1\"",
        "[environment]\npass = [\"CI\"]",
        "[environment]\nset = { A = \"b\" }",
        "[approvals]\nreviewer = \"command\"",
        "[approvals]\ncommand = [\"/bin/true\"]",
        "[approvals]\ntimeout = \"3m\"",
        "[approvals]\nmax_duration = \"9h\"",
        "[audit]\notlp = { endpoint = \"http://a.example:1\" }",
        "[windows]\nsandbox = \"unelevated\"",
    ] {
        let refused = fault(&[(Project, widening)]);
        assert!(
            matches!(*refused.fault, ResolveFault::UntrustedWidening { .. }),
            "{widening}: {refused}"
        );
        assert_eq!(refused.exit_code(), ExitCode::PolicyInvalid);
        assert!(
            refused.hint().contains("ringfence trust project.toml"),
            "{}",
            refused.hint()
        );
        assert!(refused.place.spot.is_some(), "{widening}");
        let mut trusted = layer(Project, widening);
        trusted.trust = Trust::Trusted;
        if let Err(error) = resolve(&[trusted], &context()) {
            assert!(
                !matches!(*error.fault, ResolveFault::UntrustedWidening { .. }),
                "{error}"
            );
        }
    }
    for narrowing in [
        "mode = \"read-only\"",
        "require = \"full\"",
        "[filesystem]\ndeny_read = [\"~/notes\"]\nprotected = [\"a\"]\nnew_repositories = \"quarantine\"\nhard_links = \"read-only\"",
        "[network]\ndeny = [\"a.example\"]\nask = false\nmode = \"offline\"",
        "[environment]\nmode = \"allowlist\"",
        "[limits]\nmemory = \"1GiB\"\nprocesses = 1\ntime = \"1s\"",
        "[approvals]\nreviewer = \"none\"\ntimeout = \"1s\"\nmax_duration = \"1h\"",
    ] {
        policy(&[(Project, narrowing)]);
    }
}

#[test]
fn a_policy_survives_json() {
    let policy = policy(&[(
        User,
        "[network]\nmode = \"allowlist\"\nallow = [\"*.example.com:8443\"]\n[limits]\ntime = \"1h30m\"\nmemory = \"4GiB\"",
    )]);
    let json = serde_json::to_string(&policy).unwrap();
    assert!(
        json.contains("\"1h30m\"")
            && json.contains("\"4GiB\"")
            && json.contains("\"*.example.com:8443\"")
    );
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    assert_eq!(
        policy.limits.time.map(|time| time.value),
        Some(Span(5_400_000))
    );
}

#[test]
fn a_digest_is_sha_256() {
    assert_eq!(
        trust_digest(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
