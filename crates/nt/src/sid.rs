//! Security identifiers.
//!
//! Source: [MS-DTYP] 2.4.2 (SID) and the page "Well-known SIDs" on learn.microsoft.com.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest number of subauthorities that a SID can have (`SID_MAX_SUB_AUTHORITIES`).
pub const MAX_SUBAUTHORITIES: usize = 15;

/// A security identifier: `S-1-authority-subauthority…`, revision 1.
///
/// Ordered and compared by value; SIDs are never compared by the text they were written as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sid {
    /// 48 bits.
    authority: u64,
    count: u8,
    /// Beyond `count` always zero, so that derived equality is equality of SIDs.
    subauthorities: [u32; MAX_SUBAUTHORITIES],
}

/// Why a text or a list of numbers is no SID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidError {
    /// It does not begin with `S-1-`.
    #[error("a SID begins with S-1-")]
    Revision,
    /// The authority is missing or takes more than 48 bits.
    #[error("the SID's authority is no number of 48 bits")]
    Authority,
    /// A subauthority is no 32-bit number.
    #[error("a subauthority of the SID is no number of 32 bits")]
    Subauthority,
    /// There are more than fifteen subauthorities.
    #[error("a SID has at most 15 subauthorities")]
    TooLong,
}

impl Sid {
    /// `S-1-0-0`: nobody.
    pub const NULL: Self = Self::known(0, [0]);
    /// `S-1-1-0`: Everyone.
    pub const EVERYONE: Self = Self::known(1, [0]);
    /// `S-1-2-0`: LOCAL, who signed in at the machine itself.
    pub const LOCAL: Self = Self::known(2, [0]);
    /// `S-1-3-0`: CREATOR OWNER, replaced at inheritance by the new object's owner.
    pub const CREATOR_OWNER: Self = Self::known(3, [0]);
    /// `S-1-3-1`: CREATOR GROUP, replaced at inheritance by the new object's primary group.
    pub const CREATOR_GROUP: Self = Self::known(3, [1]);
    /// `S-1-3-4`: OWNER RIGHTS, which takes the place of the owner's implicit rights.
    pub const OWNER_RIGHTS: Self = Self::known(3, [4]);
    /// `S-1-5-2`: NETWORK.
    pub const NETWORK: Self = Self::known(5, [2]);
    /// `S-1-5-3`: BATCH.
    pub const BATCH: Self = Self::known(5, [3]);
    /// `S-1-5-4`: INTERACTIVE.
    pub const INTERACTIVE: Self = Self::known(5, [4]);
    /// `S-1-5-6`: SERVICE.
    pub const SERVICE: Self = Self::known(5, [6]);
    /// `S-1-5-7`: ANONYMOUS LOGON.
    pub const ANONYMOUS: Self = Self::known(5, [7]);
    /// `S-1-5-11`: Authenticated Users.
    pub const AUTHENTICATED_USERS: Self = Self::known(5, [11]);
    /// `S-1-5-12`: RESTRICTED, in the restricting list of restricted tokens by convention.
    pub const RESTRICTED: Self = Self::known(5, [12]);
    /// `S-1-5-18`: SYSTEM.
    pub const SYSTEM: Self = Self::known(5, [18]);
    /// `S-1-5-19`: LOCAL SERVICE.
    pub const LOCAL_SERVICE: Self = Self::known(5, [19]);
    /// `S-1-5-20`: NETWORK SERVICE.
    pub const NETWORK_SERVICE: Self = Self::known(5, [20]);
    /// `S-1-5-33`: WRITE RESTRICTED, which Windows puts on objects that such tokens may write.
    pub const WRITE_RESTRICTED: Self = Self::known(5, [33]);
    /// `S-1-5-32-544`: Administrators.
    pub const ADMINISTRATORS: Self = Self::known(5, [32, 544]);
    /// `S-1-5-32-545`: Users.
    pub const USERS: Self = Self::known(5, [32, 545]);
    /// `S-1-5-32-546`: Guests.
    pub const GUESTS: Self = Self::known(5, [32, 546]);
    /// `S-1-15-2-1`: ALL APPLICATION PACKAGES.
    pub const ALL_APPLICATION_PACKAGES: Self = Self::known(15, [2, 1]);
    /// `S-1-15-2-2`: ALL RESTRICTED APPLICATION PACKAGES.
    pub const ALL_RESTRICTED_APPLICATION_PACKAGES: Self = Self::known(15, [2, 2]);
    /// `S-1-5-80-956008885-…-2271478464`: the `TrustedInstaller` service.
    pub const TRUSTED_INSTALLER: Self = Self::known(
        5,
        [
            80,
            956_008_885,
            3_418_522_649,
            1_831_038_044,
            1_853_292_631,
            2_271_478_464,
        ],
    );

    pub(crate) const fn known<const N: usize>(authority: u64, given: [u32; N]) -> Self {
        let mut subauthorities = [0; MAX_SUBAUTHORITIES];
        let mut index = 0;
        while index < N {
            #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
            {
                subauthorities[index] = given[index];
            }
            index += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most fifteen")]
        Self {
            authority,
            count: N as u8,
            subauthorities,
        }
    }

    /// Makes a SID of an authority (48 bits) and at most fifteen subauthorities.
    ///
    /// # Errors
    /// [`SidError::Authority`], [`SidError::TooLong`].
    pub fn new(authority: u64, subauthorities: &[u32]) -> Result<Self, SidError> {
        if authority >> 48 != 0 {
            return Err(SidError::Authority);
        }
        let mut all = [0; MAX_SUBAUTHORITIES];
        let Some(places) = all.get_mut(..subauthorities.len()) else {
            return Err(SidError::TooLong);
        };
        places.copy_from_slice(subauthorities);
        Ok(Self {
            authority,
            count: u8::try_from(subauthorities.len()).map_err(|_| SidError::TooLong)?,
            subauthorities: all,
        })
    }

    /// This SID with one more subauthority: an account's SID from its domain's.
    ///
    /// # Errors
    /// [`SidError::TooLong`].
    pub fn child(&self, relative: u32) -> Result<Self, SidError> {
        let mut subauthorities = self.subauthorities().to_vec();
        subauthorities.push(relative);
        Self::new(self.authority, &subauthorities)
    }

    /// Whether both are the same, with the places first in which the SIDs of one machine differ: an access check asks this
    /// for every entry and every group.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let [first, second, _, _, account, ..] = &self.subauthorities;
        let [other_first, other_second, _, _, other_account, ..] = &other.subauthorities;
        account == other_account && second == other_second && first == other_first && self == other
    }

    /// The identifier authority: 48 bits.
    #[must_use]
    pub const fn authority(&self) -> u64 {
        self.authority
    }

    /// The subauthorities; the last one is the relative identifier (RID).
    #[must_use]
    pub fn subauthorities(&self) -> &[u32] {
        self.subauthorities
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // [MS-DTYP] 2.4.2.1: an authority of 2^32 and above is written in hexadecimal.
        if self.authority >> 32 == 0 {
            write!(formatter, "S-1-{}", self.authority)?;
        } else {
            write!(formatter, "S-1-0x{:012x}", self.authority)?;
        }
        for subauthority in self.subauthorities() {
            write!(formatter, "-{subauthority}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Sid {
    type Err = SidError;

    fn from_str(text: &str) -> Result<Self, SidError> {
        let rest = text
            .strip_prefix("S-1-")
            .or_else(|| text.strip_prefix("s-1-"))
            .ok_or(SidError::Revision)?;
        let mut parts = rest.split('-');
        let authority = parts
            .next()
            .and_then(parse_authority)
            .ok_or(SidError::Authority)?;
        let subauthorities = parts
            .map(|part| decimal(part).ok_or(SidError::Subauthority))
            .collect::<Result<Vec<u32>, SidError>>()?;
        Self::new(authority, &subauthorities)
    }
}

fn parse_authority(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.len() <= 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => decimal(text),
    }
}

/// Digits alone: `str::parse` would take a sign.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl TryFrom<String> for Sid {
    type Error = SidError;

    fn try_from(text: String) -> Result<Self, SidError> {
        text.parse()
    }
}

impl From<Sid> for String {
    fn from(sid: Sid) -> Self {
        sid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "S-1-0-0",
            "S-1-5-32-544",
            "S-1-5-21-1-2-3-1001",
            "S-1-0x0000ffffffff0001-7"
                .replace("0000ffffffff0001", "ffffffff0001")
                .as_str(),
            "S-1-0-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15",
        ] {
            let sid: Sid = text.parse().unwrap();
            assert_eq!(sid.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_sid_is_refused() {
        for (text, error) in [
            ("", SidError::Revision),
            ("S-2-5-1", SidError::Revision),
            ("S-1-", SidError::Authority),
            ("S-1-281474976710656-1", SidError::Authority),
            ("S-1-0x1000000000000-1", SidError::Authority),
            ("S-1-+5-1", SidError::Authority),
            ("S-1-5-", SidError::Subauthority),
            ("S-1-5-4294967296", SidError::Subauthority),
            ("S-1-5--1", SidError::Subauthority),
            (
                "S-1-0-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16",
                SidError::TooLong,
            ),
        ] {
            assert_eq!(text.parse::<Sid>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_child_has_one_subauthority_more() {
        let domain: Sid = "S-1-5-21-1-2-3".parse().unwrap();
        assert_eq!(
            domain.child(1001).unwrap().to_string(),
            "S-1-5-21-1-2-3-1001"
        );
        assert_ne!(domain.child(0).unwrap(), domain);
    }
}
