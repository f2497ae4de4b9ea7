//! What an audit of a real machine has answered: a report to read, and a fixture that pins what the model leaves open.
//!
//! Pure: it holds answers and draws the conclusions that plans are made from. Invariant: what could not be tried, or was
//! tried on a system that enforces nothing, never counts as held.

mod probes;
mod record;

use ringfence_nt::fs::LinkRule;
use ringfence_nt::measure::{Measured, Request};
use ringfence_nt::{AccessMask, WriteClass};
use serde::{Deserialize, Serialize};

use super::facts::{CopiedToken, Copies, WindowsFacts};
use super::filters::FilterForm;

pub use probes::{LINKS, PROBES, ProbeKind, Stakes, kind_of};
pub use record::{AuditRecord, Audited};

/// The version of reports that this program writes.
pub const AUDIT_VERSION: u32 = 2;

/// What an audit has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditReport {
    /// [`AUDIT_VERSION`]
    pub version: u32,
    /// The build of Windows; 0 where the system tells none.
    pub build: u32,
    /// What nothing held in the sessions of this audit, whatever their probes came to: same-user mode's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// What the second pass of a write-restricted token covers; `None` where nothing is restricted.
    pub second_pass: Option<SecondPass>,
    /// What was seen of copies of a target's token; `None` where one of them could not be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtering: Option<TriedCopies>,
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

/// What copies of a target's token came to, under which filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriedCopies {
    /// The form of the filters that were in force.
    pub form: FilterForm,
    /// What became of their connections.
    pub copies: Copies,
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
    /// What was done to see that the probe itself works, and what came of that; empty where nothing was tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub control: String,
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
    /// It could not be tried, or what came of it tells nothing: the detail says why. Reports of version 1 say
    /// `not-tried`.
    #[serde(alias = "not-tried")]
    Unknown,
}

impl Answer {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Open => "OPEN",
            Self::NotEnforced => "not enforced",
            Self::Unknown => "unknown",
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

/// What a whole audit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that the boundary promises was tried and held.
    Held,
    /// Nothing that was tried was open, and some of it could not be tried.
    Unknown,
    /// It holds, but for copies of a token that get past the network filters, or files that can only be read and are linked.
    Partial,
    /// Something of it is open, or this system enforces nothing.
    NotEnforced,
}

impl AuditReport {
    /// What it comes to. Services of other identities and things that ought to work are told, and decide nothing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let class = self.second_pass.and_then(SecondPass::class);
        if !class.is_some_and(WriteClass::holds_a_boundary) {
            return Verdict::NotEnforced;
        }
        let missing = PROBES
            .iter()
            .any(|kind| !self.probes.iter().any(|probe| probe.name == kind.name));
        let mut verdict = if missing {
            Verdict::Unknown
        } else {
            Verdict::Held
        };
        for probe in &self.probes {
            // A probe of another release is judged as strictly as can be.
            let stakes = match kind_of(&probe.name).map_or(Stakes::Boundary, |kind| kind.stakes) {
                Stakes::Shared if self.lacks.is_some() => Stakes::Boundary,
                stakes => stakes,
            };
            let found = match (stakes, probe.answer) {
                (_, Answer::NotEnforced) | (Stakes::Boundary, Answer::Open) => Verdict::NotEnforced,
                (Stakes::Copies | Stakes::Links, Answer::Open) => Verdict::Partial,
                (Stakes::Boundary | Stakes::Copies | Stakes::Links, Answer::Unknown) => {
                    Verdict::Unknown
                }
                (_, Answer::Held)
                | (
                    Stakes::Service | Stakes::Works | Stakes::Shared,
                    Answer::Open | Answer::Unknown,
                ) => Verdict::Held,
            };
            verdict = worse(verdict, found);
        }
        verdict
    }

    /// Whether the machine holds all of the boundary, everything of it tried.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdict() == Verdict::Held
    }

    /// What a further name of a file asks for, if that could be tried.
    #[must_use]
    pub fn links(&self) -> Option<LinkRule> {
        let probe = self.probes.iter().find(|probe| probe.name == LINKS)?;
        match probe.answer {
            Answer::Held => Some(LinkRule::WriteAttributes),
            Answer::Open => Some(LinkRule::AnyHandle),
            Answer::NotEnforced | Answer::Unknown => None,
        }
    }

    /// Puts what was measured into the facts of a machine: plans and the model use this class, and these filters, from
    /// then on. Whether an administrator has agreed to filters is no measurement and stays.
    pub fn pin(&self, facts: &mut WindowsFacts) {
        facts.write_class = self.second_pass.and_then(SecondPass::class);
        facts.links = self.links();
        if let Some(TriedCopies { form, copies }) = self.filtering {
            match form {
                FilterForm::Named => facts.filtering.named = Some(copies),
                FilterForm::Complement | FilterForm::ComplementWithoutAnonymous => {
                    facts.filtering.complement = Some(copies);
                }
            }
        }
    }
}

const fn worse(one: Verdict, other: Verdict) -> Verdict {
    const fn rank(verdict: Verdict) -> u8 {
        match verdict {
            Verdict::Held => 0,
            Verdict::Unknown => 1,
            Verdict::Partial => 2,
            Verdict::NotEnforced => 3,
        }
    }
    if rank(one) < rank(other) { other } else { one }
}

/// What both copies came to, by the answers to their probes; `None` where one of them is unknown.
#[must_use]
pub const fn copies_of(deny_only: Answer, anonymous: Answer) -> Option<Copies> {
    const fn token(answer: Answer) -> Option<CopiedToken> {
        match answer {
            Answer::Held => Some(CopiedToken::Matched),
            Answer::Open => Some(CopiedToken::Escapes),
            Answer::NotEnforced | Answer::Unknown => None,
        }
    }
    match (token(deny_only), token(anonymous)) {
        (Some(deny_only), Some(anonymous)) => Some(Copies {
            deny_only,
            anonymous,
        }),
        (Some(_) | None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> AuditReport {
        serde_json::from_str(text).unwrap()
    }

    const H2: &str = r#""second_pass":{"covered":852310,"whole_request":false}"#;

    #[test]
    fn a_stored_audit_pins_the_class_that_was_measured() {
        for (second_pass, class) in [
            (
                r#"{"covered":852310,"whole_request":false}"#,
                Some(WriteClass::H2),
            ),
            (
                r#"{"covered":852310,"whole_request":true}"#,
                Some(WriteClass::H3),
            ),
            (
                r#"{"covered":278,"whole_request":false}"#,
                Some(WriteClass::H1),
            ),
            ("null", None),
        ] {
            // As version 1 wrote it.
            let text = format!(
                r#"{{"version":1,"build":26100,"second_pass":{second_pass},"probes":[{{"name":"icmp","answer":"not-tried","detail":"there is no probe"}}]}}"#
            );
            let report = report(&text);
            assert_eq!(
                report.second_pass.and_then(SecondPass::class),
                class,
                "{text}"
            );
            assert_eq!(report.probes[0].answer, Answer::Unknown);
            assert!(!report.holds(), "one probe is not an audit");
            let again = serde_json::to_string(&report).unwrap();
            assert_eq!(self::report(&again), report);
        }
    }

    /// A report in which every probe has this answer, but for one.
    fn all(answer: Answer, but: &str, other: Answer) -> AuditReport {
        let mut report = report(&format!(
            r#"{{"version":2,"build":26100,{H2},"probes":[]}}"#
        ));
        report.probes = PROBES
            .iter()
            .map(|kind| Probe {
                name: kind.name.to_owned(),
                answer: if kind.name == but { other } else { answer },
                detail: String::new(),
                control: String::new(),
            })
            .collect();
        report
    }

    #[test]
    fn what_is_unknown_never_counts_as_held() {
        assert_eq!(all(Answer::Held, "", Answer::Held).verdict(), Verdict::Held);
        for kind in PROBES {
            let with = |answer| all(Answer::Held, kind.name, answer).verdict();
            let (open, unknown) = match kind.stakes {
                Stakes::Boundary => (Verdict::NotEnforced, Verdict::Unknown),
                Stakes::Copies | Stakes::Links => (Verdict::Partial, Verdict::Unknown),
                Stakes::Service | Stakes::Works | Stakes::Shared => (Verdict::Held, Verdict::Held),
            };
            assert_eq!(with(Answer::Open), open, "{}", kind.name);
            assert_eq!(with(Answer::Unknown), unknown, "{}", kind.name);
            assert_eq!(with(Answer::NotEnforced), Verdict::NotEnforced);
            let mut without = all(Answer::Held, "", Answer::Held);
            without.probes.retain(|probe| probe.name != kind.name);
            assert_eq!(
                without.verdict(),
                Verdict::Unknown,
                "{} was left out",
                kind.name
            );
        }
        // Same-user mode: what a command shares with its starter it shares with the person.
        for (answer, verdict) in [
            (Answer::Open, Verdict::NotEnforced),
            (Answer::Unknown, Verdict::Unknown),
            (Answer::Held, Verdict::Held),
        ] {
            let mut persons = all(Answer::Held, "drives", answer);
            persons.lacks = Some("network: advisory".to_owned());
            assert_eq!(persons.verdict(), verdict, "{answer:?}");
        }
        let mut stranger = all(Answer::Held, "", Answer::Held);
        stranger.probes[0].name = "of another release".to_owned();
        stranger.probes[0].answer = Answer::Open;
        assert_eq!(stranger.verdict(), Verdict::NotEnforced);
        let mut weak = all(Answer::Held, "", Answer::Held);
        weak.second_pass = report(r#"{"version":2,"build":1,"second_pass":{"covered":278,"whole_request":false},"probes":[]}"#).second_pass;
        assert_eq!(weak.verdict(), Verdict::NotEnforced);
    }

    #[test]
    fn copies_are_measured_where_both_were_tried() {
        use CopiedToken::{Escapes, Matched};
        let copies = |deny_only, anonymous| {
            Some(Copies {
                deny_only,
                anonymous,
            })
        };
        assert_eq!(
            copies_of(Answer::Held, Answer::Open),
            copies(Matched, Escapes)
        );
        assert_eq!(
            copies_of(Answer::Open, Answer::Held),
            copies(Escapes, Matched)
        );
        for unknown in [Answer::Unknown, Answer::NotEnforced] {
            assert_eq!(copies_of(Answer::Held, unknown), None);
            assert_eq!(copies_of(unknown, Answer::Open), None);
        }
    }
}
