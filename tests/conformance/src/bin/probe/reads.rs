//! Every way to a file's content, and what a process can see of itself.

use std::ffi::{CStr, CString};

use libc::AT_FDCWD;
use ringfence_conformance_tests::verdict::Stopped;

use crate::calls::{Outcome, clone_process, descriptor, leave, wait_child};
use crate::sys;
use crate::writes::{join, open, split, text, unique};

/// Runs the attack of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, words: &[CString]) -> Option<Outcome> {
    let outcome = match (name, words) {
        ("read", [path]) => read(path),
        ("read-symlink", [path, mine]) => read_symlink(path, mine),
        ("read-proc-self-root", [path]) => prefixed("/proc/self/root", path).and_then(|p| read(&p)),
        ("read-proc-cwd", [path]) => read_proc_cwd(path),
        ("read-hard-link", [path, mine]) => read_hard_link(path, mine),
        ("read-directory-descriptor", [path]) => read_directory_descriptor(path),
        ("read-path-descriptor", [path]) => read_path_descriptor(path),
        ("read-bind-mount", [path, mine]) => read_bind_mount(path, mine),
        ("read-open-tree", [path]) => read_open_tree(path),
        ("read-moved-parent", [path, mine]) => read_moved_parent(path, mine),
        ("read-mmap", [path]) => read_mmap(path),
        ("read-chroot", [path]) => read_chroot(path),
        ("read-dot-dot", [path]) => read_dot_dot(path),
        ("read-handle", [path]) => read_handle(path),
        ("read-process-cwd", [path, pid]) => read_process(path, pid, "cwd"),
        ("read-process-root", [path, pid]) => read_process(path, pid, "root"),
        ("read-link", [path]) => read_link(path),
        ("list", [path]) => list(path),
        ("status", []) => status(),
        ("descriptors", []) => descriptors(),
        ("environment", []) => environment(),
        ("arguments", words) => arguments(words),
        ("directory", []) => directory(),
        ("prepare", [place]) => prepare(place),
        _ => return None,
    };
    Some(outcome)
}

/// The file's first bytes.
fn read(path: &CStr) -> Outcome {
    read_open(open(path, libc::O_RDONLY)?)
}

fn read_open(fd: i32) -> Outcome {
    let mut buffer = [0_u8; 4096];
    let length = sys!(SYS_read, fd, &mut buffer, 4096)?;
    let length = usize::try_from(length).unwrap_or(0);
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

fn prefixed(prefix: &str, path: &CStr) -> Result<CString, Stopped> {
    let mut bytes = prefix.as_bytes().to_vec();
    bytes.extend_from_slice(path.to_bytes());
    text(bytes)
}

/// A name of its own in `mine` for this process.
fn fresh(mine: &CStr, what: &str) -> Result<CString, Stopped> {
    join(mine, &format!("{what}-{}", unique()))
}

fn read_symlink(path: &CStr, mine: &CStr) -> Outcome {
    let link = fresh(mine, "symlink")?;
    sys!(SYS_symlinkat, path, AT_FDCWD, &*link)?;
    let outcome = read(&link);
    let _ = sys!(SYS_unlinkat, AT_FDCWD, &*link, 0);
    outcome
}

/// Reads through the working directory of another process: a child that went there first.
fn read_proc_cwd(path: &CStr) -> Outcome {
    let (parent, name) = split(path)?;
    let mut ends = [0_i32; 2];
    sys!(SYS_pipe2, &mut ends, 0)?;
    let [ready, tell] = ends;
    let child = clone_process(0)?;
    if child == 0 {
        let there = sys!(SYS_chdir, &*parent);
        let answer = there.map_or_else(|stopped| stopped.errno, |_| 0);
        let _ = sys!(SYS_write, tell, &[answer], 4);
        let _ = sys!(SYS_ppoll, 0, 0, 0, 0, 0);
        leave(0);
    }
    let mut answer = [0_i32; 1];
    sys!(SYS_read, ready, &mut answer, 4)?;
    let outcome = match answer {
        [0] => {
            let mut bytes = format!("/proc/{child}/cwd/").into_bytes();
            bytes.extend_from_slice(name.to_bytes());
            text(bytes).and_then(|path| read(&path))
        }
        [errno] => Err(Stopped {
            call: "chdir in the child".to_owned(),
            errno,
        }),
    };
    let _ = sys!(SYS_kill, child, libc::SIGKILL);
    let _ = wait_child(child);
    outcome
}

fn read_hard_link(path: &CStr, mine: &CStr) -> Outcome {
    let link = fresh(mine, "link")?;
    sys!(SYS_linkat, AT_FDCWD, path, AT_FDCWD, &*link, 0)?;
    let outcome = read(&link);
    let _ = sys!(SYS_unlinkat, AT_FDCWD, &*link, 0);
    outcome
}

fn read_directory_descriptor(path: &CStr) -> Outcome {
    let (parent, name) = split(path)?;
    let at = open(&parent, libc::O_PATH | libc::O_DIRECTORY)?;
    let fd = sys!(SYS_openat, at, &*name, libc::O_RDONLY, 0)?;
    read_open(descriptor(fd))
}

fn read_path_descriptor(path: &CStr) -> Outcome {
    let fd = open(path, libc::O_PATH)?;
    read(&text(format!("/proc/self/fd/{fd}"))?)
}

/// A new user and mount namespace (that is how an ordinary user may mount), then a bind of the file's directory.
fn read_bind_mount(path: &CStr, mine: &CStr) -> Outcome {
    let (parent, name) = split(path)?;
    sys!(SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    let place = fresh(mine, "bind")?;
    sys!(SYS_mkdirat, AT_FDCWD, &*place, 0o755)?;
    sys!(
        SYS_mount,
        &*parent,
        &*place,
        0,
        libc::MS_BIND | libc::MS_REC,
        0
    )?;
    let mut bytes = place.to_bytes().to_vec();
    bytes.push(b'/');
    bytes.extend_from_slice(name.to_bytes());
    read(&text(bytes)?)
}

/// A detached copy of the mount below the file's directory, without what is mounted on top.
fn read_open_tree(path: &CStr) -> Outcome {
    const OPEN_TREE_CLONE: u32 = 1;
    let (parent, name) = split(path)?;
    sys!(SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    let recursive = OPEN_TREE_CLONE | u32::try_from(libc::AT_RECURSIVE).unwrap_or(0);
    let tree = sys!(SYS_open_tree, AT_FDCWD, &*parent, recursive)?;
    let fd = sys!(SYS_openat, tree, &*name, libc::O_RDONLY, 0)?;
    read_open(descriptor(fd))
}

/// Moves the file's directory away from under what protects it; puts it back when that worked.
fn read_moved_parent(path: &CStr, mine: &CStr) -> Outcome {
    let (parent, name) = split(path)?;
    let place = fresh(mine, "moved")?;
    sys!(SYS_renameat2, AT_FDCWD, &*parent, AT_FDCWD, &*place, 0)?;
    let mut bytes = place.to_bytes().to_vec();
    bytes.push(b'/');
    bytes.extend_from_slice(name.to_bytes());
    let outcome = text(bytes).and_then(|path| read(&path));
    let _ = sys!(SYS_renameat2, AT_FDCWD, &*place, AT_FDCWD, &*parent, 0);
    outcome
}

fn read_mmap(path: &CStr) -> Outcome {
    let fd = open(path, libc::O_RDONLY)?;
    let address = sys!(SYS_mmap, 0, 4096, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0)?;
    let mut ends = [0_i32; 2];
    sys!(SYS_pipe2, &mut ends, 0)?;
    let [from, to] = ends;
    sys!(SYS_write, to, address, 16)?;
    read_open(from)
}

fn read_chroot(path: &CStr) -> Outcome {
    let (parent, name) = split(path)?;
    sys!(SYS_unshare, libc::CLONE_NEWUSER)?;
    sys!(SYS_chroot, &*parent)?;
    sys!(SYS_chdir, c"/")?;
    read(&prefixed("/", &name)?)
}

fn read_dot_dot(path: &CStr) -> Outcome {
    sys!(SYS_chdir, c"/proc")?;
    read(&prefixed("..", path)?)
}

fn read_handle(path: &CStr) -> Outcome {
    let mut handle = [0_i32; 34];
    handle[0] = 128;
    let mut mount = [0_i32; 1];
    sys!(
        SYS_name_to_handle_at,
        AT_FDCWD,
        path,
        &mut handle,
        &mut mount,
        0
    )?;
    let (parent, _) = split(path)?;
    let at = open(&parent, libc::O_RDONLY)?;
    let fd = sys!(SYS_open_by_handle_at, at, &mut handle, libc::O_RDONLY)?;
    read_open(descriptor(fd))
}

/// Reads by way of an outside process, whose number is given. With `cwd` the file is named in its directory.
fn read_process(path: &CStr, pid: &CStr, link: &str) -> Outcome {
    let pid = pid.to_string_lossy();
    let prefix = format!("/proc/{pid}/{link}");
    if link == "cwd" {
        let (_, name) = split(path)?;
        return read(&prefixed(&format!("{prefix}/"), &name)?);
    }
    read(&prefixed(&prefix, path)?)
}

fn read_link(path: &CStr) -> Outcome {
    let mut buffer = [0_u8; 4096];
    let length = sys!(SYS_readlinkat, AT_FDCWD, path, &mut buffer, 4096)?;
    let length = usize::try_from(length).unwrap_or(0);
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

fn failed(call: &str, error: &std::io::Error) -> Stopped {
    Stopped {
        call: call.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

fn list(path: &CStr) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| failed("getdents64", &error))? {
        let entry = entry.map_err(|error| failed("getdents64", &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    json(&names)
}

fn json(value: &impl serde::Serialize) -> Outcome {
    serde_json::to_string(value).map_err(|_| Stopped::untried("no JSON"))
}

/// The lines of `/proc/self/status` that say what this process may do.
fn status() -> Outcome {
    let text = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| failed("read /proc/self/status", &error))?;
    let wanted = ["Cap", "NoNewPrivs", "Seccomp:", "Uid", "Gid", "Groups"];
    let mut facts = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(':')
            && wanted.iter().any(|wanted| line.starts_with(wanted))
        {
            facts.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    json(&facts)
}

/// Every open descriptor but the one that reads the list, with what it is.
fn descriptors() -> Outcome {
    let mut open = Vec::new();
    for number in 0..4096 {
        let mut buffer = [0_u8; 512];
        let path = text(format!("/proc/self/fd/{number}"))?;
        if let Ok(length) = sys!(SYS_readlinkat, AT_FDCWD, &*path, &mut buffer, 512) {
            let length = usize::try_from(length).unwrap_or(0);
            let what = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            open.push(format!("{number} {what}"));
        }
    }
    json(&open)
}

fn environment() -> Outcome {
    let variables: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect();
    json(&variables)
}

/// The arguments, byte by byte.
fn arguments(words: &[CString]) -> Outcome {
    json(&words.iter().map(|word| word.to_bytes()).collect::<Vec<_>>())
}

fn directory() -> Outcome {
    std::env::current_dir()
        .map(|path| path.to_string_lossy().into_owned())
        .map_err(|error| failed("getcwd", &error))
}

/// Makes the objects that a write attack acts on, as the suite makes them outside.
fn prepare(place: &CStr) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let place = std::path::Path::new(std::ffi::OsStr::from_bytes(place.to_bytes()));
    ringfence_conformance_tests::objects::prepare(place)
        .map(|()| String::new())
        .map_err(|error| failed("preparing", &error))
}
