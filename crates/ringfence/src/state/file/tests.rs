use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

/// Names the directory in which a child process of these tests works.
const CHILD_DIRECTORY: &str = "RINGFENCE_TEST_STATE_CHILD";

fn file_in(directory: &Path) -> StateFile<Vec<String>> {
    StateFile::new(directory.join("list"), "list", 1)
}

fn scratch() -> (TempDir, StateFile<Vec<String>>) {
    let directory = tempfile::tempdir().unwrap();
    let file = file_in(directory.path());
    (directory, file)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_written_is_read() {
    let (_directory, file) = scratch();
    assert!(file.read().unwrap().is_none());
    file.write(&words(&["a"])).unwrap();
    assert_eq!(file.read().unwrap(), Some(words(&["a"])));
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_cut_short_at_any_length_is_damaged() {
    let (_directory, file) = scratch();
    file.write(&words(&["alpha", "beta"])).unwrap();
    let whole = std::fs::read(file.path()).unwrap();
    for length in 0..whole.len() {
        std::fs::write(file.path(), &whole[..length]).unwrap();
        assert!(
            matches!(file.read(), Err(StateFileError::Damaged { .. })),
            "cut at {length}"
        );
    }
    std::fs::write(file.path(), vec![0; whole.len()]).unwrap();
    assert!(matches!(file.read(), Err(StateFileError::Damaged { .. })));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_directory, file) = scratch();
    file.write(&words(&["alpha"])).unwrap();
    let whole = std::fs::read(file.path()).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        let read = file.read();
        // A digit's upper-case form is the same digit; nothing else may pass.
        assert!(
            matches!(
                read,
                Err(StateFileError::Damaged { .. } | StateFileError::Version { .. })
            ),
            "bit in byte {index}: {read:?}"
        );
    }
}

#[test]
fn a_damaged_file_is_kept_aside_and_a_sound_one_is_not() {
    let (_directory, file) = scratch();
    file.write(&words(&["a"])).unwrap();
    assert!(file.set_damaged_aside("now").unwrap().is_none());
    std::fs::write(file.path(), "nonsense").unwrap();
    let aside = file.set_damaged_aside("now").unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "nonsense");
    assert!(file.read().unwrap().is_none());
}

#[test]
fn a_crash_before_any_step_leaves_the_old_content_or_the_new() {
    use WriteStep::{Create, Flush, FlushDirectory, Rename, Write, WriteRest};
    for crash in [Create, Write, WriteRest, Flush, Rename, FlushDirectory] {
        let (_directory, file) = scratch();
        file.write(&words(&["old"])).unwrap();
        let result = file.replace(&words(&["new"]), |step| {
            if step == crash {
                Err(io::Error::other("crash"))
            } else {
                Ok(())
            }
        });
        assert!(
            matches!(result, Err(StateFileError::Write { .. })),
            "{crash:?}"
        );
        let expected = if crash == FlushDirectory {
            "new"
        } else {
            "old"
        };
        assert_eq!(file.read().unwrap(), Some(words(&[expected])), "{crash:?}");
        file.write(&words(&["next"])).unwrap();
        assert_eq!(file.read().unwrap(), Some(words(&["next"])), "{crash:?}");
    }
}

#[test]
fn a_link_a_second_name_and_an_open_file_are_not_believed() {
    let (directory, file) = scratch();
    file.write(&words(&["a"])).unwrap();
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(file.read(), Err(StateFileError::Foreign { .. })));
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(file.read().is_ok());
    let other = directory.path().join("other");
    std::fs::hard_link(file.path(), &other).unwrap();
    assert!(matches!(file.read(), Err(StateFileError::Foreign { .. })));
    std::fs::remove_file(file.path()).unwrap();
    symlink(&other, file.path()).unwrap();
    assert!(matches!(file.read(), Err(StateFileError::Open { .. })));
}

#[test]
fn a_file_of_another_owner_is_not_believed() {
    let (_directory, file) = scratch();
    file.write(&words(&["a"])).unwrap();
    if !is_given_away(file.path()) {
        return;
    }
    assert!(matches!(file.read(), Err(StateFileError::Foreign { .. })));
}

/// Gives `path` to another user; only root can, and inside a session of Ringfence root can't either, because there is
/// only one id.
pub(crate) fn is_given_away(path: &Path) -> bool {
    let given = std::os::unix::fs::chown(path, Some(12345), None);
    let is_nested = std::env::var_os("RINGFENCE_SESSION").is_some();
    match given {
        Ok(()) => true,
        Err(error) if is_nested || !rustix::process::geteuid().is_root() => {
            eprintln!("left out (nested, or not root): {error}");
            false
        }
        Err(error) => panic!("root can't give a file away: {error}"),
    }
}

/// Runs this test binary again as one test of this module, working in `directory`.
fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--ignored", "--test-threads=1"])
        .arg(format!("state::file::tests::{test}"))
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
#[ignore = "a child process of six_processes_at_once_lose_nothing"]
fn child_adds_twenty() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let file = file_in(Path::new(&directory));
    for number in 0..20 {
        let word = format!("{} {number}", std::process::id());
        file.update(|list| {
            let mut list = list.unwrap_or_default();
            list.push(word);
            (list, ())
        })
        .unwrap();
    }
}

#[test]
fn six_processes_at_once_lose_nothing() {
    let (directory, file) = scratch();
    let children: Vec<_> = (0..6)
        .map(|_| {
            child("child_adds_twenty", directory.path())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut list = file.read().unwrap().unwrap();
    assert_eq!(list.len(), 120);
    list.sort();
    list.dedup();
    assert_eq!(list.len(), 120, "an entry was written twice");
}

#[test]
#[ignore = "a child process of a_writer_that_is_killed_leaves_a_whole_file"]
fn child_writes_for_ever() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let file = file_in(Path::new(&directory));
    for number in 0_u64.. {
        file.write(&vec![number.to_string(); 500]).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_file() {
    let (directory, file) = scratch();
    file.write(&words(&["start"])).unwrap();
    for round in 0..12 {
        let mut writer = child("child_writes_for_ever", directory.path())
            .spawn()
            .unwrap();
        // Kill it at a different moment of its work each time: after it has replaced the file a few times.
        let mut seen = file.read().unwrap();
        for _ in 0..=round {
            let before = seen.clone();
            while seen == before {
                assert!(
                    writer.try_wait().unwrap().is_none(),
                    "the writer has ended by itself"
                );
                seen = file.read().unwrap();
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        let list = file.read().unwrap().unwrap();
        assert_eq!(list.len(), 500);
        assert!(
            list.windows(2).all(|pair| pair[0] == pair[1]),
            "two writes were mixed"
        );
    }
}
