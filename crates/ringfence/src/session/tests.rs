mod egress;
mod sweeps;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ringfence_backend::fake::{FakeHost, Fault};
use ringfence_backend::session::LaunchFault;
use ringfence_backend::{Ending, Outcome};
use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::document::PolicyDocument;
use ringfence_policy::{Operation, RuleId};
use tempfile::TempDir;

use ringfence_plan::Level;
use ringfence_policy::document::{GitAccess, NewRepositories, Require};
use ringfence_policy::layers::LayerKind;

use super::*;
use crate::Leftovers;
use crate::clock;
use crate::load::{LoadRequest, load_policy};
use crate::platform::PlanOptions;
use crate::quarantine::Quarantine;

struct Bench {
    _directory: TempDir,
    state: StateDirectory,
    policy: Policy,
    workspace: AbsolutePath,
    host: FakeHost,
    plan: Plan,
}

/// A policy for a scratch workspace, and a machine in memory with this machine's facts for it.
fn bench(require: Require) -> Bench {
    let command_line = PolicyDocument {
        require: Some(require),
        ..PolicyDocument::default()
    };
    bench_with(command_line, |_| {})
}

/// [`bench`] with a policy, and what `furnish` puts into the workspace before it is looked at.
fn bench_with(command_line: PolicyDocument, furnish: impl FnOnce(&Path)) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    let make = |name: &str| {
        fs::create_dir(base.join(name)).unwrap();
        AbsolutePath::new(base.join(name)).unwrap()
    };
    let (workspace, home) = (make("work"), make("home"));
    let state = StateDirectory::at(&base.join("state")).unwrap();
    furnish(workspace.as_path());
    let request = LoadRequest {
        command_line,
        managed: base.join("no-managed"),
        ..LoadRequest::new(workspace.clone(), home)
    };
    let policy = load_policy(&request, &state).unwrap().policy;
    let linux = platform::backend().unwrap();
    let mut facts = linux.observe(&policy).unwrap();
    let without = linux
        .observe_without_namespaces(&policy, "refused")
        .unwrap();
    // Whatever this machine is: the one in memory has namespaces.
    let ringfence_plan::HostFacts::Linux(linux_facts) = &mut facts else {
        panic!("a session of this machine has Linux facts");
    };
    linux_facts.user_namespaces = ringfence_plan::linux::facts::UserNamespaces::Available;
    let options = PlanOptions {
        observe: Observe::Writes,
    };
    let plan = platform::plan_for(
        &policy,
        &facts,
        &ringfence_plan::windows::WindowsLedger::default(),
        options,
    )
    .unwrap();
    let host = FakeHost::new(facts, without);
    Bench {
        _directory: directory,
        state,
        policy,
        workspace,
        host,
        plan,
    }
}

impl Bench {
    fn start(&self, host: &FakeHost) -> Result<Session, StartError> {
        Session::start_on(host, &self.policy, &self.state, SessionOptions::default())
    }
}

fn command() -> CommandSpec {
    CommandSpec {
        arguments: vec!["true".into()],
        directory: None,
    }
}

/// Runs a command with streams that are no terminal, whatever this test runs in.
fn run(session: &mut Session, afterwards: Afterwards) -> Result<Report, RunError> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let own = [null.as_fd(), null.as_fd(), null.as_fd()];
    foreground::run(session, &command(), afterwards, own)
}

#[test]
fn a_failure_at_any_step_runs_nothing_and_is_undone() {
    let bench = bench(Require::Full);
    assert!(
        bench.plan.steps.len() > 10,
        "the plan is too small to mean anything"
    );
    for index in 0..bench.plan.steps.len() {
        let host = bench.host.clone();
        let before = host.world();
        let host = FakeHost::with_fault(host, Fault::Step(index));
        let error = bench.start(&host).unwrap_err();
        assert!(matches!(error, StartError::Step { step: Some(step), .. } if step == index));
        assert_eq!(error.exit_code().code(), 102);
        let after = host.world();
        assert_eq!(after.started, []);
        assert_eq!(after.in_force, []);
        assert_eq!(after.directories, before.directories, "step {index}");
    }
}

#[test]
fn a_crash_before_any_step_runs_nothing() {
    let bench = bench(Require::Full);
    for index in 0..bench.plan.steps.len() {
        let host = bench.host.clone().with_fault(Fault::CrashBefore(index));
        assert!(matches!(bench.start(&host), Err(StartError::Lost { .. })));
        let after = host.world();
        assert_eq!((after.started.len(), after.in_force.len()), (0, 0));
        // And the next start is as if nothing had happened.
        let session = bench.start(&host).unwrap();
        assert_eq!(session.enforcement().level, Level::Full);
    }
}

#[test]
fn the_next_command_of_a_session_mounts_nothing_and_walks_no_tree() {
    let bench = bench(Require::Full);
    let mut session = bench.start(&bench.host).unwrap();
    let report = run(&mut session, Afterwards::Stay).unwrap();
    assert_eq!(report.exit_status(), 0);
    let after_the_first = bench.host.world();
    for _ in 0..3 {
        let report = run(&mut session, Afterwards::Stay).unwrap();
        assert_eq!(report.exit_status(), 0);
    }
    let world = bench.host.world();
    assert_eq!(world.started.len(), 4);
    assert_eq!(world.in_force, after_the_first.in_force);
    assert_eq!(world.directories, after_the_first.directories);
    assert_eq!((world.launches, world.observations), (1, 1));
}

#[test]
fn a_session_of_one_leaves_nothing_in_force() {
    let bench = bench(Require::Full);
    let host = bench.host.clone().with_script(
        Vec::new(),
        Outcome {
            ending: Ending::Exited(7),
            cpu_microseconds: 0,
        },
    );
    let mut session = bench.start(&host).unwrap();
    assert!(!host.world().in_force.is_empty());
    let report = run(&mut session, Afterwards::End).unwrap();
    assert_eq!(report.exit_status(), 7);
    let world = host.world();
    assert_eq!(
        (
            world.started.len(),
            world.running.len(),
            world.in_force.len()
        ),
        (1, 0, 0)
    );
}

#[test]
fn refused_namespaces_are_tried_without_once_unless_full_is_required() {
    let partial = bench(Require::Partial);
    let host = partial.host.clone().with_fault(Fault::Namespaces);
    match partial.start(&host) {
        Ok(session) => assert_eq!(session.enforcement().level, Level::Partial),
        // A machine without Landlock has no partial level.
        Err(error) => assert!(matches!(error, StartError::Plan(_))),
    }
    let full = bench(Require::Full);
    let host = full.host.clone().with_fault(Fault::Namespaces);
    let error = full.start(&host).unwrap_err();
    assert!(matches!(
        error,
        StartError::Launch(LaunchFault::NamespacesRefused(_))
    ));
    assert_eq!(host.world().launches, 1);
}

#[test]
fn a_runner_that_dies_is_an_error_at_every_point() {
    let bench = bench(Require::Full);
    for fault in [
        Fault::CrashAtSpawn,
        Fault::CrashWhileRunning,
        Fault::CrashAtEnd,
    ] {
        let host = bench.host.clone().with_fault(fault);
        let mut session = bench.start(&host).unwrap();
        let error = run(&mut session, Afterwards::End).unwrap_err();
        let cause = match &error {
            RunError::Broken { cause, .. } => cause,
            other => panic!("{fault:?}: {other:?}"),
        };
        assert!(matches!(cause, BreakError::Lost(_)), "{fault:?}: {error:?}");
        assert_eq!(error.exit_code().code(), 100);
        assert_eq!(host.world().in_force, [], "{fault:?}");
    }
    for fault in [Fault::Observe, Fault::Launch] {
        let host = bench.host.clone().with_fault(fault);
        let before = host.world().started;
        assert_eq!(bench.start(&host).unwrap_err().exit_code().code(), 102);
        assert_eq!(host.world().started, before);
    }
}

fn denial(object: &str) -> Event {
    Event::Denied {
        denial: Box::new(Denial {
            operation: Operation::Write,
            object: object.to_owned(),
            rule: RuleId::OutsideWritableRoots,
            grant: None,
            refused_root: None,
            syscall: "openat".to_owned(),
            evidence: Evidence::Predicted,
            own_permissions: OwnPermissions::Allow,
            process: None,
        }),
        count: 2,
    }
}

#[test]
fn what_was_reported_before_the_end_is_in_the_report() {
    let bench = bench(Require::Full);
    let script = vec![
        denial("/etc/a"),
        denial("/etc/b\u{1b}[2J"),
        denial("/etc/a"),
    ];
    let outcome = Outcome {
        ending: Ending::Signalled(11),
        cpu_microseconds: 0,
    };
    let host = bench.host.clone().with_script(script, outcome);
    let mut session = bench.start(&host).unwrap();
    let report = run(&mut session, Afterwards::Stay).unwrap();
    assert_eq!(report.exit_status(), 139);
    let seen: Vec<_> = report
        .denials
        .iter()
        .map(|(denial, count)| (denial.object.clone(), *count))
        .collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], ("/etc/a".to_owned(), 4));
    assert!(
        !seen[1].0.contains('\u{1b}'),
        "a control character came through"
    );
    // The session stays: a second command runs in the same boundary.
    let again = run(&mut session, Afterwards::End).unwrap();
    assert_eq!(again.denials.len(), 2);
    assert_eq!(host.world().launches, 1);
}

fn touched(path: &Path) -> Event {
    Event::Touched {
        path: AbsolutePath::new(path).unwrap(),
    }
}

/// What was written to an event stream, shared with the test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn records(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn names(&self) -> Vec<String> {
        let records = self.records();
        let name = |record: &serde_json::Value| record["event"].as_str().unwrap().to_owned();
        records.iter().map(name).collect()
    }
}

impl Bench {
    fn start_recorded(&self, host: &FakeHost) -> (Session, Lines) {
        let lines = Lines::default();
        let sink = EventSink::new(clock::new_session_id(), Box::new(lines.clone()));
        let options = SessionOptions {
            events: Some(sink),
            layers: vec![LoadedLayer {
                kind: LayerKind::CommandLine,
                source: "command line".to_owned(),
                digest: None,
                trust: ringfence_policy::layers::Trust::Trusted,
            }],
            ..SessionOptions::default()
        };
        let session = Session::start_on(host, &self.policy, &self.state, options).unwrap();
        (session, lines)
    }
}

const SUCCESS: Outcome = Outcome {
    ending: Ending::Exited(0),
    cpu_microseconds: 0,
};

#[test]
fn a_session_that_breaks_is_swept_and_says_what_was_moved() {
    let bench = bench(Require::Full);
    let work = bench.workspace.as_path();
    for fault in [
        Fault::CrashAtSpawn,
        Fault::CrashWhileRunning,
        Fault::CrashAtEnd,
    ] {
        let host = bench.host.clone().with_script(Vec::new(), SUCCESS);
        let (mut session, lines) = bench.start_recorded(&host.with_fault(fault));
        // Made while the runner could not tell any more.
        fs::write(work.join(".mcp.json"), "planted").unwrap();
        fs::create_dir_all(work.join("sub/.git/hooks")).unwrap();
        fs::write(work.join("sub/.git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
        let error = run(&mut session, Afterwards::End).unwrap_err();
        let expected = [work.join(".mcp.json"), work.join("sub/.git/hooks")];
        let swept = error.swept().unwrap();
        let moved: Vec<_> = swept
            .quarantined
            .iter()
            .map(|entry| entry.origin.as_path().to_owned())
            .collect();
        assert_eq!(moved, expected, "{fault:?}");
        assert!(expected.iter().all(|path| !path.exists()), "{fault:?}");
        let names = lines.names();
        let count = |name| names.iter().filter(|found| *found == name).count();
        assert_eq!(count("guard.quarantined"), expected.len(), "{names:?}");
        assert_eq!(names.last().unwrap(), "session.end");
        let end = lines
            .records()
            .into_iter()
            .find(|record| record["event"] == "exec.end");
        let end = end.unwrap();
        assert_eq!(
            (&end["ending"], &end["status"]),
            (&"lost".into(), &100.into())
        );
        drop(session);
        assert_eq!(lines.names(), names, "the end was recorded twice");
        fs::remove_dir_all(work.join("sub")).unwrap();
    }
}

#[test]
fn the_record_begins_with_the_policy_and_tells_a_quarantine_when_it_happens() {
    let bench = bench(Require::Full);
    let planted = bench.workspace.as_path().join(".envrc");
    let script = vec![touched(&planted), denial("/etc/a")];
    let host = bench.host.clone().with_script(script, SUCCESS);
    let (mut session, lines) = bench.start_recorded(&host);
    fs::write(&planted, "planted").unwrap();
    let report = run(&mut session, Afterwards::End).unwrap();
    assert_eq!(report.quarantined.len(), 1);
    assert_eq!(
        lines.names(),
        [
            "policy.loaded",
            "session.start",
            "exec.start",
            "guard.quarantined",
            "fs.denied",
            "exec.end",
            "session.end",
        ]
    );
    let records = lines.records();
    assert_eq!(records[0]["layers"][0]["kind"], "command-line");
    assert_eq!(records[1]["level"], "full");
    assert_eq!(records[1]["plan"], bench.plan.hash().to_string());
    assert_eq!(records[3]["id"], report.quarantined[0].id.to_string());
}

/// Runs a session of one as the command line does.
fn run_alone(bench: &Bench, host: &FakeHost) -> (Result<Report, RunError>, Vec<Level>) {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let own = [null.as_fd(), null.as_fd(), null.as_fd()];
    let mut announced = Vec::new();
    let mut announce = |plan: &Plan| announced.push(plan.level);
    let options = SessionOptions::default();
    let opening = Opening::new(host, &bench.policy, &bench.state, options, &mut announce);
    let result = foreground::run_alone(opening, &command(), own);
    (result, announced)
}

#[test]
fn a_command_that_was_asked_for_before_the_boundary_stands_does_not_run_when_it_never_does() {
    let bench = bench(Require::Full);
    let planted = bench.workspace.as_path().join(".envrc");
    for index in 0..bench.plan.steps.len() {
        fs::write(&planted, "the person's").unwrap();
        let host = bench.host.clone().with_fault(Fault::Step(index));
        let error = run_alone(&bench, &host).0.unwrap_err();
        let step = match error {
            RunError::Start(StartError::Step { step, source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
                step
            }
            other => panic!("step {index}: {other:?}"),
        };
        assert_eq!(step, Some(index));
        let world = host.world();
        assert_eq!((world.started.len(), world.in_force.len()), (0, 0));
        assert!(planted.exists(), "what nobody inside made was swept");

        let host = bench.host.clone().with_fault(Fault::CrashBefore(index));
        let error = run_alone(&bench, &host).0.unwrap_err();
        assert!(matches!(error, RunError::Start(StartError::Lost { .. })));
        assert_eq!(error.exit_code().code(), 102);
        assert_eq!(host.world().started.len(), 0);
    }
    // The control: with no fault the same command runs, once.
    let (report, announced) = run_alone(&bench, &bench.host);
    assert_eq!(report.unwrap().enforcement.level, Level::Full);
    assert_eq!(announced, [Level::Full]);
    let world = bench.host.world();
    assert_eq!((world.started.len(), world.in_force.len()), (1, 0));
}

#[test]
fn a_session_of_one_is_tried_without_namespaces_and_says_so_before_it_starts() {
    let bench = bench(Require::Partial);
    let enters =
        |step: &ringfence_plan::Step| matches!(step, ringfence_plan::Step::EnterNamespaces { .. });
    let step = bench.plan.steps.iter().position(enters).unwrap();
    // A plan that is refused at once is not announced; of one that fails later it has been.
    for (fault, told) in [
        (Fault::Namespaces, &[Level::Partial] as &[_]),
        (Fault::Step(step), &[Level::Full, Level::Partial]),
    ] {
        let host = bench.host.clone().with_fault(fault);
        let before = host.world().started.len();
        let (result, announced) = run_alone(&bench, &host);
        match result {
            Ok(report) => {
                assert_eq!(report.enforcement.level, Level::Partial);
                assert_eq!(announced, told);
                assert_eq!(host.world().started.len(), before + 1);
            }
            // A machine without Landlock has no partial level.
            Err(error) => assert!(matches!(error, RunError::Start(StartError::Plan(_)))),
        }
    }
}

mod leftovers;
mod repositories;
