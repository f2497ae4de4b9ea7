//! Volumes, places with a meaning, and objects with their descriptors.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use ringfence_nt::SecurityDescriptor;

use crate::windows::path::WindowsPath;
use crate::windows::step::{FileId, Object};

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
