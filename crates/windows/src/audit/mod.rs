//! What only a real machine can answer, asked of it: the second pass, and the boundary from inside a real session.
//!
//! The inner probes start from the launch that commands start from. Invariant: where the system restricts nothing,
//! every probe says "not enforced", and nothing is started.

pub mod inside;

use ringfence_plan::windows::audit::{AUDIT_VERSION, Answer, AuditReport, Probe, SecondPass};

use crate::observe::write_class;
use crate::sys::registry::{self, Hive};

/// Every probe by its name, and what it asks.
pub const PROBES: &[(&str, &str)] = &[
    (
        "write-class",
        "which rights the second pass of a write-restricted token covers",
    ),
    ("egress.tcp", "a connection to another machine, from inside"),
    ("egress.udp", "a datagram to another machine, from inside"),
    ("dns", "a name, asked of the system's resolver, from inside"),
    ("smb", "a share of another machine, from inside"),
    (
        "loopback",
        "a connection to itself, from inside: it must work",
    ),
    (
        "egress.deny-only",
        "a connection with a deny-only copy of the token",
    ),
    ("egress.anonymous", "a connection as an anonymous caller"),
    ("icmp", "an echo request, from inside"),
    ("raw", "a raw socket, from inside"),
    (
        "schannel",
        "the system's own TLS, from inside: it should work",
    ),
    ("process", "the runner's process and its token, from inside"),
    ("leftovers", "processes of a session that has ended"),
];

/// What was seen from inside a session, by probe; made by whoever can start one.
pub type Inside<'a> = dyn FnMut(&str) -> Option<(Answer, String)> + 'a;

/// Asks everything; `inside` runs one probe in a real session, or tells that it can't.
pub fn run(inside: &mut Inside<'_>) -> AuditReport {
    const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
    let build = registry::text(Hive::Machine, VERSION, "CurrentBuildNumber");
    let build = build.ok().flatten().and_then(|build| build.parse().ok());
    let measured = write_class::measured();
    let probes = PROBES.iter().map(|(name, _)| match (*name, measured) {
        (_, None) => probe(
            name,
            Answer::NotEnforced,
            "this system makes restricted tokens that are not restricted",
        ),
        ("write-class", Some(measured)) => {
            let held = measured
                .class()
                .is_some_and(ringfence_nt::WriteClass::holds_a_boundary);
            let answer = if held { Answer::Held } else { Answer::Open };
            probe(
                name,
                answer,
                &format!("{:?}, covers {}", measured.class(), measured.covered),
            )
        }
        (name, Some(_)) => match inside(name) {
            Some((answer, detail)) => probe(name, answer, &detail),
            None => probe(
                name,
                Answer::NotTried,
                "there is no probe for it yet, or no session",
            ),
        },
    });
    let probes = probes.collect();
    AuditReport {
        version: AUDIT_VERSION,
        build: build.unwrap_or(0),
        second_pass: measured.map(SecondPass::from),
        probes,
    }
}

fn probe(name: &str, answer: Answer, detail: &str) -> Probe {
    Probe {
        name: name.to_owned(),
        answer,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Negative rung: on a system that restricts nothing every probe must say so, and none may start anything.
    #[test]
    fn a_system_that_restricts_nothing_is_told_for_every_probe() {
        let mut started = Vec::new();
        let report = run(&mut |name| {
            started.push(name.to_owned());
            None
        });
        if report.second_pass.is_some() {
            assert_eq!(started.len(), PROBES.len() - 1);
            return;
        }
        assert!(started.is_empty(), "{started:?}");
        assert_eq!(report.probes.len(), PROBES.len());
        let all = report
            .probes
            .iter()
            .all(|probe| probe.answer == Answer::NotEnforced);
        assert!(all && !report.holds());
    }
}
