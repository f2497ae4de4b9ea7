//! Descriptors compared, and taken apart again after somebody else has changed them.
//!
//! Invariant: of what was recorded exactly that goes, each entry as often as it was added; what others did stays.

use ringfence_nt::{Ace, AceKind, Acl, Control, Dacl, SecurityDescriptor};

/// Whether both give the same access to the same people and inherit alike; how they came to be does not count.
#[must_use]
pub fn same(one: &SecurityDescriptor, other: &SecurityDescriptor) -> bool {
    let protected =
        |descriptor: &SecurityDescriptor| descriptor.control.contains(Control::DACL_PROTECTED);
    one.owner == other.owner
        && one.group == other.group
        && one.dacl == other.dacl
        && protected(one) == protected(other)
}

/// What of `minuend` is not in `subtrahend`, as often as it is missing.
fn without(minuend: &[Ace], subtrahend: &[Ace]) -> Vec<Ace> {
    let mut open = subtrahend.to_vec();
    let mut left = Vec::new();
    for ace in minuend {
        match open.iter().position(|other| other == ace) {
            Some(index) => drop(open.swap_remove(index)),
            None => left.push(*ace),
        }
    }
    left
}

fn aces(descriptor: &SecurityDescriptor) -> &[Ace] {
    descriptor.acl().map_or(&[], |acl| &acl.aces)
}

/// `current`, which somebody made of `after`, as it would be had `before` never become `after`.
#[must_use]
pub fn merge(
    current: &SecurityDescriptor,
    before: &SecurityDescriptor,
    after: &SecurityDescriptor,
) -> SecurityDescriptor {
    let Dacl::Present(acl) = &current.dacl else {
        // Somebody has opened it to everybody: nothing of ours is in it.
        return current.clone();
    };
    let added = without(aces(after), aces(before));
    let mut merged = without(&acl.aces, &added);
    let removed = without(aces(before), aces(after));
    let count = |aces: &[Ace], ace: &Ace| aces.iter().filter(|other| *other == ace).count();
    for ace in removed {
        if count(&merged, &ace) >= count(aces(before), &ace) {
            // Somebody has given it back already.
            continue;
        }
        let place = merged.iter().position(|other| rank(other) > rank(&ace));
        merged.insert(place.unwrap_or(merged.len()), ace);
    }
    let is_protected =
        |descriptor: &SecurityDescriptor| descriptor.control.contains(Control::DACL_PROTECTED);
    let control = if is_protected(current) != is_protected(after) {
        current.control
    } else if is_protected(before) {
        current.control.with(Control::DACL_PROTECTED)
    } else {
        current.control.without(Control::DACL_PROTECTED)
    };
    SecurityDescriptor {
        dacl: Dacl::Present(Acl::new(merged)),
        control,
        ..current.clone()
    }
}

/// The place of an entry in canonical order.
fn rank(ace: &Ace) -> u8 {
    match ace.kind {
        _ if ace.is_inherited() => 2,
        AceKind::Deny => 0,
        AceKind::Allow | AceKind::Audit | AceKind::MandatoryLabel => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringfence_nt::{AccessMask, AceFlags, Sid};

    use super::*;

    fn ace() -> impl Strategy<Value = Ace> {
        let sids = vec![Sid::EVERYONE, Sid::USERS, Sid::SYSTEM, Sid::OWNER_RIGHTS];
        let flags = vec![AceFlags::NONE, AceFlags::INHERIT_ALL, AceFlags::INHERITED];
        (
            any::<bool>(),
            prop::sample::select(flags),
            0_u32..4,
            prop::sample::select(sids),
        )
            .prop_map(|(allow, flags, mask, sid)| {
                let make = if allow { Ace::allow } else { Ace::deny };
                make(flags, AccessMask(mask), sid)
            })
    }

    fn list() -> impl Strategy<Value = Vec<Ace>> {
        prop::collection::vec(ace(), 0..6)
    }

    fn of(aces: &[Ace]) -> SecurityDescriptor {
        SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(aces.to_vec()))
    }

    fn sorted(descriptor: &SecurityDescriptor) -> Vec<Ace> {
        let mut aces = aces(descriptor).to_vec();
        aces.sort();
        aces
    }

    proptest! {
        #[test]
        fn what_others_added_is_kept_and_ours_goes(
            before in list(), after in list(), theirs in list(), at in any::<prop::sample::Index>(),
        ) {
            let mut changed = after.clone();
            let at = at.index(changed.len() + 1);
            changed.splice(at..at, theirs.iter().copied());
            let merged = merge(&of(&changed), &of(&before), &of(&after));
            let gone = without(&before, &after);
            // What they gave back of what we had taken is theirs and ours in one.
            let expected: Vec<Ace> = without(&theirs, &gone).into_iter().chain(before).collect();
            prop_assert_eq!(sorted(&merged), sorted(&of(&expected)));
        }

        #[test]
        fn what_others_took_away_of_theirs_stays_away(
            kept in list(), theirs in ace(), ours in list(),
        ) {
            let before = [&[theirs], kept.as_slice()].concat();
            let after = [ours.as_slice(), before.as_slice()].concat();
            let current = without(&after, &[theirs]);
            let merged = merge(&of(&current), &of(&before), &of(&after));
            prop_assert_eq!(sorted(&merged), sorted(&of(&without(&before, &[theirs]))));
        }

        #[test]
        fn only_what_we_did_is_taken_back(before in list(), after in list()) {
            let merged = merge(&of(&after), &of(&before), &of(&after));
            prop_assert_eq!(sorted(&merged), sorted(&of(&before)));
        }
    }

    #[test]
    fn protection_that_we_set_goes_and_protection_that_others_set_stays() {
        let entry = [Ace::allow(AceFlags::NONE, AccessMask(1), Sid::USERS)];
        let (open, closed) = (of(&entry), of(&entry).protected());
        assert_eq!(merge(&closed, &open, &closed), open);
        assert_eq!(merge(&closed, &open, &open), closed);
        assert_eq!(merge(&open, &closed, &open), closed);
    }

    #[test]
    fn a_dacl_that_another_took_away_stays_away() {
        let null = SecurityDescriptor {
            dacl: Dacl::Null,
            ..of(&[])
        };
        let deny = [Ace::deny(AceFlags::NONE, AccessMask(1), Sid::USERS)];
        assert_eq!(merge(&null, &of(&[]), &of(&deny)), null);
    }

    #[test]
    fn an_entry_that_comes_back_takes_its_place_in_canonical_order() {
        let deny = Ace::deny(AceFlags::NONE, AccessMask(1), Sid::USERS);
        let allow = Ace::allow(AceFlags::NONE, AccessMask(2), Sid::USERS);
        let inherited = Ace::allow(AceFlags::INHERITED, AccessMask(4), Sid::USERS);
        let theirs = Ace::allow(AceFlags::NONE, AccessMask(8), Sid::EVERYONE);
        let merged = merge(&of(&[theirs]), &of(&[deny, allow, inherited]), &of(&[]));
        assert!(merged.acl().unwrap().is_canonical(), "{merged:?}");
        assert_eq!(aces(&merged).len(), 4);
    }
}
