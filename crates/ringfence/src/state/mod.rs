//! Ringfence's own state directory: found, made, and checked before anything in it is believed.
//!
//! Invariant: what is used is a real directory (no link) that belongs to the caller and that nobody else may enter.

pub mod file;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_policy::escape::escape_os;
use ringfence_policy::path::PathError;
use ringfence_policy::{AbsolutePath, ExitCode};

/// The variable that names the state directory.
pub const STATE_VARIABLE: &str = "RINGFENCE_STATE";
/// The variable that every command of a session has.
pub const SESSION_VARIABLE: &str = "RINGFENCE_SESSION";

/// Ringfence's own directory: trust, quarantine, caches. Hidden from every target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    path: AbsolutePath,
}

/// Why there is no state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No variable names a place for it.
    #[error(
        "no place for Ringfence's state: neither RINGFENCE_STATE, XDG_STATE_HOME nor HOME is set"
    )]
    NoPlace,
    /// The place is not an absolute path.
    #[error("the state directory `{path}` is no absolute path")]
    NotAbsolute {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: PathError,
    },
    /// It could not be made.
    #[error("the state directory `{path}` could not be made")]
    Make {
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It could not be examined.
    #[error("the state directory `{path}` could not be examined")]
    Examine {
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It is a symbolic link or no directory.
    #[error("the state directory `{path}` is a symbolic link or no directory")]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("the state directory `{path}` belongs to user {owner}")]
    ForeignOwner {
        /// The path.
        path: PathBuf,
        /// The owner's uid.
        owner: u32,
    },
    /// Others may enter it.
    #[error("the state directory `{path}` is open to others (mode {mode:03o})")]
    OpenToOthers {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else owns it, or everybody may put things into it.
    #[cfg(windows)]
    #[error("the state directory `{path}` is not yours alone")]
    NotYours {
        /// The path.
        path: PathBuf,
        /// In whose hands it is.
        #[source]
        stranger: ringfence_windows::custody::Stranger,
    },
}

impl StateError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::SetupMissing
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoPlace | Self::NotAbsolute { .. } | Self::Make { .. } | Self::Examine { .. } => {
                if cfg!(unix) {
                    format!(
                        "name a directory of your own with mode 700: {STATE_VARIABLE}=/path ringfence …"
                    )
                } else {
                    format!(
                        "name a directory of your own below your profile by the variable {STATE_VARIABLE}, and start ringfence again"
                    )
                }
            }
            Self::NotDirectory { path } => {
                format!(
                    "remove or rename {}, or name another with {STATE_VARIABLE}",
                    escape_os(path)
                )
            }
            Self::ForeignOwner { path, .. } => {
                format!(
                    "{} must belong to you; name another with {STATE_VARIABLE}",
                    escape_os(path)
                )
            }
            #[cfg(windows)]
            Self::NotYours { .. } => format!(
                "name a directory of your own below your profile by the variable {STATE_VARIABLE}, and start ringfence again"
            ),
            // Only what is named as ours is ours to close: a person's project or `/` is not.
            Self::OpenToOthers { path, .. }
                if cfg!(unix)
                    && path
                        .file_name()
                        .is_some_and(|name| name.eq_ignore_ascii_case("ringfence")) =>
            {
                format!("chmod 700 {}", path.display())
            }
            Self::OpenToOthers { .. } => format!(
                "name a directory for Ringfence alone, which it makes itself, by the variable {STATE_VARIABLE}"
            ),
        }
    }
}

/// The variables that name a place for state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateVariables {
    /// `RINGFENCE_STATE`
    pub ringfence_state: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub xdg_state_home: Option<OsString>,
    /// `HOME`
    pub home: Option<OsString>,
    /// `%LOCALAPPDATA%`, as the system tells it; nowhere but on Windows.
    pub local_data: Option<OsString>,
    /// `RINGFENCE_SESSION`: this process runs inside a session.
    pub session: Option<OsString>,
}

impl StateVariables {
    /// Those of this process; an empty one counts as unset.
    #[must_use]
    pub fn from_process() -> Self {
        let read = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            ringfence_state: read(STATE_VARIABLE),
            xdg_state_home: read("XDG_STATE_HOME"),
            home: read("HOME"),
            local_data: local_data(),
            session: read(SESSION_VARIABLE),
        }
    }

    /// The place: `RINGFENCE_STATE`, else `Ringfence` in `%LOCALAPPDATA%` on Windows, else `ringfence` in `XDG_STATE_HOME`, else `~/.local/state/ringfence`.
    ///
    /// # Errors
    /// [`StateError::NoPlace`] when none is set.
    pub fn place(&self) -> Result<PathBuf, StateError> {
        if let Some(path) = &self.ringfence_state {
            return Ok(PathBuf::from(path));
        }
        if let Some(data) = &self.local_data {
            return Ok(Path::new(data).join("Ringfence"));
        }
        let xdg = self.xdg_state_home.as_ref().map(PathBuf::from);
        // The XDG specification says that a relative value must be ignored.
        if let Some(path) = xdg.filter(|path| path.is_absolute()) {
            return Ok(path.join("ringfence"));
        }
        let home = self.home.as_ref().ok_or(StateError::NoPlace)?;
        Ok(Path::new(home).join(".local/state/ringfence"))
    }
}

impl StateDirectory {
    /// Finds the directory by this process's variables, makes it where it is missing, and checks it.
    ///
    /// Inside a session the person's own is hidden, or nothing can be written to it: then it is one in the session's
    /// `/tmp`, unless `RINGFENCE_STATE` names another.
    ///
    /// # Errors
    /// [`StateError`]; exit status 105.
    pub fn open() -> Result<Self, StateError> {
        Self::open_by(&StateVariables::from_process(), Path::new("/tmp"))
    }

    fn open_by(variables: &StateVariables, temporary: &Path) -> Result<Self, StateError> {
        let own = Self::at(&variables.place()?);
        let is_asked_for = variables.session.is_none() || variables.ringfence_state.is_some();
        if is_asked_for || own.as_ref().is_ok_and(Self::is_writable) {
            return own;
        }
        Self::at(&in_session(temporary))
    }

    #[cfg(unix)]
    fn is_writable(&self) -> bool {
        use rustix::fs::{Access, access};
        access(self.path.as_path(), Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }

    /// There a session's commands can't start another session.
    #[cfg(not(unix))]
    fn is_writable(&self) -> bool {
        true
    }

    /// Makes `path` where it is missing (mode 0700), and checks it.
    ///
    /// # Errors
    /// [`StateError`]; exit status 105.
    pub fn at(path: &Path) -> Result<Self, StateError> {
        let absolute = |path: &Path| {
            AbsolutePath::new(path).map_err(|source| StateError::NotAbsolute {
                path: path.to_owned(),
                source,
            })
        };
        let path = absolute(path)?;
        make_private(path.as_path())?;
        check_private(path.as_path())?;
        // The rules that hide it are about real paths: links above it are followed, itself it is none.
        let real = crate::paths::real(path.as_path()).map_err(|source| StateError::Examine {
            path: path.as_path().to_owned(),
            source,
        })?;
        Ok(Self {
            path: absolute(&real)?,
        })
    }

    /// To whom it is closed, in words: what was looked at when it was opened.
    #[must_use]
    pub fn closed_to(&self) -> &'static str {
        if cfg!(unix) {
            "yours alone"
        } else {
            "yours, and no group of everybody may put anything there"
        }
    }

    /// Its real path.
    #[must_use]
    pub fn path(&self) -> &AbsolutePath {
        &self.path
    }
}

/// Where state is kept inside a session: what is there is the session's own, and ends with it.
fn in_session(temporary: &Path) -> PathBuf {
    #[cfg(unix)]
    let user = rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let user = 0;
    temporary.join(format!("ringfence-state-{user}"))
}

/// The directory of a person's own that does not roam.
#[cfg(windows)]
fn local_data() -> Option<OsString> {
    let state = ringfence_windows::observe::machine::state_directory().ok()?;
    state.parent().map(|data| OsString::from(data.to_string()))
}

#[cfg(not(windows))]
fn local_data() -> Option<OsString> {
    None
}

#[cfg(unix)]
fn make_private(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::DirBuilderExt;
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StateError::Make {
            path: path.to_owned(),
            source,
        })
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::MetadataExt;
    let examined = std::fs::symlink_metadata(path);
    let metadata = examined.map_err(|source| StateError::Examine {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_dir() {
        return Err(StateError::NotDirectory {
            path: path.to_owned(),
        });
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(StateError::ForeignOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StateError::OpenToOthers {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> Result<(), StateError> {
    std::fs::create_dir_all(path).map_err(|source| StateError::Make {
        path: path.to_owned(),
        source,
    })
}

#[cfg(not(unix))]
fn check_private(path: &Path) -> Result<(), StateError> {
    let examined = std::fs::symlink_metadata(path);
    let metadata = examined.map_err(|source| StateError::Examine {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_dir() {
        return Err(StateError::NotDirectory {
            path: path.to_owned(),
        });
    }
    #[cfg(windows)]
    check_hands(path)?;
    Ok(())
}

/// What lies in it is believed, so that nobody else may put anything there.
#[cfg(windows)]
fn check_hands(path: &Path) -> Result<(), StateError> {
    use ringfence_plan::windows::WindowsPath;
    use ringfence_windows::custody::{FILLS, stranger_to_the_person_at};

    let examine = |source: io::Error| StateError::Examine {
        path: path.to_owned(),
        source,
    };
    // Links above it are followed: whoever owns the end owns what is believed.
    let real = crate::paths::real(path).map_err(examine)?;
    let named = WindowsPath::parse(&real.to_string_lossy())
        .map_err(|error| examine(io::Error::other(error)))?;
    match stranger_to_the_person_at(&named, FILLS) {
        Ok(None) => Ok(()),
        Ok(Some(stranger)) => Err(StateError::NotYours {
            path: path.to_owned(),
            stranger,
        }),
        Err(error) => Err(examine(io::Error::other(error))),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn variables(state: Option<&str>, xdg: Option<&str>, home: Option<&str>) -> StateVariables {
        StateVariables {
            ringfence_state: state.map(OsString::from),
            xdg_state_home: xdg.map(OsString::from),
            home: home.map(OsString::from),
            local_data: None,
            session: None,
        }
    }

    /// Root writes everywhere but where nothing can be: its own place must not be a directory then.
    #[test]
    fn inside_a_session_it_is_one_of_the_sessions_own() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("home");
        std::fs::write(&home, "no directory").unwrap();
        let temporary = scratch.path().canonicalize().unwrap();
        let mut variables = variables(None, None, home.to_str());
        let open = |variables: &_| StateDirectory::open_by(variables, &temporary);
        assert!(matches!(open(&variables), Err(StateError::Make { .. })));
        variables.session = Some("1".into());
        let state = open(&variables).unwrap();
        assert_eq!(state.path().as_path().parent(), Some(&*temporary));
        let mode = std::fs::metadata(state.path()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o700);
        // What others may enter is not believed there either, and what is named by hand is not replaced.
        std::fs::set_permissions(state.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            open(&variables),
            Err(StateError::OpenToOthers { .. })
        ));
        variables.ringfence_state = Some(home.join("named").into());
        assert!(matches!(open(&variables), Err(StateError::Make { .. })));
        // Where its own place can be used, it is.
        let mut variables = self::variables(None, None, scratch.path().to_str());
        variables.session = Some("1".into());
        let state = open(&variables).unwrap();
        assert!(state.path().as_path().ends_with(".local/state/ringfence"));
    }

    #[test]
    fn the_place_is_found_by_the_strongest_variable() {
        for (variables, place) in [
            (variables(Some("/s"), Some("/x"), Some("/h")), "/s"),
            (variables(None, Some("/x"), Some("/h")), "/x/ringfence"),
            (
                variables(None, Some("relative"), Some("/h")),
                "/h/.local/state/ringfence",
            ),
            (
                variables(None, None, Some("/h")),
                "/h/.local/state/ringfence",
            ),
        ] {
            assert_eq!(variables.place().unwrap(), Path::new(place));
        }
        let error = variables(None, None, None).place().unwrap_err();
        assert_eq!(error.exit_code().code(), 105);
    }

    #[test]
    fn it_is_made_for_its_owner_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let state = StateDirectory::at(&path).unwrap();
        let mode = std::fs::metadata(state.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert_eq!(StateDirectory::at(&path).unwrap(), state);
    }

    #[test]
    fn a_link_a_file_and_an_open_directory_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().join("real");
        StateDirectory::at(&real).unwrap();
        let link = scratch.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(
            StateDirectory::at(&link),
            Err(StateError::NotDirectory { .. })
        ));
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            StateDirectory::at(&file),
            Err(StateError::NotDirectory { .. })
        ));
        std::fs::set_permissions(&real, Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(
            StateDirectory::at(&real),
            Err(StateError::OpenToOthers { mode: 0o750, .. })
        ));
        assert!(matches!(
            StateDirectory::at(Path::new("x")),
            Err(StateError::NotAbsolute { .. })
        ));
    }

    #[test]
    fn nobody_is_told_to_close_what_is_not_ringfences() {
        let hint = |path: &str| {
            let path = PathBuf::from(path);
            StateError::OpenToOthers { path, mode: 0o755 }.hint()
        };
        for foreign in ["/", "/home/ann/project"] {
            assert!(!hint(foreign).contains("chmod"), "{}", hint(foreign));
        }
        assert_eq!(
            hint("/home/ann/.local/state/ringfence"),
            "chmod 700 /home/ann/.local/state/ringfence"
        );
    }

    #[test]
    fn a_directory_of_another_owner_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        StateDirectory::at(&path).unwrap();
        if !file::tests::is_given_away(&path) {
            return;
        }
        let refused = StateDirectory::at(&path);
        assert!(matches!(
            refused,
            Err(StateError::ForeignOwner { owner: 12345, .. })
        ));
    }
}

#[cfg(all(test, windows))]
mod hints {
    use super::file::StateFileError;
    use super::*;
    use crate::load::LoadError;
    use crate::own_file::{OwnFile, OwnFileError};
    use crate::shortage::cure_of_shortage;

    /// no-system: words alone.
    #[test]
    fn no_hint_names_a_command_of_other_systems() {
        let path = || PathBuf::from(r"C:\Users\ada\AppData\Local\Ringfence\a.json");
        let mut hints = vec![
            StateError::NoPlace.hint(),
            StateError::OpenToOthers {
                path: PathBuf::from(r"C:\Ringfence"),
                mode: 0o777,
            }
            .hint(),
            StateFileError::Foreign {
                path: path(),
                reason: "",
            }
            .hint(),
            LoadError::ManagedNotBelieved {
                path: path(),
                reason: "".into(),
            }
            .hint(),
            OwnFileError::OtherNames {
                file: OwnFile::Policy,
                path: path(),
                names: 2,
            }
            .hint(),
        ];
        for kind in [
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
        ] {
            hints.extend(cure_of_shortage(&io::Error::from(kind)).map(str::to_owned));
        }
        assert_eq!(hints.len(), 8);
        for hint in hints {
            for word in [
                "chmod", "chown", "sudo", "ulimit", "df -h", "cp ", "/path", "~/",
            ] {
                assert!(!hint.contains(word), "{hint}");
            }
            assert!(!hint.contains(r"\\"), "{hint}");
        }
    }
}
