//! The executor of this operating system.
//!
//! Invariant: where there is none, nothing starts.

use ringfence_plan::Plan;
use ringfence_policy::Policy;

use crate::session::StartError;

/// What would be done for `policy` on this machine; nothing is done.
///
/// # Errors
/// [`StartError`] when the machine can't be examined or the policy can't be held on it.
pub fn plan(policy: &Policy, options: PlanOptions) -> Result<Plan, StartError> {
    let _ = (policy, options);
    Err(StartError::Unsupported)
}

/// What a plan depends on beside policy and host facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which calls the observer sees.
    pub observe: ringfence_plan::step::Observe,
}
