//! Guarded and held names while commands run: somebody is called at once when one of them appears or is replaced.
//!
//! The system tells what happens in a root; what it means is the caller's. A look that could not be finished (a file
//! that its maker still holds) is repeated. Invariant: what the system does not tell is found by the sweep at the end
//! of the command: this only shortens the time until then.

use std::os::windows::io::AsHandle as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ringfence_plan::windows::WindowsPath;
use ringfence_windows::sys::CallError;
use ringfence_windows::sys::handle::{Signal, wait_for_any};
use ringfence_windows::sys::watch::{Seen, Watch};

/// How long until an unfinished look is repeated, in milliseconds.
const AGAIN: u32 = 100;
/// As many roots as are watched: a wait takes 64 handles, one of them the stop.
const MOST: usize = 63;

/// What may have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// A guarded name may be there.
    pub(super) guarded: bool,
    /// Another object may have a held name.
    pub(super) held: bool,
}

/// Whether a look came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Finished,
    Again,
}

/// Names that are of interest.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Those that must not appear.
    pub(super) guarded: Vec<WindowsPath>,
    /// Those that have access rights of their own.
    pub(super) held: Vec<WindowsPath>,
}

/// A thread that watches; it ends with this.
#[derive(Debug)]
pub(super) struct Patrol {
    stop: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Patrol {
    /// Watches `roots` and calls `act` from a thread of its own, once for each burst.
    ///
    /// # Errors
    /// The calls': a root can't be watched.
    pub(super) fn begin(
        roots: &[WindowsPath],
        names: Names,
        mut act: impl FnMut(News) -> Look + Send + 'static,
    ) -> Result<Self, CallError> {
        let mut watches = Vec::new();
        for root in roots.iter().take(MOST) {
            watches.push((root.clone(), Watch::begin(root)?));
        }
        let stop = Arc::new(Signal::new()?);
        let until = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // What was made before the watch began.
            let mut due = News {
                guarded: true,
                held: false,
            };
            loop {
                if due != News::default() {
                    due = match act(due) {
                        Look::Finished => News::default(),
                        Look::Again => due,
                    };
                }
                let patience = (due != News::default()).then_some(AGAIN);
                let mut handles = vec![until.as_handle()];
                handles.extend(watches.iter().map(|(_, watch)| watch.readiness()));
                if wait_for_any(&handles, patience).is_err() || until.is_set() {
                    return;
                }
                for (root, watch) in &mut watches {
                    let Ok(seen) = watch.take() else { return };
                    let news = names.meant(root, &seen);
                    due.guarded |= news.guarded;
                    due.held |= news.held;
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Patrol {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Names {
    /// What it means that these names in `root` changed.
    fn meant(&self, root: &WindowsPath, seen: &Seen) -> News {
        let all = News {
            guarded: true,
            held: true,
        };
        let names = match seen {
            Seen::Nothing => return News::default(),
            Seen::Lost => return all,
            Seen::Names(names) => names,
        };
        let mut news = News::default();
        for name in names {
            // Which name a short one stands for is not known here.
            if name.contains(&u16::from(b'~')) {
                return all;
            }
            let Ok(name) = String::from_utf16(name) else {
                continue;
            };
            let text = root.to_string();
            let text = format!("{}\\{name}", text.trim_end_matches('\\'));
            let Ok(path) = WindowsPath::observed(&text) else {
                continue;
            };
            let concerns = |list: &[WindowsPath]| list.iter().any(|one| one.starts_with(&path));
            news.guarded |= concerns(&self.guarded);
            news.held |= concerns(&self.held);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn path(text: &str) -> WindowsPath {
        WindowsPath::parse(text).unwrap()
    }

    fn seen(names: &[&str]) -> Seen {
        let units = |name: &&str| name.encode_utf16().collect();
        Seen::Names(names.iter().map(units).collect())
    }

    #[test]
    fn a_name_matters_if_it_or_what_lies_in_it_is_guarded_or_held() {
        let names = Names {
            guarded: vec![path(r"C:\ws\.codex"), path(r"C:\ws\infra\prod")],
            held: vec![path(r"C:\ws\.git"), path(r"C:\ws\CLAUDE.md")],
        };
        let root = path(r"C:\ws");
        let (guarded, held) = (true, true);
        for (list, expected) in [
            (&["src\\main.rs"][..], News::default()),
            (
                &[".CODEX"],
                News {
                    guarded,
                    held: false,
                },
            ),
            // A directory that was moved here with what it holds.
            (
                &["infra"],
                News {
                    guarded,
                    held: false,
                },
            ),
            (&["infra\\prod\\deep"], News::default()),
            (
                &["src", "claude.md"],
                News {
                    guarded: false,
                    held,
                },
            ),
            (&["CODEX~1"], News { guarded, held }),
        ] {
            assert_eq!(names.meant(&root, &seen(list)), expected, "{list:?}");
        }
        assert_eq!(names.meant(&root, &Seen::Nothing), News::default());
        assert_eq!(names.meant(&root, &Seen::Lost), News { guarded, held });
    }

    // plumbing-only: wine tells of what happens at the top of a root, and late.
    #[test]
    fn somebody_is_called_when_a_name_appears_and_again_until_the_look_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        let real = real.to_str().unwrap();
        let root = path(real.strip_prefix(r"\\?\").unwrap_or(real));
        let names = Names {
            guarded: vec![root.join(".codex").unwrap()],
            held: Vec::new(),
        };
        let (sender, receiver) = mpsc::channel();
        let mut looks = 0;
        let patrol = Patrol::begin(&[root], names, move |news| {
            looks += 1;
            let _ = sender.send(news);
            if looks == 2 {
                Look::Again
            } else {
                Look::Finished
            }
        })
        .unwrap();
        let next = || receiver.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(next().guarded, "what was there before");
        let codex = directory.path().join(".codex");
        // wine misses what comes right after the start.
        let mut called = None;
        for _ in 0..600 {
            std::fs::create_dir(&codex).unwrap();
            std::fs::remove_dir(&codex).unwrap();
            called = receiver.recv_timeout(Duration::from_millis(100)).ok();
            if called.is_some() {
                break;
            }
        }
        assert!(called.unwrap().guarded);
        assert!(next().guarded, "the look that was not finished");
        drop(patrol);
        assert!(receiver.recv().is_err(), "nobody is called afterwards");
    }
}
