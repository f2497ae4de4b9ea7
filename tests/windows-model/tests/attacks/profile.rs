//! Attacks through what all sessions of a person share: the accounts' profiles, their registry hives, the homes (22).

use ringfence_nt::fs::{Caller, FileSystem, NewKind, NodeId, Replace};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, SecurityDescriptor, Sid, Token, WriteClass,
    maximum_allowed,
};
use ringfence_plan::windows::machine::{hive_entries, profile_entries};
use ringfence_plan::windows::step::AceTemplate;
use ringfence_windows_model::World;
use ringfence_windows_model::figures::record;
use ringfence_windows_model::host::described;
use ringfence_windows_model::operation::{Operation, Shape};
use ringfence_windows_model::scene::{Scene, Session};
use ringfence_windows_model::search::{Beyond, Bounds, search};

use super::{all_denied, attack, can_change, find, opens, place, try_it};

const POLICY: &str = "[filesystem]\ndeny_read = [\"D:/keys\"]\n";
const PROFILE: &str = "C:\\Users\\sandbox";
/// What PowerShell runs whenever it starts.
const STARTED: &str = "C:\\Users\\sandbox\\profile.ps1";
/// `KEY_READ`, `KEY_WRITE`, `KEY_EXECUTE`, `KEY_ALL_ACCESS`.
const KEY: GenericMapping = GenericMapping {
    read: AccessMask(0x2_0019),
    write: AccessMask(0x2_0006),
    execute: AccessMask(0x2_0019),
    all: AccessMask(0xf_003f),
};
/// Every right that changes a key.
const KEY_CHANGES: AccessMask = AccessMask(0xd_0026);

/// Which entries of set-up's are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgotten {
    Nothing,
    OfProfile(usize),
    OfHive(usize),
}

/// Two workspaces of one person, both sessions as one account, and that account's profile and hive.
struct Stage {
    world: World,
    first: Session,
    second: Session,
    hive: SecurityDescriptor,
}

/// A list as Windows makes it for a profile or a hive, with set-up's entries in front.
fn with(
    entries: &[AceTemplate],
    session: &Session,
    owner: Sid,
    all: AccessMask,
) -> SecurityDescriptor {
    let accounts = session.plan.accounts.sids().unwrap();
    let windows = [Sid::SYSTEM, Sid::ADMINISTRATORS, accounts.offline]
        .map(|sid| Ace::allow(AceFlags::INHERIT_ALL, all, sid));
    let ours = entries.iter().map(|entry| entry.resolve(&accounts));
    let (denies, allows): (Vec<Ace>, Vec<Ace>) =
        ours.partition(|ace| ace.kind == ringfence_nt::AceKind::Deny);
    let list: Vec<Ace> = denies.into_iter().chain(allows).chain(windows).collect();
    assert!(Acl::new(list.clone()).is_canonical());
    described(owner, &list).protected()
}

fn stage(class: WriteClass, forgotten: Forgotten) -> Stage {
    let mut scene = Scene::new(class);
    let ann = scene.ann.clone();
    for workspace in ["ws", "notes"] {
        scene.host.directory(&ann.path(workspace), ann.sid);
    }
    let first = scene.start(&ann, &ann.path("ws"), POLICY).unwrap();
    let second = scene.start(&ann, &ann.path("notes"), POLICY).unwrap();
    let marker = first.plan.marker;
    assert_eq!(
        marker, second.plan.marker,
        "one marker for all of a person's targets"
    );
    let (mut profile, mut hive) = (profile_entries(marker), hive_entries(marker));
    match forgotten {
        Forgotten::Nothing => {}
        Forgotten::OfProfile(index) => drop(profile.remove(index)),
        Forgotten::OfHive(index) => drop(hive.remove(index)),
    }
    // The worst owner there can be: the account itself.
    let owner = ann.offline;
    let list = with(&profile, &first, owner, AccessMask::FILE_ALL_ACCESS);
    scene.host.put(PROFILE, Some(list), owner);
    scene.host.file(STARTED, owner);
    let hive = with(&hive, &first, owner, KEY.all);
    let mut world = scene.world("an account's profile", &first, &[]);
    world.absent.clear();
    world.protected.clear();
    Stage {
        world,
        first,
        second,
        hive,
    }
}

impl Stage {
    fn key(&self, token: &Token, class: WriteClass) -> AccessMask {
        maximum_allowed(&self.hive, token, &KEY, class)
    }

    /// What a target can bring about in the profile or the hive, if anything.
    fn carried(&self, class: WriteClass) -> Option<String> {
        let key = self.key(&self.first.target, class) & KEY_CHANGES;
        if !key.is_empty() {
            return Some(format!("the hive opens for {key}"));
        }
        let bounds = Bounds {
            depth: 2,
            made: 1,
            links: 1,
            states: 3_000,
            beyond: Beyond::Stop,
        };
        let report = search(&self.world, class, &bounds);
        let (promise, example) = report.broken.first_key_value()?;
        Some(format!("{promise}: {}", example.broken))
    }
}

#[test]
fn attack_22_state_in_the_sandbox_profile() {
    let title = "state carried through the sandbox profile or registry";
    attack(22, title, |class| {
        let stage = stage(class, Forgotten::Nothing);
        let fs = &stage.world.fs;
        let runner = Caller {
            token: &stage.first.runner,
            class,
        };
        let top = find(fs, PROFILE);
        let by_runner = fs.open_by_id(&runner, top, AccessMask::FILE_WRITE_DATA);
        assert!(by_runner.is_ok(), "control: the runner writes its profile");
        assert!(
            stage
                .key(&stage.first.runner, class)
                .contains(AccessMask(0x6)),
            "control: the runner writes its hive"
        );
        let read = AccessMask::FILE_READ_DATA;
        assert!(
            opens(fs, &stage.first.target, class, STARTED, read),
            "control: targets read what they start with"
        );
        assert!(
            stage
                .key(&stage.first.target, class)
                .contains(AccessMask(0x1)),
            "control"
        );
        stage.carried(class).is_none()
            && [PROFILE, STARTED]
                .iter()
                .all(|path| !can_change(fs, &stage.first.target, class, path))
            && all_denied(
                &stage.world,
                class,
                &[
                    Operation::Create(
                        place(fs, &format!("{PROFILE}\\.bashrc")),
                        NewKind::File,
                        Shape::Open,
                    ),
                    Operation::Delete(place(fs, STARTED)),
                    Operation::Descriptor(place(fs, STARTED), Shape::Open),
                    Operation::Own(place(fs, STARTED)),
                    Operation::Rename(
                        place(fs, STARTED),
                        place(fs, &format!("{PROFILE}\\old.ps1")),
                        Replace::No,
                    ),
                ],
            )
    });
}

/// The private home of one workspace is no way into the next one either.
#[test]
fn a_private_home_is_of_one_workspace() {
    for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
        let stage = stage(class, Forgotten::Nothing);
        let fs = &stage.world.fs;
        let home = |session: &Session| -> NodeId {
            let path = session.plan.roots[0].home.to_string();
            fs.find(&path).unwrap()
        };
        let writes = |session: &Session, home: NodeId, fs: &FileSystem| {
            let caller = Caller {
                token: &session.target,
                class,
            };
            fs.open_by_id(&caller, home, AccessMask::FILE_WRITE_DATA)
                .is_ok()
        };
        assert_ne!(home(&stage.first), home(&stage.second));
        assert!(writes(&stage.first, home(&stage.first), fs), "control");
        assert!(writes(&stage.second, home(&stage.second), fs), "control");
        assert!(!writes(&stage.first, home(&stage.second), fs), "{class:?}");
        assert!(!writes(&stage.second, home(&stage.first), fs), "{class:?}");
        let planted = place(fs, &format!("{}\\n", stage.first.plan.roots[0].home));
        let plant = Operation::Create(planted, NewKind::File, Shape::Open);
        assert!(
            try_it(&stage.world, class, &plant).is_ok(),
            "control: its own"
        );
    }
}

/// One root has a home for each kind of network, and neither target writes the other's: what an open network brought
/// is not started where there is none.
#[test]
fn a_private_home_is_of_one_kind_of_network() {
    for class in [WriteClass::H2, WriteClass::H3, WriteClass::H4] {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.directory(&ann.path("ws"), ann.sid);
        let sessions = ["offline", "allowlist", "open"].map(|mode| {
            let policy = format!("[network]\nmode = \"{mode}\"\n");
            scene.start(&ann, &ann.path("ws"), &policy).unwrap()
        });
        for (one, session) in sessions.iter().enumerate() {
            for (other, owner) in sessions.iter().enumerate() {
                let home = scene.host.find(&owner.plan.roots[0].home.to_string());
                let caller = Caller {
                    token: &session.target,
                    class,
                };
                let opened = scene
                    .host
                    .fs
                    .open_by_id(&caller, home, AccessMask::FILE_WRITE_DATA);
                assert_eq!(opened.is_ok(), one == other, "{class:?} {one} {other}");
            }
        }
    }
}

/// Each entry is needed: without the first of a list the account writes, without the second what the second pass does
/// not cover is open, without the third an owner takes the others away.
#[test]
fn every_entry_of_profile_and_hive_is_needed() {
    let marker = Sid::NULL;
    let profile = (0..profile_entries(marker).len()).map(Forgotten::OfProfile);
    let hive = (0..hive_entries(marker).len()).map(Forgotten::OfHive);
    let mut survivors = Vec::new();
    for forgotten in profile.chain(hive) {
        let name = format!("the account's profile: {forgotten:?}");
        let classes = [WriteClass::H2, WriteClass::H3, WriteClass::H4];
        let carried = classes.into_iter().find_map(|class| {
            let found = stage(class, forgotten).carried(class)?;
            Some(format!("{class:?}, {found}"))
        });
        if let Some(by) = carried {
            record(&["mutant", &name, "killed", &by]);
        } else {
            record(&["mutant", &name, "survived", ""]);
            survivors.push(name);
        }
    }
    assert!(survivors.is_empty(), "survived: {survivors:?}");
}
