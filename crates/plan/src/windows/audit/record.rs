//! What audits of one machine have measured of its network filters, kept from one to the next.
//!
//! Invariant: a copy that was seen to escape is not forgotten by a new build of Windows or by accounts that were made
//! anew: only another audit takes that back. What held does not count beyond what it was seen on.

use ringfence_nt::Sid;
use ringfence_nt::fs::LinkRule;
use serde::{Deserialize, Serialize};

use super::{AuditReport, TriedCopies};
use crate::windows::facts::{Consent, CopiedToken, Copies, Filtering, WindowsFacts};
use crate::windows::filters::FilterForm;

/// Where something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audited {
    /// The SID of the machine's accounts.
    pub machine: Sid,
    /// Whose targets.
    pub person: Sid,
    /// The account that they ran as; `None` before set-up.
    pub offline: Option<Sid>,
    /// The build of Windows.
    pub build: u32,
}

impl Audited {
    /// What an audit of this machine measures on, now.
    #[must_use]
    pub fn of(facts: &WindowsFacts) -> Self {
        Self {
            machine: facts.machine.sid,
            person: facts.person.sid,
            offline: facts.installed.offline.as_ref().map(|account| account.sid),
            build: facts.machine.build,
        }
    }
}

/// What was measured, and where (`audit.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Where.
    pub on: Audited,
    /// Where filters name the account.
    pub named: Option<Copies>,
    /// Where filters permit everybody but the account.
    pub complement: Option<Copies>,
    /// The last report.
    pub last: AuditReport,
}

impl AuditRecord {
    /// The record after `report`, with what an earlier one has of the other form.
    #[must_use]
    pub fn after(report: AuditReport, on: Audited, earlier: Option<&Self>) -> Self {
        let known = earlier.map_or_else(Filtering::default, |earlier| earlier.on(on));
        let Filtering {
            mut named,
            mut complement,
            ..
        } = known;
        match report.filtering {
            Some(TriedCopies {
                form: FilterForm::Named,
                copies,
            }) => named = Some(copies),
            Some(TriedCopies {
                form: FilterForm::Complement | FilterForm::ComplementWithoutAnonymous,
                copies,
            }) => complement = Some(copies),
            None => {}
        }
        Self {
            on,
            named,
            complement,
            last: report,
        }
    }

    /// What of it counts on `here`.
    fn on(&self, here: Audited) -> Filtering {
        if (self.on.machine, self.on.person) != (here.machine, here.person) {
            return Filtering::default();
        }
        let known =
            |copies: Option<Copies>| copies.filter(|copies| self.on == here || escapes(*copies));
        Filtering {
            named: known(self.named),
            complement: known(self.complement),
            complement_consent: Consent::Missing,
        }
    }

    /// What a further name of a file asks for on the machine of `facts`: an answer that allows less than the model's
    /// worst counts on what it was seen on alone.
    #[must_use]
    pub fn links(&self, facts: &WindowsFacts) -> Option<LinkRule> {
        let here = self.on == Audited::of(facts);
        self.last.links().filter(|rule| match rule {
            LinkRule::WriteAttributes => here,
            LinkRule::AnyHandle => true,
        })
    }

    /// What is known on the machine of `facts`, beside whether somebody has agreed to filters that can hit others.
    #[must_use]
    pub fn filtering(&self, facts: &WindowsFacts) -> Filtering {
        Filtering {
            complement_consent: facts.filtering.complement_consent,
            ..self.on(Audited::of(facts))
        }
    }
}

const fn escapes(copies: Copies) -> bool {
    matches!(copies.deny_only, CopiedToken::Escapes)
        || matches!(copies.anonymous, CopiedToken::Escapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATCHED: Copies = Copies {
        deny_only: CopiedToken::Matched,
        anonymous: CopiedToken::Matched,
    };
    const ESCAPES: Copies = Copies {
        deny_only: CopiedToken::Escapes,
        ..MATCHED
    };

    fn sid(number: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, number]).unwrap()
    }

    fn here() -> Audited {
        Audited {
            machine: sid(1),
            person: sid(2),
            offline: Some(sid(3)),
            build: 26100,
        }
    }

    fn report(form: FilterForm, copies: Copies) -> AuditReport {
        AuditReport {
            version: super::super::AUDIT_VERSION,
            build: 26100,
            lacks: None,
            second_pass: None,
            filtering: Some(TriedCopies { form, copies }),
            probes: Vec::new(),
        }
    }

    #[test]
    fn what_was_measured_of_one_form_stays_when_the_other_is() {
        let first = AuditRecord::after(report(FilterForm::Named, ESCAPES), here(), None);
        let second = report(FilterForm::Complement, MATCHED);
        let second = AuditRecord::after(second, here(), Some(&first));
        assert_eq!(
            (second.named, second.complement),
            (Some(ESCAPES), Some(MATCHED))
        );
        // An audit that could not try any copy takes nothing back.
        let mut untried = report(FilterForm::Named, MATCHED);
        untried.filtering = None;
        let third = AuditRecord::after(untried, here(), Some(&second));
        assert_eq!(
            (third.named, third.complement),
            (Some(ESCAPES), Some(MATCHED))
        );
        let mended = AuditRecord::after(report(FilterForm::Named, MATCHED), here(), Some(&third));
        assert_eq!(mended.named, Some(MATCHED));
        let json = serde_json::to_string(&mended).unwrap();
        assert_eq!(serde_json::from_str::<AuditRecord>(&json).unwrap(), mended);
    }

    #[test]
    fn what_links_ask_for_counts_where_it_was_seen() {
        let text = include_str!("../../../../../tests/golden/cases/windows-plain/facts.json");
        let crate::HostFacts::Windows(mut facts) = serde_json::from_str(text).unwrap() else {
            unreachable!("the case is a Windows machine")
        };
        let mut answered = report(FilterForm::Named, MATCHED);
        answered.probes.push(crate::windows::audit::Probe {
            name: crate::windows::audit::LINKS.to_owned(),
            answer: crate::windows::audit::Answer::Held,
            detail: String::new(),
            control: String::new(),
        });
        let record =
            |report: &AuditReport| AuditRecord::after(report.clone(), Audited::of(&facts), None);
        let held = record(&answered);
        answered.probes[0].answer = crate::windows::audit::Answer::Open;
        let open = record(&answered);
        assert_eq!(held.links(&facts), Some(LinkRule::WriteAttributes));
        assert_eq!(open.links(&facts), Some(LinkRule::AnyHandle));
        facts.machine.build += 1;
        assert_eq!(held.links(&facts), None);
        assert_eq!(open.links(&facts), Some(LinkRule::AnyHandle));
    }

    #[test]
    fn a_new_build_and_new_accounts_forget_what_held_and_not_what_escaped() {
        let both = AuditRecord {
            on: here(),
            named: Some(ESCAPES),
            complement: Some(MATCHED),
            last: report(FilterForm::Complement, MATCHED),
        };
        assert_eq!(both.on(here()).complement, Some(MATCHED));
        for other in [
            Audited {
                build: 26200,
                ..here()
            },
            Audited {
                offline: Some(sid(4)),
                ..here()
            },
            Audited {
                offline: None,
                ..here()
            },
        ] {
            let known = both.on(other);
            assert_eq!((known.named, known.complement), (Some(ESCAPES), None));
        }
        for elsewhere in [
            Audited {
                machine: sid(9),
                ..here()
            },
            Audited {
                person: sid(9),
                ..here()
            },
        ] {
            assert_eq!(both.on(elsewhere), Filtering::default());
        }
    }
}
