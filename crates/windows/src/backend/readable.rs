//! A file of the person's that their sandboxed commands may read.
//!
//! Invariant: it is never an existing file, and nobody but the person may write it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};

use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};
use ringfence_plan::windows::{WindowsPath, WindowsPlan};

use crate::sys::nt_file;

/// `FILE_GENERIC_WRITE | READ_CONTROL | WRITE_DAC`
const MAKE: u32 = 0x0012_0116 | 0x0002_0000 | 0x0004_0000;

/// The directory of a person's private homes, which sandboxed commands pass and do not write.
#[derive(Clone, Debug)]
pub struct ReadablePlace {
    directory: WindowsPath,
    person: Sid,
    /// The group of the person's sandboxed commands; the person in same-user mode.
    reader: Sid,
}

impl ReadablePlace {
    /// That of sessions of `plan`; none without a root. It is there when the plan's steps have been done.
    #[must_use]
    pub fn of(plan: &WindowsPlan) -> Option<Self> {
        let accounts = plan.accounts.sids();
        Some(Self {
            directory: plan.roots.first()?.home.parent()?,
            person: plan.person,
            reader: accounts.map_or(plan.person, |accounts| accounts.group),
        })
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(self.directory.to_string()).join(name)
    }

    /// Writes a new file of this directory that commands may read.
    ///
    /// # Errors
    /// The system's: above all, something has the name. Nothing is left of the new file then.
    pub fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .access_mode(MAKE)
            .open(path)?;
        let list = descriptor(self.person, self.reader);
        let written = nt_file::set_dacl(file.as_handle(), &list)
            .map_err(io::Error::other)
            .and_then(|()| file.write_all(bytes));
        if written.is_err() {
            drop(file);
            let _ = fs::remove_file(path);
        }
        written
    }
}

fn descriptor(person: Sid, reader: Sid) -> SecurityDescriptor {
    let allow = |mask, sid| Ace::allow(AceFlags::NONE, mask, sid);
    let aces = vec![
        allow(AccessMask::FILE_ALL_ACCESS, Sid::SYSTEM),
        allow(AccessMask::FILE_ALL_ACCESS, person),
        allow(AccessMask::FILE_GENERIC_READ, reader),
    ];
    SecurityDescriptor::new(person, person, Acl::new(aces)).protected()
}

#[cfg(test)]
mod tests {
    use ringfence_nt::check::{Pass, maximum_of_pass};
    use ringfence_nt::{GenericMapping, Token};

    use super::super::live;
    use super::*;

    #[test]
    fn the_reader_reads_and_writes_nothing() {
        let (person, group) = (Sid::USERS, Sid::GUESTS);
        let of = |sid| {
            let token = Token::new(Sid::EVERYONE, &[sid]);
            let list = descriptor(person, group);
            maximum_of_pass(&list, &token, Pass::Normal, &GenericMapping::FILE)
        };
        assert_eq!(of(group), AccessMask::FILE_GENERIC_READ);
        assert_eq!(of(person), AccessMask::FILE_ALL_ACCESS);
        assert!(of(Sid::LOCAL).is_empty(), "control: a stranger");
    }

    // plumbing-only: wine folds lists; the file is there, once.
    #[test]
    fn plumbing_only_a_file_is_made_once_and_read() {
        let mut plan = live::tests::plan(r"C:\ws", "one");
        plan.person = Sid::EVERYONE;
        let home = std::env::temp_dir().join("home");
        plan.roots[0].home = WindowsPath::parse(home.to_str().unwrap()).unwrap();
        let place = ReadablePlace::of(&plan).unwrap();
        let name = format!("ringfence-readable-{}", std::process::id());
        let path = place.path(&name);
        let _left = fs::remove_file(&path);
        place.write_new(&path, b"text").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        let again = place.write_new(&path, b"other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"text");
        fs::remove_file(&path).unwrap();
    }
}
