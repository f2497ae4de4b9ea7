//! Hosts to plan for, and what an executor makes of them.

use std::collections::HashMap;

use proptest::prelude::*;
use ringfence_nt::{AccessMask, GenericMapping, SecurityDescriptor, Sid, WriteClass, access_check};
use ringfence_plan::HostFacts;
use ringfence_plan::layout::{Anchor, Entry, NameFact};
use ringfence_plan::windows::facts::{
    Installed, LocalAccount, Marker, ObjectFact, Record, WindowsFacts,
};
use ringfence_plan::windows::step::{Object, ObjectKind, PersonStep, PortRange, Purpose};
use ringfence_plan::windows::walk::{Names, Visited, WalkRule};
use ringfence_plan::windows::{WindowsLedger, WindowsPath, WindowsPlan, plan, reach};
use ringfence_policy::Policy;
use ringfence_policy::layers::{Layer, LayerKind, Trust, resolve};

pub(crate) fn stored() -> (WindowsFacts, WindowsLedger) {
    let facts = include_str!("../../../../tests/golden/cases/windows-plain/facts.json");
    let ledger = include_str!("../../../../tests/golden/cases/windows-plain/ledger.json");
    match serde_json::from_str(facts).expect("facts") {
        HostFacts::Windows(facts) => (facts, serde_json::from_str(ledger).expect("a ledger")),
        HostFacts::Linux(_) => panic!("the case is a Windows machine"),
    }
}

pub(crate) const POLICY: &str =
    "[filesystem]\nwritable_roots = ['D:\\scratch']\ndeny_read = ['D:\\notes']\n";

pub(crate) fn policy(text: &str, facts: &WindowsFacts) -> Policy {
    let layer = Layer::from_file(
        LayerKind::User,
        "policy.toml",
        text.as_bytes(),
        Trust::Untrusted,
    );
    let context = facts.policy_context().expect("a workspace");
    resolve(&[layer.expect("a policy file")], &context).expect("a policy")
}

pub(crate) fn path(text: &str) -> WindowsPath {
    WindowsPath::observed(text).expect("a path")
}

pub(crate) const ROOT: &str = "C:\\Users\\ann\\src\\app";

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
pub(crate) fn ready() -> (WindowsFacts, WindowsLedger) {
    let (facts, ledger) = stored();
    let first = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    (installed(facts, &first.machine_hash), ledger)
}

/// What the executor makes of the machine: descriptors and homes, and a walk by the planner's rule over every object
/// of the facts that lies below.
pub(crate) fn carry_out(facts: &mut WindowsFacts, plan: &WindowsPlan) {
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
pub(crate) fn hosts() -> impl Strategy<Value = (WindowsFacts, WindowsLedger)> {
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
            let anchor = Anchor {
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

pub(crate) fn set(facts: &mut WindowsFacts, at: &str, sddl: Option<&str>) {
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

pub(crate) fn add(facts: &mut WindowsFacts, at: &str, kind: ObjectKind, sddl: Option<&str>) {
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
pub(crate) fn granted(
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
