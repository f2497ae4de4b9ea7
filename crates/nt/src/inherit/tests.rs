//! Each row of the inheritance table, and what a creator and propagation may and may not do.

use super::*;
use crate::ace::AceKind;

const OI: u8 = 0x01;
const CI: u8 = 0x02;
const NP: u8 = 0x04;
const IO: u8 = 0x08;
const ID: u8 = 0x10;

const CONTAINER: ObjectKind = ObjectKind::Container;
const LEAF: ObjectKind = ObjectKind::Leaf;
const MODIFY: AccessMask = AccessMask::FILE_MODIFY;

fn user() -> Sid {
    "S-1-5-21-1-2-3-1001".parse().unwrap()
}

fn group() -> Sid {
    "S-1-5-21-1-2-3-1100".parse().unwrap()
}

fn token() -> Token {
    Token {
        primary_group: group(),
        default_dacl: Some(Acl::new(vec![allow(0, AccessMask::GENERIC_ALL, user())])),
        ..Token::new(user(), &[group()])
    }
}

fn allow(flags: u8, mask: AccessMask, sid: Sid) -> Ace {
    Ace::allow(AceFlags(flags), mask, sid)
}

fn deny(flags: u8, mask: AccessMask, sid: Sid) -> Ace {
    Ace::deny(AceFlags(flags), mask, sid)
}

fn directory(aces: Vec<Ace>) -> SecurityDescriptor {
    SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(aces))
}

fn made_in(parent: &SecurityDescriptor, kind: ObjectKind) -> SecurityDescriptor {
    for_new(Some(parent), &token(), None, kind, &GenericMapping::FILE)
}

fn given(aces: Vec<Ace>) -> CreatorDescriptor {
    CreatorDescriptor {
        dacl: Some(Dacl::Present(Acl::new(aces))),
        ..CreatorDescriptor::default()
    }
}

fn made_with(
    parent: &SecurityDescriptor,
    given: &CreatorDescriptor,
    kind: ObjectKind,
) -> SecurityDescriptor {
    for_new(
        Some(parent),
        &token(),
        Some(given),
        kind,
        &GenericMapping::FILE,
    )
}

fn again(
    parent: &SecurityDescriptor,
    child: &SecurityDescriptor,
    kind: ObjectKind,
) -> SecurityDescriptor {
    reinherit(parent, child, kind, &GenericMapping::FILE)
}

fn aces(descriptor: &SecurityDescriptor) -> &[Ace] {
    &descriptor.acl().unwrap().aces
}

#[test]
fn the_table_of_inheritance_rules() {
    // Flags on the parent; flags on a file in it; flags on a directory in it. `None`: no entry.
    for (on_parent, on_file, on_directory) in [
        (0, None, None),
        (OI, Some(ID), Some(OI | IO | ID)),
        (OI | NP, Some(ID), None),
        (CI, None, Some(CI | ID)),
        (CI | NP, None, Some(ID)),
        (OI | CI, Some(ID), Some(OI | CI | ID)),
        (OI | CI | NP, Some(ID), Some(ID)),
        (OI | CI | IO, Some(ID), Some(OI | CI | ID)),
        (CI | IO, None, Some(CI | ID)),
        (OI | IO, Some(ID), Some(OI | IO | ID)),
        (OI | CI | ID, Some(ID), Some(OI | CI | ID)),
        (OI | CI | NP | IO, Some(ID), Some(ID)),
    ] {
        let parent = directory(vec![
            allow(on_parent, MODIFY, Sid::USERS),
            // So that nothing falls back to the default DACL.
            allow(OI | CI, MODIFY, Sid::SYSTEM),
        ]);
        for (kind, expected) in [(LEAF, on_file), (CONTAINER, on_directory)] {
            let child = made_in(&parent, kind);
            let found: Vec<Ace> = aces(&child)
                .iter()
                .copied()
                .filter(|ace| ace.sid == Sid::USERS)
                .collect();
            let expected: Vec<Ace> = expected
                .map(|flags| allow(flags, MODIFY, Sid::USERS))
                .into_iter()
                .collect();
            assert_eq!(found, expected, "{on_parent:#x} {kind:?}");
        }
    }
}

#[test]
fn a_generic_entry_becomes_an_effective_and_an_inherit_only_one() {
    let parent = directory(vec![allow(
        OI | CI | IO,
        AccessMask::GENERIC_ALL,
        Sid::CREATOR_OWNER,
    )]);
    let inner = made_in(&parent, CONTAINER);
    assert_eq!(
        aces(&inner),
        [
            allow(ID, AccessMask::FILE_ALL_ACCESS, user()),
            allow(
                OI | CI | IO | ID,
                AccessMask::GENERIC_ALL,
                Sid::CREATOR_OWNER
            ),
        ]
    );
    let file = made_in(&inner, LEAF);
    assert_eq!(
        aces(&file),
        [allow(ID, AccessMask::FILE_ALL_ACCESS, user())]
    );
}

#[test]
fn creator_group_becomes_the_primary_group() {
    let parent = directory(vec![allow(OI, MODIFY, Sid::CREATOR_GROUP)]);
    let file = made_in(&parent, LEAF);
    assert_eq!(aces(&file), [allow(ID, MODIFY, group())]);
    assert_eq!(file.owner, Some(user()));
    assert_eq!(file.group, Some(group()));
    assert!(file.control.contains(Control::DACL_AUTO_INHERITED));
}

#[test]
fn order_and_kind_are_kept() {
    let parent = directory(vec![
        deny(OI | CI, AccessMask::DELETE, Sid::USERS),
        allow(OI | CI, MODIFY, Sid::USERS),
        deny(OI | CI, AccessMask::DELETE, Sid::GUESTS),
    ]);
    let kinds: Vec<AceKind> = aces(&made_in(&parent, LEAF))
        .iter()
        .map(|ace| ace.kind)
        .collect();
    assert_eq!(kinds, [AceKind::Deny, AceKind::Allow, AceKind::Deny]);
}

#[test]
fn where_nothing_is_inherited_the_default_list_applies() {
    let parent = directory(vec![allow(0, MODIFY, Sid::USERS)]);
    let expected = [allow(0, AccessMask::FILE_ALL_ACCESS, user())];
    assert_eq!(aces(&made_in(&parent, LEAF)), expected);
    let nowhere = for_new(None, &token(), None, LEAF, &GenericMapping::FILE);
    assert_eq!(aces(&nowhere), expected);
    let without = Token {
        default_dacl: None,
        ..token()
    };
    let open = for_new(Some(&parent), &without, None, LEAF, &GenericMapping::FILE);
    assert_eq!(open.dacl, Dacl::Null);
}

#[test]
fn what_a_creator_gives_stands_before_what_is_inherited() {
    let parent = directory(vec![deny(OI | CI, AccessMask::DELETE, Sid::USERS)]);
    let own = given(vec![allow(OI | CI, AccessMask::GENERIC_READ, Sid::USERS)]);
    let read = AccessMask::FILE_GENERIC_READ;
    assert_eq!(
        aces(&made_with(&parent, &own, CONTAINER)),
        [
            allow(0, read, Sid::USERS),
            allow(OI | CI | IO, AccessMask::GENERIC_READ, Sid::USERS),
            deny(OI | CI | ID, AccessMask::DELETE, Sid::USERS),
        ]
    );
}

#[test]
fn a_protected_list_of_the_creator_keeps_the_parent_out() {
    let parent = directory(vec![deny(OI | CI, AccessMask::DELETE, Sid::USERS)]);
    let own = CreatorDescriptor {
        control: Control::DACL_PROTECTED,
        ..given(vec![allow(0, MODIFY, user())])
    };
    let file = made_with(&parent, &own, LEAF);
    assert_eq!(aces(&file), [allow(0, MODIFY, user())]);
    assert!(file.control.contains(Control::DACL_PROTECTED));
    assert_eq!(again(&parent, &file, LEAF), file);
}

#[test]
fn a_creator_can_not_forge_inherited_entries() {
    let parent = directory(vec![allow(OI, AccessMask::FILE_GENERIC_READ, Sid::USERS)]);
    let forged = given(vec![allow(ID, MODIFY, Sid::EVERYONE)]);
    assert_eq!(
        aces(&made_with(&parent, &forged, LEAF)),
        [allow(ID, AccessMask::FILE_GENERIC_READ, Sid::USERS)]
    );
}

#[test]
fn propagation_keeps_explicit_entries_in_front_and_replaces_the_inherited_ones() {
    let parent = directory(vec![
        deny(OI | CI, AccessMask(0xd_0156), Sid::USERS),
        allow(OI | CI, MODIFY, Sid::USERS),
    ]);
    let child = SecurityDescriptor::new(
        user(),
        group(),
        Acl::new(vec![
            allow(0, MODIFY, user()),
            allow(ID, AccessMask::FILE_ALL_ACCESS, Sid::EVERYONE),
        ]),
    );
    let after = again(&parent, &child, LEAF);
    assert_eq!(
        aces(&after),
        [
            allow(0, MODIFY, user()),
            deny(ID, AccessMask(0xd_0156), Sid::USERS),
            allow(ID, MODIFY, Sid::USERS),
        ]
    );
    assert_eq!(again(&parent, &after, LEAF), after);
}

#[test]
fn propagation_to_an_existing_child_names_its_owner() {
    let parent = directory(vec![allow(OI | CI | IO, MODIFY, Sid::CREATOR_OWNER)]);
    let child = SecurityDescriptor::new(Sid::GUESTS, group(), Acl::default());
    assert_eq!(
        aces(&again(&parent, &child, LEAF)),
        [allow(ID, MODIFY, Sid::GUESTS)]
    );
}

#[test]
fn propagation_takes_the_last_entry_and_leaves_an_empty_list() {
    let with = directory(vec![allow(OI | CI, MODIFY, Sid::USERS)]);
    let without = directory(Vec::new());
    let mut open = made_in(&with, LEAF);
    open.dacl = Dacl::Null;
    assert_eq!(again(&without, &open, LEAF).dacl, Dacl::Null);
    let closed = again(&with, &open, LEAF);
    assert_eq!(aces(&closed), [allow(ID, MODIFY, Sid::USERS)]);
    assert_eq!(
        again(&without, &closed, LEAF).dacl,
        Dacl::Present(Acl::default())
    );
}
