//! Unix sockets of the host that the policy opens: each by the object that is there now.
//!
//! Commands have no Unix socket that could connect anywhere: what they get is one end of a pair, and the harness
//! connects the other end. Invariant: a step names an object that was a socket when it was looked at.

use ringfence_policy::grant::socket_power;

use crate::linux::facts::{LinuxFacts, Object, Seccomp, SocketFact, SocketState};
use crate::linux::places::{PlaceKind, Places};
use crate::plan::Missing;
use crate::render::printable;
use crate::step::Step;
use ringfence_policy::RuleId;

/// The sockets that are there.
pub(crate) fn present(facts: &LinuxFacts) -> impl Iterator<Item = (&SocketFact, &Object)> {
    facts.sockets.iter().filter_map(|fact| match &fact.state {
        SocketState::Socket(object) => Some((fact, object)),
        SocketState::Other | SocketState::Absent => None,
    })
}

/// Shows each socket at its place, so that programs which look before they connect find it.
pub(crate) fn add_places(facts: &LinuxFacts, places: &mut Places) {
    for (fact, object) in present(facts) {
        if !places.is_visible(object.path.as_path()) {
            let origin = fact.named.to_string();
            places.add(&object.path, PlaceKind::Shown, RuleId::ReadDefault, &origin);
        }
    }
}

/// The steps that open them; without a listener for system calls none can be held, and that is said.
pub(crate) fn steps(facts: &LinuxFacts, missing: &mut Vec<Missing>) -> Vec<Step> {
    match facts.seccomp {
        Seccomp::Listener => {}
        Seccomp::FilterOnly | Seccomp::Absent if facts.sockets.is_empty() => return Vec::new(),
        Seccomp::FilterOnly | Seccomp::Absent => {
            missing.push(Missing {
                what: "unix-sockets".to_owned(),
                cause:
                    "no seccomp listener can be had here: every Unix socket of the host is refused"
                        .to_owned(),
                cure: "run outside any other sandbox that listens".to_owned(),
            });
            return Vec::new();
        }
    }
    let mut steps: Vec<Step> = Vec::new();
    for (fact, object) in present(facts) {
        let step = Step::ReachSocket {
            named: fact.named.clone(),
            path: object.path.clone(),
            identity: object.id,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// What a person should know of each socket that the policy names.
pub(crate) fn notes(facts: &LinuxFacts, notes: &mut Vec<String>) {
    for fact in &facts.sockets {
        let named = printable(&fact.named);
        match &fact.state {
            SocketState::Absent => notes.push(format!(
                "the Unix socket `{named}` is not there: it can't be reached in this session, even if its server starts later"
            )),
            SocketState::Other => notes.push(format!(
                "`{named}` is no Unix socket, and is not opened by `unix_sockets`"
            )),
            SocketState::Socket(object) => {
                let power =
                    socket_power(fact.named.as_path()).or(socket_power(object.path.as_path()));
                if let Some(power) = power {
                    notes.push(format!(
                        "WARNING: commands may connect to `{named}`: {}",
                        power.caution()
                    ));
                }
            }
        }
    }
}
