//! How a scan is kept: one run of bytes in the order of the walk, each directory before what it holds.
//!
//! A walk of an unchanged tree reads it from front to back and copies nothing but numbers. Knows no file and no
//! directory. Invariant: bytes that can't be what [`Writer`] writes give [`Malformed`], never a wrong name.

use std::collections::HashMap;

use super::cache::Stamp;
use super::holding::Holding;

/// The bytes of a kept tree are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

const REPOSITORY: u8 = 1;
const BARE: u8 = 2;
/// The stamp tells of every later change; without it the directory is to be read again.
const SETTLED: u8 = 4;
const MATCHES: u8 = 8;
const LINKS: u8 = 16;

/// Numbers and names, from front to back.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn count(&mut self) -> Result<usize> {
        let count = u32::from_le_bytes(self.array()?);
        usize::try_from(count).map_err(|_| Malformed)
    }

    fn name(&mut self) -> Result<&'a [u8]> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        self.take(length)
    }
}

/// One directory of a kept tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    flags: u8,
    stamp: Stamp,
    /// All before its directories, as it was written.
    head: &'a [u8],
    /// What `head` holds after the stamp.
    lists: Cursor<'a>,
    pub(super) below: Children<'a>,
}

impl<'a> Node<'a> {
    /// Reads a directory.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor(bytes);
        let [flags] = cursor.array()?;
        let stamp = Stamp {
            device: u64::from_le_bytes(cursor.array()?),
            inode: u64::from_le_bytes(cursor.array()?),
            seconds: i64::from_le_bytes(cursor.array()?),
            nanoseconds: u64::from_le_bytes(cursor.array()?),
        };
        let lists = cursor;
        if flags & MATCHES != 0 {
            for _ in 0..cursor.count()? {
                cursor.count()?;
                cursor.name()?;
            }
        }
        if flags & LINKS != 0 {
            for _ in 0..cursor.count()? {
                cursor.name()?;
            }
        }
        let head = bytes.get(..bytes.len() - cursor.0.len()).ok_or(Malformed)?;
        let left = cursor.count()?;
        Ok(Self {
            flags,
            stamp,
            head,
            lists,
            below: Children { left, cursor },
        })
    }

    /// The stamp, if a later change shows in it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        (self.flags & SETTLED != 0).then_some(self.stamp)
    }

    /// Whether a `.git` is in it, and whether it is a git directory itself.
    pub(super) fn repository(&self) -> (bool, bool) {
        (self.flags & REPOSITORY != 0, self.flags & BARE != 0)
    }

    /// Whether patterns match in it, or it holds files with several names.
    pub(super) fn has_lists(&self) -> bool {
        self.flags & (MATCHES | LINKS) != 0
    }

    /// What patterns match in it, and its files with several names.
    pub(super) fn lists(&self) -> Result<Lists<'a>> {
        let mut cursor = self.lists;
        let mut lists = Lists::default();
        if self.flags & MATCHES != 0 {
            for _ in 0..cursor.count()? {
                lists.matches.push((cursor.count()?, cursor.name()?));
            }
        }
        if self.flags & LINKS != 0 {
            for _ in 0..cursor.count()? {
                lists.links.push(cursor.name()?);
            }
        }
        Ok(lists)
    }
}

/// What is known of the names in a directory.
#[derive(Debug, Default)]
pub(super) struct Lists<'a> {
    /// What patterns match: the policy's hidden entry, and the name.
    pub(super) matches: Vec<(usize, &'a [u8])>,
    /// Files with more than one hard link.
    pub(super) links: Vec<&'a [u8]>,
}

/// A directory's name and its own bytes: `None` for one that was not kept.
type Child<'a> = (&'a [u8], Option<&'a [u8]>);

/// The directories in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Children<'a> {
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Children<'a> {
    /// The next.
    pub(super) fn next(&mut self) -> Result<Option<Child<'a>>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let name = self.cursor.name()?;
        let length = self.cursor.count()?;
        let bytes = self.cursor.take(length)?;
        Ok(Some((name, (length > 0).then_some(bytes))))
    }

    /// All of them, to be looked up by name.
    pub(super) fn by_name(mut self) -> Result<HashMap<&'a [u8], &'a [u8]>> {
        let mut found = HashMap::new();
        while let Some((name, bytes)) = self.next()? {
            found.extend(bytes.map(|bytes| (name, bytes)));
        }
        Ok(found)
    }
}

/// A place in the bytes at which a length is still missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap(usize);

/// Writes a tree in the order of the walk.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Lengths and counts that did not fit: what was written is worth nothing.
    overflowed: bool,
}

impl Writer {
    /// What was written, if all of it fitted.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (!self.overflowed).then_some(self.bytes)
    }

    /// Writes a directory as it was kept before; its directories come next, each after [`Writer::child`].
    pub(super) fn again(&mut self, node: &Node<'_>) {
        self.bytes.extend_from_slice(node.head);
        self.count(node.below.left);
    }

    /// Writes a directory that was read; its directories come next, each after [`Writer::child`].
    pub(super) fn node(&mut self, stamp: Option<Stamp>, holding: &Holding) {
        let mut flags = 0;
        for (flag, is_set) in [
            (REPOSITORY, holding.is_repository),
            (BARE, holding.is_bare),
            (SETTLED, stamp.is_some()),
            (MATCHES, !holding.matches.is_empty()),
            (LINKS, !holding.links.is_empty()),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        let stamp = stamp.unwrap_or_default();
        self.bytes.push(flags);
        for number in [stamp.device, stamp.inode] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(&stamp.seconds.to_le_bytes());
        self.bytes
            .extend_from_slice(&stamp.nanoseconds.to_le_bytes());
        if !holding.matches.is_empty() {
            self.count(holding.matches.len());
            for (hidden, name) in &holding.matches {
                self.count(*hidden);
                self.name(name);
            }
        }
        if !holding.links.is_empty() {
            self.count(holding.links.len());
            for name in &holding.links {
                self.name(name);
            }
        }
        self.count(holding.below.len());
    }

    /// Begins the next directory of the one above: until [`Writer::close`], what is written is its own.
    pub(super) fn child(&mut self, name: &[u8]) -> Gap {
        self.name(name);
        let gap = Gap(self.bytes.len());
        self.count(0);
        gap
    }

    /// Ends a directory that [`Writer::child`] began. Without anything written in between, it was not kept.
    pub(super) fn close(&mut self, gap: Gap) {
        let start = gap.0 + 4;
        let length = u32::try_from(self.bytes.len().saturating_sub(start));
        match (length, self.bytes.get_mut(gap.0..start)) {
            (Ok(length), Some(place)) => place.copy_from_slice(&length.to_le_bytes()),
            (Err(_), _) | (_, None) => self.overflowed = true,
        }
    }

    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or_else(|_| {
            self.overflowed = true;
            0
        });
        self.bytes.extend_from_slice(&count.to_le_bytes());
    }

    fn name(&mut self, name: &[u8]) {
        let length = u16::try_from(name.len()).unwrap_or_else(|_| {
            self.overflowed = true;
            0
        });
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp {
            device: 1,
            inode,
            seconds: -3,
            nanoseconds: 7,
        }
    }

    fn sample() -> (Vec<u8>, Holding) {
        let top = Holding {
            below: vec![b"a".to_vec(), b"gone".to_vec(), b"\xff".to_vec()],
            is_repository: true,
            is_bare: false,
            matches: vec![(5, b".env".to_vec()), (0, b"x".to_vec())],
            links: vec![b"l".to_vec()],
        };
        let inner = Holding {
            below: vec![b"deep".to_vec()],
            is_bare: true,
            ..Holding::default()
        };
        let mut writer = Writer::default();
        writer.node(Some(stamp(1)), &top);
        let a = writer.child(b"a");
        writer.node(None, &inner);
        let deep = writer.child(b"deep");
        writer.node(Some(stamp(3)), &Holding::default());
        writer.close(deep);
        writer.close(a);
        writer.child(b"gone");
        let last = writer.child(b"\xff");
        writer.node(Some(stamp(4)), &Holding::default());
        writer.close(last);
        (writer.finish().unwrap(), top)
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, top) = sample();
        let mut node = Node::read(&bytes).unwrap();
        assert_eq!(node.stamp(), Some(stamp(1)));
        assert_eq!(node.repository(), (true, false));
        let lists = node.lists().unwrap();
        let matches: Vec<_> = lists
            .matches
            .iter()
            .map(|(hidden, name)| (*hidden, name.to_vec()))
            .collect();
        assert_eq!(
            (matches, lists.links),
            (top.matches.clone(), vec![b"l".as_slice()])
        );
        let (name, inner) = node.below.next().unwrap().unwrap();
        assert_eq!(name, b"a");
        let mut inner = Node::read(inner.unwrap()).unwrap();
        assert_eq!((inner.stamp(), inner.repository()), (None, (false, true)));
        let (name, deep) = inner.below.next().unwrap().unwrap();
        assert_eq!(
            (name, Node::read(deep.unwrap()).unwrap().stamp()),
            (b"deep".as_slice(), Some(stamp(3)))
        );
        assert_eq!(inner.below.next(), Ok(None));
        assert_eq!(node.below.next(), Ok(Some((b"gone".as_slice(), None))));
        assert_eq!(node.below.by_name().unwrap().len(), 1);
    }

    fn copy(node: Node<'_>, writer: &mut Writer) {
        writer.again(&node);
        let mut below = node.below;
        while let Some((name, bytes)) = below.next().unwrap() {
            let gap = writer.child(name);
            if let Some(bytes) = bytes {
                copy(Node::read(bytes).unwrap(), writer);
                writer.close(gap);
            }
        }
    }

    #[test]
    fn an_unchanged_node_is_written_as_it_was() {
        let (bytes, _) = sample();
        let mut writer = Writer::default();
        copy(Node::read(&bytes).unwrap(), &mut writer);
        assert_eq!(writer.finish().unwrap(), bytes);
    }

    fn read_all(bytes: &[u8]) -> Result<()> {
        let mut node = Node::read(bytes)?;
        node.lists()?;
        while let Some((_, bytes)) = node.below.next()? {
            if let Some(bytes) = bytes {
                read_all(bytes)?;
            }
        }
        Ok(())
    }

    #[test]
    fn every_shorter_run_of_bytes_is_malformed_and_no_other_ends_the_program() {
        let (bytes, _) = sample();
        for end in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..end]), Err(Malformed), "{end}");
        }
        for place in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[place] = value;
                let _ = read_all(&bytes);
            }
        }
    }
}
