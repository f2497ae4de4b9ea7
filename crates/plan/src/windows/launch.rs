//! How commands start: the token of targets, the hardening of the runner, desktop, pipe, job, handles.
//!
//! Says what the launcher builds and takes away with it; none of it outlives a session, so nothing here is a step.
//! SIDs that are known only at launch stand as [`Placeholder`]s.
//!
//! Invariant: no descriptor here gives a sandbox account a right on the runner, and none gives a target a right that
//! would let it take another session's token (`TOKEN_DUPLICATE`, `TOKEN_IMPERSONATE`, `TOKEN_ASSIGN_PRIMARY`). What the
//! runner needs on its own objects it has by the logon SID, which counts for denies alone in every target's token.

use serde::{Deserialize, Serialize};

use ringfence_nt::token::FilterFlags;
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, SecurityDescriptor, Sid, Token, WriteClass,
};
use ringfence_policy::Policy;
use ringfence_policy::document::Loopback;

use crate::windows::egress::ProxyPorts;
use crate::windows::path::WindowsPath;
use crate::windows::plan::Accounts;
use crate::windows::sids::Placeholder;
use crate::windows::step::{AccountRole, AccountSids};

/// How a session's commands start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Who they run as.
    pub identity: Identity,
    /// What holds the network.
    pub network: Network,
    /// Where the session's proxy may listen; none where nothing may leave.
    #[serde(default)]
    pub proxy: Option<ProxyPorts>,
    /// What the runner measures before the first command, and what it must be.
    pub write_class: WriteClassRule,
    /// The token of targets.
    pub token: TokenSpec,
    /// What the runner does to itself first; none in same-user mode, where there is no runner of another account.
    pub runner: Option<RunnerHardening>,
    /// The window station, without a name.
    pub station: SecurityDescriptor,
    /// The desktop, one per session.
    pub desktop: SecurityDescriptor,
    /// The pipe between harness and runner.
    pub pipe: Option<PipeSpec>,
    /// The job that all targets are in from their creation.
    pub job: JobSpec,
    /// The handles that a target inherits, and no others.
    pub handles: [StandardHandle; 3],
    /// Variables that every command gets, sorted by name.
    pub environment: Vec<(String, String)>,
    /// The directory commands start in unless told otherwise.
    pub directory: WindowsPath,
    /// Shells by name, resolved.
    pub shells: Vec<(String, WindowsPath)>,
}

/// Who commands run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// One of the person's accounts, with its profile loaded.
    Account(AccountRole),
    /// The person themselves.
    Person,
}

/// What holds the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Filters on the Offline account: nothing but the proxy's ports on loopback, and loopback's dynamic ports.
    Filtered,
    /// Filters on the Offline account: nothing but the proxy's ports on loopback.
    ProxyOnly,
    /// The Online account: direct, and through the proxy for programs that use it.
    Open,
    /// Variables that discourage; nothing holds.
    Advisory,
}

impl Network {
    /// What the filters of the Offline account leave open.
    pub(crate) const fn of(loopback: Loopback) -> Self {
        match loopback {
            Loopback::Dynamic => Self::Filtered,
            Loopback::ProxyOnly => Self::ProxyOnly,
        }
    }
}

/// Which write classes a launch accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteClassRule {
    /// DELETE, `WRITE_DAC` and `WRITE_OWNER` are covered.
    Boundary,
    /// These and `FILE_DELETE_CHILD`: no entry of ours denies it to a SID of the normal pass, because there is none
    /// (same-user mode), or because a drive's root above a workspace grants it to everybody.
    SameUser,
}

impl WriteClassRule {
    /// What every plan with these accounts asks for.
    pub(crate) const fn least(accounts: Accounts) -> Self {
        match accounts {
            Accounts::Made(_) | Accounts::ToBeMade(_) => Self::Boundary,
            Accounts::Person => Self::SameUser,
        }
    }

    /// Whether a launch on a machine with this class is accepted.
    #[must_use]
    pub fn accepts(self, class: WriteClass) -> bool {
        let child = class
            .rights(&GenericMapping::FILE)
            .contains(AccessMask::FILE_DELETE_CHILD);
        class.holds_a_boundary()
            && match self {
                Self::Boundary => true,
                Self::SameUser => child,
            }
    }
}

/// The token of targets: `CreateRestrictedToken` on the runner's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// `DISABLE_MAX_PRIVILEGE | LUA_TOKEN | WRITE_RESTRICTED`; of the privileges only `SeChangeNotifyPrivilege` stays.
    pub flags: FilterFlags,
    /// Groups that count for denies alone.
    pub deny_only: Vec<Sid>,
    /// The second pass.
    pub restricting: Vec<RestrictingSid>,
    /// The DACL of what targets make where nothing is inherited.
    pub default_dacl: Acl,
    /// Who may do what with the token itself.
    pub descriptor: SecurityDescriptor,
}

/// A SID of the second pass, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestrictingSid {
    /// Which.
    pub sid: Sid,
    /// Why.
    pub why: String,
}

/// What the runner does to itself before anything else: it is owned by the same user as its targets. Its token's
/// descriptor and default DACL name the logon SID by its placeholder; those of process and threads are set by the
/// harness, which does not know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerHardening {
    /// The default DACL of its token.
    pub default_dacl: Acl,
    /// Its process.
    pub process: SecurityDescriptor,
    /// Its threads.
    pub thread: SecurityDescriptor,
    /// Its token.
    pub token: SecurityDescriptor,
}

/// The pipe between harness and runner: 128 random bits in its name, one instance, the first one, no remote clients,
/// the client's process checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeSpec {
    /// Who may open it.
    pub descriptor: SecurityDescriptor,
    /// The largest frame, in bytes.
    pub frame_limit_bytes: u32,
}

/// The job: killed on close, no breakaway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// `JobMemoryLimit`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `ActiveProcessLimit`.
    pub processes: Option<u32>,
    /// `JOB_OBJECT_UILIMIT_*` of a job of their own, by name; where it can't be had, the record says so.
    pub ui_limits: Vec<String>,
}

/// A standard handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardHandle {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// `winnt.h`: `TOKEN_QUERY | TOKEN_QUERY_SOURCE | TOKEN_ADJUST_DEFAULT | READ_CONTROL`.
pub const TOKEN_OF_TARGET: AccessMask = AccessMask(0x0002_0098);
/// `TOKEN_DUPLICATE | TOKEN_IMPERSONATE | TOKEN_QUERY`: `CreateProcessAsUserW` opens the calling process's own token with
/// the first two (learn.microsoft.com, its remarks), and what asks for the profile or the user's registry with the third.
pub(crate) const TOKEN_OF_RUNNER: AccessMask = AccessMask(0x0000_000e);
/// `PROCESS_ALL_ACCESS` and `THREAD_ALL_ACCESS`.
const PROCESS_ALL: AccessMask = AccessMask(0x001f_ffff);
/// `TOKEN_ALL_ACCESS`.
const TOKEN_ALL: AccessMask = AccessMask(0x000f_01ff);
/// `WINSTA_ALL_ACCESS` with the standard rights.
const STATION_ALL: AccessMask = AccessMask(0x000f_037f);
/// `DESKTOP_ALL_ACCESS` with the standard rights.
const DESKTOP_ALL: AccessMask = AccessMask(0x000f_01ff);
/// Generic read, write and execute.
const READ_WRITE_EXECUTE: AccessMask = AccessMask(0xe000_0000);
/// What the first pass gives on what targets make: to write and to execute, and of reading what files, sections, events,
/// processes and keys need (`0x041d`, `READ_CONTROL`, `SYNCHRONIZE`). Not `GENERIC_READ`: on a token that may be
/// `TOKEN_DUPLICATE`, which no second pass covers. A program that a target starts has a token with this list, and every
/// session of the account has the group: one would take another's token, with the write grants in it.
pub(crate) const WHAT_TARGETS_MAKE: AccessMask = AccessMask(0x6012_041d);

const UI_LIMITS: [&str; 7] = [
    "HANDLES",
    "READCLIPBOARD",
    "WRITECLIPBOARD",
    "SYSTEMPARAMETERS",
    "DISPLAYSETTINGS",
    "GLOBALATOMS",
    "EXITWINDOWS",
];

/// The largest frame on the pipe, in bytes.
const FRAME_LIMIT_BYTES: u32 = 1 << 20;

/// What the launch of one session depends on.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) accounts: Option<AccountSids>,
    pub(crate) identity: Identity,
    pub(crate) network: Network,
    pub(crate) proxy: Option<ProxyPorts>,
    pub(crate) write_class: WriteClassRule,
    pub(crate) person: Sid,
    pub(crate) marker: Sid,
    /// The capabilities of the roots that this policy's targets may write, with the path of each.
    pub(crate) capabilities: Vec<(Sid, String)>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: WindowsPath,
    pub(crate) shells: Vec<(String, WindowsPath)>,
}

impl Launch<'_> {
    pub(crate) fn spec(self) -> LaunchSpec {
        let user = self.user();
        let everyone_of = self.accounts.map_or(self.person, |accounts| accounts.group);
        let shared = |all: AccessMask| {
            let aces = vec![
                allow(all, Sid::SYSTEM),
                allow(all, self.person),
                // Writes need the session's SID in the second pass too.
                allow(READ_WRITE_EXECUTE, everyone_of),
                allow(all, Placeholder::Session.sid()),
            ];
            SecurityDescriptor::new(self.person, self.person, Acl::new(aces)).protected()
        };
        LaunchSpec {
            identity: self.identity,
            network: self.network,
            proxy: self.proxy,
            write_class: self.write_class,
            token: self.token(user),
            runner: self.accounts.map(|_| runner(user, self.person)),
            station: shared(STATION_ALL),
            desktop: shared(DESKTOP_ALL),
            pipe: self.accounts.map(|_| self.pipe(user)),
            job: job(self.policy),
            handles: [
                StandardHandle::Input,
                StandardHandle::Output,
                StandardHandle::Error,
            ],
            environment: self.environment,
            directory: self.directory,
            shells: self.shells,
        }
    }

    /// The user that targets run as.
    fn user(&self) -> Sid {
        match (self.identity, self.accounts) {
            (Identity::Account(AccountRole::Offline), Some(accounts)) => accounts.offline,
            (Identity::Account(AccountRole::Online), Some(accounts)) => accounts.online,
            (Identity::Account(_) | Identity::Person, _) => self.person,
        }
    }

    fn token(&self, user: Sid) -> TokenSpec {
        let flags = FilterFlags::DISABLE_MAX_PRIVILEGE
            .with(FilterFlags::LUA_TOKEN)
            .with(FilterFlags::WRITE_RESTRICTED);
        let mut restricting = vec![because(Placeholder::Session.sid(), "separates sessions")];
        for (sid, path) in &self.capabilities {
            restricting.push(because(*sid, &format!("may write {path}")));
        }
        restricting.push(because(
            self.marker,
            "denies and filters that hit targets alone",
        ));
        let mut deny_only = vec![Sid::ADMINISTRATORS];
        let normal = match self.accounts {
            Some(accounts) => {
                // The runner's logon session is the caller's: its SID would open the caller's desktop.
                deny_only.insert(0, Placeholder::Logon.sid());
                deny_only.extend([Sid::AUTHENTICATED_USERS, Sid::INTERACTIVE, Sid::LOCAL]);
                restricting.push(because(
                    user,
                    "what targets make with a protected list of their own",
                ));
                accounts.group
            }
            None => self.person,
        };
        restricting.push(because(
            Sid::WRITE_RESTRICTED,
            "what Windows opens for such tokens",
        ));
        let bound = allow(AccessMask::READ_CONTROL, Sid::OWNER_RIGHTS);
        let default_dacl = Acl::new(vec![
            allow(WHAT_TARGETS_MAKE, normal),
            allow(AccessMask::GENERIC_ALL, Placeholder::Session.sid()),
            allow(AccessMask::GENERIC_ALL, Sid::SYSTEM),
            bound,
        ]);
        let own = vec![
            allow(TOKEN_OF_TARGET, normal),
            allow(TOKEN_OF_TARGET, Placeholder::Session.sid()),
            allow(TOKEN_ALL, Sid::SYSTEM),
            bound,
        ];
        TokenSpec {
            flags,
            deny_only,
            restricting,
            default_dacl,
            descriptor: SecurityDescriptor::new(user, user, Acl::new(own)).protected(),
        }
    }

    fn pipe(&self, user: Sid) -> PipeSpec {
        let all = AccessMask::FILE_ALL_ACCESS;
        let aces = vec![
            // The runner's user is the targets' too, and stands in their second pass.
            Ace::deny(AceFlags::NONE, all, self.marker),
            allow(all, self.person),
            allow(
                AccessMask::FILE_GENERIC_READ | AccessMask::FILE_GENERIC_WRITE,
                user,
            ),
        ];
        PipeSpec {
            descriptor: SecurityDescriptor::new(self.person, self.person, Acl::new(aces))
                .protected(),
            frame_limit_bytes: FRAME_LIMIT_BYTES,
        }
    }
}

fn because(sid: Sid, why: &str) -> RestrictingSid {
    RestrictingSid {
        sid,
        why: why.to_owned(),
    }
}

const fn allow(mask: AccessMask, sid: Sid) -> Ace {
    Ace::allow(AceFlags::NONE, mask, sid)
}

/// SYSTEM, the person, and the owner's bare `READ_CONTROL`: no sandbox user. The runner itself reaches its own token, and
/// what it makes, by the logon SID: the person's processes have it too, targets have it for denies alone.
fn runner(user: Sid, person: Sid) -> RunnerHardening {
    let dacl = |all: AccessMask, by_logon: Option<AccessMask>| {
        let trusted = [allow(all, Sid::SYSTEM), allow(all, person)];
        let logon = by_logon.map(|mask| allow(mask, Placeholder::Logon.sid()));
        let bound = allow(AccessMask::READ_CONTROL, Sid::OWNER_RIGHTS);
        let aces = trusted.into_iter().chain(logon).chain([bound]);
        aces.collect::<Acl>()
    };
    let object =
        |all, by_logon| SecurityDescriptor::new(user, user, dacl(all, by_logon)).protected();
    RunnerHardening {
        default_dacl: dacl(AccessMask::GENERIC_ALL, Some(AccessMask::GENERIC_ALL)),
        process: object(PROCESS_ALL, None),
        thread: object(PROCESS_ALL, None),
        token: object(TOKEN_ALL, Some(TOKEN_OF_RUNNER)),
    }
}

fn job(policy: &Policy) -> JobSpec {
    let limits = &policy.limits;
    JobSpec {
        memory_bytes: limits.memory.as_ref().map(|memory| memory.value.0),
        processes: limits.processes.as_ref().map(|count| count.value),
        ui_limits: UI_LIMITS.map(str::to_owned).into(),
    }
}

impl TokenSpec {
    /// The token of a target, made from the runner's own, with the SIDs that only the launch knows.
    #[must_use]
    pub fn target(&self, runner: &Token, session: Sid, logon: Sid) -> Token {
        let bound = |sid: Sid| bind(sid, session, logon);
        let deny_only: Vec<Sid> = self.deny_only.iter().copied().map(bound).collect();
        let restricting: Vec<Sid> = self.restricting.iter().map(|one| bound(one.sid)).collect();
        let mut token = runner.restrict(self.flags, &deny_only, &restricting);
        token.default_dacl = Some(bind_list(&self.default_dacl, session, logon));
        token
    }
}

/// `sid`, or what it stands for at launch.
#[must_use]
pub fn bind(sid: Sid, session: Sid, logon: Sid) -> Sid {
    if sid == Placeholder::Session.sid() {
        session
    } else if sid == Placeholder::Logon.sid() {
        logon
    } else {
        sid
    }
}

/// `descriptor` with what its placeholders stand for at launch.
#[must_use]
pub fn bind_descriptor(
    descriptor: &SecurityDescriptor,
    session: Sid,
    logon: Sid,
) -> SecurityDescriptor {
    let mut bound = descriptor.clone();
    if let ringfence_nt::Dacl::Present(acl) = &mut bound.dacl {
        *acl = bind_list(acl, session, logon);
    }
    bound
}

/// `list` with what its placeholders stand for at launch.
#[must_use]
pub fn bind_list(list: &Acl, session: Sid, logon: Sid) -> Acl {
    let aces = list.aces.iter().map(|ace| Ace {
        sid: bind(ace.sid, session, logon),
        ..*ace
    });
    aces.collect()
}
