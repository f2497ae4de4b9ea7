//! Facts of a Windows machine: everything that a plan depends on, and nothing else.
//!
//! Gathered by the executor, stored as JSON for golden tests and `ringfence plan --host-facts`. Paths are final paths
//! of opened handles unless the field says otherwise; which object is meant is told by its [`FileId`].
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use ringfence_nt::fs::LinkRule;
use ringfence_nt::{SecurityDescriptor, Sid, WriteClass};
use ringfence_policy::AbsolutePath;
use ringfence_policy::layers::Context;
use ringfence_policy::path::PathError;
use ringfence_policy::secrets::Platform;

use crate::layout::{Anchor, GitDirectory, GitReference, HiddenFact};
use crate::windows::path::WindowsPath;
use crate::windows::step::{AccountSids, FileId, Object, PortRange};

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

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// The SID of its account domain: local accounts are its children.
    pub sid: Sid,
    /// The build: 22631, 26100.
    pub build: u32,
    /// The display language of the system: `en-US`, `de-DE`.
    pub language: String,
    /// What it belongs to.
    pub membership: Membership,
}

/// What a machine belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    /// Nothing: a workgroup.
    Workgroup,
    /// A domain.
    Domain {
        /// Its DNS name.
        name: String,
    },
    /// A cloud directory alone.
    Cloud,
}

/// Who asks: the person whose harness runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Their SID.
    pub sid: Sid,
    /// Their account's name, as the system spells it.
    pub name: String,
    /// The machine or domain that the account belongs to.
    pub domain: String,
    /// Enabled groups of their ordinary (filtered) token, well-known ones too.
    pub groups: Vec<Sid>,
    /// Whether they can become administrator.
    pub administrator: Administrator,
    /// Their profile.
    pub profile: WindowsPath,
    /// `user.name` and `user.email` of their git configuration.
    pub git_identity: Option<GitIdentity>,
}

/// Whether a person can become administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Administrator {
    /// They can't: set-up asks for somebody else's consent.
    No,
    /// They can, after a consent prompt; their ordinary token has Administrators deny-only.
    Consent,
    /// The harness runs elevated, or User Account Control is off.
    Elevated,
}

/// Whom commits name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitIdentity {
    /// `user.name`.
    pub name: String,
    /// `user.email`.
    pub email: String,
}

/// A mounted volume, or a drive letter that only looks like one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Where it is mounted: drive roots, and directories that are volume mount points.
    pub mount_points: Vec<WindowsPath>,
    /// The serial of its `FILE_ID_INFO`.
    pub serial: u64,
    /// The file system's name: `NTFS`, `ReFS`, `FAT32`, `exFAT`.
    pub file_system: String,
    /// Whether it keeps access control lists.
    pub access_control: AccessControl,
    /// What it is.
    pub kind: VolumeKind,
}

/// Whether a volume keeps access control lists (`FILE_PERSISTENT_ACLS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessControl {
    /// It does.
    Kept,
    /// It does not: everybody may do everything.
    None,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeKind {
    /// A disk of this machine.
    Fixed,
    /// A disk that may be pulled out.
    Removable,
    /// A share of another machine, by a drive letter.
    Network,
    /// A directory of another volume, by a drive letter (SUBST).
    Substitute {
        /// The directory.
        target: String,
    },
    /// The file system of a WSL distribution.
    Wsl,
}

/// A directory with a meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which meaning.
    pub name: PlaceName,
    /// Its final path.
    pub path: WindowsPath,
    /// The object, where it exists.
    pub id: Option<FileId>,
}

/// The meanings that a directory can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceName {
    /// A drive's root.
    DriveRoot,
    /// `C:\Users`
    Users,
    /// `C:\Users\Public`
    Public,
    /// A person's profile, this one's or another's.
    Profile,
    /// A known folder of a profile: Desktop, Documents, Downloads, …
    KnownFolder,
    /// `AppData`
    AppData,
    /// `AppData\Local`
    LocalAppData,
    /// `AppData\Roaming`
    RoamingAppData,
    /// `%TEMP%`
    Temp,
    /// `C:\Windows`
    Windows,
    /// `C:\Program Files` and `C:\Program Files (x86)`
    ProgramFiles,
    /// `C:\Program Files\WindowsApps`
    WindowsApps,
    /// `C:\ProgramData`
    ProgramData,
    /// A `OneDrive` folder.
    OneDrive,
}

/// What an earlier set-up has left for this person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    /// The Offline user.
    pub offline: Option<LocalAccount>,
    /// The Online user.
    pub online: Option<LocalAccount>,
    /// The group of both.
    pub group: Option<LocalAccount>,
    /// The machine's record of this person.
    pub record: Option<Record>,
    /// Accounts of other people's set-ups on this machine.
    pub others: Vec<LocalAccount>,
}

/// A local user or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAccount {
    /// Its name.
    pub name: String,
    /// Its SID.
    pub sid: Sid,
}

/// The record below `%ProgramData%\Ringfence`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The hash of the machine steps that set-up carried out, as 64 hexadecimal digits.
    pub machine_hash: String,
    /// Whether the last one finished, its marker written last.
    pub marker: Marker,
    /// The proxy's ports that were reserved.
    pub proxy_ports: PortRange,
    /// The person whom it names; a record that names another is not ours.
    pub person: Sid,
}

/// Whether a set-up finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Marker {
    /// The marker is there and names the record.
    Present,
    /// It is missing or names another record: set-up did not finish.
    Missing,
}

/// `LocalPolicyModifyState` of the firewall. Source: learn.microsoft.com `NET_FW_MODIFY_STATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallPolicy {
    /// `NET_FW_MODIFY_STATE_OK`: local rules take effect.
    LocalRules,
    /// `NET_FW_MODIFY_STATE_GP_OVERRIDE`: group policy decides, local rules do nothing.
    GroupPolicy,
    /// `NET_FW_MODIFY_STATE_INBOUND_BLOCKED`: every inbound connection is blocked, whatever rules say.
    InboundBlocked,
}

/// What was seen of copies of the Offline account's token at its network filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filtering {
    /// Where filters name the account; `None` before it was tried on this machine.
    pub named: Option<Copies>,
    /// Where filters permit everybody but the account; `None` before such filters were tried.
    pub complement: Option<Copies>,
    /// Whether an administrator has agreed to filters that can hit others than the account.
    pub complement_consent: Consent,
}

/// Copies that a target can make of its token without any right to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copies {
    /// One in which the account is deny-only (`CreateRestrictedToken` with `SidsToDisable`).
    pub deny_only: CopiedToken,
    /// The anonymous token (`ImpersonateAnonymousToken`).
    pub anonymous: CopiedToken,
}

/// What becomes of a connection that is made with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopiedToken {
    /// It is refused, as the account's own.
    Matched,
    /// It gets out.
    Escapes,
}

/// TCP ports of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The range that the system gives out by itself.
    pub dynamic: PortRange,
    /// Ranges that nobody may bind: Hyper-V's and administered exclusions.
    pub excluded: Vec<ExcludedPorts>,
}

/// Ports that are excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedPorts {
    /// Which.
    pub range: PortRange,
    /// By whom.
    pub by: ExcludedBy,
}

/// Who has excluded a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExcludedBy {
    /// A service, until the next start.
    Service,
    /// An administrator, for good.
    Administrator,
}

/// One directory that the policy names as workspace or writable root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsRoot {
    /// The path as it was named; not resolved, perhaps no drive path.
    pub named: String,
    /// What it leads to.
    pub reached: Reached,
    /// Reparse points and substituted drives that were followed from `named`, by their own places.
    pub links: Vec<WindowsPath>,
    /// The root's top and the top of each repository in it, top first.
    pub anchors: Vec<Anchor<WindowsPath>>,
    /// Git directories without a working tree, found by what they hold.
    #[serde(default)]
    pub bare: Vec<GitDirectory<WindowsPath>>,
    /// Other volumes mounted inside, by their mount points.
    pub mounts: Vec<WindowsPath>,
    /// Files with a name outside this root.
    pub outside_links: Vec<WindowsPath>,
    /// Directories that could not be read: what lies in them is not judged.
    pub unread: Vec<WindowsPath>,
}

/// What the name of a root leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Nothing is there.
    Absent,
    /// A file.
    File,
    /// A directory on a drive.
    Directory {
        /// The final path.
        path: WindowsPath,
    },
    /// Something that is on no drive of this machine.
    Elsewhere {
        /// The final path, as the system tells it.
        path: String,
        /// What it is.
        what: Elsewhere,
    },
}

/// What a path that leads off this machine's drives is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Elsewhere {
    /// A share of another machine, by UNC or by a mapped drive.
    Network,
    /// A WSL distribution.
    Wsl,
    /// A device, or a volume without a drive letter.
    Device,
}

/// A directory that holds programs which commands start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDirectory {
    /// Its final path.
    pub path: WindowsPath,
    /// Why it is needed: the entry of PATH as written, or the shim that leads there.
    pub origin: String,
    /// Whether it is on PATH itself.
    pub found: ToolFound,
    /// Whether the person has agreed that sandboxed commands may read it.
    pub consent: Consent,
}

/// How a tool directory was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolFound {
    /// It is on PATH.
    Path,
    /// A shim on PATH starts programs in it: rustup, nvm, pyenv, Volta, scoop.
    Shim,
}

/// Whether a person has agreed to something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// They have.
    Given,
    /// They have not been asked, or have refused.
    #[default]
    Missing,
}

/// A shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// What it is called: `pwsh`.
    pub name: String,
    /// The executable; an alias of the Store is resolved to what it starts.
    pub path: WindowsPath,
}

/// An object that exists; a reparse point is looked at itself, never followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFact {
    /// Where it was seen, and which one it is.
    #[serde(flatten)]
    pub object: Object,
    /// How many names it has; 1 for a directory.
    #[serde(default = "one")]
    pub links: u32,
    /// What it leads to, where it is a symbolic link, a junction or a mount point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reparse: Option<Reparse>,
    /// How names in it are told apart.
    #[serde(default)]
    pub case: Case,
    /// Whether its data is on this machine.
    #[serde(default)]
    pub residency: Residency,
    /// Its owner and lists, as SDDL; `None` where they can't be read.
    #[serde(with = "crate::windows::sddl")]
    pub descriptor: Option<SecurityDescriptor>,
}

const fn one() -> u32 {
    1
}

/// A reparse point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reparse {
    /// Where it leads, as far as that is a drive path.
    pub target: Option<WindowsPath>,
}

/// How names in a directory are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// Not by case.
    #[default]
    Insensitive,
    /// By case too (`FILE_CS_FLAG_CASE_SENSITIVE_DIR`).
    Sensitive,
}

/// Whether an object's data is on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Residency {
    /// It is.
    #[default]
    Local,
    /// A placeholder of `OneDrive` or another provider: reading it fetches it.
    Placeholder,
}

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
