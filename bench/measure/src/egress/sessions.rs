//! What a session pays for having the proxy: at its start, and in memory while it waits.

use crate::arguments::Arguments;
use crate::contender;
use crate::scene::Scene;
use crate::size;
use crate::start::compare;
use crate::table::{Goal, Row};
use crate::trial::{self, TrialError};

const TARGET: [&str; 1] = ["/bin/true"];

/// The options of a session with the proxy.
const WITH_PROXY: [&str; 4] = ["--network", "allowlist", "--allow-host", "example.com"];

/// All of it.
pub(super) fn measure(arguments: &Arguments, scene: &Scene) -> Result<Vec<Row>, TrialError> {
    let events = scene.home().join("events.jsonl");
    let mut on = WITH_PROXY.map(std::ffi::OsString::from).to_vec();
    on.extend(["--events".into(), events.into()]);
    let (name_off, name_on) = ("R", "R, proxy and events on");
    let contenders = [
        contender::plain(&TARGET),
        contender::ringfence_with(arguments, scene, &[], &TARGET).named(name_off),
        contender::ringfence_with(arguments, scene, &on, &TARGET).named(name_on),
    ];
    let results = trial::interleave(&contenders, 3, arguments.repetitions(200, 3));
    let mut rows = vec![compare(
        "cold start, proxy and events on ÷ off",
        Goal::AtMost(1.5),
        &results,
        name_on,
        name_off,
    )];
    let waiting =
        contender::ringfence_with(arguments, scene, &WITH_PROXY.map(Into::into), &["cat"]);
    rows.extend(size::measure_idle(
        arguments,
        &waiting,
        [
            "idle session with the proxy: all of our processes",
            "idle session with the proxy: its init (the runner)",
        ],
    )?);
    Ok(rows)
}
