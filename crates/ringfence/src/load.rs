//! Reads the policy files and makes one policy of them.
//!
//! What the files mean is the policy crate's business. Invariant: a project file widens nothing unless a person
//! trusted exactly its content, and the administrator's file is the administrator's.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_policy::document::PolicyDocument;
use ringfence_policy::escape::escape_os;
use ringfence_policy::layers::{Context, Layer, LayerKind, ResolveError, Trust};
use ringfence_policy::parse::ParseError;
use ringfence_policy::path::PathError;
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, ExitCode, Policy, resolve};

use crate::digest::Digest;
use crate::own_file::{self, OwnFile, OwnFileError};
use crate::state::StateDirectory;
use crate::text_file::{self, TextFile};
use crate::trust::TrustStore;

/// The administrator's policy file.
pub const MANAGED_POLICY: &str = "/etc/ringfence/policy.toml";
/// The administrator's policy file of this machine: [`MANAGED_POLICY`], on Windows `Ringfence\\policy.toml` in
/// `%ProgramData%`, as the system tells it and not the environment.
#[must_use]
pub fn managed_policy() -> PathBuf {
    #[cfg(windows)]
    if let Ok(data) = ringfence_windows::observe::machine::program_data() {
        return Path::new(&data.to_string()).join(r"Ringfence\policy.toml");
    }
    PathBuf::from(MANAGED_POLICY)
}

/// The user's policy file, below the configuration directory.
pub const USER_POLICY: &str = "ringfence/policy.toml";
/// The project's policy file, below the workspace.
pub const PROJECT_POLICY: &str = ".ringfence/policy.toml";
/// The largest policy file that is read, in bytes.
pub const POLICY_FILE_LIMIT: u64 = 1 << 20;

#[cfg(not(any(target_os = "macos", windows)))]
const PLATFORM: Platform = Platform::Linux;
#[cfg(target_os = "macos")]
const PLATFORM: Platform = Platform::MacOs;
#[cfg(windows)]
const PLATFORM: Platform = Platform::Windows;

/// What a policy is loaded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// The directory the command works in.
    pub workspace: AbsolutePath,
    /// The caller's home directory.
    pub home: AbsolutePath,
    /// What the command line says.
    pub command_line: PolicyDocument,
    /// A file to read instead of the user's own (`--config`).
    pub config: Option<PathBuf>,
    /// The administrator's file; [`MANAGED_POLICY`] but in tests, and never taken from the environment.
    pub managed: PathBuf,
}

/// One layer that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedLayer {
    /// Which layer it is.
    pub kind: LayerKind,
    /// The file, or `command line`.
    pub source: String,
    /// The digest of the file's content.
    pub digest: Option<Digest>,
    /// Whether a person has trusted it; only asked of a project file.
    pub trust: Trust,
}

/// A policy and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What was read, strongest first.
    pub layers: Vec<LoadedLayer>,
    /// What a person should know, one line each.
    pub notes: Vec<String>,
}

/// Why there is no policy; nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("policy file `{path}` could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file of `--config` does not exist.
    #[error("policy file `{path}` does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A path could not be resolved.
    #[error("`{path}` could not be resolved")]
    Resolve {
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A resolved path is no path we can use.
    #[error("`{path}` can't be used")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: PathError,
    },
    /// Somebody but the administrator could have written the managed file.
    #[error("managed policy `{path}` is not the administrator's alone: {reason}")]
    ManagedNotBelieved {
        /// The file or its directory.
        path: PathBuf,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// It can't be told whether somebody but the administrator could have written the managed file.
    #[cfg(windows)]
    #[error("it can't be told who may write the managed policy `{path}`")]
    ManagedUnknown {
        /// The file or its directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ringfence_windows::custody::CustodyError>,
    },
    /// A command could write the user's file, and so widen the next run.
    #[error("the policy is not yours alone")]
    OwnFile(#[source] OwnFileError),
    /// A file is no policy.
    #[error("the policy is invalid")]
    Parse(#[source] ParseError),
    /// The layers make no policy.
    #[error("the policy is invalid")]
    Merge(#[source] ResolveError),
}

impl LoadError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Read { .. }
            | Self::Missing { .. }
            | Self::Resolve { .. }
            | Self::Path { .. }
            | Self::ManagedNotBelieved { .. }
            | Self::Parse(_) => ExitCode::PolicyInvalid,
            #[cfg(windows)]
            Self::ManagedUnknown { .. } => ExitCode::PolicyInvalid,
            Self::OwnFile(error) => error.exit_code(),
            Self::Merge(error) => error.exit_code(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { path, .. } => format!(
                "make {} a readable regular file of at most 1 MiB",
                path.display()
            ),
            Self::Missing { .. } => "name an existing file with --config".to_owned(),
            Self::Resolve { .. } | Self::Path { .. } => {
                "name an existing directory with --workspace".to_owned()
            }
            Self::ManagedNotBelieved { path, .. } => {
                let path = escape_os(path);
                if cfg!(unix) {
                    format!("as the administrator: chown root {path} && chmod go-w {path}")
                } else {
                    format!("let administrators alone own and write {path}")
                }
            }
            #[cfg(windows)]
            Self::ManagedUnknown { path, .. } => {
                format!("let administrators alone own and write {}", escape_os(path))
            }
            Self::OwnFile(error) => error.hint(),
            Self::Parse(error) => error.hint(),
            Self::Merge(error) => error.hint(),
        }
    }
}

impl LoadRequest {
    /// A request with no options, for a workspace and a home.
    #[must_use]
    pub fn new(workspace: AbsolutePath, home: AbsolutePath) -> Self {
        Self {
            workspace,
            home,
            command_line: PolicyDocument::default(),
            config: None,
            managed: managed_policy(),
        }
    }

    /// The user's own file: `--config`, else `~/.config/ringfence/policy.toml`.
    ///
    /// The home is the request's; the environment does not choose where limits are read from.
    #[must_use]
    pub fn user_policy(&self) -> PathBuf {
        match &self.config {
            Some(path) => path.clone(),
            None => self.home.as_path().join(".config").join(USER_POLICY),
        }
    }
}

/// Reads the managed, user and project files, and merges them with the command line.
///
/// # Errors
/// [`LoadError`]: a file that can't be read or believed is an error, never a layer less.
///
/// # Security
/// The project file is an attacker's. It is read as a regular file only, never through a link at its end (the error
/// that quotes a bad line must not quote a secret), and narrows unless its digest is trusted.
pub fn load_policy(request: &LoadRequest, state: &StateDirectory) -> Result<Loaded, LoadError> {
    let workspace = real(&request.workspace)?;
    let home = real(&request.home)?;
    let mut reading = Reading {
        layers: Vec::new(),
        loaded: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(text) = read(&request.managed)? {
        believe_managed(&request.managed, &text)?;
        reading.add(LayerKind::Managed, &request.managed, &text, Trust::Trusted)?;
    }
    reading.add_command_line(request.command_line.clone());
    let user = request.user_policy();
    match read(&user)? {
        Some(text) => reading.add(LayerKind::User, &user, &text, Trust::Trusted)?,
        None if request.config.is_some() => return Err(LoadError::Missing { path: user }),
        None => {}
    }
    reading.add_project(&workspace, state)?;
    let context = Context {
        home,
        workspace,
        state: state.path().clone(),
        platform: PLATFORM,
    };
    let policy = resolve(&reading.layers, &context).map_err(LoadError::Merge)?;
    own_file::check(&policy, OwnFile::Policy, &user).map_err(LoadError::OwnFile)?;
    Ok(Loaded {
        policy,
        layers: reading.loaded,
        notes: reading.notes,
    })
}

struct Reading {
    layers: Vec<Layer>,
    loaded: Vec<LoadedLayer>,
    notes: Vec<String>,
}

impl Reading {
    fn add(
        &mut self,
        kind: LayerKind,
        path: &Path,
        text: &TextFile,
        trust: Trust,
    ) -> Result<(), LoadError> {
        let source = escape_os(path);
        let layer =
            Layer::from_file(kind, source.clone(), &text.bytes, trust).map_err(LoadError::Parse)?;
        let digest = Some(Digest::of(&text.bytes));
        self.loaded.push(LoadedLayer {
            kind,
            source,
            digest,
            trust,
        });
        self.layers.push(layer);
        Ok(())
    }

    fn add_command_line(&mut self, document: PolicyDocument) {
        if document == PolicyDocument::default() {
            return;
        }
        let layer = Layer::from_command_line(document);
        let (kind, source, trust) = (layer.kind, layer.source.clone(), layer.trust);
        self.loaded.push(LoadedLayer {
            kind,
            source,
            digest: None,
            trust,
        });
        self.layers.push(layer);
    }

    fn add_project(
        &mut self,
        workspace: &AbsolutePath,
        state: &StateDirectory,
    ) -> Result<(), LoadError> {
        // Part by part, so that it is spelt with this system's separators.
        let mut path = workspace.as_path().to_owned();
        path.extend(PROJECT_POLICY.split('/'));
        let Some(text) = read(&path)? else {
            return Ok(());
        };
        let trust = self.judge_trust(&path, &text, state)?;
        self.add(LayerKind::Project, &path, &text, trust)
    }

    /// The directory may be a link, so the path that was trusted is the real one; the file itself is none.
    fn judge_trust(
        &mut self,
        path: &Path,
        text: &TextFile,
        state: &StateDirectory,
    ) -> Result<Trust, LoadError> {
        let real = real(&absolute(path)?)?;
        match TrustStore::open(state).is_trusted(&real, &Digest::of(&text.bytes)) {
            Ok(trust) => Ok(trust),
            Err(error) => {
                self.notes.push(format!(
                    "{error}: {} may only narrow ({})",
                    path.display(),
                    error.hint()
                ));
                Ok(Trust::Untrusted)
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<TextFile>, LoadError> {
    text_file::read(path, POLICY_FILE_LIMIT).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })
}

fn absolute(path: &Path) -> Result<AbsolutePath, LoadError> {
    AbsolutePath::new(path).map_err(|source| LoadError::Path {
        path: path.to_owned(),
        source,
    })
}

fn real(path: &AbsolutePath) -> Result<AbsolutePath, LoadError> {
    let path = path.as_path();
    let real = crate::paths::real(path).map_err(|source| LoadError::Resolve {
        path: path.to_owned(),
        source,
    })?;
    absolute(&real)
}

/// The administrator is who owns `/`: in a user namespace that maps one user only, that is the overflow user there.
#[cfg(unix)]
fn believe_managed(path: &Path, text: &TextFile) -> Result<(), LoadError> {
    use std::os::unix::fs::MetadataExt;
    let examine = |path: &Path| {
        std::fs::metadata(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let administrator = examine(Path::new("/"))?.uid();
    let refuse = |path: &Path, reason| {
        Err(LoadError::ManagedNotBelieved {
            path: path.to_owned(),
            reason: Cow::Borrowed(reason),
        })
    };
    let check = |path: &Path, metadata: &std::fs::Metadata| {
        if metadata.uid() != administrator {
            refuse(path, "it belongs to somebody else")
        } else if metadata.mode() & 0o022 != 0 {
            refuse(path, "others may write it")
        } else {
            Ok(())
        }
    };
    check(path, &text.metadata)?;
    match path.parent() {
        Some(parent) => check(parent, &examine(parent)?),
        None => Ok(()),
    }
}

#[cfg(windows)]
fn believe_managed(path: &Path, _text: &TextFile) -> Result<(), LoadError> {
    use ringfence_plan::windows::WindowsPath;
    use ringfence_windows::custody::{EXCHANGES, REWRITES, stranger_to_the_system_at};

    let directory = path.parent().map(|directory| (directory, EXCHANGES));
    for (path, rights) in [(path, REWRITES)].into_iter().chain(directory) {
        let refuse = |reason| LoadError::ManagedNotBelieved {
            path: path.to_owned(),
            reason,
        };
        let named = WindowsPath::parse(&path.to_string_lossy())
            .map_err(|error| refuse(Cow::Owned(error.to_string())))?;
        let stranger = stranger_to_the_system_at(&named, rights);
        let stranger = stranger.map_err(|source| LoadError::ManagedUnknown {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if let Some(stranger) = stranger {
            return Err(refuse(Cow::Owned(stranger.to_string())));
        }
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn believe_managed(path: &Path, _text: &TextFile) -> Result<(), LoadError> {
    Err(LoadError::ManagedNotBelieved {
        path: path.to_owned(),
        reason: Cow::Borrowed("this system does not tell whose it is"),
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests;

#[cfg(test)]
#[cfg(windows)]
mod windows_tests {
    use super::*;

    /// plumbing-only: whose a file is, wine tells in its own way; that one of a person's own is no administrator's, it
    /// tells.
    #[test]
    fn a_managed_policy_that_a_person_put_there_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let make = |name: &str| {
            std::fs::create_dir(base.join(name)).unwrap();
            AbsolutePath::new(crate::paths::real(&base.join(name)).unwrap()).unwrap()
        };
        let (workspace, home) = (make("work"), make("home"));
        let state = StateDirectory::at(&crate::paths::real(&base).unwrap().join("state")).unwrap();
        let managed = crate::paths::real(&base).unwrap().join("policy.toml");
        let request = LoadRequest {
            managed: managed.clone(),
            ..LoadRequest::new(workspace, home)
        };
        assert!(
            load_policy(&request, &state).is_ok(),
            "the control: without it"
        );
        std::fs::write(&managed, "mode = \"full-access\"\n").unwrap();
        let error = load_policy(&request, &state).unwrap_err();
        assert!(
            matches!(&error, LoadError::ManagedNotBelieved { path, reason } if *path == managed && reason.contains("S-1-5-21-")),
            "{error:?}"
        );
    }
}
