//! The sessions of a person that are alive: one record each, below `%LOCALAPPDATA%\Ringfence\live`.
//!
//! A record names the processes that a session lives by, each with the time it was created, since numbers are used
//! again: where none of them runs the session is dead, and its record is nobody's. Invariant: two sessions that need
//! different entries on one object are never both recorded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ringfence_plan::windows::facts::LiveSession;
use ringfence_plan::windows::live::check_beside;
use ringfence_plan::windows::{PlanError, WindowsPath, WindowsPlan};
use serde::{Deserialize, Serialize};

use crate::sys::file::verbatim;
use crate::sys::running::Process;
use crate::sys::{CallError, Win32Error, random};

/// The version of [`Record`].
const VERSION: u32 = 1;
/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 1 << 20;
/// How long another session may take to be recorded.
const PATIENCE: Duration = Duration::from_secs(10);
/// `ERROR_SHARING_VIOLATION`
const IN_USE: i32 = 32;
/// `ERROR_ACCESS_DENIED`: above all, a file that is being deleted.
const DENIED: i32 = 5;
/// `ERROR_INVALID_PARAMETER`: no process of that number.
const NO_PROCESS: Win32Error = Win32Error(87);
/// `FILE_FLAG_DELETE_ON_CLOSE`
const DELETE_ON_CLOSE: u32 = 0x0400_0000;
/// Ends the name of a record.
const RECORD: &str = "json";
/// Ends the name of a record that is being written.
const UNFINISHED: &str = "new";

/// Why a session can't run beside others, or it is not known whether it can.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A file could not be read or written.
    #[error("`{path}` could not be {action}")]
    File {
        /// Which.
        path: PathBuf,
        /// `read`, `written`, `made` or `locked`.
        action: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A record holds something else, or is another version's.
    #[error(
        "`{path}` is no record of a session that this version knows; when no session runs, remove it"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// This process does not tell since when it runs, or no random name could be made.
    #[error("the session could not be recorded")]
    Own(#[source] CallError),
    /// Another session is in the way.
    #[error(transparent)]
    InTheWay(PlanError),
}

/// A process, and since when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lives {
    process: u32,
    /// In 100 nanoseconds since 1601.
    created: u64,
}

impl Lives {
    fn of(process: u32) -> Result<Self, CallError> {
        let created = Process::glance(process)?.created()?;
        Ok(Self { process, created })
    }

    /// Whether it still runs. What can't be found out counts as running, but for a process that this person may not
    /// even ask since when it runs: a harness and a runner of theirs they may.
    fn is_alive(self) -> bool {
        let process = match Process::glance(self.process) {
            Ok(process) => process,
            Err(error) => {
                let denied = Win32Error(DENIED.cast_unsigned());
                return error.error != NO_PROCESS && error.error != denied;
            }
        };
        let is_it = process.created().map_or(true, |at| at == self.created);
        is_it && !process.is_ended().unwrap_or(false)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    lives: Vec<Lives>,
    session: LiveSession,
}

impl Record {
    fn is_alive(&self) -> bool {
        self.lives.iter().any(|one| one.is_alive())
    }
}

/// The records of a person.
#[derive(Clone, Debug)]
pub struct LiveSessions {
    directory: PathBuf,
}

impl LiveSessions {
    /// Those below a person's directory.
    #[must_use]
    pub fn below(directory: &WindowsPath) -> Self {
        Self {
            directory: PathBuf::from(verbatim(directory)).join("live"),
        }
    }

    /// The sessions that are alive; changes nothing.
    ///
    /// # Errors
    /// [`LiveError`]: where it is not known what lives, nothing may be planned.
    pub fn observe(&self) -> Result<Vec<LiveSession>, LiveError> {
        let records = self.records()?.into_iter();
        Ok(records
            .filter(|(_, record)| record.is_alive())
            .map(|(_, record)| record.session)
            .collect())
    }

    /// Records a session of `plan`, unless one that is alive needs other entries than it; what dead ones have left
    /// goes.
    ///
    /// # Errors
    /// [`LiveError`]; nothing is recorded then.
    pub fn enter(&self, plan: &WindowsPlan) -> Result<LiveRecord, LiveError> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |source| LiveError::File {
                path,
                action,
                source,
            }
        };
        fs::create_dir_all(&self.directory).map_err(failed(&self.directory, "made"))?;
        let _lock = self.lock()?;
        let mut alive = Vec::new();
        for (path, record) in self.records()? {
            if record.is_alive() {
                alive.push(record.session);
            } else {
                // It stays dead; the next one tries again.
                let _ = fs::remove_file(path);
            }
        }
        check_beside(plan, &alive).map_err(LiveError::InTheWay)?;
        let own = Lives::of(std::process::id()).map_err(LiveError::Own)?;
        let mut name = [0; 8];
        random::fill(&mut name).map_err(LiveError::Own)?;
        let name = format!("{:016x}.{RECORD}", u64::from_ne_bytes(name));
        let mut recorded = LiveRecord {
            path: self.directory.join(name),
            record: Record {
                version: VERSION,
                lives: vec![own],
                session: LiveSession::of(format!("pid-{}", own.process), plan),
            },
        };
        recorded.write()?;
        Ok(recorded)
    }

    /// Holds off others that want to be recorded; it is given back with the handle, also by a process that dies.
    fn lock(&self) -> Result<File, LiveError> {
        let path = self.directory.join("lock");
        let begun = Instant::now();
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .share_mode(0)
                .custom_flags(DELETE_ON_CLOSE)
                .open(&path);
            match opened {
                Err(error)
                    if [Some(IN_USE), Some(DENIED)].contains(&error.raw_os_error())
                        && begun.elapsed() < PATIENCE =>
                {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(file) => return Ok(file),
                Err(source) => {
                    return Err(LiveError::File {
                        path,
                        action: "locked",
                        source,
                    });
                }
            }
        }
    }

    fn records(&self) -> Result<Vec<(PathBuf, Record)>, LiveError> {
        let failed = |path: &Path, source| LiveError::File {
            path: path.to_owned(),
            action: "read",
            source,
        };
        let names = match fs::read_dir(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(&self.directory, source)),
        };
        let mut records = Vec::new();
        for name in names {
            let path = name
                .map_err(|source| failed(&self.directory, source))?
                .path();
            if path.extension().is_none_or(|extension| extension != RECORD) {
                continue;
            }
            let bytes = match read(&path) {
                Ok(bytes) => bytes,
                // Its session has just ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(&path, source)),
            };
            let record: Record = match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                Err(source) => return Err(LiveError::Damaged { path, source }),
            };
            records.push((path, record));
        }
        Ok(records)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_RECORD), &mut bytes)?;
    Ok(bytes)
}

/// The record of a session of this process. Dropped, it is removed.
#[derive(Debug)]
pub struct LiveRecord {
    path: PathBuf,
    record: Record,
}

impl LiveRecord {
    /// The session lives by this process too: its runner ends a moment after the harness.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn add(&mut self, process: u32) -> Result<(), LiveError> {
        let runner = Lives::of(process).map_err(LiveError::Own)?;
        self.record.lives.push(runner);
        self.write()
    }

    fn write(&mut self) -> Result<(), LiveError> {
        let unfinished = self.path.with_extension(UNFINISHED);
        let failed = |source| LiveError::File {
            path: self.path.clone(),
            action: "written",
            source,
        };
        let bytes = serde_json::to_vec(&self.record).map_err(|source| LiveError::Damaged {
            path: self.path.clone(),
            source,
        })?;
        let mut file = File::create(&unfinished).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        // A file of zeros, which a power cut leaves otherwise, would be in everybody's way.
        file.sync_all().map_err(failed)?;
        drop(file);
        fs::rename(&unfinished, &self.path).map_err(failed)
    }
}

impl Drop for LiveRecord {
    fn drop(&mut self) {
        // What can't be removed is found later, by processes that have ended.
        let _ = fs::remove_file(self.path.with_extension(UNFINISHED));
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
pub(super) mod tests;
