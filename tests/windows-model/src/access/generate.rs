//! Random cases: few SIDs and telling masks, so that entries hit each other.
//!
//! Invariant: the same seed and index make the same case.

use ringfence_nt::{
    AccessMask, Ace, AceFlags, AceKind, Acl, Control, Dacl, GenericMapping, Group, GroupState,
    Privileges, Restriction, SecurityDescriptor, Sid, Token, WriteClass,
};

use super::question::{AskedMapping, AskedToken, Question, hex};
use crate::random::Random;

/// One question in the model's own terms; the mapping is that of files.
#[derive(Clone, Debug)]
pub struct Case {
    /// The object.
    pub descriptor: SecurityDescriptor,
    /// The caller.
    pub token: Token,
    /// The request.
    pub desired: AccessMask,
    /// What the second pass covers.
    pub class: WriteClass,
}

/// A fault put into the model's descriptor alone, to see that the comparison finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Take this bit out of every deny entry.
    DropDenyBit(AccessMask),
    /// Put `FILE_DELETE_CHILD` into every allow entry.
    AddDeleteChild,
    /// Put an allow entry for Everyone in front.
    AddEveryone,
    /// Exchange the first two entries.
    SwapFirstTwo,
    /// Walk the entries from the last to the first.
    Reverse,
    /// Take every OWNER RIGHTS entry out.
    DropOwnerRights,
    /// Treat entries that are only inherited as entries that apply.
    ForgetInheritOnly,
}

const NOTHING: Sid = Sid::NULL;
const MASKS: [u32; 14] = [
    0x001f_01ff,
    0x0013_01bf,
    0x000d_0156,
    0x0012_0089,
    0x0012_0116,
    0x0012_00a0,
    0x0001_0000,
    0x0002_0000,
    0x0004_0000,
    0x0008_0000,
    0x0006_0000,
    0x0000_0040,
    0x0000_0002,
    0x0000_0029,
];
const GENERIC: [u32; 4] = [0x1000_0000, 0x2000_0000, 0x4000_0000, 0x8000_0000];
/// Every right that an object can have; entries with `ACCESS_SYSTEM_SECURITY` or `MAXIMUM_ALLOWED` are not asked.
const SPECIFIC: u32 = 0x001f_ffff;

struct Pool {
    user: Sid,
    groups: [Sid; 6],
    capabilities: [Sid; 3],
    others: [Sid; 4],
}

impl Pool {
    fn new() -> Self {
        let own = |tail: &[u32]| {
            let all: Vec<u32> = [21, 1, 2, 3].iter().chain(tail).copied().collect();
            Sid::new(5, &all).unwrap_or(NOTHING)
        };
        Self {
            user: own(&[1001]),
            groups: [
                own(&[1100]),
                own(&[1101]),
                Sid::EVERYONE,
                Sid::AUTHENTICATED_USERS,
                Sid::USERS,
                Sid::ADMINISTRATORS,
            ],
            capabilities: [own(&[9001]), own(&[9002]), Sid::WRITE_RESTRICTED],
            others: [
                Sid::SYSTEM,
                Sid::CREATOR_OWNER,
                Sid::OWNER_RIGHTS,
                own(&[1999]),
            ],
        }
    }

    /// A SID that an entry names: mostly one that some token has.
    fn trustee(&self, random: &mut Random) -> Sid {
        match random.below(10) {
            0..=2 => self.user,
            3 | 4 => random.one_of(&self.groups, NOTHING),
            5 | 6 => random.one_of(&self.capabilities, NOTHING),
            7 => Sid::OWNER_RIGHTS,
            _ => random.one_of(&self.others, NOTHING),
        }
    }
}

impl Case {
    /// The case number `index`.
    #[must_use]
    pub fn generate(seed: u64, index: u64) -> Self {
        let mut random = Random::new(seed, index);
        let pool = Pool::new();
        let descriptor = descriptor(&mut random, &pool);
        let token = token(&mut random, &pool);
        let desired = desired(&mut random);
        let class = random.one_of(&WriteClass::ALL, WriteClass::H2);
        let whole_maximum =
            class == WriteClass::H3 && desired.contains(AccessMask::MAXIMUM_ALLOWED);
        Self {
            descriptor,
            token,
            desired,
            class: if whole_maximum { WriteClass::H2 } else { class },
        }
    }

    /// The question as the oracle takes it: as text or as bytes, by `index`, and with its packing now and then.
    pub(super) fn question(&self, index: u64) -> Question {
        let as_text = index.is_multiple_of(2);
        let writes = matches!(self.token.restriction, Restriction::Writes(_));
        let covered = self.class.rights(&GenericMapping::FILE);
        Question {
            sddl: as_text.then(|| self.descriptor.to_sddl()),
            sd_hex: (!as_text).then(|| hex(&self.descriptor.to_bytes().unwrap_or_default())),
            token: AskedToken::of(&self.token),
            desired: u64::from(self.desired.0),
            generic_mapping: Some(AskedMapping::Named("file".to_owned())),
            write_class: writes.then_some(u64::from(covered.0)),
            write_whole: writes && self.class == WriteClass::H3,
            dump: index % 16 < 2,
        }
    }

    /// The case with a fault in its descriptor.
    #[must_use]
    pub fn mutated(&self, mutation: Mutation) -> Self {
        let mut case = self.clone();
        mutation.apply(&mut case.descriptor);
        case
    }
}

impl Mutation {
    /// Puts the fault into a descriptor.
    pub fn apply(self, descriptor: &mut SecurityDescriptor) {
        if let Dacl::Present(acl) = &mut descriptor.dacl {
            mutate(&mut acl.aces, self);
        }
    }
}

fn mutate(aces: &mut Vec<Ace>, mutation: Mutation) {
    match mutation {
        Mutation::DropDenyBit(bit) => {
            for ace in aces.iter_mut().filter(|ace| ace.kind == AceKind::Deny) {
                ace.mask = ace.mask - bit;
            }
        }
        Mutation::AddDeleteChild => {
            for ace in aces.iter_mut().filter(|ace| ace.kind == AceKind::Allow) {
                ace.mask |= AccessMask::FILE_DELETE_CHILD;
            }
        }
        Mutation::AddEveryone => {
            let mask = AccessMask::FILE_MODIFY;
            aces.insert(0, Ace::allow(AceFlags::NONE, mask, Sid::EVERYONE));
        }
        Mutation::SwapFirstTwo => {
            if aces.len() > 1 {
                aces.swap(0, 1);
            }
        }
        Mutation::Reverse => aces.reverse(),
        Mutation::DropOwnerRights => aces.retain(|ace| ace.sid != Sid::OWNER_RIGHTS),
        Mutation::ForgetInheritOnly => {
            for ace in aces.iter_mut() {
                ace.flags = ace.flags.without(AceFlags::INHERIT_ONLY);
            }
        }
    }
}

fn mask(random: &mut Random) -> AccessMask {
    AccessMask(match random.below(20) {
        0..=9 => random.one_of(&MASKS, 0),
        10..=12 => random.one_of(&GENERIC, 0),
        13 => random.one_of(&GENERIC, 0) | random.one_of(&MASKS, 0),
        14..=16 => 1 << random.below(21),
        _ => random.word() & SPECIFIC,
    })
}

fn descriptor(random: &mut Random, pool: &Pool) -> SecurityDescriptor {
    let mut aces = Vec::new();
    for _ in 0..random.below(10) {
        let flags = match random.below(10) {
            0..=4 => AceFlags::NONE,
            5 | 6 => AceFlags::INHERIT_ALL,
            7 => AceFlags::INHERITED,
            8 => AceFlags::INHERIT_ALL.with(AceFlags::INHERIT_ONLY),
            _ => AceFlags(random.word().to_le_bytes()[0] & 0x1f),
        };
        let kind = if random.chance(30) {
            AceKind::Deny
        } else {
            AceKind::Allow
        };
        let ace = Ace {
            kind,
            flags,
            mask: mask(random),
            sid: pool.trustee(random),
        };
        aces.push(ace);
    }
    let owner = match random.below(10) {
        0..=3 => pool.user,
        4 | 5 => random.one_of(&pool.groups, NOTHING),
        6 => random.one_of(&pool.capabilities, NOTHING),
        _ => Sid::SYSTEM,
    };
    let mut descriptor = SecurityDescriptor::new(owner, Sid::SYSTEM, Acl::new(aces));
    if random.chance(1) {
        descriptor.dacl = Dacl::Null;
    }
    descriptor.control = random.one_of(
        &[
            Control(0),
            Control::DACL_PROTECTED,
            Control::DACL_AUTO_INHERITED,
        ],
        Control(0),
    );
    descriptor
}

fn token(random: &mut Random, pool: &Pool) -> Token {
    let mut token = Token::new(pool.user, &[]);
    for sid in random.some_of(&pool.groups, 70) {
        token.groups.push(if random.chance(10) {
            Group::deny_only(sid)
        } else {
            Group::enabled(sid)
        });
    }
    // A capability SID in the normal list, as an attacker might wish for.
    if random.chance(5) {
        token
            .groups
            .extend(pool.capabilities.first().map(|sid| Group::enabled(*sid)));
    }
    if random.chance(5) {
        token.user_state = GroupState::DenyOnly;
    }
    let mut restricting = random.some_of(&pool.capabilities, 50);
    restricting.extend(random.some_of(&[pool.user], 30));
    restricting.extend(random.some_of(&pool.groups, 10));
    token.restriction = match random.below(10) {
        0 | 1 => Restriction::None,
        2 | 3 if !restricting.is_empty() => Restriction::All(restricting),
        _ => Restriction::Writes(restricting),
    };
    let privileges = [
        Privileges::SECURITY,
        Privileges::TAKE_OWNERSHIP,
        Privileges::BACKUP,
        Privileges::RESTORE,
        Privileges::CHANGE_NOTIFY,
    ];
    if random.chance(20) {
        let held = random.some_of(&privileges, 40);
        token.privileges = held.into_iter().fold(Privileges::NONE, Privileges::with);
    }
    token
}

fn desired(random: &mut Random) -> AccessMask {
    AccessMask(match random.below(100) {
        0 => 0,
        1..=15 => AccessMask::MAXIMUM_ALLOWED.0,
        16..=18 => AccessMask::ACCESS_SYSTEM_SECURITY.0 | (random.word() & 0x000f_0000),
        19..=50 => 1 << random.below(21),
        51..=60 => random.one_of(&GENERIC, 0),
        61..=85 => random.one_of(&MASKS, 0),
        _ => random.word() & random.word() & SPECIFIC,
    })
}
