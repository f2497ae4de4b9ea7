//! What holds for every plan, whatever stands in the roots.

// Names that are no text can be spelt so on Unix alone.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where its input is not what it says"
)]

use std::path::Path;

use proptest::prelude::*;
use ringfence_plan::lint::{LintRule, Severity, lint};
use ringfence_plan::linux::facts::{Anchor, Entry, Kind, LinuxFacts, NameFact};
use ringfence_plan::linux::plan;
use ringfence_plan::step::MountAccess;
use ringfence_plan::{HostFacts, Plan, Step};
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, Operation, Policy};

fn facts() -> LinuxFacts {
    let text = include_str!("../../../tests/golden/cases/git-is-missing/facts.json");
    match serde_json::from_str(text).expect("facts") {
        HostFacts::Linux(facts) => facts,
        HostFacts::Windows(_) => panic!("the case is a Linux machine"),
    }
}

fn policy(text: &str, facts: &LinuxFacts) -> Policy {
    let layer = Layer::from_file(
        LayerKind::User,
        "policy.toml",
        text.as_bytes(),
        Trust::Untrusted,
    )
    .expect("a policy file");
    let context = Context {
        home: facts.home.as_ref().expect("a home").path.clone(),
        workspace: facts.roots[0].named.clone(),
        state: facts.state.clone(),
        platform: Platform::Linux,
    };
    resolve(&[layer], &context).expect("a policy")
}

/// A name as an attacker writes it: line feeds, escapes, bytes that are no UTF-8.
fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1u8..=255, 1..12).prop_filter("one component", |bytes| {
        !bytes.contains(&b'/') && bytes != b"." && bytes != b".."
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let target = |text: &str| AbsolutePath::new(text).expect("absolute");
    prop_oneof![
        Just(Entry::Absent),
        Just(Entry::File),
        Just(Entry::Directory),
        Just(Entry::Other),
        Just(Entry::Symlink {
            target: target("/home/u/project/elsewhere/x"),
            kind: Some(Kind::Directory)
        }),
        Just(Entry::Symlink {
            target: target("/outside"),
            kind: Some(Kind::File)
        }),
        Just(Entry::Symlink {
            target: target("/home/u/project/not/there"),
            kind: None
        }),
    ]
}

/// Repositories below the workspace, each with one chosen entry at every protected name.
fn hosts() -> impl Strategy<Value = LinuxFacts> {
    let repository = (proptest::collection::vec(name(), 1..4), entry());
    proptest::collection::vec(repository, 0..6).prop_map(|repositories| {
        use std::os::unix::ffi::OsStrExt as _;
        let mut facts = facts();
        let root = &mut facts.roots[0];
        let top = root.anchors[0].clone();
        for (names, entry) in repositories {
            let mut path = top.path.as_path().to_owned();
            path.extend(names.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
            root.anchors.push(Anchor {
                path: AbsolutePath::new(path).expect("absolute"),
                names: top
                    .names
                    .iter()
                    .map(|fact| NameFact {
                        name: fact.name.clone(),
                        entry: entry.clone(),
                    })
                    .collect(),
                git: None,
            });
        }
        facts
    })
}

fn writable(plan: &Plan) -> Vec<&Path> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Bind {
                target,
                access: MountAccess::ReadWrite,
                ..
            } => Some(target.as_path()),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_input_gives_the_same_plan(facts in hosts()) {
        let policy = policy("", &facts);
        let first = plan(&policy, &facts).expect("a plan");
        let mut turned = facts.clone();
        turned.roots[0].anchors[1..].reverse();
        prop_assert_eq!(first.hash(), plan(&policy, &facts).expect("a plan").hash());
        prop_assert_eq!(&first.steps, &plan(&policy, &turned).expect("a plan").steps);
        let json = serde_json::to_string(&first).expect("json");
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).expect("a plan").hash(), first.hash());
    }

    #[test]
    fn every_hold_has_its_pins_and_every_rule_its_step(facts in hosts(), git in "read-only|commit|full") {
        let policy = policy(&format!("[filesystem]\ngit = \"{git}\"\n"), &facts);
        let plan = plan(&policy, &facts).expect("a plan");
        let errors: Vec<_> = lint(&plan).into_iter().filter(|found| found.severity == Severity::Error).collect();
        prop_assert!(errors.is_empty(), "{:?}", errors);
    }

    #[test]
    fn what_a_step_protects_the_rules_deny(facts in hosts()) {
        let plan = plan(&policy("", &facts), &facts).expect("a plan");
        for step in &plan.steps {
            if let Step::Protect { path } | Step::ProtectLink { path } | Step::Hide { path, .. } = step {
                prop_assert!(!plan.rules.is_allowed(Operation::Write, path.as_path()), "{}", path);
            }
        }
    }

    #[test]
    fn narrowing_adds_no_writable_mount(facts in hosts()) {
        let wide = plan(&policy("[filesystem]\ngit = \"full\"\n", &facts), &facts).expect("a plan");
        for narrower in ["", "mode = \"read-only\"\n", "[filesystem]\ngit = \"commit\"\n"] {
            let narrow = plan(&policy(narrower, &facts), &facts).expect("a plan");
            for target in writable(&narrow) {
                prop_assert!(writable(&wide).contains(&target), "{}", target.display());
            }
        }
    }

    #[test]
    fn text_from_the_host_never_starts_a_line(facts in hosts()) {
        let plan = plan(&policy("", &facts), &facts).expect("a plan");
        for line in plan.render_text().lines() {
            let known = line.is_empty()
                || line.starts_with(' ')
                || ["plan ", "level ", "workspace ", "missing ", "note ", "steps", "watched", "rules", "environment"]
                    .iter()
                    .any(|start| line.starts_with(start));
            prop_assert!(known, "{:?}", line);
        }
    }
}

/// The plan as it was before the system's directories were refused: that policy is made by hand.
fn with_a_root(path: &str) -> (Policy, LinuxFacts) {
    let mut facts = facts();
    let mut policy = policy("", &facts);
    let path = AbsolutePath::new(path).expect("absolute");
    policy.workspace = path.clone();
    facts.roots[0].named = path.clone();
    facts.roots[0].anchors.clear();
    let object = facts.roots[0].object.as_mut().expect("a root");
    object.path = path;
    (policy, facts)
}

#[test]
fn the_systems_directories_are_no_roots_whatever_the_policy_says() {
    for path in [
        "/proc",
        "/proc/sys/kernel",
        "/sys/fs/cgroup",
        "/dev",
        "/run/x",
    ] {
        let (policy, facts) = with_a_root(path);
        let refused = plan(&policy, &facts).expect_err(path);
        assert!(refused.to_string().contains("kernel's"), "{refused}");
        assert!(!refused.hints().join(" ").contains("project"), "{path}");
    }
    let (policy, facts) = with_a_root("/run/media/ann/STICK");
    assert!(plan(&policy, &facts).is_ok(), "a person's own disk is one");
}

#[test]
fn a_plan_that_opens_the_systems_directories_is_found() {
    let (policy, facts) = with_a_root("/srv/project");
    let mut plan = plan(&policy, &facts).expect("a plan");
    assert!(
        lint(&plan)
            .iter()
            .all(|found| found.severity != Severity::Error)
    );
    let system = AbsolutePath::new("/proc/sys").expect("absolute");
    for step in &mut plan.steps {
        if let Step::Bind {
            source,
            target,
            access: MountAccess::ReadWrite,
            ..
        } = step
            && source == target
        {
            *source = system.clone();
            *target = system.clone();
        }
    }
    let found = lint(&plan);
    let is_it = |found: &ringfence_plan::lint::Finding| {
        found.rule == LintRule::ForbiddenBind && found.object == "/proc/sys"
    };
    assert!(found.iter().any(is_it), "{found:?}");
}
