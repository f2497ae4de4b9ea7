//! `ringfence plan`: what would be done to this machine, and nothing done.

use crate::cli::Plan;
use crate::context;
use crate::failure::Failure;
use crate::output;

/// Prints the plan.
pub(crate) fn run(options: &Plan) -> Result<u8, Failure> {
    let context = context::load(&options.policy)?;
    let plan = ringfence::platform::plan(
        &context.loaded.policy,
        ringfence::platform::PlanOptions {
            observe: options.observe,
        },
    )?;
    output::json(&plan)?;
    Ok(0)
}
