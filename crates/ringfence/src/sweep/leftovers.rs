//! Sweeps what sessions left whose harness was killed.
//!
//! Invariant: a session of which anything lives is left alone; of a dead one the record goes only when its workspace
//! was swept, or it was said that it could not be.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use ringfence_policy::escape::escape_os;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::guardian::{Ended, Guardian};
use super::lease::{self, Named, Orders};
use super::{Leftovers, Seen};
use crate::quarantine::Quarantine;
use crate::state::StateDirectory;
use crate::state::file::no_follow;

/// How long a session may take to end whose harness is gone.
const ENDING: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);

/// Sweeps what every dead session left, and forgets the session.
///
/// Costs one look into a directory where there is none. A session does it before its machine is examined: what was
/// planted would be taken for the person's own.
#[must_use]
pub fn sweep_leftovers(state: &StateDirectory) -> Leftovers {
    let mut leftovers = Leftovers::default();
    let directory = lease::directory(state);
    let names = match std::fs::read_dir(&directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return leftovers,
        Err(error) => {
            leftovers.fail(&directory, &error);
            return leftovers;
        }
    };
    for name in names {
        let name = match name {
            Ok(name) => name.file_name(),
            Err(error) => {
                leftovers.fail(&directory, &error);
                break;
            }
        };
        let path = directory.join(&name);
        let swept = match lease::named(&name.to_string_lossy()) {
            Named::Record => leftovers.take(&path, state),
            Named::Unfinished => discard(&path),
            Named::Foreign => Ok(()),
        };
        if let Err(error) = swept {
            leftovers.fail(&path, &error);
        }
    }
    leftovers
}

impl Leftovers {
    /// Sweeps after the session of one record, where it is dead.
    fn take(&mut self, path: &Path, state: &StateDirectory) -> io::Result<()> {
        let Some(file) = open(path)? else {
            return Ok(());
        };
        let record = lease::record(path);
        if !is_locked(&file)? {
            let Some(orders) = record.read().map_err(io::Error::other)? else {
                return Ok(());
            };
            if lives(orders.harness) {
                self.live += 1;
                return Ok(());
            }
            // Its runner is ending what is left.
            if !locks_within(&file, ENDING)? {
                self.unswept += 1;
                self.swept.notes.push(format!(
                    "WARNING: a session in {} was killed and has not ended yet; what it left is swept later",
                    escape_os(orders.workspace.as_path())
                ));
                return Ok(());
            }
        }
        let metadata = file.metadata()?;
        // Another sweep was here, or the session has swept up itself.
        if metadata.nlink() == 0 {
            return Ok(());
        }
        if let Some(orders) = record.read().map_err(io::Error::other)? {
            self.sweep(orders, &metadata, state);
        }
        std::fs::remove_file(path)
    }

    fn sweep(&mut self, orders: Orders, record: &Metadata, state: &StateDirectory) {
        self.dead += 1;
        let said = format!(
            "a session in {} was killed before it could sweep (its harness was process {})",
            escape_os(orders.workspace.as_path()),
            orders.harness
        );
        let gone: Vec<_> = orders
            .guard
            .roots
            .iter()
            .filter(|root| !root.as_path().is_dir())
            .map(|root| escape_os(root.as_path()))
            .collect();
        let mut guardian = Guardian::after_death(orders, Quarantine::open(state), ended(record));
        guardian.sweep(Seen::InPart);
        let swept = guardian.take_swept();
        if !gone.is_empty() {
            self.unswept += 1;
            self.swept.notes.push(format!(
                "WARNING: {said}; {} is not there now and was not swept: look at it before you run anything there",
                gone.join(", ")
            ));
        } else if !swept.notes.is_empty() || !swept.quarantined.is_empty() {
            self.swept
                .notes
                .push(format!("{said}; its workspace was swept now"));
        }
        self.swept.notes.extend(swept.notes);
        self.swept.quarantined.extend(swept.quarantined);
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.unswept += 1;
        self.swept.notes.push(format!(
            "WARNING: {} can't be used, so what a killed session left may not have been swept ({error}); look at its workspace, then remove the file",
            escape_os(path)
        ));
    }
}

/// Removes a record that was never finished: no command had started.
fn discard(path: &Path) -> io::Result<()> {
    let Some(file) = open(path)? else {
        return Ok(());
    };
    if is_locked(&file)? && file.metadata()?.nlink() > 0 {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Opened for writing: a lock over a network needs that.
fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    no_follow(&mut options);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the lock is ours now.
fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn locks_within(file: &File, time: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + time;
    loop {
        if is_locked(file)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a process runs under this id; one that nobody has reaped does not.
fn lives(process: u32) -> bool {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    let Some(Ok(process)) = id.map(|id| pidfd_open(id, PidfdFlags::empty())) else {
        return false;
    };
    let at_once = Timespec::default();
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&at_once)), Ok(0) | Err(_))
}

/// When the runner saw the session's last process end, and on which file system's clock; `None` when it did not.
fn ended(record: &Metadata) -> Option<Ended> {
    let time = record.modified().ok()?;
    (time > SystemTime::UNIX_EPOCH).then(|| Ended {
        time,
        device: record.dev(),
    })
}
