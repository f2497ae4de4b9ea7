//! The proxy's end before its session's: nothing gets out any more, and the session says so.
//!
//! The product has no switch for it. One listener is taken out of the running harness (`pidfd_getfd`) and shut down:
//! what it serves fails, and the proxy must end as a whole.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::net::{Shutdown, shutdown, sockopt};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open,
};

use super::egress::{UNREACHED, Visit, ways, words};
use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::{eventually, wait};
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "egress.proxy-ends",
        promise: "a proxy that fails at one listener ends as a whole: open connections are closed, no way in is served, and the session says so",
        needs: Needs::Internet,
        run: proxy_ends,
    },
    Case {
        name: "egress.harness-killed",
        promise: "after kill -9 of the harness nothing more reaches any server",
        needs: Needs::Internet,
        run: harness_killed,
    },
];

const HOST: &str = "allowed.example.com";

const OPTIONS: &[&str] = &[
    "--network",
    "allowlist",
    "--allow-host",
    HOST,
    "--allow-host",
    "allowed.example.com:22",
];

/// A connection that stays open until the mark is made, then the usual ways.
fn attacks(mark: &Path) -> Vec<Vec<String>> {
    let mark = mark.to_string_lossy().into_owned();
    let mut attacks = ways(HOST);
    attacks.push(words(&["outlive", HOST, "22", &mark]));
    attacks.extend(ways(HOST));
    attacks
}

/// A session that attacks in the background until the mark is made.
struct Standing {
    child: Child,
    harness: Pid,
}

impl Standing {
    fn start(ground: &Ground, visit: &Visit, mark: &Path) -> Result<Self, Failure> {
        let text = serde_json::to_string(&attacks(mark))
            .map_err(|error| Failure::Meaningless(error.to_string()))?;
        let events = visit.fixture.top().join("events.jsonl");
        let launch = visit
            .launch(ground)
            .options(OPTIONS)
            .options(&["--events", &events.to_string_lossy()]);
        let mut child = launch
            .inside_command(&launch.probe(&["batch", &text]))?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "starting the session".to_owned())?;
        let ready = mark.with_extension("ready");
        let stands = eventually(60, || ready.exists());
        if let Some(harness) = child_of(&child).filter(|_| stands) {
            return Ok(Self { child, harness });
        }
        let _ = child.kill();
        let output = child.wait_with_output();
        let said = output.map(|output| output.stderr).unwrap_or_default();
        Err(Failure::Meaningless(format!(
            "the session does not stand: {}",
            String::from_utf8_lossy(&said)
        )))
    }

    /// The verdicts, and what the session said.
    fn finish(mut self) -> Result<(Vec<Verdict>, String, Option<i32>), Failure> {
        let status = wait(&mut self.child, "the session")?;
        let output = self.child.wait_with_output();
        let output = output.context(|| "reading of the session".to_owned())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let verdicts = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((verdicts, said, status.code()))
    }

    /// The listening sockets that the harness holds.
    fn listeners(&self) -> Result<Vec<OwnedFd>, Failure> {
        let process = pidfd_open(self.harness, PidfdFlags::empty())
            .context(|| "pidfd_open of the harness".to_owned())?;
        let directory = format!("/proc/{}/fd", self.harness.as_raw_nonzero());
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).context(|| directory.clone())? {
            let name = entry.context(|| directory.clone())?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Closed meanwhile.
            let Ok(copy) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else {
                continue;
            };
            if sockopt::socket_acceptconn(&copy) == Ok(true) {
                found.push(copy);
            }
        }
        Ok(found)
    }
}

/// The only child of the program that makes the test internet: the harness.
fn child_of(internet: &Child) -> Option<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", internet.id());
    let children = fs::read_to_string(path).ok()?;
    let first = children.split_whitespace().next()?.parse().ok()?;
    Pid::from_raw(first)
}

fn proxy_ends(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    // The same with a proxy that lives, and without a boundary.
    let visit = Visit::new(ground, OPTIONS)?;
    let mark = visit.fixture.workspace.join("go");
    let standing = Standing::start(ground, &visit, &mark)?;
    fs::write(&mark, "").context(|| "making the mark".to_owned())?;
    let (verdicts, said, _) = standing.finish()?;
    for (attack, verdict) in attacks(&mark).iter().zip(&verdicts) {
        checks.sibling(&attack.join(" "), verdict);
    }
    checks.that(
        "a proxy that lives is not said to have ended",
        !said.contains("proxy has ended"),
        || said.clone(),
    );
    let outlive = words(&["outlive", HOST, "22", &mark.to_string_lossy()]);
    checks.control("an open connection", &visit.control(ground, &outlive)?);

    let visit = Visit::new(ground, OPTIONS)?;
    let mark = visit.fixture.workspace.join("go");
    let standing = Standing::start(ground, &visit, &mark)?;
    let before = visit.log();
    let listeners = standing.listeners()?;
    let Some(one) = listeners.first() else {
        return Err(Failure::Meaningless(
            "the harness listens to nothing".to_owned(),
        ));
    };
    checks.that(
        "the harness has many listeners",
        listeners.len() > 3,
        || listeners.len().to_string(),
    );
    shutdown(one, Shutdown::Both).context(|| "shutdown of a listener".to_owned())?;
    drop(listeners);
    let closed = eventually(20, || {
        standing.listeners().is_ok_and(|left| left.is_empty())
    });
    checks.that("the others are closed too", closed, || {
        "some still listen".to_owned()
    });
    fs::write(&mark, "").context(|| "making the mark".to_owned())?;
    let (verdicts, said, status) = standing.finish()?;
    let attacks = attacks(&mark);
    checks.same("attacks that were tried", &verdicts.len(), &attacks.len());
    let usual = ways(HOST).len();
    for (attack, verdict) in attacks.iter().zip(&verdicts).take(usual) {
        checks.sibling(&attack.join(" "), verdict);
    }
    for (attack, verdict) in attacks.iter().zip(&verdicts).skip(usual) {
        checks.refused(&attack.join(" "), verdict, UNREACHED);
    }
    checks.same("what servers saw afterwards", &visit.log(), &before);
    checks.same("the command's own status", &status, &Some(0));
    checks.that(
        "the session says so",
        said.contains("WARNING: the egress proxy has ended (the listener ")
            && said.contains("nothing gets out"),
        || said.clone(),
    );
    let ended = |event: &serde_json::Value| event["event"] == "net.proxy-ended";
    let events = visit.events();
    let count = events.iter().filter(|event| ended(event)).count();
    checks.same("events of the end", &count, &1);
    Ok(())
}

fn harness_killed(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let visit = Visit::new(ground, OPTIONS)?;
    let mark = visit.fixture.workspace.join("go");
    let standing = Standing::start(ground, &visit, &mark)?;
    let before = visit.log();
    kill_process(standing.harness, Signal::KILL).context(|| "killing the harness".to_owned())?;
    fs::write(&mark, "").context(|| "making the mark".to_owned())?;
    // Its streams are closed when the last process of the session is gone.
    let (verdicts, _, _) = standing.finish()?;
    for (attack, verdict) in attacks(&mark).iter().zip(&verdicts).take(ways(HOST).len()) {
        checks.sibling(&attack.join(" "), verdict);
    }
    let late: Vec<&Verdict> = verdicts.iter().skip(ways(HOST).len()).collect();
    let got_out = late.iter().filter(|verdict| verdict.succeeded()).count();
    checks.same("what got out afterwards", &got_out, &0);
    checks.same("what servers saw afterwards", &visit.log(), &before);
    Ok(())
}
