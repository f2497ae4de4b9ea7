//! What the change journal of a volume tells of one root: which directories have other names in them than before.
//!
//! The journal gives ids, not names, to who is no administrator: each directory is opened by its id and asked where it
//! is. Invariant: what can't be found out of any record makes the whole answer [`Since::Unknown`].

use std::collections::BTreeSet;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::AsHandle as _;

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;

use super::look::{Changes, JournalMark, Since};
use crate::sys::file::{self, READ_ATTRIBUTES};
use crate::sys::journal::{Journal, Record};
use crate::sys::nt_file::{self, Access};

/// More records than this are more work than a walk.
const MAX_RECORDS: usize = 200_000;
/// More objects than this are more work than a walk.
const MAX_OBJECTS: usize = 4_096;

/// A journal, and the root that is asked about.
struct Asked<'a> {
    journal: Journal,
    volume: u64,
    root: &'a WindowsPath,
}

/// Where an object is.
enum Standing {
    At(WindowsPath),
    /// It was deleted since.
    Gone,
}

/// Ids that records name.
#[derive(Debug, Default)]
struct Named {
    parents: BTreeSet<u128>,
    moved: BTreeSet<u128>,
    linked: BTreeSet<u128>,
}

/// Where the journal of the root's volume is now.
pub(super) fn mark(root: &WindowsPath) -> Option<JournalMark> {
    open(root)?.journal.mark().ok()
}

/// What has changed below `root` since `mark`.
pub(super) fn since(root: &WindowsPath, mark: JournalMark) -> Since {
    open(root)
        .and_then(|asked| asked.changes(mark))
        .map_or(Since::Unknown, Since::Changed)
}

/// The journal of the root's volume, which is the one of its drive letter, or it is left alone.
fn open(root: &WindowsPath) -> Option<Asked<'_>> {
    let volume = volume_of(root)?;
    let drive = root.ancestors().last().unwrap_or_else(|| root.clone());
    if volume_of(&drive)? != volume {
        return None;
    }
    Some(Asked {
        journal: Journal::open(root.drive()).ok()?,
        volume,
        root,
    })
}

fn volume_of(path: &WindowsPath) -> Option<u64> {
    let handle = file::open_itself(path, READ_ATTRIBUTES).ok()??;
    Some(file::id(handle.as_handle()).ok()?.volume)
}

impl Asked<'_> {
    fn changes(&self, from: JournalMark) -> Option<Changes> {
        let now = self.journal.mark().ok()?;
        if now.journal != from.journal {
            return None;
        }
        let (mut mark, mut named, mut records) = (from, Named::default(), 0);
        while mark.next < now.next {
            let page = self.journal.read(mark).ok()?;
            for record in &page.records {
                named.add(record);
            }
            records += page.records.len();
            if records > MAX_RECORDS || named.len() > MAX_OBJECTS {
                return None;
            }
            // No way forward, and not at the end: what is between is not known.
            if page.next <= mark.next {
                return None;
            }
            mark.next = page.next;
        }
        let mut changes = Changes {
            mark,
            directories: BTreeSet::new(),
            moved: BTreeSet::new(),
        };
        for parent in named.parents {
            changes.directories.extend(self.below(self.place(parent)?));
        }
        for directory in named.moved {
            changes.moved.extend(self.below(self.place(directory)?));
        }
        for linked in named.linked {
            for name in self.names(linked)? {
                let above = name.parent().map_or(Standing::Gone, Standing::At);
                changes.directories.extend(self.below(above));
            }
        }
        Some(changes)
    }

    fn below(&self, standing: Standing) -> Option<WindowsPath> {
        match standing {
            Standing::At(path) if path.starts_with(self.root) => Some(path),
            Standing::At(_) | Standing::Gone => None,
        }
    }

    /// Where an object is; `None` where that can't be told.
    fn place(&self, file: u128) -> Option<Standing> {
        let id = FileId {
            volume: self.volume,
            file,
        };
        let Some(handle) = nt_file::open_by_id(self.journal.volume(), id, Access::Pass).ok()?
        else {
            return Some(Standing::Gone);
        };
        let path = file::final_path(handle.as_handle()).ok()?;
        let units: Vec<u16> = path.encode_wide().collect();
        let text = String::from_utf16(&units).ok()?;
        let plain = text.strip_prefix(r"\\?\").unwrap_or(&text);
        WindowsPath::observed(plain).ok().map(Standing::At)
    }

    /// Every name of a file; none for one that is gone.
    fn names(&self, file: u128) -> Option<Vec<WindowsPath>> {
        let Standing::At(place) = self.place(file)? else {
            return Some(Vec::new());
        };
        let names = file::names_on_volume(&place).ok()?;
        names
            .into_iter()
            .map(|name| {
                let name = name.to_str()?;
                WindowsPath::observed(&format!("{}:{name}", self.root.drive())).ok()
            })
            .collect()
    }
}

impl Named {
    fn add(&mut self, record: &Record) {
        self.parents.insert(record.parent);
        if record.is_moved_directory() {
            self.moved.insert(record.file);
        }
        if record.is_linked() {
            self.linked.insert(record.file);
        }
    }

    fn len(&self) -> usize {
        self.parents.len() + self.moved.len() + self.linked.len()
    }
}
