//! What set-up does to the machine for one person: accounts, record, filters, rules, ports.
//!
//! The same for every policy but for `loopback`: a policy never needs elevation. Invariant: each step is made from a
//! [`Subject`] alone.

use ringfence_nt::{AccessMask, AceFlags, AceKind, SecurityDescriptor, Sid};
use serde::{Deserialize, Serialize};

use ringfence_policy::document::Loopback;

use crate::windows::descriptors::{EXECUTE, PASS, PROTECT};
use crate::windows::error::{PlanError, below};
use crate::windows::facts::{FirewallPolicy, Marker, PlaceName, WindowsFacts};
use crate::windows::filters::{FilterForm, filters_of, rules};
use crate::windows::path::WindowsPath;
use crate::windows::plan::digest;
use crate::windows::sids::{self, AccountNames};
use crate::windows::step::{
    AccountRole, AccountSids, AceTemplate, DescriptorTemplate, LogonRight, MachineStep, PortRange,
    RegistryValue, Trustee,
};

/// How many ports are reserved for the proxy: one per session that is alive at once.
pub const PROXY_PORTS: u16 = 32;
/// The administrator's policy file, in our own directory of the machine: set-up neither makes nor removes it.
pub const POLICY_FILE: &str = "policy.toml";
/// The first port that is looked at.
const FIRST_PROXY_PORT: u16 = 20_000;
/// `SOFTWARE\…\Winlogon\SpecialAccounts\UserList`: accounts that the sign-in screen does not show.
pub const HIDDEN_ACCOUNTS: &str =
    r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\SpecialAccounts\UserList";

/// The directories below `%ProgramData%\Ringfence` of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineDirectories {
    /// `%ProgramData%\Ringfence`
    pub top: WindowsPath,
    /// Where all records are.
    pub records: WindowsPath,
    /// This person's record.
    pub record: WindowsPath,
    /// Where the sealed passwords of the Offline and the Online user are.
    pub passwords: [WindowsPath; 2],
    /// Where all private homes are.
    pub homes: WindowsPath,
    /// This person's private homes.
    pub home: WindowsPath,
    /// The machine's ledger, which makes [`MachineDirectories::top`] and goes with it.
    pub ledger: WindowsPath,
    /// What set-up has done for this person, as a later program reads it.
    pub state: WindowsPath,
    /// The marker, which is written last and names what is in [`MachineDirectories::state`].
    pub marker: WindowsPath,
}

impl MachineDirectories {
    /// The directories for the person of `facts`.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] without a `ProgramData`.
    pub fn of(facts: &WindowsFacts) -> Result<Self, PlanError> {
        Self::below(program_data(facts)?, facts.person.sid)
    }

    /// The directories for `person` below `%ProgramData%`.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] for a path that nothing can be put below.
    pub fn below(program_data: &WindowsPath, person: Sid) -> Result<Self, PlanError> {
        let letters = sids::letters(person);
        let top = below(program_data, "Ringfence")?;
        let records = below(&top, "Records")?;
        let homes = below(&top, "Homes")?;
        let record = below(&records, &letters)?;
        Ok(Self {
            passwords: [below(&record, "offline")?, below(&record, "online")?],
            state: below(&record, "state.json")?,
            marker: below(&record, "complete")?,
            record,
            home: below(&homes, &letters)?,
            ledger: below(&top, "machine.ledger")?,
            top,
            records,
            homes,
        })
    }
}

impl MachineDirectories {
    /// The descriptor of [`MachineDirectories::top`]: it names nobody who is still to be made.
    #[must_use]
    pub fn top_descriptor() -> SecurityDescriptor {
        let nobody = AccountSids {
            offline: Sid::NULL,
            online: Sid::NULL,
            group: Sid::NULL,
        };
        passage().resolve(&nobody)
    }
}

fn program_data(facts: &WindowsFacts) -> Result<&WindowsPath, PlanError> {
    let mut places = facts.places(PlaceName::ProgramData);
    let place = places.next().ok_or_else(|| PlanError::FactsMismatch {
        what: "ProgramData".to_owned(),
    })?;
    Ok(&place.path)
}

/// All that the machine's steps of one person are made from: what set-up is asked for, and what the person consents to
/// by its hash. Set-up makes the steps from it anew, so that no request can name anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// For whom.
    pub person: Sid,
    /// Their account's name, for an administrator to read.
    pub name: String,
    /// `%ProgramData%`
    pub program_data: WindowsPath,
    /// The marker SID of their targets.
    pub marker: Sid,
    /// The ports of the proxy.
    pub proxy: PortRange,
    /// The ports that the system gives out by itself.
    pub dynamic: PortRange,
    /// What of loopback is open.
    pub loopback: Loopback,
    /// How filters tell the Offline account from everybody else.
    #[serde(default)]
    pub form: FilterForm,
}

impl Subject {
    /// What set-up is asked for on this host.
    ///
    /// # Errors
    /// [`PlanError`]: the firewall is governed by policy, no ports are free, an account of our name is somebody else's.
    pub fn of(facts: &WindowsFacts, marker: Sid, loopback: Loopback) -> Result<Self, PlanError> {
        if facts.firewall == FirewallPolicy::GroupPolicy {
            return Err(PlanError::FirewallOverridden);
        }
        let names = AccountNames::of(facts.person.sid);
        let foreign =
            facts.installed.others.iter().find(|account| {
                [&names.offline, &names.online, &names.group].contains(&&account.name)
            });
        if let Some(account) = foreign {
            return Err(PlanError::ForeignAccount {
                name: account.name.clone(),
            });
        }
        Ok(Self {
            person: facts.person.sid,
            name: facts.person.name.clone(),
            program_data: program_data(facts)?.clone(),
            marker,
            proxy: proxy_ports(facts)?,
            dynamic: facts.ports.dynamic,
            loopback,
            form: FilterForm::of(&facts.filtering),
        })
    }

    /// Every step, in order, done or not.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] for a `%ProgramData%` that nothing can be put below.
    pub fn steps(&self) -> Result<Vec<MachineStep>, PlanError> {
        let names = AccountNames::of(self.person);
        let directories = MachineDirectories::below(&self.program_data, self.person)?;
        let mut steps = accounts(self, &names, &directories);
        steps.push(MachineStep::ReservePorts { ports: self.proxy });
        steps.push(MachineStep::InstallFilters {
            filters: filters_of(self),
        });
        for rule in rules(&names, self) {
            steps.push(MachineStep::AddFirewallRule { rule });
        }
        Ok(steps)
    }

    /// The hash of all steps: what the person consents to, and what the machine's record names.
    ///
    /// # Errors
    /// As [`Subject::steps`].
    pub fn hash(&self) -> Result<String, PlanError> {
        Ok(digest(&self.steps()?))
    }
}

/// The registry key, below `HKEY_LOCAL_MACHINE`, with the entropy that a person's passwords are sealed with.
#[must_use]
pub fn entropy_key(person: Sid) -> String {
    format!(r"{OWN_KEY}\{}", sids::letters(person))
}

/// Our own key below `HKEY_LOCAL_MACHINE`.
pub const OWN_KEY: &str = r"SOFTWARE\Ringfence";
/// The value of [`entropy_key`] that holds it.
pub const ENTROPY: &str = "Entropy";

/// Whether set-up may set a value of this key: one of our own, or of the list of accounts that are not shown.
#[must_use]
pub fn is_own_key(key: &str) -> bool {
    let below = key.strip_prefix(OWN_KEY);
    key == HIDDEN_ACCOUNTS || below.is_some_and(|rest| rest.starts_with('\\'))
}

/// All machine steps of a person, and what of them has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// What has to be done: all of it, or nothing.
    pub(crate) steps: Vec<MachineStep>,
    /// The hash of all of it.
    pub(crate) hash: String,
}

/// Plans the machine's part.
///
/// # Errors
/// [`PlanError`]: the firewall is governed by policy, no ports are free, an account of our name is somebody else's.
pub(crate) fn plan(
    facts: &WindowsFacts,
    marker: Sid,
    loopback: Loopback,
) -> Result<Machine, PlanError> {
    let subject = Subject::of(facts, marker, loopback)?;
    let steps = subject.steps()?;
    let hash = digest(&steps);
    let done = facts.accounts().is_some()
        && facts.installed.record.as_ref().is_some_and(|record| {
            record.machine_hash == hash
                && record.marker == Marker::Present
                && record.person == facts.person.sid
        });
    Ok(Machine {
        steps: if done { Vec::new() } else { steps },
        hash,
    })
}

/// The reserved ports, or the first free ones below the dynamic range.
pub(crate) fn proxy_ports(facts: &WindowsFacts) -> Result<PortRange, PlanError> {
    if let Some(record) = &facts.installed.record
        && record.person == facts.person.sid
    {
        return Ok(record.proxy_ports);
    }
    let range = |first: u16| PortRange {
        first,
        last: first.saturating_add(PROXY_PORTS - 1),
    };
    let is_free = |range: &PortRange| {
        let meets = |other: PortRange| range.first <= other.last && other.first <= range.last;
        !meets(facts.ports.dynamic) && !facts.ports.excluded.iter().any(|one| meets(one.range))
    };
    (FIRST_PROXY_PORT..=u16::MAX - PROXY_PORTS)
        .step_by(usize::from(PROXY_PORTS))
        .map(range)
        .find(is_free)
        .ok_or(PlanError::NoPorts { count: PROXY_PORTS })
}

fn accounts(
    subject: &Subject,
    names: &AccountNames,
    directories: &MachineDirectories,
) -> Vec<MachineStep> {
    let Subject { person, marker, .. } = *subject;
    let owner = format!("Ringfence sandbox of {}", subject.name);
    let mut steps = vec![MachineStep::EnsureGroup {
        name: names.group.clone(),
        comment: owner.clone(),
    }];
    steps.extend(self::directories(directories, person));
    // Before the accounts: their passwords are sealed with it.
    steps.push(MachineStep::SetValue {
        key: entropy_key(person),
        name: ENTROPY.to_owned(),
        value: RegistryValue::Random(32),
        descriptor: Some(record(person, KEY_ALL, KEY_READ)),
    });
    for (role, name, password) in [
        (
            AccountRole::Offline,
            &names.offline,
            &directories.passwords[0],
        ),
        (
            AccountRole::Online,
            &names.online,
            &directories.passwords[1],
        ),
    ] {
        steps.push(MachineStep::EnsureAccount {
            name: name.clone(),
            role,
            comment: owner.clone(),
            record: password.clone(),
            marker,
        });
        steps.push(MachineStep::DenyLogon {
            role,
            rights: vec![
                LogonRight::DenyNetwork,
                LogonRight::DenyRemoteInteractive,
                LogonRight::DenyBatch,
                LogonRight::DenyService,
            ],
        });
        steps.push(MachineStep::SetValue {
            key: HIDDEN_ACCOUNTS.to_owned(),
            name: name.clone(),
            value: RegistryValue::Dword(0),
            descriptor: None,
        });
    }
    steps
}

/// `KEY_ALL_ACCESS`.
const KEY_ALL: AccessMask = AccessMask(0x000f_003f);
/// Every right that changes a key: `0xd0026`.
const KEY_WRITES: AccessMask = AccessMask(0x000d_0026);
/// `KEY_CREATE_LINK`.
const KEY_CREATE_LINK: AccessMask = AccessMask(0x20);
/// `KEY_READ`.
const KEY_READ: AccessMask = AccessMask(0x0002_0019);
const FILE_ALL: AccessMask = AccessMask::FILE_ALL_ACCESS;

/// The entries that set-up adds to an account's profile, so that nothing in it carries state from one workspace to the
/// next. The marker may not write: it stands in the second pass of targets and of no runner. What the second pass may
/// not cover, `FILE_DELETE_CHILD`, is denied to the group. And the owner may not rewrite lists: the account's SID stands
/// in its targets' second pass too, so that a target that owns a file would take the others away.
#[must_use]
pub fn profile_entries(marker: Sid) -> Vec<AceTemplate> {
    let below = AceFlags::INHERIT_ALL;
    vec![
        deny(below, PROTECT, Trustee::Sid(marker)),
        deny(below, AccessMask::FILE_DELETE_CHILD, Trustee::Group),
        allow(
            below,
            AccessMask::READ_CONTROL,
            Trustee::Sid(Sid::OWNER_RIGHTS),
        ),
    ]
}

/// The same for the account's registry hive: `KEY_SET_VALUE`, `KEY_CREATE_SUB_KEY`, `KEY_CREATE_LINK`, DELETE,
/// `WRITE_DAC`, `WRITE_OWNER` are denied (learn.microsoft.com "Registry Key Security and Access Rights"); what the
/// second pass may not cover is `KEY_CREATE_LINK`.
#[must_use]
pub fn hive_entries(marker: Sid) -> Vec<AceTemplate> {
    let below = AceFlags::CONTAINER_INHERIT;
    vec![
        deny(below, KEY_WRITES, Trustee::Sid(marker)),
        deny(below, KEY_CREATE_LINK, Trustee::Group),
        allow(
            below,
            AccessMask::READ_CONTROL,
            Trustee::Sid(Sid::OWNER_RIGHTS),
        ),
    ]
}

/// What lets everybody through to what lies below.
fn passage() -> DescriptorTemplate {
    template(vec![
        allow(AceFlags::INHERIT_ALL, FILE_ALL, Trustee::Sid(Sid::SYSTEM)),
        allow(
            AceFlags::INHERIT_ALL,
            FILE_ALL,
            Trustee::Sid(Sid::ADMINISTRATORS),
        ),
        allow(AceFlags::NONE, PASS, Trustee::Sid(Sid::USERS)),
    ])
}

fn directories(paths: &MachineDirectories, person: Sid) -> Vec<MachineStep> {
    let homes = template(vec![
        allow(AceFlags::INHERIT_ALL, FILE_ALL, Trustee::Sid(Sid::SYSTEM)),
        allow(
            AceFlags::INHERIT_ALL,
            FILE_ALL,
            Trustee::Sid(Sid::ADMINISTRATORS),
        ),
        allow(AceFlags::INHERIT_ALL, FILE_ALL, Trustee::Sid(person)),
        allow(AceFlags::NONE, PASS, Trustee::Group),
    ]);
    [
        (&paths.top, passage()),
        (&paths.records, passage()),
        (&paths.record, record(person, FILE_ALL, EXECUTE)),
        (&paths.homes, passage()),
        (&paths.home, homes),
    ]
    .into_iter()
    .map(|(path, descriptor)| MachineStep::MakeDirectory {
        path: path.clone(),
        descriptor,
    })
    .collect()
}

/// SYSTEM and Administrators write, the person reads, the group is denied, nobody else is named.
fn record(person: Sid, all: AccessMask, read: AccessMask) -> DescriptorTemplate {
    template(vec![
        deny(AceFlags::INHERIT_ALL, all, Trustee::Group),
        allow(AceFlags::INHERIT_ALL, all, Trustee::Sid(Sid::SYSTEM)),
        allow(
            AceFlags::INHERIT_ALL,
            all,
            Trustee::Sid(Sid::ADMINISTRATORS),
        ),
        allow(AceFlags::INHERIT_ALL, read, Trustee::Sid(person)),
    ])
}

const fn allow(flags: AceFlags, mask: AccessMask, trustee: Trustee) -> AceTemplate {
    AceTemplate {
        kind: AceKind::Allow,
        flags,
        mask,
        trustee,
    }
}

const fn deny(flags: AceFlags, mask: AccessMask, trustee: Trustee) -> AceTemplate {
    AceTemplate {
        kind: AceKind::Deny,
        flags,
        mask,
        trustee,
    }
}

const fn template(aces: Vec<AceTemplate>) -> DescriptorTemplate {
    DescriptorTemplate {
        owner: Sid::SYSTEM,
        aces,
    }
}
