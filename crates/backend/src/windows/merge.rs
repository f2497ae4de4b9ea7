//! Descriptors compared, and taken apart again after somebody else has changed them.
//!
//! Each entry is looked up a bounded number of times, however long the lists are: a stranger's may be as long as a
//! descriptor can be. Invariant: of what was recorded exactly that goes, each entry as often as it was added; what
//! others did stays.

use std::collections::HashMap;
use std::hash::Hash;

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

/// How often each entry stands in a list.
fn counted<T: Eq + Hash>(entries: &[T]) -> HashMap<&T, usize> {
    let mut counts = HashMap::with_capacity(entries.len());
    for entry in entries {
        *counts.entry(entry).or_insert(0) += 1;
    }
    counts
}

/// What of `minuend` is not in `subtrahend`, as often as it is missing.
fn without<T: Eq + Hash + Clone>(minuend: &[T], subtrahend: &[T]) -> Vec<T> {
    let mut open = counted(subtrahend);
    let mut left = Vec::new();
    for entry in minuend {
        match open.get_mut(entry) {
            Some(count) if *count > 0 => *count -= 1,
            Some(_) | None => left.push(entry.clone()),
        }
    }
    left
}

/// What of `removed` comes back to `kept`, where it stood in `before`: not what somebody has given back already.
fn returning<T: Eq + Hash + Clone>(removed: &[T], kept: &[T], before: &[T]) -> Vec<T> {
    let wanted = counted(before);
    let mut present: HashMap<T, usize> = HashMap::with_capacity(removed.len());
    let there = counted(kept);
    let mut back = Vec::new();
    for entry in removed {
        let count = present
            .entry(entry.clone())
            .or_insert_with(|| there.get(entry).copied().unwrap_or(0));
        if *count < wanted.get(entry).copied().unwrap_or(0) {
            *count += 1;
            back.push(entry.clone());
        }
    }
    back
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
    let kept = without(&acl.aces, &added);
    let removed = without(aces(before), aces(after));
    let merged = placed(&kept, &returning(&removed, &kept, aces(before)));
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

/// `kept` in its order, and each entry of `back` before the first of a higher place in canonical order.
fn placed(kept: &[Ace], back: &[Ace]) -> Vec<Ace> {
    let mut ranked: [Vec<Ace>; RANKS as usize] = std::array::from_fn(|_| Vec::new());
    for ace in back {
        if let Some(same) = ranked.get_mut(usize::from(rank(ace))) {
            same.push(*ace);
        }
    }
    let mut next = ranked.into_iter().zip(0_u8..).peekable();
    let mut merged = Vec::with_capacity(kept.len() + back.len());
    for ace in kept {
        while let Some((same, _)) = next.next_if(|(_, own)| *own < rank(ace)) {
            merged.extend(same);
        }
        merged.push(*ace);
    }
    merged.extend(next.flat_map(|(same, _)| same));
    merged
}

/// How many places there are in canonical order.
const RANKS: u8 = 3;

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

    /// An entry that counts how often it is compared.
    #[derive(Clone, Debug)]
    struct Watched<'a>(u32, &'a std::cell::Cell<u64>);

    impl PartialEq for Watched<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Watched<'_> {}

    impl Hash for Watched<'_> {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    #[test]
    fn each_entry_is_compared_a_bounded_number_of_times() {
        // As many entries as a descriptor of 64 KiB can hold.
        let length = 3_000_u32;
        let compared = std::cell::Cell::new(0);
        let list = |from: u32| -> Vec<Watched<'_>> {
            (from..from + length)
                .map(|id| Watched(id, &compared))
                .collect()
        };
        let (before, after) = (list(0), list(length / 2));
        let removed = without(&before, &after);
        assert_eq!(removed.len(), 1_500);
        let back = returning(&removed, &after, &before);
        assert_eq!(back.len(), 1_500);
        assert!(compared.get() >= 1_500, "the control: it does count");
        assert!(
            compared.get() < 10 * u64::from(length),
            "{}",
            compared.get()
        );
    }

    /// An entry goes where the slow way would put it: before the first of a higher place.
    fn placed_one_by_one(kept: &[Ace], back: &[Ace]) -> Vec<Ace> {
        let mut merged = kept.to_vec();
        for ace in back {
            let place = merged.iter().position(|other| rank(other) > rank(ace));
            merged.insert(place.unwrap_or(merged.len()), *ace);
        }
        merged
    }

    proptest! {
        #[test]
        fn entries_come_back_where_one_at_a_time_would(kept in list(), back in list()) {
            prop_assert_eq!(placed(&kept, &back), placed_one_by_one(&kept, &back));
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
