//! Known bytes, round trips, and bytes from an attacker.

use proptest::prelude::*;

use super::*;
use crate::arbitrary;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Owner and group SYSTEM; deny DELETE to Everyone (OI CI), allow Users 0x1301bf (ID); protected.
fn known() -> (SecurityDescriptor, Vec<u8>) {
    let descriptor = SecurityDescriptor::new(
        Sid::SYSTEM,
        Sid::SYSTEM,
        Acl::new(vec![
            Ace::deny(AceFlags::INHERIT_ALL, AccessMask::DELETE, Sid::EVERYONE),
            Ace::allow(AceFlags::INHERITED, AccessMask::FILE_MODIFY, Sid::USERS),
        ]),
    )
    .protected();
    let bytes = hex("01000490 14000000 20000000 00000000 2c000000 \
                     01010000 00000005 12000000 \
                     01010000 00000005 12000000 \
                     02003400 02000000 \
                     01031400 00000100 01010000 00000001 00000000 \
                     00101800 bf011300 01020000 00000005 20000000 21020000");
    (descriptor, bytes)
}

#[test]
fn a_known_descriptor_has_its_known_bytes() {
    let (descriptor, bytes) = known();
    assert_eq!(descriptor.to_bytes().unwrap(), bytes);
    assert_eq!(SecurityDescriptor::from_bytes(&bytes).unwrap(), descriptor);
}

#[test]
fn absent_null_and_empty_lists_are_told_apart_as_an_access_check_does() {
    let with = |control: u16, dacl: &str| {
        let text = format!("0100{control:04x}140000000000000000000000{dacl}")
            + "010100000000000512000000"
            + "0200080000000000";
        SecurityDescriptor::from_bytes(&hex(&text)).unwrap().dacl
    };
    let [absent, present] = [0x0080, 0x0480];
    assert_eq!(with(absent, "00000000"), Dacl::Null);
    assert_eq!(with(absent, "20000000"), Dacl::Null);
    assert_eq!(with(present, "00000000"), Dacl::Null);
    assert_eq!(with(present, "20000000"), Dacl::Present(Acl::default()));
}

#[test]
fn every_cut_is_an_error_and_never_another_descriptor() {
    let (_, bytes) = known();
    for end in 0..bytes.len() {
        assert!(
            SecurityDescriptor::from_bytes(&bytes[..end]).is_err(),
            "{end}"
        );
    }
}

#[test]
fn each_fault_is_named_with_its_place() {
    let (_, good) = known();
    for (at, byte, offset, expected) in [
        (0, 2, 0, DecodeFault::Revision(2)),
        (3, 0x10, 2, DecodeFault::Absolute),
        (4, 0x10, 4, DecodeFault::Offset(0x10)),
        (4, 0x15, 4, DecodeFault::Offset(0x15)),
        (7, 0x7f, 0x7f00_0014, DecodeFault::Short),
        (0x14, 9, 0x14, DecodeFault::Revision(9)),
        (0x15, 16, 0x15, DecodeFault::SidTooLong(16)),
        (0x2c, 3, 0x2c, DecodeFault::Revision(3)),
        (0x2e, 4, 0x2e, DecodeFault::Size(4)),
        (0x2e, 0xff, 0x2e, DecodeFault::Size(0xff)),
        (0x30, 3, 0x60, DecodeFault::Short),
        (0x34, 5, 0x34, DecodeFault::AceKind(5)),
        (0x34, 9, 0x34, DecodeFault::AceKind(9)),
        (0x34, 2, 0x34, DecodeFault::Misplaced(2)),
        (0x36, 0x18, 0x36, DecodeFault::Size(0x18)),
        (0x36, 0, 0x36, DecodeFault::Size(0)),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        assert_eq!(
            SecurityDescriptor::from_bytes(&bytes),
            Err(DecodeError {
                offset,
                fault: expected
            }),
            "byte {at:#x} = {byte:#x}"
        );
    }
}

#[test]
fn a_list_that_ends_inside_its_last_entry_is_an_error() {
    let (_, mut bytes) = known();
    bytes[0x2e] -= 4;
    let error = SecurityDescriptor::from_bytes(&bytes).unwrap_err();
    assert_eq!(error.fault, DecodeFault::Short);
}

#[test]
fn a_sid_stands_alone() {
    let mut bytes = Sid::USERS.to_bytes();
    assert_eq!(Sid::from_bytes(&bytes), Ok(Sid::USERS));
    bytes.push(0);
    assert_eq!(
        Sid::from_bytes(&bytes),
        Err(DecodeError {
            offset: 16,
            fault: DecodeFault::Trailing
        })
    );
}

#[test]
fn what_fits_no_list_is_refused() {
    let ace = Ace::allow(AceFlags::NONE, AccessMask::DELETE, Sid::EVERYONE);
    let most = Acl::new(vec![ace; 3276]);
    assert!(most.to_bytes(ListKind::Discretionary).is_ok());
    assert_eq!(
        Acl::new(vec![ace; 3277]).to_bytes(ListKind::Discretionary),
        Err(EncodeError::AclTooLong { bytes: 65_548 })
    );
    assert_eq!(
        Acl::new(vec![ace]).to_bytes(ListKind::System),
        Err(EncodeError::Misplaced { index: 0 })
    );
}

proptest! {
    #[test]
    fn what_is_written_reads_back(descriptor in arbitrary::descriptor()) {
        let bytes = descriptor.to_bytes().unwrap();
        prop_assert_eq!(SecurityDescriptor::from_bytes(&bytes).unwrap(), descriptor);
    }

    #[test]
    fn a_sid_reads_back(sid in arbitrary::sid()) {
        prop_assert_eq!(Sid::from_bytes(&sid.to_bytes()), Ok(sid));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SecurityDescriptor::from_bytes(&bytes);
        let _ = Sid::from_bytes(&bytes);
        let _ = Acl::from_bytes(&bytes, ListKind::Discretionary);
    }

    #[test]
    fn one_changed_byte_is_refused_or_reads_back(
        descriptor in arbitrary::descriptor(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = descriptor.to_bytes().unwrap();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = SecurityDescriptor::from_bytes(&bytes) {
            let again = read.to_bytes().unwrap();
            prop_assert_eq!(SecurityDescriptor::from_bytes(&again).unwrap(), read);
        }
    }
}
