//! Opening what exists and creating what does not: the only two ways to a [`Handle`].
//!
//! What a handle may then do is decided by what it was granted, never again by the descriptor. Invariant: a handle to
//! an existing object has no right that its descriptor, or the directory of the name it was opened by, does not grant.

use std::sync::Arc;

use crate::check::{Access, access_check};
use crate::descriptor::SecurityDescriptor;
use crate::inherit::CreatorDescriptor;
use crate::mask::{AccessMask, GenericMapping};
use crate::token::Token;
use crate::write_class::WriteClass;

use super::Status;
use super::node::{Node, Reparse};
use super::path::{self, Stream};
use super::tree::{FileSystem, Found, NodeId, Place};

/// Who acts: a token, and what its second pass covers.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The token.
    pub token: &'a Token,
    /// What a write-restricted token's second pass covers.
    pub class: WriteClass,
}

impl Caller<'_> {
    /// Whether the descriptor of a file or directory grants all of `desired`.
    ///
    /// # Errors
    /// [`Status::AccessDenied`].
    pub fn check(
        &self,
        descriptor: &SecurityDescriptor,
        desired: AccessMask,
    ) -> Result<(), Status> {
        match self.access(descriptor, desired) {
            Access::Granted(_) => Ok(()),
            Access::Denied(_) => Err(Status::AccessDenied),
        }
    }

    fn access(&self, descriptor: &SecurityDescriptor, desired: AccessMask) -> Access {
        let file = &GenericMapping::FILE;
        access_check(descriptor, self.token, desired, file, self.class)
    }
}

/// What becomes of a reparse point at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalReparse {
    /// It is followed.
    Follow,
    /// `FILE_OPEN_REPARSE_POINT`: it is opened itself.
    Open,
}

/// What becomes of an object whose name is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Replace {
    /// It stays, and the operation fails.
    No,
    /// `ReplaceIfExists`: it loses the name.
    Yes,
}

/// An open object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The object.
    pub node: NodeId,
    /// The name it was opened by; none by file id, and none for a volume's root.
    pub place: Option<Place>,
    /// Which stream of it.
    pub stream: Stream,
    /// What the handle may do.
    pub granted: AccessMask,
}

impl Handle {
    /// Whether the handle may do all of this.
    pub(super) fn need(&self, right: AccessMask) -> Result<(), Status> {
        if self.granted.contains(right) {
            Ok(())
        } else {
            Err(Status::AccessDenied)
        }
    }
}

/// What is to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NewKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

impl FileSystem {
    /// Opens what stands at a path.
    ///
    /// # Errors
    /// [`Status`].
    pub fn open(
        &self,
        caller: &Caller<'_>,
        text: &str,
        desired: AccessMask,
        last: FinalReparse,
    ) -> Result<Handle, Status> {
        let path = path::parse(text).map_err(|_| Status::ObjectNameInvalid)?;
        let found = self.resolve(&path, last, Some(caller))?;
        let node = found.node.ok_or(Status::ObjectNameNotFound)?;
        if let Stream::Named(name) = &found.stream
            && !self
                .node(node)
                .is_some_and(|node| node.streams.contains_key(name))
        {
            return Err(Status::ObjectNameNotFound);
        }
        let mut handle = self.open_node(caller, node, found.place, desired)?;
        handle.stream = found.stream;
        Ok(handle)
    }

    /// Opens a node by a name of it, without walking a path to it.
    ///
    /// # Errors
    /// [`Status`].
    pub fn open_place(
        &self,
        caller: &Caller<'_>,
        place: &Place,
        desired: AccessMask,
    ) -> Result<Handle, Status> {
        let parent = self.node(place.parent).ok_or(Status::ObjectPathNotFound)?;
        let entry = parent
            .entry(&place.name)
            .ok_or(Status::ObjectNameNotFound)?;
        let place = Place {
            parent: place.parent,
            name: entry.name.clone(),
        };
        self.open_node(caller, entry.node, Some(place), desired)
    }

    /// Opens a node by its file id (`FILE_OPEN_BY_FILE_ID`): no name, so no traverse check.
    ///
    /// `[unsettled]` by which of its names such an open counts; here by any, so any of its directories may grant what a
    /// directory can.
    ///
    /// # Errors
    /// [`Status`].
    pub fn open_by_id(
        &self,
        caller: &Caller<'_>,
        id: NodeId,
        desired: AccessMask,
    ) -> Result<Handle, Status> {
        let places: Vec<Place> = self.places(id).collect();
        let mut opened = self.open_node(caller, id, None, desired);
        for place in places {
            if opened.is_ok() {
                break;
            }
            opened = self.open_node(caller, id, Some(place), desired);
        }
        opened
    }

    /// [MS-FSA] 2.1.5.1.2.1: the descriptor of the object decides; the directory's `FILE_DELETE_CHILD` gives DELETE and
    /// its `FILE_LIST_DIRECTORY` gives `FILE_READ_ATTRIBUTES`.
    pub(super) fn open_node(
        &self,
        caller: &Caller<'_>,
        id: NodeId,
        place: Option<Place>,
        desired: AccessMask,
    ) -> Result<Handle, Status> {
        let node = self.node(id).ok_or(Status::ObjectNameNotFound)?;
        let parent = place.as_ref().and_then(|place| self.node(place.parent));
        let given = parent.map_or(AccessMask::NONE, |parent| from_parent(caller, parent));
        let desired = GenericMapping::FILE.map(desired);
        let granted = match caller.access(&node.descriptor, desired) {
            Access::Granted(granted) if desired.contains(AccessMask::MAXIMUM_ALLOWED) => {
                granted | given
            }
            Access::Granted(granted) => granted,
            Access::Denied(_) => {
                let rest = desired - given - AccessMask::MAXIMUM_ALLOWED;
                if !desired.intersects(given | AccessMask::MAXIMUM_ALLOWED) {
                    return Err(Status::AccessDenied);
                }
                caller.check(&node.descriptor, rest)?;
                if desired.contains(AccessMask::MAXIMUM_ALLOWED) {
                    rest | given
                } else {
                    desired
                }
            }
        };
        if granted.is_empty() && !desired.is_empty() {
            return Err(Status::AccessDenied);
        }
        Ok(Handle {
            node: id,
            place,
            stream: Stream::Whole,
            granted,
        })
    }

    /// Creates a file or a directory at a path.
    ///
    /// [MS-FSA] 2.1.5.1.1: the directory must grant `FILE_ADD_FILE` or `FILE_ADD_SUBDIRECTORY`. The creating handle has
    /// what it asked for, whatever the new object's descriptor says `[unsettled]`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn create(
        &mut self,
        caller: &Caller<'_>,
        text: &str,
        kind: NewKind,
        given: Option<&CreatorDescriptor>,
    ) -> Result<Handle, Status> {
        let path = path::parse(text).map_err(|_| Status::ObjectNameInvalid)?;
        // A reparse point at the end is followed: a dangling one makes its target.
        let found = self.resolve(&path, FinalReparse::Follow, Some(caller))?;
        match (found.node, &found.stream) {
            (Some(node), Stream::Named(name)) => self.create_stream(caller, &found, node, name),
            (Some(_), Stream::Whole) => Err(Status::ObjectNameCollision),
            (None, Stream::Whole) => {
                let place = found.place.ok_or(Status::ObjectNameCollision)?;
                self.create_place(caller, &place, kind, given)
            }
            (None, Stream::Named(name)) => {
                let place = found.place.ok_or(Status::ObjectNameCollision)?;
                let mut handle = self.create_place(caller, &place, NewKind::File, given)?;
                if let Some(node) = self.node_mut(handle.node) {
                    node.streams.insert(name.clone(), Vec::new());
                }
                handle.stream = found.stream;
                Ok(handle)
            }
        }
    }

    /// Creates a file or a directory in a directory, without walking a path to it.
    ///
    /// # Errors
    /// [`Status`].
    pub fn create_place(
        &mut self,
        caller: &Caller<'_>,
        place: &Place,
        kind: NewKind,
        given: Option<&CreatorDescriptor>,
    ) -> Result<Handle, Status> {
        let parent = self.node(place.parent).ok_or(Status::ObjectPathNotFound)?;
        if !parent.is_directory() {
            return Err(Status::NotADirectory);
        }
        if parent.entry(&place.name).is_some() {
            return Err(Status::ObjectNameCollision);
        }
        caller.check(&parent.descriptor, add_right(kind))?;
        let descriptor = super::security::of_new_object(caller, &parent.descriptor, kind, given)?;
        let descriptor = Arc::new(descriptor);
        let node = match kind {
            NewKind::File => Node::file(descriptor),
            NewKind::Directory => Node::directory(descriptor),
        };
        let id = self.insert(place.parent.volume, node);
        self.add_entry(place, id)?;
        Ok(Handle {
            node: id,
            place: Some(place.clone()),
            stream: Stream::Whole,
            granted: AccessMask::FILE_ALL_ACCESS,
        })
    }

    /// [MS-FSA] 2.1.5.1.1 and 2.1.5.1.2: a new stream of an existing object asks for `FILE_WRITE_DATA` on the object.
    fn create_stream(
        &mut self,
        caller: &Caller<'_>,
        found: &Found,
        node: NodeId,
        name: &[u16],
    ) -> Result<Handle, Status> {
        let right = AccessMask::FILE_WRITE_DATA;
        let mut handle = self.open_node(caller, node, found.place.clone(), right)?;
        let object = self.node_mut(node).ok_or(Status::ObjectNameNotFound)?;
        if object.streams.contains_key(name) {
            return Err(Status::ObjectNameCollision);
        }
        object.streams.insert(name.to_vec(), Vec::new());
        handle.stream = found.stream.clone();
        Ok(handle)
    }

    /// Reads a stream. [MS-FSA] 2.1.5.3: `FILE_READ_DATA`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn read(&self, handle: &Handle) -> Result<&[u8], Status> {
        handle.need(AccessMask::FILE_READ_DATA)?;
        let node = self.node(handle.node).ok_or(Status::InvalidHandle)?;
        node.streams
            .get(stream_key(&handle.stream))
            .map(Vec::as_slice)
            .ok_or(Status::FileIsADirectory)
    }

    /// The reparse point, if the object is one; any handle may ask ([MS-FSA] 2.1.5.10.14).
    ///
    /// # Errors
    /// [`Status`].
    pub fn read_reparse(&self, handle: &Handle) -> Result<&Reparse, Status> {
        let node = self.node(handle.node).ok_or(Status::InvalidHandle)?;
        node.reparse.as_ref().ok_or(Status::NotAReparsePoint)
    }
}

/// The rights on a child that its directory gives.
fn from_parent(caller: &Caller<'_>, parent: &Node) -> AccessMask {
    let mut given = AccessMask::NONE;
    for (right, gives) in [
        (AccessMask::FILE_DELETE_CHILD, AccessMask::DELETE),
        (AccessMask::FILE_READ_DATA, AccessMask::FILE_READ_ATTRIBUTES),
    ] {
        if caller.check(&parent.descriptor, right).is_ok() {
            given |= gives;
        }
    }
    given
}

/// What a directory must grant for a new child of that kind.
pub(super) const fn add_right(kind: NewKind) -> AccessMask {
    match kind {
        NewKind::File => AccessMask::FILE_WRITE_DATA,
        NewKind::Directory => AccessMask::FILE_APPEND_DATA,
    }
}

/// The unnamed stream has the empty name.
pub(super) fn stream_key(stream: &Stream) -> &[u16] {
    match stream {
        Stream::Whole => &[],
        Stream::Named(name) => name,
    }
}
