//! One entry of `network.allow`: a host, and which requests to it where not all.
//!
//! Written as text (`example.com`, `api.example.com GET,HEAD /v1/**`) or as a table. Decides nothing.
//! Invariant: what is printed is read back as the same rule.

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

/// Which connections, or which requests, may leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowRule {
    host: HostRule,
    /// `None` for everything that is said to the host.
    scope: Option<RequestScope>,
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
    /// Methods stand twice, or behind a path.
    #[error("`{0}`: write the host, then the methods with commas, then the paths")]
    Order(String),
    /// A table with neither methods nor paths.
    #[error("a table without `methods` and `paths` allows everything: write the host as text")]
    NoScope,
}

impl AllowError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Host(error) => error.hint(),
            Self::Scope(_) | Self::Order(_) | Self::NoScope => {
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
        if scope.methods.is_empty() && scope.paths.is_empty() {
            return Err(AllowError::NoScope);
        }
        let scope = Some(scope);
        Ok(Self { host, scope })
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
        scope && self.host.covers(&other.host)
    }
}

impl From<HostRule> for AllowRule {
    fn from(host: HostRule) -> Self {
        Self { host, scope: None }
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
        for word in words.clone() {
            if word.starts_with('/') {
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
        Self::scoped(host, RequestScope { methods, paths })
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(formatter)?;
        match &self.scope {
            Some(scope) => write!(formatter, " {scope}"),
            None => Ok(()),
        }
    }
}

impl Serialize for AllowRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(scope) = &self.scope else {
            return self.host.serialize(serializer);
        };
        let mut table = serializer.serialize_struct("AllowRule", 3)?;
        table.serialize_field("host", &self.host)?;
        if !scope.methods.is_empty() {
            table.serialize_field("methods", &scope.methods)?;
        }
        if !scope.paths.is_empty() {
            table.serialize_field("paths", &scope.paths)?;
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
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = AllowRule;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a host, or a table with host, methods and paths")
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
        AllowRule::scoped(table.host, scope).map_err(A::Error::custom)
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
        ] {
            let rule: AllowRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<AllowRule>(&json).unwrap(), rule);
            assert_eq!(rule.scope().is_none(), json.starts_with('"'));
        }
        let table = r#"{ "host": "api.example.com", "methods": ["GET"], "paths": ["/v1/**"] }"#;
        let rule: AllowRule = serde_json::from_str(table).unwrap();
        assert_eq!(rule.to_string(), "api.example.com GET /v1/**");
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
    }
}
