//! How limits are held: by a cgroup where the caller may make one, else by what is left.
//!
//! Invariant: a limit of the policy has a step; never `RLIMIT_AS`, which breaks WebAssembly.

use ringfence_policy::Policy;

use crate::linux::facts::{CgroupVersion, Controller, LinuxFacts};
use crate::step::{LimitMechanism, Step};

/// The steps that hold the policy's limits.
pub(crate) fn steps(
    policy: &Policy,
    facts: &LinuxFacts,
    user_namespace: UserNamespace,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(bytes) = &policy.limits.memory {
        steps.push(Step::LimitMemory {
            bytes: bytes.value.0,
            mechanism: cgroup(facts, Controller::Memory).unwrap_or(LimitMechanism::Watched),
        });
    }
    if let Some(count) = &policy.limits.processes {
        steps.push(Step::LimitProcesses {
            count: count.value,
            mechanism: cgroup(facts, Controller::Pids).unwrap_or(
                // RLIMIT_NPROC counts the user's processes: per user namespace, on the whole host without one.
                match (user_namespace, facts.target_identity().0) {
                    (UserNamespace::Own, uid) if uid != 0 => LimitMechanism::ResourceLimit,
                    (UserNamespace::Own | UserNamespace::Shared, _) => LimitMechanism::Watched,
                },
            ),
        });
    }
    steps
}

/// Whether the session has a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserNamespace {
    /// It has.
    Own,
    /// It lives in the caller's.
    Shared,
}

fn cgroup(facts: &LinuxFacts, controller: Controller) -> Option<LimitMechanism> {
    facts
        .cgroups
        .iter()
        .filter(|cgroup| cgroup.controller == controller)
        .map(|cgroup| match cgroup.version {
            CgroupVersion::V2 => LimitMechanism::CgroupV2 {
                parent: cgroup.path.clone(),
            },
            CgroupVersion::V1 => LimitMechanism::CgroupV1 {
                parent: cgroup.path.clone(),
            },
        })
        .next()
}
