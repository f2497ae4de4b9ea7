//! The places that every session replaces or hides, and what commands need below them.

use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::{
    Forbidden, ForbiddenReason, Kind, Needed, Object, PlaceFact, PlaceName, RootFacts,
};

use ringfence_policy::system::SYSTEM_DIRECTORIES;

use super::error::ObserveError;
use super::mounts::Mounts;
use super::resolve::{Resolved, absolute, file_id, kind, look_up, resolve};

/// File systems that show the kernel's own objects as files: writing there steers the machine.
const KERNEL_FILE_SYSTEMS: [&[u8]; 18] = [
    b"binfmt_misc",
    b"bpf",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"devtmpfs",
    b"efivarfs",
    b"fusectl",
    b"mqueue",
    b"nfsd",
    b"proc",
    b"pstore",
    b"securityfs",
    b"selinuxfs",
    b"sysfs",
    b"tracefs",
];

/// Looks the places up; what is absent, or is the same directory as one before, is left out.
///
/// # Errors
/// As [`resolve`].
pub(super) fn observe() -> Result<Vec<PlaceFact>, ObserveError> {
    let named = [
        (PlaceName::Tmp, "/tmp"),
        (PlaceName::VarTmp, "/var/tmp"),
        (PlaceName::Run, "/run"),
        (PlaceName::VarRun, "/var/run"),
        (PlaceName::SharedMemory, "/dev/shm"),
    ];
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let wanted = named
        .into_iter()
        .map(|(place, path)| (place, PathBuf::from(path)))
        .chain(runtime.map(|path| (PlaceName::RuntimeDirectory, path)))
        .filter(|(_, path)| path.is_absolute());
    let mut places: Vec<PlaceFact> = Vec::new();
    for (place, path) in wanted {
        let found = resolve(&path)?;
        let directory = found
            .object()
            .filter(|object| object.kind == Kind::Directory);
        let Some(object) = directory else { continue };
        let is_root = object.path.as_path().parent().is_none();
        if !is_root && places.iter().all(|known| known.path != object.path) {
            places.push(PlaceFact {
                place,
                path: object.path,
            });
        }
    }
    Ok(places)
}

/// The resolver's configuration and the entries of `PATH` that lie below `places`, by name or once resolved.
///
/// # Errors
/// As [`resolve`].
pub(super) fn observe_needed(places: &[PlaceFact]) -> Result<Vec<Needed>, ObserveError> {
    let enclosed = |path: &Path| {
        places
            .iter()
            .any(|place| path.starts_with(place.path.as_path()))
    };
    let mut needed = Vec::new();
    let mut add = |path: &Path, found: &Resolved, origin: &str| -> Result<(), ObserveError> {
        if let Some(stat) = found.stat.as_ref().filter(|_| enclosed(path)) {
            needed.push(Needed {
                path: absolute(path)?,
                source: found.absolute()?,
                kind: kind(stat),
                origin: origin.to_owned(),
            });
        }
        Ok(())
    };
    let resolver = "/etc/resolv.conf";
    let found = resolve(Path::new(resolver))?;
    for link in &found.links {
        add(link, &found, resolver)?;
    }
    add(&found.path, &found, resolver)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut entries: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|entry| entry.is_absolute())
        .collect();
    entries.sort_unstable();
    entries.dedup();
    for entry in entries {
        let found = resolve(&entry)?;
        let origin = format!("PATH entry {}", entry.display());
        add(&found.path, &found, &origin)?;
        if found.path != entry {
            add(&entry, &found, &origin)?;
        }
    }
    needed.sort_by(|a, b| a.path.cmp(&b.path));
    needed.dedup_by(|later, earlier| later.path == earlier.path);
    Ok(needed)
}

/// The system's own directories, and the roots that lie on a file system of the kernel mounted anywhere.
fn system(roots: &[RootFacts], mounts: &Mounts) -> Result<Vec<Forbidden>, ObserveError> {
    let mut objects = Vec::new();
    let mut add = |object: Object| {
        objects.push(Forbidden {
            id: object.id,
            path: object.path,
            reason: ForbiddenReason::System,
        });
    };
    for name in SYSTEM_DIRECTORIES {
        let found = resolve(Path::new(name))?.object();
        found.into_iter().for_each(&mut add);
    }
    let of_kernel = roots
        .iter()
        .filter_map(|root| root.object.as_ref())
        .filter(|object| {
            let mount = mounts.of(object.path.as_path());
            mount.is_some_and(|mount| KERNEL_FILE_SYSTEMS.contains(&mount.kind.as_slice()))
        });
    of_kernel.cloned().for_each(&mut add);
    Ok(objects)
}

/// The objects that may not be a writable root: `/`, the home itself, our state and every directory above it, and what
/// is the system's own.
///
/// # Errors
/// As [`resolve`].
pub(super) fn forbidden(
    home: &Resolved,
    state: &Resolved,
    roots: &[RootFacts],
    mounts: &Mounts,
) -> Result<Vec<Forbidden>, ObserveError> {
    let mut objects = system(roots, mounts)?;
    if let Some(stat) = &home.stat {
        objects.push(Forbidden {
            id: file_id(stat),
            path: home.absolute()?,
            reason: ForbiddenReason::Home,
        });
    }
    for path in state.path.ancestors() {
        let Some(stat) = look_up(path)? else { continue };
        let reason = if path.parent().is_none() {
            ForbiddenReason::FileSystemRoot
        } else {
            ForbiddenReason::HoldsState
        };
        objects.push(Forbidden {
            id: file_id(&stat),
            path: absolute(path)?,
            reason,
        });
    }
    Ok(objects)
}
