//! The machine's part, two people on it, and how commands start.

use ringfence_nt::{AccessMask, Sid, WriteClass};
use ringfence_plan::windows::facts::{ExcludedBy, ExcludedPorts, FirewallPolicy, Marker};
use ringfence_plan::windows::launch::{Network, WriteClassRule};
use ringfence_plan::windows::step::{
    Condition, FilterAction, Layer, MachineStep, PersonStep, PortRange,
};
use ringfence_plan::windows::{PlanError, WindowsPlan, plan, plan_uninstall};

use crate::world::{POLICY, path, policy, ready, set, stored};

fn first() -> WindowsPlan {
    let (facts, ledger) = stored();
    plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan")
}

pub(crate) fn filters(plan: &WindowsPlan) -> Vec<ringfence_plan::windows::step::Filter> {
    let found = plan.machine_steps.iter().find_map(|step| match step {
        MachineStep::InstallFilters { filters } => Some(filters.clone()),
        _ => None,
    });
    found.expect("filters")
}

fn ports(plan: &WindowsPlan) -> PortRange {
    let found = plan.machine_steps.iter().find_map(|step| match step {
        MachineStep::ReservePorts { ports } => Some(*ports),
        _ => None,
    });
    found.expect("ports")
}

#[test]
fn a_finished_set_up_is_not_repeated_and_an_unfinished_one_is() {
    let (mut facts, ledger) = ready();
    let policy = policy(POLICY, &facts);
    assert!(
        plan(&policy, &facts, &ledger)
            .expect("a plan")
            .machine_steps
            .is_empty()
    );
    let record = facts.installed.record.as_mut().expect("a record");
    record.marker = Marker::Missing;
    assert!(
        !plan(&policy, &facts, &ledger)
            .expect("a plan")
            .machine_steps
            .is_empty()
    );
    let record = facts.installed.record.as_mut().expect("a record");
    record.marker = Marker::Present;
    record.person = Sid::SYSTEM;
    assert!(
        !plan(&policy, &facts, &ledger)
            .expect("a plan")
            .machine_steps
            .is_empty()
    );
}

#[test]
fn two_people_share_nothing() {
    let (facts, ledger) = stored();
    let mut other = facts.clone();
    other.person.sid = facts.machine.sid.child(1002).expect("a SID");
    // The other person works in a directory that both may change.
    let anyone = "D:(A;OICI;0x1f01ff;;;BU)";
    for at in [
        "C:\\Users\\ann\\src\\app",
        "D:\\scratch",
        "D:\\notes",
        "C:\\Users\\ann\\src\\app\\vendor",
        "C:\\Users\\ann\\src\\app\\vendor\\lib",
        "C:\\Users\\ann\\src\\app\\vendor\\lib\\.git",
        "C:\\Users\\ann\\src\\app\\.git",
        "C:\\Users\\ann\\src\\app\\.vscode",
        "C:\\Users\\ann\\src\\app\\.env",
        "C:\\Users\\ann\\src\\app\\AGENTS.md",
    ] {
        set(&mut other, at, Some(anyone));
    }
    let one = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let two = plan(&policy(POLICY, &other), &other, &ledger).expect("a plan");
    assert_ne!(one.marker, two.marker);
    let keys = |plan: &WindowsPlan| filters(plan).iter().map(|one| one.key).collect::<Vec<_>>();
    assert!(keys(&one).iter().all(|key| !keys(&two).contains(key)));
    let names = |plan: &WindowsPlan| -> Vec<String> {
        plan.machine_steps
            .iter()
            .filter_map(|step| match step {
                MachineStep::EnsureGroup { name, .. } | MachineStep::EnsureAccount { name, .. } => {
                    Some(name.clone())
                }
                _ => None,
            })
            .collect()
    };
    assert_eq!(names(&one).len(), 3);
    assert!(
        names(&one)
            .iter()
            .all(|name| name.len() <= 20 && !names(&two).contains(name))
    );
}

#[test]
fn the_offline_account_reaches_the_proxy_and_dynamic_loopback_alone() {
    let found = filters(&first());
    let of = |layer: Layer, action: FilterAction| -> Vec<_> {
        found
            .iter()
            .filter(|one| one.layer == layer && one.action == action)
            .collect()
    };
    for layer in [Layer::ConnectV4, Layer::ConnectV6] {
        assert_eq!(
            (
                of(layer, FilterAction::Permit).len(),
                of(layer, FilterAction::Block).len()
            ),
            (2, 1)
        );
        for permit in of(layer, FilterAction::Permit) {
            // The proxy by TCP, programs that connect to themselves by whatever they like.
            let to_proxy = permit.name.contains("proxy");
            assert!(permit.conditions.contains(&Condition::Loopback));
            assert_eq!(permit.conditions.contains(&Condition::Tcp), to_proxy);
        }
    }
    for layer in [Layer::AcceptV4, Layer::AcceptV6] {
        assert_eq!(
            (
                of(layer, FilterAction::Permit).len(),
                of(layer, FilterAction::Block).len()
            ),
            (1, 1)
        );
    }
    for layer in [Layer::AssignmentV4, Layer::AssignmentV6] {
        // Every bind passes this layer, also the implicit one of a connect: only these endpoints are blocked.
        let blocks = of(layer, FilterAction::Block);
        for endpoint in [Condition::RawEndpoint, Condition::Promiscuous] {
            let naming = blocks
                .iter()
                .filter(|one| one.conditions.contains(&endpoint));
            assert_eq!(naming.count(), 1, "{layer:?} {endpoint:?}");
        }
        assert_eq!(blocks.len(), 2);
    }
    let (facts, ledger) = stored();
    let narrow = policy(
        &format!("{POLICY}[windows]\nloopback = \"proxy-only\"\n"),
        &facts,
    );
    let narrow = plan(&narrow, &facts, &ledger).expect("a plan");
    assert_eq!(filters(&narrow).len(), found.len() - 2);
    assert_eq!(narrow.launch.expect("a launch").network, Network::ProxyOnly);
}

#[test]
fn ports_that_somebody_holds_are_passed_over() {
    let (mut facts, ledger) = stored();
    assert_eq!(
        ports(&first()),
        PortRange {
            first: 20_000,
            last: 20_031
        }
    );
    let excluded = |first, last| ExcludedPorts {
        range: PortRange { first, last },
        by: ExcludedBy::Service,
    };
    facts.ports.excluded = vec![excluded(19_990, 20_000), excluded(20_060, 20_070)];
    let policy = policy(POLICY, &facts);
    assert_eq!(
        ports(&plan(&policy, &facts, &ledger).expect("a plan")).first,
        20_096
    );
    facts.ports.excluded = vec![excluded(1, 65_535)];
    assert_eq!(
        plan(&policy, &facts, &ledger),
        Err(PlanError::NoPorts { count: 32 })
    );
}

#[test]
fn a_firewall_that_ignores_local_rules_is_a_refusal_but_not_for_same_user_mode() {
    let (mut facts, ledger) = stored();
    facts.firewall = FirewallPolicy::GroupPolicy;
    assert_eq!(
        plan(&policy(POLICY, &facts), &facts, &ledger),
        Err(PlanError::FirewallOverridden)
    );
    let same_user = policy(
        &format!("{POLICY}[windows]\nsandbox = \"unelevated\"\n"),
        &facts,
    );
    let plan = plan(&same_user, &facts, &ledger).expect("a plan");
    let launch = plan.launch.as_ref().expect("a launch");
    assert_eq!(
        (launch.network, launch.write_class),
        (Network::Advisory, WriteClassRule::SameUser)
    );
    let missing: Vec<_> = plan.missing.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(missing, ["network: advisory, secrets: readable"]);
    assert!(plan.machine_steps.is_empty() && launch.runner.is_none());
    // Nothing of it names an account that is not there, and nothing outside the roots is touched.
    assert!(plan.held.iter().all(|held| held.root.is_some()));
}

#[test]
fn a_drive_root_that_lets_everybody_delete_needs_more_of_the_second_pass() {
    let (mut facts, ledger) = ready();
    set(&mut facts, "D:\\", Some("O:BAD:(A;OICI;0x1f01ff;;;WD)"));
    let policy = policy(POLICY, &facts);
    let plan_under = |class, facts: &mut ringfence_plan::windows::facts::WindowsFacts| {
        facts.write_class = class;
        plan(&policy, facts, &ledger)
    };
    let held = plan_under(Some(WriteClass::H2), &mut facts).expect("a plan");
    assert_eq!(
        held.launch.expect("a launch").write_class,
        WriteClassRule::SameUser
    );
    assert_eq!(
        plan_under(Some(WriteClass::H4), &mut facts),
        Err(PlanError::WriteClass)
    );
    assert!(
        held.held
            .iter()
            .all(|held| held.object.path != path("D:\\")),
        "never an entry on a drive's root"
    );
}

#[test]
fn a_read_only_session_writes_its_home_and_nothing_else() {
    let (facts, ledger) = ready();
    let plan = plan(
        &policy(&format!("mode = \"read-only\"\n{POLICY}"), &facts),
        &facts,
        &ledger,
    )
    .expect("a plan");
    let launch = plan.launch.as_ref().expect("a launch");
    let restricting: Vec<Sid> = launch.token.restricting.iter().map(|one| one.sid).collect();
    assert!(
        plan.roots
            .iter()
            .all(|root| !restricting.contains(&root.capability))
    );
    let home = &plan.roots[0];
    assert!(restricting.contains(&home.home_sid));
    let made = plan.person_steps.iter().find_map(|step| match step {
        PersonStep::MakeHome { path, descriptor } if *path == home.home => Some(descriptor),
        _ => None,
    });
    let got = crate::world::granted(&plan, &facts, made.expect("a home"));
    assert!(
        got.contains(AccessMask::FILE_WRITE_DATA) && !got.intersects(AccessMask(0xd_0040)),
        "{got}"
    );
    let root = plan.held_at(&home.object.path).expect("the root");
    assert!(
        !crate::world::granted(&plan, &facts, &root.descriptor).intersects(AccessMask(0xd_0156))
    );
}

#[test]
fn uninstalling_takes_the_steps_back_the_last_one_first() {
    let (facts, mut ledger) = ready();
    let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    ledger.person.clone_from(&plan.person_steps);
    let inverses = plan_uninstall(&ledger);
    let expected: Vec<_> = plan
        .person_steps
        .iter()
        .rev()
        .map(PersonStep::inverse)
        .collect();
    assert_eq!(inverses, expected);
    assert!(!inverses.is_empty());
}
