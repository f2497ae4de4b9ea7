//! Makes a machine look weaker than it is: a filter that refuses namespaces or Landlock, then the given program.
//!
//! Only ever narrows: what runs below has less, never more.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use ringfence_conformance_tests::verdict::{Stopped, Verdict};

use crate::calls::errno;

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

const fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

/// Replaces this process by `words` below a filter that does what `name` says.
pub(crate) fn run(name: &str, words: &[OsString]) {
    let Some((program, arguments)) = words.split_first() else {
        return crate::print(&Verdict::of(Err(Stopped::untried("no program is given"))));
    };
    if let Err(stopped) = install(&filter(name == "deny-landlock")) {
        return crate::print(&Verdict::of(Err(stopped)));
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    crate::print(&Verdict::of(Err(Stopped {
        call: "execve".to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
    })));
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// `unshare` and `clone` with `CLONE_NEWUSER`: EPERM; `clone3`: ENOSYS; Landlock's calls, when asked: EOPNOTSUPP.
fn filter(no_landlock: bool) -> Vec<libc::sock_filter> {
    let statement = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let new_user = libc::CLONE_NEWUSER.cast_unsigned();
    let mut program = Vec::new();
    for call in [libc::SYS_unshare, libc::SYS_clone] {
        program.push(statement(LOAD, 0));
        program.push(jump(EQUAL, number(call), 0, 3));
        program.push(statement(LOAD, 16));
        program.push(jump(ANY_BIT, new_user, 0, 1));
        program.push(statement(RETURN, refuse(libc::EPERM)));
    }
    program.push(statement(LOAD, 0));
    program.push(jump(EQUAL, number(libc::SYS_clone3), 0, 1));
    program.push(statement(RETURN, refuse(libc::ENOSYS)));
    if no_landlock {
        for call in [
            libc::SYS_landlock_create_ruleset,
            libc::SYS_landlock_add_rule,
            libc::SYS_landlock_restrict_self,
        ] {
            program.push(jump(EQUAL, number(call), 0, 1));
            program.push(statement(RETURN, refuse(libc::EOPNOTSUPP)));
        }
    }
    program.push(statement(RETURN, ALLOW));
    program
}

fn install(program: &[libc::sock_filter]) -> Result<(), Stopped> {
    let stopped = |call: &str| Stopped {
        call: call.to_owned(),
        errno: errno(),
    };
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: takes no pointers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(stopped("prctl"));
    }
    // SAFETY: `header` and the program it points to live until the call returns.
    if unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const header,
        )
    } != 0
    {
        return Err(stopped("prctl"));
    }
    Ok(())
}
