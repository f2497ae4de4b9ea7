//! A decision is data: what was asked, the verdict, the rule, and the narrowest grant that would change it.

use serde::{Deserialize, Serialize};

use crate::rule::RuleId;

/// What a target does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Reads content or a directory's entries.
    Read,
    /// Creates, changes, renames, links or removes.
    Write,
    /// Connects to a network or socket address.
    Connect,
    /// Makes a system call that is refused for what it is.
    Syscall,
    /// Signals a process, or opens it to signal it.
    Signal,
    /// Traces a process.
    Trace,
}

/// The exact option that would allow just what was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The words of the option, ready for a command line: `["--writable-root", "/etc"]`.
    pub arguments: Vec<String>,
    /// What the option gives beyond the refused object, where it can't be narrower; empty otherwise.
    pub caution: String,
}

/// A directory that would have to be writable, and that no policy makes so: why a refusal has no grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRoot {
    /// The directory, escaped.
    pub directory: String,
    /// Why it can't be a writable root: `it is …`.
    pub reason: String,
    /// What to do instead.
    pub instead: String,
}

/// The verdict on one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Decision {
    /// Allowed, and by which rule.
    Allow {
        /// The rule that decided.
        rule: RuleId,
        /// The rule's own object, for example the writable root; empty for a default.
        origin: String,
    },
    /// Refused, and by which rule.
    Deny {
        /// The rule that decided.
        rule: RuleId,
        /// The rule's own object: the protected name, the pattern, the place.
        origin: String,
        /// The narrowest grant that would change the verdict; `None` for a hard block. Whether a directory that it
        /// names can be a writable root the planner says, who knows what is there.
        grant: Option<Grant>,
    },
}

/// One refused operation, as it is reported after a command and in the event stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What was tried.
    pub operation: Operation,
    /// The path, address or system call, already escaped: it comes from the target.
    pub object: String,
    /// The rule that refused it.
    pub rule: RuleId,
    /// The narrowest grant; `None` for a hard block, and where its directory is refused.
    pub grant: Option<Grant>,
    /// The directory that the grant would have to make writable, where the planner refuses that.
    pub refused_root: Option<Box<RefusedRoot>>,
    /// The name of the system call that tried; empty where it is not known.
    pub syscall: String,
    /// Whether the boundary itself answered, or the observer predicts it from the same rules.
    pub evidence: Evidence,
    /// Whether the file's own permissions would have refused it anyway, without any boundary.
    pub own_permissions: OwnPermissions,
    /// Who tried, where that was found out.
    pub process: Option<Box<Process>>,
}

/// A process of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as the session sees it.
    pub id: u32,
    /// The path of its program, already escaped: the target may have chosen it.
    pub program: String,
}

/// How a denial is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The filter refused the call and reported it.
    Refused,
    /// The observer saw the call and `decide` says that the mounts refuse it.
    Predicted,
    /// A look-up ended at what hides the path: it was opened, gone through, or only looked at by its name. Which call it
    /// was is not known.
    Reached,
}

/// What the object's own permissions say about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnPermissions {
    /// The call would have succeeded without the boundary, as far as permissions tell.
    Allow,
    /// The call fails without Ringfence too.
    Refuse,
}
