//! The filters of the Windows Filtering Platform that hold the Offline account, and the firewall rules behind them.
//!
//! Two forms: filters that name the account, and filters that permit everybody else above a block that names nobody.
//! A copy of the account's token in which the account is deny-only, or an anonymous one, may match no filter that names
//! the account; a deny entry still hits a deny-only SID. Which of the two a machine needs is measured on it.
//!
//! Sources: learn.microsoft.com "Filter Arbitration", "Filtering Conditions Available at Each Filtering Layer",
//! `FWP_ACTRL_MATCH_FILTER`, "SID Attributes in an Access Token". Invariant: one person's filters are in a sublayer of
//! their own, and a block in any sublayer wins: nobody's permits open what another person's blocks close.

use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};
use ringfence_policy::document::Loopback;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::windows::facts::{Consent, CopiedToken, Copies, Filtering};
use crate::windows::machine::Subject;
use crate::windows::sids::AccountNames;
use crate::windows::step::{
    AccountRole, Condition, Filter, FilterAction, FirewallRule, Guid, Layer, PortRange, Trustee,
};

/// Our provider, by which all of our filters are found.
pub const PROVIDER: Guid = Guid(0x52e6_9a01_8c3f_4b7d_9a51_7269_6e67_0001);
/// The service that our provider stands on: the filtering engine's own, without which no filter works. The filters of a
/// provider that names no service, or one that is not started with the system, are disabled when the engine starts
/// (learn.microsoft.com `FWPM_PROVIDER0`, `FWPM_FILTER0`).
pub const PROVIDER_SERVICE: &str = "BFE";
/// A sublayer of ours weighs as much as one can: a permit that nobody below may override counts where it is asked first
/// (learn.microsoft.com "Filter Arbitration").
pub const SUBLAYER_WEIGHT: u16 = u16::MAX;
/// Permits beat blocks of the same sublayer.
const PERMIT_WEIGHT: u8 = 15;
const BLOCK_WEIGHT: u8 = 0;
/// `FWP_ACTRL_MATCH_FILTER`: a token matches an `ALE_USER_ID` condition if the descriptor grants it this.
pub const MATCH_FILTER: AccessMask = AccessMask(0x1);
/// Who everybody else is. The tokens of packaged programs are checked for their packages too, and restricted ones for
/// their restricting SIDs if matching counts as writing: those of other people's targets are write-restricted.
const EVERYBODY: [Sid; 4] = [
    Sid::EVERYONE,
    Sid::ALL_APPLICATION_PACKAGES,
    Sid::RESTRICTED,
    Sid::WRITE_RESTRICTED,
];

/// How filters tell the Offline account from everybody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterForm {
    /// Each filter names the account. Nobody else can match.
    #[default]
    Named,
    /// Everybody but the account is permitted, and what is left is blocked. A program of somebody else whose restricted
    /// token knows none of the usual restricting SIDs may be blocked with it.
    Complement,
    /// As [`FilterForm::Complement`], and whoever is anonymous is blocked with it.
    ComplementWithoutAnonymous,
}

impl FilterForm {
    /// The form that a machine needs: the narrowest that nothing is known to escape, and filters that can hit somebody
    /// else only where an administrator has agreed.
    #[must_use]
    pub fn of(filtering: &Filtering) -> Self {
        match (filtering.named, filtering.complement_consent) {
            (_, Consent::Missing) | (None, Consent::Given) => Self::Named,
            (Some(copies), Consent::Given) => match (copies.deny_only, copies.anonymous) {
                (CopiedToken::Matched, CopiedToken::Matched) => Self::Named,
                (CopiedToken::Escapes, CopiedToken::Matched) => Self::Complement,
                (_, CopiedToken::Escapes) => Self::ComplementWithoutAnonymous,
            },
        }
    }

    /// What was seen of copies under filters of this form.
    #[must_use]
    pub const fn measured(self, filtering: &Filtering) -> Option<Copies> {
        match self {
            Self::Named => filtering.named,
            Self::Complement | Self::ComplementWithoutAnonymous => filtering.complement,
        }
    }

    /// The condition of a permit for everybody else; none where filters name the account.
    const fn everybody_else(self) -> Option<Condition> {
        match self {
            Self::Named => None,
            Self::Complement => Some(Condition::NotUser(OFFLINE)),
            Self::ComplementWithoutAnonymous => Some(Condition::NotUserNorAnonymous(OFFLINE)),
        }
    }
}

const OFFLINE: Trustee = Trustee::Account(AccountRole::Offline);

/// The descriptor that a condition on the user is, once trustees are SIDs; none for other conditions.
#[must_use]
pub fn match_descriptor(
    condition: &Condition,
    sid_of: impl Fn(Trustee) -> Sid,
) -> Option<SecurityDescriptor> {
    let allow = |sid| Ace::allow(AceFlags::NONE, MATCH_FILTER, sid);
    let deny = |sid| Ace::deny(AceFlags::NONE, MATCH_FILTER, sid);
    let aces = match *condition {
        Condition::User(user) => vec![allow(sid_of(user))],
        Condition::UserOr(user, other) => vec![allow(sid_of(user)), allow(other)],
        Condition::NotUser(user) => std::iter::once(deny(sid_of(user)))
            .chain(EVERYBODY.map(allow))
            .chain([allow(Sid::ANONYMOUS)])
            .collect(),
        // A machine may count anonymous callers to Everyone: they are denied by name.
        Condition::NotUserNorAnonymous(user) => [deny(sid_of(user)), deny(Sid::ANONYMOUS)]
            .into_iter()
            .chain(EVERYBODY.map(allow))
            .collect(),
        Condition::Loopback
        | Condition::Tcp
        | Condition::RemotePorts(_)
        | Condition::RawEndpoint
        | Condition::Promiscuous => return None,
    };
    // An access check wants an owner and a group; SYSTEM's implicit rights do not hold this one.
    Some(SecurityDescriptor::new(
        Sid::SYSTEM,
        Sid::SYSTEM,
        Acl::new(aces),
    ))
}

/// The filters of the Offline account; the Online account has none: it is used for `network.mode = "open"` alone.
#[must_use]
pub fn filters_of(subject: &Subject) -> Vec<Filter> {
    use Condition::{Loopback as OnLoopback, Promiscuous, RawEndpoint, RemotePorts, Tcp};
    let Subject {
        marker,
        proxy,
        dynamic,
        loopback,
        form,
        ..
    } = *subject;
    let offline = Condition::UserOr(OFFLINE, marker);
    let mut set = FilterSet {
        person: subject.person,
        offline,
        form,
        filters: Vec::new(),
    };
    for layer in [Layer::ConnectV4, Layer::ConnectV6] {
        let proxy = vec![offline, OnLoopback, Tcp, RemotePorts(proxy)];
        set.permit(layer, "to the proxy", proxy);
        match loopback {
            Loopback::Dynamic => {
                let dynamic = vec![offline, OnLoopback, RemotePorts(dynamic)];
                set.permit(layer, "to loopback's dynamic ports", dynamic);
            }
            Loopback::ProxyOnly => {}
        }
        set.block(layer, "to anywhere else", &[]);
    }
    for layer in [Layer::AcceptV4, Layer::AcceptV6] {
        set.permit(layer, "from loopback", vec![offline, OnLoopback]);
        set.block(layer, "from anywhere else", &[]);
    }
    for layer in [Layer::AssignmentV4, Layer::AssignmentV6] {
        set.block(layer, "raw endpoints", &[RawEndpoint]);
        set.block(layer, "promiscuous endpoints", &[Promiscuous]);
    }
    set.filters
}

struct FilterSet {
    person: Sid,
    offline: Condition,
    form: FilterForm,
    filters: Vec<Filter>,
}

impl FilterSet {
    fn permit(&mut self, layer: Layer, purpose: &str, conditions: Vec<Condition>) {
        self.add(layer, purpose, FilterAction::Permit, conditions);
    }

    /// Blocks the account from what meets `rest`, in the form that is asked for.
    fn block(&mut self, layer: Layer, purpose: &str, rest: &[Condition]) {
        let with = |user: Condition| [&[user], rest].concat();
        match self.form.everybody_else() {
            None => self.add(layer, purpose, FilterAction::Block, with(self.offline)),
            Some(others) => {
                let who = format!("{purpose}, for everybody else");
                self.permit(layer, &who, with(others));
                self.add(layer, purpose, FilterAction::Block, rest.to_vec());
            }
        }
    }

    fn add(
        &mut self,
        layer: Layer,
        purpose: &str,
        action: FilterAction,
        conditions: Vec<Condition>,
    ) {
        self.filters.push(Filter {
            key: key(self.person, &format!("{layer:?} {purpose}")),
            name: format!("Ringfence: {purpose}"),
            sublayer: sublayer(self.person),
            layer,
            weight: match action {
                FilterAction::Permit => PERMIT_WEIGHT,
                FilterAction::Block => BLOCK_WEIGHT,
            },
            conditions,
            action,
        });
    }
}

/// The key of a person's sublayer. One for each: in a shared one the permits of a person's complement form would beat
/// the blocks of the others.
#[must_use]
pub fn sublayer(person: Sid) -> Guid {
    key(person, "sublayer")
}

/// A key, the same for the same person and purpose.
fn key(person: Sid, purpose: &str) -> Guid {
    let mut hasher = Sha256::new();
    hasher.update(b"ringfence filter\0");
    hasher.update(format!("{person} {purpose}").as_bytes());
    let id = hasher
        .finalize()
        .iter()
        .take(16)
        .fold(0_u128, |id, byte| (id << 8) | u128::from(*byte));
    // RFC 9562: a name-based identifier of our own making has version 8 and variant 10.
    let version = (id & !(0xf << 76)) | (0x8 << 76);
    Guid((version & !(0x3 << 62)) | (0x2 << 62))
}

/// Addresses that are not loopback, in the firewall's notation. The stack refuses what is neither.
const NOT_LOOPBACK: [&str; 4] = [
    "0.0.0.0-126.255.255.255",
    "128.0.0.0-255.255.255.255",
    "::",
    "::2-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const LOOPBACK: [&str; 2] = ["127.0.0.0-127.255.255.255", "::1"];

/// The second wall: the same ports as the filters, where an administrator can see them.
pub(crate) fn rules(names: &AccountNames, subject: &Subject) -> Vec<FirewallRule> {
    let Subject {
        proxy,
        dynamic,
        loopback,
        ..
    } = *subject;
    let rule = |what: &str, remote_ports, addresses: &[&str]| FirewallRule {
        name: format!("{} {what}", names.offline),
        grouping: "Ringfence".to_owned(),
        user: OFFLINE,
        remote_ports,
        remote_addresses: addresses.iter().map(|&one| one.to_owned()).collect(),
    };
    let open: &[PortRange] = match loopback {
        Loopback::Dynamic => &[proxy, dynamic],
        Loopback::ProxyOnly => &[proxy],
    };
    vec![
        rule("not loopback", Vec::new(), &NOT_LOOPBACK),
        rule("loopback", all_but(open), &LOOPBACK),
    ]
}

/// Every port that is in none of `open`.
fn all_but(open: &[PortRange]) -> Vec<PortRange> {
    let mut open = open.to_vec();
    open.sort_unstable();
    let mut closed = Vec::new();
    let mut next = Some(1_u16);
    for range in open {
        if let Some(first) = next
            && first < range.first
        {
            closed.push(PortRange {
                first,
                last: range.first - 1,
            });
        }
        next = next.and_then(|first| range.last.checked_add(1).map(|above| above.max(first)));
    }
    if let Some(first) = next {
        closed.push(PortRange {
            first,
            last: u16::MAX,
        });
    }
    closed
}
