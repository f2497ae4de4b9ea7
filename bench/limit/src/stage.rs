//! Where the time goes: a clock read after each stage, printed at the end. Off, it costs one branch per stage.

use std::time::Instant;

/// The stages so far.
pub(crate) struct Stages(Option<(Instant, Vec<(&'static str, u128)>)>);

impl Stages {
    /// Starts the clock, if it is wanted.
    pub(crate) fn begin(trace: bool) -> Self {
        Self(trace.then(|| (Instant::now(), Vec::with_capacity(16))))
    }

    /// Ends a stage.
    pub(crate) fn done(&mut self, name: &'static str) {
        if let Some((last, stages)) = &mut self.0 {
            let now = Instant::now();
            stages.push((name, now.duration_since(*last).as_micros()));
            *last = now;
        }
    }

    /// Prints microseconds by stage.
    pub(crate) fn print(&self) {
        if let Some((_, stages)) = &self.0 {
            for (name, microseconds) in stages {
                eprintln!("{microseconds:>7} us  {name}");
            }
        }
    }
}
