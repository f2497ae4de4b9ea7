//! Times of one contender, and what is read from them. Pure. Invariant: there is always at least one.

use std::time::Duration;

/// Times, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// From times in any order; nothing from none.
    pub(crate) fn new(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        (!times.is_empty()).then_some(Self(times))
    }

    /// The one in the middle.
    pub(crate) fn median(&self) -> Duration {
        self.quantile(50)
    }

    /// The time that 99 of 100 stay below.
    pub(crate) fn p99(&self) -> Duration {
        self.quantile(99)
    }

    fn quantile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let index = last.saturating_mul(percent).div_ceil(100).min(last);
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// `a` ÷ `b`, or nothing where `b` is zero.
pub(crate) fn ratio(a: Duration, b: Duration) -> Option<f64> {
    (!b.is_zero()).then(|| a.as_secs_f64() / b.as_secs_f64())
}

/// In milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_times() {
        let times = (1..=101).rev().map(Duration::from_millis).collect();
        let samples = Samples::new(times).unwrap();
        assert_eq!(samples.median(), Duration::from_millis(51));
        assert_eq!(samples.p99(), Duration::from_millis(100));
        let one = Samples::new(vec![Duration::from_millis(7)]).unwrap();
        assert_eq!((one.median(), one.p99()), (one.p99(), one.median()));
    }

    #[test]
    fn nothing_has_no_median_and_zero_no_ratio() {
        assert!(Samples::new(Vec::new()).is_none());
        assert!(ratio(Duration::from_secs(1), Duration::ZERO).is_none());
    }
}
