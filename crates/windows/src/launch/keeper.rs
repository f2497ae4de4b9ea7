//! Watches the session's roots, and puts right what a command left there when it has ended.
//!
//! What was changed is collected while commands run, so that the end of a command costs as much as it changed; where
//! the system lost track (a burst that overflows its buffer), the whole root is walked. In same-user mode only the
//! roots themselves are looked at: what a target makes there is the person's own, who may always open it.
//!
//! Invariant: what happened before a command's last process ended is looked at before its end is reported.

use std::collections::BTreeSet;
use std::os::windows::io::AsHandle as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::runner::Tended;
use ringfence_backend::windows::{Changes, ReparsePoints, Tender};
use ringfence_plan::windows::step::Object;

use crate::files::{NtFiles, OpenObject, failure};
use crate::sys::file;
use crate::sys::handle::{Signal, wait_for_any};
use crate::sys::nt_file::{self, Access};
use crate::sys::watch::{Seen, Watch};
use crate::sys::{CallError, Win32Error};

/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: Win32Error = Win32Error(2);
/// How many names are kept of one root; beyond it the whole root is walked.
const MOST: usize = 100_000;

/// The roots of a session.
#[derive(Debug)]
pub(super) struct Keeper {
    tender: Tender,
    roots: Vec<Root>,
    /// One command's end at a time.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Root {
    object: Object,
    watching: Watching,
}

/// How it is known what changed below a root.
#[derive(Debug)]
enum Watching {
    /// It is not asked for.
    No,
    /// It can't be known.
    Impossible,
    /// It is collected.
    Yes(Collector),
}

/// Whether what changes below the roots is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collecting {
    /// Targets have a user of their own.
    Yes,
    /// They are the person.
    No,
}

impl Keeper {
    /// Keeps roots, and in them directories that must stay what they are.
    pub(super) fn new(
        tender: Tender,
        (roots, stay): (&[Object], &[Object]),
        collecting: Collecting,
    ) -> Self {
        let root = |object: &Object| Root {
            object: object.clone(),
            watching: match collecting {
                Collecting::No => Watching::No,
                Collecting::Yes => {
                    Collector::begin(object).map_or(Watching::Impossible, Watching::Yes)
                }
            },
        };
        // What changes in them is seen from their root.
        let stay = stay.iter().map(|object| Root {
            object: object.clone(),
            watching: Watching::No,
        });
        Self {
            tender,
            roots: roots.iter().map(root).chain(stay).collect(),
            turn: Mutex::default(),
        }
    }

    /// Whether a root can't be watched.
    pub(super) fn is_blind(&self) -> bool {
        let mut roots = self.roots.iter();
        roots.any(|root| matches!(root.watching, Watching::Impossible))
    }

    /// Puts right what stands in and below the roots.
    pub(super) fn tend(&self, report: &mut dyn FnMut(String, Tended)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for root in &self.roots {
            let changes = match &root.watching {
                Watching::No => Changes::Names(BTreeSet::new()),
                Watching::Impossible => Changes::Unknown,
                Watching::Yes(collector) => collector.take(),
            };
            let mut files = NtFiles::new();
            self.tender.tend(&mut files, &root.object, &changes, report);
        }
    }
}

/// Collects what changes below one root, on a thread of its own.
#[derive(Debug)]
struct Collector {
    kept: Arc<Mutex<Kept>>,
    stop: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Kept {
    watch: Watch,
    changes: Changes,
}

impl Collector {
    fn begin(root: &Object) -> Result<Self, CallError> {
        let watch = Watch::begin(&root.path)?;
        // It was opened by its path: what stands there by now may be another directory.
        if file::id(watch.directory())? != root.id {
            let object = root.path.printable();
            return Err(CallError::new("CreateFileW", object, NOT_FOUND));
        }
        // A handle of its own: the watch is locked while it is asked, and not while it is waited for.
        let ready = watch.readiness().try_clone_to_owned();
        let ready = ready.map_err(|_| CallError::last("DuplicateHandle", "watch"))?;
        let stop = Arc::new(Signal::new()?);
        let kept = Arc::new(Mutex::new(Kept {
            watch,
            changes: Changes::Names(BTreeSet::new()),
        }));
        let (collecting, until) = (Arc::clone(&kept), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while let Ok(Some(0)) = wait_for_any(&[ready.as_handle(), until.as_handle()], None) {
                lock(&collecting).collect();
                if until.is_set() {
                    break;
                }
            }
        });
        Ok(Self {
            kept,
            stop,
            thread: Some(thread),
        })
    }

    /// What has changed since the last time. The system reports a change before the call that made it returns, so
    /// nothing of a process that has ended is missing.
    fn take(&self) -> Changes {
        let mut kept = lock(&self.kept);
        kept.collect();
        std::mem::replace(&mut kept.changes, Changes::Names(BTreeSet::new()))
    }
}

impl Kept {
    /// Takes what the system has, until it has no more.
    fn collect(&mut self) {
        loop {
            match self.watch.take() {
                Ok(Seen::Nothing) => return,
                Ok(Seen::Names(names)) => {
                    if let Changes::Names(kept) = &mut self.changes {
                        kept.extend(names);
                        if kept.len() > MOST {
                            self.changes = Changes::Unknown;
                        }
                    }
                }
                Ok(Seen::Lost) => self.changes = Changes::Unknown,
                Err(_) => {
                    self.changes = Changes::Unknown;
                    return;
                }
            }
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl ReparsePoints for NtFiles {
    fn remove_reparse_point(&mut self, object: &OpenObject) -> Result<(), CallFailure> {
        let handle = object.handle().as_handle();
        nt_file::reopen(handle, Access::Write, &"a root")
            .and_then(|writable| nt_file::remove_reparse_point(writable.as_handle()))
            .map_err(failure)
    }
}
