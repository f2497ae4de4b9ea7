//! Two projects of one person, each with a policy of its own.

use ringfence_plan::Level;
use ringfence_plan::windows::facts::{Capability, LiveRoot, LiveSession, Presence, WindowsFacts};
use ringfence_plan::windows::live::check_beside;
use ringfence_plan::windows::step::{FileId, ObjectKind, Purpose};
use ringfence_plan::windows::{PlanError, plan};
use ringfence_policy::Policy;

use crate::world::{POLICY, ROOT, add, carry_out, path, policy, ready};

/// The file policy under which this machine's first root is planned.
fn hash(facts: &WindowsFacts, policy: &Policy) -> String {
    let (_, ledger) = ready();
    plan(policy, facts, &ledger).expect("a plan").roots[0]
        .policy
        .clone()
}

fn live(roots: Vec<LiveRoot>, denied: &[&str]) -> LiveSession {
    LiveSession {
        id: "s1".to_owned(),
        roots,
        denied_read: denied.iter().map(|one| path(one)).collect(),
    }
}

#[test]
fn a_root_has_one_file_policy_while_a_session_lives() {
    let (mut facts, ledger) = ready();
    let own = policy(POLICY, &facts);
    let first = plan(&own, &facts, &ledger).expect("a plan");
    let other = policy(&format!("{POLICY}git = \"commit\"\n"), &facts);
    let root = LiveRoot {
        root: first.roots[0].object.id,
        path: None,
        policy: first.roots[0].policy.clone(),
    };
    facts.sessions = vec![live(vec![root], &[])];
    assert!(plan(&own, &facts, &ledger).is_ok());
    assert!(matches!(
        plan(&other, &facts, &ledger),
        Err(PlanError::RootInUse { .. })
    ));
}

/// What lies in two roots is under the policy of both: a narrower root would take away what the wider one protects,
/// and a session of the one alone takes away what the other grants.
#[test]
fn a_root_in_another_sessions_root_waits_unless_both_have_both() {
    let (facts, ledger) = ready();
    let own = policy(POLICY, &facts);
    let (same, other) = (hash(&facts, &own), "of another".to_owned());
    for at in ["C:\\Users\\ann\\src", &format!("{ROOT}\\vendor\\lib")] {
        let root = |policy: &str| LiveRoot {
            root: FileId {
                volume: 1,
                file: 4711,
            },
            path: Some(path(at)),
            policy: policy.to_owned(),
        };
        for policy in [&same, &other] {
            let mut facts = facts.clone();
            facts.sessions = vec![live(vec![root(policy)], &[])];
            let refused = plan(&own, &facts, &ledger);
            assert!(matches!(refused, Err(PlanError::RootInUse { .. })), "{at}");
        }
    }
    let vendor = format!("{ROOT}\\vendor");
    let both = policy(&POLICY.replace("D:\\scratch", &vendor), &facts);
    let mut nested = facts.clone();
    nested.roots[1] = ringfence_plan::windows::facts::WindowsRoot {
        named: vendor.clone(),
        reached: ringfence_plan::windows::facts::Reached::Directory {
            path: path(&vendor),
        },
        ..nested.roots[1].clone()
    };
    nested.roots[1].anchors.clear();
    let first = plan(&both, &nested, &ledger).expect("a plan");
    assert_eq!(first.roots.len(), 2);
    nested.sessions = vec![LiveSession::of("s1".to_owned(), &first)];
    assert!(
        plan(&both, &nested, &ledger).is_ok(),
        "control: both sessions have both roots"
    );
}

#[test]
fn a_root_in_what_a_live_session_must_not_read_waits() {
    let (mut facts, ledger) = ready();
    let own = policy(POLICY, &facts);
    facts.sessions = vec![live(
        Vec::new(),
        &["C:\\Users\\ann\\src\\app\\vendor", "D:\\other"],
    )];
    assert!(
        plan(&own, &facts, &ledger).is_ok(),
        "control: no root lies there"
    );
    for denied in [ROOT, "C:\\Users\\ann\\src", "D:\\"] {
        facts.sessions = vec![live(Vec::new(), &[denied])];
        let refused = plan(&own, &facts, &ledger).expect_err("no plan");
        assert!(
            matches!(refused, PlanError::RootDenied { .. }),
            "{denied}: {refused}"
        );
        assert!(refused.hints()[0].contains("s1"));
    }
}

/// The other way round: the group loses reading where a live session works.
#[test]
fn a_policy_that_denies_what_a_live_session_works_in_waits() {
    let (mut facts, ledger) = ready();
    let own = policy(POLICY, &facts);
    let held = hash(&facts, &own);
    for (at, is_refused) in [("D:\\notes\\project", true), ("D:\\other", false)] {
        let root = LiveRoot {
            root: FileId {
                volume: 2,
                file: 4711,
            },
            path: Some(path(at)),
            policy: held.clone(),
        };
        facts.sessions = vec![live(vec![root], &[])];
        let refused = matches!(
            plan(&own, &facts, &ledger),
            Err(PlanError::DeniedInUse { .. })
        );
        assert_eq!(refused, is_refused, "{at}");
    }
}

#[test]
fn a_plan_is_beside_itself_what_it_is_to_others() {
    let (facts, ledger) = ready();
    let own = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let live = LiveSession::of("pid-1".to_owned(), &own);
    assert!(!live.roots.is_empty() && !live.denied_read.is_empty());
    assert_eq!(check_beside(&own, std::slice::from_ref(&live)), Ok(()));
    let mut other = live;
    other.roots[0].policy = "another".to_owned();
    let refused = check_beside(&own, &[other]).expect_err("another policy");
    assert!(refused.to_string().contains("pid-1"), "{refused}");
}

/// Reading is denied to the group, and every session of the person is in it: what one policy denies the other one's
/// sessions do not read either. That is said, and neither plan changes what the other did.
#[test]
fn what_one_policy_denies_stays_denied_and_the_other_plan_says_so() {
    let (mut facts, mut ledger) = ready();
    let strict = policy(POLICY, &facts);
    let loose = policy("[filesystem]\nwritable_roots = ['D:\\scratch']\n", &facts);
    let notes = path("D:\\notes");
    let says = |plan: &ringfence_plan::windows::WindowsPlan| {
        let mut notes = plan.notes.iter();
        notes.any(|note| note.starts_with("`D:\\notes` is read by no sandboxed command"))
    };
    let alone = plan(&loose, &facts, &ledger).expect("a plan");
    assert!(!says(&alone), "control: nobody denies it");

    let first = plan(&strict, &facts, &ledger).expect("a plan");
    assert_eq!(
        first.held_at(&notes).map(|held| held.purpose),
        Some(Purpose::DeniedRead)
    );
    assert!(!says(&first));
    carry_out(&mut facts, &first);
    ledger.person.extend(first.person_steps);
    let second = plan(&loose, &facts, &ledger).expect("a plan");
    assert!(says(&second), "{:?}", second.notes);
    assert_eq!(second.level, Level::Full);
    assert!(second.held_at(&notes).is_none());
    carry_out(&mut facts, &second);
    ledger.person.extend(second.person_steps);
    for policy in [&strict, &loose, &strict, &loose] {
        let again = plan(policy, &facts, &ledger).expect("a plan");
        assert_eq!(again.person_steps, [], "taking turns costs nothing");
    }
}

#[test]
fn a_root_of_another_policy_in_what_is_denied_is_said_to_be_readable() {
    let (mut facts, ledger) = ready();
    let own = policy(POLICY, &facts);
    add(
        &mut facts,
        "D:\\notes\\project",
        ObjectKind::Directory,
        None,
    );
    let given = |at: &str, presence| Capability {
        sid: ringfence_nt::Sid::EVERYONE,
        root: facts.objects[0].object.id,
        path: path(at),
        presence,
    };
    let missing = |capability| {
        let mut facts = facts.clone();
        facts.capabilities.push(capability);
        plan(&own, &facts, &ledger).expect("a plan").missing
    };
    assert_eq!(missing(given("D:\\other", Presence::Present)), []);
    assert_eq!(missing(given("D:\\notes\\project", Presence::Gone)), []);
    let readable = missing(given("D:\\notes\\project", Presence::Present));
    assert_eq!(readable.len(), 1);
    assert_eq!(readable[0].what, "unreadable-secrets");
    assert!(
        readable[0].cause.contains("`D:\\notes\\project`"),
        "{readable:?}"
    );
}
