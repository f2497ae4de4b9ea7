//! The case table of Windows.

mod files;
mod life;
mod names;
mod network;
mod processes;

use super::ground::Ground;
use crate::checks::Checks;
use crate::suite::Case;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        files::CASES,
        names::CASES,
        network::CASES,
        processes::CASES,
        life::CASES,
    ]
    .concat()
}

/// What a case does once its controls have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Go on inside.
    Inside,
    /// End here: nothing runs on this machine.
    Nothing,
}

/// Whether there is an inside; where there is none the case is left out, and its controls are all that was seen.
fn next(ground: &Ground, checks: &mut Checks) -> Next {
    match ground.unenforced() {
        None => Next::Inside,
        Some(refusal) => {
            checks.skip(format!("not enforced (status {})", refusal.status));
            Next::Nothing
        }
    }
}
