//! Known texts, round trips, and texts from an attacker.

use proptest::prelude::*;

use super::*;
use crate::arbitrary;

fn read(text: &str) -> SecurityDescriptor {
    SecurityDescriptor::from_sddl(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn fault_of(text: &str) -> (usize, SddlFault) {
    let error = SecurityDescriptor::from_sddl(text).unwrap_err();
    (error.offset, error.fault)
}

#[test]
fn a_known_text_means_a_known_descriptor() {
    let text = "O:SYG:S-1-5-21-1-2-3-513D:PAI(D;OICI;0xd0156;;;BU)(A;ID;0x1301bf;;;OW)";
    let descriptor = read(text);
    assert_eq!(descriptor.owner, Some(Sid::SYSTEM));
    assert_eq!(descriptor.group.unwrap().to_string(), "S-1-5-21-1-2-3-513");
    assert_eq!(
        descriptor.control,
        Control::DACL_PROTECTED.with(Control::DACL_AUTO_INHERITED)
    );
    assert_eq!(
        descriptor.acl().unwrap().aces,
        [
            Ace::deny(AceFlags::INHERIT_ALL, AccessMask(0xd_0156), Sid::USERS),
            Ace::allow(
                AceFlags::INHERITED,
                AccessMask::FILE_MODIFY,
                Sid::OWNER_RIGHTS
            ),
        ]
    );
    assert_eq!(descriptor.to_sddl(), text);
}

#[test]
fn symbols_of_rights_are_read_and_numbers_are_written() {
    for (symbols, mask) in [
        ("FA", 0x1f_01ff),
        ("FR", 0x12_0089),
        ("FW", 0x12_0116),
        ("FX", 0x12_00a0),
        ("GA", 0x1000_0000),
        ("GXGR", 0xa000_0000),
        ("SDRCWDWO", 0xf_0000),
        ("CCDCLCSWRPWPDTLOCR", 0x1ff),
        ("KA", 0xf_003f),
        ("0x1F01FF", 0x1f_01ff),
        ("", 0),
    ] {
        let descriptor = read(&format!("D:(A;;{symbols};;;WD)"));
        assert_eq!(descriptor.acl().unwrap().aces[0].mask.0, mask, "{symbols}");
        assert_eq!(descriptor.to_sddl(), format!("D:(A;;{mask:#x};;;WD)"));
    }
}

#[test]
fn null_empty_and_absent_lists() {
    assert_eq!(read("").dacl, Dacl::Null);
    assert_eq!(read("D:NO_ACCESS_CONTROL").dacl, Dacl::Null);
    assert_eq!(read("D:").dacl, Dacl::Present(Acl::default()));
    let protected = read("D:PNO_ACCESS_CONTROL");
    assert_eq!(protected.dacl, Dacl::Null);
    assert!(protected.control.contains(Control::DACL_PROTECTED));
    assert_eq!(read("S:").sacl, Some(Acl::default()));
}

#[test]
fn a_mandatory_label_and_an_audit_entry_stand_in_the_system_list() {
    let text = "O:BAD:(A;;0x1;;;WD)S:AI(ML;;0x3;;;LW)(AU;SAFA;0x2;;;WD)";
    assert_eq!(read(text).to_sddl(), text);
    assert_eq!(
        read("S:(ML;;NWNR;;;HI)").sacl.unwrap().aces[0].mask,
        AccessMask(3)
    );
    assert_eq!(fault_of("D:(ML;;NW;;;LW)"), (3, SddlFault::Misplaced));
    assert_eq!(fault_of("S:(A;;0x1;;;WD)"), (3, SddlFault::Misplaced));
}

#[test]
fn each_fault_is_named_with_its_place() {
    for (text, offset, fault) in [
        ("X", 0, SddlFault::Part),
        ("G:SYO:SY", 4, SddlFault::Part),
        ("O:SYO:SY", 4, SddlFault::Part),
        ("O:SY ", 4, SddlFault::Part),
        ("O:sy", 2, SddlFault::Alias),
        ("O:ZZ", 2, SddlFault::Alias),
        ("O:", 2, SddlFault::Alias),
        ("O:LA", 2, SddlFault::DomainAlias),
        ("D:(A;;0x1;;;DA)", 12, SddlFault::DomainAlias),
        ("O:S-1-5-", 2, SddlFault::Sid(SidError::Subauthority)),
        (
            "O:S-1-5-4294967296",
            2,
            SddlFault::Sid(SidError::Subauthority),
        ),
        ("O:S-2-5-18", 2, SddlFault::Sid(SidError::Revision)),
        ("D:X", 2, SddlFault::ListFlag),
        ("D: (A;;0x1;;;WD)", 2, SddlFault::ListFlag),
        ("D:NO_ACCESS_CONTROL(A;;0x1;;;WD)", 19, SddlFault::Part),
        ("S:NO_ACCESS_CONTROL", 19, SddlFault::NullSystemList),
        ("D:(A;;0x1;;;WD", 3, SddlFault::Unclosed),
        ("D:(A;;0x1;;WD)", 11, SddlFault::Fields),
        ("D:()", 3, SddlFault::Fields),
        ("D:(A;;0x1;;;WD;x)", 14, SddlFault::Fields),
        (
            "D:(XA;;0x1;;;WD;(Member_of{SID(BA)}))",
            3,
            SddlFault::AceKind,
        ),
        (
            "D:(OA;;0x1;00000000-0000-0000-0000-000000000000;;WD)",
            3,
            SddlFault::AceKind,
        ),
        (
            "D:(A;;0x1;00000000-0000-0000-0000-000000000000;;WD)",
            10,
            SddlFault::ObjectType,
        ),
        ("D:(A;OICIX;0x1;;;WD)", 9, SddlFault::AceFlag),
        ("D:(A;;0x;;;WD)", 6, SddlFault::Rights),
        ("D:(A;;0x100000000;;;WD)", 6, SddlFault::Rights),
        ("D:(A;;0x+1;;;WD)", 6, SddlFault::Rights),
        ("D:(A;;FAX;;;WD)", 8, SddlFault::Rights),
        ("D:(A;;NW;;;WD)", 6, SddlFault::Rights),
        ("D:(A;;1;;;WD)", 6, SddlFault::Rights),
        ("D:(A;;é;;;WD)", 6, SddlFault::Rights),
    ] {
        assert_eq!(fault_of(text), (offset, fault), "{text}");
    }
}

#[test]
fn aliases_are_unique_and_none_depends_on_a_domain() {
    for (index, (alias, sid)) in ALIASES.iter().enumerate() {
        let later = &ALIASES[index + 1..];
        assert!(later.iter().all(|(other, _)| other != alias), "{alias}");
        assert!(later.iter().all(|(_, other)| other != sid), "{alias}");
        assert!(!DOMAIN_ALIASES.contains(alias), "{alias}");
        assert_eq!(read(&format!("O:{alias}")).owner, Some(*sid));
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(descriptor in arbitrary::descriptor()) {
        prop_assert_eq!(SecurityDescriptor::from_sddl(&descriptor.to_sddl()).unwrap(), descriptor);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = SecurityDescriptor::from_sddl(&text);
    }

    #[test]
    fn text_of_the_right_letters_reads_back_or_is_refused(
        text in "(O:|G:|D:|S:|P|AI|\\(|A;|D;|OI|CI|;|0x1f|FA|WD|SY|S-1-5-32|\\)|é){0,20}",
    ) {
        if let Ok(read) = SecurityDescriptor::from_sddl(&text) {
            prop_assert_eq!(SecurityDescriptor::from_sddl(&read.to_sddl()).unwrap(), read);
        }
    }
}
