//! Where a name of the view leads to in the sealed tree that lies under it.
//!
//! A clone costs the kernel a look at every mount that hangs on the source's mount. In the view these are all the
//! names laid before, so that clones taken there cost the square of their number; the sealed tree stays as it was.
//! Knows paths and descriptors only, mounts nothing. Invariant: an origin is given only where the view shows the
//! sealed tree's own object, with nothing of the session mounted below it.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ringfence_policy::AbsolutePath;

/// What the view shows at a place and below it.
#[derive(Debug)]
pub(crate) enum Origin {
    /// This object of the sealed tree.
    Sealed(OwnedFd),
    /// Something that is not in the sealed tree.
    New,
}

/// What was laid so far.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    places: HashMap<PathBuf, Origin>,
    /// Every directory that something was laid below.
    above: HashSet<PathBuf>,
}

impl Origins {
    /// From now on the view shows `origin` at `path`.
    pub(crate) fn show(&mut self, path: &AbsolutePath, origin: Origin) {
        self.cover(path);
        self.places.insert(path.as_path().to_owned(), origin);
    }

    /// Something was laid on `path` that shows the same objects as before.
    pub(crate) fn cover(&mut self, path: &AbsolutePath) {
        for ancestor in path.as_path().ancestors().skip(1) {
            if self.above.contains(ancestor) {
                return;
            }
            self.above.insert(ancestor.to_owned());
        }
    }

    /// The object of the sealed tree that the view shows at `path`: a directory of it, and a name from there.
    pub(crate) fn of<'a>(&'a self, path: &'a AbsolutePath) -> Option<(BorrowedFd<'a>, &'a Path)> {
        let path = path.as_path();
        // A place itself has no name from there.
        if self.above.contains(path) || self.places.contains_key(path) {
            return None;
        }
        let mut ancestors = path.ancestors().skip(1);
        let (place, origin) = ancestors.find_map(|ancestor| self.places.get_key_value(ancestor))?;
        match origin {
            Origin::Sealed(object) => Some((object.as_fd(), path.strip_prefix(place).ok()?)),
            Origin::New => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn path(text: &str) -> AbsolutePath {
        AbsolutePath::new(text).unwrap()
    }

    fn sealed() -> Origin {
        Origin::Sealed(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn the_innermost_place_tells_and_only_where_nothing_was_laid_at_or_below() {
        let mut origins = Origins::default();
        let outer = sealed();
        let Origin::Sealed(object) = &outer else {
            panic!("a sealed origin");
        };
        let number = object.as_raw_fd();
        origins.show(&path("/w"), outer);
        origins.show(&path("/w/new"), Origin::New);
        origins.show(&path("/w/a/inner"), sealed());
        origins.cover(&path("/w/b/held"));
        let found = |text| {
            let path = path(text);
            let found = origins.of(&path);
            found.map(|(object, name)| (object.as_raw_fd() == number, name.to_owned()))
        };
        assert_eq!(found("/w/x/y"), Some((true, PathBuf::from("x/y"))));
        assert_eq!(
            found("/w/b/held/y"),
            Some((true, PathBuf::from("b/held/y")))
        );
        assert_eq!(found("/w/b/held"), Some((true, PathBuf::from("b/held"))));
        assert_eq!(found("/w/a/inner/x"), Some((false, PathBuf::from("x"))));
        for (text, why) in [
            ("/w", "a place itself"),
            ("/w/new/x", "something new"),
            ("/w/a", "a place lies below"),
            ("/w/b", "a hold lies below"),
            ("/elsewhere", "no place at all"),
        ] {
            assert_eq!(found(text), None, "{text}: {why}");
        }
    }
}
