use super::*;

fn scratch(name: &str) -> WindowsPath {
    let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
    let _left = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    WindowsPath::parse(path.to_str().unwrap()).unwrap()
}

#[test]
fn data_that_is_elsewhere_is_no_redirection_and_every_unknown_tag_is() {
    // A symbolic link, a junction, a Store alias, a link of WSL, a tag that nobody knows.
    for tag in [
        0xa000_000c,
        0xa000_0003,
        0x8000_001b,
        0xa000_001d,
        0x0000_0042,
    ] {
        assert_eq!(redirection(Some(tag)), Redirection::Reparse, "{tag:x}");
    }
    for tag in [0x9000_001a, 0x9000_601a, 0x8000_0013, 0x8000_0017] {
        assert_eq!(redirection(Some(tag)), Redirection::None, "{tag:x}");
    }
    assert_eq!(redirection(None), Redirection::None);
}

// enforced-by-wine: names and ids.
#[test]
fn a_tree_is_made_walked_and_removed_by_handle() {
    let top = scratch("tree");
    let mut files = NtFiles::new();
    let handle = files.open(&top).unwrap().unwrap();
    let descriptor = files.observe_descriptor(&handle).unwrap();
    // wine gives nobody an owner that is not its own; the directory's own descriptor is one it takes.
    let deep = top.join("a").unwrap().join("b").unwrap();
    files.make_directory(&deep, &descriptor).unwrap();
    files.make_directory(&deep, &descriptor).unwrap();
    std::fs::write(format!("{deep}\\read-only"), b"x").unwrap();
    let mut rights = std::fs::metadata(format!("{deep}\\read-only"))
        .unwrap()
        .permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(format!("{deep}\\read-only"), rights).unwrap();
    let below = files.open(&deep).unwrap().unwrap();
    let state = files.observe(&below).unwrap();
    assert_eq!(state.kind, ObjectKind::Directory);
    assert_eq!(files.observe_path(&below).unwrap(), deep);
    let names = files.list(&below).unwrap();
    assert_eq!(names, [FileName::new("read-only").unwrap()]);
    let file = files.open_child(&below, &names[0]).unwrap().unwrap();
    assert_eq!(files.observe(&file).unwrap().kind, ObjectKind::File);
    drop((file, below));
    if let Err(failure) = files.remove_directory(&handle) {
        // wine lets an ordinary user not delete what is read-only, and says yes to deleting the directory around it.
        assert_eq!(failure.code, 5, "{failure:?}");
        let read_only = format!("{deep}\\read-only");
        let mut rights = std::fs::metadata(&read_only).unwrap().permissions();
        #[expect(
            clippy::permissions_set_readonly_false,
            reason = "it clears an attribute there, and lets nobody in"
        )]
        rights.set_readonly(false);
        std::fs::set_permissions(&read_only, rights).unwrap();
        files.remove_directory(&handle).unwrap();
    }
    drop(handle);
    assert!(files.open(&top).unwrap().is_none());
}

// enforced-by-wine: a file has two names.
#[test]
fn a_file_that_cannot_be_entered_holds_nothing_and_links_are_counted() {
    let top = scratch("links");
    std::fs::write(format!("{top}\\one"), b"x").unwrap();
    std::fs::hard_link(format!("{top}\\one"), format!("{top}\\two")).unwrap();
    let mut files = NtFiles::new();
    let one = top.join("one").unwrap();
    assert!(files.open(&one.join("below").unwrap()).unwrap().is_none());
    let handle = files.open(&one).unwrap().unwrap();
    assert_eq!(files.observe(&handle).unwrap().links, 2);
    drop(handle);
    std::fs::remove_dir_all(top.to_string()).unwrap();
}

#[test]
fn a_drive_that_is_not_there_holds_nothing() {
    let mut files = NtFiles::new();
    let path = WindowsPath::parse("Q:\\x\\y").unwrap();
    assert!(files.open(&path).unwrap().is_none());
}
