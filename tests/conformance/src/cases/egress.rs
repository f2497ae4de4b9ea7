//! The way out: every kind of attempt, to what is allowed and to what is not, in a test internet that logs all of it.
//!
//! The log of the origins and of the name server is the proof: what is not in it has not left.

mod hostile;
mod modes;
mod terms;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::checks::{Checks, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "egress.allowed",
        promise: "an allowed name is reached by every way in, with no other set-up, and nothing else is",
        needs: Needs::Internet,
        run: allowed,
    },
    Case {
        name: "egress.refused",
        promise: "a name that no rule names is refused by every way in, by the same rule, and nothing is sent",
        needs: Needs::Internet,
        run: refused,
    },
    Case {
        name: "egress.names",
        promise: "the name server answers allowed names alone, from this machine, and tells nobody about others",
        needs: Needs::Internet,
        run: names,
    },
    Case {
        name: "egress.addresses",
        promise: "an allowed name that leads to this machine, a private network or metadata is refused, in every disguise",
        needs: Needs::Internet,
        run: hostile::addresses,
    },
    Case {
        name: "egress.hostile-requests",
        promise: "what two readers could read in two ways is refused: hosts, requests, greetings",
        needs: Needs::Internet,
        run: hostile::hostile,
    },
    Case {
        name: "egress.ports",
        promise: "a rule opens its own ports alone, over TCP alone",
        needs: Needs::Internet,
        run: modes::ports,
    },
    Case {
        name: "egress.terms",
        promise: "a rule's terms open and limit what they say: server names, changes of protocol, bytes, programs",
        needs: Needs::Internet,
        run: terms::terms,
    },
    Case {
        name: "egress.ask",
        promise: "with nobody to answer, a connection that is asked about is held for its time, sends nothing, and is refused by the usual rule",
        needs: Needs::Internet,
        run: modes::ask,
    },
    Case {
        name: "egress.open",
        promise: "open reaches every public host, and no private address, metadata or denied host",
        needs: Needs::Internet,
        run: modes::open,
    },
];

/// What a refusal before the proxy, or by the name server, looks like.
pub(super) const UNREACHED: &[i32] = &[
    libc::ECONNREFUSED,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ETIMEDOUT,
    libc::ECONNRESET,
    libc::EPIPE,
    // The probe's number for a name without an address.
    libc::ENXIO,
];

const REQUEST: &str = "GET / HTTP/1.1\\r\\nhost: HOST\\r\\nconnection: close\\r\\n\\r\\n";
const ABSOLUTE: &str =
    "GET http://HOST/ HTTP/1.1\\r\\nhost: HOST\\r\\nconnection: close\\r\\n\\r\\n";

/// A session in the test internet, and what came of it.
pub(super) struct Visit {
    pub(super) fixture: Fixture,
    log: PathBuf,
    options: Vec<String>,
}

impl Visit {
    pub(super) fn new(ground: &Ground, options: &[&str]) -> Result<Self, Failure> {
        let fixture = ground.fixture()?;
        Ok(Self {
            log: fixture.top().join("internet.log"),
            fixture,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        })
    }

    pub(super) fn launch<'a>(&'a self, ground: &'a Ground) -> Launch<'a> {
        let _ = fs::remove_file(&self.log);
        let words = [
            ground.probe.clone().into_os_string(),
            "internet".into(),
            self.log.clone().into_os_string(),
        ];
        Launch::new(ground, &self.fixture).wrapper(&words)
    }

    /// One verdict for each attack, all in one session.
    fn attack(&self, ground: &Ground, attacks: &[Vec<String>]) -> Result<Vec<Verdict>, Failure> {
        let events = self.fixture.top().join("events.jsonl");
        let _ = fs::remove_file(&events);
        self.launch(ground)
            .options(&self.options)
            .options(&["--events", &events.to_string_lossy()])
            .batch_inside(attacks)
    }

    fn attack_once(&self, ground: &Ground, attack: Vec<String>) -> Result<Verdict, Failure> {
        let verdicts = self.attack(ground, &[attack])?;
        let first = verdicts.into_iter().next();
        first.ok_or_else(|| Failure::Meaningless("no verdict".to_owned()))
    }

    /// The same without the boundary.
    pub(super) fn control(&self, ground: &Ground, attack: &[String]) -> Result<Verdict, Failure> {
        let _ = fs::remove_file(&self.log);
        let mut words = vec![
            "internet".to_owned(),
            self.log.to_string_lossy().into_owned(),
        ];
        words.push(ground.probe.to_string_lossy().into_owned());
        words.extend(attack.iter().cloned());
        Launch::new(ground, &self.fixture).attack_plain(&words)
    }

    pub(super) fn options(&self) -> &[String] {
        &self.options
    }

    /// Each attack that needs no proxy must succeed without the boundary.
    pub(super) fn controls(
        &self,
        ground: &Ground,
        checks: &mut Checks,
        attacks: &[Vec<String>],
    ) -> Result<(), Failure> {
        for attack in attacks {
            if attack.first().is_some_and(|word| word != "proxied") {
                checks.control(&attack.join(" "), &self.control(ground, attack)?);
            }
        }
        Ok(())
    }

    /// Every attack must be refused inside.
    fn refuses(
        &self,
        ground: &Ground,
        checks: &mut Checks,
        attacks: &[Vec<String>],
    ) -> Result<(), Failure> {
        for (attack, verdict) in attacks.iter().zip(self.attack(ground, attacks)?) {
            checks.refused(&attack.join(" "), &verdict, UNREACHED);
        }
        Ok(())
    }

    /// What is allowed must work inside.
    fn serves(
        &self,
        ground: &Ground,
        checks: &mut Checks,
        attempts: &[Vec<String>],
    ) -> Result<(), Failure> {
        for (attempt, verdict) in attempts.iter().zip(self.attack(ground, attempts)?) {
            checks.sibling(&attempt.join(" "), &verdict);
        }
        Ok(())
    }

    /// What the servers saw beside questions for names.
    fn reached(&self) -> Vec<String> {
        let log = self.log().into_iter();
        log.filter(|line| !line.starts_with("dns ")).collect()
    }

    pub(super) fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn events(&self) -> Vec<Value> {
        let path = self.fixture.top().join("events.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The rules of all decisions against `host`.
    fn rules_against(&self, host: &str) -> BTreeSet<String> {
        self.events()
            .iter()
            .filter(|event| event["verdict"] == "deny")
            .filter(|event| {
                let about = event["destination"].as_str().or(event["name"].as_str());
                about.is_some_and(|about| about.starts_with(host))
            })
            .filter_map(|event| event["rule"].as_str().map(str::to_owned))
            .collect()
    }
}

/// Whether somebody answered that this is not to be had: a refusal, a request that can't be read (400), SOCKS's and
/// TLS's own words, or the end of the connection. A crash, silence or an attack that was not tried is none of these.
fn is_turned_away(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Denied { .. } => true,
        Verdict::Failed { errno: 0, call } => [
            "HTTP, answered ",
            "CONNECT, answered 4",
            "SOCKS, answered [05, ",
            "TLS, answered [15, ",
        ]
        .iter()
        .any(|answer| call.starts_with(answer)),
        Verdict::Failed { errno, .. } => UNREACHED.contains(errno),
        Verdict::Succeeded { .. } | Verdict::Crashed { .. } | Verdict::Silent { .. } => false,
    }
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Every way in, to one host.
pub(super) fn ways(host: &str) -> Vec<Vec<String>> {
    let request = REQUEST.replace("HOST", host);
    let absolute = ABSOLUTE.replace("HOST", host);
    vec![
        words(&["http", host, "80", &request]),
        words(&["hello", host, "443", host]),
        words(&["hello", host, "443", &format!("pieces:{host}")]),
        words(&["proxied", "absolute", host, "80", &absolute]),
        words(&["proxied", "connect", host, "80", &request]),
        words(&["proxied", "socks", host, "80", &request]),
    ]
}

fn allowed(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = [
        "--network",
        "allowlist",
        "--allow-host",
        "allowed.example.com",
        "--allow-host",
        "allowed.example.com:22",
    ];
    let visit = Visit::new(ground, &options)?;
    let mut attacks = ways("allowed.example.com");
    attacks.push(words(&["banner", "allowed.example.com", "22"]));
    visit.serves(ground, checks, &attacks)?;
    let log = visit.log();
    let strangers: Vec<&String> = log
        .iter()
        .filter(|line| line.starts_with("dns ") && *line != "dns allowed.example.com")
        .collect();
    checks.that("no other name is asked for", strangers.is_empty(), || {
        format!("{strangers:?}")
    });
    let reached = log.iter().filter(|line| line.starts_with("http ")).count();
    checks.same("requests that reached the origin", &reached, &4);
    Ok(())
}

fn refused(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = [
        "--network",
        "allowlist",
        "--allow-host",
        "allowed.example.com",
    ];
    let visit = Visit::new(ground, &options)?;
    let host = "other.example.net";
    let mut attacks = ways(host);
    visit.controls(ground, checks, &attacks)?;
    // What knows the address by other means.
    for address in ["93.184.216.35", "2606:2800:220:1:248:1893:25c8:1946"] {
        attacks.extend(ways(address));
    }
    visit.refuses(ground, checks, &attacks)?;
    checks.same("nothing was sent", &visit.log(), &Vec::new());
    for about in [host, "93.184.216.35"] {
        let rules: Vec<String> = visit.rules_against(about).into_iter().collect();
        checks.same(
            "the rule of every refusal",
            &rules,
            &vec!["net.not-listed".to_owned()],
        );
    }
    Ok(())
}

fn names(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = [
        "--network",
        "allowlist",
        "--allow-host",
        "allowed.example.com",
    ];
    let visit = Visit::new(ground, &options)?;
    let attacks = [
        words(&["resolve", "allowed.example.com"]),
        words(&["resolve", "secret.evil.example.net"]),
        words(&["resolve", "x.allowed.example.com"]),
    ];
    let [resolve, ..] = &attacks;
    checks.control("resolve", &visit.control(ground, resolve)?);
    checks.that(
        "the control asked the name server",
        !visit.log().is_empty(),
        || "its log is empty".to_owned(),
    );
    let verdicts = visit.attack(ground, &attacks)?;
    let Some((known, others)) = verdicts.split_first() else {
        return Err(Failure::Meaningless("no verdict".to_owned()));
    };
    checks.sibling("an allowed name", known);
    let of_the_session = |address: &str| {
        ["198.18.", "198.19.", "fd"]
            .iter()
            .any(|start| address.starts_with(start))
    };
    checks.that(
        "its address stands for the name here alone",
        known.detail().split(' ').all(of_the_session),
        || known.detail().to_owned(),
    );
    for verdict in others {
        checks.refused("another name has no address", verdict, &[libc::ENXIO]);
    }
    checks.same("nobody was asked", &visit.log(), &Vec::new());
    let rules: Vec<String> = visit.rules_against("secret.evil").into_iter().collect();
    checks.same("the rule", &rules, &vec!["net.not-listed".to_owned()]);
    Ok(())
}
