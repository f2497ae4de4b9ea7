//! Memory and process limits: control groups where the caller may write them, else init looks for itself.
//!
//! Never `RLIMIT_AS`: it breaks programs that reserve address space (WebAssembly runtimes, measured).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use ringfence_plan::step::LimitMechanism;
use ringfence_plan::{Plan, Step};
use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::{AbsolutePath, Grant, Operation, RuleId};

/// How often a watched limit is looked at, in milliseconds.
pub(crate) const WATCH_INTERVAL: u64 = 250;
/// What our control groups are called: this and the process id of the session's init on the host.
const GROUP_PREFIX: &str = "ringfence-";

/// Why a limit could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    /// mkdir of a control group failed.
    #[error("make the control group {path}")]
    Make {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A control file could not be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl LimitError {
    /// The kernel's error number.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Make { source, .. } | Self::Write { source, .. } => {
                Errno::from_io_error(source).unwrap_or(Errno::IO)
            }
        }
    }
}

/// The limits of a session and how they are held.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// `RLIMIT_NPROC` for every command.
    pub(crate) process_limit: Option<u64>,
    watched_memory: Option<u64>,
    watched_processes: Option<u32>,
    events: Option<fs::File>,
    refused_forks: Option<RefusedForks>,
}

/// Where the kernel counts the processes that it refused to make.
#[derive(Debug)]
struct RefusedForks {
    events: fs::File,
    limit: u32,
    told: u64,
}

/// What a look at the watched limits found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Within the limits.
    Within,
    /// Above the memory limit.
    Memory,
    /// Above the process limit.
    Processes,
}

impl Limits {
    /// Sets the memory limit.
    pub(crate) fn memory(
        &mut self,
        bytes: u64,
        mechanism: &LimitMechanism,
    ) -> Result<(), LimitError> {
        match mechanism {
            LimitMechanism::CgroupV2 { parent } => {
                let group = join_group(parent, "cgroup.procs", &[("memory.max", bytes)])?;
                // Swap would let the limit be passed by slowness alone; a kernel without swap accounting lacks the file.
                fs::write(group.join("memory.swap.max"), "0").or_else(ignore_missing(&group))?;
                self.events = fs::File::open(group.join("memory.events")).ok();
                Ok(())
            }
            LimitMechanism::CgroupV1 { parent } => {
                let group =
                    join_group(parent, "cgroup.procs", &[("memory.limit_in_bytes", bytes)])?;
                self.events = fs::File::open(group.join("memory.oom_control")).ok();
                Ok(())
            }
            LimitMechanism::Watched | LimitMechanism::ResourceLimit => {
                self.watched_memory = Some(bytes);
                Ok(())
            }
        }
    }

    /// Sets the limit on processes and threads.
    pub(crate) fn processes(
        &mut self,
        count: u32,
        mechanism: &LimitMechanism,
    ) -> Result<(), LimitError> {
        match mechanism {
            LimitMechanism::CgroupV2 { parent } | LimitMechanism::CgroupV1 { parent } => {
                // init itself and its spawner thread live in the group too.
                let group = join_group(
                    parent,
                    "cgroup.procs",
                    &[("pids.max", u64::from(count) + 2)],
                )?;
                let events = fs::File::open(group.join("pids.events")).ok();
                self.refused_forks = events.map(|events| RefusedForks {
                    events,
                    limit: count,
                    told: 0,
                });
                Ok(())
            }
            LimitMechanism::ResourceLimit => {
                self.process_limit = Some(u64::from(count) + 2);
                Ok(())
            }
            LimitMechanism::Watched => {
                self.watched_processes = Some(count);
                Ok(())
            }
        }
    }

    /// Whether init must look from time to time.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched_memory.is_some() || self.watched_processes.is_some()
    }

    /// Looks at the session's processes, all of which `/proc` shows but init itself.
    pub(crate) fn look(&self) -> Watch {
        let own = std::process::id();
        let mut memory = 0_u64;
        let mut threads = 0_u32;
        for pid in process_ids().filter(|pid| *pid != own) {
            if self.watched_memory.is_some() {
                memory = memory.saturating_add(proportional_memory(pid));
            }
            if self.watched_processes.is_some() {
                threads = threads.saturating_add(thread_count(pid));
            }
        }
        if self.watched_memory.is_some_and(|limit| memory > limit) {
            return Watch::Memory;
        }
        if self.watched_processes.is_some_and(|limit| threads > limit) {
            return Watch::Processes;
        }
        Watch::Within
    }

    /// Whether the kernel has ended a process of the session for lack of memory.
    pub(crate) fn memory_was_exhausted(&self) -> bool {
        let events = self.events.as_ref();
        events.is_some_and(|events| count_of(events, "oom_kill ") > 0)
    }

    /// What the limit on processes has refused since it was last asked, and how often.
    ///
    /// Source: kernel document `admin-guide/cgroup-v2`, `pids.events`. Where the limit is `RLIMIT_NPROC` nothing counts.
    pub(crate) fn take_refused_forks(&mut self) -> Option<(Denial, u32)> {
        let refused = self.refused_forks.as_mut()?;
        let count = count_of(&refused.events, "max ");
        let new = count.saturating_sub(refused.told);
        refused.told = count;
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        (new > 0).then(|| (process_denial(refused.limit), new))
    }
}

/// A process that was not made because of the policy's limit.
fn process_denial(limit: u32) -> Denial {
    let more = limit.saturating_mul(2);
    Denial {
        operation: Operation::Syscall,
        object: format!("clone: {limit} processes and threads are the limit"),
        rule: RuleId::ProcessLimit,
        grant: Some(Grant {
            arguments: vec!["--limit".to_owned(), format!("processes={more}")],
            caution: String::new(),
        }),
        refused_root: None,
        syscall: "clone".to_owned(),
        evidence: Evidence::Refused,
        own_permissions: OwnPermissions::Allow,
        process: None,
    }
}

/// The number after `key` in a control group's file of counters; 0 where there is none.
fn count_of(mut events: &fs::File, key: &str) -> u64 {
    use std::io::{Read, Seek};
    let mut text = String::new();
    if events.rewind().is_err() || events.read_to_string(&mut text).is_err() {
        return 0;
    }
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Makes a group below `parent`, writes its limits, and moves this process (init) into it.
///
/// Empty groups of sessions that were killed are removed on the way: a group with a process in it can't be.
fn join_group(
    parent: &AbsolutePath,
    members: &str,
    limits: &[(&str, u64)],
) -> Result<PathBuf, LimitError> {
    let parent = parent.as_path();
    remove_empty_groups(parent);
    // The host's id of this process: init's own view of it is always 1.
    let name = fs::read_link("/proc/self")
        .unwrap_or_else(|_| PathBuf::from(std::process::id().to_string()));
    let group = group_of(parent, &name.display());
    match fs::create_dir(&group) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(LimitError::Make {
                path: group,
                source,
            });
        }
        _ => {}
    }
    for (file, value) in limits {
        let path = group.join(file);
        fs::write(&path, value.to_string()).map_err(|source| LimitError::Write { path, source })?;
    }
    let path = group.join(members);
    fs::write(&path, "0").map_err(|source| LimitError::Write { path, source })?;
    Ok(group)
}

/// The group below `parent` of the session whose init has this process id on the host.
fn group_of(parent: &Path, init: &dyn Display) -> PathBuf {
    parent.join(format!("{GROUP_PREFIX}{init}"))
}

/// The control groups that init makes for `plan` where its process id on the host is `init`.
pub(crate) fn groups_of(plan: &Plan, init: i32) -> Vec<PathBuf> {
    let limits = plan.steps.iter().filter_map(|step| {
        let (Step::LimitMemory { mechanism, .. } | Step::LimitProcesses { mechanism, .. }) = step
        else {
            return None;
        };
        Some(mechanism)
    });
    let parents = limits.filter_map(|mechanism| match mechanism {
        LimitMechanism::CgroupV2 { parent } | LimitMechanism::CgroupV1 { parent } => Some(parent),
        LimitMechanism::Watched | LimitMechanism::ResourceLimit => None,
    });
    let groups: BTreeSet<_> = parents
        .map(|parent| group_of(parent.as_path(), &init))
        .collect();
    groups.into_iter().collect()
}

fn remove_empty_groups(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if is_left_behind(&entry.file_name()) {
            // Fails with EBUSY while a process is in it.
            drop(fs::remove_dir(entry.path()));
        }
    }
}

/// Whether a group is one of ours and its init is gone. A living one may be about to join: its group is empty until
/// then.
fn is_left_behind(name: &OsStr) -> bool {
    let init = name
        .to_str()
        .and_then(|name| name.strip_prefix(GROUP_PREFIX));
    init.and_then(|init| init.parse::<u32>().ok())
        .is_some_and(|init| !Path::new("/proc").join(init.to_string()).exists())
}

fn ignore_missing(group: &Path) -> impl FnOnce(io::Error) -> Result<(), LimitError> {
    let path = group.join("memory.swap.max");
    move |source| match source.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(LimitError::Write { path, source }),
    }
}

/// The ids of all processes that `/proc` shows.
pub(crate) fn process_ids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        })
}

/// Proportional set size in bytes, proc(5) `smaps_rollup`; 0 for a process that is gone.
fn proportional_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes.saturating_mul(1024))
}

/// Number of threads, proc(5) `status`; 0 for a process that is gone.
fn thread_count(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("Threads:"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_refused_is_told_once() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("pids.events");
        fs::write(&path, "max 0\n").unwrap();
        let mut limits = Limits {
            refused_forks: Some(RefusedForks {
                events: fs::File::open(&path).unwrap(),
                limit: 8,
                told: 0,
            }),
            ..Limits::default()
        };
        assert_eq!(limits.take_refused_forks(), None);
        fs::write(&path, "max 3\n").unwrap();
        let (denial, count) = limits.take_refused_forks().unwrap();
        assert_eq!((denial.rule, count), (RuleId::ProcessLimit, 3));
        assert_eq!(denial.grant.unwrap().arguments, ["--limit", "processes=16"]);
        assert_eq!(limits.take_refused_forks(), None);
    }

    #[test]
    fn only_groups_whose_init_is_gone_are_left_behind() {
        let own = format!("{GROUP_PREFIX}{}", std::process::id());
        assert!(!is_left_behind(OsStr::new(&own)));
        // Above the highest process id there can be, proc(5) `pid_max`.
        assert!(is_left_behind(OsStr::new("ringfence-4194305")));
        assert!(!is_left_behind(OsStr::new("ringfence-")));
        assert!(!is_left_behind(OsStr::new("user.slice")));
    }
}
