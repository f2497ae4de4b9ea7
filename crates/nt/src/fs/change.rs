//! What an open handle can do: write, delete, rename, link, redirect.
//!
//! Each operation checks what the handle was granted, and other objects' descriptors where the documents say so.
//! Invariant: an operation that answers with an error has changed nothing.

use crate::mask::AccessMask;

use super::Status;
use super::node::{CaseRule, Kind, Reparse, ReparseKind};
use super::open::{Caller, Handle, NewKind, Replace, add_right, stream_key};
use super::tree::{FileSystem, LinkRule, NodeId, Place};

/// [MS-FSA] 2.1.5.15.6: so many names a file can have.
const MAX_LINKS: usize = 1024;

impl FileSystem {
    /// Replaces the data of the handle's stream. [MS-FSA] 2.1.5.4: `FILE_WRITE_DATA`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn write(&mut self, handle: &Handle, data: &[u8]) -> Result<(), Status> {
        handle.need(AccessMask::FILE_WRITE_DATA)?;
        *self.stream_mut(handle)? = data.to_vec();
        Ok(())
    }

    /// Adds to the data of the handle's stream. [MS-FSA] 2.1.5.4: `FILE_APPEND_DATA`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn append(&mut self, handle: &Handle, data: &[u8]) -> Result<(), Status> {
        handle.need(AccessMask::FILE_APPEND_DATA)?;
        self.stream_mut(handle)?.extend_from_slice(data);
        Ok(())
    }

    fn stream_mut(&mut self, handle: &Handle) -> Result<&mut Vec<u8>, Status> {
        self.node_mut(handle.node)
            .ok_or(Status::InvalidHandle)?
            .streams
            .get_mut(stream_key(&handle.stream))
            .ok_or(Status::FileIsADirectory)
    }

    /// Replaces the extended attributes. [MS-FSA] 2.1.5.15.5: `FILE_WRITE_EA`.
    ///
    /// # Errors
    /// [`Status`].
    pub fn set_extended(&mut self, handle: &Handle, data: &[u8]) -> Result<(), Status> {
        handle.need(AccessMask::FILE_WRITE_EA)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        node.extended = data.to_vec();
        Ok(())
    }

    /// Replaces the attributes. [MS-FSA] 2.1.5.15.2: `FILE_WRITE_ATTRIBUTES`.
    ///
    /// The read-only attribute keeps nobody from anything here: who can write attributes can clear it.
    ///
    /// # Errors
    /// [`Status`].
    pub fn set_attributes(&mut self, handle: &Handle, attributes: u32) -> Result<(), Status> {
        handle.need(AccessMask::FILE_WRITE_ATTRIBUTES)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        node.attributes = attributes;
        Ok(())
    }

    /// Sets whether a directory tells case apart (`FileCaseSensitiveInformation`).
    ///
    /// `[unsettled]` Windows has been seen to ask for more than `FILE_WRITE_ATTRIBUTES` and for an empty directory;
    /// here neither.
    ///
    /// # Errors
    /// [`Status`].
    pub fn set_case_rule(&mut self, handle: &Handle, rule: CaseRule) -> Result<(), Status> {
        handle.need(AccessMask::FILE_WRITE_ATTRIBUTES)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        let Kind::Directory { entries, case } = &mut node.kind else {
            return Err(Status::NotADirectory);
        };
        let one_name_twice = entries.iter().enumerate().any(|(index, entry)| {
            entries
                .iter()
                .skip(index + 1)
                .any(|other| entry.name.same(&other.name))
        });
        if rule == CaseRule::Insensitive && one_name_twice {
            return Err(Status::InvalidParameter);
        }
        *case = rule;
        Ok(())
    }

    /// Deletes the name the handle was opened by, and the object with its last name.
    ///
    /// [MS-FSA] 2.1.5.15.3: DELETE. A directory must be empty. A named stream goes alone.
    ///
    /// # Errors
    /// [`Status`].
    pub fn delete(&mut self, handle: &Handle) -> Result<(), Status> {
        handle.need(AccessMask::DELETE)?;
        let node = self.node(handle.node).ok_or(Status::InvalidHandle)?;
        let key = stream_key(&handle.stream);
        if !key.is_empty() {
            let key = key.to_vec();
            let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
            return match node.streams.remove(&key) {
                Some(_) => Ok(()),
                None => Err(Status::ObjectNameNotFound),
            };
        }
        if !node.entries().is_empty() {
            return Err(Status::DirectoryNotEmpty);
        }
        let place = self.current_place(handle)?;
        self.remove_entry(&place)
    }

    /// Empties a file by superseding it: its streams, extended attributes and attributes go, its names and descriptor
    /// stay.
    ///
    /// learn.microsoft.com `NtCreateFile` (`FILE_SUPERSEDE`): DELETE, where overwriting asks for the write rights.
    /// `[unsettled]` whether DELETE from the directory's `FILE_DELETE_CHILD` is enough for that; it is, here.
    ///
    /// # Errors
    /// [`Status`].
    pub fn supersede(&mut self, caller: &Caller<'_>, place: &Place) -> Result<(), Status> {
        let handle = self.open_place(caller, place, AccessMask::DELETE)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        if node.is_directory() {
            return Err(Status::FileIsADirectory);
        }
        node.streams = [(Vec::new(), Vec::new())].into();
        node.extended.clear();
        node.attributes = 0;
        Ok(())
    }

    /// Moves the name the handle was opened by to another place.
    ///
    /// [MS-FSA] 2.1.5.15.11 and learn.microsoft.com "Set File Information Processing": DELETE on the object; another
    /// directory must grant that a child is added. `[unsettled]` whether a rename within one directory asks for that
    /// too: here it does not. A replaced object must grant DELETE, or the directory `FILE_DELETE_CHILD`; a replaced
    /// directory must be empty (`FILE_RENAME_POSIX_SEMANTICS`). The object keeps its descriptor.
    ///
    /// # Errors
    /// [`Status`].
    pub fn rename(
        &mut self,
        caller: &Caller<'_>,
        handle: &Handle,
        to: &Place,
        replace: Replace,
    ) -> Result<(), Status> {
        handle.need(AccessMask::DELETE)?;
        let from = self.current_place(handle)?;
        self.check_destination(caller, handle.node, &from, to)?;
        if self.is_below(to.parent, handle.node) {
            return Err(Status::InvalidParameter);
        }
        let replaced = self.check_replaced(caller, handle.node, to, replace)?;
        if let Some(old) = replaced
            && old != from
        {
            self.remove_entry(&old)?;
        }
        let node = self.detach(&from)?;
        self.add_entry(to, node)
    }

    /// Gives a file one more name.
    ///
    /// [MS-FSA] 2.1.5.15.6: the directory must grant `FILE_ADD_FILE`. What the handle to the file needs is the
    /// file system's [`LinkRule`].
    ///
    /// # Errors
    /// [`Status`].
    pub fn link(
        &mut self,
        caller: &Caller<'_>,
        handle: &Handle,
        to: &Place,
        replace: Replace,
    ) -> Result<(), Status> {
        match self.link_rule {
            LinkRule::AnyHandle => {}
            LinkRule::WriteAttributes => handle.need(AccessMask::FILE_WRITE_ATTRIBUTES)?,
        }
        let node = self.node(handle.node).ok_or(Status::InvalidHandle)?;
        if node.is_directory() {
            return Err(Status::FileIsADirectory);
        }
        if handle.node.volume != to.parent.volume {
            return Err(Status::NotSameDevice);
        }
        if self.places(handle.node).count() >= MAX_LINKS {
            return Err(Status::TooManyLinks);
        }
        let parent = self.node(to.parent).ok_or(Status::ObjectPathNotFound)?;
        if !parent.is_directory() {
            return Err(Status::NotADirectory);
        }
        caller.check(&parent.descriptor, add_right(NewKind::File))?;
        if let Some(old) = self.check_replaced(caller, handle.node, to, replace)? {
            if self.lookup(&old) == Some(handle.node) {
                return Ok(());
            }
            self.remove_entry(&old)?;
        }
        self.add_entry(to, handle.node)
    }

    /// Makes the object a reparse point.
    ///
    /// [MS-FSA] 2.1.5.10.37: `FILE_WRITE_DATA` or `FILE_WRITE_ATTRIBUTES`; a directory must be empty, a junction must be a
    /// directory. `[unsettled]` whether a symbolic link asks for `SeCreateSymbolicLinkPrivilege` here; it does not.
    ///
    /// # Errors
    /// [`Status`].
    pub fn set_reparse(&mut self, handle: &Handle, reparse: Reparse) -> Result<(), Status> {
        need_either(handle)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        if reparse.kind == ReparseKind::Junction && !node.is_directory() {
            return Err(Status::NotADirectory);
        }
        if !node.entries().is_empty() {
            return Err(Status::DirectoryNotEmpty);
        }
        node.reparse = Some(reparse);
        Ok(())
    }

    /// Makes a reparse point an ordinary object again. [MS-FSA] 2.1.5.10.4: as [`FileSystem::set_reparse`].
    ///
    /// # Errors
    /// [`Status`].
    pub fn delete_reparse(&mut self, handle: &Handle) -> Result<(), Status> {
        need_either(handle)?;
        let node = self.node_mut(handle.node).ok_or(Status::InvalidHandle)?;
        match node.reparse.take() {
            Some(_) => Ok(()),
            None => Err(Status::NotAReparsePoint),
        }
    }

    /// Where the handle's object has the name it was opened by, or its only name.
    fn current_place(&self, handle: &Handle) -> Result<Place, Status> {
        let opened = handle
            .place
            .clone()
            .filter(|place| self.lookup(place) == Some(handle.node));
        opened
            .or_else(|| self.places(handle.node).next())
            .ok_or(Status::CannotDelete)
    }

    fn check_destination(
        &self,
        caller: &Caller<'_>,
        node: NodeId,
        from: &Place,
        to: &Place,
    ) -> Result<(), Status> {
        if node.volume != to.parent.volume {
            return Err(Status::NotSameDevice);
        }
        let parent = self.node(to.parent).ok_or(Status::ObjectPathNotFound)?;
        if !parent.is_directory() {
            return Err(Status::NotADirectory);
        }
        if from.parent == to.parent {
            return Ok(());
        }
        let moved = self.node(node).ok_or(Status::InvalidHandle)?;
        let kind = if moved.is_directory() {
            NewKind::Directory
        } else {
            NewKind::File
        };
        caller.check(&parent.descriptor, add_right(kind))
    }

    /// The place of what would lose its name to `node`, if something would and may.
    fn check_replaced(
        &self,
        caller: &Caller<'_>,
        node: NodeId,
        to: &Place,
        replace: Replace,
    ) -> Result<Option<Place>, Status> {
        let parent = self.node(to.parent).ok_or(Status::ObjectPathNotFound)?;
        let Some(entry) = parent.entry(&to.name) else {
            return Ok(None);
        };
        let old = Place {
            parent: to.parent,
            name: entry.name.clone(),
        };
        // Another spelling of the own name, or another name of the same file: nothing is lost.
        if entry.node == node {
            return Ok(Some(old));
        }
        if replace == Replace::No {
            return Err(Status::ObjectNameCollision);
        }
        let replaced = self.node(entry.node).ok_or(Status::ObjectNameNotFound)?;
        if !replaced.entries().is_empty() {
            return Err(Status::DirectoryNotEmpty);
        }
        self.open_node(caller, entry.node, Some(old.clone()), AccessMask::DELETE)?;
        Ok(Some(old))
    }
}

fn need_either(handle: &Handle) -> Result<(), Status> {
    if handle
        .granted
        .intersects(AccessMask::FILE_WRITE_DATA | AccessMask::FILE_WRITE_ATTRIBUTES)
    {
        Ok(())
    } else {
        Err(Status::AccessDenied)
    }
}
