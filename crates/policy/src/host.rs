//! Host names, addresses and the patterns that rules are made of.
//!
//! Reads names strictly and compares them; resolves nothing. What one resolver would read as an address and
//! another as a name (`127.1`, `0x7f.1`, `2130706433`) is refused, so that both sides of a decision mean the same.
//! Invariant: two hosts that print the same are the same.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::address::{is_metadata_address, is_same};
use crate::escape::escape;
use crate::suffix;

/// The ports of a rule that names none.
pub const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// Names that clouds resolve to their metadata addresses.
pub const METADATA_NAMES: [&str; 4] = [
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.goog",
    "metadata.google.internal",
];

/// A name of the strict grammar: lower case, no trailing dot, never an address in disguise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// A destination: a name, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name that is still to be resolved.
    Name(HostName),
    /// An address.
    Address(IpAddr),
}

/// Which hosts a rule means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `example.com`: that name alone.
    Exact(HostName),
    /// `*.example.com`: names below it, not itself.
    Subdomains(HostName),
    /// `**.example.com`: itself and names below it.
    Tree(HostName),
    /// `192.0.2.7`, `[2001:db8::7]`: that address alone.
    Address(IpAddr),
}

/// One entry of `network.allow` or `network.deny`: `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    pattern: HostPattern,
    port: Option<u16>,
}

/// Why a text is no host or no rule on hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// There is nothing.
    #[error("the host is empty")]
    Empty,
    /// A whole URL, or something with a path.
    #[error("it is a URL or has a path, not a host")]
    Url,
    /// A byte outside letters, digits, `-` and `_`.
    #[error("`{0}` can't stand in a host name")]
    Character(String),
    /// An empty label, or one of more than 63 bytes.
    #[error("a label between dots is empty or longer than 63 bytes")]
    Label,
    /// More than 253 bytes.
    #[error("the name is longer than 253 bytes")]
    TooLong,
    /// A last label of digits or `0x…` that is no address as a whole.
    #[error("it looks like an address and is none in the usual spelling")]
    AddressInDisguise,
    /// An IPv6 address without brackets, or a bad one in them.
    #[error("it is not an IPv6 address in brackets")]
    Ipv6,
    /// Not a number from 1 to 65535.
    #[error("`{0}` is not a port from 1 to 65535")]
    Port(String),
    /// `*` alone.
    #[error("`*` means every host")]
    Everything,
    /// A star that is not the whole first label.
    #[error("a star stands only for whole labels in front: `*.example.com` or `**.example.com`")]
    Star,
    /// A star on a name below which anybody can register.
    #[error("anybody can register a name below `{0}`")]
    PublicSuffix(String),
    /// A cloud's metadata service.
    #[error("a cloud's metadata service is blocked and no rule lifts that")]
    Metadata,
}

impl HostError {
    /// The next thing to do, beside what the key itself suggests.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Url => {
                "write the host alone, without scheme and path: `example.com` or `example.com:8443`"
            }
            Self::AddressInDisguise => "write an IPv4 address as four decimal numbers: `127.0.0.1`",
            Self::Ipv6 => {
                "write an IPv6 address in brackets: `[2001:db8::7]` or `[2001:db8::7]:8080`"
            }
            Self::Everything => "name the hosts",
            Self::PublicSuffix(_) => "name the domain you mean: `*.example.com`",
            Self::Metadata => "remove it",
            Self::Empty
            | Self::Character(_)
            | Self::Label
            | Self::TooLong
            | Self::Port(_)
            | Self::Star => {
                "write `example.com`, `*.example.com`, `**.example.com` or an address, and `:PORT` if you like"
            }
        }
    }
}

impl HostName {
    /// Reads a name from bytes, as they come from a request.
    ///
    /// # Errors
    /// [`HostError`] for anything but labels of letters, digits, `-`, `_`; also for what looks like an address.
    ///
    /// # Security
    /// The attacker chooses every byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, HostError> {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(bad) = bytes.iter().find(|byte| !is_name_byte(**byte)) {
            let character = escape(std::slice::from_ref(bad)).into_owned();
            return Err(HostError::Character(character));
        }
        if bytes.len() > 253 {
            return Err(HostError::TooLong);
        }
        let mut last: &[u8] = bytes;
        for label in bytes.split(|byte| *byte == b'.') {
            if label.is_empty() || label.len() > 63 {
                return Err(HostError::Label);
            }
            last = label;
        }
        if is_number(last) {
            return Err(HostError::AddressInDisguise);
        }
        let name = bytes
            .iter()
            .map(|byte| char::from(byte.to_ascii_lowercase()))
            .collect();
        Ok(Self(name))
    }

    /// The name in lower case, without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name lies below `parent`, by whole labels.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0
            .strip_suffix(parent.0.as_str())
            .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Whether some resolver reads `label` as a number: all digits, or `0x` and hexadecimal digits.
fn is_number(label: &[u8]) -> bool {
    let hexadecimal = label
        .strip_prefix(b"0x")
        .or_else(|| label.strip_prefix(b"0X"))
        .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    hexadecimal || label.iter().all(u8::is_ascii_digit)
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`HostError`] for everything else.
    ///
    /// # Security
    /// The attacker chooses every byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, HostError> {
        if let Some(inner) = bytes.strip_prefix(b"[") {
            let inner = inner.strip_suffix(b"]").ok_or(HostError::Ipv6)?;
            let text = std::str::from_utf8(inner).map_err(|_| HostError::Ipv6)?;
            let address: Ipv6Addr = text.parse().map_err(|_| HostError::Ipv6)?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        if let Some(address) = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse::<Ipv4Addr>().ok())
        {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        HostName::parse(bytes).map(Self::Name)
    }

    /// Whether this is a cloud's metadata service, also in an IPv6 disguise.
    #[must_use]
    pub fn is_metadata(&self) -> bool {
        match self {
            Self::Name(name) => METADATA_NAMES.contains(&name.as_str()),
            Self::Address(address) => is_metadata_address(*address),
        }
    }

    /// Whether this is the session's own loopback: `localhost`, names below it, and loopback addresses.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => {
                name.as_str() == "localhost" || name.as_str().ends_with(".localhost")
            }
            Self::Address(address) => address.to_canonical().is_loopback(),
        }
    }
}

impl HostPattern {
    /// Whether it means `host`.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(pattern), Host::Name(name)) => pattern == name,
            (Self::Subdomains(parent), Host::Name(name)) => name.is_below(parent),
            (Self::Tree(parent), Host::Name(name)) => name == parent || name.is_below(parent),
            (Self::Address(pattern), Host::Address(address)) => pattern == address,
            (Self::Exact(_) | Self::Subdomains(_) | Self::Tree(_), Host::Address(_))
            | (Self::Address(_), Host::Name(_)) => false,
        }
    }

    /// Whether every host that `other` means is meant by this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.matches(&Host::Name(name.clone())),
            Self::Address(address) => self.matches(&Host::Address(*address)),
            Self::Subdomains(inner) => match self {
                Self::Subdomains(outer) | Self::Tree(outer) => {
                    inner == outer || inner.is_below(outer)
                }
                Self::Exact(_) | Self::Address(_) => false,
            },
            Self::Tree(inner) => match self {
                Self::Tree(outer) => inner == outer || inner.is_below(outer),
                Self::Subdomains(outer) => inner.is_below(outer),
                Self::Exact(_) | Self::Address(_) => false,
            },
        }
    }
}

impl HostRule {
    /// A rule for `pattern`; without a port it means [`DEFAULT_PORTS`].
    #[must_use]
    pub fn new(pattern: HostPattern, port: Option<u16>) -> Self {
        Self { pattern, port }
    }

    /// Which hosts it means.
    #[must_use]
    pub fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// The port it names.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Checks what only an allow rule must not mean; a deny rule may mean all of it.
    ///
    /// # Errors
    /// [`HostError::PublicSuffix`] for a star on a name below which anybody can register, [`HostError::Metadata`]
    /// for a cloud's metadata service.
    pub fn check_allow(&self) -> Result<(), HostError> {
        let metadata = match &self.pattern {
            HostPattern::Exact(name) => Host::Name(name.clone()).is_metadata(),
            HostPattern::Address(address) => is_metadata_address(*address),
            HostPattern::Subdomains(parent) | HostPattern::Tree(parent) => {
                if suffix::is_public(parent.as_str()) {
                    return Err(HostError::PublicSuffix(parent.0.clone()));
                }
                false
            }
        };
        if metadata {
            Err(HostError::Metadata)
        } else {
            Ok(())
        }
    }

    /// Whether it allows `host` at `port`: a rule without a port means 80 and 443.
    #[must_use]
    pub fn allows(&self, host: &Host, port: u16) -> bool {
        let port_fits = match self.port {
            Some(own) => own == port,
            None => DEFAULT_PORTS.contains(&port),
        };
        port_fits && self.pattern.matches(host)
    }

    /// Whether it denies `host` at `port`: a rule without a port means every port.
    #[must_use]
    pub fn denies(&self, host: &Host, port: u16) -> bool {
        self.port.is_none_or(|own| own == port) && self.means(host)
    }

    /// Whether a deny rule means `host`: an address also in another form, which reaches the same machine.
    fn means(&self, host: &Host) -> bool {
        match (&self.pattern, host) {
            (HostPattern::Address(own), Host::Address(address)) => is_same(*own, *address),
            (pattern, host) => pattern.matches(host),
        }
    }

    /// Whether this rule, as an allow rule, allows all that `other` allows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let port_fits = match (self.port, other.port) {
            (own, inner) if own == inner => true,
            (None, Some(inner)) => DEFAULT_PORTS.contains(&inner),
            (Some(_), _) | (None, None) => false,
        };
        port_fits && self.pattern.covers(&other.pattern)
    }
}

impl FromStr for HostRule {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains("://") || text.contains('/') {
            return Err(HostError::Url);
        }
        let (host, port) = split_port(text)?;
        if host == "*" || host == "**" {
            return Err(HostError::Everything);
        }
        let (star, name) = if let Some(name) = host.strip_prefix("**.") {
            (Some(HostPattern::Tree as fn(HostName) -> HostPattern), name)
        } else if let Some(name) = host.strip_prefix("*.") {
            (
                Some(HostPattern::Subdomains as fn(HostName) -> HostPattern),
                name,
            )
        } else {
            (None, host)
        };
        if name.contains('*') {
            return Err(HostError::Star);
        }
        let pattern = match (star, Host::parse(name.as_bytes())?) {
            (None, Host::Name(name)) => HostPattern::Exact(name),
            (None, Host::Address(address)) => HostPattern::Address(address),
            (Some(_), Host::Address(_)) => return Err(HostError::Star),
            (Some(make), Host::Name(name)) => make(name),
        };
        Ok(Self { pattern, port })
    }
}

/// Splits `HOST[:PORT]`; an IPv6 address keeps its brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let after_brackets = text.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match text.get(after_brackets..).and_then(|tail| tail.find(':')) {
        Some(colon) => {
            let (host, port) = text.split_at(after_brackets + colon);
            (host, Some(port.trim_start_matches(':')))
        }
        None => (text, None),
    };
    let colons = text.bytes().filter(|byte| *byte == b':').count();
    if after_brackets == 0 && colons > 1 {
        return Err(HostError::Ipv6);
    }
    let port = port.map(parse_port).transpose()?;
    Ok((host, port))
}

/// Reads a port from 1 to 65535, digits alone.
///
/// # Errors
/// [`HostError::Port`] for anything else, also for a sign or a leading zero.
pub fn parse_port(text: &str) -> Result<u16, HostError> {
    let bad = || HostError::Port(escape(text.as_bytes()).into_owned());
    if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('0') {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

impl TryFrom<String> for HostRule {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(formatter),
            Self::Address(IpAddr::V4(address)) => address.fmt(formatter),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            HostPattern::Exact(name) => name.fmt(formatter)?,
            HostPattern::Subdomains(name) => write!(formatter, "*.{name}")?,
            HostPattern::Tree(name) => write!(formatter, "**.{name}")?,
            HostPattern::Address(address) => Host::Address(*address).fmt(formatter)?,
        }
        match self.port {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

impl JsonSchema for HostRule {
    fn schema_name() -> Cow<'static, str> {
        "HostRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 262 })
    }
}

#[cfg(test)]
mod tests;
