//! Every write-class call, every way of naming a path, and what permissions say.

use super::*;

fn only<'e>(events: &'e [Event], what: &str) -> &'e Denial {
    let denials = denials(events);
    assert_eq!(denials.len(), 1, "{what}: {events:?}");
    denials[0]
}

/// A call's name, and the call on `file` or `new` in a directory.
type Attempt = (&'static str, fn(&Path) -> i32);

#[expect(clippy::too_many_lines, reason = "one table")]
fn attempts() -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = vec![
        ("openat", |d| {
            call(libc::SYS_openat, &[HERE, address(&c(d.join("file"))), 1])
        }),
        ("openat", |d| {
            call(
                libc::SYS_openat,
                &[HERE, address(&c(d.join("new"))), 0o101, 0o644],
            )
        }),
        ("openat", |d| {
            call(
                libc::SYS_openat,
                &[HERE, address(&c(d)), 0o20_200_002, 0o644],
            )
        }),
        ("openat", |d| {
            call(
                libc::SYS_openat,
                &[HERE, address(&c(d.join("file"))), 0o1000],
            )
        }),
        ("mkdirat", |d| {
            call(
                libc::SYS_mkdirat,
                &[HERE, address(&c(d.join("new"))), 0o755],
            )
        }),
        ("mknodat", |d| {
            call(
                libc::SYS_mknodat,
                &[HERE, address(&c(d.join("new"))), 0o010_644],
            )
        }),
        ("symlinkat", |d| {
            call(
                libc::SYS_symlinkat,
                &[address(&c("x")), HERE, address(&c(d.join("new")))],
            )
        }),
        ("linkat", |d| {
            let file = c(d.join("file"));
            call(
                libc::SYS_linkat,
                &[HERE, address(&file), HERE, address(&c(d.join("new"))), 0],
            )
        }),
        ("unlinkat", |d| {
            call(libc::SYS_unlinkat, &[HERE, address(&c(d.join("file"))), 0])
        }),
        ("truncate", |d| {
            call(libc::SYS_truncate, &[address(&c(d.join("file"))), 1])
        }),
        ("fchmodat", |d| {
            call(
                libc::SYS_fchmodat,
                &[HERE, address(&c(d.join("file"))), 0o600],
            )
        }),
        ("fchmodat2", |d| {
            call(452, &[HERE, address(&c(d.join("file"))), 0o600, 0])
        }),
        ("fchownat", |d| {
            let unchanged = u64::from(u32::MAX);
            call(
                libc::SYS_fchownat,
                &[HERE, address(&c(d.join("file"))), unchanged, unchanged, 0],
            )
        }),
        ("setxattr", |d| {
            let (name, value) = (c("user.x"), c("v"));
            let file = c(d.join("file"));
            call(
                libc::SYS_setxattr,
                &[address(&file), address(&name), address(&value), 1, 0],
            )
        }),
        ("lsetxattr", |d| {
            let (name, value) = (c("user.y"), c("v"));
            let file = c(d.join("file"));
            call(
                libc::SYS_lsetxattr,
                &[address(&file), address(&name), address(&value), 1, 0],
            )
        }),
        ("removexattr", |d| {
            call(
                libc::SYS_removexattr,
                &[address(&c(d.join("file"))), address(&c("user.none"))],
            )
        }),
        ("utimensat", |d| {
            call(
                libc::SYS_utimensat,
                &[HERE, address(&c(d.join("file"))), 0, 0],
            )
        }),
        ("fchmod", |d| {
            let file = fs::File::open(d.join("file")).unwrap();
            i32::from(rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600)).is_err())
        }),
        ("fchown", |d| {
            let file = fs::File::open(d.join("file")).unwrap();
            i32::from(rustix::fs::fchown(&file, None, None).is_err())
        }),
    ];
    #[cfg(target_arch = "x86_64")]
    attempts.extend::<[Attempt; 12]>([
        ("open", |d| {
            call(libc::SYS_open, &[address(&c(d.join("file"))), 2])
        }),
        ("creat", |d| {
            call(libc::SYS_creat, &[address(&c(d.join("new"))), 0o644])
        }),
        ("mkdir", |d| {
            call(libc::SYS_mkdir, &[address(&c(d.join("new"))), 0o755])
        }),
        ("mknod", |d| {
            call(libc::SYS_mknod, &[address(&c(d.join("new"))), 0o010_644])
        }),
        ("symlink", |d| {
            call(
                libc::SYS_symlink,
                &[address(&c("x")), address(&c(d.join("new")))],
            )
        }),
        ("link", |d| {
            call(
                libc::SYS_link,
                &[address(&c(d.join("file"))), address(&c(d.join("new")))],
            )
        }),
        ("unlink", |d| {
            call(libc::SYS_unlink, &[address(&c(d.join("file")))])
        }),
        ("chmod", |d| {
            call(libc::SYS_chmod, &[address(&c(d.join("file"))), 0o600])
        }),
        ("chown", |d| {
            let unchanged = u64::from(u32::MAX);
            call(
                libc::SYS_chown,
                &[address(&c(d.join("file"))), unchanged, unchanged],
            )
        }),
        ("lchown", |d| {
            let unchanged = u64::from(u32::MAX);
            call(
                libc::SYS_lchown,
                &[address(&c(d.join("file"))), unchanged, unchanged],
            )
        }),
        ("utime", |d| {
            call(libc::SYS_utime, &[address(&c(d.join("file"))), 0])
        }),
        ("utimes", |d| {
            call(libc::SYS_utimes, &[address(&c(d.join("file"))), 0])
        }),
    ]);
    attempts
}

/// Each call on a path outside is predicted to be denied, and the same call inside is not.
#[test]
fn every_write_class_call_outside_is_reported_and_inside_is_not() {
    for (name, attempt) in attempts() {
        let scene = Scene::new();
        fs::write(scene.root.join("file"), "content").unwrap();
        let run = |place: &Path| scene.observe(Observe::Writes, || attempt(place));
        let Some((_, events)) = run(&scene.root) else {
            return;
        };
        assert!(events.is_empty(), "{name} inside: {events:?}");
        let (_, events) = run(&scene.outside).unwrap();
        let denial = only(&events, name);
        assert_eq!(denial.syscall, name);
        assert_eq!(denial.operation, Operation::Write);
        assert_eq!(denial.rule, RuleId::OutsideWritableRoots);
        assert_eq!(denial.evidence, Evidence::Predicted);
        assert_eq!(denial.own_permissions, OwnPermissions::Allow);
        assert!(
            denial.object.starts_with(&text(&scene.outside)),
            "{name}: {}",
            denial.object
        );
    }
}

#[test]
fn both_names_of_a_rename_are_judged() {
    let scene = Scene::new();
    fs::write(scene.root.join("in"), "").unwrap();
    let renames = [
        (
            scene.root.join("in"),
            scene.outside.join("new"),
            0,
            vec!["outside/new"],
        ),
        (
            scene.outside.join("new"),
            scene.root.join("back"),
            0,
            vec!["outside/new"],
        ),
        (
            scene.root.join("back"),
            scene.outside.join("file"),
            2,
            vec!["outside/file"],
        ),
    ];
    for (from, to, flags, expected) in renames {
        let rename = || {
            let (from, to) = (c(&from), c(&to));
            call(
                libc::SYS_renameat2,
                &[HERE, address(&from), HERE, address(&to), flags],
            )
        };
        let Some((result, events)) = scene.observe(Observe::Writes, rename) else {
            return;
        };
        assert_eq!(result, 0);
        let found: Vec<_> = denials(&events)
            .iter()
            .map(|denial| denial.object.clone())
            .collect();
        assert_eq!(found.len(), expected.len(), "{events:?}");
        assert!(
            found
                .iter()
                .zip(&expected)
                .all(|(object, end)| object.ends_with(end)),
            "{found:?}"
        );
    }
}

/// Relative to the directory, to a descriptor, through links, and through `/proc`: the object is the same.
#[test]
fn every_spelling_names_the_same_object() {
    let scene = Scene::new();
    let file = scene.outside.join("file");
    let link = scene.root.join("link");
    let directory_link = scene.root.join("directory");
    let dangling = scene.root.join("dangling");
    let relative = scene.root.join("relative");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    std::os::unix::fs::symlink(&scene.outside, &directory_link).unwrap();
    std::os::unix::fs::symlink(scene.outside.join("made"), &dangling).unwrap();
    std::os::unix::fs::symlink("link", &relative).unwrap();
    let descriptor = fs::File::open(&scene.outside).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&descriptor);
    let base = u64::from(number.cast_unsigned());
    let dots = scene.root.join(".././outside//file");
    let spelt: Vec<(PathBuf, u64, &str)> = vec![
        (file.clone(), HERE, "outside/file"),
        (dots, HERE, "outside/file"),
        (link, HERE, "outside/file"),
        (relative, HERE, "outside/file"),
        (directory_link.join("file"), HERE, "outside/file"),
        (dangling, HERE, "outside/made"),
        ("file".into(), base, "outside/file"),
        ("./file".into(), base, "outside/file"),
        (
            format!("/proc/self/fd/{number}/file").into(),
            HERE,
            "outside/file",
        ),
        (
            format!("/dev/fd/{number}/file").into(),
            HERE,
            "outside/file",
        ),
        (
            format!("/proc/thread-self/fd/{number}/file").into(),
            HERE,
            "outside/file",
        ),
        (
            PathBuf::from(format!("/proc/self/root{}", text(&file))),
            HERE,
            "outside/file",
        ),
        (
            PathBuf::from(format!("/proc/{}/root{}", std::process::id(), text(&file))),
            HERE,
            "outside/file",
        ),
    ];
    for (path, base, end) in spelt {
        let open = || call(libc::SYS_openat, &[base, address(&c(&path)), 0o101, 0o644]);
        let Some((result, events)) = scene.observe(Observe::Writes, open) else {
            return;
        };
        assert_eq!(result, 0);
        let denial = only(&events, &path.display().to_string());
        assert!(
            denial.object.ends_with(end),
            "{} for {}",
            denial.object,
            path.display()
        );
        let _ = fs::remove_file(scene.outside.join("made"));
    }
    // A file that is open is named by its descriptor alone.
    let opened = fs::File::open(&file).unwrap();
    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
    let open = || call(libc::SYS_openat, &[HERE, address(&c(&own)), 1]);
    let (result, events) = scene.observe(Observe::Writes, open).unwrap();
    assert_eq!(result, 0);
    assert!(only(&events, "reopened").object.ends_with("outside/file"));
}

#[test]
fn a_working_directory_is_the_targets_own() {
    let scene = Scene::new();
    let run = || {
        std::process::Command::new("/bin/sh")
            .args(["-c", "echo changed > file; mkdir sub; cd sub; : > deep"])
            .current_dir(&scene.outside)
            .status()
            .unwrap()
            .success()
    };
    let Some((ran, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert!(ran);
    let objects: Vec<_> = denials(&events)
        .iter()
        .map(|denial| denial.object.clone())
        .collect();
    let expected = ["file", "sub", "sub/deep"].map(|name| text(&scene.outside.join(name)));
    assert_eq!(objects, expected);
}

/// What the kernel refuses by itself, or what never was there, is no denial of the boundary.
#[test]
fn calls_that_fail_by_themselves_are_not_reported() {
    let scene = Scene::new();
    let missing = scene.outside.join("missing");
    let run = || {
        let existing = c(&scene.outside);
        let missing_path = c(&missing);
        let below = c(missing.join("below"));
        [
            call(libc::SYS_mkdirat, &[HERE, address(&existing), 0o755]),
            call(libc::SYS_unlinkat, &[HERE, address(&missing_path), 0]),
            call(libc::SYS_openat, &[HERE, address(&missing_path), 1]),
            call(libc::SYS_truncate, &[address(&missing_path), 0]),
            call(libc::SYS_fchmodat, &[HERE, address(&missing_path), 0o600]),
            call(libc::SYS_openat, &[HERE, address(&below), 0o101, 0o644]),
        ]
    };
    let Some((errors, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let enoent = libc::ENOENT;
    assert_eq!(
        errors,
        [libc::EEXIST, enoent, enoent, enoent, enoent, enoent]
    );
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn own_permissions_are_the_targets_not_the_observers() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let scene = Scene::new();
    fs::set_permissions(scene.outside.join("file"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::set_permissions(
        scene.outside.parent().unwrap(),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let open = scene.outside.join("open");
    fs::write(&open, "").unwrap();
    fs::set_permissions(&open, PermissionsExt::from_mode(0o666)).unwrap();
    let run = || {
        std::process::Command::new("/bin/sh")
            .args(["-c", ": > file; : > open; : > new"])
            .current_dir(&scene.outside)
            .stderr(std::process::Stdio::null())
            .uid(4242)
            .gid(4242)
            .status()
            .unwrap();
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let found: Vec<_> = denials(&events)
        .iter()
        .map(|denial| {
            (
                denial.object.rsplit('/').next().unwrap().to_owned(),
                denial.own_permissions,
            )
        })
        .collect();
    assert!(
        found.contains(&("file".to_owned(), OwnPermissions::Refuse)),
        "{found:?}"
    );
    if found.len() == 3 {
        assert!(
            found.contains(&("open".to_owned(), OwnPermissions::Allow)),
            "{found:?}"
        );
        assert!(
            found.contains(&("new".to_owned(), OwnPermissions::Refuse)),
            "{found:?}"
        );
    }
}

#[test]
fn reads_of_what_is_hidden_are_reported_when_all_is_observed() {
    let scene = Scene::new();
    let hidden = scene.secret.join("key");
    fs::write(&hidden, "secret").unwrap();
    let absent = scene.secret.join("no/such/key");
    let read = || {
        let _ = fs::read(&hidden);
        let _ = fs::read(&absent);
        let _ = fs::read(scene.outside.join("file"));
    };
    let Some(((), events)) = scene.observe(Observe::Writes, read) else {
        return;
    };
    assert!(events.is_empty(), "{events:?}");
    let ((), events) = scene.observe(Observe::All, read).unwrap();
    let found: Vec<_> = denials(&events)
        .iter()
        .map(|denial| (denial.operation, denial.rule, denial.object.clone()))
        .collect();
    let expected = [hidden, absent].map(|path| (Operation::Read, RuleId::Secret, text(&path)));
    assert_eq!(found, expected);
}
