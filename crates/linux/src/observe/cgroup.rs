//! Cgroup directories in which the caller may make another; looked for only where the policy sets a limit.
//!
//! Source: kernel documents `admin-guide/cgroup-v2` (delegation) and `admin-guide/cgroup-v1/cgroups`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::{Cgroup, CgroupVersion, Controller};
use ringfence_policy::{AbsolutePath, Policy};
use rustix::fs::{Access, access};

use super::host::read_file;
use super::mounts::Mounts;

/// The cgroups that can hold `policy`'s limits, version 2 first. None is no error: limits have other mechanisms.
pub(super) fn observe(policy: &Policy, mounts: &Mounts) -> Vec<Cgroup> {
    let limits = &policy.limits;
    let mut wanted = Vec::new();
    if limits.memory.is_some() {
        wanted.push((Controller::Memory, "memory"));
    }
    if limits.processes.is_some() {
        wanted.push((Controller::Pids, "pids"));
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let own = read_file(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for (controller, name) in wanted {
        for (version, path) in [
            (CgroupVersion::V2, v2(mounts, &own, name)),
            (CgroupVersion::V1, v1(mounts, &own, name)),
        ] {
            if let Some(path) = path.and_then(|path| AbsolutePath::new(path).ok()) {
                found.push(Cgroup {
                    controller,
                    version,
                    path,
                });
            }
        }
    }
    found
}

/// The nearest directory at or above our own whose children get the controller and which the caller may write.
fn v2(mounts: &Mounts, own: &[u8], controller: &str) -> Option<PathBuf> {
    let mount = mounts.iter().find(|mount| mount.kind == b"cgroup2")?;
    let own = directory(&mount.point, &mount.root, entry(own, <[u8]>::is_empty)?);
    own.ancestors()
        .take_while(|directory| directory.starts_with(&mount.point))
        .find(|directory| {
            let enabled = read_file(&directory.join("cgroup.subtree_control")).unwrap_or_default();
            enabled
                .trim_ascii()
                .split(|byte| *byte == b' ')
                .any(|name| name == controller.as_bytes())
                && is_writable(directory)
        })
        .map(Path::to_owned)
}

fn v1(mounts: &Mounts, own: &[u8], controller: &str) -> Option<PathBuf> {
    let holds = |list: &[u8]| {
        list.split(|byte| *byte == b',')
            .any(|name| name == controller.as_bytes())
    };
    let mount = mounts
        .iter()
        .find(|mount| mount.kind == b"cgroup" && holds(&mount.options))?;
    let own = directory(&mount.point, &mount.root, entry(own, holds)?);
    is_writable(&own).then_some(own)
}

/// The path of the line of `/proc/self/cgroup` whose controllers fit: `4:memory:/user.slice`.
fn entry(own: &[u8], fits: impl Fn(&[u8]) -> bool) -> Option<&Path> {
    own.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        fits(controllers).then(|| Path::new(OsStr::from_bytes(path)))
    })
}

/// Where `own`, a path in the hierarchy, lies on disk when `root` of the hierarchy is mounted at `point`.
fn directory(point: &Path, root: &Path, own: &Path) -> PathBuf {
    let relative = own
        .strip_prefix(root)
        .or_else(|_| own.strip_prefix("/"))
        .unwrap_or(own);
    point.join(relative)
}

/// Making a cgroup needs the directory, moving a process into it the list of processes.
fn is_writable(directory: &Path) -> bool {
    access(directory, Access::WRITE_OK).is_ok()
        && access(directory.join("cgroup.procs"), Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_line_is_found_by_controller() {
        let own = b"4:memory:/user\n3:cpu,pids:/b:c\n0::/unified\n";
        let path = |name: &'static [u8]| {
            entry(own, move |list| {
                list.split(|byte| *byte == b',').any(|one| one == name)
            })
        };
        assert_eq!(path(b"memory"), Some(Path::new("/user")));
        assert_eq!(path(b"pids"), Some(Path::new("/b:c")));
        assert_eq!(entry(own, <[u8]>::is_empty), Some(Path::new("/unified")));
        assert_eq!(path(b"io"), None);
    }

    #[test]
    fn a_container_sees_its_own_cgroup_at_the_mount() {
        let place = directory(
            Path::new("/sys/fs/cgroup"),
            Path::new("/docker/x"),
            Path::new("/docker/x/y"),
        );
        assert_eq!(place, Path::new("/sys/fs/cgroup/y"));
    }
}
