//! The plan with namespaces: mounts as the first wall, Landlock as the second.
//!
//! Order of the mounts: places from the outside in, then what beats them. Invariant: no mount step after the
//! capabilities are gone; every writable bind is a checked root, a private directory, or a checked git directory.

use std::collections::HashSet;
use std::path::Path;

use ringfence_policy::document::GitAccess;
use ringfence_policy::{AbsolutePath, Policy, RuleId};

use crate::linux::caches::{self, Room};
use crate::linux::error::PlanError;
use crate::linux::facts::{BackLink, Kind, LinuxFacts, PlaceName, ProcMount, Seccomp};
use crate::linux::holds::Around;
use crate::linux::holds::{self, Hold, Holds, is_writable_mode};
use crate::linux::landlock::{Abi, Rights, Ruleset};
use crate::linux::limits::{self, UserNamespace};
use crate::linux::places::{PlaceKind, Places};
use crate::linux::session::{self, GitWrites};
use crate::linux::{filesystem_rules, guard, network, sockets};
use crate::plan::{Level, Missing, Plan};
use crate::step::{
    FileId, Identity, IpSockets, MountAccess, MountPoint, Namespace, Observe, Placeholder, Step,
};

/// The namespaces of every plan with namespaces: an executor may make them before there is a plan.
pub const NAMESPACES: [Namespace; 7] = [
    Namespace::User,
    Namespace::Mount,
    Namespace::Pid,
    Namespace::Net,
    Namespace::Ipc,
    Namespace::Uts,
    Namespace::Cgroup,
];

/// Plans with namespaces; `abi` is the second wall's, where there is one.
///
/// # Errors
/// [`PlanError`] of the holds.
pub(crate) fn plan(
    policy: &Policy,
    facts: &LinuxFacts,
    abi: Option<Abi>,
) -> Result<Plan, PlanError> {
    let tmp = session::private_tmp(policy, facts)?;
    let mut places = places(policy, facts)?;
    let caches = caches::plan(policy, facts, &mut places, Room::Mounted)?;
    let mut holds = holds::collect(policy, facts, &places)?;
    let denied = denied_roots(&places, &holds);
    let mut notes = std::mem::take(&mut holds.notes);
    let mut missing = Vec::new();

    let mut steps = session::make_private(facts, &tmp)?;
    steps.extend(caches.made);
    steps.extend(enter(policy, facts, &mut notes)?);
    steps.extend(place_steps(facts, &places, &tmp, &denied, caches.bind));
    steps.extend(caches.overlay);
    if places.is_visible(facts.state.as_path()) {
        steps.push(Step::Hide {
            path: facts.state.clone(),
            placeholder: Placeholder::Directory,
            mount_point: MountPoint::Existing,
        });
    }
    steps.extend(hold_steps(&holds));
    steps.extend(sockets::steps(facts, &mut missing));
    steps.extend(limits::steps(policy, facts, UserNamespace::Own));
    steps.push(Step::DropCapabilities);
    steps.push(Step::SetNoNewPrivs);
    match abi {
        Some(abi) => steps.push(Step::RestrictPaths {
            ruleset: ruleset(abi, &places, &denied)?,
        }),
        None => missing.push(no_landlock(facts)),
    }
    steps.push(Step::FilterSyscalls {
        observe: observe(facts, &mut missing),
        ip_sockets: IpSockets::InNamespace,
    });
    for path in denied {
        notes.push(format!(
            "the writable root `{}` lies in what the policy protects or hides, and stays so",
            crate::render::printable(&path)
        ));
    }
    crate::linux::notes::collect(policy, facts, &mut notes);
    let rules = filesystem_rules(policy, facts, &places, &mut holds)?;
    let mut environment = session::environment(facts, "/tmp", git_writes(policy), caches.variables);
    environment.extend(network::environment(&steps));
    environment.sort();
    Ok(Plan {
        level: if missing.is_empty() {
            Level::Full
        } else {
            Level::Partial
        },
        missing,
        notes,
        steps,
        rules,
        guard: guard(policy, &places, &holds),
        environment,
        workspace: session::workspace(policy, facts),
        windows: None,
    })
}

pub(crate) fn git_writes(policy: &Policy) -> GitWrites {
    match policy.filesystem.git.value {
        GitAccess::Commit | GitAccess::Full if is_writable_mode(policy.mode.value) => {
            GitWrites::Allowed
        }
        GitAccess::ReadOnly | GitAccess::Commit | GitAccess::Full => GitWrites::Refused,
    }
}

pub(crate) fn no_landlock(facts: &LinuxFacts) -> Missing {
    let cause = if facts.landlock_abi == 0 {
        "the kernel has no Landlock, or it is not enabled".to_owned()
    } else {
        "Landlock ABI 1 refuses every rename between directories, so it is no second wall for work"
            .to_owned()
    };
    Missing {
        what: "landlock".to_owned(),
        cause,
        cure: "use Linux 5.19 or newer with `landlock` in the `lsm=` boot option".to_owned(),
    }
}

pub(crate) fn observe(facts: &LinuxFacts, missing: &mut Vec<Missing>) -> Observe {
    match facts.seccomp {
        Seccomp::Listener => Observe::Writes,
        Seccomp::FilterOnly | Seccomp::Absent => {
            missing.push(Missing {
                what: "observer".to_owned(),
                cause: "no seccomp listener can be had here".to_owned(),
                cure: "run outside any other sandbox that listens; protected names that do not exist yet are swept when a command ends".to_owned(),
            });
            Observe::Off
        }
    }
}

fn enter(
    policy: &Policy,
    facts: &LinuxFacts,
    notes: &mut Vec<String>,
) -> Result<Vec<Step>, PlanError> {
    let target = facts.target_identity();
    if target.0 != facts.caller.uid {
        notes.push(format!(
            "the workspace belongs to uid {}: commands run as {}:{}, not as root",
            target.0, target.0, target.1
        ));
    }
    let proc = match facts.proc_mount {
        ProcMount::New => Step::MountProc,
        ProcMount::Kept => {
            notes.push(
                "the kernel refuses a new /proc here: the present one stays, read-only, and shows the processes outside"
                    .to_owned(),
            );
            Step::KeepProc
        }
    };
    let mut steps = vec![
        Step::EnterNamespaces {
            namespaces: NAMESPACES.to_vec(),
            identity: Identity {
                uid: facts.caller.uid,
                gid: facts.caller.gid,
                target,
            },
        },
        Step::RaiseLoopback,
    ];
    steps.extend(network::steps(policy, facts)?);
    steps.extend([Step::SealMounts, proc]);
    Ok(steps)
}

/// All places of a session with namespaces.
fn places(policy: &Policy, facts: &LinuxFacts) -> Result<Places, PlanError> {
    let mut places = Places::default();
    writable_places(policy, facts, &mut places);
    for fact in &facts.places {
        let (kind, rule) = match fact.place {
            PlaceName::Tmp | PlaceName::VarTmp | PlaceName::SharedMemory => {
                (PlaceKind::Private, RuleId::PrivateDirectory)
            }
            PlaceName::Run | PlaceName::VarRun | PlaceName::RuntimeDirectory => {
                (PlaceKind::Hidden, RuleId::HiddenPlace)
            }
        };
        // What lies in a place that shows nothing of the host needs no place of its own.
        places.add(&fact.path, kind, rule, &fact.path.to_string());
    }
    if let Some(workspace) = facts.roots.first().and_then(|root| root.object.as_ref()) {
        places.add(
            &workspace.path,
            PlaceKind::Shown,
            RuleId::ReadOnlyMode,
            "workspace",
        );
    }
    if let Some(home) = &facts.home
        && !places.is_visible(home.path.as_path())
    {
        places.add(&home.path, PlaceKind::Shown, RuleId::ReadDefault, "home");
    }
    for needed in &facts.needed {
        if !places.is_visible(needed.path.as_path()) {
            places.add(
                &needed.path,
                PlaceKind::Shown,
                RuleId::ReadDefault,
                &needed.origin,
            );
        }
    }
    sockets::add_places(facts, &mut places);
    for node in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts",
    ] {
        let path = session::path(&format!("/dev/{node}"))?;
        places.add(&path, PlaceKind::Private, RuleId::Device, "/dev");
    }
    places.add(
        &session::path("/proc")?,
        PlaceKind::Private,
        RuleId::Device,
        "/proc",
    );
    for settings in ["sys", "sysrq-trigger", "irq", "bus", "fs"] {
        let path = session::path(&format!("/proc/{settings}"))?;
        places.add(
            &path,
            PlaceKind::Shown,
            RuleId::OutsideWritableRoots,
            "/proc",
        );
    }
    Ok(places)
}

/// The writable roots, mounts inside them, and git directories elsewhere that commits need.
pub(crate) fn writable_places(policy: &Policy, facts: &LinuxFacts, places: &mut Places) {
    if !is_writable_mode(policy.mode.value) {
        return;
    }
    for root in &facts.roots {
        if let Some(object) = &root.object {
            places.add(
                &object.path,
                PlaceKind::Root,
                RuleId::WritableRoot,
                &root.named.to_string(),
            );
        }
    }
    for root in &facts.roots {
        for mount in &root.mounts {
            places.add(mount, PlaceKind::Shown, RuleId::MountInsideRoot, "mount");
        }
    }
    if policy.filesystem.git.value != GitAccess::Commit {
        return;
    }
    for anchor in facts.roots.iter().flat_map(|root| &root.anchors) {
        let Some(layout) = &anchor.git else { continue };
        let inside = places.kind_at(layout.common.as_path()) == PlaceKind::Root;
        if layout.back_link == BackLink::Mutual && !inside {
            places.add(
                &layout.common,
                PlaceKind::Root,
                RuleId::WritableRoot,
                "git = \"commit\"",
            );
        }
    }
}

/// Roots that lie at or below what is protected or hidden: deny beats them.
pub(crate) fn denied_roots(places: &Places, holds: &Holds) -> Vec<AbsolutePath> {
    let closed: HashSet<&Path> = holds
        .held
        .iter()
        .filter(|held| match held.hold {
            Hold::Hide(_) | Hold::HideAround(_) | Hold::Protect => true,
            Hold::Link | Hold::Absent(_) | Hold::Pin => false,
        })
        .map(|held| held.path.as_path())
        .collect();
    places
        .of_kind(PlaceKind::Root)
        .into_iter()
        .filter(|root| {
            root.as_path()
                .ancestors()
                .any(|above| closed.contains(above))
        })
        .collect()
}

/// Mounts of all places, parents first, each reveal after what hides it.
fn place_steps(
    facts: &LinuxFacts,
    places: &Places,
    tmp: &AbsolutePath,
    denied: &[AbsolutePath],
    caches: Option<(AbsolutePath, Step)>,
) -> Vec<Step> {
    let mut steps = vec![Step::MountDevices];
    let roots: HashSet<AbsolutePath> = places
        .of_kind(PlaceKind::Root)
        .into_iter()
        .filter(|root| !denied.contains(root))
        .collect();
    let mut mounts: Vec<(AbsolutePath, Step)> = caches.into_iter().collect();
    for fact in &facts.places {
        // A place inside a hidden one or inside a root is no longer the host's, or is meant to be written.
        let step = match fact.place {
            PlaceName::SharedMemory => continue,
            _ if places.kind_above(fact.path.as_path()) != PlaceKind::Shown => continue,
            PlaceName::Tmp | PlaceName::VarTmp => bind(
                tmp,
                &fact.path,
                MountAccess::ReadWrite,
                None,
                MountPoint::Existing,
            ),
            PlaceName::Run | PlaceName::VarRun | PlaceName::RuntimeDirectory => {
                Step::MountTemporary {
                    target: fact.path.clone(),
                    mode: 0o755,
                    access: MountAccess::ReadOnly,
                }
            }
        };
        if places.exactly(fact.path.as_path()) != Some(PlaceKind::Root) {
            mounts.push((fact.path.clone(), step));
        }
    }
    for root in &roots {
        let id = root_id(facts, root);
        let point = mount_point(places, root, Kind::Directory);
        mounts.push((
            root.clone(),
            bind(root, root, MountAccess::ReadWrite, id, point),
        ));
    }
    for (path, source, kind) in shown(facts) {
        let enclosed = match places.kind_above(path.as_path()) {
            PlaceKind::Hidden | PlaceKind::Private => true,
            PlaceKind::Root | PlaceKind::Shown => false,
        };
        if enclosed && places.exactly(path.as_path()) == Some(PlaceKind::Shown) {
            let point = mount_point(places, &path, kind);
            mounts.push((
                path.clone(),
                bind(&source, &path, MountAccess::ReadOnly, None, point),
            ));
        }
    }
    mounts.sort_by(|a, b| a.0.cmp(&b.0));
    mounts.dedup_by(|later, earlier| later.0 == earlier.0);
    steps.extend(mounts.into_iter().map(|(_, step)| step));
    steps
}

/// What is shown below places that hide the host's own: target, source, kind.
fn shown(facts: &LinuxFacts) -> Vec<(AbsolutePath, AbsolutePath, Kind)> {
    let workspace = facts.roots.first().and_then(|root| root.object.as_ref());
    workspace
        .into_iter()
        .chain(&facts.home)
        .map(|object| (object.path.clone(), object.path.clone(), object.kind))
        .chain(
            facts
                .needed
                .iter()
                .map(|needed| (needed.path.clone(), needed.source.clone(), needed.kind)),
        )
        .chain(
            sockets::present(facts)
                .map(|(_, object)| (object.path.clone(), object.path.clone(), object.kind)),
        )
        .collect()
}

fn root_id(facts: &LinuxFacts, path: &AbsolutePath) -> Option<FileId> {
    facts
        .roots
        .iter()
        .filter_map(|root| root.object.as_ref())
        .find(|object| object.path == *path)
        .map(|object| object.id)
}

/// A mount point inside a private or hidden place has to be made; elsewhere the host's own is there.
fn mount_point(places: &Places, path: &AbsolutePath, kind: Kind) -> MountPoint {
    match (places.kind_above(path.as_path()), kind) {
        (PlaceKind::Root | PlaceKind::Shown, _) => MountPoint::Existing,
        (PlaceKind::Private | PlaceKind::Hidden, Kind::Directory) => MountPoint::MakeDirectory,
        (PlaceKind::Private | PlaceKind::Hidden, Kind::File | Kind::Other) => MountPoint::MakeFile,
    }
}

fn bind(
    source: &AbsolutePath,
    target: &AbsolutePath,
    access: MountAccess,
    identity: Option<FileId>,
    mount_point: MountPoint,
) -> Step {
    Step::Bind {
        source: source.clone(),
        target: target.clone(),
        access,
        identity,
        mount_point,
    }
}

fn hold_steps(holds: &Holds) -> Vec<Step> {
    let mut steps = Vec::with_capacity(holds.held.len());
    for held in &holds.held {
        let path = held.path.clone();
        match &held.hold {
            Hold::Pin => steps.push(Step::Pin { path }),
            Hold::Protect => steps.push(Step::Protect { path }),
            Hold::Link => steps.push(Step::ProtectLink { path }),
            Hold::Absent(_) => {}
            Hold::Hide(placeholder) => steps.push(Step::Hide {
                path,
                placeholder: *placeholder,
                mount_point: MountPoint::Existing,
            }),
            Hold::HideAround(Around { shown, masked }) => {
                steps.push(Step::MountTemporary {
                    target: path,
                    mode: 0o755,
                    access: MountAccess::ReadOnly,
                });
                let made = |kind: &Kind| match kind {
                    Kind::Directory => (Placeholder::Directory, MountPoint::MakeDirectory),
                    Kind::File | Kind::Other => (Placeholder::File, MountPoint::MakeFile),
                };
                for (path, kind) in shown {
                    let (_, point) = made(kind);
                    steps.push(bind(path, path, MountAccess::ReadOnly, None, point));
                }
                steps.extend(masked.iter().map(|(path, kind)| {
                    let (placeholder, mount_point) = made(kind);
                    Step::Hide {
                        path: path.clone(),
                        placeholder,
                        mount_point,
                    }
                }));
            }
        }
    }
    steps
}

/// The second wall: writing is refused but beneath roots and private directories.
fn ruleset(abi: Abi, places: &Places, denied: &[AbsolutePath]) -> Result<Ruleset, PlanError> {
    let mut ruleset = Ruleset::refusing_writes(abi);
    let writes = ruleset.directory_writes();
    for root in places.of_kind(PlaceKind::Root) {
        if !denied.contains(&root) {
            ruleset.allow(root, writes);
        }
    }
    for path in places.of_kind(PlaceKind::Private) {
        if !path.as_path().starts_with("/dev") && !path.as_path().starts_with("/proc") {
            ruleset.allow(path, writes);
        }
    }
    ruleset.allow(session::path("/dev")?, Rights::WRITE_NODE);
    ruleset.allow(session::path("/dev/shm")?, writes);
    ruleset.allow(
        session::path("/proc")?,
        Rights::WRITE_FILE.with(Rights::TRUNCATE),
    );
    Ok(ruleset)
}
