//! Opening a path without following any symbolic link on the way.
//!
//! `openat2(2)` does it in one call. Ringfence's own filter answers that call with `ENOSYS`, so inside another session
//! the path is walked component by component instead. Invariant: both ways open the same objects and refuse the same.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

/// Opens `path`, seen from `at`. A link on the way, or at the end unless `flags` has `NOFOLLOW` and `PATH`, is `ELOOP`.
///
/// # Errors
/// The kernel's. `EINVAL` for a path with `..`, where it is walked.
pub(crate) fn open_without_links(
    at: impl AsFd,
    path: &Path,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&at, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => walk(at, path, flags | OFlags::CLOEXEC),
        other => other,
    }
}

fn walk(at: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let start = if path.has_root() { "/" } else { "." };
    let mut directory = openat(at, start, step, Mode::empty())?;
    let mut names = path
        .components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else {
            return Err(Errno::INVAL);
        };
        if names.peek().is_none() {
            return open_last(&directory, Path::new(name), flags);
        }
        directory = match openat(&directory, name, step, Mode::empty()) {
            // What is no directory may be a link: that is what the caller must hear of.
            Err(Errno::NOTDIR) if is_link(&directory, Path::new(name)) => return Err(Errno::LOOP),
            other => other?,
        };
    }
    openat(&directory, ".", flags, Mode::empty())
}

fn open_last(directory: &OwnedFd, name: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let opened = openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty());
    match opened {
        Err(Errno::NOTDIR) if !flags.contains(OFlags::NOFOLLOW) && is_link(directory, name) => {
            Err(Errno::LOOP)
        }
        // With PATH a link itself is opened; only who asked for that gets it.
        Ok(file) if !flags.contains(OFlags::NOFOLLOW) => {
            let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
            if kind == FileType::Symlink {
                Err(Errno::LOOP)
            } else {
                Ok(file)
            }
        }
        other => other,
    }
}

fn is_link(directory: &OwnedFd, name: &Path) -> bool {
    rustix::fs::readlinkat(directory, name, Vec::new()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn the_walk_agrees_with_the_one_call() {
        let scratch = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(scratch.path()).unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        fs::write(top.join("real/deep/file"), "x").unwrap();
        symlink("real", top.join("link")).unwrap();
        symlink("real/deep/file", top.join("file-link")).unwrap();
        let flags = [
            OFlags::PATH,
            OFlags::PATH | OFlags::NOFOLLOW,
            OFlags::PATH | OFlags::DIRECTORY,
            OFlags::RDONLY,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        ];
        let names = [
            "real/deep/file",
            "real/deep",
            "link/deep/file",
            "link",
            "file-link",
            "real/none",
            "none/file",
            "real/deep/file/more",
        ];
        for name in names {
            for flags in flags {
                let path = top.join(name);
                let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                let one = match openat2(CWD, &path, flags, Mode::empty(), resolve) {
                    Err(Errno::NOSYS) => {
                        eprintln!("nested: openat2 is refused here, nothing to compare with");
                        return;
                    }
                    other => other.map(|file| fstat(&file).unwrap().st_ino),
                };
                let walked = walk(CWD, &path, flags).map(|file| fstat(&file).unwrap().st_ino);
                assert_eq!(walked, one, "{name} {flags:?}");
            }
        }
        assert_eq!(
            walk(CWD, &top.join("real/../real"), OFlags::PATH).unwrap_err(),
            Errno::INVAL
        );
    }
}
