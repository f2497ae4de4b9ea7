//! Sweeping on Windows: guarded names are moved away at once where the system tells that they were made, and looked for
//! when a command has ended, however its session ended.
//!
//! Each session keeps what it must take away in a record of the state directory, beside a file that it holds open so
//! that nobody else can; where that can be opened the session is dead, and whoever comes next sweeps for it. New
//! repositories are not looked for here: the next plan protects them as it finds them. A held name that somebody gave
//! to another object is planned and stamped anew by who watches. Invariant: a record goes when
//! everything in it was looked for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_audit::SessionId;
use ringfence_backend::causes::in_one_sentence;
use ringfence_backend::session::BorrowedDescriptor;
use ringfence_plan::Plan;
use ringfence_plan::plan::Guard;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;
use ringfence_policy::escape::escape_os;
use ringfence_policy::{AbsolutePath, Policy};
use ringfence_windows::backend;
use ringfence_windows::observe::Look as _;
use ringfence_windows::observe::disk::Disk;
use serde::{Deserialize, Serialize};

use patrol::{Look, Names, News, Patrol};

use super::{Leftovers, Repositories, Seen, Swept, Watching};
use crate::quarantine::{Entry, Quarantine, Reason, Taking};
use crate::state::StateDirectory;
use crate::state::file::{StateFile, StateFileError};

mod patrol;
#[cfg(test)]
mod tests;

/// Where records are, in the state directory.
const SESSIONS: &str = "sessions";
/// `FILE_FLAG_DELETE_ON_CLOSE`
const DELETE_ON_CLOSE: u32 = 0x0400_0000;

/// Why a session's record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The record's lock could not be made.
    #[error("`{path}` could not be made")]
    Lock {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The record could not be written.
    #[error("the session's record could not be written")]
    Record(#[source] StateFileError),
}

impl LeaseError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Lock { path, .. } => format!("check the permissions of {}", path.display()),
            Self::Record(error) => error.hint(),
        }
    }
}

/// What a session must take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    session: SessionId,
    /// Each absent name, with its words in the policy.
    absent: Vec<(AbsolutePath, String)>,
    roots: Vec<AbsolutePath>,
}

/// A session's record, held.
#[derive(Debug)]
pub(crate) struct Lease {
    record: StateFile<Orders>,
    _lock: File,
}

impl Lease {
    pub(crate) fn take(
        state: &StateDirectory,
        session: &SessionId,
    ) -> Result<Option<Self>, LeaseError> {
        let directory = state.path().as_path().join(SESSIONS);
        let path = directory.join(format!("{session}.lock"));
        let failed = |source| LeaseError::Lock {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&directory).map_err(failed)?;
        let lock = hold(&path).map_err(failed)?;
        Ok(Some(Self {
            record: record(&directory.join(format!("{session}.json"))),
            _lock: lock,
        }))
    }

    /// The job of the session ends with the harness: nobody else has to keep it.
    pub(crate) fn descriptor(&self) -> Option<BorrowedDescriptor<'_>> {
        None
    }

    pub(crate) fn place(&mut self, orders: &Orders) -> Result<(), LeaseError> {
        self.record.write(orders).map_err(LeaseError::Record)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Swept by now; where it can't be removed the next session finds nothing to do and tries again.
        let _ = fs::remove_file(self.record.path());
    }
}

fn record(path: &Path) -> StateFile<Orders> {
    StateFile::new(path.to_owned(), "session", 1)
}

/// Opens a file as nobody else can at the same time; it goes with its handle.
fn hold(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(0)
        .custom_flags(DELETE_ON_CLOSE)
        .open(path)
}

pub(crate) fn has_orders(guard: &Guard, _repositories: Repositories) -> bool {
    !guard.absent.is_empty()
}

/// Sweeps what dead sessions have left.
#[must_use]
pub fn sweep_leftovers(state: &StateDirectory) -> Leftovers {
    let mut leftovers = Leftovers::default();
    let directory = state.path().as_path().join(SESSIONS);
    let Ok(names) = fs::read_dir(&directory) else {
        return leftovers;
    };
    let quarantine = Quarantine::open(state);
    for path in names.flatten().map(|name| name.path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Ok(lock) = hold(&path.with_extension("lock")) else {
            leftovers.live += 1;
            continue;
        };
        match record(&path).read() {
            Ok(Some(orders)) => {
                let swept = orders.sweep(&quarantine);
                let is_whole = swept.notes.is_empty();
                leftovers.swept.quarantined.extend(swept.quarantined);
                leftovers.swept.notes.extend(swept.notes);
                if is_whole && fs::remove_file(&path).is_ok() {
                    leftovers.dead += 1;
                } else {
                    leftovers.unswept += 1;
                }
            }
            Ok(None) => {}
            Err(error) => {
                leftovers.unswept += 1;
                leftovers.swept.notes.push(format!(
                    "WARNING: the record `{}` of a session that was killed can't be read: {error}",
                    path.display()
                ));
            }
        }
        drop(lock);
    }
    leftovers
}

impl Orders {
    /// Looks for every guarded name.
    fn sweep(&self, quarantine: &Quarantine) -> Swept {
        let mut swept = Swept::default();
        for (path, origin) in &self.absent {
            let Some(root) = self.roots.iter().find(|root| path.starts_with(root)) else {
                continue;
            };
            let taking = Taking {
                root,
                path,
                session: &self.session,
                reason: Reason::ProtectedName {
                    origin: origin.clone(),
                },
            };
            match quarantine.take(&taking) {
                Ok(Some(entry)) => swept.quarantined.push(entry),
                Ok(None) => {}
                Err(error) => {
                    let cause = std::error::Error::source(&error)
                        .map(|source| format!(": {source}"))
                        .unwrap_or_default();
                    swept.notes.push(format!(
                        "WARNING: `{}` was made by the session and could not be moved away{cause}; remove it before you use the directory",
                        escape_os(path.as_path())
                    ));
                }
            }
        }
        swept
    }
}

/// What was moved away, and what a person should know of it; two threads add to it.
#[derive(Clone, Debug)]
struct Sweeper {
    orders: Arc<Orders>,
    quarantine: Arc<Quarantine>,
    swept: Arc<Mutex<Swept>>,
    /// What a person should know of held names that another object has, as long as that is so.
    unstamped: Arc<Mutex<Option<String>>>,
}

impl Sweeper {
    fn set_unstamped(&self, note: Option<String>) {
        let unstamped = self.unstamped.lock();
        *unstamped.unwrap_or_else(PoisonError::into_inner) = note;
    }

    fn swept(&self) -> MutexGuard<'_, Swept> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves away what is there; what can't be moved yet is looked for again.
    fn look(&self) -> Look {
        let mut swept = self.swept();
        let now = self.orders.sweep(&self.quarantine);
        swept.quarantined.extend(now.quarantined);
        if now.notes.is_empty() {
            Look::Finished
        } else {
            Look::Again
        }
    }
}

/// How often a stamping that failed is tried again: about five seconds, in which editors let go of a file.
const ATTEMPTS: u32 = 50;

/// Plans and stamps anew.
type Stamp = Box<dyn FnMut() -> Result<(), String> + Send>;

/// The objects of a session's held names, and how they are stamped anew.
struct Held {
    /// Which object has each name, with its rights; none where it was seen to be gone.
    objects: Vec<(WindowsPath, Option<FileId>)>,
    stamp: Stamp,
    failures: u32,
}

impl Held {
    /// Plans and stamps anew where another object has a held name; what fails is tried again, and told until it has
    /// succeeded.
    fn look(&mut self, sweeper: &Sweeper) -> Look {
        let mut disk = Disk;
        let now: Vec<Option<FileId>> = self
            .objects
            .iter()
            .map(|(path, _)| Some(disk.look(path).ok().flatten()?.id))
            .collect();
        let replaced: Vec<String> = self
            .objects
            .iter()
            .zip(&now)
            .filter(|((_, id), now)| now.is_some() && id != *now)
            .map(|((path, _), _)| path.printable())
            .collect();
        if replaced.is_empty() {
            self.remember(now);
            return Look::Finished;
        }
        let error = (self.stamp)().err();
        sweeper.set_unstamped(error.as_ref().map(|error| {
            format!(
                "WARNING: {} was replaced while the session ran, and could not be given its access rights ({error}); run the command again, or `ringfence setup repair`",
                replaced.join(", ")
            )
        }));
        self.failures = error.map_or(0, |_| self.failures + 1);
        if self.failures > 0 && self.failures < ATTEMPTS {
            return Look::Again;
        }
        // As they were before the stamping: what was replaced since is seen as such.
        self.remember(now);
        Look::Finished
    }

    fn remember(&mut self, now: Vec<Option<FileId>>) {
        for ((_, id), now) in self.objects.iter_mut().zip(now) {
            *id = now;
        }
    }
}

/// Guards one session.
#[derive(Debug)]
pub(crate) struct Guardian {
    sweeper: Sweeper,
    told: usize,
    /// Ends before the last sweep's result is asked for.
    patrol: Option<Patrol>,
}

impl Guardian {
    pub(crate) fn new(
        plan: &Plan,
        _watch: (Watching, Repositories),
        quarantine: Quarantine,
        session: SessionId,
    ) -> Self {
        let absent = plan.guard.absent.iter();
        let orders = Orders {
            session,
            absent: absent
                .map(|name| (name.path.clone(), name.origin.clone()))
                .collect(),
            roots: plan.guard.roots.clone(),
        };
        Self {
            sweeper: Sweeper {
                orders: Arc::new(orders),
                quarantine: Arc::new(quarantine),
                swept: Arc::default(),
                unstamped: Arc::default(),
            },
            told: 0,
            patrol: None,
        }
    }

    /// Watches the roots while commands run. Where they can't be watched, what is there is found at the end.
    pub(crate) fn watch(&mut self, plan: &Plan, policy: &Policy) {
        let Some(plan) = plan.windows.as_deref() else {
            return;
        };
        let guarded = self.sweeper.orders.absent.iter();
        let guarded = guarded.filter_map(|(path, _)| WindowsPath::from_policy(path).ok());
        let objects: Vec<(WindowsPath, FileId)> = plan
            .held
            .iter()
            .filter(|held| held.root.is_some())
            .map(|held| (held.object.path.clone(), held.object.id))
            .collect();
        let names = Names {
            guarded: guarded.collect(),
            held: objects.iter().map(|(path, _)| path.clone()).collect(),
        };
        let roots: Vec<WindowsPath> = plan
            .roots
            .iter()
            .map(|root| root.object.path.clone())
            .collect();
        let sweeper = self.sweeper.clone();
        let policy = policy.clone();
        let mut held = Held {
            objects: objects
                .into_iter()
                .map(|(path, id)| (path, Some(id)))
                .collect(),
            stamp: Box::new(move || {
                backend::stamp(&policy).map_err(|error| in_one_sentence(&*error))
            }),
            failures: 0,
        };
        let act = move |news: News| {
            let looks = [
                news.held.then(|| held.look(&sweeper)),
                news.guarded.then(|| sweeper.look()),
            ];
            if looks.contains(&Some(Look::Again)) {
                Look::Again
            } else {
                Look::Finished
            }
        };
        match Patrol::begin(&roots, names, act) {
            Ok(patrol) => self.patrol = Some(patrol),
            Err(error) => self.sweeper.swept().notes.push(format!(
                "the workspace can't be watched ({}): protected names that commands make are moved away when the command has ended",
                in_one_sentence(&error)
            )),
        }
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.sweeper.orders
    }

    pub(crate) fn inherit(&mut self, swept: Swept) {
        let mut all = self.sweeper.swept();
        all.quarantined.extend(swept.quarantined);
        all.notes.extend(swept.notes);
    }

    /// Everything is looked for at the end anyway.
    pub(crate) fn touched(&mut self, _path: &AbsolutePath) {}

    /// As above.
    pub(crate) fn unwatched(&mut self, _directory: &AbsolutePath) {}

    pub(crate) fn news(&mut self) -> Vec<Entry> {
        let swept = self.sweeper.swept();
        let news = swept.quarantined.get(self.told..);
        let news = news.unwrap_or_default().to_vec();
        self.told += news.len();
        news
    }

    pub(crate) fn sweep(&mut self, _seen: Seen) {
        let mut all = self.sweeper.swept();
        let swept = self.sweeper.orders.sweep(&self.sweeper.quarantine);
        all.quarantined.extend(swept.quarantined);
        all.notes.extend(swept.notes);
    }

    pub(crate) fn take_swept(&mut self) -> Swept {
        self.told = 0;
        let mut swept = std::mem::take(&mut *self.sweeper.swept());
        let unstamped = self.sweeper.unstamped.lock();
        let unstamped = unstamped.unwrap_or_else(PoisonError::into_inner).take();
        swept.notes.extend(unstamped);
        swept
    }
}
