//! What a start costs as protected paths, the workspace and the host's mounts grow in number.

use std::path::PathBuf;

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::again;
use crate::arguments::{Arguments, Length};
use crate::contender::{self, Observer};
use crate::landlock;
use crate::samples::milliseconds;
use crate::scene::{Scene, write_deep};
use crate::start::{self, compare, samples};
use crate::table::{Goal, Row, Unit};
use crate::tree;
use crate::trial::{self, TrialError};

const TARGET: [&str; 1] = ["/bin/true"];

/// Extra mounts of the host.
const MOUNTS: usize = 1000;

/// How many protected paths beside the ten.
const SIZES: [usize; 4] = [10, 100, 1000, 10_000];

/// All of it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let mut rows = Vec::new();
    let mut medians: Vec<(usize, f64)> = Vec::new();
    for size in SIZES {
        if arguments.length == Length::Short && size > 100 {
            continue;
        }
        let (row, median) = measure_size(arguments, size)?;
        rows.extend(row);
        medians.extend(median.map(|median| (size, median)));
    }
    rows.extend(slope(&medians));
    rows.extend(landlock::measure(arguments)?);
    rows.extend(tree::measure(arguments)?);
    let scene = Scene::make(0)?;
    rows.extend(again::rows("mounts", arguments, &scene, mount_namespace()));
    Ok(rows)
}

/// unshare(1) into a mount namespace; an ordinary user needs a user namespace for it.
fn mount_namespace() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() {
        &["unshare", "--mount", "--propagation", "private"]
    } else {
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--propagation",
            "private",
        ]
    }
}

fn measure_size(arguments: &Arguments, size: usize) -> Result<(Vec<Row>, Option<f64>), TrialError> {
    let scene = Scene::make(size)?;
    let mut contenders = vec![
        contender::limit(arguments, &scene, &TARGET),
        contender::ringfence(arguments, &scene, Observer::Writes, &TARGET),
    ];
    // Quadratic: ten thousand would take minutes a start.
    if size <= 1000 {
        contenders.push(contender::bubblewrap(&scene, &TARGET)?);
    }
    let whole = match size {
        0..=100 => 60,
        101..=1000 => 12,
        _ => 5,
    };
    let results = trial::interleave(&contenders, 1, arguments.repetitions(whole, 2));
    let median = |name| samples(&results, name).map(|found| milliseconds(found.median()));
    let goal = if size == 1000 {
        Goal::AtMost(25.0)
    } else {
        Goal::None
    };
    let what = format!("cold start with {size} protected paths more");
    let shown = |name| median(name).map_or_else(|_| "–".to_owned(), |time| format!("{time:.2} ms"));
    let row = match median("R") {
        Ok(time) => {
            let detail = format!("L {}, bwrap {}", shown("L"), shown("bwrap"));
            Row::new(&what, Unit::Milliseconds, goal, Some(time), detail)
        }
        Err(why) => Row::failed(&what, Unit::Milliseconds, goal, why),
    };
    Ok((vec![row], median("R").ok()))
}

/// Ten times the paths may cost at most twelve times the time: linear, with something for noise.
fn slope(medians: &[(usize, f64)]) -> Option<Row> {
    let at = |size| {
        medians
            .iter()
            .find(|(found, _)| *found == size)
            .map(|(_, time)| *time)
    };
    let (small, middle, large) = (at(10)?, at(1000)?, at(10_000)?);
    let growth = (large - small) / (middle - small);
    let detail = format!("{small:.2}, {middle:.2} and {large:.2} ms at 10, 1,000 and 10,000");
    let what = "growth from 1,000 to 10,000 paths (linear: 10)";
    Some(Row::new(
        what,
        Unit::Ratio,
        Goal::AtMost(12.0),
        Some(growth),
        detail,
    ))
}

/// Mounts that go away before the scene does: a directory that is mounted on can't be removed.
#[derive(Default)]
struct Mounts(Vec<PathBuf>);

impl Drop for Mounts {
    fn drop(&mut self) {
        for target in &self.0 {
            // The namespace ends with this process anyway; only an empty directory would stay.
            let _ = unmount(target, UnmountFlags::DETACH);
        }
    }
}

/// The part that runs in a mount namespace of its own.
pub(crate) fn measure_among_mounts(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let scene = Scene::make(0)?;
    let mut mounts = Mounts::default();
    // Not below what is bound: a mount with others below it can only be copied with them.
    let source = scene.home().join("source");
    for index in 0..MOUNTS {
        let target: PathBuf = scene.home().join("mounts").join(index.to_string());
        write_deep(&target.join("empty"), b"")?;
        write_deep(&source.join("empty"), b"")?;
        mount_bind(&source, &target).map_err(|cause| TrialError::Mount {
            path: target.clone(),
            cause: cause.into(),
        })?;
        mounts.0.push(target);
    }
    let rounds = arguments.repetitions(40, 2);
    let results = trial::interleave(&start::contenders(arguments, &scene)?, 1, rounds);
    let what = "cold start on a host with 1,000 mounts more";
    let goal = Goal::AtMost(10.0);
    let unit = Unit::Milliseconds;
    Ok(vec![
        match samples(&results, "R") {
            Ok(found) => {
                let time = milliseconds(found.median());
                Row::new(what, unit, goal, Some(time), String::new())
            }
            Err(why) => Row::failed(what, unit, goal, why),
        },
        compare("the same ÷ bwrap", Goal::None, &results, "R", "bwrap"),
        compare("the same ÷ L", Goal::None, &results, "R", "L"),
    ])
}
