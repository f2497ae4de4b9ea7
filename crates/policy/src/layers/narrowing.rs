//! A narrower policy never allows more: documents are generated, narrowed, and every answer compared.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::tests::context;
use super::*;
use crate::decision::{Decision, Operation};
use crate::document::{GitAccess, Mode, NetworkMode};
use crate::filesystem::{FilesystemRules, PathAccess, PathRule, Scope, Strength};
use crate::host::Host;
use crate::network::Destination;
use crate::policy::HiddenPattern;
use crate::rule::RuleId;

const ROOTS: [&str; 3] = ["/srv/a", "/srv/a/b", "~/scratch"];
const DENIED: [&str; 4] = ["~/notes", "/srv/a/b", "~/.npmrc", "/home/ann/work/x"];
const TAKEN_BACK: [&str; 3] = ["~/.npmrc", "~/.ssh", "~/.pypirc"];
const NAMES: [&str; 3] = ["infra", "b/c", "x"];
const UNPROTECTED: [&str; 2] = ["AGENTS.md", ".vscode"];
const HOSTS: [&str; 4] = [
    "example.com",
    "*.example.com",
    "a.example.com:22",
    "192.0.2.7",
];
const OBJECTS: [&str; 14] = [
    "/",
    "/etc/hosts",
    "/srv",
    "/srv/a/x",
    "/srv/a/b/c/d",
    "/srv/a/infra/y",
    "/home/ann/scratch/x/y",
    "/home/ann/notes/n",
    "/home/ann/.npmrc",
    "/home/ann/.ssh/id",
    "/home/ann/.ssh/known_hosts",
    "/home/ann/work/x",
    "/home/ann/work/AGENTS.md",
    "/home/ann/work/.git/index",
];

/// The rules that a host would make of `policy` on which every path exists and none is a link.
fn rules(policy: &Policy) -> FilesystemRules {
    let rule = |path: AbsolutePath, access, strength, rule, except: &[AbsolutePath]| PathRule {
        path,
        access,
        strength,
        rule,
        origin: String::new(),
        except: except.to_vec(),
    };
    let mut paths = vec![rule(
        policy.state.clone(),
        PathAccess::Hidden,
        Strength::HardBlock,
        RuleId::RingfenceState,
        &[],
    )];
    let mut roots: Vec<AbsolutePath> = policy
        .filesystem
        .writable_roots
        .iter()
        .map(|root| root.value.clone())
        .collect();
    roots.push(policy.workspace.clone());
    if policy.mode.value == Mode::ReadOnly {
        roots.clear();
    }
    for root in roots {
        for name in &policy.filesystem.protected {
            if name.value == ".git" && policy.filesystem.git.value == GitAccess::Full {
                continue;
            }
            let path = root.join(&name.value).unwrap();
            paths.push(rule(
                path,
                PathAccess::ReadOnly,
                Strength::Deny,
                RuleId::ProtectedName,
                &[],
            ));
        }
        paths.push(rule(
            root,
            PathAccess::ReadWrite,
            Strength::Place,
            RuleId::WritableRoot,
            &[],
        ));
    }
    for hidden in &policy.filesystem.hidden {
        if let HiddenPattern::Path(path) = &hidden.pattern {
            paths.push(rule(
                path.clone(),
                PathAccess::Hidden,
                Strength::Deny,
                RuleId::Secret,
                &hidden.except,
            ));
        }
    }
    let scope = Scope {
        mode: policy.mode.value,
        git: policy.filesystem.git.value,
        workspace: policy.workspace.clone(),
        home: policy.home.clone(),
    };
    FilesystemRules::new(scope, paths, Vec::new())
}

/// Everything that `policy` allows, of a fixed set of questions.
fn allowed(policy: &Policy) -> Vec<String> {
    let mut allowed = Vec::new();
    let rules = rules(policy);
    for object in OBJECTS {
        for operation in [Operation::Read, Operation::Write] {
            if rules.is_allowed(operation, Path::new(object)) {
                allowed.push(format!("{operation:?} {object}"));
            }
        }
    }
    for host in [
        "example.com",
        "a.example.com",
        "b.example.com",
        "192.0.2.7",
        "169.254.169.254",
        "127.0.0.1",
    ] {
        for port in [22, 80, 443] {
            let host = Host::parse(host.as_bytes()).unwrap();
            let destination = Destination::Internet { host, port };
            if let Decision::Allow { .. } = policy.network.decide(&destination) {
                allowed.push(format!("connect {destination}"));
            }
        }
    }
    allowed.extend(
        policy
            .environment
            .pass
            .iter()
            .map(|name| format!("pass {}", name.value)),
    );
    allowed
}

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(select(words).prop_map(str::to_owned), 0..3)
}

fn any_document() -> impl Strategy<Value = PolicyDocument> {
    let modes = proptest::option::of(select(vec![
        Mode::ReadOnly,
        Mode::WorkspaceWrite,
        Mode::FullAccess,
    ]));
    let git = proptest::option::of(select(vec![
        GitAccess::ReadOnly,
        GitAccess::Commit,
        GitAccess::Full,
    ]));
    let network = proptest::option::of(select(vec![
        NetworkMode::Offline,
        NetworkMode::Allowlist,
        NetworkMode::Open,
    ]));
    let lists = (
        some(&ROOTS),
        some(&DENIED),
        some(&TAKEN_BACK),
        some(&NAMES),
        some(&UNPROTECTED),
        some(&HOSTS),
        some(&HOSTS),
        some(&["CI", "A_TOKEN"]),
    );
    (modes, git, network, lists).prop_map(|(mode, git, network, lists)| {
        let mut document = PolicyDocument {
            mode,
            ..PolicyDocument::default()
        };
        let (roots, denied, taken_back, names, unprotected, allow, deny, pass) = lists;
        document.filesystem.writable_roots = roots;
        document.filesystem.deny_read = denied;
        document.filesystem.allow_read = taken_back;
        document.filesystem.protected = names;
        document.filesystem.unprotected = unprotected;
        document.filesystem.git = git;
        document.network.mode = network;
        document.network.allow = allow.iter().map(|rule| rule.parse().unwrap()).collect();
        document.network.deny = deny.iter().map(|rule| rule.parse().unwrap()).collect();
        document.environment.pass = pass;
        document
    })
}

/// One change that a person would call narrower.
fn narrow(document: &mut PolicyDocument, change: u8, index: Index) {
    fn drop_one<T>(list: &mut Vec<T>, index: Index) {
        if !list.is_empty() {
            list.remove(index.index(list.len()));
        }
    }
    // A root protects names at its own top. One that holds another root protects there what the inner one does not,
    // so that taking the outer one away is no narrowing.
    fn drop_root(roots: &mut Vec<String>, index: Index) {
        if roots.is_empty() {
            return;
        }
        let chosen = roots[index.index(roots.len())].clone();
        let holds_another = |root: &String| *root != chosen && Path::new(root).starts_with(&chosen);
        if !roots.iter().any(holds_another) {
            roots.retain(|root| *root != chosen);
        }
    }
    let files = &mut document.filesystem;
    match change % 12 {
        0 => document.mode = Some(Mode::ReadOnly),
        1 => drop_root(&mut files.writable_roots, index),
        2 => files.deny_read.push((*index.get(&DENIED)).to_owned()),
        3 => drop_one(&mut files.allow_read, index),
        4 => files.protected.push((*index.get(&NAMES)).to_owned()),
        5 => drop_one(&mut files.unprotected, index),
        6 => files.git = Some(GitAccess::ReadOnly),
        7 => document.network.mode = Some(NetworkMode::Offline),
        8 => drop_one(&mut document.network.allow, index),
        9 => document
            .network
            .deny
            .push(index.get(&HOSTS).parse().unwrap()),
        10 => drop_one(&mut document.environment.pass, index),
        _ => files.deny_read.push((*index.get(&OBJECTS)).to_owned()),
    }
}

/// Takes everything out that grants more than the defaults.
fn clear_grants(document: &mut PolicyDocument) {
    document.mode = document.mode.filter(|mode| *mode == Mode::ReadOnly);
    document.filesystem.git = document
        .filesystem
        .git
        .filter(|git| *git == GitAccess::ReadOnly);
    document.network.mode = document
        .network
        .mode
        .filter(|mode| *mode == NetworkMode::Offline);
    document.filesystem.writable_roots.clear();
    document.filesystem.allow_read.clear();
    document.filesystem.unprotected.clear();
    document.network.allow.clear();
    document.environment.pass.clear();
}

fn file(kind: LayerKind, document: PolicyDocument) -> Layer {
    Layer {
        kind,
        source: kind.word().to_owned(),
        document,
        trust: Trust::Untrusted,
        text: None,
    }
}

fn no_more(before: &[Layer], after: &[Layer]) -> Result<(), TestCaseError> {
    let (before, after) = (resolve(before, &context()), resolve(after, &context()));
    // Rejected, not passed: too many contradictory documents fail the test.
    prop_assume!(before.is_ok() && after.is_ok());
    let (before, after) = (before.unwrap(), after.unwrap());
    let before = allowed(&before);
    for one in allowed(&after) {
        prop_assert!(before.contains(&one), "{}", one);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 4096, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_same_input_gives_the_same_policy(user in any_document(), project in any_document()) {
        let layers = [file(LayerKind::User, user), file(LayerKind::Project, project)];
        let reversed = [layers[1].clone(), layers[0].clone()];
        prop_assert_eq!(resolve(&layers, &context()), resolve(&reversed, &context()));
    }

    #[test]
    fn a_narrower_document_allows_no_more(
        user in any_document(),
        kind in select(vec![LayerKind::User, LayerKind::CommandLine]),
        changes in proptest::collection::vec((any::<u8>(), any::<Index>()), 1..4),
    ) {
        let mut narrower = user.clone();
        for (change, index) in changes {
            narrow(&mut narrower, change, index);
        }
        no_more(&[file(kind, user)], &[file(kind, narrower)])?;
    }

    #[test]
    fn an_untrusted_project_allows_no_more(user in any_document(), mut project in any_document()) {
        clear_grants(&mut project);
        let user = file(LayerKind::User, user);
        let both = [user.clone(), file(LayerKind::Project, project)];
        no_more(std::slice::from_ref(&user), &both)?;
    }

    #[test]
    fn a_managed_file_that_grants_nothing_allows_no_more(user in any_document(), mut managed in any_document()) {
        clear_grants(&mut managed);
        let user = file(LayerKind::User, user);
        let both = [user.clone(), file(LayerKind::Managed, managed)];
        no_more(std::slice::from_ref(&user), &both)?;
    }
}
