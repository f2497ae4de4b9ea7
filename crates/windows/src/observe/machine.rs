//! What is asked of this machine, not of its files: names, accounts, volumes, folders with a meaning, policy, ports.
//!
//! Changes nothing. Invariant: a question that the system does not answer is an error, or is in the facts as the case
//! that allows less.

use std::ffi::OsStr;
use std::os::windows::io::AsHandle as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ringfence_backend::call::CallFailure;
use ringfence_nt::token::GroupState;
use ringfence_nt::{Sid, WriteClass};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{
    AccessControl, Administrator, Capability, ExcludedPorts, Filtering, FirewallPolicy, Installed,
    LiveSession, LocalAccount, Machine, Membership, Person, PlaceName, Ports, Record, Volume,
    VolumeKind,
};
use ringfence_plan::windows::sids::AccountNames;
use ringfence_plan::windows::step::PortRange;
use windows_sys::Win32::UI::Shell::{
    FOLDERID_Contacts, FOLDERID_Desktop, FOLDERID_Documents, FOLDERID_Downloads,
    FOLDERID_Favorites, FOLDERID_Links, FOLDERID_LocalAppData, FOLDERID_Music, FOLDERID_Pictures,
    FOLDERID_Profile, FOLDERID_ProgramData, FOLDERID_ProgramFilesX64, FOLDERID_ProgramFilesX86,
    FOLDERID_Public, FOLDERID_RoamingAppData, FOLDERID_SavedGames, FOLDERID_SavedSearches,
    FOLDERID_SkyDrive, FOLDERID_UserProfiles, FOLDERID_Videos, FOLDERID_Windows,
};
use windows_sys::core::GUID;

use super::disk::{Disk, failure};
use super::look::{ListedKind, Look as _};
use super::tools::Search;
use super::{Surroundings, ports};
use crate::sys::registry::{self, Hive};
use crate::sys::token::AccessToken;
use crate::sys::{file, machine as system, volume};

/// What the caller knows that the machine does not tell.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Directories of tools that the person has agreed to.
    pub agreed: Vec<WindowsPath>,
    /// The machine's record of this person, where set-up has left one.
    pub record: Option<Record>,
    /// Capability SIDs that have been given out.
    pub capabilities: Vec<Capability>,
    /// Sessions that are alive.
    pub sessions: Vec<LiveSession>,
    /// The ports as set-up found them; without it the machine is asked, which starts a program.
    pub ports: Option<Ports>,
    /// What was measured of the second pass.
    pub write_class: Option<WriteClass>,
}

/// Why the machine could not be examined.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A call failed.
    #[error("a call to the system failed")]
    Call(#[from] CallFailure),
    /// The person has no such folder, or it is on no drive.
    #[error("your {0} is on no drive of this machine")]
    Folder(&'static str),
    /// The token names an account that the system does not know.
    #[error("the system knows no name for your account {0}")]
    Nameless(Sid),
    /// The system does not tell the SID of its accounts.
    #[error("the system does not tell the SID of the machine `{0}`")]
    NoMachineSid(String),
}

/// The SID of the person whose process this is.
///
/// # Errors
/// [`MachineError::Call`].
pub fn person() -> Result<Sid, MachineError> {
    let token = AccessToken::of_this_process().map_err(failure)?;
    Ok(token.user().map_err(failure)?)
}

/// The person's Ringfence directory: `%LOCALAPPDATA%\Ringfence`.
///
/// # Errors
/// [`MachineError::Folder`].
pub fn state_directory() -> Result<WindowsPath, MachineError> {
    folder(&FOLDERID_LocalAppData)
        .and_then(|path| path.join("Ringfence").ok())
        .ok_or(MachineError::Folder("AppData\\Local"))
}

/// `%ProgramData%`
///
/// # Errors
/// [`MachineError::Folder`].
pub fn program_data() -> Result<WindowsPath, MachineError> {
    folder(&FOLDERID_ProgramData).ok_or(MachineError::Folder("ProgramData"))
}

/// Asks this machine.
///
/// # Errors
/// [`MachineError`].
pub fn surroundings(known: Known) -> Result<Surroundings, MachineError> {
    let token = AccessToken::of_this_process().map_err(failure)?;
    let sid = token.user().map_err(failure)?;
    let profile = folder(&FOLDERID_Profile).ok_or(MachineError::Folder("profile"))?;
    let windows = folder(&FOLDERID_Windows);
    let program_files = folder(&FOLDERID_ProgramFilesX64);
    let places = places(&profile);
    let search = Search {
        path: std::env::var("PATH")
            .unwrap_or_default()
            .split(';')
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect(),
        agreed: known.agreed,
        rustup_home: std::env::var("RUSTUP_HOME")
            .ok()
            .and_then(|path| WindowsPath::parse(&path).ok()),
        windows,
        program_files: program_files.clone(),
    };
    Ok(Surroundings {
        machine: machine()?,
        person: person_of(&token, sid, profile.clone())?,
        volumes: volumes()?,
        places,
        installed: installed(sid, known.record)?,
        write_class: known.write_class,
        firewall: firewall()?,
        // The record of the last audit tells it, which is the caller's to know.
        filtering: Filtering::default(),
        ports: known.ports.unwrap_or_else(observe_ports),
        state: state_directory()?,
        git_global: git_files(&profile, program_files.as_ref()),
        search,
        capabilities: known.capabilities,
        sessions: known.sessions,
    })
}

fn machine() -> Result<Machine, MachineError> {
    const JOINED: &str = r"SYSTEM\CurrentControlSet\Control\CloudDomainJoin\JoinInfo";
    const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
    let name = system::computer_name().map_err(failure)?;
    let sid = system::sid_of(&name)
        .map_err(failure)?
        .ok_or_else(|| MachineError::NoMachineSid(name.clone()))?;
    let build = registry::text(Hive::Machine, VERSION, "CurrentBuildNumber").map_err(failure)?;
    let joined = registry::keys(Hive::Machine, JOINED).map_err(failure)?;
    let membership = match system::domain().map_err(failure)? {
        Some(name) => Membership::Domain { name },
        None if joined.is_empty() => Membership::Workgroup,
        None => Membership::Cloud,
    };
    Ok(Machine {
        name,
        sid,
        build: build.and_then(|build| build.parse().ok()).unwrap_or(0),
        language: system::language(),
        membership,
    })
}

fn person_of(token: &AccessToken, sid: Sid, profile: WindowsPath) -> Result<Person, MachineError> {
    let account = system::name_of(sid)
        .map_err(failure)?
        .ok_or(MachineError::Nameless(sid))?;
    let groups = token.groups().map_err(failure)?;
    let administrators = groups
        .iter()
        .find(|group| group.sid == Sid::ADMINISTRATORS)
        .map(|group| group.state);
    Ok(Person {
        sid,
        name: account.name,
        domain: account.domain,
        administrator: match administrators {
            None => Administrator::No,
            Some(GroupState::DenyOnly) => Administrator::Consent,
            Some(GroupState::Enabled) => Administrator::Elevated,
        },
        groups: groups
            .into_iter()
            .filter(|group| group.state == GroupState::Enabled)
            .map(|group| group.sid)
            .collect(),
        profile,
        git_identity: None,
    })
}

/// A known folder, where it is on a drive.
fn folder(id: &GUID) -> Option<WindowsPath> {
    WindowsPath::parse(system::known_folder(id)?.to_str()?).ok()
}

/// Every place that Windows or a profile gives a meaning: where set-up puts nothing but what is recorded.
///
/// # Errors
/// [`MachineError::Folder`].
pub fn meaningful_places() -> Result<Vec<WindowsPath>, MachineError> {
    let profile = folder(&FOLDERID_Profile).ok_or(MachineError::Folder("profile"))?;
    let mut places: Vec<_> = places(&profile).into_iter().map(|(_, path)| path).collect();
    places.sort();
    places.dedup();
    Ok(places)
}

fn places(profile: &WindowsPath) -> Vec<(PlaceName, WindowsPath)> {
    use PlaceName::{
        AppData, KnownFolder, LocalAppData, OneDrive, Profile, ProgramData, ProgramFiles, Public,
        RoamingAppData, Temp, Users, Windows, WindowsApps,
    };
    let mut places: Vec<(PlaceName, WindowsPath)> = volume::letters()
        .into_iter()
        .filter(|letter| volume::drive_type(*letter) != volume::DriveType::Network)
        .filter_map(|letter| WindowsPath::parse(&format!("{letter}:\\")).ok())
        .map(|root| (PlaceName::DriveRoot, root))
        .collect();
    let named = [
        (Users, &FOLDERID_UserProfiles),
        (Public, &FOLDERID_Public),
        (LocalAppData, &FOLDERID_LocalAppData),
        (RoamingAppData, &FOLDERID_RoamingAppData),
        (Windows, &FOLDERID_Windows),
        (ProgramFiles, &FOLDERID_ProgramFilesX64),
        (ProgramFiles, &FOLDERID_ProgramFilesX86),
        (ProgramData, &FOLDERID_ProgramData),
        (OneDrive, &FOLDERID_SkyDrive),
        (KnownFolder, &FOLDERID_Desktop),
        (KnownFolder, &FOLDERID_Documents),
        (KnownFolder, &FOLDERID_Downloads),
        (KnownFolder, &FOLDERID_Music),
        (KnownFolder, &FOLDERID_Pictures),
        (KnownFolder, &FOLDERID_Videos),
        (KnownFolder, &FOLDERID_Contacts),
        (KnownFolder, &FOLDERID_Favorites),
        (KnownFolder, &FOLDERID_Links),
        (KnownFolder, &FOLDERID_SavedGames),
        (KnownFolder, &FOLDERID_SavedSearches),
    ];
    for (name, id) in named {
        let Some(path) = folder(id) else { continue };
        match name {
            Users => {
                let listed = Disk.list(&path).ok().flatten().unwrap_or_default();
                places.extend(
                    listed
                        .into_iter()
                        .filter(|one| one.kind == ListedKind::Directory)
                        .filter_map(|one| path.join_observed(&one.name).ok())
                        .map(|path| (Profile, path)),
                );
            }
            ProgramFiles => {
                if let Ok(apps) = path.join("WindowsApps") {
                    places.push((WindowsApps, apps));
                }
            }
            _ => {}
        }
        // A folder that was turned back onto the profile is the profile.
        if name != KnownFolder || path != *profile {
            places.push((name, path));
        }
    }
    places.push((Profile, profile.clone()));
    if let Ok(data) = profile.join("AppData") {
        places.push((AppData, data));
    }
    for name in ["TEMP", "TMP"] {
        if let Some(path) = std::env::var(name)
            .ok()
            .and_then(|path| WindowsPath::parse(&path).ok())
        {
            places.push((Temp, path));
        }
    }
    places
}

fn installed(person: Sid, record: Option<Record>) -> Result<Installed, MachineError> {
    let names = AccountNames::of(person);
    let account = |name: &str| -> Result<Option<LocalAccount>, MachineError> {
        let sid = system::sid_of(name).map_err(failure)?;
        Ok(sid.map(|sid| LocalAccount {
            name: name.to_owned(),
            sid,
        }))
    };
    Ok(Installed {
        offline: account(&names.offline)?,
        online: account(&names.online)?,
        group: account(&names.group)?,
        record,
        others: Vec::new(),
    })
}

/// The volumes by their drives, with the directories that they are mounted at too.
fn volumes() -> Result<Vec<Volume>, MachineError> {
    let mounted = volume::mount_points().map_err(failure)?;
    let mut volumes = Vec::new();
    for letter in volume::letters() {
        let Ok(root) = WindowsPath::parse(&format!("{letter}:\\")) else {
            continue;
        };
        if let Some(volume) = volume_of(letter, &root, &mounted)? {
            volumes.push(volume);
        }
    }
    let with_letters: Vec<String> = volumes
        .iter()
        .flat_map(|volume| volume.mount_points.iter().map(ToString::to_string))
        .collect();
    for points in mounted {
        let is_known = points
            .iter()
            .any(|point| with_letters.iter().any(|known| known == point));
        let Some(first) = points
            .iter()
            .find_map(|point| WindowsPath::parse(point).ok())
        else {
            continue;
        };
        if !is_known && let Some(volume) = at(&first, &points, VolumeKind::Fixed)? {
            volumes.push(volume);
        }
    }
    Ok(volumes)
}

fn volume_of(
    letter: char,
    root: &WindowsPath,
    mounted: &[Vec<String>],
) -> Result<Option<Volume>, MachineError> {
    let own = vec![format!("{letter}:\\")];
    let unread = |kind| {
        Some(Volume {
            mount_points: vec![root.clone()],
            serial: 0,
            file_system: String::new(),
            access_control: AccessControl::None,
            kind,
        })
    };
    if volume::drive_type(letter) == volume::DriveType::Network {
        // A share that does not answer must not hold the harness up: it is no root anyway.
        return Ok(unread(VolumeKind::Network));
    }
    let device = volume::device(letter).map_err(failure)?;
    if let Some(target) = device.strip_prefix("\\??\\") {
        let target = target.to_owned();
        return Ok(unread(VolumeKind::Substitute { target }));
    }
    let kind = match volume::drive_type(letter) {
        volume::DriveType::Removable => VolumeKind::Removable,
        volume::DriveType::Fixed | volume::DriveType::Network | volume::DriveType::Other => {
            VolumeKind::Fixed
        }
    };
    let points = mounted
        .iter()
        .find(|points| points.contains(&format!("{letter}:\\")))
        .unwrap_or(&own);
    at(root, points, kind)
}

/// The volume whose root is at `root`; `None` for a drive with nothing in it.
fn at(
    root: &WindowsPath,
    points: &[String],
    kind: VolumeKind,
) -> Result<Option<Volume>, MachineError> {
    let followed = root.to_string();
    let Some(handle) = file::open_followed(&followed).map_err(failure)? else {
        return Ok(None);
    };
    let told = volume::information(handle.as_handle()).map_err(failure)?;
    Ok(Some(Volume {
        mount_points: points
            .iter()
            .filter_map(|point| WindowsPath::parse(point).ok())
            .collect(),
        serial: file::id(handle.as_handle()).map_err(failure)?.volume,
        file_system: told.file_system,
        access_control: if told.keeps_lists {
            AccessControl::Kept
        } else {
            AccessControl::None
        },
        kind,
    }))
}

/// Whether group policy takes the effect from local firewall rules, in any profile.
///
/// Source: [MS-FASP] 2.2.2 `AllowLocalPolicyMerge`, `DoNotAllowExceptions`.
fn firewall() -> Result<FirewallPolicy, MachineError> {
    const POLICY: &str = r"SOFTWARE\Policies\Microsoft\WindowsFirewall";
    let mut found = FirewallPolicy::LocalRules;
    for profile in [
        "DomainProfile",
        "StandardProfile",
        "PrivateProfile",
        "PublicProfile",
    ] {
        let key = format!("{POLICY}\\{profile}");
        let value = |name| registry::number(Hive::Machine, &key, name).map_err(failure);
        if value("AllowLocalPolicyMerge")? == Some(0) {
            return Ok(FirewallPolicy::GroupPolicy);
        }
        if value("DoNotAllowExceptions")? == Some(1) {
            found = FirewallPolicy::InboundBlocked;
        }
    }
    Ok(found)
}

/// The ports as the system tells them now: two questions to `netsh`, so whoever needs one asks that one.
#[must_use]
pub fn observe_ports() -> Ports {
    Ports {
        dynamic: observe_dynamic_ports(),
        excluded: observe_excluded_ports(),
    }
}

/// The TCP ports that the system gives out by itself; starts `netsh`.
#[must_use]
pub fn observe_dynamic_ports() -> PortRange {
    ask_netsh(&["int", "ipv4", "show", "dynamicport", "tcp"])
        .as_deref()
        .and_then(ports::dynamic)
        .unwrap_or(ports::DEFAULT_DYNAMIC)
}

/// The TCP ports that nobody may bind; starts `netsh`.
#[must_use]
pub fn observe_excluded_ports() -> Vec<ExcludedPorts> {
    ask_netsh(&["int", "ipv4", "show", "excludedportrange", "protocol=tcp"])
        .as_deref()
        .map(ports::excluded)
        .unwrap_or_default()
}

fn ask_netsh(arguments: &[&str]) -> Option<String> {
    let program = Path::new(&system::system_directory().ok()?).join("netsh.exe");
    let answer = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// Git's configuration files that hold for every repository, the system's first.
fn git_files(profile: &WindowsPath, program_files: Option<&WindowsPath>) -> Vec<WindowsPath> {
    let data = folder(&FOLDERID_ProgramData);
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .as_deref()
        .and_then(OsStr::to_str)
        .and_then(|path| WindowsPath::parse(path).ok())
        .or_else(|| profile.join(".config").ok());
    let files = [
        (program_files, "Git/etc/gitconfig"),
        (data.as_ref(), "Git/config"),
        (user.as_ref(), "git/config"),
        (Some(profile), ".gitconfig"),
    ];
    files
        .into_iter()
        .filter_map(|(base, name)| base?.join_name(name).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_this_person_can_be_told() {
        let surroundings = surroundings(Known::default()).unwrap();
        assert!(!surroundings.machine.name.is_empty());
        assert_eq!(surroundings.person.sid, person().unwrap());
        assert!(
            surroundings
                .places
                .iter()
                .any(|(name, _)| *name == PlaceName::ProgramData)
        );
        let system = WindowsPath::parse("C:\\").unwrap();
        let volume = surroundings
            .volumes
            .iter()
            .find(|volume| volume.mount_points.contains(&system));
        assert_eq!(volume.map(|volume| &volume.kind), Some(&VolumeKind::Fixed));
        assert_eq!(surroundings.installed.offline, None);
        assert!(surroundings.ports.dynamic.first < surroundings.ports.dynamic.last);
    }
}
