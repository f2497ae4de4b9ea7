//! Whether a command may name drives for its logon session, which is its runner's too.
//!
//! Invariant: nothing is named; only a refusal beside a look that succeeded is held.

use ringfence_plan::windows::audit::Answer;

use super::super::Finding;
use crate::sys::CallError;
use crate::sys::drives::{Naming, try_naming};

/// `ERROR_ACCESS_DENIED`.
const DENIED: u32 = 5;

pub(super) fn drives() -> Finding {
    judge(try_naming(Naming::Look), try_naming(Naming::Make))
}

fn judge(look: Result<(), CallError>, made: Result<(), CallError>) -> Finding {
    let said = |error: CallError| format!("{error}: {}", error.error);
    if let Err(error) = look {
        return Finding::unknown(said(error));
    }
    let control = "the same directory of names is opened to look";
    match made {
        Ok(()) => {
            let detail = "names may be made, and its runner sees them; that loads nothing by them but what Microsoft has signed";
            Finding::new(Answer::Open, detail, control)
        }
        Err(error) if error.error.0 == DENIED => {
            Finding::new(Answer::Held, "names may not be made: 5", control)
        }
        Err(error) => Finding::unknown(said(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Win32Error;

    #[test]
    fn only_a_refusal_beside_a_look_is_held() {
        let failed = |code| {
            Err(CallError::new(
                "NtOpenDirectoryObject",
                "",
                Win32Error(code),
            ))
        };
        assert_eq!(judge(Ok(()), failed(5)).answer, Answer::Held);
        assert_eq!(judge(Ok(()), failed(2)).answer, Answer::Unknown);
        assert_eq!(judge(failed(5), failed(5)).answer, Answer::Unknown);
        assert_eq!(judge(Ok(()), Ok(())).answer, Answer::Open);
    }

    // enforced-by-wine as far as it has such a directory: nobody is restricted there, and everybody makes names.
    #[test]
    fn who_is_not_restricted_may_make_names() {
        assert_eq!(drives().answer, Answer::Open);
    }
}
