//! Targets that try to break, block or deceive the observer.

use super::*;

#[test]
fn bad_pointers_and_endless_paths_break_nothing() {
    let scene = Scene::new();
    // A page of letters with nothing readable behind it, and paths at and above the limit.
    let page = 4096;
    // SAFETY: a new private mapping of two pages at an address that the kernel chooses.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            2 * page,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(map, libc::MAP_FAILED);
    // SAFETY: the first page of the mapping made above.
    unsafe { std::ptr::write_bytes(map.cast::<u8>(), b'a', page) };
    // SAFETY: the second page of the same mapping, which nothing refers to.
    let unmapped = unsafe { libc::munmap(map.wrapping_byte_add(page), page) };
    assert_eq!(unmapped, 0);
    let map = map.addr() as u64;
    let end = map + page as u64;
    let whole = CString::new(vec![b'/'; 4095]).unwrap();
    let too_long = CString::new(vec![b'/'; 4096]).unwrap();
    let long_name = CString::new(format!("/{}", "n".repeat(4000))).unwrap();
    let deep = CString::new(format!("/{}", "d/".repeat(2000))).unwrap();
    let addresses = [
        0,
        1,
        u64::MAX,
        0x7FFF_FFFF_F000,
        0xFFFF_8000_0000_0000,
        map,
        end - 1,
        end,
        address(&whole),
        address(&too_long),
        address(&long_name),
        address(&deep),
    ];
    let run = || {
        addresses.map(|at| {
            [
                call(libc::SYS_openat, &[HERE, at, 0o101, 0o600]),
                call(libc::SYS_mkdirat, &[u64::MAX - 5, at, 0o755]),
                call(libc::SYS_renameat2, &[HERE, at, HERE, at, 0]),
                call(libc::SYS_connect, &[u64::MAX, at, 16]),
                call(libc::SYS_fchmodat, &[HERE, at, 0o4755]),
            ]
        })
    };
    let Some((errors, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    for (at, errors) in addresses.iter().zip(errors) {
        assert!(
            errors.iter().all(|error| *error != 0),
            "{at:#x}: {errors:?}"
        );
        assert_eq!(errors[3], libc::EBADF);
        assert_eq!(errors[4], libc::EPERM);
    }
    // All these fail in the kernel; what is reported is the refusal of the mode, and `/` itself.
    assert!(
        denials(&events)
            .iter()
            .all(|denial| denial.rule == RuleId::PrivilegedMode || denial.object == "/"),
        "{events:?}"
    );
}

#[test]
fn names_are_escaped_and_need_no_encoding() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff\x1b[31m\nred");
    let path = scene.outside.join(name);
    let guarded = scene.root.join(".husky").join(name);
    let run = || {
        fs::write(&path, "").unwrap();
        fs::create_dir(scene.root.join(".husky")).unwrap();
        fs::write(&guarded, "").unwrap();
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let denials = denials(&events);
    assert_eq!(denials.len(), 1);
    assert!(
        denials[0]
            .object
            .bytes()
            .all(|byte| (b' '..0x7F).contains(&byte) || byte >= 0x80)
    );
    assert!(!denials[0].object.contains('\u{1b}'));
    assert!(!touched(&events).is_empty());
}

/// A target that dies while its call waits leaves nothing behind: no report, and no wait.
#[test]
fn a_target_that_dies_while_its_call_waits_is_forgotten() {
    use std::os::unix::process::ExitStatusExt;
    let scene = Scene::new();
    let identity = scene.root.join("identity");
    // The child's call waits already when its parent learns of it: vfork returns after execve.
    let (send, receive) = mpsc::channel::<i32>();
    let run = move || {
        let mut child = std::process::Command::new("/bin/mkdir")
            .arg(&identity)
            .spawn()
            .unwrap();
        send.send(i32::try_from(child.id()).unwrap()).unwrap();
        child.wait().unwrap().signal()
    };
    let kill = |_: &Observer| {
        let child = rustix::process::Pid::from_raw(receive.recv().unwrap()).unwrap();
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        // Dead when its process state says so, so that the call no longer waits.
        let status = format!("/proc/{}/stat", child.as_raw_nonzero());
        while fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let Some((signal, events)) = scene.start(Observe::Writes, run, kill) else {
        return;
    };
    assert_eq!(signal, Some(libc::SIGKILL));
    assert!(events.is_empty(), "{events:?}");
    assert!(!scene.root.join("identity").exists());
}

#[test]
fn many_threads_at_once_are_all_answered() {
    let scene = Scene::new();
    let outside = &scene.outside;
    let root = &scene.root;
    let run = || {
        std::thread::scope(|scope| {
            for thread in 0..16 {
                scope.spawn(move || {
                    for round in 0..50 {
                        fs::write(root.join(format!("{thread}-{round}")), "").unwrap();
                        fs::write(outside.join("file"), "").unwrap();
                    }
                });
            }
        });
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let counts: u32 = events
        .iter()
        .map(|event| match event {
            Event::Denied { count, .. } => *count,
            _ => panic!("{event:?}"),
        })
        .sum();
    assert_eq!((events.len(), counts), (2, 16 * 50));
}

#[test]
fn different_denials_are_bounded() {
    let scene = Scene::new();
    let run = || {
        for number in 0..MAX_DISTINCT + 20 {
            let path = c(scene.outside.join(number.to_string()));
            assert_eq!(
                call(libc::SYS_mknodat, &[HERE, address(&path), 0o010_644]),
                0
            );
        }
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(events.len(), MAX_DISTINCT + 2);
    let Some(Event::Denied { denial, count }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(*count, 19);
    assert_eq!(denial.object, super::super::tally::OVERFLOW_OBJECT);
}

/// Links in circles and chains longer than the kernel follows end.
#[test]
fn circles_of_links_end() {
    let scene = Scene::new();
    let [one, two] = ["one", "two"].map(|name| scene.root.join(name));
    std::os::unix::fs::symlink(&one, &two).unwrap();
    std::os::unix::fs::symlink(&two, &one).unwrap();
    let run = || {
        [
            call(libc::SYS_openat, &[HERE, address(&c(&one)), 0o101, 0o600]),
            call(
                libc::SYS_openat,
                &[HERE, address(&c(one.join("x"))), 0o101, 0o600],
            ),
        ]
    };
    let Some((errors, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(errors, [libc::ELOOP; 2]);
    assert!(events.is_empty(), "{events:?}");
}

/// Opening a pipe for writing waits for a reader: the target may, the observer must not.
#[test]
fn a_pipe_without_a_reader_does_not_hold_the_observer() {
    let scene = Scene::new();
    let pipe = scene.outside.join("pipe");
    let run = || {
        assert_eq!(
            call(libc::SYS_mknodat, &[HERE, address(&c(&pipe)), 0o010_600]),
            0
        );
        // Non-blocking, so that this thread comes back: ENXIO says that the kernel got there.
        call(libc::SYS_openat, &[HERE, address(&c(&pipe)), 1 | 0o4000])
    };
    let Some((error, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    assert_eq!(error, libc::ENXIO);
    let counts: Vec<u32> = events
        .iter()
        .map(|event| match event {
            Event::Denied { count, .. } => *count,
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(counts, [1, 1]);
}
