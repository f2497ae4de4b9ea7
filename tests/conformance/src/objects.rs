//! The objects that a write attack acts on: the same outside and inside, made by the same code.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What an untouched file holds.
pub const ORIGINAL: &str = "original content, long enough to be truncated\n";

/// Makes in `place`: `file` (with the attribute `user.keep`), `dir` with `inner` in it, and the empty `empty`.
///
/// # Errors
/// Whatever the file system says.
pub fn prepare(place: &Path) -> io::Result<()> {
    fs::create_dir_all(place)?;
    prepare_file(&place.join("file"))?;
    fs::create_dir_all(place.join("dir"))?;
    fs::write(place.join("dir/inner"), ORIGINAL)?;
    fs::create_dir_all(place.join("empty"))
}

/// Makes one file as [`prepare`] does.
///
/// # Errors
/// Whatever the file system says.
pub fn prepare_file(file: &Path) -> io::Result<()> {
    fs::write(file, ORIGINAL)?;
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(file, "user.keep", b"kept", flags) {
        Ok(()) | Err(rustix::io::Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The five paths of a write attack.
#[derive(Clone, Debug)]
pub struct Target {
    /// An existing file.
    pub file: PathBuf,
    /// An existing directory with a file `inner`.
    pub directory: PathBuf,
    /// An existing empty directory.
    pub empty: PathBuf,
    /// A name that does not exist.
    pub new: PathBuf,
    /// A place of the attacker's own, as [`prepare`] makes it.
    pub mine: PathBuf,
}

impl Target {
    /// The objects that [`prepare`] has made in `place`.
    #[must_use]
    pub fn within(place: &Path, mine: PathBuf) -> Self {
        Self {
            file: place.join("file"),
            directory: place.join("dir"),
            empty: place.join("empty"),
            new: place.join("new"),
            mine,
        }
    }

    /// The words of the attack `name` on these objects.
    #[must_use]
    pub fn words(&self, name: &str) -> Vec<String> {
        let paths = [
            &self.file,
            &self.directory,
            &self.empty,
            &self.new,
            &self.mine,
        ];
        std::iter::once(name.to_owned())
            .chain(paths.map(|path| path.to_string_lossy().into_owned()))
            .collect()
    }
}
