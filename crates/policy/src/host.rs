//! Host names, addresses and the patterns that rules are made of.

use serde::{Deserialize, Serialize};

/// One entry of `network.allow` or `network.deny`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule(String);

impl TryFrom<String> for HostRule {
    type Error = std::convert::Infallible;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(text))
    }
}
impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.0
    }
}
