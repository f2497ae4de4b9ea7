//! The rule of a walk, object by object.

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Acl, Control, SecurityDescriptor, Sid};
use ringfence_plan::windows::descriptors::Trustees;
use ringfence_plan::windows::reach::Reach;
use ringfence_plan::windows::step::{ObjectKind, Purpose};
use ringfence_plan::windows::walk::{Names, Visited, WalkRule, adopt, without_entries};
use ringfence_plan::windows::{WindowsPlan, plan};

use crate::world::{POLICY, ROOT, path, policy, ready};

struct Bench {
    plan: WindowsPlan,
    trustees: Trustees,
    reach: Reach,
}

impl Bench {
    fn new() -> Self {
        let (facts, ledger) = ready();
        let plan = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
        Self {
            trustees: plan.trustees(Some(0)),
            reach: plan.reach(),
            plan,
        }
    }

    fn held(&self, at: &str) -> &SecurityDescriptor {
        &self.plan.held_at(&path(at)).expect("held").descriptor
    }

    fn next(
        &self,
        purpose: Purpose,
        parent: &str,
        sddl: &str,
        names: Names,
    ) -> Option<SecurityDescriptor> {
        let descriptor = sddl_of(sddl);
        let rule = WalkRule {
            purpose,
            trustees: &self.trustees,
            reach: &self.reach,
        };
        let visited = Visited {
            kind: ObjectKind::File,
            names,
            descriptor: &descriptor,
        };
        let next = rule.next(self.held(parent), &visited)?;
        let again = Visited {
            descriptor: &next,
            ..visited
        };
        assert_eq!(rule.next(self.held(parent), &again), None, "asked twice");
        Some(next)
    }

    fn offline(&self) -> Sid {
        self.plan.accounts.sids().expect("accounts").offline
    }
}

fn sddl_of(text: &str) -> SecurityDescriptor {
    SecurityDescriptor::from_sddl(text).expect("SDDL")
}

const ANN: &str = "S-1-5-21-1004336348-1177238915-682003330-1001";

fn explicit(descriptor: &SecurityDescriptor) -> Vec<Ace> {
    descriptor
        .acl()
        .into_iter()
        .flat_map(Acl::explicit)
        .copied()
        .collect()
}

#[test]
fn an_ordinary_file_gets_what_the_root_passes_on() {
    let bench = Bench::new();
    let sddl = format!("O:{ANN}G:{ANN}D:AI(A;ID;0x1f01ff;;;{ANN})");
    let next = bench
        .next(Purpose::Root, ROOT, &sddl, Names::Inside)
        .expect("a change");
    assert!(explicit(&next).is_empty());
    let acl = next.acl().expect("a list");
    assert!(acl.aces.iter().any(
        |ace| ace.sid == bench.trustees.capabilities[0] && ace.mask == AccessMask::FILE_MODIFY
    ));
    assert!(
        acl.aces.iter().all(|ace| ace.kind == AceKind::Allow),
        "the root's own denies stay with it"
    );
}

#[test]
fn an_explicit_allow_in_a_protected_tree_gets_the_deny_again() {
    let bench = Bench::new();
    let git = format!("{ROOT}\\.git");
    let plain = format!("O:{ANN}G:{ANN}D:AI(A;ID;0x1f01ff;;;{ANN})");
    let next = bench
        .next(Purpose::Protected, &git, &plain, Names::Inside)
        .expect("a change");
    assert!(explicit(&next).is_empty(), "what is inherited suffices");
    for sddl in [
        format!("O:{ANN}G:{ANN}D:(A;;0x2;;;WD)(A;ID;0x1f01ff;;;{ANN})"),
        format!("O:{ANN}G:{ANN}D:(A;;GA;;;WD)"),
        format!("O:{ANN}G:{ANN}D:P(A;;0x1f01ff;;;{ANN})"),
    ] {
        let next = bench
            .next(Purpose::Protected, &git, &sddl, Names::Inside)
            .expect("a change");
        let denies: Vec<Ace> = explicit(&next)
            .into_iter()
            .take_while(|ace| ace.kind == AceKind::Deny)
            .collect();
        assert_eq!(denies.len(), 2, "{sddl}");
        assert!(
            denies
                .iter()
                .all(|ace| ace.mask == AccessMask(0xd_0156) && ace.flags == AceFlags::NONE)
        );
    }
}

#[test]
fn what_an_earlier_plan_left_goes() {
    let bench = Bench::new();
    let group = bench.plan.accounts.sids().expect("accounts").group;
    let sddl = format!("O:{ANN}G:{ANN}D:(D;;0xd0156;;;{group})(A;;0x1f01ff;;;{ANN})");
    let next = bench
        .next(Purpose::Root, ROOT, &sddl, Names::Inside)
        .expect("a change");
    assert!(explicit(&next).iter().all(|ace| ace.sid != group));
    assert!(
        explicit(&next).iter().any(|ace| ace.sid.to_string() == ANN),
        "entries of others stay"
    );
}

#[test]
fn a_file_with_a_name_outside_is_read_and_started_and_not_written() {
    let bench = Bench::new();
    let sddl = format!("O:{ANN}G:{ANN}D:AI(A;ID;0x1f01ff;;;{ANN})");
    let next = bench
        .next(Purpose::Root, ROOT, &sddl, Names::Outside)
        .expect("a change");
    let granted = bench.reach.of_accounts(Some(&next));
    assert!(granted.contains(AccessMask::FILE_READ_DATA | AccessMask::FILE_EXECUTE));
    assert!(!granted.intersects(AccessMask(0xd_0156)), "{granted}");
    let readable = format!("O:{ANN}G:{ANN}D:AI(A;ID;0x1200a9;;;BU)(A;ID;0x1f01ff;;;{ANN})");
    let next = bench
        .next(Purpose::Root, ROOT, &readable, Names::Outside)
        .expect("a change");
    assert!(
        explicit(&next).iter().all(|ace| ace.kind == AceKind::Deny),
        "no grant that is not needed"
    );
}

#[test]
fn what_a_target_made_for_itself_is_given_back_to_the_person() {
    let bench = Bench::new();
    let offline = bench.offline();
    let sddl = format!("O:{offline}G:{offline}D:P(A;;0x1f01ff;;;{offline})(A;;0x1f01ff;;;OW)");
    let next = bench
        .next(Purpose::Root, ROOT, &sddl, Names::Inside)
        .expect("a change");
    assert!(next.control.contains(Control::DACL_PROTECTED));
    assert!(
        explicit(&next)
            .iter()
            .any(|ace| ace.sid.to_string() == ANN && ace.mask == AccessMask::FILE_ALL_ACCESS)
    );
    assert!(explicit(&next).iter().all(|ace| ace.sid != offline));
    let owner: Vec<AccessMask> = explicit(&next)
        .iter()
        .filter(|ace| ace.sid == Sid::OWNER_RIGHTS)
        .map(|ace| ace.mask)
        .collect();
    assert_eq!(owner, [AccessMask::READ_CONTROL]);
    let theirs = sddl_of(&format!("O:{ANN}G:{ANN}D:P(A;;0x1200a9;;;BU)"));
    assert_eq!(
        adopt(theirs.clone(), ObjectKind::File, &bench.trustees),
        theirs,
        "what they made stays theirs"
    );
}

#[test]
fn a_child_of_a_secret_directory_that_lets_users_in_is_closed() {
    let bench = Bench::new();
    let secret = format!("{ROOT}\\.env");
    let open = format!("O:{ANN}G:{ANN}D:(A;;0x1200a9;;;BU)(A;;0x1f01ff;;;{ANN})");
    let next = bench
        .next(Purpose::Secret, &secret, &open, Names::Inside)
        .expect("a change");
    assert!(
        !bench
            .reach
            .of_accounts(Some(&next))
            .intersects(AccessMask(0x29))
    );
}

#[test]
fn exactly_our_entries_are_taken_from_what_somebody_else_has_changed() {
    let bench = Bench::new();
    let ours = bench.trustees.entries(Purpose::Protected, ObjectKind::File);
    let mut list = ours.clone();
    let theirs = Ace::allow(AceFlags::NONE, AccessMask::DELETE, Sid::USERS);
    list.push(theirs);
    list.push(ours[0]);
    let changed = SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(list));
    let left = without_entries(&changed, &ours).expect("a change");
    assert_eq!(
        left.acl().expect("a list").aces,
        [theirs, ours[0]],
        "each as often as it was added"
    );
    assert_eq!(
        without_entries(&sddl_of("O:SYG:SYD:(A;;0x1;;;BU)"), &ours),
        None
    );
}

#[test]
fn the_accounts_are_bound_as_owners_whatever_is_walked() {
    let bench = Bench::new();
    let offline = bench.offline();
    let git = format!("{ROOT}\\.git");
    let sddl = format!("O:{offline}G:{offline}D:P(A;;0x1f01ff;;;OW)(A;;0x1f01ff;;;{ANN})");
    for purpose in [
        Purpose::Root,
        Purpose::Between,
        Purpose::Protected,
        Purpose::Secret,
        Purpose::DeniedRead,
        Purpose::WorldWritable,
    ] {
        for names in [Names::Inside, Names::Outside] {
            let next = bench.next(purpose, &git, &sddl, names).expect("a change");
            let owner = explicit(&next)
                .into_iter()
                .filter(|ace| ace.sid == Sid::OWNER_RIGHTS);
            let masks: Vec<AccessMask> = owner.map(|ace| ace.mask).collect();
            assert_eq!(masks, [AccessMask::READ_CONTROL], "{purpose:?} {names:?}");
        }
    }
}
