//! What a start costs in a large tree, with many globs and without, once the tree has been seen.
//!
//! Invariant: every contender has scanned the tree before it is measured, and nothing in it changes meanwhile.

use std::fmt::Write as _;
use std::time::Duration;

use crate::arguments::{Arguments, Length};
use crate::contender::{self, Observer};
use crate::samples::milliseconds;
use crate::scene::{Scene, write_deep};
use crate::start::{compare, samples};
use crate::table::{Goal, Row, Unit};
use crate::trial::{self, TrialError};

const TARGET: [&str; 1] = ["/bin/true"];

/// Directories of the tree, and files in each.
const WHOLE: (usize, usize) = (33_000, 9);
const SHORT: (usize, usize) = (2_500, 2);

const GLOBS: usize = 200;

/// A scan keeps no directory that changed in the two seconds before.
const SETTLED: Duration = Duration::from_millis(3_100);

/// Starts in a small workspace, in a large one, and there with globs.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let (small, large) = (Scene::make(0)?, Scene::make(0)?);
    let (directories, files) = match arguments.length {
        Length::Whole => WHOLE,
        Length::Short => SHORT,
    };
    for directory in 0..directories {
        for file in 0..files {
            let name = format!("tree/{}/{directory}/file{file}", directory % 300);
            write_deep(&large.workspace().join(name), b"")?;
        }
    }
    let mut policy = "[filesystem]\ndeny_read = [\n".to_owned();
    for glob in 0..GLOBS {
        // Writing to a String can't fail.
        let _ = writeln!(policy, "  \"**/*.secret{glob}\",");
    }
    policy.push_str("]\n");
    write_deep(&large.policy(), policy.as_bytes())?;
    std::thread::sleep(SETTLED);
    let start = |scene| contender::ringfence(arguments, scene, Observer::Writes, &TARGET);
    let contenders = [
        start(&small).named("small"),
        start(&large).named("large"),
        contender::ringfence_with_policy(arguments, &large, &TARGET).named("globs"),
    ];
    // The first makes the state directory, the second keeps its scan.
    let results = trial::interleave(&contenders, 3, arguments.repetitions(40, 2));
    let what = format!(
        "cold start in a tree of {} files, seen before",
        directories * files
    );
    let (unit, goal) = (Unit::Milliseconds, Goal::None);
    let time = match samples(&results, "large") {
        Ok(found) => {
            let time = milliseconds(found.median());
            Row::new(&what, unit, goal, Some(time), String::new())
        }
        Err(why) => Row::failed(&what, unit, goal, why),
    };
    Ok(vec![
        time,
        compare(
            "the same ÷ a small tree",
            Goal::None,
            &results,
            "large",
            "small",
        ),
        compare(
            "the same with 200 globs ÷ without",
            Goal::AtMost(2.0),
            &results,
            "globs",
            "large",
        ),
    ])
}
