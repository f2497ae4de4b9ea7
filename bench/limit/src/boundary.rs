//! The order of it: clone into namespaces, identity, mounts, then the filters and the command, and its status out.
//! Invariant: the command starts only when every step before it held.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::kernel::{self, Side};
use crate::options::Options;
use crate::stage::Stages;
use crate::{filter, mounts};

/// Builds the boundary, runs the command in it, and gives its status as a shell would.
pub(crate) fn run(options: &Options, mut stages: Stages) -> Result<u8, String> {
    let uid = rustix::process::geteuid();
    let gid = rustix::process::getegid();
    let side = step("clone", kernel::clone_into_namespaces())?;
    let Side::Parent(pid) = side else {
        stages.done("clone, seen by the child");
        step("user namespace", map_identity(uid.as_raw(), gid.as_raw()))?;
        stages.done("identity map");
        build(options, &mut stages)?;
        let status = step("command", command(options, &mut stages))?;
        stages.print();
        return Ok(status);
    };
    let pid = Pid::from_raw(pid).ok_or("clone gave no pid")?;
    let waited = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    stages.done("parent: clone to exit of pid 1");
    stages.print();
    let (_, status) =
        step("wait", waited.map_err(io::Error::from))?.ok_or("nothing to wait for")?;
    Ok(shell_status(
        status.exit_status(),
        status.terminating_signal(),
    ))
}

fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|cause| format!("{name}: {cause}"))
}

fn shell_status(code: Option<i32>, signal: Option<i32>) -> u8 {
    let status = code.or(signal.map(|signal| 128 + signal)).unwrap_or(102);
    u8::try_from(status).unwrap_or(u8::MAX)
}

fn map_identity(uid: u32, gid: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn build(options: &Options, stages: &mut Stages) -> Result<(), String> {
    step("loopback", raise_loopback())?;
    stages.done("loopback");
    step("seal", mounts::seal())?;
    stages.done("seal");
    step(
        "workspace",
        mounts::open_workspace(&options.workspace, &options.protect),
    )?;
    stages.done("workspace, protected names");
    step("proc", mounts::mount_proc())?;
    stages.done("proc");
    step("dev", mounts::mount_devices())?;
    stages.done("dev");
    step(
        "tmp",
        mounts::bind_writable(&options.tmp, Path::new("/tmp")),
    )?;
    stages.done("tmp");
    step("run", mounts::hide_run())?;
    stages.done("run");
    step("secrets", mounts::hide(&options.hide))?;
    stages.done("secrets");
    Ok(())
}

fn raise_loopback() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    kernel::raise_loopback(socket.as_fd())
}

/// Runs the command from pid 1 with the filters on. The spawn is a vfork: nothing is copied.
fn command(options: &Options, stages: &mut Stages) -> io::Result<u8> {
    rustix::process::chdir(&options.workspace)?;
    drop_capabilities()?;
    stages.done("capabilities");
    restrict_paths(options).map_err(io::Error::other)?;
    stages.done("landlock");
    kernel::load_filter(&mut filter::program())?;
    stages.done("seccomp");
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(io::Error::other("no command"));
    };
    let mut child = Command::new(program).args(arguments).spawn()?;
    stages.done("spawn");
    let status = child.wait()?;
    stages.done("command");
    Ok(shell_status(status.code(), status.signal()))
}

fn drop_capabilities() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A kernel that does not know it does not grant it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}

fn restrict_paths(options: &Options) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(abi))?
        .create()?;
    rules = rules.add_rule(PathBeneath::new(place("/")?, AccessFs::from_read(abi)))?;
    for path in [options.workspace.as_path(), Path::new("/tmp")] {
        rules = rules.add_rule(PathBeneath::new(place(path)?, all))?;
    }
    for path in ["/dev/shm", "/dev/pts"] {
        rules = rules.add_rule(PathBeneath::new(place(path)?, all))?;
    }
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    for path in [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
    ] {
        rules = rules.add_rule(PathBeneath::new(place(path)?, device))?;
    }
    rules.restrict_self()?;
    Ok(())
}

/// A path for a rule. landlock's own `PathFd` opens the file for real on musl, where `O_PATH` is a part of
/// `O_ACCMODE` and std takes those bits out of custom flags.
fn place(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path.as_ref(), flags, Mode::empty())?)
}
