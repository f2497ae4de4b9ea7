//! Facts of directories made for the purpose.

use std::path::Path;

use ringfence_plan::linux::facts::{Entry, Kind, LinuxFacts};
use ringfence_plan::linux::plan;
use ringfence_policy::layers::{Context, LayerKind, Sourced, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, Policy};
use serde_json::json;

use super::observe;

/// The default policy over scratch directories, with these names protected and these patterns hidden.
fn policy(base: &Path, protected: &[&str], hidden: &serde_json::Value) -> Policy {
    let path = |name: &str| AbsolutePath::new(base.join(name)).expect("absolute");
    let context = Context {
        home: path("home"),
        workspace: path("w"),
        state: path("home/state"),
        platform: Platform::Linux,
    };
    let mut policy = resolve(&[], &context).expect("a policy");
    policy.filesystem.hidden = serde_json::from_value(hidden.clone()).expect("hidden paths");
    policy.filesystem.protected = protected
        .iter()
        .map(|name| Sourced {
            value: (*name).to_owned(),
            layer: LayerKind::Default,
        })
        .collect();
    policy
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let scratch = Self(directory);
        scratch.directory("home");
        scratch.directory("w");
        scratch
    }
    fn base(&self) -> std::path::PathBuf {
        self.0.path().canonicalize().expect("resolved")
    }
    fn directory(&self, path: &str) {
        std::fs::create_dir_all(self.0.path().join(path)).expect("made");
    }
    fn file(&self, path: &str, content: &str) {
        std::fs::write(self.0.path().join(path), content).expect("written");
    }
    fn link(&self, target: &str, path: &str) {
        std::os::unix::fs::symlink(target, self.0.path().join(path)).expect("linked");
    }
}

fn name<'a>(facts: &'a LinuxFacts, anchor: usize, name: &str) -> &'a Entry {
    let names = &facts.roots[0].anchors[anchor].names;
    &names
        .iter()
        .find(|fact| fact.name == name)
        .expect("a name")
        .entry
}

#[test]
fn repositories_are_found_but_not_in_directories_that_tools_fill() {
    let scratch = Scratch::new();
    for path in [
        "w/.git",
        "w/sub/.git",
        "w/node_modules/x/.git",
        "w/target/.git",
        "w/.git/modules/y/.git",
    ] {
        scratch.directory(path);
    }
    scratch.link("../../home", "w/sub/out");
    scratch.directory("home/.git");
    let base = scratch.base();
    let facts = observe(&policy(&base, &[".codex"], &json!([]))).expect("facts");
    let anchors: Vec<_> = facts.roots[0]
        .anchors
        .iter()
        .map(|anchor| anchor.path.as_path().to_owned())
        .collect();
    assert_eq!(anchors, [base.join("w"), base.join("w/sub")]);
    assert_eq!(name(&facts, 0, ".git"), &Entry::Directory);
    assert_eq!(name(&facts, 1, ".codex"), &Entry::Absent);
}

#[test]
fn every_form_of_a_protected_name_is_told_apart() {
    let scratch = Scratch::new();
    scratch.file("w/file", "");
    scratch.directory("w/directory");
    scratch.link("directory", "w/link");
    scratch.link("nowhere/at/all", "w/dangling");
    scratch.link("circle", "w/circle");
    let base = scratch.base();
    let names = [
        "file",
        "directory",
        "link",
        "dangling",
        "circle",
        "absent",
        "no/where",
    ];
    let facts = observe(&policy(&base, &names, &json!([]))).expect("facts");
    let path = |path: &str| AbsolutePath::new(base.join(path)).expect("absolute");
    assert_eq!(name(&facts, 0, "file"), &Entry::File);
    assert_eq!(name(&facts, 0, "directory"), &Entry::Directory);
    assert_eq!(
        name(&facts, 0, "link"),
        &Entry::Symlink {
            target: path("w/directory"),
            kind: Some(Kind::Directory)
        }
    );
    assert_eq!(
        name(&facts, 0, "dangling"),
        &Entry::Symlink {
            target: path("w/nowhere/at/all"),
            kind: None
        }
    );
    assert!(matches!(
        name(&facts, 0, "circle"),
        Entry::Symlink { kind: None, .. }
    ));
    assert_eq!(name(&facts, 0, "absent"), &Entry::Absent);
    assert_eq!(
        name(&facts, 0, "no/where"),
        &Entry::AbsentParent {
            existing: path("w")
        }
    );
}

#[test]
fn secrets_are_found_by_path_by_glob_and_through_links() {
    let scratch = Scratch::new();
    scratch.directory("home/.ssh");
    scratch.file("home/.ssh/known_hosts", "");
    scratch.file("home/.ssh/id_ed25519", "");
    scratch.directory("home/.ssh/keys");
    scratch.link("id_ed25519", "home/.ssh/link");
    scratch.file("home/.credentials.toml", "");
    scratch.file("w/.env", "");
    scratch.directory("w/deep/er");
    scratch.link("../../.env", "w/deep/er/.env");
    scratch.file("w/deep/.env.example", "");
    let base = scratch.base();
    let hidden = json!([
        {"pattern": {"path": base.join("home/.ssh")}, "name": "~/.ssh", "kind": "built-in", "except": [base.join("home/.ssh/known_hosts")], "layer": "default"},
        {"pattern": {"path": base.join("home/.aws")}, "name": "~/.aws", "kind": "built-in", "except": [], "layer": "default"},
        {"pattern": {"home-glob": format!("{}/.cred*", base.join("home").display())}, "name": "~/.cred*", "kind": "built-in", "except": [], "layer": "default"},
        {"pattern": {"root-glob": {"glob": "**/.env", "except": []}}, "name": ".env", "kind": "built-in", "except": [], "layer": "default"},
        {"pattern": {"root-glob": {"glob": "**/.env.*", "except": ["**/.env.example"]}}, "name": ".env.*", "kind": "built-in", "except": [], "layer": "default"},
    ]);
    let facts = observe(&policy(&base, &[], &hidden)).expect("facts");
    let found: Vec<_> = facts
        .hidden
        .iter()
        .filter(|fact| fact.entry != Entry::Absent)
        .map(|fact| {
            (
                fact.name.as_str(),
                fact.path
                    .as_path()
                    .strip_prefix(&base)
                    .expect("below")
                    .to_owned(),
            )
        })
        .collect();
    let expected = [
        ("~/.ssh", "home/.ssh"),
        ("~/.cred*", "home/.credentials.toml"),
        (".env", "w/.env"),
        (".env", "w/deep/er/.env"),
    ];
    assert_eq!(
        found,
        expected.map(|(name, path)| (name, Path::new(path).to_owned()))
    );
    assert_eq!(facts.hidden[0].shown.len(), 1);
    let ssh = facts.hidden.iter().find(|fact| fact.name == "~/.ssh");
    let masked: Vec<_> = ssh
        .expect("a fact")
        .masked
        .iter()
        .map(|child| (child.path.as_path(), child.kind))
        .collect();
    assert_eq!(
        masked,
        [
            (base.join("home/.ssh/id_ed25519").as_path(), Kind::File),
            (base.join("home/.ssh/keys").as_path(), Kind::Directory),
        ]
    );
}

#[test]
fn a_hard_link_is_counted_only_if_its_other_name_is_elsewhere() {
    let scratch = Scratch::new();
    scratch.file("w/inside", "");
    scratch.file("home/outside", "");
    let base = scratch.base();
    std::fs::hard_link(base.join("w/inside"), base.join("w/second")).expect("linked");
    std::fs::hard_link(base.join("home/outside"), base.join("w/shared")).expect("linked");
    let facts = observe(&policy(&base, &[], &json!([]))).expect("facts");
    let links: Vec<_> = facts.roots[0]
        .outside_links
        .iter()
        .map(|path| path.as_path().to_owned())
        .collect();
    assert_eq!(links, [base.join("w/shared")]);
}

#[test]
fn facts_of_this_host_make_a_plan_and_survive_their_json() {
    let scratch = Scratch::new();
    scratch.directory("w/.git");
    let policy = policy(&scratch.base(), &[".git", ".codex"], &json!([]));
    let facts = observe(&policy).expect("facts");
    let json = serde_json::to_string(&facts).expect("json");
    assert_eq!(
        serde_json::from_str::<LinuxFacts>(&json).expect("facts"),
        facts
    );
    if facts.user_namespaces == ringfence_plan::linux::facts::UserNamespaces::Available {
        let plan = plan(&policy, &facts).expect("a plan");
        assert!(plan.render_text().contains("protect "));
        if std::env::var_os("SHOW").is_some() {
            println!("{}", plan.render_text());
        }
    }
}

#[test]
fn without_namespaces_the_plan_grants_around_what_it_protects() {
    let scratch = Scratch::new();
    scratch.directory("w/.git");
    scratch.directory("w/src");
    scratch.file("w/.env", "");
    let base = scratch.base();
    let hidden = json!([
        {"pattern": {"root-glob": {"glob": "**/.env", "except": []}}, "name": ".env", "kind": "built-in", "except": [], "layer": "default"},
    ]);
    let policy = policy(&base, &[".codex"], &hidden);
    let facts = super::observe_without_namespaces(&policy, "a test".to_owned()).expect("facts");
    let plan = plan(&policy, &facts).expect("a plan");
    let ruleset = plan
        .steps
        .iter()
        .find_map(|step| match step {
            ringfence_plan::Step::RestrictPaths { ruleset } => Some(ruleset),
            _ => None,
        })
        .expect("a ruleset");
    let writes = |path: &str| {
        ruleset.rules.iter().any(|rule| {
            base.join(path).starts_with(rule.path.as_path())
                && rule
                    .allowed
                    .holds(ringfence_plan::linux::landlock::Rights::WRITE_FILE)
        })
    };
    assert!(writes("w/src/x"));
    assert!(!writes("w/.git/config") && !writes("w/.codex") && !writes("w/.env"));
    // The rules say what Landlock does: a new entry beside what is protected fails, one below a child does not.
    let rule = |path: &str| match plan
        .rules
        .decide(ringfence_policy::Operation::Write, &base.join(path))
    {
        ringfence_policy::Decision::Allow { rule, .. }
        | ringfence_policy::Decision::Deny { rule, .. } => rule,
    };
    assert_eq!(rule("w/top"), ringfence_policy::RuleId::NewEntry);
    assert_eq!(rule("w/src/x"), ringfence_policy::RuleId::WritableRoot);
    if std::env::var_os("SHOW").is_some() {
        println!("{}", plan.render_text());
    }
}

#[test]
fn git_configuration_that_leads_into_a_root_is_found() {
    let scratch = Scratch::new();
    scratch.directory("w/.git");
    scratch.directory("w/tools/hooks");
    scratch.file("w/extra", "[core]\n\tfsmonitor = ./watch.sh\n");
    scratch.file("w/.git/config", "[core]\n\thooksPath = tools/hooks\n[include]\n\tpath = ../extra\n[alias]\n\tx = !sh run.sh\n\ty = !make\n");
    scratch.file("w/run.sh", "");
    scratch.directory("w/make");
    let base = scratch.base();
    let facts = observe(&policy(&base, &[], &json!([]))).expect("facts");
    let mut found: Vec<_> = facts
        .git_references
        .iter()
        .map(|reference| {
            reference
                .path
                .as_path()
                .strip_prefix(&base)
                .expect("below")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        ["w/extra", "w/run.sh", "w/tools/hooks", "w/watch.sh"]
    );
}

#[test]
fn paths_of_git_are_taken_as_the_kernel_takes_them() {
    let scratch = Scratch::new();
    for directory in ["w/.git", "w/deep/sub", "w/deep/hooks", "w/planted"] {
        scratch.directory(directory);
    }
    let base = scratch.base();
    std::os::unix::fs::symlink(base.join("w/deep/sub"), base.join("w/link")).expect("a link");
    let climb = "../".repeat(40);
    scratch.file(
        "w/.git/config",
        &format!(
            "[core]\n\thooksPath = link/../hooks\n\teditor = {climb}\n\tpager = {climb}etc/x\n"
        ),
    );
    scratch.file("w/planted/.git", &format!("gitdir: {climb}etc\n"));
    let facts = observe(&policy(&base, &[], &json!([]))).expect("facts");
    let found: Vec<_> = facts
        .git_references
        .iter()
        .map(|reference| reference.path.as_path())
        .collect();
    assert_eq!(found, [base.join("w/deep/hooks")]);
    let planted = facts.roots[0]
        .anchors
        .iter()
        .find(|anchor| anchor.path.as_path().ends_with("planted"))
        .expect("an anchor");
    let layout = planted.git.as_ref().expect("a layout");
    assert_eq!(layout.directory.as_path(), Path::new("/etc"));
}

#[test]
fn a_git_file_counts_only_if_the_repository_names_it_in_turn() {
    use ringfence_plan::linux::facts::BackLink;
    let scratch = Scratch::new();
    scratch.directory("home/main/.git/worktrees/w");
    scratch.file("home/main/.git/worktrees/w/commondir", "../..\n");
    let base = scratch.base();
    let git = base.join("home/main/.git/worktrees/w");
    scratch.file("w/.git", &format!("gitdir: {}\n", git.display()));
    let link = |facts: &LinuxFacts| {
        facts.roots[0].anchors[0]
            .git
            .as_ref()
            .expect("a layout")
            .back_link
    };
    let policy = policy(&base, &[], &json!([]));
    scratch.file("home/main/.git/worktrees/w/gitdir", "/elsewhere/.git\n");
    assert_eq!(link(&observe(&policy).expect("facts")), BackLink::OneSided);
    scratch.file(
        "home/main/.git/worktrees/w/gitdir",
        &format!("{}\n", base.join("w/.git").display()),
    );
    assert_eq!(link(&observe(&policy).expect("facts")), BackLink::Mutual);
}

#[test]
fn a_persons_own_pattern_reaches_what_tools_fill() {
    let scratch = Scratch::new();
    for path in ["w/node_modules/x/.git", "w/node_modules/.venv/deep"] {
        scratch.directory(path);
    }
    scratch.file("w/node_modules/.venv/deep/key.pem", "");
    scratch.file("w/node_modules/x/.env", "");
    let base = scratch.base();
    let hidden = |kind: &str| {
        json!([
            {"pattern": {"root-glob": {"glob": "**/*.pem", "except": []}}, "name": "**/*.pem", "kind": kind, "except": [], "layer": "user"},
            {"pattern": {"root-glob": {"glob": "**/.env", "except": []}}, "name": ".env", "kind": "built-in", "except": [], "layer": "default"},
        ])
    };
    let facts = observe(&policy(&base, &[], &hidden("deny-read"))).expect("facts");
    let found: Vec<_> = facts
        .hidden
        .iter()
        .map(|fact| fact.path.as_path())
        .collect();
    assert_eq!(found, [base.join("w/node_modules/.venv/deep/key.pem")]);
    assert_eq!(facts.roots[0].anchors.len(), 1);
    // Built-in names are no reason to go there: a mount breaks the removal of what tools made.
    let facts = observe(&policy(&base, &[], &hidden("built-in"))).expect("facts");
    assert!(facts.hidden.is_empty());
}

#[test]
fn a_bare_repository_is_known_by_what_it_holds() {
    let scratch = Scratch::new();
    for path in [
        "w/a/store.git/objects",
        "w/a/store.git/refs",
        "w/a/no/objects",
        "w/a/no/refs",
    ] {
        scratch.directory(path);
    }
    scratch.file("w/a/store.git/HEAD", "ref: refs/heads/main\n");
    scratch.file(
        "w/a/store.git/config",
        "[core]\n\tbare = true\n\thooksPath = ../run\n",
    );
    let base = scratch.base();
    let policy = policy(&base, &[], &json!([]));
    let facts = observe(&policy).expect("facts");
    let stores: Vec<_> = facts.roots[0]
        .bare
        .iter()
        .map(|found| found.path.as_path())
        .collect();
    assert_eq!(stores, [base.join("w/a/store.git")]);
    assert_eq!(facts.git_references[0].path.as_path(), base.join("w/a/run"));
    if facts.user_namespaces == ringfence_plan::linux::facts::UserNamespaces::Available {
        let plan = plan(&policy, &facts).expect("a plan");
        let path = |name: &str| {
            AbsolutePath::new(base.join("w/a/store.git").join(name)).expect("absolute")
        };
        let step = ringfence_plan::Step::Protect {
            path: path("config"),
        };
        assert!(plan.steps.contains(&step));
        assert!(
            plan.guard
                .absent
                .iter()
                .any(|name| name.path == path("hooks"))
        );
    }
}
