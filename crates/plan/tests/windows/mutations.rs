//! Each mutation of a good plan is found, by the rule that is there for it.

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Acl, Dacl, SecurityDescriptor, Sid};
use ringfence_plan::windows::launch::RunnerHardening;
use ringfence_plan::windows::lint::{LintRule, lint};
use ringfence_plan::windows::sids::Placeholder;
use ringfence_plan::windows::step::{AceTemplate, Condition, MachineStep, PersonStep, Trustee};
use ringfence_plan::windows::{WindowsPath, WindowsPlan, plan};

use crate::world::{POLICY, ROOT, path, policy, ready, stored};

/// The plan of the stored machine after set-up, which has nothing to find, and what is found in it once `change` has
/// been at it.
fn found(change: impl Fn(&mut WindowsPlan)) -> Vec<LintRule> {
    let (facts, ledger) = ready();
    let good = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    assert_eq!(lint(&good, &facts), Vec::new());
    let mut changed = good.clone();
    change(&mut changed);
    assert_ne!(changed, good, "nothing was changed");
    lint(&changed, &facts)
        .into_iter()
        .map(|one| one.rule)
        .collect()
}

/// Changes the list of one held object.
fn on<'a>(
    at: &'a WindowsPath,
    change: impl Fn(&mut Vec<Ace>) + 'a,
) -> impl Fn(&mut WindowsPlan) + 'a {
    move |plan| {
        let held = plan
            .held
            .iter_mut()
            .find(|held| held.object.path == *at)
            .expect("held");
        let mut aces = held.descriptor.acl().expect("a list").aces.clone();
        change(&mut aces);
        held.descriptor.dacl = Dacl::Present(Acl::new(aces));
    }
}

fn below(name: &str) -> WindowsPath {
    path(&format!("{ROOT}\\{name}"))
}

/// Changes what one step sets.
fn in_step(at: &WindowsPath, change: impl Fn(&mut SecurityDescriptor)) -> Vec<LintRule> {
    found(|plan| {
        let after = plan.person_steps.iter_mut().find_map(|step| match step {
            PersonStep::SetDacl { object, after, .. } if object.path == *at => Some(after),
            _ => None,
        });
        change(after.expect("a step"));
    })
}

fn add_to(descriptor: &mut SecurityDescriptor, ace: Ace) {
    if let Dacl::Present(acl) = &mut descriptor.dacl {
        acl.aces.insert(0, ace);
    }
}

/// A plan that breaks the rule, as the linter sees it, and the rule after this one: a rule without a plan that breaks
/// it does not compile.
fn broken(rule: LintRule) -> (Vec<LintRule>, Option<LintRule>) {
    let allow = |mask, sid| Ace::allow(AceFlags::NONE, mask, sid);
    match rule {
        LintRule::DeleteChildGranted => (
            widened(AccessMask::FILE_DELETE_CHILD),
            Some(LintRule::PermissionsGranted),
        ),
        LintRule::PermissionsGranted => (owner_may_too_much(), Some(LintRule::ForeignGrant)),
        LintRule::ForeignGrant => (
            in_step(&below(".git"), |after| {
                add_to(after, allow(AccessMask::DELETE, Sid::EVERYONE));
            }),
            Some(LintRule::DenyIncomplete),
        ),
        LintRule::DenyIncomplete => (
            found(on(&below(".git"), |aces| {
                aces[0].mask |= AccessMask::SYNCHRONIZE;
            })),
            Some(LintRule::DenyUnnamed),
        ),
        LintRule::DenyUnnamed => (
            found(on(&below(".git"), |aces| {
                aces.remove(0);
            })),
            Some(LintRule::RefusedPlace),
        ),
        LintRule::RefusedPlace => (
            inherited_at("C:\\Users\\ann"),
            Some(LintRule::InheritedAboveRoot),
        ),
        LintRule::InheritedAboveRoot => (
            inherited_at("C:\\Users\\ann\\src"),
            Some(LintRule::OrderNotCanonical),
        ),
        LintRule::OrderNotCanonical => (
            found(on(&path(ROOT), |aces| aces.swap(1, 2))),
            Some(LintRule::BetweenMissing),
        ),
        LintRule::BetweenMissing => (
            found(|plan| plan.held.retain(|held| held.object.path != below("vendor"))),
            Some(LintRule::SecretReadable),
        ),
        LintRule::SecretReadable => (
            found(on(&below(".env"), |aces| {
                aces.push(allow(AccessMask::FILE_READ_DATA, Sid::USERS));
            })),
            Some(LintRule::NotInvertible),
        ),
        LintRule::NotInvertible => (
            in_step(&below(".git"), |after| after.owner = Some(Sid::SYSTEM)),
            Some(LintRule::PlaceholderWritten),
        ),
        LintRule::PlaceholderWritten => (
            in_step(&below(".git"), |after| {
                let group = Placeholder::Group.sid();
                add_to(after, Ace::deny(AceFlags::NONE, AccessMask::DELETE, group));
            }),
            Some(LintRule::FilterUnbound),
        ),
        LintRule::FilterUnbound => (anybodys_filter(), Some(LintRule::TokenTooWide)),
        LintRule::TokenTooWide => (
            token(|token| token.restricting[0].sid = Sid::EVERYONE),
            Some(LintRule::RunnerOpen),
        ),
        LintRule::RunnerOpen => (open_runner(), Some(LintRule::SessionOpen)),
        LintRule::SessionOpen => (
            launched(|launch| {
                let open = allow(AccessMask::GENERIC_ALL, Sid::EVERYONE);
                add_to(&mut launch.desktop, open);
            }),
            Some(LintRule::MachineOpen),
        ),
        LintRule::MachineOpen => (
            machine(&|aces| aces.retain(|ace| ace.kind == AceKind::Allow)),
            None,
        ),
    }
}

#[test]
fn every_rule_is_broken_by_a_plan() {
    let mut next = Some(LintRule::DeleteChildGranted);
    let mut seen = Vec::new();
    while let Some(rule) = next {
        let (found, after) = broken(rule);
        assert!(found.contains(&rule), "{rule:?} is not found: {found:?}");
        assert!(!seen.contains(&rule), "{rule:?} comes twice");
        seen.push(rule);
        next = after;
    }
    assert_eq!(seen.len(), 17, "{seen:?}");
}

fn is_write(ace: &&mut Ace) -> bool {
    ace.mask == AccessMask::FILE_MODIFY
}

/// The root grants more.
fn widened(with: AccessMask) -> Vec<LintRule> {
    found(on(&path(ROOT), move |aces| {
        aces.iter_mut()
            .filter(is_write)
            .for_each(|ace| ace.mask |= with);
    }))
}

/// The account owns the root, and OWNER RIGHTS gives more than it should.
fn owner_may_too_much() -> Vec<LintRule> {
    found(|plan| {
        let offline = plan.accounts.sids().expect("accounts").offline;
        let root = plan
            .held
            .iter_mut()
            .find(|held| held.object.path == path(ROOT))
            .expect("held");
        root.descriptor.owner = Some(offline);
        on(&path(ROOT), |aces| {
            let owner = aces.iter_mut().filter(|ace| ace.sid == Sid::OWNER_RIGHTS);
            owner.for_each(|ace| ace.mask |= AccessMask::WRITE_DAC);
        })(plan);
    })
}

/// What must stay where it stands is inherited.
fn inherited_at(at: &str) -> Vec<LintRule> {
    found(on(&path(at), |aces| aces[1].flags = AceFlags::INHERIT_ALL))
}

fn token(change: fn(&mut ringfence_plan::windows::launch::TokenSpec)) -> Vec<LintRule> {
    found(move |plan| change(&mut plan.launch.as_mut().expect("a launch").token))
}

fn launched(change: impl Fn(&mut ringfence_plan::windows::launch::LaunchSpec)) -> Vec<LintRule> {
    found(move |plan| change(plan.launch.as_mut().expect("a launch")))
}

/// What separates sessions: each object gives the accounts no more than a launch needs, and nobody else anything.
#[test]
fn an_object_of_a_session_that_gives_too_much_is_found() {
    type Object = fn(&mut ringfence_plan::windows::launch::LaunchSpec) -> &mut SecurityDescriptor;
    let objects: [Object; 4] = [
        |launch| &mut launch.station,
        |launch| &mut launch.desktop,
        |launch| &mut launch.token.descriptor,
        |launch| &mut launch.pipe.as_mut().expect("a pipe").descriptor,
    ];
    let (facts, ledger) = ready();
    let group = plan(&policy(POLICY, &facts), &facts, &ledger)
        .expect("a plan")
        .accounts
        .sids()
        .expect("accounts")
        .group;
    let too_much = |sid| Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, sid);
    for object in objects {
        for sid in [group, Sid::EVERYONE, Sid::USERS, Sid::OWNER_RIGHTS] {
            let rules = launched(|launch| {
                let own = object(launch);
                if let Dacl::Present(acl) = &mut own.dacl {
                    acl.aces.push(too_much(sid));
                }
            });
            assert!(rules.contains(&LintRule::SessionOpen), "{sid}");
        }
        let unlisted = launched(|launch| object(launch).dacl = Dacl::Null);
        assert!(unlisted.contains(&LintRule::SessionOpen));
        let inheriting = launched(|launch| {
            object(launch).control = ringfence_nt::Control::default();
        });
        assert!(inheriting.contains(&LintRule::SessionOpen));
    }
    let unmarked = launched(|launch| {
        let pipe = launch.pipe.as_mut().expect("a pipe");
        if let Dacl::Present(acl) = &mut pipe.descriptor.dacl {
            acl.aces.retain(|ace| ace.kind == AceKind::Allow);
        }
    });
    assert!(unmarked.contains(&LintRule::SessionOpen));
}

/// What is found in the plan of a machine before set-up, once `change` has been at its steps.
fn machine_steps(change: impl Fn(&mut Vec<MachineStep>)) -> Vec<LintRule> {
    let (facts, ledger) = stored();
    let whole = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    assert_eq!(lint(&whole, &facts), Vec::new());
    let mut changed = whole.clone();
    change(&mut changed.machine_steps);
    assert_ne!(changed, whole, "nothing was changed");
    let found = lint(&changed, &facts);
    found.into_iter().map(|one| one.rule).collect()
}

/// Each kind of machine step has a change by which undoing it would take what is not ours, or leave what is.
#[test]
fn a_machine_step_that_can_not_be_undone_is_found() {
    let (facts, ledger) = stored();
    let whole = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let mut kinds = std::collections::BTreeSet::new();
    for (index, step) in whole.machine_steps.iter().enumerate() {
        kinds.insert(format!("{:?}", std::mem::discriminant(step)));
        // Done twice, the second receipt says that the first one's work was there before.
        let twice = machine_steps(|steps| steps.insert(index, step.clone()));
        assert!(twice.contains(&LintRule::NotInvertible), "{step:?}");
        let spoilt = match step.clone() {
            MachineStep::MakeDirectory { descriptor, .. } => MachineStep::MakeDirectory {
                path: path("C:\\ProgramData\\Other"),
                descriptor,
            },
            MachineStep::SetValue {
                name,
                value,
                descriptor,
                ..
            } => MachineStep::SetValue {
                key: "SOFTWARE\\Ringfencer".to_owned(),
                name,
                value,
                descriptor,
            },
            MachineStep::EnsureAccount {
                name,
                role,
                comment,
                marker,
                ..
            } => MachineStep::EnsureAccount {
                name,
                role,
                comment,
                record: path("C:\\Windows\\System32\\config\\SAM"),
                marker,
            },
            MachineStep::InstallFilters { mut filters } => {
                filters.extend(filters.first().cloned());
                MachineStep::InstallFilters { filters }
            }
            MachineStep::ReservePorts { ports } => MachineStep::ReservePorts {
                ports: ringfence_plan::windows::step::PortRange {
                    first: ports.last,
                    last: ports.first,
                },
            },
            // Named by what only they have; and an account that is not made can't be given back what it was denied.
            MachineStep::DenyLogon { .. }
            | MachineStep::EnsureGroup { .. }
            | MachineStep::AddFirewallRule { .. } => continue,
        };
        let rules = machine_steps(|steps| steps[index] = spoilt.clone());
        assert!(rules.contains(&LintRule::NotInvertible), "{spoilt:?}");
    }
    assert_eq!(kinds.len(), 8, "every kind of step is planned here");
    let unmade = machine_steps(|steps| {
        steps.retain(|step| !matches!(step, MachineStep::EnsureAccount { .. }));
    });
    assert!(unmade.contains(&LintRule::NotInvertible));
}

/// A walk that begins where nothing is changed, and a home that is none of the plan's.
#[test]
fn a_step_of_the_persons_that_can_not_be_undone_is_found() {
    let strays = found(|plan| {
        plan.person_steps.retain(
            |step| !matches!(step, PersonStep::SetDacl { object, .. } if object.path == path(ROOT)),
        );
    });
    assert!(strays.contains(&LintRule::NotInvertible));
    let foreign = found(|plan| {
        for step in &mut plan.person_steps {
            if let PersonStep::MakeHome { path: home, .. } = step {
                *home = path("C:\\Users\\ann\\Documents");
            }
        }
    });
    assert!(foreign.contains(&LintRule::NotInvertible));
}

/// A sandbox user gets at the runner's process.
fn open_runner() -> Vec<LintRule> {
    found(|plan| {
        let offline = plan.accounts.sids().expect("accounts").offline;
        let entry = Ace::allow(AceFlags::NONE, AccessMask(0x10), offline);
        add_to(&mut runner_of(plan).process, entry);
    })
}

fn runner_of(plan: &mut WindowsPlan) -> &mut RunnerHardening {
    let launch = plan.launch.as_mut();
    let runner = launch.and_then(|launch| launch.runner.as_mut());
    runner.expect("a runner")
}

/// What counts for the runner and not for its targets gives it no more than it needs.
#[test]
fn the_logon_sid_opens_the_runners_token_for_starting_targets_and_nothing_else() {
    let by_logon = |mask| Ace::allow(AceFlags::NONE, mask, Placeholder::Logon.sid());
    let process = found(|plan| {
        add_to(&mut runner_of(plan).process, by_logon(AccessMask(0x1000)));
    });
    let token = found(|plan| {
        add_to(&mut runner_of(plan).token, by_logon(AccessMask::WRITE_DAC));
    });
    assert!(process.contains(&LintRule::RunnerOpen) && token.contains(&LintRule::RunnerOpen));
    let counted = found(|plan| {
        let launch = plan.launch.as_mut().expect("a launch");
        let logon = Placeholder::Logon.sid();
        launch.token.deny_only.retain(|sid| *sid != logon);
    });
    assert!(
        counted.contains(&LintRule::TokenTooWide),
        "control: targets have it for denies alone"
    );
}

/// A filter that names nobody.
fn anybodys_filter() -> Vec<LintRule> {
    let (facts, ledger) = stored();
    let mut plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    assert_eq!(lint(&plan, &facts), Vec::new());
    for step in &mut plan.machine_steps {
        if let MachineStep::InstallFilters { filters } = step {
            filters[0]
                .conditions
                .retain(|one| !matches!(one, Condition::UserOr(..)));
        }
    }
    lint(&plan, &facts)
        .into_iter()
        .map(|one| one.rule)
        .collect()
}

#[test]
fn a_right_too_many_is_found() {
    let widen = widened;
    assert!(widen(AccessMask::GENERIC_ALL).contains(&LintRule::DeleteChildGranted));
    assert!(widen(AccessMask::WRITE_DAC).contains(&LintRule::PermissionsGranted));
    assert!(widen(AccessMask::WRITE_OWNER).contains(&LintRule::PermissionsGranted));
}

#[test]
fn each_bit_that_a_deny_lacks_is_found() {
    for bit in AccessMask(0xd_0156).bits() {
        let rules = found(on(&below(".git"), |aces| aces[0].mask = aces[0].mask - bit));
        assert!(rules.contains(&LintRule::DenyIncomplete), "{bit}");
    }
    for bit in AccessMask(0x29).bits() {
        let rules = found(on(&path("D:\\notes"), |aces| {
            aces[0].mask = aces[0].mask - bit;
        }));
        assert!(!rules.is_empty(), "{bit}");
    }
}

#[test]
fn a_deny_that_names_nobody_is_found() {
    for index in [0, 1] {
        let rules = found(on(&below(".git"), |aces| {
            aces.remove(index);
        }));
        assert!(rules.contains(&LintRule::DenyUnnamed), "{index}");
    }
}

#[test]
fn a_secret_that_is_still_read_is_found() {
    for sid in [
        Sid::USERS,
        Sid::EVERYONE,
        Sid::AUTHENTICATED_USERS,
        Sid::INTERACTIVE,
    ] {
        let rules = found(on(&below(".env"), |aces| {
            aces.push(Ace::allow(AceFlags::NONE, AccessMask::FILE_READ_DATA, sid));
        }));
        assert!(rules.contains(&LintRule::SecretReadable), "{sid}");
    }
}

#[test]
fn a_token_that_is_too_wide_is_found() {
    assert!(
        token(|token| token
            .restricting
            .retain(|one| !one.why.starts_with("denies")))
        .contains(&LintRule::TokenTooWide)
    );
    assert!(token(|token| token.flags.0 &= !0x8).contains(&LintRule::TokenTooWide));
}

/// Rules that a plan breaks whose record, the directory or the key, has other entries.
fn machine(change: &dyn Fn(&mut Vec<AceTemplate>)) -> Vec<LintRule> {
    let (facts, ledger) = stored();
    let whole = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    assert_eq!(lint(&whole, &facts), Vec::new());
    let is_denied = |aces: &[AceTemplate]| aces.iter().any(|ace| ace.kind == AceKind::Deny);
    let mut rules = Vec::new();
    let mut changed = 0;
    for index in 0..whole.machine_steps.len() {
        let mut plan = whole.clone();
        let aces = match &mut plan.machine_steps[index] {
            MachineStep::MakeDirectory { descriptor, .. }
            | MachineStep::SetValue {
                descriptor: Some(descriptor),
                ..
            } if is_denied(&descriptor.aces) => &mut descriptor.aces,
            _ => continue,
        };
        change(aces);
        changed += 1;
        let found = lint(&plan, &facts);
        assert!(!found.is_empty(), "step {index} is not found");
        rules.extend(found.into_iter().map(|one| one.rule));
    }
    assert!(changed >= 2, "the record's directory and its key");
    rules
}

#[test]
fn a_record_that_the_person_or_the_group_may_write_is_found() {
    let found = machine(&|aces| {
        for ace in aces.iter_mut().filter(|ace| ace.kind == AceKind::Allow) {
            ace.mask = AccessMask::FILE_ALL_ACCESS;
        }
    });
    assert!(found.contains(&LintRule::MachineOpen));
    let group = machine(&|aces| {
        aces.push(AceTemplate {
            kind: AceKind::Allow,
            flags: AceFlags::INHERIT_ALL,
            mask: AccessMask::FILE_GENERIC_READ,
            trustee: Trustee::Group,
        });
    });
    assert!(group.contains(&LintRule::MachineOpen));
}

#[test]
fn a_home_that_grants_too_much_is_found() {
    for (mask, rule) in [
        (AccessMask::FILE_DELETE_CHILD, LintRule::DeleteChildGranted),
        (AccessMask::WRITE_DAC, LintRule::PermissionsGranted),
    ] {
        let rules = found(|plan| {
            let homes = plan.person_steps.iter_mut().filter_map(|step| match step {
                PersonStep::MakeHome { descriptor, .. } => Some(descriptor),
                PersonStep::SetDacl { .. } | PersonStep::Walk { .. } => None,
            });
            for home in homes {
                let Dacl::Present(acl) = &mut home.dacl else {
                    panic!("a home has a list");
                };
                acl.aces
                    .iter_mut()
                    .filter(is_write)
                    .for_each(|ace| ace.mask |= mask);
            }
        });
        assert!(rules.contains(&rule), "{mask}");
    }
}

#[test]
fn a_token_that_counts_as_everybody_or_gives_away_what_it_makes_is_found() {
    for sid in [Sid::AUTHENTICATED_USERS, Sid::INTERACTIVE, Sid::LOCAL] {
        let (facts, ledger) = ready();
        let mut plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
        let launch = plan.launch.as_mut().expect("a launch");
        launch.token.deny_only.retain(|one| *one != sid);
        let rules: Vec<LintRule> = lint(&plan, &facts).iter().map(|one| one.rule).collect();
        assert!(rules.contains(&LintRule::TokenTooWide), "{sid}");
    }
    let open = token(|token| {
        let entry = Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, Sid::EVERYONE);
        token.default_dacl.aces.push(entry);
    });
    assert!(open.contains(&LintRule::TokenTooWide));
}

#[test]
fn a_secret_whose_owner_is_not_bound_is_found() {
    let rules = found(|plan| {
        let offline = plan.accounts.sids().expect("accounts").offline;
        let mut held = plan.held.iter_mut();
        let secret = held.find(|held| held.object.path == below(".env"));
        secret.expect("held").descriptor.owner = Some(offline);
    });
    assert!(rules.contains(&LintRule::PermissionsGranted));
}
