//! Whether this system enforces anything at all, asked before anything is changed.
//!
//! Each check does a small thing and reads it back, for systems that say yes and do nothing. Invariant: it leaves
//! nothing behind.

use ringfence_backend::windows::{Check, Proof};
use ringfence_nt::{Acl, Sid};

use crate::sys::account;
use crate::sys::firewall::Firewall;
use crate::sys::machine as system;
use crate::sys::token::{AccessToken, RestrictError, RestrictedToken};
use crate::sys::wfp::Engine;

/// What was found out.
pub(super) fn observe() -> Vec<Check> {
    vec![token(), accounts(), filters(), firewall()]
}

/// Whether everything is enforced that was asked about.
pub(super) fn is_enforced(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.proof == Proof::Proven)
}

pub(super) fn check(name: &str, held: Result<String, String>) -> Check {
    let (proof, detail) = match held {
        Ok(detail) => (Proof::Proven, detail),
        Err(detail) => (Proof::Failed, detail),
    };
    Check {
        name: name.to_owned(),
        proof,
        detail,
    }
}

/// A restricted token is restricted.
fn token() -> Check {
    let wanted = RestrictedToken {
        deny_only: vec![Sid::ADMINISTRATORS],
        restricting: vec![Sid::WRITE_RESTRICTED],
        default_dacl: Acl::default(),
    };
    let made = AccessToken::of_this_process()
        .map_err(RestrictError::Call)
        .and_then(|token| token.restrict(&wanted));
    check(
        "restricted-tokens",
        made.map(|_| "a restricted token is restricted when it is read back".to_owned())
            .map_err(|error| error.to_string()),
    )
}

/// The account database knows the group that every machine has.
fn accounts() -> Check {
    let users = system::name_of(Sid::USERS).and_then(|found| {
        let name = found.map(|found| found.name).unwrap_or_default();
        Ok((account::groups()?, name))
    });
    check(
        "accounts",
        match users {
            Ok((groups, name)) if groups.contains(&name) => {
                Ok(format!("the account database knows the group {name}"))
            }
            Ok((_, name)) => Err(format!(
                "the account database does not know its own group {name}"
            )),
            Err(error) => Err(format!("{error} ({})", error.error)),
        },
    )
}

fn filters() -> Check {
    check(
        "network-filters",
        Engine::open()
            .and_then(|engine| engine.keys())
            .map(|_| "the filtering platform answers".to_owned())
            .map_err(|error| format!("there is no filtering platform: {error} ({})", error.error)),
    )
}

fn firewall() -> Check {
    use ringfence_plan::windows::facts::FirewallPolicy;
    check(
        "firewall",
        match Firewall::open().and_then(|firewall| firewall.state()) {
            Ok(FirewallPolicy::LocalRules | FirewallPolicy::InboundBlocked) => {
                Ok("rules of this machine take effect".to_owned())
            }
            Ok(FirewallPolicy::GroupPolicy) => {
                Err("group policy overrides this machine's own rules".to_owned())
            }
            Err(error) => Err(format!("{error} ({})", error.error)),
        },
    )
}
