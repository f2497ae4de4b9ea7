//! Scans of trees made for the purpose, with and without what an earlier scan kept.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringfence_policy::AbsolutePath;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;

use super::*;

/// More directories than a cache is kept from.
const MANY: usize = 2_100;

struct Tree {
    scratch: tempfile::TempDir,
    patterns: Patterns,
}

impl Tree {
    /// A root of many directories, and an empty state directory.
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for index in 0..MANY {
            let path = scratch.path().join(format!("w/{}/{index}", index % 50));
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::create_dir(scratch.path().join("state")).unwrap();
        std::fs::write(scratch.path().join("w/7/7/file"), "").unwrap();
        let context = context(scratch.path());
        let patterns = Patterns::compile(&resolve(&[], &context).unwrap()).unwrap();
        Self { scratch, patterns }
    }

    /// Takes the patterns of a policy file.
    fn restrict(&mut self, policy: &str) {
        let layer = Layer::from_file(
            LayerKind::User,
            "policy.toml",
            policy.as_bytes(),
            Trust::Trusted,
        );
        let policy = resolve(&[layer.unwrap()], &context(self.scratch.path())).unwrap();
        self.patterns = Patterns::compile(&policy).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("w")
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// A scan that begins so many seconds from now.
    fn scan(&self, later: i64) -> Found {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        let state = self.state();
        walk(
            &self.root(),
            &[],
            &self.patterns,
            Keep::In(&state, now + later),
            Insiders::Caller,
        )
        .unwrap()
    }

    fn kept(&self) -> Option<PathBuf> {
        let mut files = std::fs::read_dir(self.state().join("scan")).ok()?;
        Some(files.next()?.unwrap().path())
    }

    /// Gives the file a second name outside, which changes no directory of the root.
    fn link(&self) {
        let outside = self.scratch.path().join("outside");
        std::fs::hard_link(self.root().join("7/7/file"), outside).unwrap();
    }

    fn without_cache(&self) -> Found {
        walk(
            &self.root(),
            &[],
            &self.patterns,
            Keep::Nothing,
            Insiders::Caller,
        )
        .unwrap()
    }
}

fn context(scratch: &Path) -> Context {
    let path = |name: &str| AbsolutePath::new(scratch.join(name)).unwrap();
    Context {
        home: path("home"),
        workspace: path("w"),
        state: path("state"),
        platform: Platform::Linux,
    }
}

fn pause() {
    // More than a tick of the clock that stamps directories.
    std::thread::sleep(std::time::Duration::from_millis(50));
}

#[test]
fn an_unchanged_directory_is_not_read_again() {
    let tree = Tree::new();
    tree.scan(10);
    assert!(tree.kept().is_some());
    let again = tree.scan(10);
    assert_eq!(again.read, 0);
    assert!(again.directories > MANY as u64);
    // The one thing that a kept directory can't tell.
    tree.link();
    assert_eq!(tree.without_cache().outside_links.len(), 1);
    assert!(tree.scan(10).outside_links.is_empty());
}

#[test]
fn a_change_deep_in_the_tree_is_found() {
    let tree = Tree::new();
    let root = tree.root();
    std::fs::write(root.join("9/9/.env"), "").unwrap();
    assert_eq!(tree.scan(10).matches.len(), 1);
    assert!(tree.kept().is_some());
    pause();
    std::fs::remove_file(root.join("9/9/.env")).unwrap();
    std::fs::write(root.join("8/8/.env"), "").unwrap();
    std::fs::create_dir(root.join("8/58/.git")).unwrap();
    std::fs::create_dir_all(root.join("8/108/new/er")).unwrap();
    std::fs::write(root.join("8/108/new/er/.env.local"), "").unwrap();
    // A directory in the place of another.
    std::fs::rename(root.join("7/7"), root.join("7/old")).unwrap();
    std::fs::create_dir(root.join("7/7")).unwrap();
    std::fs::create_dir(root.join("7/7/.git")).unwrap();
    let found = tree.scan(20);
    let matches: Vec<_> = found.matches.iter().map(|found| &found.path).collect();
    assert_eq!(
        matches,
        [
            &root.join("8/108/new/er/.env.local"),
            &root.join("8/8/.env")
        ]
    );
    assert_eq!(found.repositories, [root.join("7/7"), root.join("8/58")]);
}

#[test]
fn only_what_changed_is_read_again() {
    let tree = Tree::new();
    let root = tree.root();
    let first = tree.scan(10);
    assert_eq!(first.read, first.directories);
    pause();
    // Two directories, at the top and at the bottom, and one that is new; the rest below them stays known.
    std::fs::write(root.join("file"), "").unwrap();
    std::fs::create_dir(root.join("9/9/new")).unwrap();
    let second = tree.scan(20);
    assert_eq!(
        (second.read, second.directories),
        (3, first.directories + 1)
    );
    // So little is not worth writing, and is read until more has changed.
    assert_eq!(tree.scan(20).read, 3);
    for index in 0..MANY / 8 {
        std::fs::write(root.join(format!("{}/{index}/file", index % 50)), "").unwrap();
    }
    assert!(tree.scan(30).read > 200);
    assert_eq!(tree.scan(30).read, 0);
}

#[test]
fn what_lies_below_a_directory_that_just_changed_stays_known() {
    let tree = Tree::new();
    let first = tree.scan(10);
    pause();
    std::fs::write(tree.root().join("file"), "").unwrap();
    // Only the top is not settled.
    let file = tree.kept().unwrap();
    std::fs::remove_file(&file).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    std::fs::write(tree.root().join("another"), "").unwrap();
    tree.scan(0);
    let again = tree.scan(0);
    assert_eq!((again.read, again.directories), (1, first.directories));
}

#[test]
fn many_globs_are_read_once() {
    let mut tree = Tree::new();
    let root = tree.root();
    let globs: Vec<String> = (0..200)
        .map(|index| format!("\"**/*.secret{index}\""))
        .collect();
    tree.restrict(&format!(
        "[filesystem]\ndeny_read = [{}]\n",
        globs.join(", ")
    ));
    std::fs::write(root.join("9/9/a.secret199"), "").unwrap();
    assert_eq!(tree.scan(10).matches.len(), 1);
    let second = tree.scan(10);
    assert_eq!((second.matches.len(), second.read), (1, 0));
    pause();
    std::fs::write(root.join("8/8/b.secret0"), "").unwrap();
    let third = tree.scan(20);
    assert_eq!((third.matches.len(), third.read), (2, 1));
}

#[test]
fn what_changed_just_before_a_scan_is_not_kept() {
    let tree = Tree::new();
    tree.scan(0);
    assert_eq!(tree.kept(), None);
}

#[test]
fn a_damaged_cache_is_rebuilt() {
    let tree = Tree::new();
    std::fs::write(tree.root().join("9/9/.env"), "").unwrap();
    tree.scan(10);
    let file = tree.kept().unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    tree.link();
    for damaged in [flipped.as_slice(), &whole[..middle], b"", b"garbage"] {
        std::fs::write(&file, damaged).unwrap();
        let found = tree.scan(10);
        // Everything was read again, and kept again.
        assert_eq!((found.matches.len(), found.outside_links.len()), (1, 1));
        assert_eq!(
            std::fs::metadata(&file).unwrap().len(),
            rebuilt_length(&tree)
        );
    }
}

fn rebuilt_length(tree: &Tree) -> u64 {
    let file = tree.kept().unwrap();
    std::fs::remove_file(&file).unwrap();
    tree.scan(10);
    std::fs::metadata(file).unwrap().len()
}

#[test]
fn the_cache_of_another_root_is_none() {
    let (tree, other) = (Tree::new(), Tree::new());
    tree.scan(10);
    other.scan(10);
    std::fs::copy(tree.kept().unwrap(), other.kept().unwrap()).unwrap();
    other.link();
    assert_eq!(other.scan(10).outside_links.len(), 1);
}

#[test]
fn a_link_in_the_caches_place_is_not_followed() {
    let tree = Tree::new();
    tree.scan(10);
    let file = tree.kept().unwrap();
    let elsewhere = tree.state().join("elsewhere");
    std::fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    tree.link();
    assert_eq!(tree.scan(10).outside_links.len(), 1);
    assert!(Path::new(&file).symlink_metadata().unwrap().is_file());
}

#[test]
fn caches_of_roots_long_gone_are_removed() {
    let tree = Tree::new();
    let scan = tree.state().join("scan");
    std::fs::create_dir(&scan).unwrap();
    for (name, days) in [("old", 40), ("young", 20)] {
        let file = std::fs::File::create(scan.join(name)).unwrap();
        let age = std::time::Duration::from_hours(days * 24);
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
    }
    tree.scan(10);
    assert!(scan.join("young").exists() && !scan.join("old").exists());
}

#[test]
fn root_looks_where_a_command_can_and_nowhere_else() {
    let scratch = tempfile::tempdir().unwrap();
    let kept_out = |insiders: Insiders, mode: u32| {
        std::fs::set_permissions(scratch.path(), Permissions::from_mode(mode)).unwrap();
        let stat = rustix::fs::stat(scratch.path()).unwrap();
        insiders.are_kept_out(&stat)
    };
    let owner = rustix::fs::stat(scratch.path()).unwrap().st_uid;
    let others = Insiders::Root([owner + 1, owner + 2]);
    for mode in [0o700, 0o744, 0o760] {
        assert!(kept_out(others, mode), "{mode:o}");
        assert!(!kept_out(Insiders::Root([0, owner]), mode), "{mode:o}");
        assert!(!kept_out(Insiders::Root([owner, 0]), mode), "{mode:o}");
        assert!(!kept_out(Insiders::Caller, mode), "{mode:o}");
    }
    // The control: one bit lets a command in, and what lies there is to be held.
    for mode in [0o701, 0o710, 0o755] {
        assert!(!kept_out(others, mode), "{mode:o}");
    }
}
