//! The calls that only x86-64 has beside their `…at` forms, and its port instructions.

use super::super::table::{Family, Rule};
use super::{CREATES, DEVICES, KIND, OPENS_FOR_WRITING, PERMISSION, PRIVILEGE, READ, WRITE};
use super::{any, calls, masked, rule};

/// Refusals.
pub(super) const RULES: &[Rule] = &[
    rule(Family::Kernel, calls![SYS_iopl SYS_ioperm], &[], PERMISSION),
    rule(
        Family::PrivilegedMode,
        calls![SYS_chmod SYS_creat SYS_mkdir SYS_mknod],
        &[any(1, PRIVILEGE)],
        PERMISSION,
    ),
    rule(
        Family::PrivilegedMode,
        calls![SYS_mknod],
        &[masked(1, KIND, DEVICES)],
        PERMISSION,
    ),
    rule(
        Family::PrivilegedMode,
        calls![SYS_open],
        &[any(1, CREATES), any(2, PRIVILEGE)],
        PERMISSION,
    ),
];

/// What the observer sees.
pub(super) const PATH_RULES: &[Rule] = &[
    rule(
        Family::Path,
        calls![SYS_open],
        &[any(1, OPENS_FOR_WRITING)],
        WRITE,
    ),
    rule(Family::Path, calls![SYS_open], &[], READ),
    rule(
        Family::Path,
        calls![
            SYS_creat SYS_mkdir SYS_mknod SYS_rename SYS_link SYS_symlink SYS_unlink SYS_rmdir
            SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat
        ],
        &[],
        WRITE,
    ),
];
