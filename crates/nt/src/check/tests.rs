//! Each rule of the access check, one test each; the differential test compares the walk with another implementation.

use super::*;
use crate::ace::AceFlags;
use crate::acl::Acl;
use crate::descriptor::Dacl;
use crate::token::Group;

const READ: AccessMask = AccessMask::FILE_READ_DATA;
const WRITE: AccessMask = AccessMask::FILE_WRITE_DATA;
const ALL: AccessMask = AccessMask::FILE_ALL_ACCESS;
const NONE: AceFlags = AceFlags::NONE;

fn sid(text: &str) -> Sid {
    text.parse().unwrap()
}

fn user() -> Sid {
    sid("S-1-5-21-1-2-3-1001")
}

fn group() -> Sid {
    sid("S-1-5-21-1-2-3-1100")
}

fn capability() -> Sid {
    sid("S-1-5-21-9-9-9-7")
}

fn token() -> Token {
    Token::new(user(), &[group(), Sid::EVERYONE])
}

fn write_restricted() -> Token {
    Token {
        restriction: Restriction::Writes(vec![capability()]),
        ..token()
    }
}

fn owned_by(owner: Sid, aces: Vec<Ace>) -> SecurityDescriptor {
    SecurityDescriptor::new(owner, Sid::SYSTEM, Acl::new(aces))
}

fn descriptor(aces: Vec<Ace>) -> SecurityDescriptor {
    owned_by(Sid::SYSTEM, aces)
}

fn check(descriptor: &SecurityDescriptor, token: &Token, desired: AccessMask) -> Access {
    access_check(
        descriptor,
        token,
        desired,
        &GenericMapping::FILE,
        WriteClass::H2,
    )
}

fn denied(pass: Pass, missing: AccessMask, cause: DenialCause) -> Access {
    Access::Denied(Denial {
        pass,
        missing,
        cause,
    })
}

#[test]
fn the_order_of_entries_decides() {
    let deny = Ace::deny(NONE, WRITE, Sid::EVERYONE);
    let allow = Ace::allow(NONE, ALL, Sid::EVERYONE);
    let canonical = descriptor(vec![deny, allow]);
    let turned = descriptor(vec![allow, deny]);
    assert_eq!(
        check(&canonical, &token(), WRITE | READ),
        denied(Pass::Normal, WRITE, DenialCause::Entry(0))
    );
    assert_eq!(check(&canonical, &token(), READ), Access::Granted(READ));
    assert_eq!(check(&turned, &token(), WRITE), Access::Granted(WRITE));
}

#[test]
fn rights_add_up_over_entries_and_one_missing_bit_denies_all() {
    let split = descriptor(vec![
        Ace::allow(NONE, READ, group()),
        Ace::allow(NONE, WRITE, user()),
    ]);
    let both = READ | WRITE;
    assert_eq!(check(&split, &token(), both), Access::Granted(both));
    assert_eq!(
        check(&split, &token(), both | AccessMask::DELETE),
        denied(Pass::Normal, AccessMask::DELETE, DenialCause::NoEntry)
    );
}

#[test]
fn entries_that_are_only_inherited_do_not_count() {
    let flags = AceFlags::INHERIT_ALL.with(AceFlags::INHERIT_ONLY);
    let denying = descriptor(vec![
        Ace::deny(flags, ALL, Sid::EVERYONE),
        Ace::allow(NONE, READ, Sid::EVERYONE),
    ]);
    let allowing = descriptor(vec![Ace::allow(flags, ALL, Sid::EVERYONE)]);
    assert!(check(&denying, &token(), READ).is_granted());
    assert!(!check(&allowing, &token(), READ).is_granted());
}

#[test]
fn no_list_grants_all_and_an_empty_list_grants_nothing() {
    let mut null = descriptor(Vec::new());
    null.dacl = Dacl::Null;
    let empty = descriptor(Vec::new());
    let restricted = Token {
        restriction: Restriction::All(vec![capability()]),
        ..token()
    };
    for token in [token(), write_restricted(), restricted] {
        assert_eq!(check(&null, &token, ALL), Access::Granted(ALL));
        assert_eq!(
            check(&null, &token, AccessMask::MAXIMUM_ALLOWED),
            Access::Granted(ALL)
        );
        assert!(!check(&empty, &token, READ).is_granted());
        assert_eq!(
            check(&empty, &token, AccessMask::MAXIMUM_ALLOWED),
            denied(
                Pass::Normal,
                AccessMask::MAXIMUM_ALLOWED,
                DenialCause::NoEntry
            )
        );
    }
}

#[test]
fn an_owner_reads_and_rewrites_the_list_also_against_a_deny() {
    let own = owned_by(user(), vec![Ace::deny(NONE, AccessMask::WRITE_DAC, user())]);
    assert!(check(&own, &token(), OWNER_IMPLICIT).is_granted());
    assert!(!check(&own, &token(), READ).is_granted());
    let by_group = owned_by(group(), Vec::new());
    assert!(check(&by_group, &token(), AccessMask::WRITE_DAC).is_granted());
    let foreign = owned_by(Sid::SYSTEM, Vec::new());
    assert!(!check(&foreign, &token(), AccessMask::READ_CONTROL).is_granted());
}

#[test]
fn owner_rights_take_the_place_of_the_implicit_rights() {
    let rights = |flags, kind: fn(AceFlags, AccessMask, Sid) -> Ace, mask| {
        owned_by(user(), vec![kind(flags, mask, Sid::OWNER_RIGHTS)])
    };
    let read = rights(NONE, Ace::allow, AccessMask::READ_CONTROL);
    assert!(check(&read, &token(), AccessMask::READ_CONTROL).is_granted());
    assert!(!check(&read, &token(), AccessMask::WRITE_DAC).is_granted());
    let deny = rights(NONE, Ace::deny, AccessMask::DELETE);
    assert!(!check(&deny, &token(), AccessMask::READ_CONTROL).is_granted());
    let flags = AceFlags::INHERIT_ALL.with(AceFlags::INHERIT_ONLY);
    let for_children = rights(flags, Ace::allow, AccessMask::READ_CONTROL);
    assert!(check(&for_children, &token(), AccessMask::WRITE_DAC).is_granted());
    let foreign = descriptor(vec![Ace::allow(NONE, ALL, Sid::OWNER_RIGHTS)]);
    assert!(!check(&foreign, &token(), READ).is_granted());
}

#[test]
fn deny_only_sids_count_for_denies_alone() {
    let mut weak = token();
    weak.groups.push(Group::deny_only(Sid::ADMINISTRATORS));
    let allow = descriptor(vec![Ace::allow(NONE, ALL, Sid::ADMINISTRATORS)]);
    assert!(!check(&allow, &weak, READ).is_granted());
    let deny = descriptor(vec![
        Ace::deny(NONE, ALL, Sid::ADMINISTRATORS),
        Ace::allow(NONE, ALL, Sid::EVERYONE),
    ]);
    assert!(!check(&deny, &weak, READ).is_granted());
    assert!(check(&deny, &token(), READ).is_granted());
}

#[test]
fn a_deny_only_user_counts_for_denies_and_as_the_owner() {
    let weak = Token {
        user_state: GroupState::DenyOnly,
        ..token()
    };
    let allow = descriptor(vec![Ace::allow(NONE, ALL, user())]);
    assert!(check(&allow, &token(), READ).is_granted());
    assert!(!check(&allow, &weak, READ).is_granted());
    let deny = descriptor(vec![
        Ace::deny(NONE, READ, user()),
        Ace::allow(NONE, ALL, group()),
    ]);
    assert!(!check(&deny, &weak, READ).is_granted());
    let own = owned_by(user(), Vec::new());
    assert!(check(&own, &weak, AccessMask::WRITE_DAC).is_granted());
}

#[test]
fn privileges_give_two_rights_and_only_when_named() {
    let closed = descriptor(Vec::new());
    let with = |privileges| Token {
        privileges,
        ..token()
    };
    let system = AccessMask::ACCESS_SYSTEM_SECURITY;
    assert_eq!(
        check(&closed, &token(), system),
        denied(Pass::Normal, system, DenialCause::Privilege)
    );
    assert!(check(&closed, &with(Privileges::SECURITY), system).is_granted());
    let owner = AccessMask::WRITE_OWNER;
    assert!(!check(&closed, &token(), owner).is_granted());
    assert!(check(&closed, &with(Privileges::TAKE_OWNERSHIP), owner).is_granted());
    let others = Privileges::BACKUP
        .with(Privileges::RESTORE)
        .with(Privileges::CHANGE_NOTIFY);
    assert!(!check(&closed, &with(others), READ).is_granted());
    let both = with(Privileges::SECURITY.with(Privileges::TAKE_OWNERSHIP));
    assert!(!check(&closed, &both, AccessMask::MAXIMUM_ALLOWED).is_granted());
}

#[test]
fn an_entry_can_not_grant_access_to_the_system_list() {
    let open = descriptor(vec![Ace::allow(NONE, !AccessMask::NONE, Sid::EVERYONE)]);
    assert!(!check(&open, &token(), AccessMask::ACCESS_SYSTEM_SECURITY).is_granted());
    let maximum = check(&open, &token(), AccessMask::MAXIMUM_ALLOWED).granted();
    assert!(!maximum.intersects(AccessMask::ACCESS_SYSTEM_SECURITY | AccessMask::MAXIMUM_ALLOWED));
}

#[test]
fn generic_bits_are_mapped_in_entries_and_requests() {
    let open = descriptor(vec![Ace::allow(
        NONE,
        AccessMask::GENERIC_ALL,
        Sid::EVERYONE,
    )]);
    assert_eq!(
        check(&open, &token(), AccessMask::GENERIC_WRITE),
        Access::Granted(AccessMask::FILE_GENERIC_WRITE)
    );
    let one_bit = descriptor(vec![
        Ace::deny(NONE, AccessMask::FILE_WRITE_ATTRIBUTES, Sid::EVERYONE),
        Ace::allow(NONE, ALL, Sid::EVERYONE),
    ]);
    assert!(!check(&one_bit, &token(), AccessMask::GENERIC_WRITE).is_granted());
    assert!(check(&one_bit, &token(), AccessMask::GENERIC_READ).is_granted());
}

#[test]
fn the_maximum_is_every_bit_that_is_granted_when_asked_for_alone() {
    let mixed = owned_by(
        user(),
        vec![
            Ace::allow(NONE, READ, group()),
            Ace::deny(NONE, READ | WRITE, Sid::EVERYONE),
            Ace::allow(NONE, AccessMask::FILE_MODIFY, Sid::EVERYONE),
            Ace::allow(NONE, WRITE, capability()),
        ],
    );
    for token in [token(), write_restricted()] {
        for class in WriteClass::ALL {
            let maximum = maximum_allowed(&mixed, &token, &GenericMapping::FILE, class);
            for bit in ALL.bits() {
                let alone = access_check(&mixed, &token, bit, &GenericMapping::FILE, class);
                assert_eq!(alone.is_granted(), maximum.contains(bit), "{bit} {class:?}");
            }
        }
    }
}

#[test]
fn the_maximum_with_a_named_right_needs_that_right() {
    let read_only = descriptor(vec![Ace::allow(
        NONE,
        AccessMask::FILE_GENERIC_READ,
        group(),
    )]);
    let maximum = AccessMask::MAXIMUM_ALLOWED;
    assert_eq!(
        check(&read_only, &token(), maximum | READ),
        Access::Granted(AccessMask::FILE_GENERIC_READ)
    );
    assert_eq!(
        check(&read_only, &token(), maximum | WRITE),
        denied(Pass::Normal, WRITE, DenialCause::NoEntry)
    );
}

#[test]
fn a_write_needs_both_passes_and_a_read_the_first() {
    let both = descriptor(vec![
        Ace::allow(NONE, AccessMask::FILE_MODIFY, group()),
        Ace::allow(NONE, AccessMask::FILE_MODIFY, capability()),
    ]);
    let group_alone = descriptor(vec![Ace::allow(NONE, ALL, group())]);
    let capability_alone = descriptor(vec![Ace::allow(NONE, ALL, capability())]);
    let token = write_restricted();
    for class in WriteClass::ALL {
        let check = |descriptor, desired| {
            access_check(descriptor, &token, desired, &GenericMapping::FILE, class)
        };
        assert!(check(&both, WRITE).is_granted());
        assert_eq!(
            check(&group_alone, WRITE),
            denied(Pass::Restricting, WRITE, DenialCause::NoEntry)
        );
        assert!(check(&group_alone, READ).is_granted());
        assert_eq!(
            check(&capability_alone, WRITE),
            denied(Pass::Normal, WRITE, DenialCause::NoEntry)
        );
        assert!(!check(&both, AccessMask::FILE_DELETE_CHILD).is_granted());
    }
}

#[test]
fn the_write_class_decides_what_the_second_pass_sees() {
    let group_alone = descriptor(vec![Ace::allow(NONE, ALL, group())]);
    let token = write_restricted();
    let granted = |desired| {
        WriteClass::ALL.map(|class| {
            access_check(&group_alone, &token, desired, &GenericMapping::FILE, class).is_granted()
        })
    };
    assert_eq!(granted(AccessMask::DELETE), [true, false, false, false]);
    assert_eq!(
        granted(AccessMask::FILE_DELETE_CHILD),
        [true, false, false, true]
    );
    assert_eq!(granted(READ | WRITE), [false; 4]);
    assert_eq!(granted(READ), [true; 4]);
    // Only H3 takes the read along into the second pass.
    let write_for_both = descriptor(vec![
        Ace::allow(NONE, ALL, group()),
        Ace::allow(NONE, WRITE, capability()),
    ]);
    let whole = WriteClass::ALL.map(|class| {
        access_check(
            &write_for_both,
            &token,
            READ | WRITE,
            &GenericMapping::FILE,
            class,
        )
        .is_granted()
    });
    assert_eq!(whole, [true, true, false, true]);
}

#[test]
fn a_restricted_token_needs_both_passes_for_reads_too() {
    let restricted = Token {
        restriction: Restriction::All(vec![capability()]),
        ..token()
    };
    let group_alone = descriptor(vec![Ace::allow(NONE, ALL, group())]);
    assert_eq!(
        check(&group_alone, &restricted, READ),
        denied(Pass::Restricting, READ, DenialCause::NoEntry)
    );
    assert!(check(&group_alone, &token(), READ).is_granted());
}

#[test]
fn a_write_restricted_token_without_restricting_sids_writes_nothing() {
    let open = descriptor(vec![Ace::allow(NONE, ALL, Sid::EVERYONE)]);
    let nobody = Token {
        restriction: Restriction::Writes(Vec::new()),
        ..token()
    };
    assert!(check(&open, &nobody, READ).is_granted());
    assert!(!check(&open, &nobody, WRITE).is_granted());
}

#[test]
fn the_owner_counts_in_the_second_pass_only_as_a_restricting_sid() {
    let own = owned_by(user(), Vec::new());
    assert_eq!(
        check(&own, &write_restricted(), AccessMask::WRITE_DAC),
        denied(
            Pass::Restricting,
            AccessMask::WRITE_DAC,
            DenialCause::NoEntry
        )
    );
    let with_user = Token {
        restriction: Restriction::Writes(vec![capability(), user()]),
        ..token()
    };
    assert!(check(&own, &with_user, AccessMask::WRITE_DAC).is_granted());
    let bound = owned_by(
        user(),
        vec![Ace::allow(
            NONE,
            AccessMask::READ_CONTROL,
            Sid::OWNER_RIGHTS,
        )],
    );
    assert!(!check(&bound, &with_user, AccessMask::WRITE_DAC).is_granted());
}

#[test]
fn the_protective_deny_leaves_reads_with_synchronize() {
    let mask = AccessMask(0xd_0156);
    let protected = descriptor(vec![
        Ace::deny(AceFlags::INHERIT_ALL, mask, group()),
        Ace::deny(AceFlags::INHERIT_ALL, mask, capability()),
        Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_MODIFY, group()),
        Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_MODIFY, capability()),
    ]);
    let token = write_restricted();
    for class in WriteClass::ALL {
        let check =
            |desired| access_check(&protected, &token, desired, &GenericMapping::FILE, class);
        assert!(check(AccessMask(0x12_00a9)).is_granted());
        for bit in mask.bits() {
            assert_eq!(
                check(bit),
                denied(Pass::Normal, bit, DenialCause::Entry(0)),
                "{bit} {class:?}"
            );
        }
    }
}
