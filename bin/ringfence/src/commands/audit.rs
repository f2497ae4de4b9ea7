//! `ringfence audit`: what this machine enforces, tried on the machine itself.

use crate::cli::Audit;
use crate::failure::Failure;

/// Tries everything, and prints what came of it; exit status 102 where the boundary is not held.
#[cfg(windows)]
pub(crate) fn run(options: &Audit) -> Result<u8, Failure> {
    use ringfence::audit;
    use ringfence_policy::ExitCode;

    #[derive(Debug, thiserror::Error)]
    #[error("this program does not know where it is")]
    struct Nowhere(#[source] std::io::Error);

    if let Some(name) = &options.inside {
        if let Some(answer) = audit::attempt(name) {
            crate::output::json(&answer)?;
        }
        return Ok(0);
    }
    let own = std::env::current_exe().map_err(|error| Failure::internal(Nowhere(error)))?;
    let found = audit::run(&own);
    if options.json {
        crate::output::json(&found)?;
    } else {
        crate::output::data(&audit::render(&found))?;
    }
    Ok(if found.holds() {
        0
    } else {
        ExitCode::NotEnforceable.code()
    })
}

/// Says where the same is shown on this system.
#[cfg(not(windows))]
pub(crate) fn run(_options: &Audit) -> Result<u8, Failure> {
    #[derive(Debug, thiserror::Error)]
    #[error("there is no audit on this system yet")]
    struct NoAudit;
    Err(
        Failure::new(ringfence_policy::ExitCode::Usage, NoAudit)
            .with_hint("`ringfence doctor` starts a session and shows what it holds; `ringfence demo` attacks one"),
    )
}
