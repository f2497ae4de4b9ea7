use super::*;
use crate::sys::file::descriptor;

fn root_of(path: &std::path::Path) -> (char, Vec<String>) {
    let text = path.to_str().unwrap();
    let mut parts = text.split('\\');
    let drive = parts.next().unwrap().chars().next().unwrap();
    (drive, parts.map(str::to_owned).collect())
}

/// A directory of this test's own, opened.
fn scratch(name: &str) -> (std::path::PathBuf, FileHandle) {
    let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
    let _left = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    let (drive, parts) = root_of(&path);
    let mut at = drive_root(drive, Access::Pass).unwrap().unwrap();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let units: Vec<u16> = part.encode_utf16().collect();
        at = open_at(at.as_handle(), &units, Access::Protect, &part)
            .unwrap()
            .unwrap();
    }
    (path, at)
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

// enforced-by-wine: names, ids, kinds and deletion are the file system's.
#[test]
fn what_is_opened_by_handle_is_what_its_path_says() {
    let (path, directory) = scratch("handles");
    std::fs::write(path.join("file.txt"), b"x").unwrap();
    std::fs::create_dir(path.join("below")).unwrap();
    let listing = reopen(directory.as_handle(), Access::List, &"scratch").unwrap();
    let mut names = list(listing.as_handle()).unwrap();
    names.sort();
    assert_eq!(names, [wide("below"), wide("file.txt")]);
    let open = |name: &str| open_at(directory.as_handle(), &wide(name), Access::Look, &name);
    assert!(open("absent").unwrap().is_none());
    let file = open("FILE.TXT").unwrap().unwrap();
    let seen = look(file.as_handle()).unwrap();
    assert_eq!(seen.kind, ringfence_plan::windows::step::ObjectKind::File);
    assert_eq!((seen.links, seen.reparse), (1, None));
    let again = reopen(file.as_handle(), Access::Read, &"file").unwrap();
    assert_eq!(look(again.as_handle()).unwrap(), seen);
    let made = make_directory(directory.as_handle(), &wide("made"), None, &"made").unwrap();
    assert!(made.is_some());
    let twice = make_directory(directory.as_handle(), &wide("made"), None, &"made").unwrap();
    assert!(twice.is_none());
    drop((made, file, again));
    for name in ["file.txt", "below", "made"] {
        let object = open_at(directory.as_handle(), &wide(name), Access::Delete, &name);
        delete(object.unwrap().unwrap().as_handle()).unwrap();
    }
    let listing = reopen(directory.as_handle(), Access::List, &"scratch").unwrap();
    assert!(list(listing.as_handle()).unwrap().is_empty());
    drop((listing, directory));
    std::fs::remove_dir_all(path).unwrap();
}

// plumbing-only: wine folds what is set into permission bits.
#[test]
fn a_descriptor_is_read_by_handle() {
    let (path, directory) = scratch("descriptor");
    let found = descriptor(directory.as_handle()).unwrap();
    assert!(found.owner.is_some());
    set_dacl(directory.as_handle(), &found).unwrap();
    drop(directory);
    std::fs::remove_dir_all(path).unwrap();
}
