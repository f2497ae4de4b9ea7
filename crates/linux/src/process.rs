//! What a process of the session is called, for the record of what was refused.
//!
//! Reads only what the kernel answers without waiting for the process: no memory of it. Invariant: what is told of a
//! process is the kernel's word on its program, not the process's own, as long as there is one.

use std::fs;
use std::os::unix::ffi::OsStringExt;

use ringfence_policy::decision::Process;
use ringfence_policy::escape::escape;

/// How many parents are asked for.
const MAX_DEPTH: usize = 4096;

/// The path of the program that `process` executes (proc(5) `exe`), or where that is hidden the name that it goes by;
/// `None` when it is gone.
pub(crate) fn program(process: u32) -> Option<Vec<u8>> {
    if let Ok(path) = fs::read_link(format!("/proc/{process}/exe")) {
        return Some(path.into_os_string().into_vec());
    }
    let mut name = fs::read(format!("/proc/{process}/comm")).ok()?;
    name.pop_if(|last| *last == b'\n');
    Some(name)
}

/// The process that `thread` belongs to.
pub(crate) fn of_thread(thread: u32) -> Option<Process> {
    let status = fs::read(format!("/proc/{thread}/status")).ok()?;
    // Its first line is the name, which the process may choose, but for line ends: the kernel escapes them.
    let id = status.split(|byte| *byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(b"Tgid:")?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })?;
    let program = escape(&program(id)?).into_owned();
    Some(Process { id, program })
}

/// The parent of `pid`: the fourth field of proc(5) `stat`, after the name in parentheses, which may hold anything.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether the chain of parents of `process` leads to `ancestor`; `None` when it is gone. Of itself nothing is a child.
pub(crate) fn is_child_of(process: u32, ancestor: u32) -> Option<bool> {
    let mut parent = parent_of(process)?;
    // The chain ends with process 1, whose parent is 0; one that changes meanwhile ends as well.
    for _ in 0..MAX_DEPTH {
        if parent == ancestor {
            return Some(true);
        }
        match parent_of(parent) {
            Some(above) => parent = above,
            None => return Some(false),
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_told_by_its_process_and_program() {
        let here = std::process::id();
        let found = std::thread::spawn(|| {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            of_thread(thread.cast_unsigned())
        });
        let found = found.join().unwrap().unwrap();
        let path = std::env::current_exe().unwrap();
        assert_eq!(found.id, here);
        assert_eq!(found.program, path.to_str().unwrap());
    }

    #[test]
    fn nobody_has_no_name() {
        assert_eq!(of_thread(0), None);
        assert_eq!(program(u32::MAX), None);
    }
}
