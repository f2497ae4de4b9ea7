//! The slowest starts, and many at once.

use std::time::{Duration, Instant};

use crate::again;
use crate::arguments::Arguments;
use crate::contender::{self, Contender, Observer};
use crate::samples::{milliseconds, ratio};
use crate::scene::Scene;
use crate::start::samples;
use crate::table::{Goal, Row, Unit};
use crate::trial::{self, TrialError};

const TARGET: [&str; 1] = ["/bin/true"];
const AT_ONCE: usize = 8;

/// Runs `start` from `threads` threads, `each` times in each: wall time per start.
pub(crate) fn in_flight<F>(threads: usize, each: usize, start: F) -> Result<Duration, TrialError>
where
    F: Fn(usize) -> Result<(), TrialError> + Sync,
{
    let begin = Instant::now();
    let results: Vec<Result<(), TrialError>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || (0..each).try_for_each(|_| start(thread)))
            })
            .collect();
        let ended_early = || TrialError::Start {
            name: "a thread".to_owned(),
            cause: std::io::Error::other("it ended early"),
        };
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(ended_early())))
            .collect()
    });
    let time = begin.elapsed();
    results.into_iter().collect::<Result<(), TrialError>>()?;
    let starts = u32::try_from(threads.saturating_mul(each)).unwrap_or(u32::MAX);
    Ok(time.checked_div(starts).unwrap_or_default())
}

/// All of it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let scene = Scene::make(0)?;
    let ringfence = contender::ringfence(arguments, &scene, Observer::Writes, &TARGET);
    let bubblewrap = contender::bubblewrap(&scene, &TARGET)?;
    let plain = contender::plain(&TARGET);
    let contenders = [ringfence.clone(), bubblewrap.clone(), plain.clone()];
    let results = trial::interleave(&contenders, 5, arguments.repetitions(500, 5));
    let mut rows: Vec<Row> = [
        ("R", Goal::AtMost(3.0)),
        ("bwrap", Goal::None),
        ("P", Goal::None),
    ]
    .map(|(name, goal)| {
        let what = format!("p99 of a cold start ÷ its median: {name}");
        match samples(&results, name) {
            Ok(found) => {
                let (slow, middle) = (found.p99(), found.median());
                let detail = format!(
                    "p99 {:.2} ms, median {:.2} ms",
                    milliseconds(slow),
                    milliseconds(middle)
                );
                Row::new(&what, Unit::Ratio, goal, ratio(slow, middle), detail)
            }
            Err(why) => Row::failed(&what, Unit::Ratio, goal, why),
        }
    })
    .into();
    let each = arguments.repetitions(40, 2);
    let crowd = |contender: &Contender| {
        in_flight(AT_ONCE, each, |_| trial::run_once(contender).map(drop))
            .map_err(|cause| cause.to_string())
    };
    let (fenced, wrapped, bare) = (crowd(&ringfence), crowd(&bubblewrap), crowd(&plain));
    rows.push(throughput(
        "8 in flight: cold throughput ÷ plain",
        0.25,
        &fenced,
        &bare,
    ));
    rows.push(throughput(
        "8 in flight: cold throughput ÷ bwrap",
        2.0,
        &fenced,
        &wrapped,
    ));
    rows.extend(again::rows("warm-tail", arguments, &scene, &[]));
    Ok(rows)
}

type PerStart = Result<Duration, String>;

/// Throughput is the inverse of the time per start: the other's time ÷ ours.
fn throughput(what: &str, goal: f64, ours: &PerStart, other: &PerStart) -> Row {
    let goal = Goal::AtLeast(goal);
    match (ours, other) {
        (Ok(ours), Ok(other)) => {
            let detail = format!(
                "{:.2} ms and {:.2} ms per start",
                milliseconds(*ours),
                milliseconds(*other)
            );
            Row::new(what, Unit::Ratio, goal, ratio(*other, *ours), detail)
        }
        (Err(why), _) | (_, Err(why)) => Row::failed(what, Unit::Ratio, goal, why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_starts_as_often_as_the_others() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let counted = in_flight(4, 3, |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        });
        assert!(counted.is_ok());
        assert_eq!(count.into_inner(), 12);
    }

    #[test]
    fn one_failed_start_fails_the_whole() {
        let bad = Contender::new("bad", ["false"]);
        assert!(in_flight(2, 2, |_| trial::run_once(&bad).map(drop)).is_err());
    }
}
