//! Absent protected names and new repositories.

use super::*;

#[test]
fn making_an_absent_protected_name_is_reported_however_it_is_made() {
    type Attempt = fn(&Path, &Path) -> i32;
    let attempts: [(&str, Attempt); 9] = [
        ("mkdir", |_, name| {
            call(libc::SYS_mkdirat, &[HERE, address(&c(name)), 0o755])
        }),
        ("file", |_, name| {
            call(libc::SYS_openat, &[HERE, address(&c(name)), 0o101, 0o644])
        }),
        ("symlink", |_, name| {
            call(
                libc::SYS_symlinkat,
                &[address(&c("x")), HERE, address(&c(name))],
            )
        }),
        ("hard link", |root, name| {
            let from = c(root.join("file"));
            call(
                libc::SYS_linkat,
                &[HERE, address(&from), HERE, address(&c(name)), 0],
            )
        }),
        ("rename", |root, name| {
            let from = c(root.join("file"));
            call(
                libc::SYS_renameat,
                &[HERE, address(&from), HERE, address(&c(name))],
            )
        }),
        ("fifo", |_, name| {
            call(libc::SYS_mknodat, &[HERE, address(&c(name)), 0o010_644])
        }),
        ("through a dangling link", |root, name| {
            let link = root.join("link");
            let made = call(
                libc::SYS_symlinkat,
                &[address(&c(name)), HERE, address(&c(&link))],
            );
            made + call(libc::SYS_openat, &[HERE, address(&c(&link)), 0o101, 0o644])
        }),
        ("through a linked directory", |root, _| {
            let link = root.join("here");
            let made = call(
                libc::SYS_symlinkat,
                &[address(&c(".")), HERE, address(&c(&link))],
            );
            made + call(
                libc::SYS_mkdirat,
                &[HERE, address(&c(link.join(".husky"))), 0o755],
            )
        }),
        ("below a name made before", |_, name| {
            let made = call(libc::SYS_mkdirat, &[HERE, address(&c(name)), 0o755]);
            made + call(
                libc::SYS_openat,
                &[HERE, address(&c(name.join("pre-push"))), 0o101, 0o644],
            )
        }),
    ];
    for (what, attempt) in attempts {
        let scene = Scene::new();
        fs::write(scene.root.join("file"), "").unwrap();
        let name = scene.root.join(".husky");
        let run = || attempt(&scene.root, &name);
        let Some((result, events)) = scene.observe(Observe::Writes, run) else {
            return;
        };
        assert_eq!(result, 0, "{what}");
        let touched = touched(&events);
        assert!(!touched.is_empty(), "{what}: {events:?}");
        assert!(
            touched.iter().all(|path| *path == name),
            "{what}: {events:?}"
        );
        assert!(denials(&events).is_empty(), "{what}: {events:?}");
    }
}

#[test]
fn neighbours_of_a_protected_name_are_not_reported() {
    let scene = Scene::new();
    let run = || {
        fs::create_dir(scene.root.join(".husky2")).unwrap();
        fs::create_dir(scene.root.join("sub")).unwrap();
        fs::create_dir(scene.root.join("sub/.husky")).unwrap();
        fs::write(scene.root.join("HEAD.txt"), "").unwrap();
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_new_repository_is_reported_at_any_depth() {
    let scene = Scene::new();
    let deep = scene.root.join("a/b");
    let bare = scene.root.join("bare.git");
    let committed = scene.root.join("committed/.git");
    for path in [&deep, &bare, &committed] {
        fs::create_dir_all(path).unwrap();
    }
    let run = || {
        fs::create_dir(deep.join(".git")).unwrap();
        fs::write(deep.join(".git/config"), "").unwrap();
        fs::create_dir(bare.join("hooks")).unwrap();
        fs::write(bare.join("hooks/post-update"), "").unwrap();
        fs::write(bare.join("HEAD"), "").unwrap();
        fs::create_dir(deep.join(".GIT")).unwrap();
        fs::write(committed.join("HEAD"), "").unwrap();
        let _ = fs::create_dir(scene.outside.join(".git"));
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let expected = [
        deep.join(".git"),
        deep.join(".git/config"),
        bare.join("hooks"),
        bare.join("hooks/post-update"),
        bare.join("HEAD"),
        deep.join(".GIT"),
    ];
    assert_eq!(
        touched(&events),
        expected.iter().map(PathBuf::as_path).collect::<Vec<_>>()
    );
    // The one outside is a denial, no repository.
    assert_eq!(denials(&events).len(), 1);
}

#[test]
fn a_name_is_reported_also_through_a_link_that_means_the_caller_itself() {
    let scene = Scene::new();
    let name = scene.root.join(".husky");
    let link = scene.root.join("me");
    let root = fs::File::open(&scene.root).unwrap();
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root));
    std::os::unix::fs::symlink(&through, &link).unwrap();
    let spelt = [
        link.join(".husky"),
        PathBuf::from(format!("/{through}/.husky")),
        PathBuf::from(format!("/proc/../{through}/./.husky")),
    ];
    let run = || {
        for path in &spelt {
            assert_eq!(
                call(libc::SYS_mkdirat, &[HERE, address(&c(path)), 0o755]),
                0
            );
            let _ = call(
                libc::SYS_unlinkat,
                &[
                    HERE,
                    address(&c(path)),
                    u64::from(libc::AT_REMOVEDIR.cast_unsigned()),
                ],
            );
        }
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(touched(&events), [name.as_path(); 3], "{events:?}");
}

#[test]
fn a_directory_that_was_moved_is_reported_for_what_it_may_hold() {
    let scene = Scene::new();
    let (from, to) = (scene.root.join("from"), scene.root.join("to"));
    let (file, other) = (scene.root.join("file"), scene.root.join("other"));
    fs::create_dir(&from).unwrap();
    fs::write(&file, "").unwrap();
    let run = || {
        fs::rename(&from, &to).unwrap();
        fs::rename(&file, &other).unwrap();
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(touched(&events), [to.as_path()], "{events:?}");
}

#[test]
fn a_configuration_is_reported_however_it_is_reached() {
    let scene = Scene::new();
    let config = scene.root.join("vendor/x/.git/config");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, "").unwrap();
    let second = scene.root.join("second");
    let run = || {
        fs::hard_link(&config, &second).unwrap();
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(touched(&events), [config.as_path()], "{events:?}");

    let read = fs::File::open(&config).unwrap();
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));
    let run = || call(libc::SYS_openat, &[HERE, address(&c(&again)), 0o1]);
    let Some((result, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(result, 0);
    assert_eq!(touched(&events), [config.as_path()], "{events:?}");
}

#[test]
fn that_a_name_was_made_is_known_whatever_was_read_of_it() {
    let scene = Scene::new();
    for (makes, path) in [(true, "new"), (false, "file")] {
        fs::write(scene.root.join("file"), "").unwrap();
        let flags = if makes { 0o101 } else { 0o1 };
        let path = c(scene.root.join(path));
        let run = || call(libc::SYS_openat, &[HERE, address(&path), flags, 0o644]);
        let made = scene.observe_and(run, Observer::may_make_names);
        let Some(made) = made else { return };
        assert_eq!(made, makes);
    }
}
