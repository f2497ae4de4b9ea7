//! Random SIDs, entries, lists and descriptors for property tests.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::ace::{Ace, AceFlags, AceKind};
use crate::acl::Acl;
use crate::binary::ListKind;
use crate::descriptor::{Control, Dacl, SecurityDescriptor};
use crate::mask::AccessMask;
use crate::sid::{MAX_SUBAUTHORITIES, Sid};

pub(crate) fn sid() -> impl Strategy<Value = Sid> {
    let any_sid = (0..1_u64 << 48, vec(any::<u32>(), 0..=MAX_SUBAUTHORITIES))
        .prop_map(|(authority, rest)| Sid::new(authority, &rest).unwrap());
    let known = prop::sample::select(vec![
        Sid::EVERYONE,
        Sid::SYSTEM,
        Sid::ADMINISTRATORS,
        Sid::OWNER_RIGHTS,
        Sid::WRITE_RESTRICTED,
        Sid::ALL_APPLICATION_PACKAGES,
    ]);
    prop_oneof![known, any_sid]
}

fn ace(kinds: [AceKind; 2]) -> impl Strategy<Value = Ace> {
    (
        prop::sample::select(kinds.to_vec()),
        any::<u8>(),
        any::<u32>(),
        sid(),
    )
        .prop_map(|(kind, flags, mask, sid)| Ace {
            kind,
            flags: AceFlags(flags),
            mask: AccessMask(mask),
            sid,
        })
}

pub(crate) fn acl(list: ListKind) -> impl Strategy<Value = Acl> {
    let kinds = match list {
        ListKind::Discretionary => [AceKind::Allow, AceKind::Deny],
        ListKind::System => [AceKind::Audit, AceKind::MandatoryLabel],
    };
    vec(ace(kinds), 0..8).prop_map(Acl::new)
}

pub(crate) fn descriptor() -> impl Strategy<Value = SecurityDescriptor> {
    (
        option::of(sid()),
        option::of(sid()),
        option::of(acl(ListKind::Discretionary)),
        option::of(acl(ListKind::System)),
        any::<u16>(),
    )
        .prop_map(|(owner, group, dacl, sacl, control)| {
            let mut control = Control(control & Control::KEPT.0);
            if sacl.is_none() {
                // Without the list there is no text to carry its flags.
                control = control
                    .without(Control::SACL_PROTECTED)
                    .without(Control::SACL_AUTO_INHERITED)
                    .without(Control::SACL_AUTO_INHERIT_REQ);
            }
            SecurityDescriptor {
                owner,
                group,
                dacl: dacl.map_or(Dacl::Null, Dacl::Present),
                sacl,
                control,
            }
        })
}
