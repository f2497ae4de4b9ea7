//! Each mutation of a good plan is found, by the rule that is there for it.

use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, Dacl, Sid};
use ringfence_plan::windows::lint::{LintRule, lint};
use ringfence_plan::windows::step::{Condition, MachineStep};
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

fn is_write(ace: &&mut Ace) -> bool {
    ace.mask == AccessMask::FILE_MODIFY
}

#[test]
fn a_right_too_many_is_found() {
    let root = path(ROOT);
    let widen = |with: AccessMask| {
        found(on(&root, move |aces| {
            aces.iter_mut()
                .filter(is_write)
                .for_each(|ace| ace.mask |= with);
        }))
    };
    assert!(widen(AccessMask::FILE_DELETE_CHILD).contains(&LintRule::DeleteChildGranted));
    assert!(widen(AccessMask::GENERIC_ALL).contains(&LintRule::DeleteChildGranted));
    assert!(widen(AccessMask::WRITE_DAC).contains(&LintRule::PermissionsGranted));
    assert!(widen(AccessMask::WRITE_OWNER).contains(&LintRule::PermissionsGranted));
}

#[test]
fn an_owner_who_may_too_much_is_found() {
    let rules = found(|plan| {
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
    });
    assert!(rules.contains(&LintRule::PermissionsGranted));
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
fn a_deny_that_breaks_reads_or_names_nobody_is_found() {
    let rules = found(on(&below(".git"), |aces| {
        aces[0].mask |= AccessMask::SYNCHRONIZE;
    }));
    assert!(rules.contains(&LintRule::DenyIncomplete));
    for index in [0, 1] {
        let rules = found(on(&below(".git"), |aces| {
            aces.remove(index);
        }));
        assert!(rules.contains(&LintRule::DenyUnnamed), "{index}");
    }
}

#[test]
fn a_wrong_order_is_found() {
    let rules = found(on(&path(ROOT), |aces| aces.swap(1, 2)));
    assert!(rules.contains(&LintRule::OrderNotCanonical));
}

#[test]
fn a_directory_in_between_that_is_forgotten_is_found() {
    let rules = found(|plan| plan.held.retain(|held| held.object.path != below("vendor")));
    assert!(rules.contains(&LintRule::BetweenMissing));
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
fn an_inherited_entry_above_a_root_or_on_a_refused_place_is_found() {
    let inherit = |at: &str| found(on(&path(at), |aces| aces[1].flags = AceFlags::INHERIT_ALL));
    assert!(inherit("C:\\Users\\ann\\src").contains(&LintRule::InheritedAboveRoot));
    assert!(inherit("C:\\Users\\ann").contains(&LintRule::RefusedPlace));
}

#[test]
fn an_entry_for_somebody_else_is_found() {
    let rules = found(|plan| {
        for step in &mut plan.person_steps {
            if let ringfence_plan::windows::step::PersonStep::SetDacl { after, .. } = step
                && let Dacl::Present(acl) = &mut after.dacl
            {
                acl.aces.insert(
                    0,
                    Ace::allow(AceFlags::NONE, AccessMask::DELETE, Sid::EVERYONE),
                );
            }
        }
    });
    assert!(rules.contains(&LintRule::ForeignGrant));
}

#[test]
fn a_token_that_is_too_wide_is_found() {
    let token = |change: fn(&mut ringfence_plan::windows::launch::TokenSpec)| {
        found(move |plan| change(&mut plan.launch.as_mut().expect("a launch").token))
    };
    assert!(
        token(|token| token.restricting[0].sid = Sid::EVERYONE).contains(&LintRule::TokenTooWide)
    );
    assert!(
        token(|token| token
            .restricting
            .retain(|one| !one.why.starts_with("denies")))
        .contains(&LintRule::TokenTooWide)
    );
    assert!(token(|token| token.flags.0 &= !0x8).contains(&LintRule::TokenTooWide));
}

#[test]
fn an_open_runner_is_found() {
    let rules = found(|plan| {
        let offline = plan.accounts.sids().expect("accounts").offline;
        let runner = plan
            .launch
            .as_mut()
            .and_then(|launch| launch.runner.as_mut())
            .expect("a runner");
        let entry = Ace::allow(AceFlags::NONE, AccessMask(0x10), offline);
        if let Dacl::Present(acl) = &mut runner.process.dacl {
            acl.aces.push(entry);
        }
    });
    assert!(rules.contains(&LintRule::RunnerOpen));
}

#[test]
fn a_filter_that_anybody_matches_is_found() {
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
    assert!(
        lint(&plan, &facts)
            .iter()
            .any(|one| one.rule == LintRule::FilterUnbound)
    );
}
