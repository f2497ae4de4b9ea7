//! The words of SDDL: aliases of SIDs, symbols of rights, flags and kinds.
//!
//! Sources: learn.microsoft.com "SID Strings", "ACE Strings", "Well-known SIDs"; [MS-DTYP] 2.4.2.4, 2.5.1.1.
//! Invariant: an alias stands for the same SID on every machine, and no SID has two.

use crate::ace::{AceFlags, AceKind};
use crate::descriptor::Control;
use crate::mask::AccessMask;
use crate::sid::Sid;

/// Two letters, and the SID that they mean everywhere.
pub(super) const ALIASES: [(&str, Sid); 49] = [
    ("WD", Sid::EVERYONE),
    ("CO", Sid::CREATOR_OWNER),
    ("CG", Sid::CREATOR_GROUP),
    ("OW", Sid::OWNER_RIGHTS),
    ("NU", Sid::NETWORK),
    ("IU", Sid::INTERACTIVE),
    ("SU", Sid::SERVICE),
    ("AN", Sid::ANONYMOUS),
    ("ED", Sid::known(5, [9])),
    ("PS", Sid::known(5, [10])),
    ("AU", Sid::AUTHENTICATED_USERS),
    ("RC", Sid::RESTRICTED),
    ("WR", Sid::WRITE_RESTRICTED),
    ("SY", Sid::SYSTEM),
    ("LS", Sid::LOCAL_SERVICE),
    ("NS", Sid::NETWORK_SERVICE),
    ("BA", Sid::ADMINISTRATORS),
    ("BU", Sid::USERS),
    ("BG", Sid::GUESTS),
    ("PU", Sid::known(5, [32, 547])),
    ("AO", Sid::known(5, [32, 548])),
    ("SO", Sid::known(5, [32, 549])),
    ("PO", Sid::known(5, [32, 550])),
    ("BO", Sid::known(5, [32, 551])),
    ("RE", Sid::known(5, [32, 552])),
    ("RU", Sid::known(5, [32, 554])),
    ("RD", Sid::known(5, [32, 555])),
    ("NO", Sid::known(5, [32, 556])),
    ("MU", Sid::known(5, [32, 558])),
    ("LU", Sid::known(5, [32, 559])),
    ("IS", Sid::known(5, [32, 568])),
    ("CY", Sid::known(5, [32, 569])),
    ("ER", Sid::known(5, [32, 573])),
    ("CD", Sid::known(5, [32, 574])),
    ("RA", Sid::known(5, [32, 575])),
    ("ES", Sid::known(5, [32, 576])),
    ("MS", Sid::known(5, [32, 577])),
    ("HA", Sid::known(5, [32, 578])),
    ("AA", Sid::known(5, [32, 579])),
    ("RM", Sid::known(5, [32, 580])),
    ("AC", Sid::ALL_APPLICATION_PACKAGES),
    ("UD", Sid::known(5, [84, 0, 0, 0, 0, 0])),
    ("AS", Sid::known(18, [1])),
    ("SS", Sid::known(18, [2])),
    ("LW", Sid::known(16, [4096])),
    ("ME", Sid::known(16, [8192])),
    ("MP", Sid::known(16, [8448])),
    ("HI", Sid::known(16, [12288])),
    ("SI", Sid::known(16, [16384])),
];

/// Two letters that mean a SID of the machine's or the domain's own.
pub(super) const DOMAIN_ALIASES: [&str; 17] = [
    "LA", "LG", "DA", "DG", "DU", "DD", "DC", "SA", "EA", "PA", "CA", "RS", "RO", "CN", "AP", "KA",
    "EK",
];

/// Kinds of entries.
pub(super) const ACE_KINDS: [AceKind; 4] = [
    AceKind::Allow,
    AceKind::Deny,
    AceKind::Audit,
    AceKind::MandatoryLabel,
];

/// Flags of entries, one for each bit.
pub(super) const ACE_FLAGS: [(&str, AceFlags); 8] = [
    ("OI", AceFlags::OBJECT_INHERIT),
    ("CI", AceFlags::CONTAINER_INHERIT),
    ("NP", AceFlags::NO_PROPAGATE_INHERIT),
    ("IO", AceFlags::INHERIT_ONLY),
    ("ID", AceFlags::INHERITED),
    ("CR", AceFlags(0x20)),
    ("SA", AceFlags(0x40)),
    ("FA", AceFlags(0x80)),
];

/// Flags of lists: the word, the bit for a DACL, the bit for a SACL.
pub(super) const LIST_FLAGS: [(&str, Control, Control); 3] = [
    ("P", Control::DACL_PROTECTED, Control::SACL_PROTECTED),
    (
        "AR",
        Control::DACL_AUTO_INHERIT_REQ,
        Control::SACL_AUTO_INHERIT_REQ,
    ),
    (
        "AI",
        Control::DACL_AUTO_INHERITED,
        Control::SACL_AUTO_INHERITED,
    ),
];

/// Rights: generic, standard, of files, of keys, and the nine lowest bits by their names for directory objects.
pub(super) const RIGHTS: [(&str, AccessMask); 25] = [
    ("GA", AccessMask::GENERIC_ALL),
    ("GR", AccessMask::GENERIC_READ),
    ("GW", AccessMask::GENERIC_WRITE),
    ("GX", AccessMask::GENERIC_EXECUTE),
    ("RC", AccessMask::READ_CONTROL),
    ("SD", AccessMask::DELETE),
    ("WD", AccessMask::WRITE_DAC),
    ("WO", AccessMask::WRITE_OWNER),
    ("FA", AccessMask::FILE_ALL_ACCESS),
    ("FR", AccessMask::FILE_GENERIC_READ),
    ("FW", AccessMask::FILE_GENERIC_WRITE),
    ("FX", AccessMask::FILE_GENERIC_EXECUTE),
    ("KA", AccessMask(0x000f_003f)),
    ("KR", AccessMask(0x0002_0019)),
    ("KW", AccessMask(0x0002_0006)),
    ("KX", AccessMask(0x0002_0019)),
    ("CC", AccessMask(0x0001)),
    ("DC", AccessMask(0x0002)),
    ("LC", AccessMask(0x0004)),
    ("SW", AccessMask(0x0008)),
    ("RP", AccessMask(0x0010)),
    ("WP", AccessMask(0x0020)),
    ("DT", AccessMask(0x0040)),
    ("LO", AccessMask(0x0080)),
    ("CR", AccessMask(0x0100)),
];

/// What a mandatory label keeps lower levels from.
pub(super) const LABEL_RIGHTS: [(&str, AccessMask); 3] = [
    ("NW", AccessMask(1)),
    ("NR", AccessMask(2)),
    ("NX", AccessMask(4)),
];
