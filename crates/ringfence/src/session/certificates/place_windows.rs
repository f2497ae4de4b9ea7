//! The files of certificates beside the private homes: sandboxed commands read them, and write nothing there.
//!
//! Invariant: each is made anew, and who may read it stands on it before it has content.

use ringfence_audit::SessionId;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_windows::backend::readable::ReadablePlace;

use super::{CertificateError, Certificates};

impl Certificates {
    /// The certificates that `policy` needs, if it needs any. The private homes stand by now.
    ///
    /// # Errors
    /// [`CertificateError`]; nothing is left then.
    pub(in super::super) fn make(
        policy: &NetworkPolicy,
        place: &ReadablePlace,
        session: &SessionId,
    ) -> Result<Option<Self>, CertificateError> {
        let locate = || {
            let path = place.path(&format!("ringfence-{session}"));
            let inside = path.display().to_string();
            Ok((path, inside))
        };
        Self::make_with(policy, locate, |path, content| {
            place.write_new(path, content)
        })
    }
}
