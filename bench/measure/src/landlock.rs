//! What a Landlock rule costs: to hand it to the kernel, and to take it once more from a ruleset that was kept.
//!
//! Each domain is taken by a thread of its own, which ends with it. Invariant: this process stays unrestricted.

use std::thread;
use std::time::{Duration, Instant};

use ringfence_linux::landlock::{Prepared, probe_abi};
use ringfence_plan::linux::landlock::{Abi, Rights, Ruleset};
use ringfence_policy::AbsolutePath;

use crate::arguments::Arguments;
use crate::samples::Samples;
use crate::scene::Scene;
use crate::table::{Goal, Row, Unit};
use crate::trial::TrialError;

/// Rules of one ruleset.
const RULES: u32 = 1000;

/// Rows for both.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let scene = Scene::make(usize::try_from(RULES).unwrap_or(0))?;
    let rounds = arguments.repetitions(40, 2);
    let rows = [
        ("Landlock, each of 1,000 rules: made and enforced", 4.0),
        ("the same from a kept ruleset", 0.35),
    ];
    let unit = Unit::Microseconds;
    Ok(match times(&scene, rounds) {
        Ok((cold, kept)) => [cold, kept]
            .into_iter()
            .zip(rows)
            .map(|(time, (what, goal))| {
                let each = time.median().as_secs_f64() * 1e6 / f64::from(RULES);
                Row::new(what, unit, Goal::AtMost(goal), Some(each), String::new())
            })
            .collect(),
        Err(why) => rows
            .into_iter()
            .map(|(what, goal)| Row::failed(what, unit, Goal::AtMost(goal), why.clone()))
            .collect(),
    })
}

fn times(scene: &Scene, rounds: usize) -> Result<(Samples, Samples), String> {
    let ruleset = ruleset(scene)?;
    let (mut cold, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = Instant::now();
        let prepared = Prepared::new(&ruleset).map_err(|cause| cause.to_string())?;
        let made = begin.elapsed();
        let first = restrict(&prepared)?;
        cold.push(made + first);
        kept.push(restrict(&prepared)?);
    }
    let none = || "there were no rounds".to_owned();
    Ok((
        Samples::new(cold).ok_or_else(none)?,
        Samples::new(kept).ok_or_else(none)?,
    ))
}

/// How long a fresh thread takes to restrict itself.
fn restrict(prepared: &Prepared) -> Result<Duration, String> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let begin = Instant::now();
            let enforced = prepared.restrict_current_thread();
            let time = begin.elapsed();
            enforced.map(|_| time).map_err(|cause| cause.to_string())
        });
        let gone = |_| "a thread ended early".to_owned();
        thread.join().map_err(gone)?
    })
}

fn ruleset(scene: &Scene) -> Result<Ruleset, String> {
    let abi = Abi::negotiate(probe_abi()).ok_or("there is no Landlock")?;
    let mut ruleset = Ruleset::refusing_writes(abi);
    let names = std::fs::read_to_string(scene.list()).map_err(|cause| cause.to_string())?;
    for name in names.lines() {
        let path = AbsolutePath::new(scene.workspace().join(name));
        ruleset.allow(path.map_err(|cause| cause.to_string())?, Rights::WRITE_FILE);
    }
    Ok(ruleset)
}
