//! One entry of `network.allow`: a host, which requests to it where not all, and on which terms.
//!
//! Written as text (`example.com`, `api.example.com GET,HEAD /v1/**`, `example.com upgrade=websocket`) or as a table.
//! Decides nothing.
//! Invariant: what is printed is read back as the same rule.

mod terms;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::escape::escape;
use crate::host::{Host, HostError, HostRule};
use crate::request::{Method, PathPattern, RequestScope, ScopeError};
use crate::units::ByteSize;

pub use terms::{Program, Protocol, ServerName, TermError, Terms};

/// Which connections, or which requests, may leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowRule {
    host: HostRule,
    /// `None` for everything that is said to the host.
    scope: Option<RequestScope>,
    terms: Terms,
}

/// Why a text is no entry of `network.allow`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// Its host can't be read.
    #[error(transparent)]
    Host(HostError),
    /// A method or a path can't be read.
    #[error(transparent)]
    Scope(ScopeError),
    /// A term can't be read.
    #[error(transparent)]
    Term(TermError),
    /// Methods stand twice, or behind a path, or something behind the terms.
    #[error("`{0}`: write the host, then the methods with commas, then the paths, then the terms")]
    Order(String),
    /// A table with a host alone.
    #[error("a table with `host` alone allows everything: write the host as text")]
    NoScope,
    /// Requests that are read, in TLS whose server name says nothing.
    #[error(
        "a rule with methods or paths needs the server name of TLS, and can't have `server-name=any`"
    )]
    ScopeWithoutName,
}

impl AllowError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Host(error) => error.hint(),
            Self::Term(_) => {
                "for example `example.com upgrade=websocket bytes-out=10MiB`, or { host = \"example.com\", upgrade = [\"websocket\"], bytes_out = \"10MiB\" }"
            }
            Self::Scope(_) | Self::Order(_) | Self::NoScope | Self::ScopeWithoutName => {
                "for example `api.example.com GET,HEAD /v1/**`, or { host = \"api.example.com\", methods = [\"GET\"], paths = [\"/v1/**\"] }"
            }
        }
    }
}

impl AllowRule {
    /// A rule for the requests of `scope` to `host`.
    ///
    /// # Errors
    /// [`AllowError::NoScope`] when the scope limits nothing.
    pub fn scoped(host: HostRule, scope: RequestScope) -> Result<Self, AllowError> {
        Self::new(host, scope, Terms::default())
    }

    /// A rule for the requests of `scope`, or for everything where that limits nothing, on `terms`.
    fn new(host: HostRule, scope: RequestScope, terms: Terms) -> Result<Self, AllowError> {
        let scope =
            Some(scope).filter(|scope| !scope.methods.is_empty() || !scope.paths.is_empty());
        terms.check().map_err(AllowError::Term)?;
        match (&scope, terms.server_name) {
            (None, _) if terms.is_empty() => Err(AllowError::NoScope),
            (Some(_), ServerName::Any) => Err(AllowError::ScopeWithoutName),
            (Some(_) | None, ServerName::Same | ServerName::Any) => Ok(Self { host, scope, terms }),
        }
    }

    /// Which hosts and ports it means.
    #[must_use]
    pub fn host(&self) -> &HostRule {
        &self.host
    }

    /// Which requests it means; `None` for everything.
    #[must_use]
    pub fn scope(&self) -> Option<&RequestScope> {
        self.scope.as_ref()
    }

    /// On which terms.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The port it names.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.host.port()
    }

    /// Checks what an allow rule must not mean.
    ///
    /// # Errors
    /// As [`HostRule::check_allow`].
    pub fn check_allow(&self) -> Result<(), HostError> {
        self.host.check_allow()
    }

    /// Whether it allows something to be said to `host` at `port`.
    #[must_use]
    pub fn allows(&self, host: &Host, port: u16) -> bool {
        self.host.allows(host, port)
    }

    /// Whether it allows all that `other` allows; `false` where that is not plain.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let scope = match (&self.scope, &other.scope) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => outer.covers(inner),
        };
        scope && self.host.covers(&other.host) && self.terms.covers(&other.terms)
    }
}

impl From<HostRule> for AllowRule {
    fn from(host: HostRule) -> Self {
        Self {
            host,
            scope: None,
            terms: Terms::default(),
        }
    }
}

impl FromStr for AllowRule {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let mut words = text.split(' ');
        let host: HostRule = words
            .next()
            .unwrap_or_default()
            .parse()
            .map_err(AllowError::Host)?;
        let (mut methods, mut paths) = (Vec::new(), Vec::<PathPattern>::new());
        let (mut terms, mut has_terms) = (Terms::default(), false);
        for word in words.clone() {
            if !word.starts_with('/') && word.contains('=') {
                terms.add(word)?;
                has_terms = true;
            } else if has_terms {
                return Err(AllowError::Order(escape(word.as_bytes()).into_owned()));
            } else if word.starts_with('/') {
                paths.push(word.parse().map_err(AllowError::Scope)?);
            } else if methods.is_empty() && paths.is_empty() {
                methods = word
                    .split(',')
                    .map(str::parse::<Method>)
                    .collect::<Result<_, _>>()
                    .map_err(AllowError::Scope)?;
            } else {
                return Err(AllowError::Order(escape(word.as_bytes()).into_owned()));
            }
        }
        if words.next().is_none() {
            return Ok(host.into());
        }
        let scope = RequestScope { methods, paths };
        match Self::new(host.clone(), scope, terms) {
            // Terms that say what is so without them.
            Err(AllowError::NoScope) => Ok(host.into()),
            made => made,
        }
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(formatter)?;
        if let Some(scope) = &self.scope {
            write!(formatter, " {scope}")?;
        }
        if !self.terms.is_empty() {
            write!(formatter, " {}", self.terms)?;
        }
        Ok(())
    }
}

impl Serialize for AllowRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.scope.is_none() && self.terms.is_empty() {
            return self.host.serialize(serializer);
        }
        let mut table = serializer.serialize_struct("AllowRule", 7)?;
        table.serialize_field("host", &self.host)?;
        if let Some(scope) = &self.scope {
            if !scope.methods.is_empty() {
                table.serialize_field("methods", &scope.methods)?;
            }
            if !scope.paths.is_empty() {
                table.serialize_field("paths", &scope.paths)?;
            }
        }
        let terms = &self.terms;
        if terms.server_name != ServerName::Same {
            table.serialize_field("server_name", &terms.server_name)?;
        }
        if !terms.upgrade.is_empty() {
            table.serialize_field("upgrade", &terms.upgrade)?;
        }
        if let Some(size) = &terms.bytes_out {
            table.serialize_field("bytes_out", size)?;
        }
        if !terms.programs.is_empty() {
            table.serialize_field("programs", &terms.programs)?;
        }
        table.end()
    }
}

impl<'de> Deserialize<'de> for AllowRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    host: HostRule,
    #[serde(default)]
    methods: Vec<Method>,
    #[serde(default)]
    paths: Vec<PathPattern>,
    #[serde(default)]
    server_name: ServerName,
    #[serde(default)]
    upgrade: Vec<Protocol>,
    bytes_out: Option<ByteSize>,
    #[serde(default)]
    programs: Vec<Program>,
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = AllowRule;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a host, or a table with host, methods, paths and terms")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AllowRule, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AllowRule, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let scope = RequestScope {
            methods: table.methods,
            paths: table.paths,
        };
        let terms = Terms {
            server_name: table.server_name,
            upgrade: table.upgrade,
            bytes_out: table.bytes_out,
            programs: table.programs,
        };
        AllowRule::new(table.host, scope, terms).map_err(A::Error::custom)
    }
}

impl JsonSchema for AllowRule {
    fn schema_name() -> Cow<'static, str> {
        "AllowRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = |description: &str| json_schema!({ "type": "array", "items": { "type": "string" }, "description": description });
        json_schema!({
            "type": ["string", "object"],
            "minLength": 1,
            "properties": {
                "host": { "type": "string", "minLength": 1, "maxLength": 262, "description": "`HOST` or `HOST:PORT`." },
                "methods": words("Methods of HTTP, in capital letters; without them any."),
                "paths": words("Paths: `*` within a name, `**` for any number of names, at the end for everything below; without them any."),
                "server_name": { "type": "string", "enum": ["same", "any"], "description": "`any`: the server name of TLS may be missing, hidden (ECH) or another." },
                "upgrade": words("Protocols that a request may change to: `websocket`."),
                "bytes_out": { "type": ["string", "integer"], "description": "The most bytes that may leave under this rule in one session." },
                "programs": words("The only programs that it means, by their absolute paths."),
            },
            "required": ["host"],
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for text in [
            "example.com",
            "*.example.com:8443",
            "api.example.com GET",
            "api.example.com:443 GET,HEAD /v1/** /x",
            "[2001:db8::7]:80 /a",
            "example.com server-name=any",
            "example.com:80 GET /ws upgrade=websocket bytes-out=10MiB",
            "example.com bytes-out=5B program=/usr/bin/git program=C:\\git.exe",
        ] {
            let rule: AllowRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<AllowRule>(&json).unwrap(), rule);
            assert_eq!(text.contains(' '), json.starts_with('{'), "{json}");
        }
        let table = r#"{ "host": "api.example.com", "methods": ["GET"], "paths": ["/v1/**"] }"#;
        let rule: AllowRule = serde_json::from_str(table).unwrap();
        assert_eq!(rule.to_string(), "api.example.com GET /v1/**");
        let table = r#"{ "host": "example.com", "upgrade": ["WebSocket"], "bytes_out": 1024 }"#;
        let rule: AllowRule = serde_json::from_str(table).unwrap();
        assert_eq!(
            rule.to_string(),
            "example.com upgrade=websocket bytes-out=1KiB"
        );
    }

    #[test]
    fn what_says_nothing_or_two_things_is_refused() {
        for text in [
            "",
            " GET",
            "example.com ",
            "example.com  GET",
            "example.com get",
            "example.com GET POST",
            "example.com /a GET",
            "example.com GET,",
            "example.com a.example",
            "example.com server-name=none",
            "example.com server-name=any server-name=any",
            "example.com GET server-name=any",
            "example.com upgrade=",
            "example.com upgrade=h2c",
            "example.com upgrade=a\tb",
            "example.com bytes-out=0",
            "example.com bytes-out=many",
            "example.com program=git",
            "example.com program=/",
            "example.com speed=1",
            "example.com bytes-out=1 GET",
        ] {
            assert!(text.parse::<AllowRule>().is_err(), "{text:?}");
        }
        for table in [
            r#"{ "host": "example.com" }"#,
            r#"{ "methods": ["GET"] }"#,
            r#"{ "host": "example.com", "method": ["GET"] }"#,
            r#"{ "host": "example.com GET", "methods": ["GET"] }"#,
            r#"{ "host": "example.com", "methods": "GET" }"#,
            r#"["example.com"]"#,
            r#"{ "host": "example.com", "bytes_out": 0 }"#,
            r#"{ "host": "example.com", "programs": ["a b"] }"#,
            r#"{ "host": "example.com", "programs": ["/a b"] }"#,
            r#"{ "host": "example.com", "server_name": "any", "methods": ["GET"] }"#,
        ] {
            assert!(serde_json::from_str::<AllowRule>(table).is_err(), "{table}");
        }
    }

    #[test]
    fn a_rule_covers_what_is_no_wider() {
        let covers = |outer: &str, inner: &str| {
            let rule = |text: &str| text.parse::<AllowRule>().unwrap();
            rule(outer).covers(&rule(inner))
        };
        assert!(covers("*.example.com", "a.example.com GET /v1/**"));
        assert!(covers("a.example.com GET,PUT", "a.example.com GET /v1/**"));
        assert!(!covers("a.example.com GET", "a.example.com"));
        assert!(!covers("a.example.com GET", "b.example.com GET"));
        assert!(covers(
            "a.example.com",
            "a.example.com bytes-out=1 program=/b"
        ));
        assert!(covers(
            "a.example.com bytes-out=2 program=/b",
            "a.example.com bytes-out=1 program=/b"
        ));
        for (outer, inner) in [
            ("a.example.com", "a.example.com server-name=any"),
            ("a.example.com", "a.example.com upgrade=websocket"),
            ("a.example.com bytes-out=1", "a.example.com bytes-out=2"),
            ("a.example.com bytes-out=1", "a.example.com"),
            ("a.example.com program=/b", "a.example.com"),
            (
                "a.example.com program=/b",
                "a.example.com program=/b program=/c",
            ),
        ] {
            assert!(!covers(outer, inner), "{outer} {inner}");
        }
    }
}
