use super::*;
use ringfence_plan::windows::audit::{Stakes, Verdict, kind_of};

/// Sessions that answer everything alike, and note what was asked of them.
struct Fake {
    answer: Result<Answer, String>,
    asked: Vec<String>,
    held: u32,
}

impl Fake {
    fn new(answer: Result<Answer, String>) -> Self {
        Self {
            answer,
            asked: Vec::new(),
            held: 0,
        }
    }
}

impl Sessions for Fake {
    fn probe(&mut self, name: &str, stage: &Stage) -> Result<Finding, String> {
        self.asked.push(name.to_owned());
        if name == "process.sibling" {
            assert_eq!(stage.sibling, Ok(77), "another session is open meanwhile");
        }
        let answer = self.answer.clone()?;
        Ok(Finding::new(answer, "seen", "control"))
    }

    fn hold(&mut self) -> Result<u32, String> {
        self.held += 1;
        Ok(77)
    }

    fn let_go(&mut self) {
        self.held -= 1;
    }
}

fn audited() -> Audited {
    let range = |first, last| PortRange { first, last };
    Audited {
        dynamic: range(49152, 65535),
        installed: Some((range(20_000, 20_031), FilterForm::Named)),
        lacks: None,
    }
}

// Negative rung: on a system that restricts nothing every probe must say so, and none may start anything.
#[test]
fn a_system_that_restricts_nothing_is_told_for_every_probe() {
    let mut fake = Fake::new(Err("no session".to_owned()));
    let report = run(&mut fake, audited());
    assert_eq!(report.probes.len(), PROBES.len());
    assert_eq!(report.filtering, None);
    if report.second_pass.is_some() {
        assert_eq!(report.verdict(), Verdict::Unknown);
        return;
    }
    assert!(fake.asked.is_empty(), "{:?}", fake.asked);
    let all = report
        .probes
        .iter()
        .all(|probe| probe.answer == Answer::NotEnforced);
    assert!(all && report.verdict() == Verdict::NotEnforced);
}

#[test]
fn the_rule_of_links_is_measured_by_itself_and_put_into_what_is_known() {
    let mut fake = Fake::new(Ok(Answer::Held));
    let alone = links(&mut fake, None);
    assert_eq!(alone.probes.len(), 1);
    assert_ne!(alone.verdict(), Verdict::Held, "it is no audit");
    if alone.second_pass.is_none() {
        assert!(fake.asked.is_empty() && alone.links().is_none());
        assert_eq!(alone.probes[0].answer, Answer::NotEnforced);
    } else {
        assert_eq!(fake.asked, [LINKS]);
        assert!(alone.links().is_some());
    }
    let mut earlier = run(&mut Fake::new(Err("no session".to_owned())), audited());
    let before = earlier.probes.len();
    earlier.probes.retain(|probe| probe.name != "raw");
    let again = links(&mut fake, Some(earlier));
    assert_eq!(again.probes.len(), before - 1);
    let named = |name: &str| {
        again
            .probes
            .iter()
            .filter(|probe| probe.name == name)
            .count()
    };
    assert_eq!((named(LINKS), named("raw"), named("icmp")), (1, 0, 1));
}

#[test]
fn every_probe_from_inside_has_an_attempt_and_no_other_name_has() {
    let set = Set::new(audited());
    for kind in PROBES {
        let outside = ["write-class", "leftovers.machine", "leftovers.entries"];
        // These start a process or wait for the network; they are there by the others' pattern.
        if outside.contains(&kind.name) || kind.name.starts_with("egress.") {
            continue;
        }
        if matches!(
            kind.name,
            "dns" | "smb" | "webdav" | "bits" | "leftovers.processes"
        ) {
            continue;
        }
        let found = inside::attempt(kind.name, &set.stage);
        assert!(found.is_some(), "{}", kind.name);
    }
    assert_eq!(inside::attempt("no-such-probe", &set.stage), None);
    assert_eq!(
        kind_of("raw").map(|kind| kind.stakes),
        Some(Stakes::Boundary)
    );
}

#[test]
fn a_session_is_held_beside_the_probe_of_a_sibling_and_let_go() {
    let mut fake = Fake::new(Ok(Answer::Held));
    let mut set = Set::new(audited());
    assert_eq!(
        one(&mut fake, &mut set, "process.sibling").answer,
        Answer::Held
    );
    assert_eq!(fake.held, 0);
    let mut refused = Fake::new(Err("no session: set-up is missing".to_owned()));
    let found = one(&mut refused, &mut set, "process.runner");
    assert_eq!(found.answer, Answer::Unknown);
    assert!(found.detail.contains("set-up is missing"));
}

#[test]
fn a_stage_has_listeners_that_its_controls_have_reached() {
    let set = Set::new(audited());
    let fixed = set.stage.fixed.clone().unwrap();
    assert!((10_000..20_000).contains(&fixed.port()));
    assert!(set.stage.dynamic.is_ok());
    assert_eq!(set.stage.person, Ok(std::process::id()));
    assert!(set.stage.sibling.is_err());
    // What probes are told crosses a command line as JSON.
    let text = serde_json::to_string(&set.stage).unwrap();
    assert_eq!(serde_json::from_str::<Stage>(&text).unwrap(), set.stage);
    let reached = inside::attempt("loopback.fixed", &set.stage).unwrap();
    assert_eq!(reached.answer, Answer::Open, "nothing is restricted here");
    let mut closed = set.stage.clone();
    closed.fixed = Err("no port was free".to_owned());
    let unknown = inside::attempt("loopback.fixed", &closed).unwrap();
    assert_eq!(unknown.answer, Answer::Unknown);
    // Without a boundary an own token is not refused, so nothing can be said of its copies.
    for name in ["egress.deny-only", "egress.anonymous"] {
        let found = inside::attempt(name, &set.stage).unwrap();
        assert_eq!(found.answer, Answer::Unknown, "{name}: {found:?}");
    }
}

#[test]
fn what_is_inside_says_one_line_of_json() {
    let set = Set::new(audited());
    let stage = serde_json::to_string(&set.stage).unwrap();
    let mut out = Vec::new();
    inside::run("loopback.itself", Some(&stage), &mut out).unwrap();
    let found: Finding = serde_json::from_slice(&out).unwrap();
    assert_eq!(found.answer, Answer::Held);
    for (name, stage) in [
        ("loopback.itself", None),
        ("no-such-probe", Some(stage.as_str())),
    ] {
        let mut out = Vec::new();
        inside::run(name, stage, &mut out).unwrap();
        assert!(out.is_empty(), "{name}");
    }
}

/// Sessions in which somebody comes to the listener, and says that the errand was taken.
struct Carrying;

impl Sessions for Carrying {
    fn probe(&mut self, _name: &str, stage: &Stage) -> Result<Finding, String> {
        let address = stage.carried.clone()?;
        std::net::TcpStream::connect(address).map_err(|error| error.to_string())?;
        // It is counted on another thread.
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(Finding::unknown("the errand was taken"))
    }

    fn hold(&mut self) -> Result<u32, String> {
        Err("none".to_owned())
    }

    fn let_go(&mut self) {}
}

#[test]
fn what_a_service_carries_is_seen_at_the_listener_and_what_nobody_carries_is_never_held() {
    let mut set = Set::new(audited());
    let carried = one(&mut Carrying, &mut set, "webdav");
    assert_eq!(carried.answer, Answer::Open, "{carried:?}");
    // The control: nobody comes.
    let mut idle = Fake::new(Ok(Answer::Unknown));
    let nobody = one(&mut idle, &mut set, "webdav");
    assert_eq!(nobody.answer, Answer::Unknown, "{nobody:?}");
}
