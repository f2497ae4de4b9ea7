//! A machine, and the steps of one person's set-up as the planner orders them.

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Acl, SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::sids::{SidSecret, SidShape};
use ringfence_plan::windows::step::{
    AccountRole, AceTemplate, Condition, DescriptorTemplate, Filter, FilterAction, FirewallRule,
    Guid, Layer, LogonRight, MachineStep, PortRange, RegistryValue, Trustee,
};

use crate::fault::Faults;
use crate::ledger::{Ledger, MemoryStore};
use crate::windows::fake::{FakeMachine, World};
use crate::windows::{Applied, MachineBook, Removed, Setup, SetupError, StoredValue};

pub(super) const HIDDEN: &str =
    "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Winlogon\\SpecialAccounts\\UserList";

pub(super) fn path(text: &str) -> WindowsPath {
    WindowsPath::parse(text).unwrap()
}

pub(super) fn machine_sid() -> Sid {
    Sid::new(5, &[21, 1, 2, 3]).unwrap()
}

/// A local person.
pub(super) fn ada() -> Sid {
    machine_sid().child(500).unwrap()
}

/// A person of a domain.
pub(super) fn bob() -> Sid {
    Sid::new(5, &[21, 7, 8, 9, 1104]).unwrap()
}

fn letter(person: Sid) -> char {
    if person == ada() { 'A' } else { 'B' }
}

pub(super) fn plain(sid: Sid) -> SecurityDescriptor {
    let full = Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, sid);
    SecurityDescriptor::new(sid, sid, Acl::new(vec![full]))
}

fn entry(kind: AceKind, mask: AccessMask, trustee: Trustee) -> AceTemplate {
    AceTemplate {
        kind,
        flags: AceFlags::INHERIT_ALL,
        mask,
        trustee,
    }
}

fn guarded(more: &[AceTemplate]) -> DescriptorTemplate {
    let all = AccessMask::FILE_ALL_ACCESS;
    let mut aces = more.to_vec();
    aces.push(entry(AceKind::Allow, all, Trustee::Sid(Sid::SYSTEM)));
    aces.push(entry(
        AceKind::Allow,
        all,
        Trustee::Sid(Sid::ADMINISTRATORS),
    ));
    DescriptorTemplate {
        owner: Sid::SYSTEM,
        aces,
    }
}

fn account(person: Sid, role: AccountRole) -> MachineStep {
    let letter = letter(person);
    let (word, file) = match role {
        AccountRole::Offline => ("Off", "offline"),
        AccountRole::Online => ("On", "online"),
    };
    MachineStep::EnsureAccount {
        name: format!("Ringfence{word}-{letter}"),
        role,
        comment: format!("runs commands of {person}"),
        record: path(&format!("C:\\ProgramData\\Ringfence\\{letter}\\{file}")),
        marker: ringfence_plan::windows::sids::marker(
            &SidSecret::default(),
            SidShape::Null,
            person,
        ),
    }
}

fn hide(person: Sid, word: &str) -> MachineStep {
    MachineStep::SetValue {
        key: HIDDEN.to_owned(),
        name: format!("Ringfence{word}-{}", letter(person)),
        value: RegistryValue::Dword(0),
        descriptor: None,
    }
}

pub(super) fn filter(person: Sid, number: u128, weight: u8) -> Filter {
    Filter {
        key: Guid((u128::from(u32::from(letter(person))) << 64) | number),
        name: "block".to_owned(),
        sublayer: Guid(u128::from(u32::from(letter(person)))),
        layer: Layer::ConnectV4,
        weight,
        conditions: vec![Condition::User(Trustee::Account(AccountRole::Offline))],
        action: FilterAction::Block,
    }
}

pub(super) fn rule(person: Sid, ports: u16) -> FirewallRule {
    FirewallRule {
        name: format!("Ringfence {}", letter(person)),
        grouping: "Ringfence".to_owned(),
        user: Trustee::Account(AccountRole::Offline),
        remote_ports: vec![PortRange {
            first: 1,
            last: ports,
        }],
        remote_addresses: Vec::new(),
    }
}

/// The steps of set-up for one person. `version` changes what a later release might change.
pub(super) fn steps_of(person: Sid, version: u8) -> Vec<MachineStep> {
    let letter = letter(person);
    let full = AccessMask::FILE_ALL_ACCESS;
    let read = AccessMask::FILE_GENERIC_READ;
    let mut more = vec![
        entry(AceKind::Deny, full, Trustee::Group),
        entry(AceKind::Allow, read, Trustee::Sid(person)),
    ];
    if version > 1 {
        more.push(entry(
            AceKind::Allow,
            read,
            Trustee::Sid(Sid::LOCAL_SERVICE),
        ));
    }
    let deny = |role| MachineStep::DenyLogon {
        role,
        rights: vec![LogonRight::DenyNetwork, LogonRight::DenyBatch],
    };
    vec![
        MachineStep::EnsureGroup {
            name: format!("Ringfence-{letter}"),
            comment: format!("accounts of {person}"),
        },
        MachineStep::MakeDirectory {
            path: path("C:\\ProgramData\\Ringfence"),
            descriptor: guarded(&[]),
        },
        MachineStep::MakeDirectory {
            path: path(&format!("C:\\ProgramData\\Ringfence\\{letter}")),
            descriptor: guarded(&more),
        },
        MachineStep::SetValue {
            key: format!("SOFTWARE\\Ringfence\\{letter}"),
            name: "Entropy".to_owned(),
            value: RegistryValue::Random(32),
            descriptor: Some(guarded(&[])),
        },
        account(person, AccountRole::Offline),
        account(person, AccountRole::Online),
        deny(AccountRole::Offline),
        deny(AccountRole::Online),
        hide(person, "Off"),
        hide(person, "On"),
        MachineStep::ReservePorts {
            ports: PortRange {
                first: 40_000,
                last: 40_015,
            },
        },
        MachineStep::InstallFilters {
            filters: vec![filter(person, 1, version), filter(person, 2, 0)],
        },
        MachineStep::AddFirewallRule {
            rule: rule(person, u16::from(version)),
        },
    ]
}

pub(super) fn steps(person: Sid) -> Vec<MachineStep> {
    steps_of(person, 1)
}

pub(super) type FakeSetup<'a> = Setup<'a, MemoryStore, FakeMachine>;

/// A machine with its ledger.
pub(super) struct Bench {
    pub(super) faults: Faults,
    pub(super) store: MemoryStore,
    pub(super) machine: FakeMachine,
}

impl Bench {
    pub(super) fn new() -> Self {
        let faults = Faults::new();
        let mut machine = FakeMachine::new(machine_sid(), plain(Sid::SYSTEM), &faults);
        machine.world = foreign_world();
        Self {
            store: MemoryStore::new(&faults),
            machine,
            faults,
        }
    }

    pub(super) fn setup<T>(
        &mut self,
        person: Sid,
        act: impl FnOnce(&mut FakeSetup<'_>) -> Result<T, SetupError>,
    ) -> Result<T, SetupError> {
        let mut ledger: Ledger<MachineBook, MemoryStore> =
            Ledger::open(self.store.clone()).map_err(SetupError::Ledger)?;
        act(&mut Setup {
            person,
            ledger: &mut ledger,
            machine: &mut self.machine,
        })
    }

    pub(super) fn install(&mut self, person: Sid) -> Result<Applied, SetupError> {
        self.setup(person, |setup| setup.apply(&steps(person)))
    }

    pub(super) fn uninstall(&mut self, person: Sid) -> Result<Removed, SetupError> {
        // A method's path is for one lifetime, a closure for all.
        self.setup(person, |setup| {
            let removed = setup.uninstall()?;
            Ok(removed)
        })
    }

    pub(super) fn roll_back(&mut self, person: Sid) -> Result<Removed, SetupError> {
        self.setup(person, |setup| {
            let removed = setup.roll_back()?;
            Ok(removed)
        })
    }

    /// The power comes back; of what was not flushed this many bytes reached the disk.
    pub(super) fn restart(&self, surviving: usize) {
        self.faults.restart();
        self.store.restart(surviving);
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.machine.world == foreign_world() && self.store.durable().is_none()
    }
}

/// What is on the machine before us, of others.
pub(super) fn foreign_world() -> World {
    let mut world = World {
        foreign_filters: 3,
        ..World::default()
    };
    // A German Windows: nothing is called `Users` here.
    let users = crate::windows::fake::FakeGroup {
        sid: Sid::USERS,
        comment: String::new(),
    };
    world.groups.insert("benutzer".to_owned(), users);
    world
        .keys
        .insert("software\\other".to_owned(), plain(Sid::SYSTEM));
    let place = ("software\\other".to_owned(), "x".to_owned());
    world.values.insert(place, StoredValue::Dword(7));
    world.reserved.insert(PortRange {
        first: 5000,
        last: 5009,
    });
    world
}

/// The world with what is drawn anew each time replaced by what it is for.
pub(super) fn shape(machine: &FakeMachine) -> String {
    let world = &machine.world;
    let mut text = format!("{world:#?}");
    for (name, group) in &world.groups {
        text = text.replace(&format!("{:?},", group.sid), &format!("<{name}>,"));
    }
    for (name, account) in &world.accounts {
        text = text.replace(&format!("{:?},", account.sid), &format!("<{name}>,"));
        text = text.replace(&format!("{:?}:", account.sid), &format!("<{name}>:"));
        text = text.replace(&format!("{:?})", account.sid), &format!("<{name}>)"));
        text = text.replace(&format!("password: {},", account.password), "password: *,");
        for record in world.records.keys() {
            let sealed = format!("{record:?}: {},", account.password);
            text = text.replace(&sealed, &format!("{record:?}: *,"));
        }
    }
    let drawn = |line: &&str| {
        let line = line.trim();
        !line.starts_with("file:") && line.trim_end_matches(',').parse::<u8>().is_err()
    };
    let mut lines: Vec<&str> = text.lines().filter(drawn).collect();
    // Rights are listed by SID, which is drawn.
    lines.sort_unstable();
    lines.join("\n")
}
