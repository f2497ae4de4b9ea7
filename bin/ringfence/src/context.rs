//! What a command works with: the state directory, and the policy of all layers.

use std::path::PathBuf;

use ringfence::load::managed_policy;
use ringfence::{LoadRequest, Loaded, StateDirectory, load_policy};
use ringfence_policy::path::PathError;
use ringfence_policy::{AbsolutePath, ExitCode};

use crate::cli::PolicyOptions;
use crate::failure::Failure;
use crate::layer;

/// The policy that holds for this command line, and where state is kept.
#[derive(Debug)]
pub(crate) struct Context {
    /// The state directory.
    pub(crate) state: StateDirectory,
    /// The policy and its layers.
    pub(crate) loaded: Loaded,
}

/// Why the surroundings of a command are not usable.
#[derive(Debug, thiserror::Error)]
enum ContextError {
    #[error("the workspace `{path}` can't be opened")]
    Workspace {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the current directory is gone")]
    CurrentDirectory(#[source] std::io::Error),
    #[error("`{path}` can't be used")]
    Path {
        path: PathBuf,
        #[source]
        source: PathError,
    },
    #[error("there is no home directory")]
    NoHome,
}

/// Reads all layers of the policy.
pub(crate) fn load(options: &PolicyOptions) -> Result<Context, Failure> {
    let state = StateDirectory::open()?;
    let request = LoadRequest {
        workspace: workspace(options)?,
        home: home()?,
        command_line: layer::document(options),
        config: options.config.clone(),
        managed: managed_policy(),
    };
    let loaded = load_policy(&request, &state)?;
    Ok(Context { state, loaded })
}

/// The workspace: `--workspace`, else the current directory; its real path.
pub(crate) fn workspace(options: &PolicyOptions) -> Result<AbsolutePath, Failure> {
    let path = match &options.workspace {
        Some(path) => path.clone(),
        None => current_directory()?,
    };
    let real = ringfence::paths::real(&path).map_err(|source| {
        Failure::new(
            ExitCode::PolicyInvalid,
            ContextError::Workspace {
                path: path.clone(),
                source,
            },
        )
        .with_hint("name an existing directory with --workspace")
    })?;
    absolute(real)
}

/// The current directory.
pub(crate) fn current_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|source| {
        Failure::new(
            ExitCode::PolicyInvalid,
            ContextError::CurrentDirectory(source),
        )
    })
}

/// The caller's home directory; its real path, where it exists.
pub(crate) fn home() -> Result<AbsolutePath, Failure> {
    let home = std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| {
            Failure::new(ExitCode::SetupMissing, ContextError::NoHome)
                .with_hint("set HOME to an absolute path")
        })?;
    absolute(ringfence::paths::real(&home).unwrap_or(home))
}

/// `path` as the policy takes it.
pub(crate) fn absolute(path: PathBuf) -> Result<AbsolutePath, Failure> {
    AbsolutePath::new(&path).map_err(|source| {
        Failure::new(ExitCode::PolicyInvalid, ContextError::Path { path, source })
    })
}
