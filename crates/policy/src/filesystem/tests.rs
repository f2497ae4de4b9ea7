//! Unit and property tests of the decision on paths.

use super::*;
use proptest::prelude::*;

fn path(text: &str) -> AbsolutePath {
    AbsolutePath::new(text).unwrap()
}

fn rule(
    text: &str,
    access: PathAccess,
    strength: Strength,
    rule: RuleId,
    origin: &str,
) -> PathRule {
    PathRule {
        path: path(text),
        access,
        strength,
        rule,
        origin: origin.to_owned(),
        except: Vec::new(),
    }
}

fn scope(mode: Mode) -> Scope {
    Scope {
        mode,
        git: GitAccess::ReadOnly,
        workspace: path("/home/ann/work"),
        home: path("/home/ann"),
    }
}

fn rules() -> FilesystemRules {
    use PathAccess::{Hidden, ReadOnly, ReadWrite};
    use Strength::{Deny, HardBlock, Place};
    let ssh = PathRule {
        except: vec![path("/home/ann/.ssh/known_hosts")],
        ..rule("/home/ann/.ssh", Hidden, Deny, RuleId::Secret, "~/.ssh")
    };
    let paths = vec![
        rule(
            "/home/ann/work",
            ReadWrite,
            Place,
            RuleId::WritableRoot,
            "/home/ann/work",
        ),
        rule(
            "/home/ann/work/.git",
            ReadOnly,
            Deny,
            RuleId::ProtectedName,
            ".git",
        ),
        rule(
            "/home/ann/work/AGENTS.md",
            ReadOnly,
            Deny,
            RuleId::ProtectedName,
            "AGENTS.md",
        ),
        rule(
            "/home/ann/work/private",
            Hidden,
            Deny,
            RuleId::DenyRead,
            "private",
        ),
        rule(
            "/home/ann/work/private/.git",
            ReadOnly,
            Deny,
            RuleId::ProtectedName,
            ".git",
        ),
        rule(
            "/home/ann/work/mnt",
            ReadOnly,
            Place,
            RuleId::MountInsideRoot,
            "/home/ann/work/mnt",
        ),
        rule(
            "/home/ann/.local/state/ringfence",
            Hidden,
            HardBlock,
            RuleId::RingfenceState,
            "state",
        ),
        rule("/run", Hidden, Place, RuleId::HiddenPlace, "/run"),
        rule(
            "/run/systemd/resolve",
            ReadOnly,
            Place,
            RuleId::ReadDefault,
            "/etc/resolv.conf",
        ),
        rule("/tmp", ReadWrite, Place, RuleId::PrivateDirectory, "/tmp"),
        ssh,
    ];
    let globs = vec![GlobRule {
        anchor: path("/home/ann/work"),
        glob: "**/.env.*".to_owned(),
        except: vec!["**/.env.example".to_owned()],
        access: Hidden,
        rule: RuleId::Secret,
        origin: ".env.*".to_owned(),
    }];
    FilesystemRules::new(scope(Mode::WorkspaceWrite), paths, globs)
}

fn verdict(rules: &FilesystemRules, operation: Operation, path: &str) -> (bool, RuleId) {
    let decision = rules.decide(operation, Path::new(path));
    let allowed = rules.is_allowed(operation, Path::new(path));
    match decision {
        Decision::Allow { rule, .. } => {
            assert!(allowed, "{path}");
            (true, rule)
        }
        Decision::Deny { rule, .. } => {
            assert!(!allowed, "{path}");
            (false, rule)
        }
    }
}

fn grant(rules: &FilesystemRules, operation: Operation, path: &str) -> Option<String> {
    match rules.decide(operation, Path::new(path)) {
        Decision::Allow { .. } => panic!("{path} is allowed"),
        Decision::Deny { grant, .. } => grant.map(|grant| grant.arguments.join(" ")),
    }
}

#[test]
fn write_in_the_workspace_is_allowed_and_outside_is_denied() {
    let rules = rules();
    let write = |path| verdict(&rules, Operation::Write, path);
    assert_eq!(
        write("/home/ann/work/src/main.rs"),
        (true, RuleId::WritableRoot)
    );
    assert_eq!(write("/home/ann/work"), (true, RuleId::WritableRoot));
    assert_eq!(
        write("/home/ann/workshop"),
        (false, RuleId::OutsideWritableRoots)
    );
    assert_eq!(write("/etc/hosts"), (false, RuleId::OutsideWritableRoots));
    assert_eq!(write("/tmp/x"), (true, RuleId::PrivateDirectory));
    assert_eq!(write("/"), (false, RuleId::OutsideWritableRoots));
}

#[test]
fn read_is_allowed_but_for_secrets_and_hidden_places() {
    let rules = rules();
    let read = |path| verdict(&rules, Operation::Read, path);
    assert_eq!(read("/etc/hosts"), (true, RuleId::ReadDefault));
    assert_eq!(read("/home/ann/.ssh/id_ed25519"), (false, RuleId::Secret));
    assert_eq!(read("/home/ann/.ssh"), (false, RuleId::Secret));
    assert_eq!(
        read("/home/ann/.ssh/known_hosts"),
        (true, RuleId::ReadDefault)
    );
    assert_eq!(
        read("/home/ann/.ssh/known_hosts.old"),
        (false, RuleId::Secret)
    );
    assert_eq!(read("/run/docker.sock"), (false, RuleId::HiddenPlace));
    assert_eq!(
        read("/run/systemd/resolve/stub-resolv.conf"),
        (true, RuleId::ReadDefault)
    );
    assert_eq!(
        read("/home/ann/work/.git/config"),
        (true, RuleId::WritableRoot)
    );
}

#[test]
fn deny_beats_every_place_and_the_strictest_of_several_holds() {
    let rules = rules();
    assert_eq!(
        verdict(&rules, Operation::Write, "/home/ann/work/.git/config"),
        (false, RuleId::ProtectedName)
    );
    assert_eq!(
        verdict(
            &rules,
            Operation::Read,
            "/home/ann/work/private/.git/config"
        ),
        (false, RuleId::DenyRead)
    );
    assert_eq!(
        verdict(&rules, Operation::Write, "/home/ann/work/mnt/x"),
        (false, RuleId::MountInsideRoot)
    );
    let doubled = FilesystemRules::new(
        scope(Mode::WorkspaceWrite),
        vec![
            rule(
                "/a",
                PathAccess::ReadWrite,
                Strength::Place,
                RuleId::WritableRoot,
                "/a",
            ),
            rule(
                "/a",
                PathAccess::Hidden,
                Strength::Place,
                RuleId::HiddenPlace,
                "/a",
            ),
        ],
        Vec::new(),
    );
    assert_eq!(
        verdict(&doubled, Operation::Write, "/a/b"),
        (false, RuleId::HiddenPlace)
    );
}

#[test]
fn our_state_is_a_hard_block_without_a_grant() {
    let rules = rules();
    for operation in [Operation::Read, Operation::Write, Operation::Connect] {
        let object = "/home/ann/.local/state/ringfence/log";
        assert_eq!(
            verdict(&rules, operation, object),
            (false, RuleId::RingfenceState)
        );
        assert_eq!(grant(&rules, operation, object), None);
    }
}

#[test]
fn globs_match_below_their_anchor_alone() {
    let rules = rules();
    let read = |path| verdict(&rules, Operation::Read, path).0;
    assert!(!read("/home/ann/work/.env.local"));
    assert!(!read("/home/ann/work/a/b/.env.production"));
    assert!(!read("/home/ann/work/.env.d/file"));
    assert!(read("/home/ann/work/a/.env.example"));
    assert!(read("/home/ann/work/.envrc"));
    assert!(read("/home/ann/other/.env.local"));
}

#[test]
fn a_glob_that_does_not_compile_covers_its_anchor() {
    let broken = GlobRule {
        anchor: path("/a"),
        glob: "[".to_owned(),
        except: Vec::new(),
        access: PathAccess::Hidden,
        rule: RuleId::DenyRead,
        origin: "[".to_owned(),
    };
    let rules = FilesystemRules::new(scope(Mode::WorkspaceWrite), Vec::new(), vec![broken]);
    assert!(!verdict(&rules, Operation::Read, "/a/b").0);
    assert!(verdict(&rules, Operation::Read, "/b").0);
}

#[test]
fn spelling_does_not_change_the_verdict() {
    let rules = rules();
    for spelling in [
        "/home/ann/work/../.ssh/id",
        "/home/ann//.ssh/id",
        "/home/./ann/.ssh/id",
        "/home/ann/.ssh/",
        "/home/ann/.ssh/known_hosts/../id",
    ] {
        assert_eq!(
            verdict(&rules, Operation::Read, spelling),
            (false, RuleId::Secret),
            "{spelling}"
        );
    }
    for no_path in ["", "etc/hosts", "../x", "/a\0b", "/../../x"] {
        assert!(!verdict(&rules, Operation::Read, no_path).0, "{no_path:?}");
    }
}

#[test]
fn grants_name_the_narrowest_option() {
    let rules = rules();
    let write = |path: &str| grant(&rules, Operation::Write, path);
    assert_eq!(write("/etc/hosts").as_deref(), Some("--writable-root /etc"));
    // Whether that may be a root is the planner's to say.
    assert_eq!(write("/data").as_deref(), Some("--writable-root /"));
    assert_eq!(write("/"), None);
    assert_eq!(
        write("/home/ann/work/AGENTS.md").as_deref(),
        Some("--unprotect AGENTS.md")
    );
    assert_eq!(
        write("/home/ann/work/.git/index.lock").as_deref(),
        Some("--git commit")
    );
    for full in [
        ".git",
        ".git/hooks/pre-commit",
        ".git/config",
        ".git/info/attributes",
        ".git/modules/a/config",
    ] {
        assert_eq!(
            write(&format!("/home/ann/work/{full}")).as_deref(),
            Some("--git full"),
            "{full}"
        );
    }
    assert_eq!(
        write("/home/ann/.ssh/config").as_deref(),
        Some("--allow-read ~/.ssh --writable-root /home/ann/.ssh")
    );
    let read = |path: &str| grant(&rules, Operation::Read, path);
    assert_eq!(
        read("/home/ann/.ssh/config").as_deref(),
        Some("--allow-read ~/.ssh")
    );
    assert_eq!(
        read("/home/ann/work/.env.local").as_deref(),
        Some("--allow-read .env.*")
    );
    let socket = grant(&rules, Operation::Connect, "/run/docker.sock");
    assert_eq!(socket.as_deref(), Some("--unix-socket /run/docker.sock"));
}

#[test]
fn a_grant_names_the_directories_that_it_makes_writable() {
    let rules = FilesystemRules::new(scope(Mode::WorkspaceWrite), Vec::new(), Vec::new());
    let Decision::Deny { grant, .. } = rules.decide(Operation::Write, Path::new("/srv/a b/x"))
    else {
        panic!("allowed")
    };
    assert_eq!(grant.unwrap().roots().collect::<Vec<_>>(), ["/srv/a b"]);
}

#[test]
fn what_is_shown_is_read_as_everywhere_and_refuses_writes_as_everywhere() {
    let shown = |path: &str, rule| PathRule {
        path: AbsolutePath::new(path).unwrap(),
        access: PathAccess::ReadOnly,
        strength: Strength::Place,
        rule,
        origin: "shown".to_owned(),
        except: Vec::new(),
    };
    let rules = FilesystemRules::new(
        scope(Mode::WorkspaceWrite),
        vec![
            shown("/tmp/home", RuleId::ReadDefault),
            shown("/proc/sys", RuleId::OutsideWritableRoots),
            shown("/home/ann/work/mnt", RuleId::MountInsideRoot),
        ],
        Vec::new(),
    );
    for (operation, path, expected) in [
        (Operation::Read, "/tmp/home/x", (true, RuleId::ReadDefault)),
        (
            Operation::Write,
            "/tmp/home/x",
            (false, RuleId::OutsideWritableRoots),
        ),
        (Operation::Read, "/proc/sys/x", (true, RuleId::ReadDefault)),
        (
            Operation::Write,
            "/proc/sys/x",
            (false, RuleId::OutsideWritableRoots),
        ),
        (
            Operation::Write,
            "/home/ann/work/mnt/x",
            (false, RuleId::MountInsideRoot),
        ),
    ] {
        assert_eq!(verdict(&rules, operation, path), expected, "{path}");
    }
}

#[test]
fn read_only_mode_says_so_and_grants_the_mode() {
    let rules = FilesystemRules::new(scope(Mode::ReadOnly), Vec::new(), Vec::new());
    assert_eq!(
        verdict(&rules, Operation::Write, "/home/ann/work/x"),
        (false, RuleId::ReadOnlyMode)
    );
    assert_eq!(
        grant(&rules, Operation::Write, "/home/ann/work/x").as_deref(),
        Some("--mode workspace-write")
    );
    assert_eq!(
        grant(&rules, Operation::Write, "/etc/x").as_deref(),
        Some("--mode workspace-write --writable-root /etc")
    );
}

#[test]
fn full_access_has_no_boundary() {
    let rules = FilesystemRules::new(
        scope(Mode::FullAccess),
        rules().paths().to_vec(),
        Vec::new(),
    );
    assert_eq!(
        verdict(&rules, Operation::Write, "/home/ann/.ssh/id"),
        (true, RuleId::FullAccess)
    );
}

#[test]
fn rules_survive_json_in_any_order() {
    let rules = rules();
    let json = serde_json::to_string(&rules).unwrap();
    let back: FilesystemRules = serde_json::from_str(&json).unwrap();
    assert_eq!(back, rules);
    let mut reversed: serde_json::Value = serde_json::from_str(&json).unwrap();
    reversed["paths"].as_array_mut().unwrap().reverse();
    assert_eq!(
        serde_json::from_value::<FilesystemRules>(reversed).unwrap(),
        rules
    );
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]", 0..5).prop_map(|names| format!("/{}", names.join("/")))
}

fn any_rule() -> impl Strategy<Value = PathRule> {
    let access = prop_oneof![
        Just(PathAccess::Hidden),
        Just(PathAccess::ReadOnly),
        Just(PathAccess::ReadWrite)
    ];
    let strength = prop_oneof![
        Just(Strength::Place),
        Just(Strength::Deny),
        Just(Strength::HardBlock)
    ];
    (
        any_path(),
        access,
        strength,
        proptest::option::of(any_path()),
    )
        .prop_map(|(place, access, strength, except)| PathRule {
            except: except.iter().map(|except| path(except)).collect(),
            ..rule(&place, access, strength, RuleId::DenyRead, "x")
        })
}

/// The decision as it is defined, without any search.
fn defined(rules: &FilesystemRules, operation: Operation, object: &str) -> bool {
    let object = path(object);
    let speaks = |rule: &&PathRule| {
        object.starts_with(&rule.path)
            && !rule.except.iter().any(|except| object.starts_with(except))
    };
    let denied = rules
        .paths()
        .iter()
        .filter(speaks)
        .any(|rule| rule.strength > Strength::Place && !rule.access.permits(operation));
    let place = rules
        .paths()
        .iter()
        .filter(speaks)
        .filter(|rule| rule.strength == Strength::Place)
        .max_by_key(|rule| {
            (
                rule.path.as_path().components().count(),
                std::cmp::Reverse(rule.access),
            )
        });
    !denied
        && place.map_or(operation == Operation::Read, |place| {
            place.access.permits(operation)
        })
}

proptest! {
    #[test]
    fn the_search_agrees_with_the_definition(
        paths in proptest::collection::vec(any_rule(), 0..8),
        objects in proptest::collection::vec(any_path(), 1..8),
    ) {
        let rules = FilesystemRules::new(scope(Mode::WorkspaceWrite), paths, Vec::new());
        for object in &objects {
            for operation in [Operation::Read, Operation::Write] {
                prop_assert_eq!(verdict(&rules, operation, object).0, defined(&rules, operation, object), "{} {:?}", object, operation);
            }
        }
    }

    #[test]
    fn one_more_denial_never_allows_more(
        paths in proptest::collection::vec(any_rule(), 0..8),
        more in any_rule(),
        objects in proptest::collection::vec(any_path(), 1..8),
    ) {
        let before = FilesystemRules::new(scope(Mode::WorkspaceWrite), paths.clone(), Vec::new());
        let denial = PathRule { strength: Strength::Deny, ..more };
        let after = FilesystemRules::new(scope(Mode::WorkspaceWrite), paths.into_iter().chain([denial]).collect(), Vec::new());
        for object in &objects {
            for operation in [Operation::Read, Operation::Write] {
                prop_assert!(verdict(&before, operation, object).0 || !verdict(&after, operation, object).0);
            }
        }
    }

    #[test]
    fn the_part_below_a_root_decides_there_as_the_whole(
        paths in proptest::collection::vec(any_rule(), 0..8),
        root in any_path(),
        objects in proptest::collection::vec(any_path(), 1..8),
    ) {
        let root = AbsolutePath::new(&root).unwrap();
        let whole = FilesystemRules::new(scope(Mode::WorkspaceWrite), paths, Vec::new());
        let part = whole.below(std::slice::from_ref(&root));
        for object in objects.iter().filter(|object| Path::new(object).starts_with(&root)) {
            for operation in [Operation::Read, Operation::Write] {
                prop_assert_eq!(verdict(&whole, operation, object), verdict(&part, operation, object));
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let object = Path::new(std::ffi::OsStr::from_bytes(&bytes));
            for operation in [Operation::Read, Operation::Write, Operation::Connect, Operation::Syscall, Operation::Signal, Operation::Trace] {
                let _ = rules().decide(operation, object);
            }
        }
    }
}
