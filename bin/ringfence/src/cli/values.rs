//! What the values of options may be, and how they are read.
//!
//! Invariant: a value that a policy file has too is read by the policy's own definition.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ringfence_plan::step::Observe;
use ringfence_policy::allow::{AllowError, AllowRule};
use ringfence_policy::document::{GitAccess, Mode, NetworkMode, Require};
use ringfence_policy::host::{HostError, HostRule};
use ringfence_policy::units::{ByteSize, Span};
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};

/// One `--env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// Let through what is set outside.
    Pass(String),
    /// Set to this value.
    Set(String, String),
}

/// One `--limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `memory`, as the policy spells sizes.
    Memory(ByteSize),
    /// `processes`
    Processes(u32),
    /// `time`, as the policy spells spans.
    Time(Span),
}

pub(super) fn parse_variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() || name.contains('\0') {
        return Err("a variable needs a name: NAME or NAME=VALUE".to_owned());
    }
    Ok(match value {
        Some(value) => Variable::Set(name.to_owned(), value.to_owned()),
        None => Variable::Pass(name.to_owned()),
    })
}

pub(super) fn parse_host(text: &str) -> Result<HostRule, String> {
    text.parse()
        .map_err(|error: HostError| format!("{error}; {}", error.hint()))
}

pub(super) fn parse_allow(text: &str) -> Result<AllowRule, String> {
    text.parse()
        .map_err(|error: AllowError| format!("{error}; {}", error.hint()))
}

pub(super) fn parse_limit(text: &str) -> Result<Limit, String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("a limit is KEY=VALUE, for example memory=4GiB".to_owned());
    };
    match key {
        "memory" => value
            .parse()
            .map(Limit::Memory)
            .map_err(|error| format!("{error}; {}", ByteSize::HINT)),
        "processes" => value
            .parse()
            .map(Limit::Processes)
            .map_err(|_| format!("`{value}` is no number of processes")),
        "time" => value
            .parse()
            .map(Limit::Time)
            .map_err(|error| format!("{error}; {}", Span::HINT)),
        other => Err(format!(
            "there is no limit `{other}`; there are memory, processes and time"
        )),
    }
}

/// The policy's own spelling of a value, read by the policy's own definition.
fn spelt<T: DeserializeOwned>(text: &str) -> Result<T, ValueError> {
    T::deserialize(StrDeserializer::new(text))
}

fn values<T>(values: [(&'static str, &'static str); 3]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let values = values.map(|(name, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(values).try_map(|text| spelt::<T>(&text))
}

pub(super) fn mode_parser() -> impl TypedValueParser<Value = Mode> {
    values([
        ("read-only", "nothing but private directories"),
        (
            "workspace-write",
            "the workspace, named roots and private directories (default)",
        ),
        ("full-access", "no boundary at all"),
    ])
}

pub(super) fn git_parser() -> impl TypedValueParser<Value = GitAccess> {
    values([
        ("read-only", "nothing is written (default)"),
        (
            "commit",
            "commits work; hooks and configuration stay read-only",
        ),
        ("full", "as any other directory"),
    ])
}

pub(super) fn network_parser() -> impl TypedValueParser<Value = NetworkMode> {
    values([
        ("offline", "the session's own loopback alone (default)"),
        ("allowlist", "the destinations that are allowed by name"),
        ("open", "every public destination"),
    ])
}

pub(super) fn observe_parser() -> impl TypedValueParser<Value = Observe> {
    values([
        ("off", "none"),
        (
            "writes",
            "calls that write to a path, connect, or are refused",
        ),
        ("all", "the same, and reads and program starts"),
    ])
}

pub(super) fn require_parser() -> impl TypedValueParser<Value = Require> {
    let values = [
        PossibleValue::new("partial")
            .help("run with a part of the boundary, and say what is missing (default)"),
        PossibleValue::new("full").help("refuse to run unless every layer holds"),
    ];
    PossibleValuesParser::new(values).try_map(|text| spelt::<Require>(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_passed_or_set() {
        assert_eq!(parse_variable("CI"), Ok(Variable::Pass("CI".to_owned())));
        assert_eq!(
            parse_variable("A=b=c"),
            Ok(Variable::Set("A".to_owned(), "b=c".to_owned()))
        );
        assert!(parse_variable("=b").is_err());
    }

    #[test]
    fn limits_are_known_by_name() {
        assert_eq!(parse_limit("processes=12"), Ok(Limit::Processes(12)));
        assert!(parse_limit("processes=many").is_err());
        assert!(parse_limit("disk=1").is_err());
        assert!(parse_limit("memory").is_err());
    }
}
