//! Landlock: from the plan's ruleset to a restriction of the calling thread.
//!
//! The planner has chosen the rights, for the ABI that this kernel has; nothing is chosen or left out here.
//! Invariant: what is enforced is exactly what was asked, or an error says what was not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use landlock::{
    AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset as Kernel, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use ringfence_backend::causes::chain;
use ringfence_plan::linux::landlock::{Rights, Rule, Ruleset, Scopes};
use ringfence_policy::AbsolutePath;
use rustix::fs::OFlags;

use crate::open::open_without_links;

#[cfg(test)]
mod tests;

/// Why a ruleset can't be made or enforced.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The ruleset was made for a newer kernel than this one.
    #[error(
        "the ruleset needs Landlock ABI {wanted}, this kernel has {kernel}; plan again on this machine"
    )]
    Abi {
        /// The ABI that the ruleset was made for.
        wanted: u32,
        /// The kernel's.
        kernel: u32,
    },
    /// It handles nothing, so it would refuse nothing.
    #[error(
        "the Landlock ruleset handles no right and closes no scope, so it would refuse nothing"
    )]
    Empty,
    /// It holds rights or scopes that are unknown here.
    #[error("{object} has Landlock bits that are unknown: {bits:#x}")]
    UnknownBits {
        /// What has them.
        object: String,
        /// All its bits.
        bits: u64,
    },
    /// A rule's path could not be opened, or a symbolic link leads to it: rules name resolved paths.
    #[error("{path}, which a Landlock rule names, could not be opened without following links")]
    Open {
        /// The path.
        path: AbsolutePath,
        /// The system's error; `ELOOP` for a symbolic link.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the ruleset.
    #[error("landlock_create_ruleset failed for ABI {abi}")]
    Create {
        /// The ABI it was made for.
        abi: u32,
        /// The cause.
        #[source]
        source: RulesetError,
    },
    /// The kernel refused a rule.
    #[error("landlock_add_rule failed for {path}")]
    AddRule {
        /// The rule's path.
        path: AbsolutePath,
        /// The cause.
        #[source]
        source: RulesetError,
    },
    /// The ruleset's descriptor could not be duplicated.
    #[error("the descriptor of the Landlock ruleset could not be duplicated")]
    Duplicate {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to restrict the thread.
    #[error("landlock_restrict_self failed")]
    Restrict {
        /// The cause.
        #[source]
        source: RulesetError,
    },
    /// The kernel enforces less than was asked.
    #[error("Landlock enforces less than was asked: {status}")]
    Weaker {
        /// What it says of itself.
        status: String,
    },
}

impl LandlockError {
    /// The system's error number, for messages that cross a process; `EINVAL` where no call failed.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let source = match self {
            Self::Open { source, .. } | Self::Duplicate { source } => source.raw_os_error(),
            Self::Create { source, .. }
            | Self::AddRule { source, .. }
            | Self::Restrict { source } => errno_of(source),
            Self::Abi { .. } | Self::Empty | Self::UnknownBits { .. } | Self::Weaker { .. } => None,
        };
        source.unwrap_or(libc::EINVAL)
    }
}

/// The first system error in the chain below `error`.
fn errno_of(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let cause = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    cause?.raw_os_error()
}

/// What the kernel enforces on the thread from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Enforced {
    /// The ABI that the ruleset was made for.
    pub abi: u32,
    /// The rights that are refused unless a rule allows them.
    pub handled: Rights,
    /// The scopes that are closed.
    pub scoped: Scopes,
    /// How many rules allow something.
    pub rules: usize,
}

/// A ruleset that the kernel has taken, with every path opened: ready to restrict a thread.
#[derive(Debug)]
pub struct Prepared {
    ruleset: RulesetCreated,
    enforced: Enforced,
}

impl Prepared {
    /// Opens every path in the caller's view of the file system and hands the rules to the kernel.
    ///
    /// # Errors
    /// [`LandlockError`] naming the rule or the right; nothing is restricted then. A path that is gone is no error: the
    /// plan at the partial level names what stands beside a protected name, and other programs come and go there.
    ///
    /// # Security
    /// Paths below a writable root are an attacker's: none is followed through a symbolic link, so that a name
    /// exchanged for a link since the plan was made is an error, never a grant somewhere else.
    pub fn new(ruleset: &Ruleset) -> Result<Self, LandlockError> {
        let kernel = probe_abi();
        if ruleset.abi > kernel {
            return Err(LandlockError::Abi {
                wanted: ruleset.abi,
                kernel,
            });
        }
        let mut created = create(ruleset)?;
        let mut rules = 0;
        for rule in &ruleset.rules {
            let allowed = rights(rule.allowed, || format!("the rule for {}", rule.path))?;
            let descriptor = match open(rule) {
                Ok(descriptor) => descriptor,
                // Removed since it was seen: without its rule nothing is allowed there, whatever is made next.
                Err(LandlockError::Open { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            rules += 1;
            created = created
                .add_rule(PathBeneath::new(descriptor.as_fd(), allowed))
                .map_err(|source| LandlockError::AddRule {
                    path: rule.path.clone(),
                    source,
                })?;
        }
        Ok(Self {
            ruleset: created,
            enforced: Enforced {
                abi: ruleset.abi,
                handled: ruleset.handled,
                scoped: ruleset.scoped,
                rules,
            },
        })
    }

    /// Restricts the calling thread, and what it starts from now on. Sets `no_new_privs` on it too, which the kernel
    /// asks for.
    ///
    /// # Errors
    /// [`LandlockError::Restrict`], or [`LandlockError::Weaker`] when the kernel enforces less than was asked: the
    /// thread must then run nothing.
    pub fn restrict_current_thread(&self) -> Result<Enforced, LandlockError> {
        let status = self
            .ruleset
            .try_clone()
            .map_err(|source| LandlockError::Duplicate { source })?
            .restrict_self()
            .map_err(|source| LandlockError::Restrict { source })?;
        if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
            return Err(LandlockError::Weaker {
                status: format!("{status:?}"),
            });
        }
        Ok(self.enforced)
    }
}

fn create(ruleset: &Ruleset) -> Result<RulesetCreated, LandlockError> {
    let failed = |source| LandlockError::Create {
        abi: ruleset.abi,
        source,
    };
    let handled = rights(ruleset.handled, || "the ruleset".to_owned())?;
    let scoped =
        BitFlags::<Scope>::from_bits(ruleset.scoped.0).map_err(|_| LandlockError::UnknownBits {
            object: "the ruleset's scope".to_owned(),
            bits: ruleset.scoped.0,
        })?;
    if handled.is_empty() && scoped.is_empty() {
        return Err(LandlockError::Empty);
    }
    let mut kernel = Kernel::default().set_compatibility(CompatLevel::HardRequirement);
    if !handled.is_empty() {
        kernel = kernel.handle_access(handled).map_err(failed)?;
    }
    if !scoped.is_empty() {
        kernel = kernel.scope(scoped).map_err(failed)?;
    }
    kernel.create().map_err(failed)
}

fn rights(
    rights: Rights,
    object: impl FnOnce() -> String,
) -> Result<BitFlags<AccessFs>, LandlockError> {
    BitFlags::from_bits(rights.0).map_err(|_| LandlockError::UnknownBits {
        object: object(),
        bits: rights.0,
    })
}

fn open(rule: &Rule) -> Result<OwnedFd, LandlockError> {
    open_without_links(rustix::fs::CWD, rule.path.as_path(), OFlags::PATH).map_err(|error| {
        LandlockError::Open {
            path: rule.path.clone(),
            source: error.into(),
        }
    })
}

/// The highest Landlock ABI that the kernel offers; 0 where it has none or has it switched off.
#[must_use]
pub fn probe_abi() -> u32 {
    version()
}

mod uapi {
    #![expect(
        unsafe_code,
        reason = "the Landlock crate reports an ABI only as far as it knows it"
    )]
    //! The one Landlock call that is made directly.

    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: libc::c_uint = 1;

    pub(super) fn version() -> u32 {
        // SAFETY: with no attributes, size 0 and the version flag, landlock_create_ruleset(2) reads no memory.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::null::<libc::c_void>(),
                0_usize,
                VERSION,
            )
        };
        u32::try_from(result).unwrap_or(0)
    }
}
use uapi::version;
