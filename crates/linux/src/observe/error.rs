//! Why facts could not be gathered.

use std::path::PathBuf;

use rustix::io::Errno;

/// Why facts could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A file of the kernel's could not be read.
    #[error("can't read `{path}`")]
    ReadFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A path could not be looked up.
    #[error("can't look up `{path}`")]
    LookUp {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A symbolic link could not be read.
    #[error("can't read the symbolic link `{path}`")]
    ReadLink {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A writable root could not be opened.
    #[error("can't open the directory `{path}`")]
    OpenDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The supplementary groups could not be read.
    #[error("can't read the caller's groups")]
    Groups {
        /// Why.
        #[source]
        source: Errno,
    },
    /// A name is no path that a plan can hold.
    #[error("`{path}` is no absolute path")]
    Path {
        /// The name.
        path: PathBuf,
        /// Why.
        #[source]
        source: ringfence_policy::path::PathError,
    },
    /// A pattern is no glob.
    #[error("`{glob}` is no glob")]
    Glob {
        /// The pattern.
        glob: String,
        /// Why.
        #[source]
        source: globset::Error,
    },
    /// A root holds more directories than a scan reads.
    #[error("`{root}` holds more than {limit} directories")]
    TooManyDirectories {
        /// The root.
        root: PathBuf,
        /// How many are read.
        limit: usize,
    },
}

impl ObserveError {
    /// The next thing to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ReadFile { .. } | Self::Groups { .. } => {
                "mount /proc, or run `ringfence doctor` to see what this host offers"
            }
            Self::LookUp { .. } | Self::ReadLink { .. } | Self::OpenDirectory { .. } => {
                "check the permissions of the directories above it"
            }
            Self::Path { .. } | Self::Glob { .. } => {
                "correct it in the policy: `ringfence policy check`"
            }
            Self::TooManyDirectories { .. } => "name a smaller workspace with `--workspace DIR`",
        }
    }
}
