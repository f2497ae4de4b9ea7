//! Processor time of the processes that this one has waited for. Invariant: it only grows.

#![expect(unsafe_code, reason = "getrusage has no safe wrapper in rustix")]

use std::time::Duration;

/// User plus system time of all children that have been waited for, and of theirs.
pub(crate) fn children() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer leads to room for one `rusage`, and RUSAGE_CHILDREN is a valid first argument.
    let status = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if status != 0 {
        return Duration::ZERO;
    }
    // SAFETY: zeroed memory is a valid `rusage`, and the call has filled it.
    let usage = unsafe { usage.assume_init() };
    time(usage.ru_utime).saturating_add(time(usage.ru_stime))
}

fn time(value: libc::timeval) -> Duration {
    let seconds = u64::try_from(value.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(value.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_child_that_worked_is_counted() {
        let before = super::children();
        let loops = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        std::process::Command::new("sh")
            .args(["-c", loops])
            .status()
            .unwrap();
        assert!(super::children() > before);
    }
}
