//! Where a person's tools keep what they fetch, and whether a session's own can be laid over it.
//!
//! Reads the variables that a command would get, not the caller's own: what the policy withholds moves no cache.
//! Invariant: a part is left out rather than reported where another mount lies on it or above it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::{CacheFact, CacheName, Overlay, Setting};
use ringfence_policy::Policy;
use ringfence_policy::environment::filter;
use rustix::fs::CWD;

use super::error::ObserveError;
use super::host;
use super::mounts::Mounts;
use super::resolve::{Resolved, resolve};

/// A cache's variable, what is appended to its value, and the place below the home without it.
struct Kind {
    cache: CacheName,
    variables: &'static [&'static str],
    default: &'static str,
    /// What of it the tool fills; an empty name is the whole.
    parts: &'static [&'static str],
    /// The variable by which a session could lead the tool elsewhere.
    setting: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        cache: CacheName::User,
        variables: &["XDG_CACHE_HOME"],
        default: ".cache",
        parts: &[""],
        setting: "XDG_CACHE_HOME",
    },
    Kind {
        cache: CacheName::Npm,
        variables: &["npm_config_cache", "NPM_CONFIG_CACHE"],
        default: ".npm",
        parts: &[""],
        setting: "npm_config_cache",
    },
    Kind {
        cache: CacheName::Cargo,
        variables: &["CARGO_HOME"],
        default: ".cargo",
        parts: &["registry", "git"],
        setting: "CARGO_HOME",
    },
    Kind {
        cache: CacheName::Go,
        variables: &["GOPATH"],
        default: "go",
        parts: &["pkg"],
        setting: "GOPATH",
    },
    Kind {
        cache: CacheName::Maven,
        variables: &[],
        default: ".m2",
        parts: &["repository"],
        setting: "MAVEN_OPTS",
    },
];

/// Looks every cache up.
///
/// # Errors
/// As [`resolve`].
pub(super) fn observe(
    policy: &Policy,
    home: &Resolved,
    mounts: &Mounts,
) -> Result<Vec<CacheFact>, ObserveError> {
    let variables = Variables::of(policy);
    let mounts = mounts.below(&home.path);
    let mut caches = Vec::with_capacity(KINDS.len());
    for kind in &KINDS {
        let chosen = kind
            .variables
            .iter()
            .find_map(|name| variables.get(name))
            .map(first_of_list)
            .filter(|path| path.is_absolute());
        let top = resolve(&chosen.unwrap_or_else(|| home.path.join(kind.default)))?;
        let mut parts = Vec::new();
        if top.stat.is_some() {
            for name in kind.parts {
                let path = if name.is_empty() {
                    top.path.clone()
                } else {
                    top.path.join(name)
                };
                let part = resolve(&path)?.object();
                parts.extend(part.filter(|part| {
                    let path = part.path.as_path();
                    !mounts.iter().any(|mount| path.starts_with(mount))
                }));
            }
        }
        let setting = match variables.get(kind.setting) {
            Some(_) => Setting::Set,
            None => Setting::Unset,
        };
        caches.push(CacheFact {
            cache: kind.cache,
            object: top.object(),
            parts,
            setting,
        });
    }
    Ok(caches)
}

/// `GOPATH` is a list, of which the first entry is written to; the others are single paths.
fn first_of_list(value: &OsStr) -> PathBuf {
    std::env::split_paths(value).next().unwrap_or_default()
}

/// The variables of a command that say where caches are.
struct Variables(Vec<(OsString, OsString)>);

impl Variables {
    fn of(policy: &Policy) -> Self {
        let set = KINDS
            .iter()
            .flat_map(|kind| kind.variables.iter().chain([&kind.setting]))
            .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        Self(filter(&policy.environment, set).kept)
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }
}

/// File systems that can hold an overlay's writable layer: extended attributes, file types in directories, and a
/// kernel that allows it (kernel document `filesystems/overlayfs`). `f_type` of statfs(2).
const UPPER: [u64; 4] = [
    0xEF53,      // ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0xF2F5_2010, // f2fs
];

/// What speaks against an overlay with its layers below `state`: cheap hints, no proof.
pub(super) fn probe_overlay(state: &Resolved) -> Overlay {
    let refused = |cause: &str| Overlay::Refused {
        cause: cause.to_owned(),
    };
    // 5.11 was the first that mounts an overlay in a user namespace.
    if version(&host::kernel_release()).is_some_and(|version| version < (5, 11)) {
        return refused("the kernel is older than Linux 5.11");
    }
    let directory: &Path = &state.existing;
    let Ok(found) = rustix::fs::statfs(directory) else {
        return refused("the state directory's file system says nothing of itself");
    };
    let known = UPPER
        .iter()
        .any(|kind| i64::try_from(*kind) == Ok(found.f_type));
    if !known {
        return refused("the state directory's file system can't hold a layer of an overlay");
    }
    let listed = host::read_at(
        CWD,
        OsStr::from_bytes(b"/proc/filesystems"),
        rustix::fs::OFlags::empty(),
    );
    let is_listed = listed.is_ok_and(|text| text.windows(8).any(|word| word == b"\toverlay"));
    if is_listed || has_module() {
        Overlay::Available
    } else {
        refused("the kernel has no overlay file system")
    }
}

/// The first mount loads the module where there is one.
fn has_module() -> bool {
    let directory = format!(
        "/lib/modules/{}/kernel/fs/overlayfs",
        host::kernel_release()
    );
    rustix::fs::access(directory, rustix::fs::Access::EXISTS).is_ok()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        assert_eq!(version("6.8.0-45-generic"), Some((6, 8)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("odd"), None);
        assert!(version("5.9.1") < Some((5, 11)));
    }
}
