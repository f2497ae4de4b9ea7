//! What becomes of the network filters where copies of the account's token get past those that name it.

use ringfence_nt::Sid;
use ringfence_nt::fs::LinkRule;
use ringfence_plan::Level;
use ringfence_plan::windows::audit::{
    AUDIT_VERSION, AuditRecord, AuditReport, Audited, TriedCopies,
};
use ringfence_plan::windows::facts::{Consent, CopiedToken, Copies, Filtering};
use ringfence_plan::windows::filters::{FilterForm, match_descriptor, sublayer};
use ringfence_plan::windows::lint::{LintRule, lint};
use ringfence_plan::windows::step::{Condition, Filter, FilterAction, MachineStep};
use ringfence_plan::windows::{PlanError, WindowsPlan, plan};

use crate::setup::filters;
use crate::world::{POLICY, policy, stored};

const MATCHED: Copies = Copies {
    deny_only: CopiedToken::Matched,
    anonymous: CopiedToken::Matched,
};
const DENY_ONLY: Copies = Copies {
    deny_only: CopiedToken::Escapes,
    ..MATCHED
};
const ANONYMOUS: Copies = Copies {
    anonymous: CopiedToken::Escapes,
    ..MATCHED
};

fn planned(filtering: Filtering, more: &str) -> Result<WindowsPlan, PlanError> {
    let (mut facts, ledger) = stored();
    facts.filtering = filtering;
    plan(&policy(&format!("{more}{POLICY}"), &facts), &facts, &ledger)
}

fn measured(named: Copies, complement: Option<Copies>, complement_consent: Consent) -> Filtering {
    Filtering {
        named: Some(named),
        complement,
        complement_consent,
    }
}

fn says(plan: &WindowsPlan, words: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(words))
}

#[test]
fn until_it_is_measured_the_plan_says_so() {
    let unmeasured = planned(Filtering::default(), "").expect("a plan");
    assert!(says(&unmeasured, "has not been measured on this machine"));
    assert_eq!(unmeasured.level, Level::Full);
    // Consent alone changes nothing: nothing is known to escape.
    let agreed = Filtering {
        complement_consent: Consent::Given,
        ..Filtering::default()
    };
    let agreed = planned(agreed, "").expect("a plan");
    assert_eq!(filters(&agreed), filters(&unmeasured));
    let held = planned(measured(MATCHED, None, Consent::Missing), "").expect("a plan");
    assert!(!says(&held, "has not been measured"));
    assert_eq!(held.missing, []);
}

/// No entry keeps a protected file from being emptied by another name, so what Windows asks of a link is a fact.
#[test]
fn links_that_any_handle_makes_or_that_nobody_measured_are_missing() {
    let (mut facts, ledger) = stored();
    let policy = policy(POLICY, &facts);
    let mut missing = |links| {
        facts.links = links;
        let plan = plan(&policy, &facts, &ledger).expect("a plan");
        let named: Vec<String> = plan.missing.into_iter().map(|one| one.what).collect();
        (plan.level, named)
    };
    let partial = (Level::Partial, vec!["read-only-files".to_owned()]);
    assert_eq!(missing(Some(LinkRule::AnyHandle)), partial);
    assert_eq!(missing(None), partial);
    let full = (Level::Full, Vec::new());
    assert_eq!(missing(Some(LinkRule::WriteAttributes)), full);
}

#[test]
fn what_escapes_makes_the_network_partial_unless_the_complement_is_agreed_to() {
    for copies in [DENY_ONLY, ANONYMOUS] {
        let partial = planned(measured(copies, None, Consent::Missing), "").expect("a plan");
        assert_eq!(partial.level, Level::Partial);
        let [missing] = &partial.missing[..] else {
            panic!("{:?}", partial.missing);
        };
        assert_eq!(missing.what, "network");
        assert!(missing.cause.starts_with("network: partial"));
        assert!(missing.cure.contains("--complement-filters"));
        assert!(matches!(
            planned(
                measured(copies, None, Consent::Missing),
                "require = \"full\"\n"
            ),
            Err(PlanError::RequireFull { .. })
        ));
        // Sessions with the open network do not rest on the filters.
        let open = "[network]\nmode = \"open\"\n";
        assert_eq!(
            planned(measured(copies, None, Consent::Missing), open)
                .expect("a plan")
                .missing,
            []
        );

        let agreed = planned(measured(copies, Some(MATCHED), Consent::Given), "").expect("a plan");
        assert_eq!(agreed.missing, []);
        assert!(says(&agreed, "block everybody whom they do not permit"));
        let unproven = planned(measured(copies, None, Consent::Given), "").expect("a plan");
        assert!(
            says(&unproven, "has not been measured"),
            "the new form was not tried yet"
        );
        let useless = planned(measured(copies, Some(copies), Consent::Given), "").expect("a plan");
        assert_eq!(
            useless.level,
            Level::Partial,
            "the complement form was tried and does not hold"
        );
    }
}

#[test]
fn what_an_audit_recorded_on_this_machine_decides_the_form() {
    let (mut facts, ledger) = stored();
    let on = Audited::of(&facts);
    let report = |form, copies| AuditReport {
        version: AUDIT_VERSION,
        build: on.build,
        lacks: None,
        second_pass: None,
        filtering: Some(TriedCopies { form, copies }),
        probes: Vec::new(),
    };
    let mut planned = |record: &AuditRecord, complement_consent| {
        facts.filtering = Filtering {
            complement_consent,
            ..Filtering::default()
        };
        facts.filtering = record.filtering(&facts);
        plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan")
    };
    let seen = AuditRecord::after(report(FilterForm::Named, DENY_ONLY), on, None);
    let refused = planned(&seen, Consent::Missing);
    assert_eq!(refused.level, Level::Partial, "network: partial");
    let agreed = planned(&seen, Consent::Given);
    let blocks = |plan: &WindowsPlan| {
        let nobody =
            |filter: &&Filter| filter.action == FilterAction::Block && filter.conditions.len() < 2;
        filters(plan).iter().filter(nobody).count()
    };
    assert!(blocks(&agreed) > 0, "blocks that name nobody");
    assert!(
        says(&agreed, "has not been measured"),
        "the new form was not tried yet"
    );
    let tried = report(FilterForm::Complement, MATCHED);
    let held = AuditRecord::after(tried, on, Some(&seen));
    let held = planned(&held, Consent::Given);
    assert_eq!(
        (filters(&held), &held.missing[..]),
        (filters(&agreed), &[][..])
    );
    assert!(!says(&held, "has not been measured"));
    // Of another machine nothing counts.
    let elsewhere = Audited {
        machine: Sid::SYSTEM,
        ..on
    };
    let theirs = AuditRecord::after(report(FilterForm::Named, DENY_ONLY), elsewhere, None);
    assert!(says(
        &planned(&theirs, Consent::Given),
        "has not been measured"
    ));
}

#[test]
fn the_form_is_the_narrowest_that_is_needed() {
    let form = |copies| FilterForm::of(&measured(copies, None, Consent::Given));
    assert_eq!(form(MATCHED), FilterForm::Named);
    assert_eq!(form(DENY_ONLY), FilterForm::Complement);
    assert_eq!(form(ANONYMOUS), FilterForm::ComplementWithoutAnonymous);
    let both = Copies {
        anonymous: CopiedToken::Escapes,
        ..DENY_ONLY
    };
    assert_eq!(form(both), FilterForm::ComplementWithoutAnonymous);
}

#[test]
fn every_block_of_the_complement_lies_beneath_a_permit_for_everybody_else() {
    let named = filters(&planned(Filtering::default(), "").expect("a plan"));
    for copies in [DENY_ONLY, ANONYMOUS] {
        let plan = planned(measured(copies, Some(MATCHED), Consent::Given), "").expect("a plan");
        let all = filters(&plan);
        let blocks: Vec<&Filter> = all
            .iter()
            .filter(|one| one.action == FilterAction::Block)
            .collect();
        assert_eq!(blocks.len(), 8);
        assert_eq!(all.len(), named.len() + blocks.len());
        let (facts, _) = stored();
        assert_eq!(lint(&plan, &facts), []);
        assert!(all.iter().all(|one| one.sublayer == sublayer(plan.person)));
        // A permit without its block, a block without its permit, and another person's sublayer are found.
        for broken in 0..all.len() {
            let of_all = |filter: &Filter| {
                let named = |one: &Condition| matches!(one, Condition::UserOr(..));
                !filter.conditions.iter().any(named)
            };
            if of_all(&all[broken]) {
                assert!(
                    found(&plan, |filters| drop(filters.remove(broken))),
                    "{broken}"
                );
            }
            let elsewhere =
                |filters: &mut Vec<Filter>| filters[broken].sublayer = sublayer(Sid::SYSTEM);
            assert!(found(&plan, elsewhere), "{broken}");
        }
    }
}

/// Whether the linter finds filters that hit others.
fn found(plan: &WindowsPlan, change: impl Fn(&mut Vec<Filter>)) -> bool {
    let (facts, _) = stored();
    let mut plan = plan.clone();
    for step in &mut plan.machine_steps {
        if let MachineStep::InstallFilters { filters } = step {
            change(filters);
        }
    }
    let rules = lint(&plan, &facts);
    rules.iter().any(|one| one.rule == LintRule::FilterUnbound)
}

#[test]
fn conditions_on_the_user_are_descriptors() {
    let sddl = |condition| {
        let descriptor = match_descriptor(&condition, |_| Sid::GUESTS)?;
        Some(descriptor.to_sddl())
    };
    let offline = ringfence_plan::windows::step::Trustee::Group;
    assert_eq!(
        sddl(Condition::UserOr(offline, Sid::USERS)).as_deref(),
        Some("O:SYG:SYD:(A;;0x1;;;BG)(A;;0x1;;;BU)")
    );
    assert_eq!(
        sddl(Condition::NotUser(offline)).as_deref(),
        Some(
            "O:SYG:SYD:(D;;0x1;;;BG)(A;;0x1;;;WD)(A;;0x1;;;AC)(A;;0x1;;;RC)(A;;0x1;;;WR)(A;;0x1;;;AN)"
        )
    );
    assert_eq!(
        sddl(Condition::NotUserNorAnonymous(offline)).as_deref(),
        Some(
            "O:SYG:SYD:(D;;0x1;;;BG)(D;;0x1;;;AN)(A;;0x1;;;WD)(A;;0x1;;;AC)(A;;0x1;;;RC)(A;;0x1;;;WR)"
        )
    );
    assert_eq!(sddl(Condition::Loopback), None);
}
