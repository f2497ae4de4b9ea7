//! Carries the plan's steps out, from the inside of the new namespaces.
//!
//! Executes, decides nothing. Invariant: the first step that fails ends the launch, and nothing runs.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, mkdirat, openat};
use rustix::io::Errno;

use ringfence_plan::step::{FileId, Identity};
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;

use super::limits::{LimitError, Limits};
use super::mounts::{Hold, MountError, View};
use super::network::{self, Network};
use super::overlay::{Caches, LayerLock, Layers};
use crate::landlock::{LandlockError, Prepared};
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

/// What the commands of the session are confined by, ready for the spawner.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    /// Who the target is; `None` without namespaces.
    pub(crate) identity: Option<Identity>,
    /// Whether every capability is dropped.
    pub(crate) drop_capabilities: bool,
    /// Whether `no_new_privs` is set.
    pub(crate) no_new_privs: bool,
    /// The ruleset.
    pub(crate) landlock: Option<Prepared>,
    /// The filter.
    pub(crate) filter: Option<seccomp::FilterProfile>,
    /// The limits.
    pub(crate) limits: Limits,
    /// The layer that caches are written to.
    pub(crate) layer: Option<LayerLock>,
    /// The session's network.
    pub(crate) network: Network,
    /// How each layer was proven.
    pub(crate) proven: Vec<String>,
}

/// Carries out every step of `plan`; on failure says which.
pub(crate) fn build(plan: &Plan) -> Result<Confinement, (usize, BuildError)> {
    let mut builder = Builder {
        plan,
        view: None,
        caches: None,
        confinement: Confinement::default(),
    };
    // Limits reach into the host's control groups, which the seal makes read-only.
    for (index, step) in plan.steps.iter().enumerate() {
        builder.limit(step).map_err(|error| (index, error))?;
    }
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
    let mut confinement = builder.confinement;
    // Paths of the ruleset name the finished view.
    for (index, step) in plan.steps.iter().enumerate() {
        if let Step::RestrictPaths { ruleset } = step {
            let prepared =
                Prepared::new(ruleset).map_err(|error| (index, BuildError::Landlock(error)))?;
            confinement.landlock = Some(prepared);
        }
    }
    Ok(confinement)
}

struct Builder<'a> {
    plan: &'a Plan,
    view: Option<View>,
    /// Taken before the mounts are sealed, laid onto the view afterwards.
    caches: Option<Caches>,
    confinement: Confinement,
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

    fn limit(&mut self, step: &Step) -> Result<(), BuildError> {
        match step {
            Step::LimitMemory { bytes, mechanism } => {
                Ok(self.confinement.limits.memory(*bytes, mechanism)?)
            }
            Step::LimitProcesses { count, mechanism } => {
                Ok(self.confinement.limits.processes(*count, mechanism)?)
            }
            _ => Ok(()),
        }
    }

    fn execute(&mut self, step: &Step) -> Result<(), BuildError> {
        match step {
            Step::MakePrivateDirectory { path, mode, owner } => {
                make_private_directory(path, *mode, *owner)
            }
            Step::EnterNamespaces {
                namespaces,
                identity,
            } => {
                self.confinement.identity = Some(*identity);
                let names: Vec<String> = namespaces
                    .iter()
                    .map(|name| format!("{name:?}").to_lowercase())
                    .collect();
                self.confinement
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
                self.confinement.network.served.push((*socket, made));
                Ok(())
            }
            Step::Publish { port } => {
                self.confinement.network.published.push(*port);
                Ok(())
            }
            Step::SealMounts => {
                self.view = Some(View::seal(sources(self.plan), self.caches.take())?);
                self.confinement
                    .proven
                    .push("mounts: every mount made read-only, nosuid, nodev".to_owned());
                Ok(())
            }
            Step::MountProc => Ok(self.view()?.mount_proc()?),
            Step::KeepProc => Ok(()),
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
                self.confinement.layer = self.view()?.attach_caches()?;
                Ok(())
            }
            Step::Pin { path } => Ok(self.view()?.hold(path, Hold::Pin)?),
            // A clone of a link is a link: it leads where it led, and can't be replaced.
            Step::Protect { path } | Step::ProtectLink { path } => {
                Ok(self.view()?.hold(path, Hold::Protect)?)
            }
            Step::Unprotect { path } => Ok(self.view()?.hold(path, Hold::Unprotect)?),
            Step::Hide { path, placeholder } => Ok(self.view()?.hide(path, *placeholder)?),
            Step::DropCapabilities => {
                self.confinement.drop_capabilities = true;
                Ok(())
            }
            Step::SetNoNewPrivs => {
                self.confinement.no_new_privs = true;
                Ok(())
            }
            Step::FilterSyscalls {
                observe,
                ip_sockets,
            } => {
                self.confinement.filter = Some(seccomp::FilterProfile {
                    observe: *observe,
                    ip_sockets: *ip_sockets,
                });
                Ok(())
            }
            // Done before the steps, and after them.
            Step::LimitMemory { .. } | Step::LimitProcesses { .. } | Step::RestrictPaths { .. } => {
                Ok(())
            }
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
        Err(Errno::EXIST) => open_directory(path.as_path()).map(drop).map_err(failed),
        Err(errno) => Err(failed(errno)),
    }
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
