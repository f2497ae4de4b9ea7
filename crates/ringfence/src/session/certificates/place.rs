//! The files of certificates in the session's private `/tmp`.
//!
//! Invariant: each is made anew under a name that nobody can know before, and never through a link.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ringfence_audit::SessionId;
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;
use ringfence_policy::policy::NetworkPolicy;

use super::{CertificateError, Certificates};

impl Certificates {
    /// The certificates that `policy` needs for a session of `plan`, if it needs any.
    ///
    /// # Errors
    /// [`CertificateError`]; nothing is left then.
    ///
    /// # Security
    /// The directory is the target's to write, of earlier sessions too.
    pub(in super::super) fn make(
        policy: &NetworkPolicy,
        plan: &Plan,
        session: &SessionId,
    ) -> Result<Option<Self>, CertificateError> {
        let locate = || {
            let (directory, seen) = private_directory(plan).ok_or(CertificateError::Place)?;
            make_directories(plan, directory)?;
            let name = format!("ringfence-{session}");
            let inside = format!("{}/{name}", seen.as_path().display());
            Ok((directory.as_path().join(name), inside))
        };
        Self::make_with(policy, locate, write)
    }
}

/// Makes a file that is not there yet.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(content)
}

/// The private directory that commands may write, on the host and as they see it.
fn private_directory(plan: &Plan) -> Option<(&AbsolutePath, &AbsolutePath)> {
    plan.steps.iter().find_map(|step| {
        let Step::MakePrivateDirectory {
            path, mode: 0o1777, ..
        } = step
        else {
            return None;
        };
        let seen = plan.steps.iter().find_map(|step| match step {
            Step::Bind { source, target, .. } if source == path => Some(target),
            _ => None,
        })?;
        Some((path, seen))
    })
}

/// Makes the plan's own directories down to `last` where they do not exist yet, as its runner would a little later.
fn make_directories(plan: &Plan, last: &AbsolutePath) -> Result<(), CertificateError> {
    for step in &plan.steps {
        let Step::MakePrivateDirectory { path, mode, owner } = step else {
            continue;
        };
        if last.as_path().starts_with(path.as_path()) {
            make_directory(path.as_path(), *mode, *owner).map_err(|source| {
                CertificateError::Directory {
                    path: path.clone(),
                    source,
                }
            })?;
        }
    }
    Ok(())
}

fn make_directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let created = DirBuilder::new().mode(mode).create(path);
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(error)?;
            make_directory(parent, 0o700, None)?;
            DirBuilder::new().mode(mode).create(path)?;
        }
        other => other?,
    }
    // mkdir is subject to the mask; the mode is what the plan says.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    match owner {
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}
