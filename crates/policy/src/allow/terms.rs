//! What an allow rule says of connections beside where they lead: terms that widen what may be said, or narrow who may
//! say it and how much.
//!
//! Reads, compares and prints them; decides nothing. Invariant: without terms a rule means the strictest reading.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AllowError;
use crate::escape::escape;
use crate::units::ByteSize;

/// Whether the server name of TLS must be the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerName {
    /// It must.
    #[default]
    Same,
    /// It may be missing, hidden (ECH) or another: whatever answers at the host's address may be meant.
    Any,
}

/// The terms of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Whether the server name of TLS must be the host.
    pub server_name: ServerName,
    /// Protocols that a request of HTTP may change to, in lower case (`websocket`).
    pub upgrade: Vec<Protocol>,
    /// The most bytes that may leave under the rule in one session.
    pub bytes_out: Option<ByteSize>,
    /// The only programs that it means, by their paths; empty for any.
    pub programs: Vec<Program>,
}

/// A protocol by its name in an `Upgrade` header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Protocol(String);

/// The path of a program, as the session sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Program(String);

/// Why a text is no term of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermError {
    /// No term of that name.
    #[error("`{0}` is no term: there are server-name, upgrade, bytes-out and program")]
    Unknown(String),
    /// Given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// Something else than `same` or `any`.
    #[error("`{0}` is neither `same` nor `any`")]
    ServerName(String),
    /// No name of a protocol, or one that is never carried.
    #[error("`{0}` is no protocol that a request may change to: `websocket` is one, `h2c` none")]
    Protocol(String),
    /// No size, or none at all.
    #[error("`{0}` is no number of bytes: for example 10MiB")]
    Size(String),
    /// No absolute path, or one with white space.
    #[error("`{0}` is no absolute path without white space")]
    Program(String),
}

impl Protocol {
    /// Its name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Protocol {
    type Error = TermError;

    fn try_from(text: String) -> Result<Self, TermError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-./_".contains(&byte);
        let name = text.to_ascii_lowercase();
        // HTTP/2 could not be read, and its requests name hosts of their own.
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name) || name == "h2c" {
            return Err(TermError::Protocol(escape(text.as_bytes()).into_owned()));
        }
        Ok(Self(name))
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.0
    }
}

impl TryFrom<String> for Program {
    type Error = TermError;

    fn try_from(text: String) -> Result<Self, TermError> {
        let is_absolute = match text.as_bytes() {
            [b'/', _, ..] => true,
            [drive, b':', b'\\', _, ..] => drive.is_ascii_alphabetic(),
            _ => false,
        };
        let is_odd = |letter: char| letter.is_whitespace() || letter.is_control();
        if !is_absolute || text.contains(is_odd) {
            return Err(TermError::Program(escape(text.as_bytes()).into_owned()));
        }
        Ok(Self(text))
    }
}

impl From<Program> for String {
    fn from(program: Program) -> Self {
        program.0
    }
}

impl Terms {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads one term of a rule's text (`upgrade=websocket`) into these.
    ///
    /// # Errors
    /// [`AllowError::Term`].
    pub(super) fn add(&mut self, word: &str) -> Result<(), AllowError> {
        self.read(word).map_err(AllowError::Term)
    }

    fn read(&mut self, word: &str) -> Result<(), TermError> {
        let shown = || escape(word.as_bytes()).into_owned();
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let is_twice = match name {
            "server-name" => self.server_name != ServerName::Same,
            "upgrade" => !self.upgrade.is_empty(),
            "bytes-out" => self.bytes_out.is_some(),
            "program" => false,
            _ => return Err(TermError::Unknown(shown())),
        };
        if is_twice {
            return Err(TermError::Twice(name.to_owned()));
        }
        match name {
            "server-name" => {
                self.server_name = match value {
                    "same" => ServerName::Same,
                    "any" => ServerName::Any,
                    _ => return Err(TermError::ServerName(shown())),
                }
            }
            "upgrade" => {
                let protocols = value.split(',').map(|name| name.to_owned().try_into());
                self.upgrade = protocols.collect::<Result<_, _>>()?;
            }
            "bytes-out" => {
                let size = value.parse().map_err(|_| TermError::Size(shown()))?;
                self.bytes_out = Some(size);
            }
            _ => self.programs.push(value.to_owned().try_into()?),
        }
        self.check()
    }

    /// Checks what the types of a table do not.
    ///
    /// # Errors
    /// [`TermError::Size`] for a rule under which nothing may leave.
    pub(super) fn check(&self) -> Result<(), TermError> {
        match self.bytes_out {
            Some(none @ ByteSize(0)) => Err(TermError::Size(none.to_string())),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a connection to which `other` applies may do no more than one to which these apply.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let server_name =
            self.server_name == ServerName::Any || other.server_name == ServerName::Same;
        let upgrade = other.upgrade.iter().all(|own| self.upgrade.contains(own));
        let bytes_out = match (self.bytes_out, other.bytes_out) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => inner <= outer,
        };
        let programs = self.programs.is_empty()
            || !other.programs.is_empty()
                && other.programs.iter().all(|own| self.programs.contains(own));
        server_name && upgrade && bytes_out && programs
    }

    /// Whether `program` may use the rule; `None` for one that is not known.
    #[must_use]
    pub fn means_program(&self, program: Option<&str>) -> bool {
        self.programs.is_empty()
            || program.is_some_and(|path| self.programs.iter().any(|own| own.0 == path))
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.server_name {
            ServerName::Same => {}
            ServerName::Any => words.push("server-name=any".to_owned()),
        }
        if !self.upgrade.is_empty() {
            let names: Vec<&str> = self.upgrade.iter().map(Protocol::as_str).collect();
            words.push(format!("upgrade={}", names.join(",")));
        }
        words.extend(self.bytes_out.map(|size| format!("bytes-out={size}")));
        let programs = self.programs.iter();
        words.extend(programs.map(|program| format!("program={}", program.0)));
        formatter.write_str(&words.join(" "))
    }
}
