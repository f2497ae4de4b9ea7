//! The system call itself, with nothing between: what a hostile program has.
//!
//! Invariant: every pointer that a call gets comes from a borrow that lives until the call returns.

use std::ffi::CStr;

use ringfence_conformance_tests::verdict::Stopped;

/// The outcome of one attack: what it saw, or the call that stopped it.
pub(crate) type Outcome = Result<String, Stopped>;

/// One argument of a system call, as the register holds it.
pub(crate) trait Word {
    /// The register's content.
    fn word(self) -> libc::c_long;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Word for $kind {
            #[expect(clippy::allow_attributes, reason = "the casts differ per type")]
            #[allow(clippy::cast_lossless, clippy::cast_possible_wrap, clippy::cast_possible_truncation, clippy::unnecessary_cast, reason = "a register takes the bits as they are")]
            fn word(self) -> libc::c_long { self as libc::c_long }
        }
    )*};
}
number!(i32, u32, i64, u64, usize);

impl Word for &CStr {
    fn word(self) -> libc::c_long {
        self.as_ptr().addr().word()
    }
}
impl Word for &[u8] {
    fn word(self) -> libc::c_long {
        self.as_ptr().expose_provenance().word()
    }
}
impl Word for &mut [u8] {
    fn word(self) -> libc::c_long {
        self.as_mut_ptr().expose_provenance().word()
    }
}
impl<const N: usize> Word for &[u8; N] {
    fn word(self) -> libc::c_long {
        self.as_slice().word()
    }
}
impl<const N: usize> Word for &mut [u8; N] {
    fn word(self) -> libc::c_long {
        self.as_mut_slice().word()
    }
}
impl<const N: usize> Word for &[u64; N] {
    fn word(self) -> libc::c_long {
        self.as_ptr().expose_provenance().word()
    }
}
impl<const N: usize> Word for &mut [u64; N] {
    fn word(self) -> libc::c_long {
        self.as_mut_ptr().expose_provenance().word()
    }
}
impl<const N: usize> Word for &[i32; N] {
    fn word(self) -> libc::c_long {
        self.as_ptr().expose_provenance().word()
    }
}
impl<const N: usize> Word for &mut [i32; N] {
    fn word(self) -> libc::c_long {
        self.as_mut_ptr().expose_provenance().word()
    }
}

/// Makes the system call `number`.
///
/// # Errors
/// [`Stopped`] with the call's name and the error number.
///
/// # Safety
/// Each word that the call reads as a pointer points to memory that is live, and long enough for what the call
/// reads or writes there.
pub(crate) unsafe fn call(
    name: &str,
    number: libc::c_long,
    words: &[libc::c_long],
) -> Result<libc::c_long, Stopped> {
    let mut six = [0; 6];
    for (slot, word) in six.iter_mut().zip(words) {
        *slot = *word;
    }
    let [first, second, third, fourth, fifth, sixth] = six;
    // SAFETY: `syscall` takes any six words; the caller vouches for those that are pointers.
    let answer = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    if answer == -1 {
        return Err(Stopped {
            call: name.trim_start_matches("SYS_").to_owned(),
            errno: errno(),
        });
    }
    Ok(answer)
}

/// The error number of the last call of this thread.
pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// `sys!(SYS_openat, directory, path, flags, mode)`: one system call with its arguments as they are.
#[macro_export]
macro_rules! sys {
    ($name:ident $(, $word:expr)* $(,)?) => {
        // A match, not a let: what the arguments borrow lives until its end.
        match [$($crate::calls::Word::word($word)),*] {
            // SAFETY: pointers among the words are borrows that live until the end of this match; each attack
            // gives buffers as long as the call's manual page asks for.
            words => unsafe { $crate::calls::call(stringify!($name), libc::$name, &words) },
        }
    };
}

/// The same by number, for calls that the C library's headers don't name yet.
#[macro_export]
macro_rules! sys_number {
    ($name:literal, $number:expr $(, $word:expr)* $(,)?) => {
        match ($name, $number, [$($crate::calls::Word::word($word)),*]) {
            // SAFETY: as for `sys!`.
            (name, number, words) => unsafe { $crate::calls::call(name, number, &words) },
        }
    };
}

/// A descriptor as the calls give it.
pub(crate) fn descriptor(answer: libc::c_long) -> i32 {
    i32::try_from(answer).unwrap_or(-1)
}

/// Ends this process at once, running nothing of its own.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: `_exit` never returns and runs no handlers.
    unsafe { libc::_exit(status) }
}

/// Forks by the bare system call with `flags`; gives 0 in the child.
///
/// The probe has one thread, so the child may go on with ordinary code.
pub(crate) fn clone_process(flags: u64) -> Result<libc::c_long, Stopped> {
    let flags = flags | u64::from(libc::SIGCHLD.unsigned_abs());
    sys!(SYS_clone, flags, 0, 0, 0, 0)
}

/// Waits for a child and gives its exit status, or 128 + its signal.
pub(crate) fn wait_child(child: libc::c_long) -> Result<i32, Stopped> {
    let mut status = [0_i32; 1];
    sys!(SYS_wait4, child, &mut status, 0, 0)?;
    let [status] = status;
    if libc::WIFEXITED(status) {
        Ok(libc::WEXITSTATUS(status))
    } else {
        Ok(128 + libc::WTERMSIG(status))
    }
}
