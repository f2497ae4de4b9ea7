//! What an audit of a real machine has answered: a report to read, and a fixture that pins what the model leaves open.
//!
//! Pure: it holds answers and draws the one conclusion that plans are made from. Invariant: what was not tried, or was
//! tried on a system that enforces nothing, never counts as held.

use ringfence_nt::measure::{Measured, Request};
use ringfence_nt::{AccessMask, WriteClass};
use serde::{Deserialize, Serialize};

use super::facts::WindowsFacts;

/// The version of reports that this program writes.
pub const AUDIT_VERSION: u32 = 1;

/// What an audit has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditReport {
    /// [`AUDIT_VERSION`]
    pub version: u32,
    /// The build of Windows; 0 where the system tells none.
    pub build: u32,
    /// What the second pass of a write-restricted token covers; `None` where nothing is restricted.
    pub second_pass: Option<SecondPass>,
    /// Every probe, in order.
    pub probes: Vec<Probe>,
}

/// What was measured of the second pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondPass {
    /// The rights of a file that it decides on.
    pub covered: AccessMask,
    /// Whether it takes the whole request as soon as one of them is asked for.
    pub whole_request: bool,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Its name: `egress.tcp`.
    pub name: String,
    /// What came of it.
    pub answer: Answer,
    /// What was seen.
    pub detail: String,
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The boundary held, or what must work worked.
    Held,
    /// It did not.
    Open,
    /// The system enforces nothing of it: nothing was started.
    NotEnforced,
    /// It was not tried, and the detail says why.
    NotTried,
}

impl Answer {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Open => "OPEN",
            Self::NotEnforced => "not enforced",
            Self::NotTried => "not tried",
        }
    }
}

impl From<Measured> for SecondPass {
    fn from(measured: Measured) -> Self {
        Self {
            covered: measured.covered,
            whole_request: measured.request == Request::Whole,
        }
    }
}

impl SecondPass {
    /// The hypothesis that promises no more than was measured.
    #[must_use]
    pub fn class(self) -> Option<WriteClass> {
        let request = if self.whole_request {
            Request::Whole
        } else {
            Request::Covered
        };
        let covered = self.covered;
        Measured { covered, request }.class()
    }
}

impl AuditReport {
    /// Whether the machine holds the boundary: the second pass suffices, and no probe found it open or unenforced.
    #[must_use]
    pub fn holds(&self) -> bool {
        let class = self.second_pass.and_then(SecondPass::class);
        class.is_some_and(WriteClass::holds_a_boundary)
            && self.probes.iter().all(|probe| match probe.answer {
                Answer::Held | Answer::NotTried => true,
                Answer::Open | Answer::NotEnforced => false,
            })
    }

    /// Puts what was measured into the facts of a machine: plans and the model use this class from then on.
    pub fn pin(&self, facts: &mut WindowsFacts) {
        facts.write_class = self.second_pass.and_then(SecondPass::class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> AuditReport {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_stored_audit_pins_the_class_that_was_measured() {
        for (text, class, holds) in [
            (
                r#"{"version":1,"build":26100,"second_pass":{"covered":852310,"whole_request":false},"probes":[{"name":"egress.tcp","answer":"held","detail":"10013"}]}"#,
                Some(WriteClass::H2),
                true,
            ),
            (
                r#"{"version":1,"build":26100,"second_pass":{"covered":852310,"whole_request":true},"probes":[]}"#,
                Some(WriteClass::H3),
                true,
            ),
            (
                r#"{"version":1,"build":19045,"second_pass":{"covered":278,"whole_request":false},"probes":[]}"#,
                Some(WriteClass::H1),
                false,
            ),
            (
                r#"{"version":1,"build":0,"second_pass":null,"probes":[{"name":"write-class","answer":"not-enforced","detail":"nothing is restricted"}]}"#,
                None,
                false,
            ),
            (
                r#"{"version":1,"build":26100,"second_pass":{"covered":852310,"whole_request":false},"probes":[{"name":"dns","answer":"open","detail":"answered"}]}"#,
                Some(WriteClass::H2),
                false,
            ),
        ] {
            let report = report(text);
            assert_eq!(
                report.second_pass.and_then(SecondPass::class),
                class,
                "{text}"
            );
            assert_eq!(report.holds(), holds, "{text}");
            let again = serde_json::to_string(&report).unwrap();
            assert_eq!(self::report(&again), report);
        }
    }
}
