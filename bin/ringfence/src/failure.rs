//! How the program ends when it can't do what was asked: one block on standard error, one exit status.

use std::error::Error;
use std::fmt::Write as _;

use ringfence::shortage::cure_of_shortage;
use ringfence_backend::causes::{chain, in_one_sentence};
use ringfence_policy::ExitCode;

use crate::render::escape::printable;

/// An error at the edge of the program.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: ExitCode,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl Failure {
    /// The program ends with `exit` because of `error`.
    pub(crate) fn new(exit: ExitCode, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            error: error.into(),
            hint: None,
        }
    }

    /// Something failed inside Ringfence.
    pub(crate) fn internal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ExitCode::Internal, error)
    }

    /// Adds the next command to try.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The status the process ends with.
    pub(crate) fn exit(&self) -> ExitCode {
        self.exit
    }

    /// The next command to try; empty where there is none. What the system ran out of goes before what was tried.
    pub(crate) fn hint(&self) -> &str {
        cure_of_shortage(&*self.error)
            .or(self.hint.as_deref())
            .unwrap_or_default()
    }

    /// The error and its causes in one sentence.
    pub(crate) fn summary(&self) -> String {
        in_one_sentence(&*self.error)
    }

    /// The block for a person: the error, its causes, the hint.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("ringfence: error: {}\n", printable(&self.error.to_string()));
        let mut told: Vec<String> = chain(&*self.error).map(ToString::to_string).collect();
        told.dedup();
        for cause in told.iter().skip(1) {
            // Writing to a String can't fail.
            let _ = writeln!(text, "  caused by: {}", printable(cause));
        }
        for hint in self.hint().lines().filter(|hint| !hint.is_empty()) {
            let _ = writeln!(text, "  hint: {}", printable(hint));
        }
        text
    }
}

/// Errors of the library carry their exit status and their hint.
macro_rules! from_library {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let (exit, hint) = (error.exit_code(), error.hint());
                Self::new(exit, error).with_hint(hint)
            }
        })+
    };
}

from_library!(
    ringfence::LoadError,
    ringfence::RunError,
    ringfence::StartError,
    ringfence::own_file::OwnFileError,
    ringfence::quarantine::QuarantineError,
    ringfence::state::StateError,
    ringfence::trust::TrustError,
    ringfence_policy::layers::ResolveError,
);

#[cfg(windows)]
from_library!(ringfence::setup::SetupError);

impl From<ringfence_policy::parse::ParseError> for Failure {
    fn from(error: ringfence_policy::parse::ParseError) -> Self {
        let hint = error.hint();
        Self::new(ExitCode::PolicyInvalid, error).with_hint(hint)
    }
}

impl From<ringfence_policy::network::DestinationError> for Failure {
    fn from(error: ringfence_policy::network::DestinationError) -> Self {
        Self::new(ExitCode::Usage, error)
            .with_hint("name a destination as HOST:PORT, for example example.com:443")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("can't read the policy `{0}`")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[cfg(unix)]
    #[test]
    fn what_ran_out_is_the_hint() {
        let inner = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        let failure = Failure::internal(Outer("a.toml", inner)).with_hint("ringfence doctor");
        assert_eq!(
            failure.hint(),
            "raise the limit on the size of files: ulimit -f unlimited"
        );
    }

    #[test]
    fn block_names_error_causes_and_hint() {
        let inner = std::io::Error::other("disk on fire\u{1b}[31m");
        let failure = Failure::new(ExitCode::PolicyInvalid, Outer("a.toml", inner))
            .with_hint("ringfence policy check");
        assert_eq!(
            failure.render(),
            "ringfence: error: can't read the policy `a.toml`\n  caused by: disk on fire\\u{1b}[31m\n  \
             hint: ringfence policy check\n"
        );
    }
}
