//! What may never be a writable root, and what may never get an entry that is inherited.
//!
//! Judges the final path of the opened handle, component by component and by file id: another spelling of a place
//! (8.3 names, per-directory case, a junction, a SUBST drive) is the same object. The letters are a second net.
//! Decides nothing about single files and entries without inheritance, but for [`check_passage`].
//!
//! Invariant: an object that is a place of the list, or lies below one that is refused whole, is refused.

use std::fmt;

use ringfence_nt::AccessMask;

use crate::layout::Entry;
use crate::plan::{COPY, COPY_OR_NARROWER, MAKE_IT};
use crate::windows::error::PlanError;
use crate::windows::facts::{
    AccessControl, Elsewhere, ObjectFact, Place, PlaceName, Reached, VolumeKind, WindowsFacts,
    WindowsRoot,
};
use crate::windows::objects::Objects;
use crate::windows::path::{WindowsPath, same_name};
use crate::windows::reach::Reach;

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is, or what it lies in.
    pub reason: Reason,
    /// The place that it is or lies in, escaped; empty where the object itself is meant.
    pub place: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason.text())?;
        if !self.place.is_empty() {
            write!(formatter, " (`{}`)", self.place)?;
        }
        Ok(())
    }
}

/// What makes an object unfit to be a root, or to have entries that are inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing is there.
    Absent,
    /// It is a file.
    NotADirectory,
    /// It is a drive's root.
    DriveRoot,
    /// It is `C:\Users`.
    Users,
    /// It is a profile.
    Profile,
    /// It lies in another person's profile.
    OthersProfile,
    /// It is a known folder: Desktop, Documents, …
    KnownFolder,
    /// It is in `AppData`.
    AppData,
    /// It is in `%TEMP%`.
    Temp,
    /// It is in `Program Files`.
    ProgramFiles,
    /// It is in `WindowsApps`.
    WindowsApps,
    /// It is in `ProgramData`.
    ProgramData,
    /// It is in `Windows`.
    Windows,
    /// It is or lies in a directory called `.ssh`.
    Ssh,
    /// It holds a `.ssh`: somebody's home, or a copy of one.
    HoldsSsh,
    /// The SSH configuration names it, or what it lies in.
    SshNamed,
    /// It lies in Ringfence's own state.
    State,
    /// It holds Ringfence's own state.
    HoldsState,
    /// Its volume keeps no access control lists.
    NoAccessControl,
    /// It is on another machine.
    Network,
    /// It is reached by a SUBST drive.
    Substitute,
    /// It is in a WSL distribution.
    Wsl,
    /// It is reached by a device or volume path.
    Device,
    /// It has no DACL at all: everybody may do everything to it.
    NullDacl,
    /// The person may not change its DACL.
    NoWriteDac,
    /// Two mounted volumes have its volume's serial.
    AmbiguousVolume,
    /// A link leads to it that another root's target could have made.
    LinkThroughRoot,
    /// Its own name is a link: a target may have made it one while it was empty.
    Link,
}

impl Reason {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Absent => "it does not exist",
            Self::NotADirectory => "it is not a directory",
            Self::DriveRoot => "it is a drive's root",
            Self::Users => "it is the directory of all profiles",
            Self::Profile => "it is a person's profile",
            Self::OthersProfile => "it lies in another person's profile",
            Self::KnownFolder => "it is a folder that Windows knows by name",
            Self::AppData => "it is AppData, or lies in it",
            Self::Temp => "it is the directory for temporary files, or lies in it",
            Self::ProgramFiles => "it is Program Files, or lies in it",
            Self::WindowsApps => "it is WindowsApps, or lies in it",
            Self::ProgramData => "it is ProgramData, or lies in it",
            Self::Windows => "it is the Windows directory, or lies in it",
            Self::Ssh => "it is a .ssh directory, or lies in one",
            Self::HoldsSsh => "it holds a .ssh, as a person's home does",
            Self::SshNamed => "the SSH configuration names it",
            Self::State => "it lies in Ringfence's own state",
            Self::HoldsState => "it holds Ringfence's own state",
            Self::NoAccessControl => "its volume keeps no access control lists",
            Self::Network => "it is on another machine",
            Self::Substitute => "its drive stands for a directory of another drive",
            Self::Wsl => "it is in a WSL distribution",
            Self::Device => "it is reached by a device path",
            Self::NullDacl => "it has no access control list: everybody may do everything to it",
            Self::NoWriteDac => "you may not change who has access to it",
            Self::AmbiguousVolume => "two mounted volumes have the same serial number",
            Self::LinkThroughRoot => "a link leads to it by way of a writable root",
            Self::Link => "it is a link, and commands can make an empty root one",
        }
    }

    /// What to do instead.
    #[must_use]
    pub const fn alternative(self) -> &'static str {
        match self {
            Self::Absent => "make the directory, or correct its name",
            Self::NotADirectory => "name the directory that holds it",
            Self::DriveRoot
            | Self::Users
            | Self::Profile
            | Self::KnownFolder
            | Self::OthersProfile => {
                "name a directory for the work alone, C:\\Users\\you\\src\\project for one"
            }
            Self::AppData
            | Self::Temp
            | Self::ProgramFiles
            | Self::WindowsApps
            | Self::ProgramData
            | Self::Windows
            | Self::State
            | Self::HoldsState => {
                "name a directory for the work alone outside it, and work on a copy there"
            }
            Self::Ssh | Self::HoldsSsh | Self::SshNamed => {
                "keep keys out of projects: OpenSSH refuses keys that others may read"
            }
            Self::NoAccessControl => {
                "name a directory on an NTFS or ReFS volume, or convert this one: `convert X: /fs:ntfs`"
            }
            Self::Network => "work on a copy on a disk of this machine",
            Self::Substitute => "name the directory itself, without the SUBST drive",
            Self::Wsl => "run Ringfence for Linux inside the distribution",
            Self::Device => "name it by its drive letter",
            Self::NullDacl => {
                "give it a list first: `icacls DIRECTORY /reset`, which inherits from its parent"
            }
            Self::NoWriteDac => {
                "use a directory that you own, or let an administrator grant it: `ringfence setup repair DIRECTORY`"
            }
            Self::AmbiguousVolume => "unmount the copy, or give it a new serial number",
            Self::LinkThroughRoot | Self::Link => {
                "if the directory that it leads to is what you mean, name that; else remove the link: `rmdir LINK`"
            }
        }
    }
}

impl Reason {
    /// What to do where a grant would have made it writable.
    #[must_use]
    pub const fn instead(self) -> &'static str {
        match self {
            Self::Absent => MAKE_IT,
            Self::DriveRoot | Self::Profile | Self::KnownFolder => COPY_OR_NARROWER,
            Self::Users
            | Self::OthersProfile
            | Self::AppData
            | Self::Temp
            | Self::ProgramFiles
            | Self::WindowsApps
            | Self::ProgramData
            | Self::Windows
            | Self::Ssh
            | Self::HoldsSsh
            | Self::SshNamed
            | Self::State
            | Self::HoldsState
            | Self::NoAccessControl => COPY,
            Self::NotADirectory
            | Self::Network
            | Self::Substitute
            | Self::Wsl
            | Self::Device
            | Self::NullDacl
            | Self::NoWriteDac
            | Self::AmbiguousVolume
            | Self::LinkThroughRoot
            | Self::Link => self.alternative(),
        }
    }
}

/// How far a place is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Itself,
    Whole,
}

/// What a place's name refuses; `None` for places that only warn.
fn refused(place: &Place, person_profile: &WindowsPath) -> Option<(Reason, Extent)> {
    use Extent::{Itself, Whole};
    let refused = match place.name {
        PlaceName::DriveRoot => (Reason::DriveRoot, Itself),
        PlaceName::Users => (Reason::Users, Itself),
        PlaceName::Public => (Reason::Profile, Itself),
        PlaceName::Profile if place.path == *person_profile => (Reason::Profile, Itself),
        PlaceName::Profile => (Reason::OthersProfile, Whole),
        PlaceName::KnownFolder => (Reason::KnownFolder, Itself),
        PlaceName::AppData | PlaceName::LocalAppData | PlaceName::RoamingAppData => {
            (Reason::AppData, Whole)
        }
        PlaceName::Temp => (Reason::Temp, Whole),
        PlaceName::Windows => (Reason::Windows, Whole),
        PlaceName::ProgramFiles => (Reason::ProgramFiles, Whole),
        PlaceName::WindowsApps => (Reason::WindowsApps, Whole),
        PlaceName::ProgramData => (Reason::ProgramData, Whole),
        PlaceName::OneDrive => return None,
    };
    Some(refused)
}

/// The refuse list on one machine.
#[derive(Debug)]
pub struct RefuseList<'a> {
    facts: &'a WindowsFacts,
    objects: &'a Objects<'a>,
}

impl<'a> RefuseList<'a> {
    /// The list of the machine of `facts`.
    #[must_use]
    pub const fn new(facts: &'a WindowsFacts, objects: &'a Objects<'a>) -> Self {
        Self { facts, objects }
    }

    /// Whether `path` may be a root or get entries that are inherited; the first thing that speaks against it.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] where the facts do not hold `path` or a directory above it.
    pub fn check(&self, path: &WindowsPath) -> Result<Option<Refusal>, PlanError> {
        if let Some(refusal) = self.by_name(path) {
            return Ok(Some(refusal));
        }
        let refusal = self.by_object(path, |_| true)?;
        if refusal.is_none() && self.facts.state.is_below(path) {
            return Ok(Some(Refusal {
                reason: Reason::HoldsState,
                place: self.facts.state.printable(),
            }));
        }
        Ok(refusal)
    }

    /// Whether a directory of tools that the person has agreed to may get an inherited read entry: as
    /// [`RefuseList::check`], but below `AppData`, where per-person tools live, it may.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`], as above.
    pub fn check_tool(&self, path: &WindowsPath) -> Result<Option<Refusal>, PlanError> {
        if let Some(refusal) = self.by_name(path) {
            return Ok(Some(refusal));
        }
        let own_appdata = |place: &Place| {
            let is_appdata = matches!(
                place.name,
                PlaceName::AppData | PlaceName::LocalAppData | PlaceName::RoamingAppData
            );
            is_appdata && path.is_below(&place.path)
        };
        self.by_object(path, |place| !own_appdata(place))
    }

    /// Whether a directory above a root may get an entry of its own for passing through: not a drive's root, not the
    /// directory of all profiles, and nothing that is refused whole but `AppData`.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`], as above.
    pub fn check_passage(&self, path: &WindowsPath) -> Result<Option<Refusal>, PlanError> {
        self.by_object(path, |place| match place.name {
            PlaceName::Profile => place.path != self.facts.person.profile,
            PlaceName::Public
            | PlaceName::KnownFolder
            | PlaceName::AppData
            | PlaceName::LocalAppData
            | PlaceName::RoamingAppData
            | PlaceName::OneDrive => false,
            PlaceName::DriveRoot
            | PlaceName::Users
            | PlaceName::Temp
            | PlaceName::Windows
            | PlaceName::ProgramFiles
            | PlaceName::WindowsApps
            | PlaceName::ProgramData => true,
        })
    }

    /// Whether a file is a key that OpenSSH looks at: it refuses one with an entry for a group.
    #[must_use]
    pub fn check_key(&self, path: &WindowsPath) -> Option<Refusal> {
        self.by_name(path)
    }

    /// What the letters alone refuse.
    fn by_name(&self, path: &WindowsPath) -> Option<Refusal> {
        let refusal = |reason, place: &WindowsPath| {
            Some(Refusal {
                reason,
                place: place.printable(),
            })
        };
        if path.has_component(".ssh") {
            return refusal(Reason::Ssh, path);
        }
        if path.starts_with(&self.facts.state) {
            return refusal(Reason::State, &self.facts.state);
        }
        let named = self.facts.ssh_names.iter();
        let mut above = named.filter(|named| path.starts_with(named));
        above
            .next()
            .and_then(|named| refusal(Reason::SshNamed, named))
    }

    /// What the identities of `path` and of the directories above it refuse, among the places that `counts` takes.
    fn by_object(
        &self,
        path: &WindowsPath,
        counts: impl Fn(&Place) -> bool,
    ) -> Result<Option<Refusal>, PlanError> {
        let profile = &self.facts.person.profile;
        let above = std::iter::once(path.clone()).chain(path.ancestors());
        for (depth, one) in above.enumerate() {
            let id = self.objects.require(&one)?.object.id;
            for place in &self.facts.places {
                if place.id != Some(id) && place.path != one {
                    continue;
                }
                let Some((reason, extent)) = refused(place, profile) else {
                    continue;
                };
                if (depth == 0 || extent == Extent::Whole) && counts(place) {
                    return Ok(Some(Refusal {
                        reason,
                        place: place.path.printable(),
                    }));
                }
            }
            // Nobody has to list every drive's root.
            if depth == 0 && one.is_drive_root() {
                return Ok(Some(bare(Reason::DriveRoot)));
            }
        }
        Ok(None)
    }
}

fn bare(reason: Reason) -> Refusal {
    Refusal {
        reason,
        place: String::new(),
    }
}

/// The object that `root` leads to, if it may be written.
///
/// # Errors
/// [`PlanError::ForbiddenRoot`], typed, with the alternative; [`PlanError::FactsMismatch`].
///
/// # Security
/// The name may come from a project's file, and what it leads to from an earlier command.
pub fn check_root<'a>(
    root: &WindowsRoot,
    list: &RefuseList<'a>,
    reach: &Reach,
) -> Result<&'a ObjectFact, PlanError> {
    let forbid = |refusal: Refusal| PlanError::ForbiddenRoot {
        named: ringfence_policy::escape::escape_windows(&root.named),
        refusal,
    };
    let path = match &root.reached {
        Reached::Absent => return Err(forbid(bare(Reason::Absent))),
        Reached::File => return Err(forbid(bare(Reason::NotADirectory))),
        Reached::Elsewhere { what, .. } => {
            let reason = match what {
                Elsewhere::Network => Reason::Network,
                Elsewhere::Wsl => Reason::Wsl,
                Elsewhere::Device => Reason::Device,
            };
            return Err(forbid(bare(reason)));
        }
        Reached::Directory { path } => path,
    };
    if let Some(reason) = volume_refusal(list.facts, root, path)? {
        return Err(forbid(bare(reason)));
    }
    if let Some(to) = own_link(list, root, path)? {
        return Err(forbid(Refusal {
            reason: Reason::Link,
            place: to.printable(),
        }));
    }
    if let Some(link) = link_through_root(list.facts, root) {
        return Err(forbid(Refusal {
            reason: Reason::LinkThroughRoot,
            place: link.printable(),
        }));
    }
    if let Some(refusal) = list.check(path)? {
        return Err(forbid(refusal));
    }
    if let Some(keys) = keys_in(list.facts, path) {
        return Err(forbid(Refusal {
            reason: Reason::HoldsSsh,
            place: keys.printable(),
        }));
    }
    let fact = list.objects.require(path)?;
    let Some(descriptor) = &fact.descriptor else {
        return Err(forbid(bare(Reason::NoWriteDac)));
    };
    if descriptor.acl().is_none() {
        return Err(forbid(bare(Reason::NullDacl)));
    }
    if !reach
        .of_person(Some(descriptor))
        .contains(AccessMask::WRITE_DAC)
    {
        return Err(forbid(bare(Reason::NoWriteDac)));
    }
    Ok(fact)
}

/// The `.ssh` that stands in `root` itself, be it a link. Those further down are secrets like others.
fn keys_in<'a>(facts: &'a WindowsFacts, root: &WindowsPath) -> Option<&'a WindowsPath> {
    let mut hidden = facts.hidden.iter().filter(|fact| match fact.entry {
        Entry::File | Entry::Directory | Entry::Other | Entry::Symlink { .. } => true,
        Entry::Absent | Entry::AbsentParent { .. } => false,
    });
    hidden
        .find(|fact| {
            let is_ssh = fact.path.name().is_some_and(|name| same_name(name, ".ssh"));
            is_ssh && fact.path.parent().as_ref() == Some(root)
        })
        .map(|fact| &fact.path)
}

/// What speaks against the volume that a root is on, or against the drive that it was named by.
fn volume_refusal(
    facts: &WindowsFacts,
    root: &WindowsRoot,
    path: &WindowsPath,
) -> Result<Option<Reason>, PlanError> {
    let unknown = |path: &str| PlanError::FactsMismatch {
        what: format!("the volume of `{path}`"),
    };
    let volume = facts
        .volume_of(path)
        .ok_or_else(|| unknown(&path.printable()))?;
    let named = WindowsPath::parse(&root.named).ok();
    let named = named.as_ref().and_then(|named| facts.volume_of(named));
    for volume in named.into_iter().chain([volume]) {
        match &volume.kind {
            VolumeKind::Network => return Ok(Some(Reason::Network)),
            VolumeKind::Wsl => return Ok(Some(Reason::Wsl)),
            VolumeKind::Substitute { .. } => return Ok(Some(Reason::Substitute)),
            VolumeKind::Fixed | VolumeKind::Removable => {}
        }
        if volume.access_control == AccessControl::None {
            return Ok(Some(Reason::NoAccessControl));
        }
    }
    let same_serial = facts
        .volumes
        .iter()
        .filter(|other| match other.kind {
            VolumeKind::Fixed | VolumeKind::Removable => other.serial == volume.serial,
            VolumeKind::Network | VolumeKind::Substitute { .. } | VolumeKind::Wsl => false,
        })
        .count();
    Ok((same_serial > 1).then_some(Reason::AmbiguousVolume))
}

/// Where the root leads, if its own name is a link. To add a file to a directory and to make the directory itself a
/// junction are one right: the target of an empty root could choose the next session's root.
fn own_link<'a>(
    list: &RefuseList<'_>,
    root: &WindowsRoot,
    path: &'a WindowsPath,
) -> Result<Option<&'a WindowsPath>, PlanError> {
    let named = WindowsPath::parse(&root.named).ok();
    let is_link = named.is_some_and(|named| {
        // Behind another link, its own place is known by its last name alone.
        let own_name = |path: &WindowsPath| path.name().map(str::to_lowercase);
        let mut links = root.links.iter();
        links.any(|link| {
            *link == named || (own_name(link) == own_name(&named) && !named.is_below(link))
        })
    });
    // The name was followed and something took its place, or it is a link that was not followed.
    let left = list.objects.require(path)?.reparse.is_some();
    Ok((is_link || left).then_some(path))
}

/// A link on the way to `root` that lies in another root, of this policy or an earlier one: that root's target may have
/// made it.
fn link_through_root<'a>(facts: &WindowsFacts, root: &'a WindowsRoot) -> Option<&'a WindowsPath> {
    let earlier = |link: &WindowsPath| {
        let mut given = facts.capabilities.iter();
        given.any(|capability| link.starts_with(&capability.path))
    };
    root.links.iter().find(|link| {
        let in_root = facts.roots.iter().any(|other| match &other.reached {
            Reached::Directory { path } => link.is_below(path),
            Reached::Absent | Reached::File | Reached::Elsewhere { .. } => false,
        });
        in_root || earlier(link)
    })
}
