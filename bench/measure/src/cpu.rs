//! Processor time of a shell script, as the shell itself counts it: the same way inside and outside.
//!
//! Not from the outside: what a pid namespace's init has reaped does not reach the counters of those who started it.
//! Invariant: a script that failed has no time.

use std::time::Duration;

/// Wraps a script so that it prints its processor time, and nothing else, to standard output (bash's `times`).
pub(crate) fn timed(script: &str) -> String {
    format!("{{ {script}\n}} > /dev/null || exit 1; times")
}

/// Reads what `times` has printed: user and system time of the shell, and of its children.
pub(crate) fn read(output: &str) -> Option<Duration> {
    let times: Option<Vec<Duration>> = output.split_whitespace().map(read_one).collect();
    let times = times?;
    (times.len() == 4).then(|| times.into_iter().sum())
}

/// `1m2.345s`
fn read_one(text: &str) -> Option<Duration> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    let minutes: u64 = minutes.parse().ok()?;
    let seconds: f64 = seconds.parse().ok()?;
    let seconds = Duration::try_from_secs_f64(seconds).ok()?;
    seconds.checked_add(Duration::from_secs(minutes.checked_mul(60)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_times_are_added() {
        let time = read("0m0.010s 0m0.002s\n1m2.500s 0m0.100s\n").unwrap();
        assert_eq!(time, Duration::from_millis(62_612));
        assert_eq!(read("0m0.010s 0m0.002s\n"), None);
        assert_eq!(read("command not found\n"), None);
    }

    #[test]
    fn a_shell_that_worked_has_a_time() {
        let work = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo noise";
        let run = |script: &str| {
            let mut shell = std::process::Command::new("bash");
            shell.args(["-c", &timed(script)]).output().unwrap()
        };
        let worked = run(work);
        let time = read(&String::from_utf8(worked.stdout).unwrap()).unwrap();
        assert!(time > Duration::ZERO);
        assert!(!run("false").status.success());
    }
}
