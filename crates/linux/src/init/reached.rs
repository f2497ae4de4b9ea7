//! Hidden paths that the session came to: what explains a refused read where reads are not observed.
//!
//! The kernel can mark a mount and takes the mark away when anybody's path look-up ends at the mount (umount(2),
//! `MNT_EXPIRE`). A placeholder is a mount of its own, which nobody outside can reach, so that a mark that is gone means
//! that a command opened it, went through it, or looked at its name. Setting marks costs a call for each placeholder;
//! other paths cost nothing.
//!
//! Reading a mark that is still there takes the mount away. Invariant: marks are read when no process of the session
//! is left.

use ringfence_plan::step::Observe;
use ringfence_plan::{Plan, Step};
use ringfence_policy::decision::{Decision, Denial, Evidence, OwnPermissions};
use ringfence_policy::escape::escape_os;
use ringfence_policy::{AbsolutePath, FilesystemRules, Operation};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// How many placeholders are marked. Beyond, globs have hidden half a tree, and a name among so many tells little.
const MOST: usize = 256;

/// Placeholders that are marked.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    paths: Vec<AbsolutePath>,
}

/// Whether a mark was on the mount at `path`; it is afterwards, or the mount is gone.
///
/// `None` where none can be: the mount is in use, or holds another.
fn mark(path: &AbsolutePath) -> Option<Marked> {
    let flags = UnmountFlags::EXPIRE | UnmountFlags::NOFOLLOW;
    match unmount(path.as_path(), flags) {
        Ok(()) => Some(Marked::Before),
        Err(Errno::AGAIN) => Some(Marked::Now),
        Err(_) => None,
    }
}

/// Since when a mount has its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Before,
    Now,
}

impl Marks {
    /// Marks the placeholders of a finished view, where nothing else tells of reads.
    pub(crate) fn set(plan: &Plan) -> Self {
        let observes_writes = |step: &Step| {
            matches!(
                step,
                Step::FilterSyscalls {
                    observe: Observe::Writes,
                    ..
                }
            )
        };
        if !plan.steps.iter().any(observes_writes) {
            return Self::default();
        }
        let hidden = plan.steps.iter().filter_map(|step| match step {
            Step::Hide { path, .. } => Some(path),
            _ => None,
        });
        let marked = hidden.take(MOST).filter(|path| match mark(path) {
            Some(Marked::Now) => true,
            // A fresh mount has none; nothing lies there then.
            Some(Marked::Before) | None => false,
        });
        Self {
            paths: marked.cloned().collect(),
        }
    }

    /// What was reached since, each once. The view is of no use afterwards: no process may be left.
    pub(crate) fn take(&mut self, rules: &FilesystemRules) -> Vec<Denial> {
        let marked = std::mem::take(&mut self.paths);
        let reached = marked
            .into_iter()
            .filter(|path| mark(path) == Some(Marked::Now));
        reached.filter_map(|path| denial(&path, rules)).collect()
    }
}

fn denial(path: &AbsolutePath, rules: &FilesystemRules) -> Option<Denial> {
    let Decision::Deny { rule, grant, .. } = rules.decide(Operation::Read, path.as_path()) else {
        return None;
    };
    Some(Denial {
        operation: Operation::Read,
        object: escape_os(path.as_path()),
        rule,
        grant,
        refused_root: None,
        syscall: String::new(),
        evidence: Evidence::Reached,
        own_permissions: OwnPermissions::Allow,
        process: None,
    })
}
