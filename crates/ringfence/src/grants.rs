//! Whether what a grant would make writable can be a writable root: asked before a grant is shown to anybody.
//!
//! Decides nothing itself: it asks the planner, on what is there now, and then the policy. Invariant: a grant that a run
//! would be refused for is never shown.

use std::collections::HashMap;

use ringfence_backend::causes::in_one_sentence;
use ringfence_policy::decision::{Denial, RefusedRoot};
use ringfence_policy::escape::escape_path;
use ringfence_policy::{AbsolutePath, Grant, Policy, layers};

use crate::platform;

/// How many directories one judge looks at: who is asked about is a target's choice.
const MAX_DIRECTORIES: usize = 1000;

/// Judges the directories of grants, each once.
#[derive(Debug)]
pub struct RootJudge {
    policy: Policy,
    known: HashMap<String, Option<RefusedRoot>>,
}

impl RootJudge {
    /// A judge for grants beside what `policy` has.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            policy: policy.clone(),
            known: HashMap::new(),
        }
    }

    /// The first directory of `grant` that can't be a writable root; `None` where all can.
    pub fn refuse(&mut self, grant: &Grant) -> Option<RefusedRoot> {
        grant.roots().find_map(|directory| {
            if let Some(known) = self.known.get(directory) {
                return known.clone();
            }
            if self.known.len() >= MAX_DIRECTORIES {
                return Some(refused(
                    directory,
                    "of that many directories no more are looked at",
                    "`ringfence explain write PATH` tells of one",
                ));
            }
            let refused = judge(&self.policy, directory);
            self.known.insert(directory.to_owned(), refused.clone());
            refused
        })
    }

    /// Takes the grant out of `denial` where it would be refused, and says why.
    pub(crate) fn settle(&mut self, denial: &mut Denial) {
        if let Some(refused) = denial.grant.as_ref().and_then(|grant| self.refuse(grant)) {
            denial.grant = None;
            denial.refused_root = Some(Box::new(refused));
        }
    }
}

fn judge(policy: &Policy, directory: &str) -> Option<RefusedRoot> {
    // A grant's words are escaped: what that changed is another name.
    let path = AbsolutePath::new(directory).ok();
    let Some(path) = path.filter(|path| is_spelt_out(directory, path)) else {
        return Some(refused(
            directory,
            "its name can't be typed as it is",
            "give it a plain name, or work on a copy in the workspace",
        ));
    };
    let asked = platform::backend().map_err(|error| in_one_sentence(&error));
    let asked = asked.and_then(|backend| {
        let answer = backend.refuse_root(policy, &path);
        answer.map_err(|error| in_one_sentence(&error))
    });
    match asked {
        Ok(Some(refused)) => Some(refused),
        Ok(None) => layers::refuse_root(policy, &path).map(|reason| {
            let below = "name a directory below it that the command needs";
            refused(directory, &format!("it is {reason}"), below)
        }),
        Err(causes) => Some(refused(
            directory,
            &format!("it could not be examined: {causes}"),
            "`ringfence doctor` says what this machine can enforce",
        )),
    }
}

/// Whether no part of `words` stands for another character.
fn is_spelt_out(words: &str, path: &AbsolutePath) -> bool {
    let escape = if cfg!(windows) { '<' } else { '\\' };
    !words.contains(escape) && escape_path(path.as_path()) == words
}

fn refused(directory: &str, reason: &str, instead: &str) -> RefusedRoot {
    RefusedRoot {
        directory: directory.to_owned(),
        reason: reason.to_owned(),
        instead: instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ringfence_policy::layers::Context;
    use ringfence_policy::secrets::Platform;

    use super::*;

    fn path(text: &std::path::Path) -> AbsolutePath {
        AbsolutePath::new(text).unwrap()
    }

    fn policy(home: &std::path::Path, workspace: &std::path::Path) -> Policy {
        let context = Context {
            home: path(home),
            workspace: path(workspace),
            state: path(&home.join("state")),
            platform: if cfg!(windows) {
                Platform::Windows
            } else {
                Platform::Linux
            },
        };
        ringfence_policy::resolve(&[], &context).unwrap()
    }

    fn grant(directory: &str) -> Grant {
        Grant {
            arguments: vec!["--writable-root".to_owned(), directory.to_owned()],
            caution: String::new(),
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_planner_refuses_is_not_offered() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        let home = top.join("home");
        for name in ["home/project", "home/other", "home/state/x", "wide\u{202e}"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        std::fs::write(home.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&home, home.join("project/link")).unwrap();
        std::os::unix::fs::symlink("/proc", home.join("kernel")).unwrap();
        let mut judge = RootJudge::new(&policy(&home, &home.join("project")));
        let below = |name: &str| home.join(name).to_str().unwrap().to_owned();
        for (directory, words) in [
            ("/".to_owned(), "root of the file system"),
            ("/proc".to_owned(), "kernel's"),
            ("/proc/sys/kernel".to_owned(), "kernel's"),
            ("/sys/power".to_owned(), "kernel's"),
            ("/dev".to_owned(), "kernel's"),
            ("/run".to_owned(), "kernel's"),
            (below("kernel"), "kernel's"),
            (below(""), "home"),
            (
                top.to_str().unwrap().to_owned(),
                "holds Ringfence's own state",
            ),
            (below("state"), "state"),
            (below("state/x"), "state"),
            (below("absent"), "does not exist"),
            (below("file"), "not a directory"),
            (
                below("project/link/other"),
                "by way of another writable root",
            ),
            (
                format!("{}/wide\\u{{202e}}", top.display()),
                "can't be typed",
            ),
        ] {
            let directory = directory.trim_end_matches('/');
            let directory = if directory.is_empty() { "/" } else { directory };
            let refused = judge.refuse(&grant(directory)).expect(directory);
            assert!(refused.reason.contains(words), "{directory}: {refused:?}");
            assert!(!refused.instead.is_empty());
        }
        for directory in [below("other"), "/etc".to_owned()] {
            assert_eq!(judge.refuse(&grant(&directory)), None, "{directory}");
        }
        let other = Grant {
            arguments: vec!["--unprotect".to_owned(), "AGENTS.md".to_owned()],
            caution: String::new(),
        };
        assert_eq!(judge.refuse(&other), None);
    }

    // enforced-by-wine: paths, known folders, links of drives.
    #[cfg(windows)]
    #[test]
    fn what_the_planner_refuses_is_not_offered() {
        let variable = |name: &str| std::env::var(name).unwrap();
        let profile = variable("USERPROFILE");
        let mine = format!("ringfence-grants-{}", std::process::id());
        let drive = variable("SystemDrive");
        let workspace = format!("{drive}\\{mine}");
        let keys = format!("{workspace}\\keys\\.ssh");
        let below = format!("{profile}\\{mine}");
        for made in [&keys, &format!("{workspace}\\project"), &below] {
            std::fs::create_dir_all(made).unwrap();
        }
        let home = std::path::Path::new(&profile);
        let project = format!("{workspace}\\project");
        let mut judge = RootJudge::new(&policy(home, std::path::Path::new(&project)));
        for (directory, words) in [
            (format!("{drive}\\"), "drive's root"),
            (format!("{drive}\\Users"), "all profiles"),
            (profile.clone(), "profile"),
            (variable("APPDATA"), "AppData"),
            (variable("LOCALAPPDATA"), "AppData"),
            (variable("TEMP"), "temporary files"),
            (variable("ProgramFiles"), "Program Files"),
            (variable("ProgramData"), "ProgramData"),
            (variable("SystemRoot"), "Windows directory"),
            (
                format!("{}\\system32", variable("SystemRoot")),
                "Windows directory",
            ),
            ("\\\\server\\share\\x".to_owned(), "another machine"),
            ("\\\\wsl$\\Debian\\home".to_owned(), "WSL"),
            (keys.clone(), ".ssh"),
            (format!("{workspace}\\keys"), "holds a .ssh"),
            (format!("{workspace}\\absent"), "does not exist"),
            (format!("{workspace}\\a<U+202E>"), "can't be typed"),
        ] {
            let refused = judge.refuse(&grant(&directory)).expect(&directory);
            assert!(refused.reason.contains(words), "{directory}: {refused:?}");
            assert!(!refused.instead.is_empty());
        }
        for directory in [&below, &workspace] {
            assert_eq!(judge.refuse(&grant(directory)), None, "{directory}");
        }
        std::fs::remove_dir_all(&workspace).unwrap();
        std::fs::remove_dir(&below).unwrap();
    }
}
