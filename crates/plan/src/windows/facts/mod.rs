//! Facts of a Windows machine: everything that a plan depends on, and nothing else.
//!
//! Gathered by the executor, stored as JSON for golden tests and `ringfence plan --host-facts`. Paths are final paths
//! of opened handles unless the field says otherwise; which object is meant is told by its [`FileId`](crate::windows::step::FileId).
//!
//! Invariant: a fact states what was seen; no field holds a decision.

mod files;
mod machine;
mod network;
mod roots;
mod sessions;

use serde::{Deserialize, Serialize};

use ringfence_nt::WriteClass;
use ringfence_nt::fs::LinkRule;
use ringfence_policy::AbsolutePath;
use ringfence_policy::layers::Context;
use ringfence_policy::path::PathError;
use ringfence_policy::secrets::Platform;

use crate::layout::{GitReference, HiddenFact};
use crate::windows::path::WindowsPath;
use crate::windows::step::AccountSids;

pub use files::{
    AccessControl, Case, ObjectFact, Place, PlaceName, Reparse, Residency, Volume, VolumeKind,
};
pub use machine::{
    Administrator, GitIdentity, Installed, LocalAccount, Machine, Marker, Membership, Person,
    Record,
};
pub use network::{
    CopiedToken, Copies, ExcludedBy, ExcludedPorts, Filtering, FirewallPolicy, Ports,
};
pub use roots::{Consent, Elsewhere, Reached, Shell, ToolDirectory, ToolFound, WindowsRoot};
pub use sessions::{Capability, LiveRoot, LiveSession, Presence};

/// The facts of one Windows host, for one person and one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsFacts {
    /// The machine.
    pub machine: Machine,
    /// Who asks.
    pub person: Person,
    /// Mounted volumes, and drive letters that are none.
    pub volumes: Vec<Volume>,
    /// Directories that Windows or a person's profile gives a meaning, for the refuse list.
    pub places: Vec<Place>,
    /// What an earlier set-up has left for this person.
    pub installed: Installed,
    /// Which rights the second pass of a write-restricted token covers, measured on this machine; `None` before the
    /// first runner has run.
    pub write_class: Option<WriteClass>,
    /// What a further name of a file asks for, measured on this machine; `None` before an audit could try it.
    #[serde(default)]
    pub links: Option<LinkRule>,
    /// Whether rules of this machine's own firewall policy take effect.
    pub firewall: FirewallPolicy,
    /// What was seen of copies of the Offline account's token at its network filters.
    #[serde(default)]
    pub filtering: Filtering,
    /// TCP ports.
    pub ports: Ports,
    /// The person's Ringfence directory; what of it does not exist yet is appended as it was named.
    pub state: WindowsPath,
    /// The workspace, then the policy's writable roots in its order.
    pub roots: Vec<WindowsRoot>,
    /// What the policy's hidden paths and patterns match.
    pub hidden: Vec<HiddenFact<WindowsPath>>,
    /// What the person's SSH configuration names, its `Include`s too: keys, certificates, control sockets.
    pub ssh_names: Vec<WindowsPath>,
    /// Paths that git configuration runs, reads as configuration, or takes hooks from, inside a root.
    pub git_references: Vec<GitReference<WindowsPath>>,
    /// Directories on PATH, in its order, then those that shims in them lead to.
    pub tools: Vec<ToolDirectory>,
    /// Shells, resolved to executables.
    pub shells: Vec<Shell>,
    /// Places in which more than the person may write: PATH, `%TEMP%`, `%PUBLIC%`, drive roots.
    pub shared_places: Vec<WindowsPath>,
    /// Every object that is named above and exists, with its descriptor, every directory above a root, and the private
    /// homes of this person.
    pub objects: Vec<ObjectFact>,
    /// Capability SIDs that have been given out and not been collected.
    pub capabilities: Vec<Capability>,
    /// Sessions that are alive.
    pub sessions: Vec<LiveSession>,
}

impl WindowsFacts {
    /// What a policy for this host is resolved against, on any system.
    ///
    /// # Errors
    /// [`PathError`] where the facts name no root, or a path that this system can't spell.
    pub fn policy_context(&self) -> Result<Context, PathError> {
        let workspace = self.roots.first().map(|root| root.named.as_str());
        Ok(Context {
            home: AbsolutePath::of_windows(&self.person.profile.to_string())?,
            workspace: AbsolutePath::of_windows(workspace.unwrap_or_default())?,
            state: AbsolutePath::of_windows(&self.state.to_string())?,
            platform: Platform::Windows,
        })
    }

    /// The SIDs of the person's accounts, where set-up has made all of them.
    #[must_use]
    pub fn accounts(&self) -> Option<AccountSids> {
        let Installed {
            offline: Some(offline),
            online: Some(online),
            group: Some(group),
            ..
        } = &self.installed
        else {
            return None;
        };
        Some(AccountSids {
            offline: offline.sid,
            online: online.sid,
            group: group.sid,
        })
    }

    /// The places with this meaning.
    pub fn places(&self, name: PlaceName) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.name == name)
    }

    /// The volume on which `path` lies: that of its longest mount point.
    #[must_use]
    pub fn volume_of(&self, path: &WindowsPath) -> Option<&Volume> {
        self.volumes
            .iter()
            .flat_map(|volume| volume.mount_points.iter().map(move |point| (point, volume)))
            .filter(|(point, _)| path.starts_with(point))
            .max_by_key(|(point, _)| point.components().len())
            .map(|(_, volume)| volume)
    }
}
