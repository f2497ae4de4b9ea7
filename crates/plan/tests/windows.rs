//! What holds for every plan of a Windows host, whatever stands in the roots.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where its input is not what it says"
)]

use std::collections::HashMap;

use proptest::prelude::*;
use ringfence_nt::check::{Pass, maximum_of_pass};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, SecurityDescriptor, Sid, WriteClass,
    access_check,
};
use ringfence_plan::HostFacts;
use ringfence_plan::layout::{Entry, NameFact};
use ringfence_plan::windows::facts::{
    Installed, LocalAccount, Marker, ObjectFact, Record, WindowsFacts,
};
use ringfence_plan::windows::lint::{LintRule, lint};
use ringfence_plan::windows::step::{Object, ObjectKind, PersonStep, PortRange, Purpose};
use ringfence_plan::windows::walk::{Names, Visited, WalkRule};
use ringfence_plan::windows::{PlanError, WindowsLedger, WindowsPath, WindowsPlan, plan, reach};
use ringfence_policy::Policy;
use ringfence_policy::layers::{Layer, LayerKind, Trust, resolve};

fn stored() -> (WindowsFacts, WindowsLedger) {
    let facts = include_str!("../../../tests/golden/cases/windows-plain/facts.json");
    let ledger = include_str!("../../../tests/golden/cases/windows-plain/ledger.json");
    match serde_json::from_str(facts).expect("facts") {
        HostFacts::Windows(facts) => (facts, serde_json::from_str(ledger).expect("a ledger")),
        HostFacts::Linux(_) => panic!("the case is a Windows machine"),
    }
}

const POLICY: &str = "[filesystem]\nwritable_roots = ['D:\\scratch']\ndeny_read = ['D:\\notes']\n";

fn policy(text: &str, facts: &WindowsFacts) -> Policy {
    let layer = Layer::from_file(
        LayerKind::User,
        "policy.toml",
        text.as_bytes(),
        Trust::Untrusted,
    );
    let context = facts.policy_context().expect("a workspace");
    resolve(&[layer.expect("a policy file")], &context).expect("a policy")
}

fn path(text: &str) -> WindowsPath {
    WindowsPath::observed(text).expect("a path")
}

const ROOT: &str = "C:\\Users\\ann\\src\\app";

/// The machine after set-up.
fn installed(mut facts: WindowsFacts, machine_hash: &str) -> WindowsFacts {
    let account = |name: &str, rid| LocalAccount {
        name: name.to_owned(),
        sid: facts.machine.sid.child(rid).expect("a SID"),
    };
    facts.installed = Installed {
        offline: Some(account("off", 2001)),
        online: Some(account("on", 2002)),
        group: Some(account("group", 2003)),
        record: Some(Record {
            machine_hash: machine_hash.to_owned(),
            marker: Marker::Present,
            proxy_ports: PortRange {
                first: 20_000,
                last: 20_031,
            },
            person: facts.person.sid,
        }),
        others: Vec::new(),
    };
    facts
}

/// The stored machine after set-up.
fn ready() -> (WindowsFacts, WindowsLedger) {
    let (facts, ledger) = stored();
    let first = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    (installed(facts, &first.machine_hash), ledger)
}

/// What the executor makes of the machine: descriptors and homes, and a walk by the planner's rule over every object
/// of the facts that lies below.
fn carry_out(facts: &mut WindowsFacts, plan: &WindowsPlan) {
    for step in &plan.person_steps {
        match step {
            PersonStep::SetDacl {
                object,
                before,
                after,
                ..
            } => {
                let fact = facts
                    .objects
                    .iter_mut()
                    .find(|one| one.object == *object)
                    .expect("the object");
                assert_eq!(fact.descriptor.as_ref(), Some(before));
                fact.descriptor = Some(after.clone());
            }
            PersonStep::MakeHome { path, descriptor } => {
                let mut id = facts.objects[0].object.id;
                id.file = u128::MAX - facts.objects.len() as u128;
                facts.objects.push(ObjectFact {
                    object: Object {
                        path: path.clone(),
                        id,
                        kind: ObjectKind::Directory,
                    },
                    descriptor: Some(descriptor.clone()),
                    ..facts.objects[0].clone()
                });
            }
            PersonStep::Walk { root, .. } => walk(facts, plan, root),
        }
    }
}

fn walk(facts: &mut WindowsFacts, plan: &WindowsPlan, root: &Object) {
    let reach = plan.reach();
    facts
        .objects
        .sort_by(|a, b| a.object.path.cmp(&b.object.path));
    let mut now: HashMap<WindowsPath, (SecurityDescriptor, Purpose, Option<usize>)> =
        HashMap::new();
    for fact in &mut facts.objects {
        let path = fact.object.path.clone();
        let Some(descriptor) = fact.descriptor.clone() else {
            continue;
        };
        if let Some(held) = plan.held_at(&path) {
            now.insert(path, (descriptor, held.purpose, held.root));
            continue;
        }
        if path == root.path {
            now.insert(path, (descriptor, Purpose::Root, Some(0)));
            continue;
        }
        if !path.is_below(&root.path) {
            continue;
        }
        let parent = path.parent().and_then(|above| now.get(&above).cloned());
        let Some((parent, purpose, index)) = parent else {
            continue;
        };
        let trustees = plan.trustees(index);
        let rule = WalkRule {
            purpose,
            trustees: &trustees,
            reach: &reach,
        };
        let visited = Visited {
            kind: fact.object.kind,
            names: Names::Inside,
            descriptor: &descriptor,
        };
        let next = rule.next(&parent, &visited).unwrap_or(descriptor);
        fact.descriptor = Some(next.clone());
        now.insert(path, (next, purpose, index));
    }
}

/// A descriptor as an earlier command, a careless person or an attacker leaves it.
fn descriptor() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        Just(None),
        Just(Some(
            "D:P(A;OICI;0x1f01ff;;;WD)(A;OICI;0x1f01ff;;;S-1-5-21-1004336348-1177238915-682003330-1001)"
        )),
        Just(Some(
            "D:(A;;0x40;;;BU)(D;;0x1;;;BG)(A;OICI;0x1f01ff;;;S-1-5-21-1004336348-1177238915-682003330-1001)"
        )),
        Just(Some(
            "D:AI(A;OICI;0x1301bf;;;AU)(A;OICIID;0x1f01ff;;;S-1-5-21-1004336348-1177238915-682003330-1001)"
        )),
        Just(Some(
            "D:(A;OICI;0x1f01ff;;;OW)(A;OICI;0x1f01ff;;;S-1-5-21-1004336348-1177238915-682003330-1001)"
        )),
        Just(Some(
            "O:S-1-5-21-1004336348-1177238915-682003330-2001D:P(A;;0x1f01ff;;;S-1-5-21-1004336348-1177238915-682003330-2001)(A;OICI;0x1f01ff;;;S-1-5-21-1004336348-1177238915-682003330-1001)"
        )),
    ]
}

fn entry() -> impl Strategy<Value = Entry<WindowsPath>> {
    prop_oneof![
        Just(Entry::Absent),
        Just(Entry::File),
        Just(Entry::Directory)
    ]
}

/// Repositories below the workspace, each with one chosen entry at every protected name, and chosen descriptors.
fn hosts() -> impl Strategy<Value = (WindowsFacts, WindowsLedger)> {
    let repository = (
        proptest::collection::vec("[a-z]{1,3}( [.x]|\u{202e}|é)?", 1..4),
        entry(),
        descriptor(),
        descriptor(),
    );
    (proptest::collection::vec(repository, 0..5), descriptor()).prop_map(|(repositories, root)| {
        let (mut facts, ledger) = ready();
        set(&mut facts, ROOT, root);
        for (names, entry, directory, inside) in repositories {
            let mut at = ROOT.to_owned();
            for name in names {
                at = format!("{at}\\{name}");
                add(&mut facts, &at, ObjectKind::Directory, directory);
            }
            let top = facts.roots[0].anchors[0].names.clone();
            for fact in &top {
                let kind = match entry {
                    Entry::Directory => ObjectKind::Directory,
                    Entry::File => ObjectKind::File,
                    _ => continue,
                };
                add(&mut facts, &format!("{at}\\{}", fact.name), kind, inside);
            }
            let names = top.into_iter().map(|fact| NameFact {
                entry: entry.clone(),
                ..fact
            });
            let anchor = ringfence_plan::layout::Anchor {
                path: path(&at),
                names: names.collect(),
                git: None,
            };
            let anchors = &mut facts.roots[0].anchors;
            if !anchors.iter().any(|one| one.path == anchor.path) {
                anchors.push(anchor);
            }
        }
        (facts, ledger)
    })
}

fn set(facts: &mut WindowsFacts, at: &str, sddl: Option<&str>) {
    let fact = facts
        .objects
        .iter_mut()
        .find(|one| one.object.path == path(at))
        .expect("the object");
    if let (Some(sddl), Some(descriptor)) = (sddl, &mut fact.descriptor) {
        let given = SecurityDescriptor::from_sddl(sddl).expect("SDDL");
        let owner = given.owner.or(descriptor.owner);
        *descriptor = SecurityDescriptor {
            owner,
            group: descriptor.group,
            ..given
        };
    }
}

fn add(facts: &mut WindowsFacts, at: &str, kind: ObjectKind, sddl: Option<&str>) {
    let at = path(at);
    if facts.objects.iter().any(|one| one.object.path == at) {
        return;
    }
    let above = at.parent().expect("a parent");
    let model = facts
        .objects
        .iter()
        .find(|one| one.object.path == above)
        .expect("the parent")
        .clone();
    let mut id = model.object.id;
    id.file = 0xabc0_0000 + facts.objects.len() as u128;
    facts.objects.push(ObjectFact {
        object: Object {
            path: at.clone(),
            id,
            kind,
        },
        ..model
    });
    set(facts, &at.to_string(), sddl);
}

/// What targets of `plan` get on a file, from its descriptor.
fn granted(
    plan: &WindowsPlan,
    facts: &WindowsFacts,
    descriptor: &SecurityDescriptor,
) -> AccessMask {
    let accounts = plan.accounts.sids().expect("accounts");
    let [offline, _] = reach::account_tokens(&accounts);
    let launch = plan.launch.as_ref().expect("a boundary");
    let session = Sid::new(0, &[1, 2, 3]).expect("a SID");
    let token = launch.token.target(&offline, session, Sid::LOCAL);
    let class = facts.write_class.unwrap_or(WriteClass::H2);
    access_check(
        descriptor,
        &token,
        AccessMask::MAXIMUM_ALLOWED,
        &GenericMapping::FILE,
        class,
    )
    .granted()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_input_gives_the_same_plan((facts, ledger) in hosts()) {
        let policy = policy(POLICY, &facts);
        let first = plan(&policy, &facts, &ledger).expect("a plan");
        let mut turned = facts.clone();
        turned.objects.reverse();
        turned.roots[0].anchors[1..].reverse();
        let second = plan(&policy, &turned, &ledger).expect("a plan");
        prop_assert_eq!(first.render_text(), plan(&policy, &facts, &ledger).expect("a plan").render_text());
        prop_assert_eq!(&first.held, &second.held);
        prop_assert_eq!(&first.person_steps, &second.person_steps);
        let json = serde_json::to_string(&first).expect("json");
        prop_assert_eq!(serde_json::from_str::<WindowsPlan>(&json).expect("a plan").hash(), first.hash());
    }

    #[test]
    fn carried_out_twice_is_carried_out_once((mut facts, ledger) in hosts(), git in "read-only|commit|full") {
        let policy = policy(&format!("{POLICY}git = \"{git}\"\n"), &facts);
        let first = plan(&policy, &facts, &ledger).expect("a plan");
        carry_out(&mut facts, &first);
        let second = plan(&policy, &facts, &ledger).expect("a plan");
        prop_assert!(second.person_steps.is_empty(), "{}", second.render_text());
        prop_assert_eq!(&second.held.len(), &first.held.len());
    }

    #[test]
    fn the_planners_own_plans_have_no_finding((facts, ledger) in hosts(), git in "read-only|commit|full") {
        let plan = plan(&policy(&format!("{POLICY}git = \"{git}\"\n"), &facts), &facts, &ledger).expect("a plan");
        prop_assert_eq!(lint(&plan, &facts), Vec::new());
    }

    #[test]
    fn targets_write_no_protected_path_and_read_no_secret((mut facts, ledger) in hosts()) {
        let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
        carry_out(&mut facts, &plan);
        for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
            facts.write_class = Some(class);
            for held in &plan.held {
                let got = granted(&plan, &facts, &held.descriptor);
                let refused = match held.purpose {
                    Purpose::Protected => AccessMask(0xd_0156),
                    Purpose::Root | Purpose::Between => AccessMask(0xd_0040),
                    Purpose::Secret | Purpose::DeniedRead => AccessMask(0x29),
                    _ => AccessMask(0xd_0000),
                };
                prop_assert!(!got.intersects(refused), "{} {:?}: {got}", held.object.path, held.purpose);
            }
            let root = plan.held_at(&path(ROOT)).expect("the root");
            prop_assert!(granted(&plan, &facts, &root.descriptor).contains(AccessMask(0x1201bf)), "the control: a root is written");
        }
    }

    #[test]
    fn narrowing_never_adds_access((facts, ledger) in hosts(), narrow in "mode = \"read-only\"\n|\\[filesystem\\]\nprotected = \\[\"src\"\\]\n") {
        let text = format!("{POLICY}git = \"full\"\n");
        let mut wide_facts = facts.clone();
        let wide = plan(&policy(&text, &facts), &facts, &ledger).expect("a plan");
        carry_out(&mut wide_facts, &wide);
        let narrow = match narrow.strip_prefix("mode") {
            Some(_) => format!("{narrow}{text}"),
            None => format!("{POLICY}protected = []\ngit = \"read-only\"\n"),
        };
        let mut narrow_facts = facts.clone();
        let narrow = plan(&policy(&narrow, &facts), &facts, &ledger).expect("a plan");
        carry_out(&mut narrow_facts, &narrow);
        for (before, after) in wide_facts.objects.iter().zip(&narrow_facts.objects) {
            prop_assert_eq!(&before.object.path, &after.object.path);
            let (Some(before), Some(descriptor)) = (&before.descriptor, &after.descriptor) else { continue };
            let added = granted(&narrow, &facts, descriptor) - granted(&wide, &facts, before);
            prop_assert!(added.is_empty(), "{} {added}", after.object.path);
        }
    }

    #[test]
    fn text_from_the_host_never_starts_a_line((facts, ledger) in hosts()) {
        let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
        for line in plan.render_text().lines() {
            let known = line.is_empty()
                || line.starts_with(' ')
                || ["plan ", "level ", "missing ", "note ", "names", "machine steps", "steps with", "held", "watched", "launch", "environment"]
                    .iter()
                    .any(|start| line.starts_with(start));
            prop_assert!(known, "{:?}", line);
        }
    }
}

#[test]
fn in_steady_state_there_is_no_step() {
    let (mut facts, ledger) = ready();
    let policy = policy(POLICY, &facts);
    let first = plan(&policy, &facts, &ledger).expect("a plan");
    assert!(first.machine_steps.is_empty());
    assert!(!first.person_steps.is_empty());
    carry_out(&mut facts, &first);
    let second = plan(&policy, &facts, &ledger).expect("a plan");
    assert!(second.machine_steps.is_empty() && second.person_steps.is_empty());
}

#[test]
fn entries_of_an_earlier_plan_go() {
    let (mut facts, ledger) = ready();
    let first = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    carry_out(&mut facts, &first);
    let agents = path(&format!("{ROOT}\\AGENTS.md"));
    assert!(first.held_at(&agents).is_some());
    let wider = policy(&format!("{POLICY}unprotected = [\"AGENTS.md\"]\n"), &facts);
    let second = plan(&wider, &facts, &ledger).expect("a plan");
    assert_eq!(second.person_steps.len(), 1, "{}", second.render_text());
    carry_out(&mut facts, &second);
    let fact = facts
        .objects
        .iter()
        .find(|one| one.object.path == agents)
        .expect("the file");
    let descriptor = fact.descriptor.as_ref().expect("a descriptor");
    assert!(granted(&second, &facts, descriptor).contains(AccessMask::FILE_WRITE_DATA));
    assert!(
        plan(&wider, &facts, &ledger)
            .expect("a plan")
            .person_steps
            .is_empty()
    );
}

#[test]
fn a_root_has_one_file_policy_while_a_session_lives() {
    let (mut facts, ledger) = ready();
    let first = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let live = ringfence_plan::windows::facts::LiveRoot {
        root: first.roots[0].object.id,
        policy: first.roots[0].policy.clone(),
    };
    facts
        .sessions
        .push(ringfence_plan::windows::facts::LiveSession {
            id: "s1".to_owned(),
            roots: vec![live],
        });
    assert!(plan(&policy(POLICY, &facts), &facts, &ledger).is_ok());
    let other = policy(&format!("{POLICY}git = \"commit\"\n"), &facts);
    assert!(matches!(
        plan(&other, &facts, &ledger),
        Err(PlanError::RootInUse { .. })
    ));
}

#[test]
fn the_first_hypothesis_is_refused() {
    let (mut facts, ledger) = ready();
    facts.write_class = Some(WriteClass::H1);
    assert_eq!(
        plan(&policy(POLICY, &facts), &facts, &ledger),
        Err(PlanError::WriteClass)
    );
    let same_user = format!("{POLICY}[windows]\nsandbox = \"unelevated\"\n");
    facts.write_class = Some(WriteClass::H4);
    assert_eq!(
        plan(&policy(&same_user, &facts), &facts, &ledger),
        Err(PlanError::WriteClass)
    );
    facts.write_class = None;
    assert_eq!(
        plan(&policy(&same_user, &facts), &facts, &ledger),
        Err(PlanError::NotMeasured)
    );
}

/// Each mutation of a good plan is found, by the rule that is there for it.
#[test]
fn the_lint_finds_each_mutation() {
    let (facts, ledger) = ready();
    let good = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    assert_eq!(lint(&good, &facts), Vec::new());
    let root = path(ROOT);
    let git = path(&format!("{ROOT}\\.git"));
    type Mutation = (&'static str, LintRule, Box<dyn Fn(&mut WindowsPlan)>);
    let on = |at: &WindowsPath, change: fn(&mut Vec<Ace>)| -> Box<dyn Fn(&mut WindowsPlan)> {
        let at = at.clone();
        Box::new(move |plan| {
            for held in plan.held.iter_mut().filter(|held| held.object.path == at) {
                let mut aces = held.descriptor.acl().expect("a list").aces.clone();
                change(&mut aces);
                held.descriptor.dacl = ringfence_nt::Dacl::Present(Acl::new(aces));
            }
        })
    };
    let mut mutations: Vec<Mutation> = vec![
        (
            "grant DELETE_CHILD",
            LintRule::DeleteChildGranted,
            on(&root, |aces| {
                aces.iter_mut()
                    .filter(|ace| ace.mask.0 == 0x1301bf)
                    .for_each(|ace| ace.mask.0 |= 0x40);
            }),
        ),
        (
            "grant WRITE_DAC",
            LintRule::PermissionsGranted,
            on(&root, |aces| {
                aces.iter_mut()
                    .filter(|ace| ace.mask.0 == 0x1301bf)
                    .for_each(|ace| ace.mask.0 |= 0x4_0000);
            }),
        ),
        (
            "widen OWNER RIGHTS of what an account owns",
            LintRule::PermissionsGranted,
            Box::new(|plan| {
                let offline = plan.accounts.sids().expect("accounts").offline;
                let root = path(ROOT);
                for held in plan.held.iter_mut().filter(|held| held.object.path == root) {
                    held.descriptor.owner = Some(offline);
                    let mut aces = held.descriptor.acl().expect("a list").aces.clone();
                    let owner = aces.iter_mut().filter(|ace| ace.sid == Sid::OWNER_RIGHTS);
                    owner.for_each(|ace| ace.mask = ace.mask | AccessMask::WRITE_DAC);
                    held.descriptor.dacl = ringfence_nt::Dacl::Present(Acl::new(aces));
                }
            }),
        ),
        (
            "drop the group's deny",
            LintRule::DenyUnnamed,
            on(&git, |aces| drop(aces.remove(0))),
        ),
        (
            "swap the order",
            LintRule::OrderNotCanonical,
            on(&root, |aces| aces.swap(1, 2)),
        ),
        (
            "forget what lies between",
            LintRule::BetweenMissing,
            Box::new(|plan| {
                plan.held
                    .retain(|held| held.object.path != path(&format!("{ROOT}\\vendor")));
            }),
        ),
        (
            "let Users read a secret",
            LintRule::SecretReadable,
            on(&path(&format!("{ROOT}\\.env")), |aces| {
                aces.push(Ace::allow(AceFlags::NONE, AccessMask(0x1), Sid::USERS));
            }),
        ),
        (
            "inherit above a root",
            LintRule::InheritedAboveRoot,
            on(&path("C:\\Users\\ann\\src"), |aces| {
                aces[0].flags = AceFlags::INHERIT_ALL;
            }),
        ),
        (
            "inherit on the profile",
            LintRule::RefusedPlace,
            on(&path("C:\\Users\\ann"), |aces| {
                aces[0].flags = AceFlags::INHERIT_ALL;
            }),
        ),
        (
            "Everyone in the second pass",
            LintRule::TokenTooWide,
            Box::new(|plan| {
                plan.launch.as_mut().expect("a launch").token.restricting[0].sid = Sid::EVERYONE;
            }),
        ),
    ];
    for bit in AccessMask(0xd_0156).bits() {
        let git = git.clone();
        mutations.push((
            "drop a bit of the deny",
            LintRule::DenyIncomplete,
            Box::new(move |plan| {
                for held in plan.held.iter_mut().filter(|held| held.object.path == git) {
                    let mut aces = held.descriptor.acl().expect("a list").aces.clone();
                    aces[0].mask = aces[0].mask - bit;
                    held.descriptor.dacl = ringfence_nt::Dacl::Present(Acl::new(aces));
                }
            }),
        ));
    }
    for (name, rule, mutate) in mutations {
        let mut plan = good.clone();
        mutate(&mut plan);
        assert_ne!(plan, good, "{name}: nothing was changed");
        let found = lint(&plan, &facts);
        assert!(
            found.iter().any(|one| one.rule == rule),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn what_the_accounts_reach_without_us_is_computed() {
    let (facts, ledger) = ready();
    let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let accounts = plan.accounts.sids().expect("accounts");
    let [offline, _] = reach::account_tokens(&accounts);
    let notes = facts
        .objects
        .iter()
        .find(|one| one.object.path == path("D:\\notes"))
        .expect("notes");
    let before = maximum_of_pass(
        notes.descriptor.as_ref().expect("a list"),
        &offline,
        Pass::Normal,
        &GenericMapping::FILE,
    );
    assert!(
        before.contains(AccessMask::FILE_READ_DATA),
        "the control: it was readable"
    );
    let held = plan.held_at(&path("D:\\notes")).expect("held");
    let after = maximum_of_pass(
        &held.descriptor,
        &offline,
        Pass::Normal,
        &GenericMapping::FILE,
    );
    assert!(!after.intersects(AccessMask(0x29)));
    assert!(
        plan.held_at(&path("C:\\Users\\ann\\.ssh")).is_none(),
        "what is not reachable is left alone"
    );
}
