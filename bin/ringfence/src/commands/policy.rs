//! `ringfence policy check|schema`: the policy of all layers with its provenance, and the schema of its files.

use crate::cli::{Policy, PolicyCheck};
use crate::context;
use crate::failure::Failure;
use crate::output;

/// Checks, or prints the schema.
pub(crate) fn run(options: &Policy) -> Result<u8, Failure> {
    match options {
        Policy::Check(options) => check(options),
        Policy::Schema => {
            output::json(&schemars::schema_for!(ringfence_policy::PolicyDocument))?;
            Ok(0)
        }
    }
}

fn check(options: &PolicyCheck) -> Result<u8, Failure> {
    let context = context::load(&options.policy)?;
    output::json(&context.loaded.policy)?;
    Ok(0)
}
