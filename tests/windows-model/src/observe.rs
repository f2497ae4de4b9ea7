//! Facts of a simulated host, gathered by the Windows executor's own observing, for one person and one policy.
//!
//! Only what is asked of a machine, not of its files, is made up here. Invariant: what is observed is what stands in the
//! simulated file system.

use ringfence_nt::fs::{FileSystem, Node, VolumeId, VolumeName};
use ringfence_nt::{Sid, WriteClass};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{
    self, AccessControl, Administrator, FirewallPolicy, Installed, LocalAccount, Machine,
    Membership, PlaceName, Ports, VolumeKind, WindowsFacts,
};
use ringfence_plan::windows::step::PortRange;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, Policy};
use ringfence_windows::observe::{Search, Surroundings};

use crate::carry::file_id;
use crate::host::{Host, account};
use crate::look::Disk;

/// A person at the machine, with the accounts that set-up made for them.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Their name, and their profile's.
    pub name: &'static str,
    /// Their SID.
    pub sid: Sid,
    /// Their Offline user.
    pub offline: Sid,
    /// Their Online user.
    pub online: Sid,
    /// Their group.
    pub group: Sid,
}

impl Seat {
    /// The person of this name and RID; accounts and group follow it.
    #[must_use]
    pub fn new(name: &'static str, relative: u32) -> Self {
        Self {
            name,
            sid: account(relative),
            offline: account(relative + 10),
            online: account(relative + 20),
            group: account(relative + 30),
        }
    }

    /// A path in their profile.
    #[must_use]
    pub fn path(&self, below: &str) -> String {
        format!("C:\\Users\\{}\\{below}", self.name)
    }

    /// Their profile with `AppData` and Ringfence's directory in it.
    pub fn move_in(&self, host: &mut Host) {
        host.profile(self.name, self.sid);
        for below in [
            "AppData",
            "AppData\\Local",
            "AppData\\Local\\Ringfence",
            "AppData\\Local\\Ringfence\\quarantine",
        ] {
            host.directory(&self.path(below), self.sid);
        }
    }

    /// Their policy for a workspace.
    #[must_use]
    pub fn policy(&self, workspace: &str, text: &str) -> Policy {
        let layer = Layer::from_file(
            LayerKind::User,
            "policy.toml",
            text.as_bytes(),
            Trust::Trusted,
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
        let path = |text: &str| AbsolutePath::of_windows(text).expect("an absolute path");
        let context = Context {
            home: path(&format!("C:\\Users\\{}", self.name)),
            workspace: path(workspace),
            state: path(&self.path("AppData\\Local\\Ringfence")),
            platform: Platform::Windows,
        };
        resolve(&[layer], &context).unwrap_or_else(|error| panic!("{error:?}"))
    }
}

/// What the executor tells of this host: its own observing, on the simulated files.
#[must_use]
pub fn observe(host: &Host, seat: &Seat, policy: &Policy, class: WriteClass) -> WindowsFacts {
    let surroundings = Surroundings {
        write_class: Some(class),
        ..surroundings(&host.fs, seat)
    };
    let facts = ringfence_windows::observe::observe(&mut Disk::new(&host.fs), policy, surroundings)
        .unwrap_or_else(|error| panic!("{error:?}"));
    // What an audit would have measured here.
    WindowsFacts {
        links: Some(host.fs.link_rule),
        ..facts
    }
}

/// What is asked of this machine, not of its files.
#[must_use]
pub fn surroundings(fs: &FileSystem, seat: &Seat) -> Surroundings {
    Surroundings {
        machine: machine(),
        person: person(seat),
        volumes: volumes(fs),
        places: places(fs, seat),
        installed: installed(seat),
        write_class: Some(WriteClass::H2),
        firewall: FirewallPolicy::LocalRules,
        filtering: facts::Filtering::default(),
        ports: Ports {
            dynamic: PortRange {
                first: 49152,
                last: 65535,
            },
            excluded: Vec::new(),
        },
        state: path(&seat.path("AppData\\Local\\Ringfence")),
        git_global: vec![path(&seat.path(".gitconfig"))],
        search: Search::default(),
        capabilities: Vec::new(),
        sessions: Vec::new(),
    }
}

fn machine() -> Machine {
    Machine {
        name: "WORKBENCH".into(),
        sid: Sid::new(5, &[21, 10, 20, 30]).expect("four subauthorities fit"),
        build: 26100,
        language: "en-US".into(),
        membership: Membership::Workgroup,
    }
}

fn person(seat: &Seat) -> facts::Person {
    facts::Person {
        sid: seat.sid,
        name: seat.name.into(),
        domain: "WORKBENCH".into(),
        groups: vec![
            Sid::EVERYONE,
            Sid::USERS,
            Sid::AUTHENTICATED_USERS,
            Sid::INTERACTIVE,
        ],
        administrator: Administrator::Consent,
        profile: path(&format!("C:\\Users\\{}", seat.name)),
        git_identity: None,
    }
}

fn installed(seat: &Seat) -> Installed {
    let made = |kind: &str, sid: Sid| {
        Some(LocalAccount {
            name: format!("Ringfence{kind}-{}", seat.name),
            sid,
        })
    };
    Installed {
        offline: made("Off", seat.offline),
        online: made("On", seat.online),
        group: made("", seat.group),
        record: None,
        others: Vec::new(),
    }
}

fn path(text: &str) -> WindowsPath {
    WindowsPath::observed(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn volumes(fs: &FileSystem) -> Vec<facts::Volume> {
    (0..)
        .map_while(|index| fs.volume(VolumeId(index)))
        .map(|volume| facts::Volume {
            mount_points: volume
                .names
                .iter()
                .filter_map(|own| match own {
                    VolumeName::Letter(letter) => Some(path(&format!("{letter}:\\"))),
                    VolumeName::Guid(_) | VolumeName::Device(_) => None,
                })
                .collect(),
            serial: file_id(volume.root).volume,
            file_system: "NTFS".into(),
            access_control: AccessControl::Kept,
            kind: VolumeKind::Fixed,
        })
        .collect()
}

fn places(fs: &FileSystem, seat: &Seat) -> Vec<(PlaceName, WindowsPath)> {
    let named = [
        (PlaceName::DriveRoot, "C:\\".to_owned()),
        (PlaceName::DriveRoot, "D:\\".to_owned()),
        (PlaceName::Users, "C:\\Users".to_owned()),
        (PlaceName::ProgramData, "C:\\ProgramData".to_owned()),
        (PlaceName::Windows, "C:\\Windows".to_owned()),
        (PlaceName::AppData, seat.path("AppData")),
        (PlaceName::LocalAppData, seat.path("AppData\\Local")),
    ];
    let profiles = fs
        .find("C:\\Users")
        .ok()
        .and_then(|users| fs.node(users))
        .map_or(&[][..], Node::entries)
        .iter()
        .map(|entry| (PlaceName::Profile, format!("C:\\Users\\{}", entry.name)));
    named
        .into_iter()
        .chain(profiles)
        .map(|(name, text)| (name, path(&text)))
        .collect()
}
