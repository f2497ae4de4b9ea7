//! What `doctor` tells of a Windows machine beside the session that it starts: set-up, second pass, firewall, reach.
//!
//! Portable: it reads facts. Invariant: what was not measured is never told as held.

use ringfence_plan::windows::facts::{Consent, FirewallPolicy, Marker, VolumeKind, WindowsFacts};

use ringfence::platform::{self, PlanOptions};
use ringfence::sweep_leftovers;
use ringfence_plan::step::Observe;
use ringfence_plan::windows::is_same_user;
use ringfence_plan::{HostFacts, Level};

use super::{Diagnosis, Finding, State, git, killed_sessions, state_directory};
use crate::cli::PolicyOptions;
use crate::context;
use crate::failure::Failure;
use crate::render::escape::one_line;

const SET_UP: &str = "set-up";
const SECOND_PASS: &str = "second pass";
const FIREWALL: &str = "firewall rules";

/// What can be enforced here, for the current directory. No session is started: a first one would set access rights,
/// which a diagnosis must not; `ringfence setup verify` proves by doing.
pub(super) fn diagnose() -> Result<Diagnosis, Failure> {
    let context = context::load(&PolicyOptions::default())?;
    let policy = &context.loaded.policy;
    let mut findings = vec![
        state_directory(&context.state),
        killed_sessions(&sweep_leftovers(&context.state)),
    ];
    if let HostFacts::Windows(facts) = platform::observe(policy)? {
        findings.extend(self::findings(&facts));
    }
    let options = PlanOptions {
        observe: Observe::Off,
    };
    let planned = match platform::plan(policy, options) {
        Ok(plan) => {
            findings.extend(plan.missing.iter().map(|missing| {
                finding(
                    &missing.what,
                    State::Missing,
                    missing.cause.clone(),
                    &missing.cure,
                )
            }));
            plan.level
        }
        Err(error) => {
            let failure = Failure::from(error);
            let proof = one_line(&failure.summary()).into_owned();
            findings.push(finding("workspace", State::Missing, proof, failure.hint()));
            Level::None
        }
    };
    findings.push(git());
    let who = if is_same_user(policy) {
        Accounts::Person
    } else {
        Accounts::OfTheirOwn
    };
    Ok(Diagnosis {
        level: level(planned, who, &mut findings),
        findings,
    })
}

/// Who runs commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accounts {
    /// The accounts that set-up makes.
    OfTheirOwn,
    /// The person: same-user mode, which asks for nothing of set-up's.
    Person,
}

/// How much holds, if a plan of the level `planned` was carried out; what is not asked for is only noted.
fn level(planned: Level, who: Accounts, findings: &mut [Finding]) -> Level {
    const SETUPS: [&str; 2] = [SET_UP, FIREWALL];
    let needed: &[&str] = match who {
        Accounts::OfTheirOwn => &[SET_UP, SECOND_PASS],
        Accounts::Person => {
            let setups = findings.iter_mut();
            for found in setups.filter(|found| SETUPS.contains(&found.layer.as_str())) {
                if found.state == State::Missing {
                    found.state = State::Noted;
                }
            }
            &[SECOND_PASS]
        }
    };
    let is_ready = needed.iter().all(|layer| {
        findings
            .iter()
            .any(|found| found.layer == *layer && found.state == State::Holds)
    });
    if is_ready { planned } else { Level::None }
}

/// The findings of `facts`.
fn findings(facts: &WindowsFacts) -> Vec<Finding> {
    let mut findings = vec![
        machine(facts),
        set_up(facts),
        second_pass(facts),
        firewall(facts),
    ];
    findings.extend(tools(facts));
    findings.extend(shared(facts));
    findings.extend(drives(facts));
    findings
}

fn finding(layer: &str, state: State, proof: String, cure: &str) -> Finding {
    Finding {
        layer: layer.to_owned(),
        state,
        proof,
        cure: cure.to_owned(),
    }
}

fn machine(facts: &WindowsFacts) -> Finding {
    let proof = format!(
        "Windows build {}, as {}\\{}",
        facts.machine.build, facts.person.domain, facts.person.name
    );
    finding("system", State::Holds, proof, "")
}

fn set_up(facts: &WindowsFacts) -> Finding {
    const CURE: &str = "ringfence setup install";
    let layer = SET_UP;
    match (&facts.installed.record, facts.accounts()) {
        (Some(record), Some(_)) if record.marker == Marker::Present => finding(
            layer,
            State::Holds,
            "accounts and record are there, and the marker names the record; `ringfence setup verify` proves it".to_owned(),
            "",
        ),
        (Some(_), _) => finding(
            layer,
            State::Missing,
            "set-up began and did not finish".to_owned(),
            CURE,
        ),
        (None, Some(_)) => finding(
            layer,
            State::Missing,
            "the accounts are there, and no record of them".to_owned(),
            "ringfence setup repair",
        ),
        (None, None) => finding(
            layer,
            State::Missing,
            "it has not run on this machine for you".to_owned(),
            CURE,
        ),
    }
}

fn second_pass(facts: &WindowsFacts) -> Finding {
    let layer = SECOND_PASS;
    match facts.write_class {
        Some(class) if class.holds_a_boundary() => finding(
            layer,
            State::Holds,
            format!("measured by an access check: {class:?}"),
            "",
        ),
        Some(class) => finding(
            layer,
            State::Missing,
            format!("measured: {class:?}, without DELETE, WRITE_DAC and WRITE_OWNER"),
            "nothing can be enforced on this version of Windows; report it with `ringfence audit --json`",
        ),
        None => finding(
            layer,
            State::Missing,
            "not enforced: this system makes restricted tokens that restrict nothing".to_owned(),
            "run it on Windows 10 22H2 or later; wine and its like enforce nothing",
        ),
    }
}

fn firewall(facts: &WindowsFacts) -> Finding {
    let layer = FIREWALL;
    match facts.firewall {
        FirewallPolicy::LocalRules => finding(
            layer,
            State::Holds,
            "rules of this machine take effect".to_owned(),
            "",
        ),
        FirewallPolicy::InboundBlocked => finding(
            layer,
            State::Noted,
            "every inbound connection is blocked by policy".to_owned(),
            "",
        ),
        FirewallPolicy::GroupPolicy => finding(
            layer,
            State::Missing,
            "group policy decides, and rules of this machine do nothing".to_owned(),
            "ask who governs the machine for AllowLocalPolicyMerge, or to deploy the rules of `ringfence plan`",
        ),
    }
}

fn tools(facts: &WindowsFacts) -> Option<Finding> {
    let missing: Vec<String> = facts
        .tools
        .iter()
        .filter(|tool| tool.consent == Consent::Missing)
        .map(|tool| tool.path.printable())
        .collect();
    let first = missing.first()?;
    Some(finding(
        "tools",
        State::Noted,
        format!(
            "{} directories of tools are yours alone or were not agreed to, {first} for one",
            missing.len()
        ),
        "ringfence setup install --tools",
    ))
}

fn shared(facts: &WindowsFacts) -> Option<Finding> {
    let first = facts.shared_places.first()?;
    Some(finding(
        "shared places",
        State::Noted,
        format!(
            "{} places may be written by every user of this machine, {} for one: commands are held by the second pass of their token alone there",
            facts.shared_places.len(),
            first.printable()
        ),
        "",
    ))
}

fn drives(facts: &WindowsFacts) -> Vec<Finding> {
    let unfit = facts.volumes.iter().filter_map(|volume| {
        let why = match &volume.kind {
            VolumeKind::Fixed | VolumeKind::Removable => return None,
            VolumeKind::Network => "a share",
            VolumeKind::Substitute { .. } => "a SUBST drive",
            VolumeKind::Wsl => "a WSL distribution",
        };
        let at = volume.mount_points.first()?;
        let proof = format!("{} is {why}: it can be no workspace", at.printable());
        Some(finding("drives", State::Noted, proof, ""))
    });
    unfit.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(layer: &str, state: State) -> Finding {
        finding(layer, state, String::new(), "")
    }

    #[test]
    fn same_user_mode_asks_for_nothing_of_set_ups_and_for_the_second_pass_all_the_same() {
        let before_set_up = |second_pass| {
            vec![
                found(SET_UP, State::Missing),
                found(FIREWALL, State::Missing),
                found(SECOND_PASS, second_pass),
            ]
        };
        let mut findings = before_set_up(State::Holds);
        let partial = Level::Partial;
        assert_eq!(level(partial, Accounts::Person, &mut findings), partial);
        assert!(findings.iter().all(|found| found.state != State::Missing));
        let mut unmeasured = before_set_up(State::Missing);
        let refused = level(partial, Accounts::Person, &mut unmeasured);
        assert_eq!(refused, Level::None);
        // The control: with accounts set-up is asked for.
        let mut findings = before_set_up(State::Holds);
        let before = level(partial, Accounts::OfTheirOwn, &mut findings);
        assert_eq!(before, Level::None);
        assert_eq!(findings[0].state, State::Missing);
    }
}
