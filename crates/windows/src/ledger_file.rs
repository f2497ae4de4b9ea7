//! A ledger's file on the disk, held by one program at a time.
//!
//! The lock is a file of its own beside it, opened so that nobody else can open it, and deleted by the system when its
//! handle closes: a program that dies leaves none. Invariant: after a flush has answered, what was appended survives a
//! power cut, and a file that was replaced is either the old or the new one.
//!
//! # Security
//! Anybody may make a directory in `%ProgramData%`. The machine's ledger is read only from a directory with exactly
//! the descriptor that set-up gives it, whose owner nobody but an administrator can be.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsHandle as _;
use std::path::PathBuf;

use ringfence_backend::call::CallFailure;
use ringfence_backend::ledger::{LedgerStore, StoreFailure};
use ringfence_backend::windows::{MAX_LEDGER, same};
use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::path::units;

use crate::files::{failure, open_path};
use crate::sys::file::descriptor;
use crate::sys::nt_file::{self, Access, FileHandle};
use crate::sys::rename;

/// `ERROR_SHARING_VIOLATION`
const IN_USE: i32 = 32;
/// `ERROR_ALREADY_EXISTS`: a directory of that name that is not ours.
const FOREIGN: u32 = 183;
/// `FILE_FLAG_DELETE_ON_CLOSE`
const DELETE_ON_CLOSE: u32 = 0x0400_0000;

/// Whose the directory of a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// It has exactly this descriptor, or nothing in it is believed.
    Exact(Box<SecurityDescriptor>),
    /// It has what it inherits: a person's own.
    Inherited,
}

/// A ledger's file.
#[derive(Debug)]
pub struct FileStore {
    path: WindowsPath,
    directory: WindowsPath,
    custody: Custody,
    lock: Option<File>,
    file: Option<File>,
}

impl FileStore {
    /// The ledger at `path`; none for a drive's root.
    #[must_use]
    pub fn new(path: WindowsPath, custody: Custody) -> Option<Self> {
        Some(Self {
            directory: path.parent()?,
            path,
            custody,
            lock: None,
            file: None,
        })
    }

    /// The bytes that are there, without holding it: for showing alone.
    ///
    /// # Errors
    /// [`CallFailure`].
    pub fn peek(&self) -> Result<Option<Vec<u8>>, CallFailure> {
        if open_path(&self.directory, Access::Look)?.is_none() {
            return Ok(None);
        }
        self.check_directory()?;
        let mut bytes = Vec::new();
        match File::open(self.name("")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("CreateFileW", &error)),
            Ok(file) => {
                let limit = u64::try_from(MAX_LEDGER).unwrap_or(u64::MAX);
                file.take(limit)
                    .read_to_end(&mut bytes)
                    .map_err(|error| self.failed("ReadFile", &error))?;
                Ok(Some(bytes))
            }
        }
    }

    fn name(&self, more: &str) -> PathBuf {
        PathBuf::from(format!(r"\\?\{}{more}", self.path))
    }

    fn failed(&self, call: &'static str, error: &io::Error) -> CallFailure {
        let code = error.raw_os_error().map_or(0, i32::cast_unsigned);
        CallFailure::new(call, self.path.printable(), code)
    }

    fn check_directory(&self) -> Result<(), CallFailure> {
        let object = self.directory.printable();
        let foreign = || CallFailure::new("NtCreateFile", object.as_str(), FOREIGN);
        let handle = open_path(&self.directory, Access::Look)?.ok_or_else(foreign)?;
        let look = nt_file::look(handle.as_handle()).map_err(failure)?;
        if look.reparse.is_some() {
            return Err(foreign());
        }
        let Custody::Exact(wanted) = &self.custody else {
            return Ok(());
        };
        let found = descriptor(handle.as_handle()).map_err(failure)?;
        if same(&found, wanted) {
            return Ok(());
        }
        Err(foreign())
    }

    fn make_directory(&self) -> Result<Option<FileHandle>, CallFailure> {
        let object = self.directory.printable();
        let foreign = || CallFailure::new("NtCreateFile", object.as_str(), FOREIGN);
        let (above, name) = self
            .directory
            .parent()
            .zip(self.directory.name())
            .ok_or_else(foreign)?;
        let above = open_path(&above, Access::Pass)?
            .ok_or_else(|| CallFailure::new("NtCreateFile", object.as_str(), 3))?;
        let wanted = match &self.custody {
            Custody::Exact(wanted) => Some(wanted.as_ref()),
            Custody::Inherited => None,
        };
        nt_file::make_directory(above.as_handle(), &units(name), wanted, &object).map_err(failure)
    }

    fn append_file(&mut self) -> Result<&mut File, StoreFailure> {
        if self.file.is_none() {
            let opened = OpenOptions::new().append(true).open(self.name(""));
            let opened = opened.map_err(|error| self.failed("CreateFileW", &error));
            self.file = Some(opened.map_err(StoreFailure::Call)?);
        }
        let missing = CallFailure::new("CreateFileW", self.path.printable(), 2);
        self.file.as_mut().ok_or(StoreFailure::Call(missing))
    }

    fn call<T>(&self, call: &'static str, result: io::Result<T>) -> Result<T, StoreFailure> {
        result.map_err(|error| StoreFailure::Call(self.failed(call, &error)))
    }
}

impl LedgerStore for FileStore {
    fn lock(&mut self) -> Result<(), StoreFailure> {
        let there = open_path(&self.directory, Access::Look).map_err(StoreFailure::Call)?;
        let made = match there {
            Some(_) => None,
            None => self.make_directory().map_err(StoreFailure::Call)?,
        };
        if let Err(failure) = self.check_directory() {
            if let Some(made) = made {
                // A system that made it otherwise than it was asked shall not keep it. By the handle that made it:
                // what it was made like may open to nobody.
                let _needed = nt_file::delete(made.as_handle());
            }
            return Err(StoreFailure::Call(failure));
        }
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .share_mode(0)
            .custom_flags(DELETE_ON_CLOSE)
            .open(self.name(".lock"));
        match opened {
            Ok(lock) => {
                self.lock = Some(lock);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(IN_USE) => Err(StoreFailure::Locked {
                object: self.path.printable(),
            }),
            Err(error) => Err(StoreFailure::Call(self.failed("CreateFileW", &error))),
        }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.peek().map_err(StoreFailure::Call)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        let written = self.append_file()?.write_all(bytes);
        self.call("WriteFile", written)
    }

    fn flush(&mut self) -> Result<(), StoreFailure> {
        let flushed = self.append_file()?.sync_all();
        self.call("FlushFileBuffers", flushed)
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        self.file = None;
        let (new, name) = (self.name(".new"), self.name(""));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        self.call("WriteFile", written)?;
        rename::replace(new.as_os_str(), name.as_os_str())
            .map_err(failure)
            .map_err(StoreFailure::Call)
    }

    fn discard(&mut self) -> Result<(), StoreFailure> {
        self.file = None;
        for name in [self.name(".new"), self.name("")] {
            match std::fs::remove_file(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreFailure::Call(self.failed("DeleteFileW", &error)));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.file = None;
        // The system deletes the lock's file with its handle.
        if self.lock.take().is_some() {
            // Fails where anything else is in it; then it is still needed.
            let _needed = std::fs::remove_dir(format!(r"\\?\{}", self.directory));
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_backend::ledger::{Direction, Ledger};
    use ringfence_backend::windows::PersonBook;
    use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, Sid};

    use super::*;

    fn place(name: &str) -> WindowsPath {
        let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        let _left = std::fs::remove_dir_all(&path);
        let directory = WindowsPath::parse(path.to_str().unwrap()).unwrap();
        directory.join("person.ledger").unwrap()
    }

    fn open(path: &WindowsPath) -> Ledger<PersonBook, FileStore> {
        let store = FileStore::new(path.clone(), Custody::Inherited).unwrap();
        Ledger::open(store).unwrap()
    }

    // enforced-by-wine: sharing, replacing and deleting are the file system's. A power cut is not tried.
    #[test]
    fn a_ledger_is_kept_from_program_to_program_and_goes_with_its_directory() {
        let path = place("ledger");
        let person = Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap();
        let mut ledger = open(&path);
        ledger.begin(person, Direction::Install).unwrap();
        let second = FileStore::new(path.clone(), Custody::Inherited).unwrap();
        assert!(matches!(
            Ledger::<PersonBook, _>::open(second),
            Err(ringfence_backend::ledger::LedgerError::Store(
                StoreFailure::Locked { .. }
            ))
        ));
        drop(ledger);
        let mut ledger = open(&path);
        assert!(ledger.transaction(person).is_some());
        ledger.end(person).unwrap();
        ledger.compact().unwrap();
        drop(ledger);
        let directory = path.parent().unwrap().to_string();
        assert!(!std::path::Path::new(&directory).exists());
    }

    // Negative: wine keeps no descriptor, so the directory is not what was asked for; nothing of it may stay. An empty
    // list would become a directory that wine lets an ordinary user neither open nor delete.
    #[test]
    fn plumbing_only_a_directory_that_was_made_otherwise_is_gone_again() {
        let path = place("otherwise");
        let directory = path.parent().unwrap().to_string();
        let allow = Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, Sid::SYSTEM);
        let list = Acl::new(vec![allow]);
        let ours = SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, list).protected();
        let custody = Custody::Exact(Box::new(ours));
        let mut store = FileStore::new(path, custody).unwrap();
        if store.lock().is_ok() {
            eprintln!("skipped: this system makes what it is asked for");
            return;
        }
        assert!(!std::path::Path::new(&directory).exists());
    }

    // Negative: a directory that somebody else made is not believed.
    #[test]
    fn a_directory_of_others_is_refused() {
        let path = place("foreign");
        let directory = path.parent().unwrap().to_string();
        std::fs::create_dir_all(&directory).unwrap();
        let ours = SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::default()).protected();
        let custody = Custody::Exact(Box::new(ours));
        let mut store = FileStore::new(path.clone(), custody).unwrap();
        let StoreFailure::Call(failure) = store.lock().unwrap_err() else {
            panic!("it is nobody's");
        };
        assert_eq!(failure.code, FOREIGN);
        assert_eq!(store.peek().unwrap_err().code, FOREIGN);
        drop(store);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
