//! The plan: an ordered, closed list of steps, and what the session needs to know about them.

use std::fmt;

use serde::{Deserialize, Serialize};

use ringfence_policy::document::NewRepositories;
use ringfence_policy::{AbsolutePath, FilesystemRules};

use crate::step::{Observe, Step};
use crate::windows::WindowsPlan;

/// How much of the boundary the plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// There is no boundary: `full-access`, asked for by name.
    None,
    /// A part of the boundary; what is lost is listed.
    Partial,
    /// Every layer.
    Full,
}

impl Level {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }
}

/// Something of the full boundary that this plan can't hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// A stable name: `private-tmp`, `no-survivors`, …
    pub what: String,
    /// Why not, on this host.
    pub cause: String,
    /// What a person can do about it.
    pub cure: String,
}

/// What to do where no option makes a directory writable.
pub(crate) const COPY: &str = "work on a copy in the workspace, and put it in place yourself";
/// [`COPY`], where directories below can be roots.
pub(crate) const COPY_OR_NARROWER: &str = "work on a copy in the workspace, or in a directory of its own below, which can be a writable root";

/// What to do where the directory does not exist: what it may be is known when it does.
pub(crate) const MAKE_IT: &str = "make the directory, then ask `ringfence explain` again";

/// A protected name that does not exist yet: made by the session, it is moved to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardedName<P = AbsolutePath> {
    /// The path, the same on the host and inside.
    pub path: P,
    /// The protected name's words in the policy.
    pub origin: String,
}

/// What must be watched while the session lives and swept when a command ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard<P = AbsolutePath> {
    /// Absent protected names.
    pub absent: Vec<GuardedName<P>>,
    /// Directories in which a new repository may appear: the writable roots.
    pub roots: Vec<P>,
    /// What happens to new repositories.
    pub new_repositories: NewRepositories,
    /// Git directories that the target may commit to: swept for what runs on the host.
    pub commit_directories: Vec<P>,
}

/// Everything that will be done, in order, and nothing left to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How much of the boundary it holds.
    pub level: Level,
    /// What it can't hold.
    pub missing: Vec<Missing>,
    /// What a person should know, one line each: warnings and notes.
    pub notes: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
    /// The rules the steps enforce, for decisions and explanations.
    pub rules: FilesystemRules,
    /// What is watched and swept.
    pub guard: Guard,
    /// Variables that the session sets for every command (`TMPDIR` and its like), sorted by name.
    pub environment: Vec<(String, String)>,
    /// The directory commands start in unless told otherwise.
    pub workspace: AbsolutePath,
    /// The plan of a Windows machine that this one tells a session of; its steps and its launch are in it alone.
    #[serde(skip)]
    pub windows: Option<Box<WindowsPlan>>,
}

/// SHA-256 of a plan's canonical JSON, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanHash(pub String);

impl fmt::Display for PlanHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Plan {
    /// The same plan with another answer to which calls the observer sees; without a listener it stays off.
    #[must_use]
    pub fn observing(mut self, wanted: Observe) -> Self {
        for step in &mut self.steps {
            if let Step::FilterSyscalls { observe, .. } = step
                && *observe != Observe::Off
            {
                *observe = wanted;
            }
        }
        self
    }
}
