//! What lies on a volume: directories, files, their streams, reparse points and descriptors.
//!
//! It holds what is, not who may. Invariant: names stand in directories alone, so a node with two names is one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::descriptor::SecurityDescriptor;

use super::name::FileName;
use super::tree::NodeId;

/// Whether a directory tells `a` from `A`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaseRule {
    /// It does not.
    #[default]
    Insensitive,
    /// `FILE_CS_FLAG_CASE_SENSITIVE_DIR`: it does.
    Sensitive,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// The name.
    pub name: FileName,
    /// The short name beside it.
    pub short: Option<FileName>,
    /// What it names.
    pub node: NodeId,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file; its unnamed stream is the stream of the empty name.
    File,
    /// A directory.
    Directory {
        /// The names in it, sorted.
        entries: Vec<Entry>,
        /// How they are compared.
        case: CaseRule,
    },
}

/// How a reparse point redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReparseKind {
    /// `IO_REPARSE_TAG_MOUNT_POINT`: a junction, on directories alone.
    Junction,
    /// `IO_REPARSE_TAG_SYMLINK`.
    Symlink,
}

/// A reparse point.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reparse {
    /// How.
    pub kind: ReparseKind,
    /// Where to: an absolute path in any form that [`super::parse`] knows.
    pub target: String,
}

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it is, and what it holds.
    pub kind: Kind,
    /// Who may do what to it.
    pub descriptor: Arc<SecurityDescriptor>,
    /// Its data streams; a file's unnamed one has the empty name.
    pub streams: BTreeMap<Vec<u16>, Vec<u8>>,
    /// Its extended attributes.
    pub extended: Vec<u8>,
    /// `FILE_ATTRIBUTE_…` that a caller set.
    pub attributes: u32,
    /// Where it redirects to.
    pub reparse: Option<Reparse>,
}

impl Node {
    /// An empty file.
    #[must_use]
    pub fn file(descriptor: Arc<SecurityDescriptor>) -> Self {
        let mut node = Self::bare(Kind::File, descriptor);
        node.streams.insert(Vec::new(), Vec::new());
        node
    }

    /// An empty directory.
    #[must_use]
    pub fn directory(descriptor: Arc<SecurityDescriptor>) -> Self {
        let kind = Kind::Directory {
            entries: Vec::new(),
            case: CaseRule::Insensitive,
        };
        Self::bare(kind, descriptor)
    }

    fn bare(kind: Kind, descriptor: Arc<SecurityDescriptor>) -> Self {
        Self {
            kind,
            descriptor,
            streams: BTreeMap::new(),
            extended: Vec::new(),
            attributes: 0,
            reparse: None,
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    /// The names in it; none in a file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Directory { entries, .. } => entries,
            Kind::File => &[],
        }
    }

    /// The entry that a caller who says `name` gets.
    ///
    /// In a directory that tells case apart, the exact name alone. `[unsettled]` whether the short name is told apart
    /// there too; it is not, here.
    #[must_use]
    pub fn entry(&self, name: &FileName) -> Option<&Entry> {
        let Kind::Directory { entries, case } = &self.kind else {
            return None;
        };
        let exact = entries.iter().find(|entry| entry.name == *name);
        let loose = |entry: &&Entry| match case {
            CaseRule::Insensitive => entry.name.same(name),
            CaseRule::Sensitive => false,
        };
        exact.or_else(|| entries.iter().find(loose)).or_else(|| {
            entries
                .iter()
                .find(|entry| entry.short.as_ref().is_some_and(|short| short.same(name)))
        })
    }
}
