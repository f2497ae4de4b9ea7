use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ringfence_audit::SessionId;
use tempfile::TempDir;

use super::tree::Caps;
use super::*;

struct Scratch {
    directory: TempDir,
    root: AbsolutePath,
    quarantine: Quarantine,
}

fn absolute(path: &Path) -> AbsolutePath {
    AbsolutePath::new(path).unwrap()
}

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::with_state(directory, |path| path.join("state"))
    }

    /// With the state directory on another file system than the root; `None` where there is no second one.
    fn across_file_systems() -> Option<(Self, TempDir)> {
        let other = tempfile::Builder::new().tempdir_in("/dev/shm").ok()?;
        let scratch =
            Self::with_state(tempfile::tempdir().unwrap(), |_| other.path().join("state"));
        let device =
            |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
        (device(other.path()) != device(scratch.root.as_path())).then_some((scratch, other))
    }

    fn with_state(directory: TempDir, place: impl Fn(&Path) -> PathBuf) -> Self {
        let real = directory.path().canonicalize().unwrap();
        let root = real.join("work");
        fs::create_dir(&root).unwrap();
        let state = StateDirectory::at(&place(&real)).unwrap();
        Self {
            directory,
            root: absolute(&root),
            quarantine: Quarantine::open(&state),
        }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.as_path().join(relative)
    }

    fn try_take(&self, relative: &str, caps: Caps) -> Result<Option<Entry>, QuarantineError> {
        self.quarantine.take_within(
            &Taking {
                root: &self.root,
                path: &absolute(&self.path(relative)),
                session: &SessionId("0123456789abcdef".to_owned()),
                reason: Reason::ProtectedName {
                    origin: relative.to_owned(),
                },
            },
            caps,
            caps,
        )
    }

    fn take(&self, relative: &str) -> Entry {
        self.try_take(relative, CAPS).unwrap().unwrap()
    }
}

const CAPS: Caps = Caps {
    bytes: 1 << 20,
    entries: 1000,
    depth: 64,
};

#[test]
fn a_directory_goes_and_comes_back_as_it_was() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path(".git/hooks")).unwrap();
    fs::write(scratch.path(".git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
    let entry = scratch.take(".git");
    assert!(!scratch.path(".git").exists());
    assert_eq!(entry.kind, ObjectKind::Directory);
    assert_eq!(
        scratch.quarantine.list().unwrap().entries,
        vec![entry.clone()]
    );
    assert_eq!(scratch.quarantine.restore(&entry.id).unwrap(), entry);
    let text = fs::read_to_string(scratch.path(".git/hooks/pre-commit")).unwrap();
    assert_eq!(text, "#!/bin/sh\n");
    assert_eq!(scratch.quarantine.list().unwrap(), Listing::default());
}

#[test]
fn restoring_overwrites_nothing() {
    let scratch = Scratch::new();
    fs::write(scratch.path(".envrc"), "hostile").unwrap();
    let entry = scratch.take(".envrc");
    fs::write(scratch.path(".envrc"), "mine").unwrap();
    let refused = scratch.quarantine.restore(&entry.id);
    assert!(matches!(refused, Err(QuarantineError::Occupied { .. })));
    assert_eq!(fs::read_to_string(scratch.path(".envrc")).unwrap(), "mine");
    fs::remove_file(scratch.path(".envrc")).unwrap();
    scratch.quarantine.restore(&entry.id).unwrap();
    assert_eq!(
        fs::read_to_string(scratch.path(".envrc")).unwrap(),
        "hostile"
    );
}

#[test]
fn another_name_of_what_was_taken_changes_it_no_more() {
    let scratch = Scratch::new();
    fs::write(scratch.path("f"), "as reviewed").unwrap();
    fs::hard_link(scratch.path("f"), scratch.path(".mcp.json")).unwrap();
    fs::create_dir_all(scratch.path(".claude/deep")).unwrap();
    fs::hard_link(scratch.path("f"), scratch.path(".claude/deep/settings")).unwrap();
    fs::set_permissions(scratch.path("f"), Permissions::from_mode(0o640)).unwrap();
    let entries = [".mcp.json", ".claude"].map(|name| scratch.take(name));
    // What the next session can do, which has the other name.
    fs::write(scratch.path("f"), "EVIL").unwrap();
    for entry in &entries {
        scratch.quarantine.restore(&entry.id).unwrap();
    }
    for name in [".mcp.json", ".claude/deep/settings"] {
        let text = fs::read_to_string(scratch.path(name)).unwrap();
        assert_eq!(text, "as reviewed", "{name}");
        let mode = fs::metadata(scratch.path(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o640);
    }
    assert_eq!(
        fs::read_dir(scratch.path(".claude/deep")).unwrap().count(),
        1
    );
}

#[test]
fn what_could_not_be_copied_from_its_other_name_is_not_given_back() {
    let scratch = Scratch::new();
    fs::write(scratch.path("f"), vec![7; 5000]).unwrap();
    fs::hard_link(scratch.path("f"), scratch.path(".envrc")).unwrap();
    let small = Caps {
        bytes: 4096,
        ..CAPS
    };
    let entry = scratch.try_take(".envrc", small).unwrap().unwrap();
    assert!(!scratch.path(".envrc").exists());
    let refused = scratch.quarantine.restore(&entry.id).unwrap_err();
    assert!(
        matches!(refused, QuarantineError::Shared { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.exit_code().code(), 2);
    // Also when it was changed by the other name, and that is gone.
    fs::write(scratch.path("f"), "EVIL").unwrap();
    fs::remove_file(scratch.path("f")).unwrap();
    let refused = scratch.quarantine.restore(&entry.id).unwrap_err();
    assert!(
        matches!(refused, QuarantineError::Shared { .. }),
        "{refused:?}"
    );
    scratch.quarantine.drop(&entry.id).unwrap();
}

#[test]
fn a_link_is_moved_and_not_followed() {
    let scratch = Scratch::new();
    let outside = scratch.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    symlink(&outside, scratch.path(".git")).unwrap();
    let entry = scratch.take(".git");
    assert_eq!(entry.kind, ObjectKind::Symlink);
    assert!(scratch.path(".git").symlink_metadata().is_err());
    scratch.quarantine.drop(&entry.id).unwrap();
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
}

#[test]
fn a_link_on_the_way_is_refused() {
    let scratch = Scratch::new();
    let outside = scratch.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join(".envrc"), "the person's").unwrap();
    symlink(&outside, scratch.path("sub")).unwrap();
    let refused = scratch.try_take("sub/.envrc", CAPS);
    assert!(
        matches!(refused, Err(QuarantineError::Object { .. })),
        "{refused:?}"
    );
    assert!(outside.join(".envrc").exists());
}

#[test]
fn what_is_not_there_is_not_taken() {
    let scratch = Scratch::new();
    assert!(scratch.try_take(".git", CAPS).unwrap().is_none());
    assert!(scratch.try_take("no/such/.git", CAPS).unwrap().is_none());
    assert_eq!(scratch.quarantine.list().unwrap(), Listing::default());
}

#[test]
fn a_path_outside_the_root_is_refused() {
    let scratch = Scratch::new();
    let outside = absolute(
        &scratch
            .directory
            .path()
            .canonicalize()
            .unwrap()
            .join("file"),
    );
    fs::write(outside.as_path(), "").unwrap();
    let taking = Taking {
        root: &scratch.root,
        path: &outside,
        session: &SessionId(String::new()),
        reason: Reason::NewRepository,
    };
    assert!(matches!(
        scratch.quarantine.take(&taking),
        Err(QuarantineError::Object { .. })
    ));
    assert!(outside.as_path().exists());
}

/// Runs `test` as an ordinary user too: root passes over the permissions that this is about.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_directory_without_permissions_is_taken_and_dropped() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path(".git/deep")).unwrap();
    fs::write(scratch.path(".git/deep/file"), "x").unwrap();
    fs::set_permissions(scratch.path(".git/deep"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(scratch.path(".git"), Permissions::from_mode(0o000)).unwrap();
    if !is_root() {
        assert!(fs::read_dir(scratch.path(".git")).is_err());
    }
    let entry = scratch.take(".git");
    scratch.quarantine.drop(&entry.id).unwrap();
    assert_eq!(scratch.quarantine.list().unwrap(), Listing::default());
    assert_eq!(
        fs::read_dir(scratch.quarantine.directory())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_tree_of_any_depth_is_dropped() {
    let scratch = Scratch::new();
    let mut place = rustix::fs::open(
        scratch.root.as_path(),
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for depth in 0..3000 {
        let name = if depth == 0 { ".git" } else { "d" };
        rustix::fs::mkdirat(&place, name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        place = rustix::fs::openat(&place, name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    drop(place);
    let entry = scratch.take(".git");
    scratch.quarantine.drop(&entry.id).unwrap();
    assert_eq!(
        fs::read_dir(scratch.quarantine.directory())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn across_file_systems_it_is_copied_and_the_name_is_gone() {
    let Some((scratch, _other)) = Scratch::across_file_systems() else {
        return;
    };
    fs::create_dir_all(scratch.path(".git/hooks")).unwrap();
    fs::write(scratch.path(".git/hooks/a"), "a").unwrap();
    symlink("/etc/passwd", scratch.path(".git/link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.path(".git/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let entry = scratch.take(".git");
    assert_eq!(entry.place, Place::Stored);
    assert_eq!(fs::read_dir(scratch.root.as_path()).unwrap().count(), 0);
    let stored = scratch
        .quarantine
        .directory()
        .join(&entry.id.0)
        .join("object");
    assert_eq!(fs::read_to_string(stored.join("hooks/a")).unwrap(), "a");
    assert_eq!(
        fs::read_link(stored.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert!(stored.join("fifo").symlink_metadata().is_err());
    scratch.quarantine.restore(&entry.id).unwrap();
    assert_eq!(
        fs::read_to_string(scratch.path(".git/hooks/a")).unwrap(),
        "a"
    );
    assert_eq!(scratch.quarantine.list().unwrap(), Listing::default());
}

#[test]
fn what_is_too_large_to_copy_stays_beside_its_origin() {
    let Some((scratch, _other)) = Scratch::across_file_systems() else {
        return;
    };
    fs::create_dir_all(scratch.path(".git")).unwrap();
    fs::write(scratch.path(".git/large"), vec![7; 5000]).unwrap();
    let small = Caps {
        bytes: 4096,
        ..CAPS
    };
    let entry = scratch.try_take(".git", small).unwrap().unwrap();
    assert!(!scratch.path(".git").exists());
    let Place::Aside(aside) = &entry.place else {
        panic!("{:?}", entry.place)
    };
    assert_eq!(
        fs::read(aside.as_path().join("large")).unwrap(),
        vec![7; 5000]
    );
    assert_eq!(
        scratch.quarantine.list().unwrap().entries,
        vec![entry.clone()]
    );
    scratch.quarantine.restore(&entry.id).unwrap();
    assert_eq!(fs::read(scratch.path(".git/large")).unwrap(), vec![7; 5000]);
    assert_eq!(fs::read_dir(scratch.root.as_path()).unwrap().count(), 1);
}

#[test]
fn a_name_that_is_no_text_survives() {
    let scratch = Scratch::new();
    let name = std::ffi::OsStr::from_bytes(b"sub\xff");
    fs::create_dir(scratch.root.as_path().join(name)).unwrap();
    let path = absolute(&scratch.root.as_path().join(name).join(".envrc"));
    fs::write(path.as_path(), "x").unwrap();
    let session = SessionId("s".to_owned());
    let reason = Reason::NewRepository;
    let taking = Taking {
        root: &scratch.root,
        path: &path,
        session: &session,
        reason,
    };
    let entry = scratch.quarantine.take(&taking).unwrap().unwrap();
    assert_eq!(
        scratch.quarantine.list().unwrap().entries,
        vec![entry.clone()]
    );
    scratch.quarantine.restore(&entry.id).unwrap();
    assert_eq!(fs::read_to_string(path.as_path()).unwrap(), "x");
}

#[test]
fn a_damaged_record_is_reported_and_its_object_can_be_dropped() {
    let scratch = Scratch::new();
    fs::write(scratch.path(".envrc"), "x").unwrap();
    let entry = scratch.take(".envrc");
    let record = scratch
        .quarantine
        .directory()
        .join(&entry.id.0)
        .join("record");
    fs::write(&record, vec![0; 50]).unwrap();
    let listing = scratch.quarantine.list().unwrap();
    assert!(listing.entries.is_empty());
    assert_eq!(listing.unrecorded.len(), 1);
    assert!(matches!(
        scratch.quarantine.restore(&entry.id),
        Err(QuarantineError::Record(_))
    ));
    assert_eq!(scratch.quarantine.drop(&entry.id).unwrap(), None);
    assert_eq!(scratch.quarantine.list().unwrap(), Listing::default());
}

#[test]
fn an_id_is_no_path() {
    let scratch = Scratch::new();
    fs::write(scratch.path("kept"), "x").unwrap();
    for id in ["../../work", "", ".", "0123456789/..", "0123456789"] {
        let refused = scratch.quarantine.drop(&EntryId(id.to_owned()));
        assert!(
            matches!(refused, Err(QuarantineError::Unknown { .. })),
            "{id}"
        );
    }
    assert!(scratch.path("kept").exists());
}
