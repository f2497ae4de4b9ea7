//! The words of the oracle: its questions and answers as JSON, and what they mean in the model.
//!
//! Invariant: a question reads back as the case it was written from.

use ringfence_nt::{
    AccessMask, GenericMapping, Group, GroupState, Privileges, Restriction, SecurityDescriptor,
    Sid, Token, WriteClass,
};
use serde::{Deserialize, Deserializer, Serialize};

/// One question to `access_check.py`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sddl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sd_hex: Option<String>,
    pub(super) token: AskedToken,
    #[serde(deserialize_with = "number")]
    pub(super) desired: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generic_mapping: Option<AskedMapping>,
    #[serde(
        default,
        deserialize_with = "some_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) write_class: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) write_whole: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) dump: bool,
}

/// A token as the oracle takes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedToken {
    pub(super) user: String,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) deny_only: Vec<String>,
    #[serde(default)]
    pub(super) restricting: Vec<String>,
    #[serde(default)]
    pub(super) write_restricted: bool,
    #[serde(default)]
    pub(super) privileges: u64,
}

/// A generic mapping: by name or by numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum AskedMapping {
    Named(String),
    Numbers {
        #[serde(deserialize_with = "number")]
        read: u64,
        #[serde(deserialize_with = "number")]
        write: u64,
        #[serde(deserialize_with = "number")]
        execute: u64,
        #[serde(deserialize_with = "number")]
        all: u64,
    },
}

/// One answer of `access_check.py`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Answer {
    pub(super) unsupported: Option<String>,
    pub(super) error: Option<String>,
    pub(super) allowed: Option<bool>,
    pub(super) granted: Option<u64>,
    pub(super) pass1: Option<AnsweredPass>,
    pub(super) pass2: Option<AnsweredPass>,
    pub(super) sd: Option<Dump>,
}

/// Samba's own packing of the descriptor that was asked about.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Dump {
    pub(super) hex: String,
    pub(super) sddl: String,
}

/// What one pass came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct AnsweredPass {
    #[serde(default)]
    pub(super) desired: Option<u64>,
    pub(super) granted: u64,
    pub(super) status: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

/// A number, or its text with or without `0x`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bad = |text: &str| serde::de::Error::custom(format!("no number: {text}"));
    match Number::deserialize(deserializer)? {
        Number::Plain(number) => Ok(number),
        Number::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).map_err(|_| bad(&text)),
            None => text.parse().map_err(|_| bad(&text)),
        },
    }
}

fn some_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

impl AskedToken {
    pub(super) fn of(token: &Token) -> Self {
        let texts = |sids: &[Sid]| sids.iter().map(ToString::to_string).collect();
        let with = |state: GroupState| {
            let groups = token
                .groups
                .iter()
                .filter(move |group| group.state == state);
            groups.map(|group| group.sid.to_string())
        };
        let mut deny_only: Vec<String> = with(GroupState::DenyOnly).collect();
        if token.user_state == GroupState::DenyOnly {
            deny_only.push(token.user.to_string());
        }
        Self {
            user: token.user.to_string(),
            groups: with(GroupState::Enabled).collect(),
            deny_only,
            restricting: texts(token.restriction.sids()),
            write_restricted: matches!(token.restriction, Restriction::Writes(_)),
            privileges: token.privileges.0,
        }
    }

    pub(super) fn to_token(&self) -> Option<Token> {
        let sid = |text: &String| -> Option<Sid> {
            let descriptor = SecurityDescriptor::from_sddl(&format!("O:{text}")).ok()?;
            descriptor.owner
        };
        let sids = |texts: &[String]| texts.iter().map(sid).collect::<Option<Vec<Sid>>>();
        let user = sid(&self.user)?;
        let deny_only = sids(&self.deny_only)?;
        let mut token = Token::new(user, &sids(&self.groups)?);
        if deny_only.contains(&user) {
            token.user_state = GroupState::DenyOnly;
        }
        let weak = deny_only.into_iter().filter(|sid| *sid != user);
        token.groups.extend(weak.map(Group::deny_only));
        let restricting = sids(&self.restricting)?;
        token.restriction = if self.write_restricted {
            Restriction::Writes(restricting)
        } else if restricting.is_empty() {
            Restriction::None
        } else {
            Restriction::All(restricting)
        };
        token.privileges = Privileges(self.privileges);
        Some(token)
    }
}

impl AskedMapping {
    pub(super) fn to_mapping(&self) -> Option<GenericMapping> {
        let mask = |number: &u64| u32::try_from(*number).ok().map(AccessMask);
        match self {
            Self::Named(name) => (name == "file").then_some(GenericMapping::FILE),
            Self::Numbers {
                read,
                write,
                execute,
                all,
            } => Some(GenericMapping {
                read: mask(read)?,
                write: mask(write)?,
                execute: mask(execute)?,
                all: mask(all)?,
            }),
        }
    }
}

/// The hypothesis that a question's parameters stand for.
pub(super) fn class_of(question: &Question, mapping: &GenericMapping) -> Option<WriteClass> {
    let Some(covered) = question.write_class else {
        return (!question.token.write_restricted).then_some(WriteClass::H2);
    };
    WriteClass::ALL.into_iter().find(|class| {
        u64::from(class.rights(mapping).0) == covered
            && (*class == WriteClass::H3) == question.write_whole
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
