//! Warm starts: the second and later commands of a session, through the library as an embedding program uses it.
//!
//! It runs in a process of its own whose home is the scene's. Invariant: the boundary is whole (level full), or
//! there is no number.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence::{CommandSpec, LoadRequest, Session, SessionOptions, StateDirectory, load_policy};
use ringfence_plan::step::Observe;
use ringfence_policy::AbsolutePath;
use ringfence_policy::document::PolicyDocument;

use crate::arguments::Arguments;
use crate::contender;
use crate::samples::{Samples, milliseconds, ratio};
use crate::table::{Goal, Row, Unit};
use crate::trial;

const TARGET: &str = "/bin/true";

/// Worktrees or clones beside each other, as people have reported them.
const REPOSITORIES: usize = 261;

/// Sessions and commands in flight.
const AT_ONCE: usize = 8;

/// Why there was no warm start.
#[derive(Debug, thiserror::Error)]
enum WarmError {
    #[error("a directory is not usable: {0}")]
    Directory(String),
    #[error("no state directory: {0}")]
    State(#[source] ringfence::state::StateError),
    #[error("no policy: {0}")]
    Policy(#[source] ringfence::LoadError),
    #[error("no session: {0}")]
    Session(#[source] ringfence::StartError),
    #[error("the command did not run: {0}")]
    Run(#[source] ringfence::RunError),
    #[error("the command ended with status {0}")]
    Status(u8),
    #[error("the yardstick failed: {0}")]
    Plain(#[source] trial::TrialError),
}

fn open(observe: Observe) -> Result<Session, WarmError> {
    let directory = |path: Option<PathBuf>| {
        let path = path.ok_or_else(|| WarmError::Directory("it has no name".to_owned()))?;
        AbsolutePath::new(&path).map_err(|cause| WarmError::Directory(cause.to_string()))
    };
    let state = StateDirectory::open().map_err(WarmError::State)?;
    let request = LoadRequest {
        workspace: directory(std::env::current_dir().ok())?,
        home: directory(std::env::home_dir())?,
        command_line: PolicyDocument::default(),
        config: None,
        managed: PathBuf::from(ringfence::load::MANAGED_POLICY),
    };
    let loaded = load_policy(&request, &state).map_err(WarmError::Policy)?;
    let options = SessionOptions {
        observe,
        ..SessionOptions::default()
    };
    Session::start(&loaded.policy, &state, options).map_err(WarmError::Session)
}

fn execute(session: &mut Session) -> Result<Duration, WarmError> {
    let command = CommandSpec {
        arguments: vec![TARGET.into()],
        directory: None,
    };
    let begin = Instant::now();
    let report = session.execute(&command).map_err(WarmError::Run)?;
    let time = begin.elapsed();
    match report.exit_status() {
        0 => Ok(time),
        status => Err(WarmError::Status(status)),
    }
}

/// The medians of a warm start and of P, interleaved, for both settings of the observer.
pub(crate) fn measure_start(arguments: &Arguments) -> Vec<Row> {
    let row = |what: &str, goal: Goal, observe: Observe| match interleave(arguments, observe) {
        Ok((plain, warm)) => pair(what, goal, &plain, &warm),
        Err(why) => Row::failed(what, Unit::Ratio, goal, why.to_string()),
    };
    vec![
        row("warm start ÷ P", Goal::AtMost(1.25), Observe::Writes),
        row("warm start ÷ P, observer off", Goal::None, Observe::Off),
        in_many_repositories(arguments),
    ]
}

/// The medians of a warm start and of P again, in a workspace of many repositories.
fn in_many_repositories(arguments: &Arguments) -> Row {
    let what = format!("warm start ÷ P, {REPOSITORIES} repositories");
    let goal = Goal::AtMost(1.25);
    let beside = tempfile::tempdir_in(".").and_then(|place| {
        (0..REPOSITORIES)
            .try_for_each(|number| {
                std::fs::create_dir_all(place.path().join(format!("{number}/.git")))
            })
            .map(|()| place)
    });
    let result = beside
        .map_err(|cause| WarmError::Directory(cause.to_string()))
        .and_then(|_place| interleave(arguments, Observe::Writes));
    match result {
        Ok((plain, warm)) => pair(&what, goal, &plain, &warm),
        Err(why) => Row::failed(&what, Unit::Ratio, goal, why.to_string()),
    }
}

/// A row of a warm start beside P.
fn pair(what: &str, goal: Goal, plain: &Samples, warm: &Samples) -> Row {
    let detail = format!(
        "session {:.2} ms, P {:.2} ms",
        milliseconds(warm.median()),
        milliseconds(plain.median())
    );
    let ratio = ratio(warm.median(), plain.median());
    Row::new(what, Unit::Ratio, goal, ratio, detail)
}

fn interleave(arguments: &Arguments, observe: Observe) -> Result<(Samples, Samples), WarmError> {
    let mut session = open(observe)?;
    let plain = contender::plain(&[TARGET]);
    let (mut bare, mut warm) = (Vec::new(), Vec::new());
    for round in 0..arguments.repetitions(420, 8) {
        let one = trial::run_once(&plain).map_err(WarmError::Plain)?;
        let other = execute(&mut session)?;
        // The first command pays for the boundary.
        if round >= 5 {
            bare.push(one);
            warm.push(other);
        }
    }
    session.end().map_err(WarmError::Run)?;
    let none = || WarmError::Directory("there were no rounds".to_owned());
    Ok((
        Samples::new(bare).ok_or_else(none)?,
        Samples::new(warm).ok_or_else(none)?,
    ))
}

/// Throughput of eight sessions at once beside eight plain loops.
pub(crate) fn measure_tail(arguments: &Arguments) -> Vec<Row> {
    const WHAT: &str = "8 in flight: warm throughput ÷ plain";
    let goal = Goal::AtLeast(0.75);
    let each = arguments.repetitions(100, 3);
    vec![match throughput(each) {
        Ok((plain, warm)) => {
            let detail = format!(
                "warm {:.2} ms, P {:.2} ms per start",
                milliseconds(warm),
                milliseconds(plain)
            );
            Row::new(WHAT, Unit::Ratio, goal, ratio(plain, warm), detail)
        }
        Err(why) => Row::failed(WHAT, Unit::Ratio, goal, why),
    }]
}

/// Wall time per start, plain and warm, with [`AT_ONCE`] in flight.
fn throughput(each: usize) -> Result<(Duration, Duration), String> {
    let plain = contender::plain(&[TARGET]);
    let bare = crate::tail::in_flight(AT_ONCE, each, |_| trial::run_once(&plain).map(drop))
        .map_err(|cause| cause.to_string())?;
    // Sessions are opened before the clock starts: each thread waits for all the others.
    let ready = std::sync::Barrier::new(AT_ONCE);
    let times: Result<Vec<Duration>, WarmError> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| one_session(each, &ready)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let gone = |_| WarmError::Directory("a thread ended early".to_owned());
                thread.join().map_err(gone)?
            })
            .collect()
    });
    let slowest = times.map_err(|cause| cause.to_string())?.into_iter().max();
    let starts = u32::try_from(each.saturating_mul(AT_ONCE)).unwrap_or(u32::MAX);
    let warm = slowest
        .and_then(|time| time.checked_div(starts))
        .ok_or("no starts")?;
    Ok((bare, warm))
}

fn one_session(each: usize, ready: &std::sync::Barrier) -> Result<Duration, WarmError> {
    let opened = open(Observe::Writes).and_then(|mut session| {
        execute(&mut session)?;
        Ok(session)
    });
    // Reached also without a session: the others would wait for ever.
    ready.wait();
    let mut session = opened?;
    let begin = Instant::now();
    for _ in 0..each {
        execute(&mut session)?;
    }
    let time = begin.elapsed();
    session.end().map_err(WarmError::Run)?;
    Ok(time)
}
