//! What only a real machine can answer, asked of it: the second pass, and the boundary from inside real sessions.
//!
//! The inner probes start from the launch that commands start from; what is prepared for them outside is a
//! [`Stage`], with the controls. Invariant: where the system restricts nothing every probe says "not enforced" and
//! nothing is started; a probe that could not be tried, or whose control failed, is unknown and never held.

pub mod inside;
mod leftovers;
mod settle;
pub mod stage;

use ringfence_plan::windows::audit::{
    AUDIT_VERSION, Answer, AuditReport, LINKS, PROBES, Probe, SecondPass, TriedCopies, copies_of,
};
use ringfence_plan::windows::filters::FilterForm;
use ringfence_plan::windows::step::PortRange;
use serde::{Deserialize, Serialize};

use crate::observe::write_class;
use crate::sys::registry::{self, Hive};
use inside::errands::{self, Service};
use stage::{Set, Stage};

/// What came of one probe, with what was done to see that it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What came of it.
    pub answer: Answer,
    /// What was seen.
    pub detail: String,
    /// The control, and what came of that.
    pub control: String,
    /// Processes that the probe has left behind on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<u32>,
}

impl Finding {
    pub(crate) fn new(answer: Answer, detail: impl Into<String>, control: &str) -> Self {
        Self {
            answer,
            detail: detail.into(),
            control: control.to_owned(),
            left: Vec::new(),
        }
    }

    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        Self::new(Answer::Unknown, detail, "")
    }
}

/// Whoever can start sessions on this machine.
pub trait Sessions {
    /// Tries one probe in a session of its own.
    ///
    /// # Errors
    /// Why there is no answer.
    fn probe(&mut self, name: &str, stage: &Stage) -> Result<Finding, String>;

    /// Opens a session with a process that waits, and keeps it until [`Sessions::let_go`]; the process's number.
    ///
    /// # Errors
    /// Why there is none.
    fn hold(&mut self) -> Result<u32, String>;

    /// Ends what [`Sessions::hold`] has opened.
    fn let_go(&mut self);
}

/// What is known of the set-up that is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The ports that the system gives out by itself.
    pub dynamic: PortRange,
    /// The proxy's ports and the form of the filters, where set-up has run.
    pub installed: Option<(PortRange, FilterForm)>,
    /// What nothing holds in the sessions that are opened: same-user mode's.
    pub lacks: Option<&'static str>,
}

/// Asks everything.
pub fn run(sessions: &mut dyn Sessions, audited: Audited) -> AuditReport {
    let measured = write_class::measured();
    let probes: Vec<Probe> = match measured {
        None => PROBES.iter().map(|kind| unenforced(kind.name)).collect(),
        Some(measured) => {
            let class = measured.class();
            let held = class.is_some_and(ringfence_nt::WriteClass::holds_a_boundary);
            let first = Finding::new(
                if held { Answer::Held } else { Answer::Open },
                format!("{class:?}, covers {}", measured.covered),
                "rights that only the first pass names are given, and ones that both name",
            );
            let mut set = Set::new(audited);
            let mut found = Vec::new();
            for kind in PROBES {
                let finding = match kind.name {
                    "write-class" => first.clone(),
                    name => one(sessions, &mut set, name),
                };
                found.push(probe(kind.name, finding));
            }
            found
        }
    };
    let answer = |name: &str| {
        let found = probes.iter().find(|probe| probe.name == name);
        found.map_or(Answer::Unknown, |probe| probe.answer)
    };
    let copies = copies_of(answer("egress.deny-only"), answer("egress.anonymous"));
    let form = audited.installed.map(|(_, form)| form);
    AuditReport {
        version: AUDIT_VERSION,
        build: build(),
        lacks: audited.lacks.map(str::to_owned),
        second_pass: measured.map(SecondPass::from),
        filtering: form
            .zip(copies)
            .map(|(form, copies)| TriedCopies { form, copies }),
        probes,
    }
}

/// Tries nothing but what a further name of a file asks for, from inside one session: what every plan hangs on. The
/// report is `earlier` with that answer in it.
pub fn links(sessions: &mut dyn Sessions, earlier: Option<AuditReport>) -> AuditReport {
    let measured = write_class::measured();
    let mut report = earlier.unwrap_or_else(|| AuditReport {
        version: AUDIT_VERSION,
        build: build(),
        lacks: None,
        second_pass: measured.map(SecondPass::from),
        filtering: None,
        probes: Vec::new(),
    });
    let found = if measured.is_none() {
        unenforced(LINKS)
    } else {
        let tried = sessions.probe(LINKS, &Stage::bare());
        probe(LINKS, tried.unwrap_or_else(Finding::unknown))
    };
    report.probes.retain(|probe| probe.name != LINKS);
    report.probes.push(found);
    report
}

/// The build of Windows; 0 where the system does not say.
pub(crate) fn build() -> u32 {
    const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
    let build = registry::text(Hive::Machine, VERSION, "CurrentBuildNumber");
    let build = build.ok().flatten().and_then(|build| build.parse().ok());
    build.unwrap_or(0)
}

/// One probe, with what has to be done outside for it.
fn one(sessions: &mut dyn Sessions, set: &mut Set, name: &str) -> Finding {
    match name {
        "leftovers.machine" => return leftovers::of_machine(),
        "leftovers.entries" => return leftovers::of_entries(),
        "process.sibling" => set.stage.sibling = sessions.hold(),
        _ => {}
    }
    if let Some(service) = Service::of(name) {
        return carried(sessions, set, name, service);
    }
    let found = sessions.probe(name, &set.stage);
    if name == "process.sibling" {
        sessions.let_go();
    }
    match found {
        Ok(finding) => settle::settle(name, finding),
        Err(cause) => Finding::unknown(cause),
    }
}

/// A service is sent from outside, then from inside; whether it comes is seen here.
fn carried(sessions: &mut dyn Sessions, set: &Set, name: &str, service: Service) -> Finding {
    let control = set.stage.carried.clone().and_then(|address| {
        let before = set.come();
        errands::fetch(service, address, || set.come() > before)
    });
    let before = set.come();
    match sessions.probe(name, &set.stage) {
        Ok(found) => errands::judge(found, &control, set.come() > before),
        Err(cause) => Finding::unknown(cause),
    }
}

fn unenforced(name: &str) -> Probe {
    let detail = "this system makes restricted tokens that are not restricted";
    probe(name, Finding::new(Answer::NotEnforced, detail, ""))
}

fn probe(name: &str, finding: Finding) -> Probe {
    Probe {
        name: name.to_owned(),
        answer: finding.answer,
        detail: finding.detail,
        control: finding.control,
    }
}

#[cfg(test)]
mod tests;
