//! Every probe of an audit by its name: what it asks, and what hangs on it.
//!
//! Invariant: a promise of the boundary has a probe with [`Stakes::Boundary`]; nothing else decides.

/// What hangs on a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stakes {
    /// Open, it is no boundary.
    Boundary,
    /// Open, the network is partial until the filters take another form.
    Copies,
    /// Open, what can only be read can be emptied by another name, and every plan is partial.
    Links,
    /// A service of another identity carries it, past filters that name a user: it is told, and never called closed.
    Service,
    /// It ought to work inside; where it does not, commands miss it and nothing is lost.
    Works,
    /// What a command shares with who starts it. A runner is armed against it, and it is told. A harness is not: open,
    /// same-user mode is no boundary.
    Shared,
}

/// A probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeKind {
    /// Its name.
    pub name: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// What hangs on it.
    pub stakes: Stakes,
}

const fn probe(name: &'static str, asks: &'static str, stakes: Stakes) -> ProbeKind {
    ProbeKind { name, asks, stakes }
}

/// The probe that settles what a further name of a file asks for.
pub const LINKS: &str = "links";

/// Every probe, in the order in which they are tried.
pub const PROBES: &[ProbeKind] = &[
    probe(
        "write-class",
        "which rights the second pass of a write-restricted token covers",
        Stakes::Boundary,
    ),
    probe(
        LINKS,
        "a further name for a file that can only be read, from inside",
        Stakes::Links,
    ),
    probe(
        "egress.tcp",
        "a connection to another machine, from inside",
        Stakes::Boundary,
    ),
    probe("egress.tcp6", "the same over IPv6", Stakes::Boundary),
    probe(
        "egress.udp",
        "a datagram to another machine, from inside",
        Stakes::Boundary,
    ),
    probe(
        "loopback.fixed",
        "a service of this machine on a port that is not dynamic, from inside",
        Stakes::Boundary,
    ),
    probe(
        "egress.deny-only",
        "the same with a copy of the token in which the account is deny-only",
        Stakes::Copies,
    ),
    probe(
        "egress.anonymous",
        "the same as an anonymous caller",
        Stakes::Copies,
    ),
    probe("icmp", "an echo request, from inside", Stakes::Boundary),
    probe("raw", "a raw socket, from inside", Stakes::Boundary),
    probe(
        "loopback.itself",
        "a connection to itself, from inside: it should work",
        Stakes::Works,
    ),
    probe(
        "loopback.dynamic",
        "a service of this machine on a dynamic port, from inside",
        Stakes::Service,
    ),
    probe(
        "dns",
        "a name, asked of the system's resolver, from inside",
        Stakes::Service,
    ),
    probe(
        "smb",
        "a share of another machine, from inside",
        Stakes::Service,
    ),
    probe(
        "webdav",
        "a server of the web, by the redirector for shares, from inside",
        Stakes::Service,
    ),
    probe(
        "bits",
        "a transfer by the background transfer service, from inside",
        Stakes::Service,
    ),
    probe("spooler", "the print spooler, from inside", Stakes::Service),
    probe(
        "schannel",
        "the system's own TLS, from inside: it should work",
        Stakes::Works,
    ),
    probe(
        "process.runner",
        "each right to the runner's process, from inside",
        Stakes::Boundary,
    ),
    probe(
        "process.runner-token",
        "the runner's token, from inside",
        Stakes::Boundary,
    ),
    probe(
        "process.runner-threads",
        "each right to the runner's threads, from inside",
        Stakes::Boundary,
    ),
    probe(
        "process.sibling",
        "rights that change a process of another session of the same account",
        Stakes::Boundary,
    ),
    probe(
        "process.person",
        "each right to a process of the person, from inside",
        Stakes::Boundary,
    ),
    probe(
        "drives",
        "names of drives for the logon session of who starts commands, from inside",
        Stakes::Shared,
    ),
    probe(
        "leftovers.processes",
        "processes of a session that has ended",
        Stakes::Boundary,
    ),
    probe(
        "leftovers.machine",
        "accounts, filters, rules and values that no record stands for",
        Stakes::Boundary,
    ),
    probe(
        "leftovers.entries",
        "entries of ours on drives, profiles and the system's own directories",
        Stakes::Boundary,
    ),
];

/// The probe of this name.
#[must_use]
pub fn kind_of(name: &str) -> Option<&'static ProbeKind> {
    PROBES.iter().find(|kind| kind.name == name)
}
