use std::fs;
use std::path::Path;

use ringfence_plan::linux::landlock::{Rights, Rule, Ruleset, Scopes};
use ringfence_policy::AbsolutePath;

use super::{LandlockError, Prepared, probe_abi};

/// `LANDLOCK_ACCESS_FS_EXECUTE`, `READ_FILE`, `READ_DIR`
const READ: u64 = 1 | 1 << 2 | 1 << 3;
/// Every right of ABI 1 that writes.
const WRITE: u64 = 1 << 1 | 0x1FF0;

fn path(path: &Path) -> AbsolutePath {
    AbsolutePath::new(path).unwrap()
}

fn ruleset(rules: &[(&Path, u64)]) -> Ruleset {
    Ruleset {
        abi: 1,
        handled: Rights(READ | WRITE),
        scoped: Scopes(0),
        rules: rules
            .iter()
            .map(|(place, allowed)| Rule {
                path: path(place),
                allowed: Rights(*allowed),
            })
            .collect(),
    }
}

/// Runs `probe` on a thread restricted by `ruleset`.
fn restricted<T: Send>(ruleset: &Ruleset, probe: impl FnOnce() -> T + Send) -> T {
    let prepared = Prepared::new(ruleset).unwrap();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let enforced = prepared.restrict_current_thread().unwrap();
                assert_eq!(enforced.handled, ruleset.handled);
                probe()
            })
            .join()
            .unwrap()
    })
}

fn write(path: &Path) -> Option<i32> {
    fs::write(path, "x")
        .err()
        .and_then(|error| error.raw_os_error())
}

#[test]
fn write_beneath_a_rule_is_allowed_and_beside_it_denied() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().canonicalize().unwrap().join("inside");
    let outside = inside.with_file_name("outside");
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    assert_eq!(write(&outside.join("control")), None);
    let rules = ruleset(&[(Path::new("/"), READ), (&inside, READ | WRITE)]);
    let (allowed, denied, read) = restricted(&rules, || {
        (
            write(&inside.join("file")),
            write(&outside.join("file")),
            fs::read(outside.join("control")).is_ok(),
        )
    });
    assert_eq!((allowed, denied, read), (None, Some(libc::EACCES), true));
    assert_eq!(write(&outside.join("the other threads are free")), None);
}

#[test]
fn a_link_is_an_error_that_names_it_and_a_missing_path_allows_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    let link = top.join("link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    for (place, errno) in [(link.clone(), libc::ELOOP), (link.join("ssl"), libc::ELOOP)] {
        let error = Prepared::new(&ruleset(&[(&place, READ)])).unwrap_err();
        assert!(error.to_string().contains(place.to_str().unwrap()));
        assert_eq!(error.errno(), errno);
        assert!(matches!(error, LandlockError::Open { .. }));
    }
    let missing = top.join("missing");
    let rules = ruleset(&[(&missing, READ | WRITE)]);
    let written = restricted(&rules, || {
        // Too late: what is made at the name later is not what the rule was for.
        fs::create_dir(&missing).and_then(|()| fs::write(missing.join("file"), "x"))
    });
    assert_eq!(
        written.unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied
    );
}

#[test]
fn a_ruleset_that_can_not_hold_is_an_error() {
    let newer = Ruleset {
        abi: probe_abi() + 1,
        ..ruleset(&[])
    };
    assert!(matches!(
        Prepared::new(&newer),
        Err(LandlockError::Abi { .. })
    ));
    let empty = Ruleset {
        handled: Rights(0),
        ..ruleset(&[])
    };
    assert!(matches!(Prepared::new(&empty), Err(LandlockError::Empty)));
    let unknown = Ruleset {
        handled: Rights(1 << 60),
        ..ruleset(&[])
    };
    assert!(matches!(
        Prepared::new(&unknown),
        Err(LandlockError::UnknownBits { .. })
    ));
    let file_rights = ruleset(&[(Path::new("/dev/null"), READ)]);
    assert!(matches!(
        Prepared::new(&file_rights),
        Err(LandlockError::AddRule { .. })
    ));
    let unhandled = ruleset(&[(Path::new("/"), 1 << 14)]);
    assert!(matches!(
        Prepared::new(&unhandled),
        Err(LandlockError::AddRule { .. })
    ));
}

/// Rights that each ABI added (kernel document `userspace-api/landlock`), each with a probe that needs it.
#[test]
fn every_abi_up_to_the_kernels_is_enforced_as_asked() {
    let added = [(1, READ | WRITE), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15)];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().canonicalize().unwrap().join("file");
    fs::write(&file, "content").unwrap();
    for abi in 1..=probe_abi().min(8) {
        let handled = added
            .iter()
            .filter(|(since, _)| *since <= abi)
            .fold(0, |all, (_, rights)| all | rights);
        let rules = Ruleset {
            abi,
            handled: Rights(handled),
            scoped: Scopes(if abi >= 6 { 3 } else { 0 }),
            ..ruleset(&[(Path::new("/"), READ)])
        };
        let (opened, truncated) = restricted(&rules, || (write(&file), truncate(&file)));
        assert_eq!(opened, Some(libc::EACCES), "ABI {abi}");
        let expected = (abi >= 3).then_some(libc::EACCES);
        assert_eq!(truncated, expected, "ABI {abi}");
    }
}

#[expect(unsafe_code, reason = "truncate(2) by path has no safe wrapper")]
fn truncate(path: &Path) -> Option<i32> {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: truncate(2) reads a path that ends in NUL; `path` lives until it returns.
    let result = unsafe { libc::truncate(path.as_ptr(), 3) };
    (result != 0).then(|| std::io::Error::last_os_error().raw_os_error().unwrap())
}
