//! What the sandbox accounts could reach by themselves: computed from real descriptors, never assumed.
//!
//! Asks the normal pass alone, because it is the pass that reads and executes are decided in. The token is the one
//! that the runner has: every well-known group counts, also those that targets have deny-only, so that nothing is
//! missed. Invariant: what is said not to be reachable is not reachable by any token of the accounts.

use ringfence_nt::check::{Pass, maximum_of_pass};
use ringfence_nt::{AccessMask, GenericMapping, SecurityDescriptor, Sid, Token};

use crate::windows::step::AccountSids;

/// `S-1-5-15`: This Organization.
const THIS_ORGANIZATION: (u64, &[u32]) = (5, &[15]);
/// `S-1-5-113`: Local account.
const LOCAL_ACCOUNT: (u64, &[u32]) = (5, &[113]);
/// `S-1-2-1`: CONSOLE LOGON.
const CONSOLE_LOGON: (u64, &[u32]) = (2, &[1]);
/// `S-1-5-64-10`: NTLM Authentication.
const NTLM_AUTHENTICATION: (u64, &[u32]) = (5, &[64, 10]);

/// The groups of every local account that logs on with a password at the machine itself.
///
/// Source: learn.microsoft.com "Special identities groups", "Well-known SIDs".
#[must_use]
pub fn well_known_groups() -> Vec<Sid> {
    let mut groups = vec![
        Sid::EVERYONE,
        Sid::USERS,
        Sid::INTERACTIVE,
        Sid::AUTHENTICATED_USERS,
        Sid::LOCAL,
    ];
    let more = [
        THIS_ORGANIZATION,
        LOCAL_ACCOUNT,
        CONSOLE_LOGON,
        NTLM_AUTHENTICATION,
    ];
    groups.extend(
        more.iter()
            .filter_map(|(authority, parts)| Sid::new(*authority, parts).ok()),
    );
    groups
}

/// The tokens that the two accounts log on with.
#[must_use]
pub fn account_tokens(accounts: &AccountSids) -> [Token; 2] {
    let mut groups = vec![accounts.group];
    groups.extend(well_known_groups());
    [accounts.offline, accounts.online].map(|user| Token::new(user, &groups))
}

/// What a person or one of the accounts may do by themselves.
#[derive(Clone, Debug)]
pub struct Reach {
    accounts: Vec<Token>,
    person: Token,
}

impl Reach {
    /// The reach of a person with these groups, and of their accounts; no accounts reach nothing.
    #[must_use]
    pub fn new(accounts: Option<&AccountSids>, person: Sid, groups: &[Sid]) -> Self {
        Self {
            accounts: accounts.map_or_else(Vec::new, |accounts| account_tokens(accounts).into()),
            person: Token::new(person, groups),
        }
    }

    /// Every right on a file that one of the accounts has; all of them where the descriptor is not known.
    #[must_use]
    pub fn of_accounts(&self, descriptor: Option<&SecurityDescriptor>) -> AccessMask {
        let Some(descriptor) = descriptor else {
            return AccessMask::FILE_ALL_ACCESS;
        };
        self.accounts
            .iter()
            .map(|token| maximum_of_pass(descriptor, token, Pass::Normal, &GenericMapping::FILE))
            .fold(AccessMask::NONE, |all, one| all | one)
    }

    /// Every right on a file that the person has; none where the descriptor is not known.
    #[must_use]
    pub fn of_person(&self, descriptor: Option<&SecurityDescriptor>) -> AccessMask {
        descriptor.map_or(AccessMask::NONE, |descriptor| {
            maximum_of_pass(
                descriptor,
                &self.person,
                Pass::Normal,
                &GenericMapping::FILE,
            )
        })
    }

    /// Whether `sid` counts in the normal pass of an account's token.
    #[must_use]
    pub fn is_carried(&self, sid: Sid) -> bool {
        self.accounts
            .iter()
            .any(|token| token.user == sid || token.groups.iter().any(|group| group.sid == sid))
    }
}
