//! Facts of a simulated host, as the Windows executor would gather them for one person and one policy.
//!
//! It looks and judges nothing. Invariant: every object that the facts name and that exists is among their objects,
//! with the directories above it and its descriptor as it is.

use std::collections::BTreeSet;

use ringfence_nt::fs::{CaseRule, FileName, FileSystem, Kind, Node, NodeId, Place, VolumeName};
use ringfence_nt::{AccessMask, GenericMapping, Sid, Token, WriteClass, maximum_allowed};
use ringfence_plan::layout::{Anchor, BackLink, Entry, GitLayout, HiddenFact, NameFact};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{
    self, AccessControl, Administrator, Case, FirewallPolicy, Installed, LocalAccount, Machine,
    Membership, ObjectFact, PlaceName, Ports, Reached, Residency, VolumeKind, WindowsFacts,
    WindowsRoot,
};
use ringfence_plan::windows::machine::MachineDirectories;
use ringfence_plan::windows::step::PortRange;
use ringfence_policy::glob::Glob;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::policy::HiddenPattern;
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, Policy};

use crate::carry::{file_id, object};
use crate::host::{Host, account, name};

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

/// What the executor would tell of this host.
#[must_use]
pub fn observe(host: &Host, seat: &Seat, policy: &Policy, class: WriteClass) -> WindowsFacts {
    let look = Look {
        fs: &host.fs,
        policy,
    };
    let roots: Vec<WindowsRoot> = std::iter::once(&policy.workspace)
        .chain(
            policy
                .filesystem
                .writable_roots
                .iter()
                .map(|root| &root.value),
        )
        .map(|root| look.root(root))
        .collect();
    let mut facts = WindowsFacts {
        machine: machine(),
        person: person(seat),
        volumes: look.volumes(),
        places: look.places(seat),
        installed: installed(seat),
        write_class: Some(class),
        firewall: FirewallPolicy::LocalRules,
        ports: Ports {
            dynamic: PortRange {
                first: 49152,
                last: 65535,
            },
            excluded: Vec::new(),
        },
        state: path(&seat.path("AppData\\Local\\Ringfence")),
        hidden: look.hidden(&roots),
        roots,
        ssh_names: Vec::new(),
        git_references: Vec::new(),
        tools: Vec::new(),
        shells: Vec::new(),
        shared_places: look.shared_places(seat),
        objects: Vec::new(),
        capabilities: Vec::new(),
        sessions: Vec::new(),
    };
    facts.objects = look.objects(&facts);
    facts
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

struct Look<'a> {
    fs: &'a FileSystem,
    policy: &'a Policy,
}

impl Look<'_> {
    fn find(&self, at: &WindowsPath) -> Option<NodeId> {
        self.fs.find(&at.to_string()).ok()
    }

    fn volumes(&self) -> Vec<facts::Volume> {
        (0..)
            .map_while(|index| self.fs.volume(ringfence_nt::fs::VolumeId(index)))
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

    fn places(&self, seat: &Seat) -> Vec<facts::Place> {
        let named = [
            (PlaceName::DriveRoot, "C:\\".to_owned()),
            (PlaceName::DriveRoot, "D:\\".to_owned()),
            (PlaceName::Users, "C:\\Users".to_owned()),
            (PlaceName::ProgramData, "C:\\ProgramData".to_owned()),
            (PlaceName::Windows, "C:\\Windows".to_owned()),
            (PlaceName::AppData, seat.path("AppData")),
            (PlaceName::LocalAppData, seat.path("AppData\\Local")),
        ];
        let profiles = self
            .fs
            .find("C:\\Users")
            .ok()
            .and_then(|users| self.fs.node(users))
            .map_or(&[][..], Node::entries)
            .iter()
            .map(|entry| (PlaceName::Profile, format!("C:\\Users\\{}", entry.name)));
        named
            .into_iter()
            .chain(profiles)
            .map(|(name, text)| {
                let path = path(&text);
                let id = self.find(&path).map(file_id);
                facts::Place { name, path, id }
            })
            .collect()
    }

    fn root(&self, named: &AbsolutePath) -> WindowsRoot {
        let at = WindowsPath::from_policy(named).expect("a drive path");
        let reached = match self.find(&at).and_then(|id| self.fs.node(id)) {
            None => Reached::Absent,
            Some(node) if node.is_directory() => Reached::Directory { path: at.clone() },
            Some(_) => Reached::File,
        };
        let mut tops = vec![at.clone()];
        self.collect_repositories(&at, &mut tops);
        tops.dedup();
        WindowsRoot {
            named: at.to_string(),
            reached,
            links: Vec::new(),
            anchors: tops.iter().map(|top| self.anchor(top)).collect(),
            bare: Vec::new(),
            mounts: Vec::new(),
            outside_links: self.outside_links(&at),
            unread: Vec::new(),
        }
    }

    /// Directories below `at` that hold a `.git`.
    fn collect_repositories(&self, at: &WindowsPath, tops: &mut Vec<WindowsPath>) {
        let Some(node) = self.find(at).and_then(|id| self.fs.node(id)) else {
            return;
        };
        if node.entry(&name(".git")).is_some() && tops.last() != Some(at) {
            tops.push(at.clone());
        }
        for entry in node.entries() {
            let is_walked = self
                .fs
                .node(entry.node)
                .is_some_and(|child| child.is_directory() && child.reparse.is_none());
            if is_walked && !entry.name.same(&name(".git")) {
                self.collect_repositories(&below(at, &entry.name), tops);
            }
        }
    }

    fn anchor(&self, top: &WindowsPath) -> Anchor<WindowsPath> {
        let mut names: Vec<String> = self
            .policy
            .filesystem
            .protected
            .iter()
            .map(|own| own.value.clone())
            .collect();
        if !names.iter().any(|own| own == ".git") {
            names.push(".git".into());
        }
        let git = top.join(".git").expect("a plain name");
        let is_repository = self
            .find(&git)
            .and_then(|id| self.fs.node(id))
            .is_some_and(Node::is_directory);
        Anchor {
            path: top.clone(),
            names: names
                .into_iter()
                .map(|own| NameFact {
                    entry: self.entry(top, &own),
                    name: own,
                })
                .collect(),
            git: is_repository.then(|| GitLayout {
                directory: git.clone(),
                common: git,
                back_link: BackLink::Mutual,
                directories: Vec::new(),
            }),
        }
    }

    /// What stands at a name below a directory.
    fn entry(&self, top: &WindowsPath, own: &str) -> Entry<WindowsPath> {
        let full = top.join_name(own).expect("a policy's name");
        let parent = full.parent().expect("it lies below a directory");
        let Some(directory) = self.find(&parent) else {
            return Entry::AbsentParent {
                existing: top.clone(),
            };
        };
        let place = Place {
            parent: directory,
            name: name(full.name().expect("a name")),
        };
        let Some(node) = self.fs.lookup(&place).and_then(|id| self.fs.node(id)) else {
            return Entry::Absent;
        };
        match (&node.reparse, &node.kind) {
            (Some(reparse), _) => Entry::Symlink {
                target: path(&reparse.target),
                kind: None,
            },
            (None, Kind::File) => Entry::File,
            (None, Kind::Directory { .. }) => Entry::Directory,
        }
    }

    /// Files in a root that have a name outside it.
    fn outside_links(&self, at: &WindowsPath) -> Vec<WindowsPath> {
        let Some(root) = self.find(at) else {
            return Vec::new();
        };
        let is_inside = |place: &Place| self.fs.is_below(place.parent, root);
        let mut found = Vec::new();
        for (id, node) in self.fs.nodes() {
            if node.is_directory() {
                continue;
            }
            let places: Vec<Place> = self.fs.places(id).collect();
            if places.iter().any(is_inside) && !places.iter().all(is_inside) {
                found.extend(places.iter().filter(|place| is_inside(place)).map(|place| {
                    path(&format!(
                        "{}\\{}",
                        self.fs.path_of(place.parent),
                        place.name
                    ))
                }));
            }
        }
        found
    }

    fn hidden(&self, roots: &[WindowsRoot]) -> Vec<HiddenFact<WindowsPath>> {
        let mut found = Vec::new();
        for hidden in &self.policy.filesystem.hidden {
            match &hidden.pattern {
                HiddenPattern::Path(one) => {
                    let full = WindowsPath::from_policy(one).expect("a drive path");
                    found.push(HiddenFact {
                        name: hidden.name.clone(),
                        entry: self.entry_at(&full),
                        path: full,
                        shown: Vec::new(),
                    });
                }
                HiddenPattern::HomeGlob(_) => {}
                HiddenPattern::RootGlob { glob, except } => {
                    let glob = Glob::new(glob).expect("a glob of the policy");
                    let except: Vec<Glob> = except
                        .iter()
                        .map(|one| Glob::new(one).expect("a glob of the policy"))
                        .collect();
                    for root in roots {
                        self.match_below(root, &glob, &except, &hidden.name, &mut found);
                    }
                }
            }
        }
        found
    }

    fn match_below(
        &self,
        root: &WindowsRoot,
        glob: &Glob,
        except: &[Glob],
        words: &str,
        found: &mut Vec<HiddenFact<WindowsPath>>,
    ) {
        let Reached::Directory { path: top } = &root.reached else {
            return;
        };
        for (id, _) in self.fs.nodes() {
            for full in self.paths(id) {
                let parts = full.components().get(top.components().len()..);
                let Some(parts) = parts.filter(|_| full.is_below(top)) else {
                    continue;
                };
                let relative = parts.join("/");
                let matches = |one: &Glob| one.is_match(std::path::Path::new(&relative));
                if matches(glob) && !except.iter().any(matches) {
                    found.push(HiddenFact {
                        name: words.to_owned(),
                        entry: self.entry_at(&full),
                        path: full,
                        shown: Vec::new(),
                    });
                }
            }
        }
    }

    fn entry_at(&self, full: &WindowsPath) -> Entry<WindowsPath> {
        let (Some(parent), Some(own)) = (full.parent(), full.name()) else {
            return Entry::Directory;
        };
        if self.find(&parent).is_some() {
            return self.entry(&parent, own);
        }
        let existing = parent.ancestors().find(|above| self.find(above).is_some());
        Entry::AbsentParent {
            existing: existing.expect("the drive's root exists"),
        }
    }

    /// Every drive path of a node; one for a volume's root.
    fn paths(&self, id: NodeId) -> Vec<WindowsPath> {
        let mut places = self.fs.places(id).peekable();
        if places.peek().is_none() {
            return vec![path(&self.fs.path_of(id))];
        }
        places
            .map(|place| {
                let parent = self.fs.path_of(place.parent);
                path(&format!(
                    "{}\\{}",
                    parent.trim_end_matches('\\'),
                    place.name
                ))
            })
            .collect()
    }

    /// Directories directly below a drive's root in which more than their owner may write.
    fn shared_places(&self, seat: &Seat) -> Vec<WindowsPath> {
        let everyone = Token::new(
            Sid::NULL,
            &[Sid::EVERYONE, Sid::USERS, Sid::AUTHENTICATED_USERS],
        );
        let file = &GenericMapping::FILE;
        let is_shared = |node: &Node| {
            maximum_allowed(&node.descriptor, &everyone, file, WriteClass::H2)
                .intersects(AccessMask::FILE_WRITE_DATA)
                && node.descriptor.owner == Some(seat.sid)
        };
        self.fs
            .nodes()
            .filter(|(_, node)| node.is_directory() && is_shared(node))
            .flat_map(|(id, _)| self.paths(id))
            .filter(|path| path.components().len() == 1)
            .collect()
    }

    /// Every object that the facts name and that exists, and the directories above it.
    fn objects(&self, facts: &WindowsFacts) -> Vec<ObjectFact> {
        let mut named: BTreeSet<WindowsPath> = facts.shared_places.iter().cloned().collect();
        named.extend(facts.places.iter().map(|place| place.path.clone()));
        named.extend(facts.hidden.iter().map(|hidden| hidden.path.clone()));
        named.insert(facts.state.clone());
        // Homes of earlier sessions.
        if let Ok(ours) = self.fs.find("C:\\ProgramData\\Ringfence") {
            for (id, _) in self
                .fs
                .nodes()
                .filter(|(id, _)| self.fs.is_below(*id, ours))
            {
                named.extend(self.paths(id));
            }
        }
        for root in &facts.roots {
            named.extend(root.outside_links.iter().cloned());
            if let Reached::Directory { path } = &root.reached {
                named.insert(path.clone());
            }
            for anchor in &root.anchors {
                named.insert(anchor.path.clone());
                named.extend(
                    anchor
                        .names
                        .iter()
                        .filter_map(|own| anchor.path.join_name(&own.name).ok()),
                );
            }
        }
        if let Ok(own) = MachineDirectories::of(facts) {
            named.extend(self.children(&own.home));
        }
        let above: Vec<WindowsPath> = named.iter().flat_map(WindowsPath::ancestors).collect();
        named.extend(above);
        let mut objects: Vec<ObjectFact> = self
            .fs
            .nodes()
            .flat_map(|(id, node)| self.facts_of(id, node))
            .filter(|fact| named.contains(&fact.object.path))
            .collect();
        objects.sort_by(|left, right| left.object.path.cmp(&right.object.path));
        objects
    }

    fn children(&self, directory: &WindowsPath) -> Vec<WindowsPath> {
        let node = self.find(directory).and_then(|id| self.fs.node(id));
        let entries = node.map_or(&[][..], Node::entries).iter();
        entries
            .filter_map(|entry| directory.join_observed(&entry.name).ok())
            .collect()
    }

    fn facts_of(&self, id: NodeId, node: &Node) -> Vec<ObjectFact> {
        let paths = self.paths(id);
        let links = u32::try_from(paths.len()).unwrap_or(u32::MAX);
        let case = match &node.kind {
            Kind::Directory {
                case: CaseRule::Sensitive,
                ..
            } => Case::Sensitive,
            Kind::File | Kind::Directory { .. } => Case::Insensitive,
        };
        paths
            .into_iter()
            .map(|own| {
                let mut fact = object(self.fs, id);
                fact.path = own;
                ObjectFact {
                    object: fact,
                    links,
                    reparse: node.reparse.as_ref().map(|reparse| facts::Reparse {
                        target: WindowsPath::parse(&reparse.target).ok(),
                    }),
                    case,
                    residency: Residency::Local,
                    descriptor: Some(node.descriptor.as_ref().clone()),
                }
            })
            .collect()
    }
}

fn below(at: &WindowsPath, own: &FileName) -> WindowsPath {
    path(&format!("{}\\{own}", at.to_string().trim_end_matches('\\')))
}
