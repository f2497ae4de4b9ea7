//! The plan without namespaces: Landlock and seccomp alone.

use ringfence_policy::Policy;

use crate::linux::error::PlanError;
use crate::linux::facts::LinuxFacts;
use crate::linux::landlock::Abi;
use crate::plan::{Missing, Plan};

pub(crate) fn plan(
    _policy: &Policy,
    _facts: &LinuxFacts,
    _abi: Abi,
    cause: &Missing,
) -> Result<Plan, PlanError> {
    Err(PlanError::NotEnforceable {
        cause: cause.cause.clone(),
        cure: cause.cure.clone(),
    })
}
