//! The Windows Filtering Platform as far as plans use it: which filters a connection meets, and who wins.
//!
//! Sources: learn.microsoft.com "Filter Arbitration" (within a sublayer the first match by weight decides; every sublayer
//! is asked; a block beats a permit), "Filtering Conditions Available at Each Filtering Layer". `[unsettled]` whose token
//! the platform asks when a thread impersonates, and whether the right to match counts as writing in a second pass:
//! both are parameters. Invariant: what no filter matches is permitted.

use std::collections::BTreeMap;

use ringfence_nt::{AccessMask, GenericMapping, Token, WriteClass, access_check};
use ringfence_plan::windows::filters::{MATCH_FILTER, match_descriptor};
use ringfence_plan::windows::step::{
    AccountSids, Condition, Filter, FilterAction, Guid, Layer, PortRange,
};

/// Where a connection leads or comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This machine, by a loopback address.
    Loopback,
    /// Anywhere else.
    Elsewhere,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP and whatever has ports.
    Udp,
}

/// What kind of endpoint is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// One of a protocol.
    Ordinary,
    /// A raw one.
    Raw,
    /// One that receives what is sent to others.
    Promiscuous,
}

/// One attempt, as a layer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which layer is asked.
    pub layer: Layer,
    /// The other end.
    pub peer: Peer,
    /// The protocol.
    pub protocol: Protocol,
    /// The remote port.
    pub port: u16,
    /// The local endpoint.
    pub endpoint: Endpoint,
}

/// Whether the right to match a filter counts as writing for the second pass of a write-restricted token. `[unsettled]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchRight {
    /// It does: both passes are asked.
    Write,
    /// It does not: the first pass decides.
    Read,
}

impl MatchRight {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Write, Self::Read];

    const fn mapping(self) -> GenericMapping {
        let (read, write) = match self {
            Self::Write => (AccessMask::NONE, MATCH_FILTER),
            Self::Read => (MATCH_FILTER, AccessMask::NONE),
        };
        GenericMapping {
            read,
            write,
            execute: AccessMask::NONE,
            all: MATCH_FILTER,
        }
    }
}

/// What is not settled of the platform, chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypothesis {
    /// What the second pass covers.
    pub class: WriteClass,
    /// Whether matching is among it.
    pub right: MatchRight,
}

impl Hypothesis {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        WriteClass::ALL.into_iter().flat_map(|class| {
            let of = move |right| Self { class, right };
            MatchRight::ALL.map(of)
        })
    }
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes through.
    Permitted,
    /// It is refused.
    Blocked,
}

/// One person's filters, with their accounts.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Whom the filters name.
    pub accounts: AccountSids,
    /// All of them.
    pub filters: Vec<Filter>,
}

/// What the platform says to an attempt of `token`.
#[must_use]
pub fn verdict(
    installed: &[Installed],
    token: &Token,
    attempt: Attempt,
    hypothesis: Hypothesis,
) -> Verdict {
    // By sublayer the match of the highest weight; of equal weights the first, which is no worse than the platform's.
    let mut decided: BTreeMap<Guid, &Filter> = BTreeMap::new();
    for own in installed {
        for filter in &own.filters {
            if !matches(filter, &own.accounts, token, attempt, hypothesis) {
                continue;
            }
            let best = decided.entry(filter.sublayer).or_insert(filter);
            if filter.weight > best.weight {
                *best = filter;
            }
        }
    }
    let is_block = |filter: &&Filter| filter.action == FilterAction::Block;
    if decided.values().any(is_block) {
        Verdict::Blocked
    } else {
        Verdict::Permitted
    }
}

fn matches(
    filter: &Filter,
    accounts: &AccountSids,
    token: &Token,
    attempt: Attempt,
    hypothesis: Hypothesis,
) -> bool {
    filter.layer == attempt.layer
        && filter.conditions.iter().all(|condition| match condition {
            Condition::User(_)
            | Condition::UserOr(..)
            | Condition::NotUser(_)
            | Condition::NotUserNorAnonymous(_) => is_user(condition, accounts, token, hypothesis),
            Condition::Loopback => attempt.peer == Peer::Loopback,
            Condition::Tcp => attempt.protocol == Protocol::Tcp,
            Condition::RemotePorts(PortRange { first, last }) => {
                (*first..=*last).contains(&attempt.port)
            }
            Condition::RawEndpoint => attempt.endpoint == Endpoint::Raw,
            Condition::Promiscuous => attempt.endpoint == Endpoint::Promiscuous,
        })
}

fn is_user(
    condition: &Condition,
    accounts: &AccountSids,
    token: &Token,
    hypothesis: Hypothesis,
) -> bool {
    let Some(descriptor) = match_descriptor(condition, |trustee| accounts.resolve(trustee)) else {
        return false;
    };
    let mapping = hypothesis.right.mapping();
    access_check(&descriptor, token, MATCH_FILTER, &mapping, hypothesis.class).is_granted()
}
