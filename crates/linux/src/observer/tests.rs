#![expect(unsafe_code, reason = "system calls are made raw, past the C library")]
//! The observer on filtered threads and processes of this test: nothing enforces here but the filter itself.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use ringfence_backend::wire::Event;
use ringfence_plan::plan::{Guard, GuardedName};
use ringfence_plan::step::{IpSockets, Observe};
use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::document::{GitAccess, Mode, NewRepositories};
use ringfence_policy::filesystem::{Scope, Strength};
use ringfence_policy::{AbsolutePath, FilesystemRules, Operation, PathAccess, PathRule, RuleId};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{MAX_DISTINCT, Observer};
use crate::seccomp::{FilterProfile, UnixSockets, compile, install_with_listener};

mod guarded;
mod hostile;
mod paths;
mod refusals;

/// A writable root, a place beside it, and a secret.
struct Scene {
    _directory: tempfile::TempDir,
    root: PathBuf,
    outside: PathBuf,
    secret: PathBuf,
}

fn absolute(path: impl AsRef<Path>) -> AbsolutePath {
    AbsolutePath::new(path).unwrap()
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let [root, outside, secret] = ["root", "outside", "secret"].map(|name| top.join(name));
        for path in [&root, &outside, &secret] {
            fs::create_dir(path).unwrap();
        }
        fs::write(outside.join("file"), "content").unwrap();
        Self {
            _directory: directory,
            root,
            outside,
            secret,
        }
    }

    fn rules(&self) -> FilesystemRules {
        let rule = |path: &Path, access, strength, rule| PathRule {
            path: absolute(path),
            access,
            strength,
            rule,
            origin: String::new(),
            except: Vec::new(),
        };
        let write = PathAccess::ReadWrite;
        let paths = vec![
            rule(&self.root, write, Strength::Place, RuleId::WritableRoot),
            rule(
                &self.secret,
                PathAccess::Hidden,
                Strength::Deny,
                RuleId::Secret,
            ),
        ];
        rules(&self.root, paths)
    }

    fn guard(&self) -> Guard {
        let husky = self.root.join(".husky");
        Guard {
            absent: vec![GuardedName {
                path: absolute(husky),
                origin: ".husky".to_owned(),
            }],
            roots: vec![absolute(&self.root)],
            new_repositories: NewRepositories::Clean,
            commit_directories: vec![absolute(self.root.join("committed/.git"))],
        }
    }

    /// Runs `target` on a filtered thread, observed; what it returned and what was reported.
    fn observe<T: Send>(
        &self,
        observe: Observe,
        target: impl FnOnce() -> T + Send,
    ) -> Option<(T, Vec<Event>)> {
        let mut paused = self.start(observe, target, |_| {})?;
        paused.1.retain(|event| match event {
            Event::Denied { denial, .. } => !denial.object.contains("/proc/"),
            _ => true,
        });
        Some(paused)
    }

    /// The same under other rules on the root.
    fn observe_with<T: Send>(
        &self,
        paths: Vec<PathRule>,
        target: impl FnOnce() -> T + Send,
    ) -> Option<(T, Vec<Event>)> {
        let rules = rules(&self.root, paths);
        self.start_by(rules, Observe::Writes, target, |_| {}, |_| {})
            .map(|(result, events, ())| (result, events))
    }

    /// The same; `before` runs when the first call waits, unanswered.
    fn start<T: Send>(
        &self,
        observe: Observe,
        target: impl FnOnce() -> T + Send,
        before: impl FnOnce(&Observer),
    ) -> Option<(T, Vec<Event>)> {
        self.start_and(observe, target, before, |_| {})
            .map(|(result, events, ())| (result, events))
    }

    /// Runs `target` observed; what the observer says afterwards.
    fn observe_and<T: Send, R>(
        &self,
        target: impl FnOnce() -> T + Send,
        after: impl FnOnce(&Observer) -> R,
    ) -> Option<R> {
        self.start_and(Observe::Writes, target, |_| {}, after)
            .map(|(_, _, said)| said)
    }

    fn start_and<T: Send, R>(
        &self,
        observe: Observe,
        target: impl FnOnce() -> T + Send,
        before: impl FnOnce(&Observer),
        after: impl FnOnce(&Observer) -> R,
    ) -> Option<(T, Vec<Event>, R)> {
        self.start_by(self.rules(), observe, target, before, after)
    }

    fn start_by<T: Send, R>(
        &self,
        rules: FilesystemRules,
        observe: Observe,
        target: impl FnOnce() -> T + Send,
        before: impl FnOnce(&Observer),
        after: impl FnOnce(&Observer) -> R,
    ) -> Option<(T, Vec<Event>, R)> {
        if crate::is_nested() {
            return None;
        }
        let profile = FilterProfile {
            observe,
            ip_sockets: IpSockets::InNamespace,
            unix_sockets: UnixSockets::Refused,
        };
        let program = compile(&profile);
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                rustix::thread::set_no_new_privs(true).unwrap();
                send.send(install_with_listener(&program).unwrap()).unwrap();
                target()
            });
            let listener = receive.recv().unwrap();
            let mut observer = Observer::new(listener, profile, rules, &self.guard()).unwrap();
            let mut before = Some(before);
            let mut events = Vec::new();
            loop {
                let finished = thread.is_finished();
                if ready(&observer) {
                    if let Some(before) = before.take() {
                        before(&observer);
                    }
                    observer
                        .handle_ready(&mut |event| events.push(event))
                        .unwrap();
                } else if finished {
                    break;
                }
            }
            observer.flush(&mut |event| events.push(event));
            Some((thread.join().unwrap(), events, after(&observer)))
        })
    }
}

/// Whether a call waits, within a short while.
fn ready(observer: &Observer) -> bool {
    let descriptor = observer.as_fd();
    let mut poll = [PollFd::new(&descriptor, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    rustix::event::poll(&mut poll, Some(&timeout)).unwrap();
    poll[0].revents().contains(PollFlags::IN)
}

fn rules(workspace: &Path, paths: Vec<PathRule>) -> FilesystemRules {
    let scope = Scope {
        mode: Mode::WorkspaceWrite,
        git: GitAccess::ReadOnly,
        workspace: absolute(workspace),
        home: absolute(Path::new("/home/ann")),
    };
    FilesystemRules::new(scope, paths, Vec::new())
}

fn denials(events: &[Event]) -> Vec<&Denial> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Denied { denial, .. } => Some(&**denial),
            _ => None,
        })
        .collect()
}

fn touched(events: &[Event]) -> Vec<&Path> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Touched { path } => Some(path.as_path()),
            _ => None,
        })
        .collect()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

fn address(path: &CString) -> u64 {
    path.as_ptr().addr() as u64
}

/// Makes a call; the error number, or 0.
fn call(number: libc::c_long, arguments: &[u64]) -> i32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: the arguments are integers, live strings, or addresses that are bad on purpose.
    let result = unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
    if result < 0 {
        std::io::Error::last_os_error().raw_os_error().unwrap()
    } else {
        0
    }
}

/// `AT_FDCWD`, as a register holds it.
const HERE: u64 = libc::AT_FDCWD.cast_unsigned() as u64;
