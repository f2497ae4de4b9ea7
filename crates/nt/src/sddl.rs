//! Descriptors as text: the security descriptor definition language (SDDL).
//!
//! Sources: [MS-DTYP] 2.5.1; learn.microsoft.com "Security Descriptor String Format", "ACE Strings", "SID Strings".
//! Stricter than Windows: no spaces, upper case, masks as `0x…` or symbols, parts in the order O G D S. Aliases that
//! depend on a machine or domain (`LA`, `DA` …) are refused: the text must mean the same everywhere. So are object and
//! conditional entries. Masks are written as hexadecimal numbers alone, because readers differ on symbols.
//!
//! Invariant: what was written reads back as the same value.

use std::fmt::Write as _;

use crate::ace::{Ace, AceFlags, AceKind};
use crate::acl::Acl;
use crate::binary::ListKind;
use crate::descriptor::{Control, Dacl, SecurityDescriptor};
use crate::mask::AccessMask;
use crate::sid::{Sid, SidError};

mod tables;

use tables::{ACE_FLAGS, ACE_KINDS, ALIASES, DOMAIN_ALIASES, LABEL_RIGHTS, LIST_FLAGS, RIGHTS};

const NULL_LIST: &str = "NO_ACCESS_CONTROL";

/// A text that is no descriptor that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct SddlError {
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub fault: SddlFault,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SddlFault {
    /// Something other than the next part of the descriptor.
    #[error("expected O:, G:, D: or S:, each at most once and in this order")]
    Part,
    /// A SID that starts like one but is none.
    #[error("{0}")]
    Sid(SidError),
    /// Two letters that name no SID.
    #[error("no SID has this alias")]
    Alias,
    /// Two letters that mean another SID on every machine or domain.
    #[error("this alias depends on the machine or domain; write the SID")]
    DomainAlias,
    /// A flag of a list that is none.
    #[error("expected P, AR, AI, NO_ACCESS_CONTROL or an entry")]
    ListFlag,
    /// A system list can't be NULL.
    #[error("the system list can't be NO_ACCESS_CONTROL; leave it out")]
    NullSystemList,
    /// An entry that does not end.
    #[error("the entry has no closing parenthesis")]
    Unclosed,
    /// An entry with too few or too many fields.
    #[error("an entry has six fields: kind;flags;rights;;;SID")]
    Fields,
    /// An entry kind that is not supported.
    #[error("entries of this kind are not supported")]
    AceKind,
    /// An entry kind that belongs into the other list.
    #[error("an entry of this kind can't be in this list")]
    Misplaced,
    /// A flag of an entry that is none.
    #[error("this is no flag of an entry")]
    AceFlag,
    /// Rights that are none.
    #[error("rights are written 0x… or with the symbols of files, keys and standard rights")]
    Rights,
    /// An object type, which is not supported.
    #[error("object types are not supported")]
    ObjectType,
}

impl SecurityDescriptor {
    /// Its text, with hexadecimal masks; SIDs that mean the same everywhere by their alias.
    #[must_use]
    pub fn to_sddl(&self) -> String {
        let mut text = String::new();
        for (name, sid) in [("O:", &self.owner), ("G:", &self.group)] {
            if let Some(sid) = sid {
                text.push_str(name);
                put_sid(&mut text, sid);
            }
        }
        text.push_str("D:");
        for (symbol, dacl_flag, _) in LIST_FLAGS {
            if self.control.contains(dacl_flag) {
                text.push_str(symbol);
            }
        }
        match &self.dacl {
            Dacl::Null => text.push_str(NULL_LIST),
            Dacl::Present(acl) => put_aces(&mut text, acl),
        }
        if let Some(acl) = &self.sacl {
            text.push_str("S:");
            for (symbol, _, sacl_flag) in LIST_FLAGS {
                if self.control.contains(sacl_flag) {
                    text.push_str(symbol);
                }
            }
            put_aces(&mut text, acl);
        }
        text
    }

    /// Reads a text. A DACL that is absent and one that is NULL are the same.
    ///
    /// # Errors
    /// [`SddlError`], with the place of the first fault.
    pub fn from_sddl(text: &str) -> Result<Self, SddlError> {
        let mut reader = Reader { text, at: 0 };
        let owner = reader.take("O:").then(|| reader.sid()).transpose()?;
        let group = reader.take("G:").then(|| reader.sid()).transpose()?;
        let mut control = Control(0);
        let dacl = if reader.take("D:") {
            reader.list(ListKind::Discretionary, &mut control)?
        } else {
            Dacl::Null
        };
        let sacl = if reader.take("S:") {
            match reader.list(ListKind::System, &mut control)? {
                Dacl::Present(acl) => Some(acl),
                Dacl::Null => return Err(reader.fault(SddlFault::NullSystemList)),
            }
        } else {
            None
        };
        if !reader.rest().is_empty() {
            return Err(reader.fault(SddlFault::Part));
        }
        Ok(Self {
            owner,
            group,
            dacl,
            sacl,
            control,
        })
    }
}

fn put_sid(text: &mut String, sid: &Sid) {
    match ALIASES.iter().find(|(_, known)| known == sid) {
        Some((alias, _)) => text.push_str(alias),
        None => text.push_str(&sid.to_string()),
    }
}

fn put_aces(text: &mut String, acl: &Acl) {
    for ace in &acl.aces {
        text.push('(');
        text.push_str(kind_symbol(ace.kind));
        text.push(';');
        for (symbol, flag) in ACE_FLAGS {
            if ace.flags.contains(flag) {
                text.push_str(symbol);
            }
        }
        // Writing to a string can't fail.
        let _ = write!(text, ";{};;;", ace.mask);
        put_sid(text, &ace.sid);
        text.push(')');
    }
}

const fn kind_symbol(kind: AceKind) -> &'static str {
    match kind {
        AceKind::Allow => "A",
        AceKind::Deny => "D",
        AceKind::Audit => "AU",
        AceKind::MandatoryLabel => "ML",
    }
}

/// A place in a text; `at` is always on a character boundary.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    const fn fault(&self, fault: SddlFault) -> SddlError {
        SddlError {
            offset: self.at,
            fault,
        }
    }

    /// Steps over `word` if the text goes on with it.
    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Steps over the text before the next `end`, and over `end`; an entry must end before its list does.
    fn field(&mut self, end: char) -> Result<Reader<'a>, SddlError> {
        let (field, _) = self
            .rest()
            .split_once(end)
            .ok_or(self.fault(SddlFault::Fields))?;
        let inner = Reader {
            text: self.text.get(..self.at + field.len()).unwrap_or_default(),
            at: self.at,
        };
        self.at += field.len() + end.len_utf8();
        Ok(inner)
    }

    /// A SID as a number or an alias; it ends at the first character that can't be part of it.
    fn sid(&mut self) -> Result<Sid, SddlError> {
        if let Some(number) = self.rest().strip_prefix("S-") {
            let digits = number
                .find(|letter: char| !letter.is_ascii_hexdigit() && letter != '-' && letter != 'x')
                .unwrap_or(number.len());
            // `D:` after a SID begins with a letter that is a hexadecimal digit too.
            let before_list = number
                .get(..digits)
                .and_then(|sid| sid.strip_suffix('D'))
                .filter(|_| {
                    number
                        .get(digits..)
                        .is_some_and(|rest| rest.starts_with(':'))
                });
            let length = "S-".len() + before_list.map_or(digits, str::len);
            let sid = self.rest().get(..length).unwrap_or_default();
            let sid = sid
                .parse()
                .map_err(|error| self.fault(SddlFault::Sid(error)))?;
            self.at += length;
            return Ok(sid);
        }
        if let Some((alias, sid)) = ALIASES
            .iter()
            .find(|(alias, _)| self.rest().starts_with(alias))
        {
            self.at += alias.len();
            return Ok(*sid);
        }
        let depends = DOMAIN_ALIASES
            .iter()
            .any(|alias| self.rest().starts_with(alias));
        Err(self.fault(if depends {
            SddlFault::DomainAlias
        } else {
            SddlFault::Alias
        }))
    }

    fn list(&mut self, list: ListKind, control: &mut Control) -> Result<Dacl, SddlError> {
        loop {
            let flag = LIST_FLAGS.into_iter().find(|(word, _, _)| self.take(word));
            let Some((_, discretionary, system)) = flag else {
                break;
            };
            *control = control.with(match list {
                ListKind::Discretionary => discretionary,
                ListKind::System => system,
            });
        }
        if self.take(NULL_LIST) {
            return Ok(Dacl::Null);
        }
        let mut aces = Vec::new();
        while self.take("(") {
            aces.push(self.ace(list)?);
        }
        if self.rest().is_empty() || self.rest().starts_with("S:") {
            return Ok(Dacl::Present(Acl::new(aces)));
        }
        Err(self.fault(SddlFault::ListFlag))
    }

    /// An entry after its opening parenthesis.
    fn ace(&mut self, list: ListKind) -> Result<Ace, SddlError> {
        if !self.rest().contains(')') {
            return Err(self.fault(SddlFault::Unclosed));
        }
        let mut entry = self.field(')')?;
        let kind = entry.field(';')?.kind(list)?;
        let flags = entry.field(';')?.ace_flags()?;
        let mask = entry.field(';')?.rights(kind)?;
        for _ in 0..2 {
            let object_type = entry.field(';')?;
            if !object_type.rest().is_empty() {
                return Err(object_type.fault(SddlFault::ObjectType));
            }
        }
        let sid = entry.sid()?;
        if !entry.rest().is_empty() {
            return Err(entry.fault(SddlFault::Fields));
        }
        Ok(Ace {
            kind,
            flags,
            mask,
            sid,
        })
    }

    fn kind(&self, list: ListKind) -> Result<AceKind, SddlError> {
        let kind = ACE_KINDS
            .into_iter()
            .find(|kind| kind_symbol(*kind) == self.rest())
            .ok_or(self.fault(SddlFault::AceKind))?;
        if list.admits(kind) {
            Ok(kind)
        } else {
            Err(self.fault(SddlFault::Misplaced))
        }
    }

    fn ace_flags(&mut self) -> Result<AceFlags, SddlError> {
        let mut flags = AceFlags::NONE;
        while !self.rest().is_empty() {
            let (_, flag) = ACE_FLAGS
                .into_iter()
                .find(|(symbol, _)| self.take(symbol))
                .ok_or(self.fault(SddlFault::AceFlag))?;
            flags = flags.with(flag);
        }
        Ok(flags)
    }

    fn rights(&mut self, kind: AceKind) -> Result<AccessMask, SddlError> {
        let fault = self.fault(SddlFault::Rights);
        if let Some(digits) = self.rest().strip_prefix("0x") {
            let is_number = matches!(digits.len(), 1..=8)
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            return match u32::from_str_radix(digits, 16) {
                Ok(mask) if is_number => Ok(AccessMask(mask)),
                Ok(_) | Err(_) => Err(fault),
            };
        }
        let symbols = match kind {
            AceKind::Allow | AceKind::Deny | AceKind::Audit => &RIGHTS[..],
            AceKind::MandatoryLabel => &LABEL_RIGHTS[..],
        };
        let mut mask = AccessMask::NONE;
        while !self.rest().is_empty() {
            let right = symbols.iter().find(|(symbol, _)| self.take(symbol));
            let (_, right) = right.ok_or(self.fault(SddlFault::Rights))?;
            mask |= *right;
        }
        Ok(mask)
    }
}

#[cfg(test)]
mod tests;
