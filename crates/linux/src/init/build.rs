//! Carries the plan's steps out, from the inside of the new namespaces.
//!
//! Executes, decides nothing. Invariant: the first step that fails ends the launch, and nothing runs.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, Uid, chmodat, chownat,
    mkdirat, openat, utimensat,
};
use rustix::io::Errno;

use ringfence_plan::step::{FileId, Identity};
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;

use super::limits::{LimitError, Limits};
use super::mounts::{Hold, MountError, View};
use super::network::{self, Network};
use super::overlay::{Caches, LayerLock, Layers};
use crate::landlock::{LandlockError, Prepared};
use crate::observer::Granted;
use crate::seccomp;

/// Why the boundary could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// A mount operation failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A directory of ours could not be made.
    #[error("mkdir {path}")]
    PrivateDirectory {
        /// Which.
        path: AbsolutePath,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// The session's loopback could not be raised.
    #[error("raise the loopback interface")]
    Loopback(#[source] Errno),
    /// The local default route could not be made.
    #[error("add a local default route")]
    Route(#[source] Errno),
    /// A socket for the harness to serve could not be made.
    #[error("listen on {address} in the session's network")]
    Serve {
        /// Where.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// A limit could not be set.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The Landlock ruleset could not be prepared.
    #[error("prepare the Landlock ruleset")]
    Landlock(#[source] LandlockError),
    /// A mount step came before the mounts were sealed: the plan is malformed.
    #[error("the plan mounts before it seals")]
    NotSealed,
}

impl BuildError {
    /// The system's error number, for the wire.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Mount(error) => error.errno.raw_os_error(),
            Self::PrivateDirectory { errno, .. }
            | Self::Loopback(errno)
            | Self::Route(errno)
            | Self::Serve { errno, .. } => errno.raw_os_error(),
            Self::Limit(error) => error.errno().raw_os_error(),
            Self::Landlock(error) => error.errno(),
            Self::NotSealed => Errno::INVAL.raw_os_error(),
        }
    }
}

/// What the spawner takes before the view is finished.
#[derive(Debug, Default)]
pub(crate) struct Restrictions {
    /// Who the target is; `None` without namespaces.
    pub(crate) identity: Option<Identity>,
    /// Whether every capability is dropped.
    pub(crate) drop_capabilities: bool,
    /// Whether `no_new_privs` is set.
    pub(crate) no_new_privs: bool,
    /// The filter.
    pub(crate) filter: Option<seccomp::FilterProfile>,
}

impl Restrictions {
    /// Those of `plan`.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut restrictions = Self::default();
        let reaches = |step: &Step| matches!(step, Step::ReachSocket { .. });
        let unix_sockets = if plan.steps.iter().any(reaches) {
            seccomp::UnixSockets::Supervised
        } else {
            seccomp::UnixSockets::Refused
        };
        for step in &plan.steps {
            match step {
                Step::EnterNamespaces { identity, .. } => restrictions.identity = Some(*identity),
                Step::DropCapabilities => restrictions.drop_capabilities = true,
                Step::SetNoNewPrivs => restrictions.no_new_privs = true,
                Step::FilterSyscalls {
                    observe,
                    ip_sockets,
                } => {
                    restrictions.filter = Some(seccomp::FilterProfile {
                        observe: *observe,
                        ip_sockets: *ip_sockets,
                        unix_sockets,
                    });
                }
                Step::MakePrivateDirectory { .. }
                | Step::RaiseLoopback
                | Step::SealMounts
                | Step::MountProc
                | Step::KeepProc
                | Step::MountDevices
                | Step::MountTemporary { .. }
                | Step::Bind { .. }
                | Step::Pin { .. }
                | Step::Protect { .. }
                | Step::ProtectLink { .. }
                | Step::Unprotect { .. }
                | Step::Hide { .. }
                | Step::MountOverlay { .. }
                | Step::CaptureAddresses { .. }
                | Step::Serve { .. }
                | Step::Publish { .. }
                | Step::ReachSocket { .. }
                | Step::LimitMemory { .. }
                | Step::LimitProcesses { .. }
                | Step::RestrictPaths { .. } => {}
            }
        }
        restrictions
    }
}

/// What was built for the commands of the session.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// The ruleset, for the spawner.
    pub(crate) landlock: Option<Prepared>,
    /// The layer that caches are written to.
    pub(crate) layer: Option<LayerLock>,
    /// The session's network.
    pub(crate) network: Network,
    /// How each layer was proven.
    pub(crate) proven: Vec<String>,
}

/// Sets the limits of `plan`; on failure says which step.
///
/// They reach into the host's control groups, which the seal makes read-only, and hold for threads made after them.
pub(crate) fn limit(plan: &Plan) -> Result<Limits, (usize, BuildError)> {
    let mut limits = Limits::default();
    for (index, step) in plan.steps.iter().enumerate() {
        let limited = match step {
            Step::LimitMemory { bytes, mechanism } => limits.memory(*bytes, mechanism),
            Step::LimitProcesses { count, mechanism } => limits.processes(*count, mechanism),
            _ => Ok(()),
        };
        limited.map_err(|error| (index, error.into()))?;
    }
    Ok(limits)
}

/// Builds the view, and prepares the ruleset that names it; on failure says which step.
pub(crate) fn build(plan: &Plan) -> Result<Built, (usize, BuildError)> {
    let mut builder = Builder {
        plan,
        view: None,
        caches: None,
        built: Built::default(),
    };
    for (index, step) in plan.steps.iter().enumerate() {
        if matches!(step, Step::SealMounts) {
            builder.open_caches()?;
        }
        builder.execute(step).map_err(|error| (index, error))?;
    }
    if let Some(view) = builder.view.take() {
        view.finish()
            .map_err(|error| (plan.steps.len(), error.into()))?;
    }
    let mut built = builder.built;
    // Paths of the ruleset name the finished view.
    for (index, step) in plan.steps.iter().enumerate() {
        if let Step::RestrictPaths { ruleset } = step {
            let prepared =
                Prepared::new(ruleset).map_err(|error| (index, BuildError::Landlock(error)))?;
            built.landlock = Some(prepared);
        }
    }
    Ok(built)
}

struct Builder<'a> {
    plan: &'a Plan,
    view: Option<View>,
    /// Taken before the mounts are sealed, laid onto the view afterwards.
    caches: Option<Caches>,
    built: Built,
}

impl Builder<'_> {
    fn open_caches(&mut self) -> Result<(), (usize, BuildError)> {
        for (index, step) in self.plan.steps.iter().enumerate() {
            if let Step::MountOverlay {
                lower,
                store,
                directories,
                masked,
            } = step
            {
                let layers = Layers {
                    lower,
                    store,
                    directories,
                    masked,
                };
                let caches = Caches::open(layers).map_err(|error| (index, error.into()))?;
                self.caches = Some(caches);
            }
        }
        Ok(())
    }

    fn execute(&mut self, step: &Step) -> Result<(), BuildError> {
        match step {
            Step::MakePrivateDirectory { path, mode, owner } => {
                make_private_directory(path, *mode, *owner)
            }
            Step::EnterNamespaces { namespaces, .. } => {
                let names: Vec<String> = namespaces
                    .iter()
                    .map(|name| format!("{name:?}").to_lowercase())
                    .collect();
                self.built
                    .proven
                    .push(format!("namespaces: created {}", names.join(", ")));
                Ok(())
            }
            Step::RaiseLoopback => network::raise_loopback().map_err(BuildError::Loopback),
            Step::CaptureAddresses { family } => {
                network::capture_addresses(*family).map_err(BuildError::Route)
            }
            Step::Serve { socket } => {
                let made = network::serve(*socket).map_err(|errno| BuildError::Serve {
                    address: socket.address,
                    errno,
                })?;
                self.built.network.served.push((*socket, made));
                Ok(())
            }
            // The harness listens outside, and asks for each connection.
            Step::Publish { .. } => {
                self.built.network.publishes = true;
                Ok(())
            }
            Step::ReachSocket {
                named,
                path,
                identity,
            } => {
                self.built.network.sockets.push(Granted {
                    names: [named.clone(), path.clone()],
                    identity: *identity,
                });
                Ok(())
            }
            Step::SealMounts => {
                self.view = Some(View::seal(sources(self.plan), self.caches.take())?);
                self.built
                    .proven
                    .push("mounts: every mount made read-only, nosuid, nodev".to_owned());
                Ok(())
            }
            Step::MountProc => Ok(self.view()?.mount_proc()?),
            Step::MountDevices => Ok(self.view()?.mount_devices()?),
            Step::MountTemporary {
                target,
                mode,
                access,
            } => Ok(self.view()?.mount_temporary(target, *mode, *access)?),
            Step::Bind {
                target,
                access,
                mount_point,
                ..
            } => Ok(self.view()?.bind(target, *access, *mount_point)?),
            Step::MountOverlay { .. } => {
                self.built.layer = self.view()?.attach_caches()?;
                Ok(())
            }
            Step::Pin { path } => Ok(self.view()?.hold(path, Hold::Pin)?),
            // A clone of a link is a link: it leads where it led, and can't be replaced.
            Step::Protect { path } | Step::ProtectLink { path } => {
                Ok(self.view()?.hold(path, Hold::Protect)?)
            }
            Step::Unprotect { path } => Ok(self.view()?.hold(path, Hold::Unprotect)?),
            Step::Hide {
                path,
                placeholder,
                mount_point,
            } => Ok(self.view()?.hide(path, *placeholder, *mount_point)?),
            // Nothing to do; done before the steps and after them; taken by the spawner.
            Step::KeepProc
            | Step::LimitMemory { .. }
            | Step::LimitProcesses { .. }
            | Step::RestrictPaths { .. }
            | Step::DropCapabilities
            | Step::SetNoNewPrivs
            | Step::FilterSyscalls { .. } => Ok(()),
        }
    }

    fn view(&mut self) -> Result<&mut View, BuildError> {
        self.view.as_mut().ok_or(BuildError::NotSealed)
    }
}

/// The host objects that the plan's binds take, in order.
fn sources(plan: &Plan) -> impl Iterator<Item = (&AbsolutePath, Option<FileId>)> {
    plan.steps.iter().filter_map(|step| match step {
        Step::Bind {
            source, identity, ..
        } => Some((source, *identity)),
        _ => None,
    })
}

/// Makes `path` and its missing parents; what exists stays as it is, but its last component is opened without
/// following a link.
fn make_private_directory(
    path: &AbsolutePath,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), BuildError> {
    let failed = |errno| BuildError::PrivateDirectory {
        path: path.clone(),
        errno,
    };
    match make_directory(path.as_path(), mode) {
        Ok(()) => {
            // mkdir is subject to the mask; the mode is what the plan says.
            chmodat(
                CWD,
                path.as_path(),
                Mode::from_raw_mode(mode),
                AtFlags::empty(),
            )
            .map_err(failed)?;
            if let Some((uid, gid)) = owner {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(
                    CWD,
                    path.as_path(),
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
                .map_err(failed)?;
            }
            Ok(())
        }
        Err(Errno::EXIST) => {
            open_directory(path.as_path()).map_err(failed)?;
            mark_used(path.as_path()).map_err(failed)
        }
        Err(errno) => Err(failed(errno)),
    }
}

/// Tells that a session uses the directory: what nobody uses is taken away by age.
fn mark_used(path: &Path) -> Result<(), Errno> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn make_directory(path: &Path, mode: u32) -> Result<(), Errno> {
    match mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Err(Errno::NOENT) => {
            let parent = path.parent().ok_or(Errno::NOENT)?;
            match make_directory(parent, 0o700) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            mkdirat(CWD, path, Mode::from_raw_mode(mode))
        }
        other => other,
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
