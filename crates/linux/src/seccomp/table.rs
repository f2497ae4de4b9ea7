//! What a rule of the filter is, and which rule decides a call: the reference that the compiled program must equal.
//!
//! Nothing is compiled and nothing is asked of the kernel here. Invariant: rules are read in order and the first
//! that matches decides; a call that no rule names is allowed.

use ringfence_plan::step::{IpSockets, Observe};

/// What the filter shall do in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterProfile {
    /// Which calls the observer sees.
    pub observe: Observe,
    /// Whether namespaces hold IP sockets. Where none do, none hold System V IPC either: both are refused.
    pub ip_sockets: IpSockets,
    /// Whether some Unix socket of the host may be reached.
    pub unix_sockets: UnixSockets,
}

/// What a target gets that asks for a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixSockets {
    /// Nothing.
    Refused,
    /// One end of a pair, which the observer connects to what the policy opens.
    Supervised,
}

impl FilterProfile {
    /// Whether calls wait for an answer.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        match (self.observe, self.unix_sockets) {
            (Observe::Off, UnixSockets::Refused) => false,
            (Observe::Off, UnixSockets::Supervised) | (Observe::Writes | Observe::All, _) => true,
        }
    }
}

/// A system call of this machine's own architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name as in its manual page.
    pub name: &'static str,
    /// Its number.
    pub number: u32,
}

/// What a rule is about; the observer names the policy's rule by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// An address family or protocol that leaves the boundary.
    Socket,
    /// An IP socket where no namespace holds it.
    IpSocket,
    /// A Unix socket.
    UnixSocket,
    /// A setuid or setgid bit, or a device node.
    PrivilegedMode,
    /// A call that is refused for what it is.
    Kernel,
    /// A call on a path.
    Path,
    /// A connection.
    Connection,
    /// A process.
    Process,
}

/// What an observed call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Creates, changes, renames, links or removes.
    Write,
    /// Opens for reading.
    Read,
    /// Executes.
    Execute,
    /// Connects.
    Connect,
    /// Signals or traces another process.
    Reach,
}

/// What the filter does with a call; error numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Allow,
    /// It fails as on a kernel that lacks it. Programs try such calls and fall back, so it is never reported.
    Absent(u16),
    /// It fails, and the observer reports it.
    Refuse(u16),
    /// It runs, and the observer looks at it first.
    Observe(Access),
    /// The observer does it in the kernel's stead.
    Supervise,
}

/// Which values a condition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Any of these.
    OneOf(&'static [u32]),
    /// None of these.
    NoneOf(&'static [u32]),
}

/// A condition on the low 32 bits of one argument.
///
/// The kernel cuts each argument tested here to 32 bits (or 16) itself, so the upper half is never looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// The bits that count.
    pub mask: u32,
    /// The values they may have.
    pub values: Values,
}

/// When a rule is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every session.
    Always,
    /// In sessions without namespaces.
    WithoutNamespaces,
    /// In sessions that may reach some Unix socket.
    WithUnixSockets,
}

/// One rule: these calls, under all of these conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub family: Family,
    /// When it is in force.
    pub scope: Scope,
    /// The calls.
    pub calls: &'static [Call],
    /// All must hold.
    pub when: &'static [Condition],
    /// What happens then.
    pub verdict: Verdict,
}

impl Condition {
    /// Whether it holds for these arguments.
    #[must_use]
    pub fn holds(&self, arguments: &[u64; 6]) -> bool {
        let Some(argument) = arguments.get(usize::from(self.argument)) else {
            return false;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is what counts"
        )]
        let value = *argument as u32 & self.mask;
        match self.values {
            Values::OneOf(values) => values.contains(&value),
            Values::NoneOf(values) => !values.contains(&value),
        }
    }
}

impl Rule {
    /// Whether it is in force in this session.
    #[must_use]
    pub fn in_force(&self, profile: &FilterProfile) -> bool {
        match self.scope {
            Scope::Always => true,
            Scope::WithoutNamespaces => profile.ip_sockets == IpSockets::Refused,
            Scope::WithUnixSockets => profile.unix_sockets == UnixSockets::Supervised,
        }
    }

    /// The call of this number among its calls.
    #[must_use]
    pub fn call(&self, number: u32) -> Option<&'static Call> {
        self.calls.iter().find(|call| call.number == number)
    }
}

/// The rule that decides a call, with the call's name; `None` for a call that no rule names.
#[must_use]
pub fn decide(
    rules: &[Rule],
    profile: &FilterProfile,
    number: u32,
    arguments: &[u64; 6],
) -> Option<(&'static Call, Family, Verdict)> {
    rules
        .iter()
        .filter(|rule| rule.in_force(profile))
        .find_map(|rule| {
            let call = rule.call(number)?;
            rule.when
                .iter()
                .all(|condition| condition.holds(arguments))
                .then_some((call, rule.family, rule.verdict))
        })
}

/// What the filter answers for a verdict, as the kernel's return value of a filter.
#[must_use]
pub fn answer(verdict: Verdict, profile: &FilterProfile) -> u32 {
    match (verdict, profile.observe) {
        (Verdict::Supervise, _) => libc::SECCOMP_RET_USER_NOTIF,
        (Verdict::Observe(Access::Connect), Observe::Off)
            if profile.unix_sockets == UnixSockets::Supervised =>
        {
            libc::SECCOMP_RET_USER_NOTIF
        }
        (Verdict::Allow, _)
        | (Verdict::Observe(_), Observe::Off)
        | (Verdict::Observe(Access::Read | Access::Execute), Observe::Writes) => {
            libc::SECCOMP_RET_ALLOW
        }
        (Verdict::Absent(errno), _) | (Verdict::Refuse(errno), Observe::Off) => {
            libc::SECCOMP_RET_ERRNO | u32::from(errno)
        }
        (
            Verdict::Refuse(_) | Verdict::Observe(Access::Write | Access::Connect | Access::Reach),
            Observe::Writes | Observe::All,
        )
        | (Verdict::Observe(Access::Read | Access::Execute), Observe::All) => {
            libc::SECCOMP_RET_USER_NOTIF
        }
    }
}
