//! Held names that somebody gives to another object while a session runs.
//!
//! The files and the watch are the system's; who stamps is the test's: what a stamping does is tried on the model
//! (`tests/windows-model`), since wine keeps no lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// A workspace with a held file, and whoever sweeps it.
struct Bench {
    directory: tempfile::TempDir,
    root: WindowsPath,
    sweeper: Sweeper,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        let real = real.to_str().unwrap();
        let root = WindowsPath::parse(real.strip_prefix(r"\\?\").unwrap_or(real)).unwrap();
        fs::write(directory.path().join("CLAUDE.md"), "first").unwrap();
        let state = directory.path().join("state");
        let orders = Orders {
            session: SessionId("0123456789abcdef".to_owned()),
            absent: Vec::new(),
            roots: Vec::new(),
        };
        let state = StateDirectory::at(&state).unwrap();
        let sweeper = Sweeper {
            orders: Arc::new(orders),
            quarantine: Arc::new(Quarantine::open(&state)),
            swept: Arc::default(),
            unstamped: Arc::default(),
        };
        Self {
            directory,
            root,
            sweeper,
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("CLAUDE.md")
    }

    fn path(&self) -> WindowsPath {
        self.root.join("CLAUDE.md").unwrap()
    }

    /// The held file, and what is called for it.
    fn held(&self, stamp: impl FnMut() -> Result<(), String> + Send + 'static) -> Held {
        let id = Disk.look(&self.path()).unwrap().unwrap().id;
        Held {
            objects: vec![(self.path(), Some(id))],
            stamp: Box::new(stamp),
            failures: 0,
        }
    }

    fn unstamped(&self) -> Option<String> {
        self.sweeper.unstamped.lock().unwrap().clone()
    }
}

/// As editors save: a new file, renamed over the old one.
fn save(file: &Path, text: &str) {
    let new = file.with_extension("tmp");
    fs::write(&new, text).unwrap();
    fs::rename(&new, file).unwrap();
}

#[test]
fn what_replaces_a_held_name_is_stamped_once_and_what_is_written_in_place_is_not() {
    let bench = Bench::new();
    let stamped = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&stamped);
    let mut held = bench.held(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut look = || {
        assert_eq!(held.look(&bench.sweeper), Look::Finished);
        stamped.load(Ordering::SeqCst)
    };
    assert_eq!(look(), 0, "nothing happened");
    fs::write(bench.file(), "the same object").unwrap();
    assert_eq!(look(), 0, "it has its rights");
    save(&bench.file(), "another one");
    assert_eq!(look(), 1);
    assert_eq!(look(), 1, "it is known by now");
    fs::remove_file(bench.file()).unwrap();
    assert_eq!(look(), 1, "there is nothing to stamp");
    fs::write(bench.file(), "a checkout's").unwrap();
    assert_eq!(look(), 2);
    assert_eq!(bench.unstamped(), None);
}

#[test]
fn a_stamping_that_fails_is_tried_again_and_told_until_it_succeeds() {
    let bench = Bench::new();
    let mut left = 2;
    let mut held = bench.held(move || {
        left -= 1;
        if left >= 0 {
            return Err("the editor holds it".to_owned());
        }
        Ok(())
    });
    save(&bench.file(), "another one");
    for _ in 0..2 {
        assert_eq!(held.look(&bench.sweeper), Look::Again);
        let told = bench.unstamped().unwrap();
        assert!(told.contains("CLAUDE.md") && told.contains("the editor holds it"));
    }
    assert_eq!(held.look(&bench.sweeper), Look::Finished);
    assert_eq!(bench.unstamped(), None, "it has its rights after all");

    let mut held = bench.held(|| Err("for good".to_owned()));
    save(&bench.file(), "one more");
    for _ in 1..ATTEMPTS {
        assert_eq!(held.look(&bench.sweeper), Look::Again);
    }
    assert_eq!(held.look(&bench.sweeper), Look::Finished, "not for ever");
    assert!(bench.unstamped().unwrap().contains("for good"));
}

// plumbing-only: wine tells of what happens at the top of a root, and late.
#[test]
fn a_held_name_that_is_replaced_while_a_root_is_watched_is_stamped() {
    let bench = Bench::new();
    let (sender, receiver) = mpsc::channel();
    let (path, file) = (bench.path(), bench.file());
    let mut held = bench.held(move || {
        let _ = sender.send(Disk.look(&path).ok().flatten().map(|seen| seen.id));
        Ok(())
    });
    let first = held.objects[0].1;
    let names = Names {
        guarded: Vec::new(),
        held: vec![bench.path()],
    };
    let sweeper = bench.sweeper.clone();
    let act = move |news: News| {
        if news.held {
            held.look(&sweeper)
        } else {
            Look::Finished
        }
    };
    let patrol = Patrol::begin(std::slice::from_ref(&bench.root), names, act).unwrap();
    let mut stamped = None;
    // wine misses what comes right after the start.
    for number in 0..600 {
        save(&file, &number.to_string());
        stamped = receiver.recv_timeout(Duration::from_millis(100)).ok();
        if stamped.is_some() {
            break;
        }
    }
    let stamped = stamped.flatten();
    assert!(stamped.is_some() && stamped != first, "{stamped:?}");
    drop(patrol);
}
