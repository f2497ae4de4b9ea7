//! What sessions were given, and which are alive.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use ringfence_nt::Sid;

use crate::windows::path::WindowsPath;
use crate::windows::step::FileId;

/// A capability SID that has been given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The SID.
    pub sid: Sid,
    /// The root it was made for.
    pub root: FileId,
    /// Where that root was then.
    pub path: WindowsPath,
    /// Whether that object is still there.
    pub presence: Presence,
}

/// Whether an object is still where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It is.
    Present,
    /// Its volume is not mounted.
    VolumeAbsent,
    /// The volume is mounted and the object is gone, or its name leads to another object.
    Gone,
}

/// A session that is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// Its name: `pid-` and the process of its harness.
    pub id: String,
    /// Its roots, and the hash of the file policy that each is under.
    pub roots: Vec<LiveRoot>,
    /// What it must not read outside its roots.
    #[serde(default)]
    pub denied_read: Vec<WindowsPath>,
}

/// A root that a live session uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRoot {
    /// The root.
    pub root: FileId,
    /// Where it is; roots above and below it are known by this.
    #[serde(default)]
    pub path: Option<WindowsPath>,
    /// The hash of its file policy.
    pub policy: String,
}
