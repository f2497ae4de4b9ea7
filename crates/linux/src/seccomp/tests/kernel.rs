#![expect(unsafe_code, reason = "system calls are made raw, past the C library")]
//! The filter in the running kernel: each probe on a thread of its own, with an unfiltered control.

use std::os::unix::net::UnixDatagram;

use ringfence_plan::step::Observe;

use super::{PLAIN, REFUSED};
use crate::seccomp::{
    FilterProfile, Program, compile, install, install_with_listener, probe_listener, probe_seccomp,
};

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    Failed(i32),
}

fn call(number: libc::c_long, arguments: [u64; 6]) -> Outcome {
    // SAFETY: the arguments of each probe are integers, addresses that are bad on purpose, or live buffers.
    let result = unsafe {
        libc::syscall(
            number,
            arguments[0],
            arguments[1],
            arguments[2],
            arguments[3],
            arguments[4],
            arguments[5],
        )
    };
    if result < 0 {
        Outcome::Failed(std::io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        Outcome::Succeeded
    }
}

fn on_thread<T: Send>(probe: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(probe).join().unwrap())
}

fn filtered<T: Send>(program: &Program, probe: impl FnOnce() -> T + Send) -> T {
    on_thread(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        install(program).unwrap();
        probe()
    })
}

#[test]
fn the_kernel_takes_the_program_and_refuses_what_it_says() {
    let program = compile(&PLAIN);
    // Bad in every argument, so that a control can do no harm. vhangup takes none and would do it.
    let bad = [u64::MAX; 6];
    let numbers: Vec<_> = REFUSED
        .iter()
        .copied()
        .filter(|number| *number != libc::SYS_vhangup)
        .collect();
    let probe = || {
        numbers
            .iter()
            .map(|number| call(*number, bad))
            .collect::<Vec<_>>()
    };
    let controls = on_thread(probe);
    let outcomes = filtered(&program, probe);
    let mut proven = 0;
    for ((number, control), outcome) in numbers.iter().zip(controls).zip(outcomes) {
        assert_eq!(outcome, Outcome::Failed(libc::EPERM), "call {number}");
        proven += usize::from(control != outcome);
    }
    // An ordinary user's controls fail with EPERM too, but for some.
    assert!(
        crate::is_nested() || proven >= 15,
        "{proven} controls differ"
    );
}

#[test]
fn refusals_with_conditions_hold_in_the_kernel() {
    let program = compile(&PLAIN);
    let cases = [
        (libc::SYS_socket, [1, 1, 0, 0, 0, 0], libc::EACCES),
        (libc::SYS_socket, [2, 3, 1, 0, 0, 0], libc::EPROTONOSUPPORT),
        (
            libc::SYS_socket,
            [2, 1, 262, 0, 0, 0],
            libc::EPROTONOSUPPORT,
        ),
        (
            libc::SYS_socketpair,
            [1, 2, 0, u64::MAX, 0, 0],
            libc::ESOCKTNOSUPPORT,
        ),
        (libc::SYS_unshare, [0x0400_0000, 0, 0, 0, 0, 0], libc::EPERM),
        (
            libc::SYS_clone,
            [0x2000_0000 | 0x8000_0000, 0, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (libc::SYS_clone3, [0; 6], libc::ENOSYS),
        (libc::SYS_openat2, [0; 6], libc::ENOSYS),
        (libc::SYS_io_uring_setup, [0; 6], libc::ENOSYS),
        (
            libc::SYS_ioctl,
            [u64::MAX, 0xFFFF_FFFF_0000_5412, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_personality,
            [0x40_0000, 0, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_fchmod,
            [u64::MAX, 0o4755, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_mknodat,
            [u64::MAX, u64::MAX, 0o020_000, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_openat,
            [u64::MAX, u64::MAX, 0o100, 0o4000, 0, 0],
            libc::EPERM,
        ),
        (libc::SYS_seccomp, [1, 8, u64::MAX, 0, 0, 0], libc::EBUSY),
        (0x4000_0000 + libc::SYS_getpid, [0; 6], libc::ENOSYS),
    ];
    let allowed = [
        (libc::SYS_socket, [2, 1, 6, 0, 0, 0]),
        (libc::SYS_socket, [16, 3, 0, 0, 0, 0]),
        (libc::SYS_personality, [0xFFFF_FFFF, 0, 0, 0, 0, 0]),
        (libc::SYS_unshare, [0x200, 0, 0, 0, 0, 0]),
        (libc::SYS_getpid, [0; 6]),
    ];
    let outcomes = filtered(&program, || {
        (
            cases.map(|(number, arguments, _)| call(number, arguments)),
            allowed.map(|(number, arguments)| call(number, arguments)),
        )
    });
    for ((number, arguments, errno), outcome) in cases.iter().zip(outcomes.0) {
        assert_eq!(outcome, Outcome::Failed(*errno), "{number} {arguments:x?}");
    }
    assert_eq!(outcomes.1, [Outcome::Succeeded; 5]);
    if crate::is_nested() {
        return;
    }
    // Each of these does something else without the filter.
    for (number, arguments, errno) in cases {
        let user_namespace_first = rustix::process::geteuid().as_raw() != 0;
        let answered_alike = [0x4000_0000 + libc::SYS_getpid].contains(&number)
            || user_namespace_first && errno == libc::EPERM;
        // A clone that succeeds would run the test twice.
        if number != libc::SYS_clone && !answered_alike {
            let control = on_thread(|| call(number, arguments));
            assert_ne!(
                control,
                Outcome::Failed(errno),
                "control of {number} {arguments:x?}"
            );
        }
    }
}

/// Either end of a pair of datagram sockets can send to a path: the pair is a way to sockets outside.
#[test]
fn a_pair_of_datagram_sockets_reaches_outside_and_is_refused() {
    if crate::is_nested() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = directory.path().join("server");
    let listener = UnixDatagram::bind(&server).unwrap();
    listener.set_nonblocking(true).unwrap();
    let attack = || {
        let (end, _other) = UnixDatagram::pair()?;
        end.send_to(b"out", &server)
    };
    let control = on_thread(attack);
    assert_eq!(control.unwrap(), 3);
    let mut received = [0; 8];
    assert_eq!(listener.recv(&mut received).unwrap(), 3);
    let refused = filtered(&compile(&PLAIN), attack).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ESOCKTNOSUPPORT));
    assert!(listener.recv(&mut received).is_err());
}

#[test]
fn a_dead_listener_leaves_refusals_refused() {
    if crate::is_nested() {
        return;
    }
    let program = compile(&FilterProfile {
        observe: Observe::Writes,
        ..PLAIN
    });
    let socket = [1, 1, 0, 0, 0, 0];
    let (socket, listener, write, read) = on_thread(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        drop(install_with_listener(&program).unwrap());
        (
            call(libc::SYS_socket, socket),
            call(libc::SYS_seccomp, [1, 8, u64::MAX, 0, 0, 0]),
            std::fs::write("/dev/null", "").map_err(|error| error.raw_os_error()),
            std::fs::read("/dev/null").is_ok(),
        )
    });
    assert_eq!(socket, Outcome::Failed(libc::ENOSYS));
    // Else the target could listen itself and let its children's calls continue.
    assert_eq!(listener, Outcome::Failed(libc::EBUSY));
    assert_eq!(write, Err(Some(libc::ENOSYS)));
    assert!(read);
}

#[test]
fn filters_stack_and_probes_say_what_is_available() {
    probe_seccomp().unwrap();
    if crate::is_nested() {
        return;
    }
    probe_listener().unwrap();
    let program = compile(&FilterProfile {
        observe: Observe::Writes,
        ..PLAIN
    });
    let (listener, filter) = on_thread(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        let _listener = install_with_listener(&program).unwrap();
        (
            probe_listener().unwrap_err().errno(),
            probe_seccomp().is_ok(),
        )
    });
    assert_eq!((listener, filter), (libc::EBUSY, true));
}

#[test]
fn a_foreign_architecture_kills_the_process() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    // `int 0x80` with number 20 (getpid of i386), in a child process.
    #[cfg(target_arch = "x86_64")]
    {
        let program = compile(&PLAIN);
        let foreign = |filter: Option<&Program>| {
            // SAFETY: the child makes system calls only, on memory that it inherited, and ends without destructors.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let ready = filter.is_none_or(|filter| {
                    rustix::thread::set_no_new_privs(true).is_ok() && install(filter).is_ok()
                });
                let result: u64;
                // SAFETY: getpid takes nothing and writes rax alone; r8 to r11 are not kept by `int 0x80`.
                unsafe {
                    std::arch::asm!("int 0x80", inlateout("rax") 20_u64 => result,
                        out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                }
                let code = i32::from(!ready) + 2 * i32::from(result == 0);
                // SAFETY: _exit(2) ends the child and runs nothing.
                unsafe { libc::_exit(code) };
            }
            let pid = rustix::process::Pid::from_raw(child);
            let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())
                .unwrap()
                .unwrap();
            (status.exit_status(), status.terminating_signal())
        };
        let control = foreign(None);
        if control.0 == Some(0) {
            assert_eq!(foreign(Some(&program)), (None, Some(libc::SIGSYS)));
        } else if std::env::var_os("RINGFENCE_SESSION").is_some() {
            // The session that this test runs in has killed the control.
            assert_eq!(control.1, Some(libc::SIGSYS), "nested");
        } else {
            // A kernel without 32-bit support: nothing to refuse.
            assert_eq!(control.1, Some(libc::SIGSEGV));
        }
    }
}
