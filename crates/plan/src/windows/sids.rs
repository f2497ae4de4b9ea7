//! The SIDs that Ringfence makes up, and the names of its accounts.
//!
//! A SID of ours is `S-1-0-1380535879-KIND-a-b-c-d`: the authority of nobody, a tag that no other maker uses, what it
//! is for, and 128 bits. No account database knows such SIDs, so nothing looks them up; the tag lets a scan find
//! every entry that is left. `[unsettled]` whether `CreateRestrictedToken` takes them: Chromium's sandbox uses the
//! same authority for its random SIDs; where a machine refuses, [`SidShape::Domain`] is planned with.
//!
//! Invariant: derived SIDs depend on their inputs alone, and different inputs give different SIDs (SHA-256).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use ringfence_nt::Sid;
use ringfence_policy::document::NetworkMode;

use crate::windows::facts::{Capability, Presence};
use crate::windows::step::{AccountSids, FileId};

/// The first subauthority of every SID of ours: `RING`.
pub const TAG: u32 = 0x5249_4e47;

/// How many capability SIDs one person may have given out at once.
///
/// Each of them is an entry on every object of a root, and a token holds at most some hundred groups in comfort.
pub const MAX_CAPABILITIES: usize = 64;

/// A person's secret, from which the SIDs of their roots are derived: nobody else can foretell them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SidSecret([u8; 32]);

impl SidSecret {
    /// A secret of these bytes, which the system's generator has made.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SidSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SidSecret(..)")
    }
}

impl Serialize for SidSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::render::hexadecimal(&self.0))
    }
}

impl<'de> Deserialize<'de> for SidSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom("a secret is 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(index * 2..index * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(D::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

/// What a SID of ours is for: its second subauthority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SidKind {
    /// 1: may write a root.
    Write,
    /// 2: may write a root whose repository may be committed to.
    Commit,
    /// 3: in the token of every target of a person, and of no runner.
    Marker,
    /// 4: separates sessions; random for each.
    Session,
    /// 6: may write the private home of a root, also where the root itself is read-only.
    Home,
    /// 5: stands in a plan for something that is known later, and never on a disk.
    Placeholder,
}

impl SidKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Write,
        Self::Commit,
        Self::Marker,
        Self::Session,
        Self::Placeholder,
        Self::Home,
    ];

    const fn number(self) -> u32 {
        match self {
            Self::Write => 1,
            Self::Commit => 2,
            Self::Marker => 3,
            Self::Session => 4,
            Self::Placeholder => 5,
            Self::Home => 6,
        }
    }
}

/// What SIDs of ours look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SidShape {
    /// `S-1-0-…`
    #[default]
    Null,
    /// `S-1-5-21-…`: looks like an account of a domain, and may be looked up as one.
    Domain,
}

/// Which of the two capability SIDs of a root a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootGrant {
    /// Write, repositories left out.
    Write,
    /// Write, commits too.
    Commit,
}

/// Something that a plan speaks of before it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The Offline user.
    Offline,
    /// The Online user.
    Online,
    /// The group.
    Group,
    /// The session's SID, which the launcher draws.
    Session,
    /// The logon SID of the runner's logon session, which the runner reads from its token.
    Logon,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Offline,
        Self::Online,
        Self::Group,
        Self::Session,
        Self::Logon,
    ];

    /// The SID that stands for it. Executors put the real one in its place, and refuse to write this one.
    #[must_use]
    pub fn sid(self) -> Sid {
        let number = match self {
            Self::Offline => 1,
            Self::Online => 2,
            Self::Group => 3,
            Self::Session => 4,
            Self::Logon => 5,
        };
        make(SidShape::Null, SidKind::Placeholder, [0, 0, 0, number])
    }

    /// What it is called in text.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "OFFLINE",
            Self::Online => "ONLINE",
            Self::Group => "GROUP",
            Self::Session => "SESSION",
            Self::Logon => "LOGON",
        }
    }
}

/// The accounts of a person before set-up has made them.
#[must_use]
pub fn accounts_to_be() -> AccountSids {
    AccountSids {
        offline: Placeholder::Offline.sid(),
        online: Placeholder::Online.sid(),
        group: Placeholder::Group.sid(),
    }
}

/// The capability SID of a root.
///
/// # Security
/// Whoever does not know the secret can't put an entry for a root's future SID on an object beforehand.
#[must_use]
pub fn capability(secret: &SidSecret, shape: SidShape, root: FileId, grant: RootGrant) -> Sid {
    let kind = match grant {
        RootGrant::Write => SidKind::Write,
        RootGrant::Commit => SidKind::Commit,
    };
    derive(secret, shape, kind, &bytes_of(root))
}

/// The SID that may write the private home that a root has for one kind of network: what an open network put into its
/// caches is not changed into what a closed one starts.
#[must_use]
pub fn home(secret: &SidSecret, shape: SidShape, root: FileId, network: NetworkMode) -> Sid {
    let mut input = bytes_of(root);
    input.push(match network {
        NetworkMode::Offline => 0,
        NetworkMode::Allowlist => 1,
        NetworkMode::Open => 2,
    });
    derive(secret, shape, SidKind::Home, &input)
}

fn bytes_of(root: FileId) -> Vec<u8> {
    let mut bytes = root.volume.to_le_bytes().to_vec();
    bytes.extend(root.file.to_le_bytes());
    bytes
}

/// The marker SID of a person.
#[must_use]
pub fn marker(secret: &SidSecret, shape: SidShape, person: Sid) -> Sid {
    derive(
        secret,
        shape,
        SidKind::Marker,
        person.to_string().as_bytes(),
    )
}

/// The SID of a session, of 128 random bits that the launcher draws.
#[must_use]
pub fn session(shape: SidShape, random: u128) -> Sid {
    let mut words = [0_u32; 4];
    for (word, bytes) in words.iter_mut().zip(random.to_be_bytes().chunks_exact(4)) {
        *word = bytes
            .iter()
            .fold(0, |word, byte| (word << 8) | u32::from(*byte));
    }
    make(shape, SidKind::Session, words)
}

/// What `sid` is for, if it is one of ours in the shape `S-1-0-…`.
#[must_use]
pub fn kind_of(sid: Sid) -> Option<SidKind> {
    let (0, [TAG, number, _, _, _, _]) = (sid.authority(), sid.subauthorities()) else {
        return None;
    };
    SidKind::ALL
        .into_iter()
        .find(|kind| kind.number() == *number)
}

fn derive(secret: &SidSecret, shape: SidShape, kind: SidKind, input: &[u8]) -> Sid {
    let mut hasher = Sha256::new();
    hasher.update(b"ringfence sid\0");
    hasher.update(secret.0);
    hasher.update(kind.number().to_le_bytes());
    hasher.update(input);
    let mut words = [0_u32; 4];
    for (word, bytes) in words.iter_mut().zip(hasher.finalize().chunks_exact(4)) {
        *word = bytes
            .iter()
            .fold(0, |word, byte| (word << 8) | u32::from(*byte));
    }
    make(shape, kind, words)
}

fn make(shape: SidShape, kind: SidKind, words: [u32; 4]) -> Sid {
    let [a, b, c, d] = words;
    let made = match shape {
        SidShape::Null => Sid::new(0, &[TAG, kind.number(), a, b, c, d]),
        // A domain's account has four numbers behind 21; the kind goes into the hash alone.
        SidShape::Domain => Sid::new(5, &[21, a, b, c, d]),
    };
    // At most six subauthorities: it can't be too long.
    made.unwrap_or(Sid::NULL)
}

/// The names of a person's accounts and group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountNames {
    /// `RingfenceOff-XXXXXX`
    pub offline: String,
    /// `RingfenceOn-XXXXXX`
    pub online: String,
    /// `Ringfence-XXXXXX`
    pub group: String,
}

impl AccountNames {
    /// The names for the person with this SID; six letters of its hash keep people apart. At most 20 characters
    /// (learn.microsoft.com `USER_INFO_1`: `LM20_UNLEN`).
    #[must_use]
    pub fn of(person: Sid) -> Self {
        let letters = letters(person);
        Self {
            offline: format!("RingfenceOff-{letters}"),
            online: format!("RingfenceOn-{letters}"),
            group: format!("Ringfence-{letters}"),
        }
    }
}

/// Six letters of the hash of a person's SID.
#[must_use]
pub fn letters(person: Sid) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"ringfence account\0");
    hasher.update(person.to_string().as_bytes());
    hasher
        .finalize()
        .iter()
        .take(6)
        .map(|byte| char::from(b'A' + byte % 26))
        .collect()
}

/// Splits the capability SIDs that are given out: those that stay, and those whose root is gone.
///
/// A root on a volume that is not mounted stays: its entries are still on that disk.
#[must_use]
pub fn collect(given: &[Capability]) -> (Vec<&Capability>, Vec<&Capability>) {
    given
        .iter()
        .partition(|capability| match capability.presence {
            Presence::Present | Presence::VolumeAbsent => true,
            Presence::Gone => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(rid: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, rid]).unwrap()
    }

    #[test]
    fn account_names_fit_and_differ_by_person() {
        let names = AccountNames::of(person(1001));
        for name in [&names.offline, &names.online, &names.group] {
            assert!(name.len() <= 20, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'));
        }
        assert_ne!(names, AccountNames::of(person(1002)));
    }

    #[test]
    fn capabilities_differ_by_secret_volume_file_and_grant() {
        let id = |volume, file| FileId { volume, file };
        let (one, other) = (SidSecret::new([1; 32]), SidSecret::new([2; 32]));
        let all = [
            capability(&one, SidShape::Null, id(1, 2), RootGrant::Write),
            capability(&one, SidShape::Null, id(1, 2), RootGrant::Commit),
            capability(&one, SidShape::Null, id(1, 3), RootGrant::Write),
            capability(&one, SidShape::Null, id(2, 2), RootGrant::Write),
            capability(&other, SidShape::Null, id(1, 2), RootGrant::Write),
            capability(&one, SidShape::Domain, id(1, 2), RootGrant::Write),
            marker(&one, SidShape::Null, person(1)),
            marker(&one, SidShape::Null, person(2)),
        ];
        for (index, sid) in all.iter().enumerate() {
            assert!(!all[..index].contains(sid), "{sid}");
        }
        assert_eq!(kind_of(all[0]), Some(SidKind::Write));
        assert_eq!(kind_of(all[1]), Some(SidKind::Commit));
        assert_eq!(kind_of(all[6]), Some(SidKind::Marker));
        assert_eq!(kind_of(Sid::NULL), None);
        assert_eq!(kind_of(Sid::EVERYONE), None);
    }

    #[test]
    fn sessions_differ_by_their_random_number() {
        let one = session(SidShape::Null, 1);
        assert_eq!(kind_of(one), Some(SidKind::Session));
        assert_ne!(one, session(SidShape::Null, 1 << 96));
        assert_ne!(one, session(SidShape::Domain, 1));
        assert_ne!(one, Placeholder::Session.sid());
    }

    #[test]
    fn a_secret_is_never_shown_and_survives_its_json() {
        let secret = SidSecret::new([7; 32]);
        assert_eq!(format!("{secret:?}"), "SidSecret(..)");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<SidSecret>(&json).unwrap(), secret);
        assert!(serde_json::from_str::<SidSecret>("\"07\"").is_err());
    }
}
