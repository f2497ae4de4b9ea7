//! Refused calls and connections.

use super::*;

#[test]
fn refused_calls_fail_with_their_error_and_name_their_rule() {
    let scene = Scene::new();
    let file = scene.root.join("tool");
    fs::write(&file, "").unwrap();
    let run = || {
        let file = c(&file);
        [
            call(libc::SYS_socket, &[1, 1, 0]),
            call(libc::SYS_socket, &[40, 1, 0]),
            call(libc::SYS_socket, &[17, 3, 0]),
            call(libc::SYS_socket, &[2, 3, 1]),
            call(libc::SYS_socketpair, &[1, 2, 0, 0]),
            call(libc::SYS_unshare, &[0x1000_0000]),
            call(libc::SYS_bpf, &[]),
            call(libc::SYS_fchmodat, &[HERE, address(&file), 0o4755]),
            call(libc::SYS_clone3, &[]),
            call(libc::SYS_openat2, &[]),
            call(libc::SYS_io_uring_setup, &[]),
        ]
    };
    let Some((errors, events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let expected = [
        (
            libc::EACCES,
            Some((
                Operation::Connect,
                RuleId::UnixSocket,
                "AF_UNIX socket of type 1, protocol 0",
            )),
        ),
        (
            libc::EAFNOSUPPORT,
            Some((
                Operation::Connect,
                RuleId::SocketFamily,
                "AF_VSOCK socket of type 1, protocol 0",
            )),
        ),
        (
            libc::EAFNOSUPPORT,
            Some((
                Operation::Connect,
                RuleId::SocketFamily,
                "AF_PACKET socket of type 3, protocol 0",
            )),
        ),
        (
            libc::EPROTONOSUPPORT,
            Some((
                Operation::Connect,
                RuleId::SocketFamily,
                "AF_INET socket of type 3, protocol 1",
            )),
        ),
        (
            libc::ESOCKTNOSUPPORT,
            Some((
                Operation::Connect,
                RuleId::UnixSocket,
                "AF_UNIX socket of type 2, protocol 0",
            )),
        ),
        (
            libc::EPERM,
            Some((Operation::Syscall, RuleId::Syscall, "unshare")),
        ),
        (
            libc::EPERM,
            Some((Operation::Syscall, RuleId::Syscall, "bpf")),
        ),
        (
            libc::EPERM,
            Some((Operation::Write, RuleId::PrivilegedMode, "root/tool")),
        ),
        (libc::ENOSYS, None),
        (libc::ENOSYS, None),
        (libc::ENOSYS, None),
    ];
    assert_eq!(errors, expected.map(|(errno, _)| errno));
    let denials = denials(&events);
    let wanted: Vec<_> = expected.iter().filter_map(|(_, denial)| *denial).collect();
    assert_eq!(denials.len(), wanted.len(), "{events:?}");
    for (denial, (operation, rule, object)) in denials.iter().zip(wanted) {
        assert_eq!((denial.operation, denial.rule), (operation, rule));
        assert!(denial.object.ends_with(object), "{}", denial.object);
        assert_eq!(denial.evidence, Evidence::Refused);
        assert_eq!(denial.grant, None);
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o6000, 0);
}

/// `struct sockaddr_in` and `struct sockaddr_in6`.
fn sockaddr(address: std::net::SocketAddr) -> Vec<u8> {
    let family = |family: i32| u16::try_from(family).unwrap().to_ne_bytes();
    let port = address.port().to_be_bytes();
    match address.ip() {
        std::net::IpAddr::V4(ip) => {
            [&family(libc::AF_INET)[..], &port, &ip.octets(), &[0; 8]].concat()
        }
        std::net::IpAddr::V6(ip) => [
            &family(libc::AF_INET6)[..],
            &port,
            &[0; 4],
            &ip.octets(),
            &[0; 4],
        ]
        .concat(),
    }
}

/// On a descriptor that is no socket, so that nothing is ever sent.
#[test]
fn connections_that_leave_the_session_are_reported() {
    let scene = Scene::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open_port = server.local_addr().unwrap().to_string();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().to_string();
    drop(closed);
    let addresses = [
        "192.0.2.1:443",
        "[2001:db8::1]:22",
        "[::ffff:192.0.2.7]:80",
        &open_port,
        &closed_port,
        "192.0.2.1:0",
        "169.254.169.254:80",
    ];
    let run = || {
        for address in addresses {
            let bytes = sockaddr(address.parse().unwrap());
            let at = bytes.as_ptr().addr() as u64;
            let error = call(libc::SYS_connect, &[u64::MAX, at, bytes.len() as u64]);
            assert_eq!(error, libc::EBADF);
            // Shorter than an address, and of no bytes at all.
            call(libc::SYS_connect, &[u64::MAX, at, 3]);
            call(libc::SYS_connect, &[u64::MAX, at, 0]);
        }
    };
    let Some(((), events)) = scene.observe(Observe::Writes, run) else {
        return;
    };
    let found: Vec<_> = denials(&events)
        .iter()
        .map(|denial| {
            assert_eq!(denial.operation, Operation::Connect);
            let granted = denial
                .grant
                .as_ref()
                .map(|grant| grant.arguments.last().unwrap());
            assert!(granted.is_none_or(|granted| *granted == denial.object));
            (denial.object.as_str(), denial.rule, granted.is_some())
        })
        .collect();
    let expected = [
        ("192.0.2.1:443", RuleId::Offline, true),
        ("[2001:db8::1]:22", RuleId::Offline, true),
        ("192.0.2.7:80", RuleId::Offline, true),
        // Only where nobody listens in the session can the host's server be meant.
        (closed_port.as_str(), RuleId::SessionLoopback, true),
        ("169.254.169.254:80", RuleId::Metadata, false),
    ];
    assert_eq!(found, expected);
}

#[test]
fn where_entries_are_granted_one_by_one_taking_one_away_is_told() {
    let scene = Scene::new();
    for name in ["kept", "moved", "inside/free"] {
        let path = scene.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let [kept, moved, free] = ["kept", "moved", "inside/free"].map(|name| scene.root.join(name));
    let run = || {
        let [kept, moved, free] = [&kept, &moved, &free].map(c);
        // Nothing enforces here: the calls succeed, and what is judged is what is told.
        [
            call(
                libc::SYS_renameat,
                &[HERE, address(&moved), HERE, address(&kept)],
            ),
            call(libc::SYS_unlinkat, &[HERE, address(&kept), 0]),
            call(libc::SYS_unlinkat, &[HERE, address(&free), 0]),
        ]
    };
    let place = |path: &Path, access, rule| PathRule {
        path: absolute(path),
        access,
        strength: Strength::Place,
        rule,
        origin: String::new(),
        except: Vec::new(),
    };
    let rules = vec![
        place(&scene.root, PathAccess::ReadOnly, RuleId::NewEntry),
        place(&kept, PathAccess::ReadWrite, RuleId::WritableRoot),
        place(&moved, PathAccess::ReadWrite, RuleId::WritableRoot),
        place(
            &scene.root.join("inside"),
            PathAccess::ReadWrite,
            RuleId::WritableRoot,
        ),
    ];
    let Some((errors, events)) = scene.observe_with(rules, run) else {
        return;
    };
    assert_eq!(errors, [0; 3]);
    let mut told: Vec<_> = denials(&events)
        .iter()
        .map(|denial| (denial.rule, denial.object.clone()))
        .collect();
    // The second call on it is counted at the end.
    told.dedup();
    assert_eq!(
        told,
        [
            (RuleId::NewEntry, text(&moved)),
            (RuleId::NewEntry, text(&kept)),
        ]
    );
}
