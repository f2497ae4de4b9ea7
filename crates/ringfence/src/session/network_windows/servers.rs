//! The keys of servers that the person knows, where a session's `ssh` may read them.
//!
//! A sandbox account reads nothing of the person's `.ssh`, and `ssh` refuses a server whose key it does not know. These
//! are public keys. Invariant: only `known_hosts` is copied, and no part of it is acted upon.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ringfence_audit::SessionId;
use ringfence_policy::AbsolutePath;
use ringfence_windows::backend::readable::ReadablePlace;

/// Where they lie in a home, as `ssh` looks for them.
const FILES: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];
/// The most that is copied of one, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A session's copy. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct KnownServers {
    path: PathBuf,
}

impl KnownServers {
    /// Copies those of `home`; none where there are none, or where they can't be copied: then `ssh` says that it does
    /// not know the server.
    pub(super) fn copy(
        home: &AbsolutePath,
        place: &ReadablePlace,
        session: &SessionId,
    ) -> Option<Self> {
        let text = read(home.as_path());
        if text.is_empty() {
            return None;
        }
        let path = place.path(&format!("ringfence-{session}.known_hosts"));
        place.write_new(&path, &text).ok()?;
        Some(Self { path })
    }

    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for KnownServers {
    fn drop(&mut self) {
        // They are no secret: age takes away what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// All of them, a line each; what can't be read is left out.
fn read(home: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for name in FILES {
        if let Ok(mut more) = read_file(&home.join(name)) {
            if more.last().is_some_and(|last| *last != b'\n') {
                more.push(b'\n');
            }
            text.append(&mut more);
        }
    }
    text
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_there_is_copied_a_line_each() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(home.path()).is_empty());
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        fs::write(ssh.join("known_hosts"), "one").unwrap();
        fs::write(ssh.join("id_ed25519"), "a key").unwrap();
        assert_eq!(read(home.path()), b"one\n");
        fs::write(ssh.join("known_hosts2"), "two\n").unwrap();
        assert_eq!(read(home.path()), b"one\ntwo\n");
        fs::remove_file(ssh.join("known_hosts")).unwrap();
        fs::create_dir(ssh.join("known_hosts")).unwrap();
        assert_eq!(read(home.path()), b"two\n", "a directory is none");
    }
}
