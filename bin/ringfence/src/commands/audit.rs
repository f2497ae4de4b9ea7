//! `ringfence audit`: what this machine enforces, tried on the machine itself.

use crate::cli::Audit;
use crate::failure::Failure;

/// Tries everything, and prints what came of it; exit status 102 where the boundary is not
/// held, 105 where some of it could not be tried.
#[cfg(windows)]
pub(crate) fn run(options: &Audit) -> Result<u8, Failure> {
    use ringfence::audit;

    use crate::cli::PolicyOptions;
    use crate::context;

    #[derive(Debug, thiserror::Error)]
    #[error("this program does not know where it is")]
    struct Nowhere(#[source] std::io::Error);

    if let Some(name) = &options.inside {
        // Where nobody reads it there is nobody to tell.
        let _unread = audit::inside(name, options.stage.as_deref(), &mut std::io::stdout());
        return Ok(0);
    }
    let policy = context::load(&PolicyOptions::default())?.loaded.policy;
    let own = std::env::current_exe().map_err(|error| Failure::internal(Nowhere(error)))?;
    let found = audit::run(own, &policy).map_err(Failure::internal)?;
    if options.json {
        crate::output::json(&found)?;
    } else {
        crate::output::data(&audit::render(&found))?;
    }
    Ok(audit::exit_of(&found))
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
