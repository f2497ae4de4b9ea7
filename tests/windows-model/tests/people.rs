//! What people do with a machine: files that commands and people make in turn, two projects, two people.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test ends where its input is not what it says"
)]

use ringfence_backend::fault::Faults;
use ringfence_backend::ledger::{Ledger, MemoryStore};
use ringfence_backend::windows::fake::FakeMachine;
use ringfence_backend::windows::{MachineBook, Setup};
use ringfence_nt::fs::{Caller, NewKind, Status};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Control, CreatorDescriptor, Dacl, GenericMapping, Restriction,
    SecurityDescriptor, Sid, Token, WriteClass, maximum_allowed,
};
use ringfence_plan::windows::sids::SidSecret;
use ringfence_plan::windows::step::{MachineStep, PersonStep};
use ringfence_plan::windows::{WindowsLedger, plan};
use ringfence_windows_model::carry::node_of;
use ringfence_windows_model::figures::record;
use ringfence_windows_model::observe::Seat;
use ringfence_windows_model::promise::CHANGES;
use ringfence_windows_model::scene::{Scene, Session, harness, ledger};

const HELD: [WriteClass; 3] = [WriteClass::H2, WriteClass::H3, WriteClass::H4];
const FULL: AccessMask = AccessMask::FILE_ALL_ACCESS;

fn opens(scene: &Scene, token: &Token, path: &str, right: AccessMask) -> bool {
    let caller = Caller {
        token,
        class: scene.class,
    };
    let fs = &scene.host.fs;
    fs.open_by_id(&caller, fs.find(path).unwrap(), right)
        .is_ok()
}

/// A protected list for SYSTEM, the administrators and one more, as Python's `mkdir(0o700)` gives one.
fn owner_only(owner: Sid) -> CreatorDescriptor {
    let list = [Sid::SYSTEM, Sid::ADMINISTRATORS, owner]
        .map(|sid| Ace::allow(AceFlags::INHERIT_ALL, FULL, sid));
    CreatorDescriptor {
        dacl: Some(Dacl::Present(Acl::new(list.to_vec()))),
        control: Control::DACL_PROTECTED,
        ..CreatorDescriptor::default()
    }
}

/// A program that makes a directory for its own user alone goes on to work in it. Without the user's SID in the second
/// pass it could not, whether the list names the user or the owner.
#[test]
fn a_directory_made_for_its_owner_alone_is_worked_in() {
    for class in HELD {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.directory(&ann.path("ws"), ann.sid);
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        for (number, owner) in [ann.offline, Sid::OWNER_RIGHTS].into_iter().enumerate() {
            let directory = ann.path(&format!("ws\\tmp{number}"));
            let given = owner_only(owner);
            scene
                .make(&session, &directory, NewKind::Directory, Some(&given))
                .unwrap();
            let inside = format!("{directory}\\data");
            scene.make(&session, &inside, NewKind::File, None).unwrap();
            assert!(opens(
                &scene,
                &session.target,
                &inside,
                AccessMask::FILE_WRITE_DATA
            ));
            assert!(opens(&scene, &session.target, &inside, AccessMask::DELETE));

            // The same token without its user in the second pass: what it makes so is closed to it.
            let mut without = session.clone();
            let Restriction::Writes(sids) = &mut without.target.restriction else {
                unreachable!("targets are write-restricted");
            };
            sids.retain(|sid| *sid != ann.offline);
            let other = ann.path(&format!("ws\\other{number}"));
            scene
                .make(&without, &other, NewKind::Directory, Some(&given))
                .unwrap();
            let caller = Caller {
                token: &without.target,
                class,
            };
            let made =
                scene
                    .host
                    .fs
                    .create(&caller, &format!("{other}\\data"), NewKind::File, None);
            assert_eq!(made.err(), Some(Status::AccessDenied), "{class:?} {owner}");
        }
    }
}

/// The price of that: another session of the account is in as well, and the person is not, until the command ends.
#[test]
fn a_directory_made_for_its_owner_alone_is_the_persons_again_when_the_command_ends() {
    for class in HELD {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        for own in ["ws", "notes"] {
            scene.host.directory(&ann.path(own), ann.sid);
        }
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let sibling = scene.start(&ann, &ann.path("notes"), "").unwrap();
        let directory = ann.path("ws\\tmp");
        let given = owner_only(ann.offline);
        scene
            .make(&session, &directory, NewKind::Directory, Some(&given))
            .unwrap();
        let inside = format!("{directory}\\data");
        scene.make(&session, &inside, NewKind::File, None).unwrap();
        let person = harness(&ann);
        let read = AccessMask::FILE_READ_DATA;
        assert!(
            !opens(&scene, &person, &inside, read),
            "the person is left out"
        );
        let write = AccessMask::FILE_WRITE_DATA;
        assert!(
            opens(&scene, &sibling.target, &inside, write),
            "residual: a sibling is in"
        );

        scene.end_command(&session);
        for (path, right) in [
            (&directory, read),
            (&directory, AccessMask::DELETE),
            (&inside, FULL),
        ] {
            assert!(
                opens(&scene, &person, path, right),
                "{class:?} {path} {right}"
            );
        }
    }
}

/// What commands and the person make in turn each of them edits and deletes, and git's owner check has its exception.
#[test]
fn commands_and_the_person_work_on_each_others_files() {
    for class in HELD {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        let session = scene.start(&ann, &ann.path("ws"), "").unwrap();
        let made = ann.path("ws\\src\\made");
        scene.make(&session, &made, NewKind::File, None).unwrap();
        let id = scene.host.find(&made);
        assert_eq!(
            scene.host.descriptor(id).owner,
            Some(ann.offline),
            "control: the account's"
        );
        let work = AccessMask::FILE_MODIFY;
        assert!(opens(&scene, &harness(&ann), &made, FULL));
        assert!(opens(&scene, &session.target, &made, work));
        // What the person makes later inherits what the root grants.
        scene.host.file(&ann.path("ws\\src\\by-hand"), ann.sid);
        assert!(opens(
            &scene,
            &session.target,
            &ann.path("ws\\src\\by-hand"),
            work
        ));
        let environment = session.plan.launch.unwrap().environment;
        let value = |name: &str| {
            environment
                .iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| value.clone())
        };
        let exceptions: Vec<_> = (0..3)
            .filter(|index| {
                value(&format!("GIT_CONFIG_KEY_{index}")).as_deref() == Some("safe.directory")
            })
            .map(|index| value(&format!("GIT_CONFIG_VALUE_{index}")).unwrap())
            .collect();
        assert_eq!(exceptions, ["C:/Users/ann/ws"]);
    }
}

/// Two projects, one of which must not read a place: no command of the person reads it from then on, the other's plan
/// says so, and taking turns changes nothing.
#[test]
fn what_one_project_must_not_read_no_project_reads() {
    const STRICT: &str = "[filesystem]\ndeny_read = [\"D:/keys\"]\n";
    let key = "D:\\keys\\key.pem";
    let read = AccessMask::FILE_READ_DATA;
    let mut scene = Scene::new(WriteClass::H2);
    let ann = scene.ann.clone();
    for own in ["ws", "notes"] {
        scene.host.directory(&ann.path(own), ann.sid);
    }
    let loose = scene.start(&ann, &ann.path("notes"), "").unwrap();
    assert!(
        opens(&scene, &loose.target, key, read),
        "control: nobody denies it"
    );
    let strict = scene.start(&ann, &ann.path("ws"), STRICT).unwrap();
    assert!(!opens(&scene, &strict.target, key, read));
    assert!(
        !opens(&scene, &loose.target, key, read),
        "reading is the group's, not a session's"
    );
    for (workspace, policy) in [("notes", ""), ("ws", STRICT), ("notes", ""), ("ws", STRICT)] {
        let resolved = ann.policy(&ann.path(workspace), policy);
        let facts = scene.facts(&ann, &ann.path(workspace), policy);
        let before = WindowsLedger {
            person: [loose.done.as_slice(), &strict.done].concat(),
            ..ledger(&ann)
        };
        let again = plan(&resolved, &facts, &before).unwrap();
        assert_eq!(again.person_steps, []);
        let said = again
            .notes
            .iter()
            .any(|note| note.starts_with("`D:\\keys` is read by no"));
        assert_eq!(said, policy.is_empty());
    }
}

/// A machine in memory, set up for people in some order.
struct Machine {
    machine: FakeMachine,
    store: MemoryStore,
}

impl Machine {
    fn new() -> Self {
        let faults = Faults::new();
        let full = Ace::allow(AceFlags::INHERIT_ALL, FULL, Sid::SYSTEM);
        let default = SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(vec![full]));
        let own = Sid::new(5, &[21, 10, 20, 30]).unwrap();
        Self {
            machine: FakeMachine::new(own, default, &faults),
            store: MemoryStore::new(&faults),
        }
    }

    fn install(&mut self, person: Sid, steps: &[MachineStep]) {
        let mut ledger: Ledger<MachineBook, MemoryStore> =
            Ledger::open(self.store.clone()).unwrap();
        let mut setup = Setup {
            person,
            ledger: &mut ledger,
            machine: &mut self.machine,
        };
        setup.apply(steps).unwrap();
    }

    fn passwords(&self) -> Vec<(String, Sid, u64)> {
        let accounts = self.machine.world.accounts.iter();
        accounts
            .map(|(name, own)| (name.clone(), own.sid, own.password))
            .collect()
    }
}

/// Every order of these.
fn orders<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in of.iter().enumerate() {
        let mut rest = of.to_vec();
        rest.remove(index);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// The set-up that a home of a person asks for: another home has another secret, and so another marker.
fn steps_of(seat: &Seat, home: u8) -> Vec<MachineStep> {
    let mut scene = Scene::new(WriteClass::H2);
    scene.host.directory(&seat.path("ws"), seat.sid);
    let policy = seat.policy(&seat.path("ws"), "");
    let mut facts = scene.facts(seat, &seat.path("ws"), "");
    facts.installed = ringfence_plan::windows::facts::Installed::default();
    // Ports that the other person has reserved are not free.
    if seat.name == "bob" {
        facts
            .ports
            .excluded
            .push(ringfence_plan::windows::facts::ExcludedPorts {
                range: ringfence_plan::windows::step::PortRange {
                    first: 20_000,
                    last: 20_031,
                },
                by: ringfence_plan::windows::facts::ExcludedBy::Administrator,
            });
    }
    let before = WindowsLedger {
        secret: SidSecret::new([home; 32]),
        ..WindowsLedger::default()
    };
    plan(&policy, &facts, &before).unwrap().machine_steps
}

/// Two people with two homes each, set up in every order: no password is made twice, and a second set-up of either
/// leaves the other's accounts alone.
#[test]
fn no_set_up_of_two_people_with_two_homes_rotates_a_password() {
    let scene = Scene::new(WriteClass::H2);
    let (ann, bob) = (scene.ann.clone(), scene.bob);
    let homes = [(&ann, 1), (&ann, 2), (&bob, 3), (&bob, 4)]
        .map(|(seat, home)| (seat.sid, steps_of(seat, home)));
    assert_ne!(
        homes[0].1, homes[1].1,
        "control: the homes ask for different steps"
    );
    let orders = orders(&homes);
    for order in &orders {
        let mut machine = Machine::new();
        let mut known: Vec<(String, Sid, u64)> = Vec::new();
        for (person, steps) in order {
            machine.install(*person, steps);
            let now = machine.passwords();
            assert!(
                known.iter().all(|one| now.contains(one)),
                "a password or an account changed"
            );
            known = now;
        }
        assert_eq!((known.len(), machine.machine.passwords), (4, 4));
    }
    record(&[
        "property",
        "no set-up rotates a password",
        &orders.len().to_string(),
    ]);
}

/// Two people with two workspaces each, started in every order: no target changes anything of the other three roots
/// and homes, and none reads what is the other person's.
#[test]
fn no_target_of_two_people_with_two_workspaces_reaches_across() {
    let mut cases = 0;
    let places = [
        ("ann", "ws"),
        ("ann", "notes"),
        ("bob", "ws"),
        ("bob", "notes"),
    ];
    for order in orders(&places) {
        for class in HELD {
            let mut scene = Scene::new(class);
            let seats = [scene.ann.clone(), scene.bob.clone()];
            let seat = |name: &str| seats.iter().find(|seat| seat.name == name).unwrap();
            for (name, own) in &places {
                scene.host.directory(&seat(name).path(own), seat(name).sid);
                scene
                    .host
                    .file(&seat(name).path(&format!("{own}\\a.txt")), seat(name).sid);
            }
            let sessions: Vec<Session> = order
                .iter()
                .map(|(name, own)| scene.start(seat(name), &seat(name).path(own), "").unwrap())
                .collect();
            for (index, session) in sessions.iter().enumerate() {
                for (other, theirs) in sessions.iter().enumerate() {
                    let same_person = session.plan.person == theirs.plan.person;
                    let root = &theirs.plan.roots[0];
                    let home = scene.host.find(&root.home.to_string());
                    for top in [node_of(root.object.id).unwrap(), home] {
                        let below = scene
                            .host
                            .fs
                            .nodes()
                            .filter(|(id, _)| scene.host.fs.is_below(*id, top));
                        for (_, node) in below {
                            let file = &GenericMapping::FILE;
                            let got =
                                maximum_allowed(&node.descriptor, &session.target, file, class);
                            cases += 1;
                            if index == other {
                                assert!(got.contains(AccessMask::FILE_WRITE_DATA), "control");
                                continue;
                            }
                            assert!(!got.intersects(CHANGES), "{class:?}: {got}");
                            let reads = got.intersects(AccessMask::FILE_READ_DATA);
                            assert!(same_person || !reads, "{class:?}: {got}");
                        }
                    }
                }
            }
            let has_steps = |session: &Session| {
                let steps = session.done.iter();
                steps
                    .filter(|step| matches!(step, PersonStep::SetDacl { .. }))
                    .count()
                    > 0
            };
            assert!(sessions.iter().all(has_steps), "control");
        }
    }
    record(&["property", "no target reaches across", &cases.to_string()]);
}
