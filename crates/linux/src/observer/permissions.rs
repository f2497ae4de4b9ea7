//! Whether a call would have passed the object's own permissions, without any boundary.
//!
//! Computed from mode bits and ids, because the reader's own rights are not the target's. Access control lists and
//! other security modules are not read. Invariant: only a report depends on the answer.

use std::path::Path;

use ringfence_policy::decision::OwnPermissions;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::call::Effect;

/// The id that a user namespace shows for all it does not map.
const OVERFLOW: u32 = 65534;

/// Who a thread is, for file access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    user: u32,
    groups: Vec<u32>,
}

/// What is known of a name that a call was refused on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// The call would have been tried; its permissions say this.
    Possible(OwnPermissions),
    /// It fails whatever the permissions are: the name is missing, or there already.
    Impossible,
}

impl Credentials {
    /// Reads them from `/proc/THREAD/status`; `None` when the thread is gone.
    pub(super) fn observe(thread: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
        let numbers = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            Some(
                line.split_ascii_whitespace()
                    .filter_map(|number| number.parse().ok()),
            )
        };
        // Real, effective, saved, file system: the last one counts for files.
        let user = numbers("Uid:")?.nth(3)?;
        let mut groups: Vec<u32> = numbers("Groups:")?.collect();
        groups.push(numbers("Gid:")?.nth(3)?);
        groups.retain(|group| *group != OVERFLOW);
        Some(Self { user, groups })
    }

    fn may(&self, stat: &Stat, wanted: u32) -> bool {
        if self.user == 0 {
            return true;
        }
        let bits = if stat.st_uid == self.user {
            stat.st_mode >> 6
        } else if self.groups.contains(&stat.st_gid) {
            stat.st_mode >> 3
        } else {
            stat.st_mode
        };
        bits & wanted == wanted
    }

    fn owns(&self, stat: &Stat) -> bool {
        self.user == 0 || stat.st_uid == self.user
    }
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

/// Judges `effect` on `path`, which holds no links but perhaps its last name.
pub(super) fn prospect(credentials: &Credentials, path: &Path, effect: Effect) -> Prospect {
    let Some(Ok(directory)) = path.parent().map(rustix::fs::lstat) else {
        return Prospect::Impossible;
    };
    let object = rustix::fs::lstat(path);
    let enter = credentials.may(&directory, SEARCH);
    let change_names = credentials.may(&directory, WRITE | SEARCH);
    let allowed = match (effect, &object) {
        (Effect::Create | Effect::CreateOrChange, Err(Errno::NOENT)) => change_names,
        // There already; or missing, or no name that a file can have.
        (Effect::Create, Ok(_)) | (_, Err(_)) => return Prospect::Impossible,
        // Never asked: the new name decides.
        (Effect::Name, Ok(_)) => enter,
        (Effect::Remove, Ok(object)) => {
            let sticky = directory.st_mode & 0o1000 != 0;
            change_names && (!sticky || credentials.owns(object) || credentials.owns(&directory))
        }
        (Effect::CreateOrChange | Effect::Change, Ok(object)) => {
            enter && credentials.may(object, WRITE)
        }
        (Effect::ChangeAttributes, Ok(object)) => enter && credentials.owns(object),
        (Effect::Read, Ok(object)) => enter && credentials.may(object, READ),
        (Effect::Execute, Ok(object)) => enter && credentials.may(object, SEARCH),
    };
    Prospect::Possible(if allowed {
        OwnPermissions::Allow
    } else {
        OwnPermissions::Refuse
    })
}
