//! Cold starts, with ten protected paths and a few secrets, beside bwrap and both yardsticks.

use crate::again;
use crate::arguments::Arguments;
use crate::contender::{self, Contender, Observer};
use crate::samples::{Samples, milliseconds, ratio};
use crate::scene::Scene;
use crate::table::{Goal, Row, Unit};
use crate::trial::{self, TrialError};

const TARGET: [&str; 1] = ["/bin/true"];

/// Everything that starts [`TARGET`] with the scene's policy.
pub(crate) fn contenders(
    arguments: &Arguments,
    scene: &Scene,
) -> Result<Vec<Contender>, TrialError> {
    let mut all = vec![
        contender::plain(&TARGET),
        contender::limit(arguments, scene, &TARGET),
        contender::ringfence(arguments, scene, Observer::Writes, &TARGET),
        contender::ringfence(arguments, scene, Observer::Off, &TARGET),
        contender::bubblewrap(scene, &TARGET)?,
    ];
    all.extend(contender::peers(arguments, scene, &TARGET));
    Ok(all)
}

/// Results by name.
pub(crate) type Results = Vec<(String, Result<Samples, TrialError>)>;

/// The median of the contender with this name.
pub(crate) fn samples<'a>(results: &'a Results, name: &str) -> Result<&'a Samples, String> {
    match results.iter().find(|(contender, _)| contender == name) {
        Some((_, Ok(samples))) => Ok(samples),
        Some((_, Err(why))) => Err(why.to_string()),
        None => Err(format!("{name} was not measured")),
    }
}

/// A row: one median ÷ another.
pub(crate) fn compare(what: &str, goal: Goal, results: &Results, one: &str, other: &str) -> Row {
    let pair = samples(results, one).and_then(|a| Ok((a, samples(results, other)?)));
    match pair {
        Ok((a, b)) => {
            let detail = format!(
                "{one} {:.2} ms, {other} {:.2} ms",
                milliseconds(a.median()),
                milliseconds(b.median())
            );
            Row::new(
                what,
                Unit::Ratio,
                goal,
                ratio(a.median(), b.median()),
                detail,
            )
        }
        Err(why) => Row::failed(what, Unit::Ratio, goal, why),
    }
}

/// Warm and cold starts.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let scene = Scene::make(0)?;
    let mut rows = again::rows("warm-start", arguments, &scene, &[]);
    let rounds = arguments.repetitions(300, 3);
    let results = trial::interleave(&contenders(arguments, &scene)?, 5, rounds);
    rows.extend([
        compare(
            "cold start ÷ bwrap, same policy",
            Goal::AtMost(1.0 / 3.0),
            &results,
            "R",
            "bwrap",
        ),
        compare("cold start ÷ L", Goal::AtMost(1.25), &results, "R", "L"),
        compare(
            "cold start, observer off ÷ L",
            Goal::None,
            &results,
            "R, observer off",
            "L",
        ),
        compare(
            "cold start, observer on ÷ off",
            Goal::None,
            &results,
            "R",
            "R, observer off",
        ),
        compare("L ÷ bwrap", Goal::None, &results, "L", "bwrap"),
        compare("L ÷ P", Goal::None, &results, "L", "P"),
    ]);
    for (name, _) in &arguments.peers {
        rows.push(compare(
            &format!("cold start ÷ {name}"),
            Goal::None,
            &results,
            "R",
            name,
        ));
    }
    Ok(rows)
}
