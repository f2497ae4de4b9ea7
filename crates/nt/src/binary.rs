//! Descriptors, lists, entries and SIDs as bytes, self-relative, as Windows keeps and passes them.
//!
//! Sources: [MS-DTYP] 2.4.2.2 (SID), 2.4.4 (ACE), 2.4.5 (ACL), 2.4.6 (`SECURITY_DESCRIPTOR`).
//! Stricter than Windows: entries of unknown kinds, bytes behind the SID of an entry and unaligned offsets are errors.
//! Not kept: the bits that say that a part was a default, and resource manager control; whoever must restore a
//! descriptor byte for byte keeps its bytes.
//!
//! Invariant: what was written reads back as the same value, and reading never looks outside the bytes given.
//!
//! # Security
//! All bytes may come from an attacker; nothing is allocated before its bytes are seen to be there.

use crate::ace::{Ace, AceFlags, AceKind};
use crate::acl::Acl;
use crate::descriptor::{Control, Dacl, SecurityDescriptor};
use crate::mask::AccessMask;
use crate::sid::{MAX_SUBAUTHORITIES, Sid};

const REVISION: u8 = 1;
const ACL_REVISION: u8 = 2;
/// Lists with object entries have this revision; without such entries it means the same.
const ACL_REVISION_DS: u8 = 4;
const HEADER_BYTES: usize = 20;
const ACL_HEADER_BYTES: usize = 8;
const ACE_HEADER_BYTES: usize = 8;

const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;
const SELF_RELATIVE: u16 = 0x8000;

/// Bytes that are no descriptor, list or SID that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct DecodeError {
    /// Where, from the start of the bytes given.
    pub offset: usize,
    /// What is wrong there.
    pub fault: DecodeFault,
}

/// What is wrong with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    /// They end early.
    #[error("the bytes end before the structure does")]
    Short,
    /// Something follows a SID that should stand alone.
    #[error("bytes follow the structure")]
    Trailing,
    /// The revision is not one that is known.
    #[error("revision {0} is not known")]
    Revision(u8),
    /// The descriptor holds pointers instead of offsets.
    #[error("the descriptor is not self-relative")]
    Absolute,
    /// An offset points into the header or is not a multiple of four.
    #[error("the offset {0:#x} is not valid")]
    Offset(u32),
    /// A SID has more than fifteen subauthorities.
    #[error("the SID has {0} subauthorities, more than 15")]
    SidTooLong(u8),
    /// A size does not fit what it contains.
    #[error("the size {0} does not fit the content")]
    Size(u16),
    /// The entry's kind is not modelled (object, conditional, claims …).
    #[error("entries of kind {0:#04x} are not supported")]
    AceKind(u8),
    /// The entry's kind belongs into the other list.
    #[error("an entry of kind {0:#04x} can't be in this list")]
    Misplaced(u8),
}

/// A value that has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A list takes at most 65,535 bytes.
    #[error("the list takes {bytes} bytes, more than the 65535 that fit; give fewer entries")]
    AclTooLong {
        /// What it would take.
        bytes: usize,
    },
    /// An entry's kind belongs into the other list.
    #[error("entry {index} is of a kind that can't be in this list")]
    Misplaced {
        /// Its place in the list.
        index: usize,
    },
}

/// Which of a descriptor's lists: each has its own kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Allow and deny.
    Discretionary,
    /// Audit and mandatory label.
    System,
}

impl ListKind {
    /// Whether entries of this kind may be in the list.
    #[must_use]
    pub const fn admits(self, kind: AceKind) -> bool {
        match kind {
            AceKind::Allow | AceKind::Deny => matches!(self, Self::Discretionary),
            AceKind::Audit | AceKind::MandatoryLabel => matches!(self, Self::System),
        }
    }
}

impl Sid {
    /// How many bytes it takes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        8 + 4 * self.subauthorities().len()
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        put_sid(&mut bytes, self);
        bytes
    }

    /// Reads bytes that hold a SID and nothing else.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let sid = Reader { bytes }.sid(0)?;
        if sid.encoded_bytes() < bytes.len() {
            return Err(fault(sid.encoded_bytes(), DecodeFault::Trailing));
        }
        Ok(sid)
    }
}

impl Acl {
    /// The bytes of this list.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn to_bytes(&self, list: ListKind) -> Result<Vec<u8>, EncodeError> {
        let entry_bytes = |ace: &Ace| ACE_HEADER_BYTES + ace.sid.encoded_bytes();
        let size = ACL_HEADER_BYTES + self.aces.iter().map(entry_bytes).sum::<usize>();
        let too_long = || EncodeError::AclTooLong { bytes: size };
        let size_field = u16::try_from(size).map_err(|_| too_long())?;
        let count = u16::try_from(self.aces.len()).map_err(|_| too_long())?;
        let mut bytes = Vec::with_capacity(size);
        bytes.extend([ACL_REVISION, 0]);
        bytes.extend(size_field.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend([0, 0]);
        for (index, ace) in self.aces.iter().enumerate() {
            if !list.admits(ace.kind) {
                return Err(EncodeError::Misplaced { index });
            }
            let entry = u16::try_from(entry_bytes(ace)).map_err(|_| too_long())?;
            bytes.extend([kind_byte(ace.kind), ace.flags.0]);
            bytes.extend(entry.to_le_bytes());
            bytes.extend(ace.mask.0.to_le_bytes());
            put_sid(&mut bytes, &ace.sid);
        }
        Ok(bytes)
    }

    /// Reads a list from the start of the bytes; what follows it is not looked at.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_bytes(bytes: &[u8], list: ListKind) -> Result<Self, DecodeError> {
        Reader { bytes }.acl(0, list)
    }
}

impl SecurityDescriptor {
    /// Its self-relative bytes: owner, group, SACL, DACL. A missing DACL is written as present and NULL.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let sids = [self.owner, self.group].map(|sid| sid.map(|sid| sid.to_bytes()));
        let sacl = self.sacl.as_ref().map(|acl| acl.to_bytes(ListKind::System));
        let dacl = self.acl().map(|acl| acl.to_bytes(ListKind::Discretionary));
        let [owner, group] = sids;
        let parts = [owner, group, sacl.transpose()?, dacl.transpose()?];
        let mut control = self.control.0 & Control::KEPT.0 | SELF_RELATIVE | DACL_PRESENT;
        if self.sacl.is_some() {
            control |= SACL_PRESENT;
        }
        let mut bytes = vec![REVISION, 0];
        bytes.extend(control.to_le_bytes());
        let mut next = HEADER_BYTES;
        for part in &parts {
            let offset = part.as_ref().map_or(0, |_| next);
            // Two SIDs of 68 bytes and two lists below 64 KiB: it fits.
            bytes.extend(u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
            next += part.as_ref().map_or(0, Vec::len);
        }
        for part in parts.into_iter().flatten() {
            bytes.extend(part);
        }
        Ok(bytes)
    }

    /// Reads self-relative bytes. A DACL that is absent and one that is NULL are the same; parts may overlap.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = Reader { bytes };
        let [revision] = reader.array(0)?;
        if revision != REVISION {
            return Err(fault(0, DecodeFault::Revision(revision)));
        }
        let control = u16::from_le_bytes(reader.array(2)?);
        if control & SELF_RELATIVE == 0 {
            return Err(fault(2, DecodeFault::Absolute));
        }
        let owner = reader.offset(4)?.map(|at| reader.sid(at)).transpose()?;
        let group = reader.offset(8)?.map(|at| reader.sid(at)).transpose()?;
        let sacl = match reader.offset(12)? {
            Some(at) if control & SACL_PRESENT != 0 => Some(reader.acl(at, ListKind::System)?),
            Some(_) | None => None,
        };
        let dacl = match reader.offset(16)? {
            Some(at) if control & DACL_PRESENT != 0 => {
                Dacl::Present(reader.acl(at, ListKind::Discretionary)?)
            }
            Some(_) | None => Dacl::Null,
        };
        Ok(Self {
            owner,
            group,
            dacl,
            sacl,
            control: Control(control & Control::KEPT.0),
        })
    }
}

const fn fault(offset: usize, fault: DecodeFault) -> DecodeError {
    DecodeError { offset, fault }
}

const fn kind_byte(kind: AceKind) -> u8 {
    match kind {
        AceKind::Allow => 0x00,
        AceKind::Deny => 0x01,
        AceKind::Audit => 0x02,
        AceKind::MandatoryLabel => 0x11,
    }
}

const fn kind_of(byte: u8) -> Option<AceKind> {
    match byte {
        0x00 => Some(AceKind::Allow),
        0x01 => Some(AceKind::Deny),
        0x02 => Some(AceKind::Audit),
        0x11 => Some(AceKind::MandatoryLabel),
        _ => None,
    }
}

fn put_sid(bytes: &mut Vec<u8>, sid: &Sid) {
    let count = u8::try_from(sid.subauthorities().len()).unwrap_or(u8::MAX);
    bytes.extend([REVISION, count]);
    // The authority has 48 bits, and its highest byte comes first.
    bytes.extend(sid.authority().to_be_bytes().into_iter().skip(2));
    for subauthority in sid.subauthorities() {
        bytes.extend(subauthority.to_le_bytes());
    }
}

/// Bytes, and offsets into them.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], DecodeError> {
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .ok_or(fault(at, DecodeFault::Short))
    }

    /// The same bytes, ending at `end`.
    fn until(self, end: usize) -> Option<Reader<'a>> {
        self.bytes.get(..end).map(|bytes| Reader { bytes })
    }

    /// The offset in the header at `at`; `None` where the part is absent.
    fn offset(self, at: usize) -> Result<Option<usize>, DecodeError> {
        let offset = u32::from_le_bytes(self.array(at)?);
        let place = usize::try_from(offset).map_err(|_| fault(at, DecodeFault::Offset(offset)))?;
        if place == 0 {
            return Ok(None);
        }
        if place < HEADER_BYTES || !place.is_multiple_of(4) {
            return Err(fault(at, DecodeFault::Offset(offset)));
        }
        Ok(Some(place))
    }

    fn sid(self, at: usize) -> Result<Sid, DecodeError> {
        let [revision, count] = self.array(at)?;
        if revision != REVISION {
            return Err(fault(at, DecodeFault::Revision(revision)));
        }
        let authority = self
            .array::<6>(at + 2)?
            .iter()
            .fold(0, |high, low| high << 8 | u64::from(*low));
        let mut subauthorities = [0; MAX_SUBAUTHORITIES];
        let too_long = fault(at + 1, DecodeFault::SidTooLong(count));
        let places = subauthorities
            .get_mut(..usize::from(count))
            .ok_or(too_long)?;
        for (index, place) in places.iter_mut().enumerate() {
            *place = u32::from_le_bytes(self.array(at + 8 + 4 * index)?);
        }
        Sid::new(authority, places).map_err(|_| too_long)
    }

    fn acl(self, at: usize, list: ListKind) -> Result<Acl, DecodeError> {
        let [
            revision,
            _,
            size_low,
            size_high,
            count_low,
            count_high,
            _,
            _,
        ]: [u8; 8] = self.array(at)?;
        if revision != ACL_REVISION && revision != ACL_REVISION_DS {
            return Err(fault(at, DecodeFault::Revision(revision)));
        }
        let size = u16::from_le_bytes([size_low, size_high]);
        let size_fault = fault(at + 2, DecodeFault::Size(size));
        if usize::from(size) < ACL_HEADER_BYTES {
            return Err(size_fault);
        }
        let within = self.until(at + usize::from(size)).ok_or(size_fault)?;
        let mut aces = Vec::new();
        let mut next = at + ACL_HEADER_BYTES;
        for _ in 0..u16::from_le_bytes([count_low, count_high]) {
            let (ace, bytes) = within.ace(next, list)?;
            aces.push(ace);
            next += bytes;
        }
        Ok(Acl::new(aces))
    }

    /// The entry at `at`, and how many bytes it takes.
    fn ace(self, at: usize, list: ListKind) -> Result<(Ace, usize), DecodeError> {
        let [kind_byte, flags, size_low, size_high]: [u8; 4] = self.array(at)?;
        let kind = kind_of(kind_byte).ok_or(fault(at, DecodeFault::AceKind(kind_byte)))?;
        if !list.admits(kind) {
            return Err(fault(at, DecodeFault::Misplaced(kind_byte)));
        }
        let mask = AccessMask(u32::from_le_bytes(self.array(at + 4)?));
        let sid = self.sid(at + ACE_HEADER_BYTES)?;
        let size = u16::from_le_bytes([size_low, size_high]);
        if usize::from(size) != ACE_HEADER_BYTES + sid.encoded_bytes() {
            return Err(fault(at + 2, DecodeFault::Size(size)));
        }
        let ace = Ace {
            kind,
            flags: AceFlags(flags),
            mask,
            sid,
        };
        Ok((ace, usize::from(size)))
    }
}

#[cfg(test)]
mod tests;
