//! What a project file may say that nobody has trusted: only what narrows the defaults.
//!
//! | key | narrows | widens |
//! |---|---|---|
//! | `mode`, `require`, `filesystem.git`, `new_repositories`, `hard_links`, `network.mode`, `environment.mode`, `windows.sandbox`, `windows.loopback` | the default or narrower | anything wider |
//! | `filesystem.deny_read`, `filesystem.protected`, `network.deny` | every entry | |
//! | `limits.*` | any value, for the default is none | |
//! | `network.ask`, `approvals.reviewer` | `false`; `none`, `prompt` | `true`; `command` |
//! | `approvals.timeout`, `max_duration` | the default or shorter | longer |
//! | `writable_roots`, `allow_read`, `unprotected`, `network.allow`, `publish`, `connect`, `unix_sockets`, `upstream_proxy`, `environment.pass`, `environment.set`, `approvals.command`, `audit.otlp` | | every entry |
//!
//! `environment.set` counts as widening because it chooses what programs of the person's own do
//! where there is no boundary (`full-access`).
//!
//! Invariant: every key of a document is looked at here.

use super::merge::defaults;
use super::{Layer, ResolveError, ResolveFault};
use crate::document::{
    ApprovalsDocument, AuditDocument, EnvironmentDocument, FilesystemDocument, LimitsDocument,
    NetworkDocument, PolicyDocument, WindowsDocument,
};

/// Refuses the first key of an untrusted project file that widens the defaults.
pub(super) fn check(layer: &Layer) -> Result<(), ResolveError> {
    match first_widening(&layer.document) {
        None => Ok(()),
        Some((key, value)) => Err(ResolveError::new(
            layer.place(key, &value),
            ResolveFault::UntrustedWidening {
                value: crate::escape::escape(value.as_bytes()).into_owned(),
            },
        )),
    }
}

type Widening = Option<(&'static str, String)>;

/// Taken apart without `..`: a new key does not compile until it is judged.
fn first_widening(document: &PolicyDocument) -> Widening {
    let PolicyDocument {
        mode,
        require,
        filesystem,
        network,
        environment,
        limits,
        approvals,
        audit,
        windows,
    } = document;
    // Limits have no default: whatever is said narrows.
    let LimitsDocument {
        memory: _,
        processes: _,
        time: _,
    } = limits;
    let AuditDocument { otlp } = audit;
    let WindowsDocument { sandbox, loopback } = windows;
    wider("mode", *mode, defaults::MODE)
        .or_else(|| wider("require", *require, defaults::REQUIRE))
        .or_else(|| in_filesystem(filesystem))
        .or_else(|| in_network(network))
        .or_else(|| in_environment(environment))
        .or_else(|| in_approvals(approvals))
        .or_else(|| {
            otlp.as_ref()
                .map(|otlp| ("audit.otlp", otlp.endpoint.clone()))
        })
        .or_else(|| wider("windows.sandbox", *sandbox, defaults::WINDOWS_SANDBOX))
        .or_else(|| wider("windows.loopback", *loopback, defaults::WINDOWS_LOOPBACK))
}

fn in_filesystem(document: &FilesystemDocument) -> Widening {
    let FilesystemDocument {
        writable_roots,
        deny_read: _,
        allow_read,
        protected: _,
        unprotected,
        git,
        new_repositories,
        hard_links,
    } = document;
    any("filesystem.writable_roots", writable_roots)
        .or_else(|| any("filesystem.allow_read", allow_read))
        .or_else(|| any("filesystem.unprotected", unprotected))
        .or_else(|| wider("filesystem.git", *git, defaults::GIT))
        .or_else(|| {
            wider(
                "filesystem.new_repositories",
                *new_repositories,
                defaults::NEW_REPOSITORIES,
            )
        })
        .or_else(|| wider("filesystem.hard_links", *hard_links, defaults::HARD_LINKS))
}

fn in_network(document: &NetworkDocument) -> Widening {
    let NetworkDocument {
        mode,
        allow,
        deny: _,
        ask,
        publish,
        connect,
        unix_sockets,
        upstream_proxy,
    } = document;
    wider("network.mode", *mode, defaults::NETWORK_MODE)
        .or_else(|| any("network.allow", allow))
        .or_else(|| wider("network.ask", *ask, defaults::ASK))
        .or_else(|| any("network.publish", publish))
        .or_else(|| any("network.connect", connect))
        .or_else(|| any("network.unix_sockets", unix_sockets))
        .or_else(|| {
            upstream_proxy
                .as_ref()
                .map(|url| ("network.upstream_proxy", url.clone()))
        })
}

fn in_environment(document: &EnvironmentDocument) -> Widening {
    let EnvironmentDocument { mode, pass, set } = document;
    wider("environment.mode", *mode, defaults::ENVIRONMENT_MODE)
        .or_else(|| any("environment.pass", pass))
        .or_else(|| {
            set.keys()
                .next()
                .map(|name| ("environment.set", name.clone()))
        })
}

fn in_approvals(document: &ApprovalsDocument) -> Widening {
    let ApprovalsDocument {
        reviewer,
        command,
        timeout,
        max_duration,
    } = document;
    wider("approvals.reviewer", *reviewer, defaults::REVIEWER)
        .or_else(|| any("approvals.command", command))
        .or_else(|| wider("approvals.timeout", *timeout, defaults::APPROVAL_TIMEOUT))
        .or_else(|| {
            wider(
                "approvals.max_duration",
                *max_duration,
                defaults::APPROVAL_DURATION,
            )
        })
}

fn wider<T: Copy + Ord + std::fmt::Display>(
    key: &'static str,
    value: Option<T>,
    default: T,
) -> Widening {
    value
        .filter(|value| *value > default)
        .map(|value| (key, value.to_string()))
}

fn any<T: std::fmt::Display>(key: &'static str, entries: &[T]) -> Widening {
    entries.first().map(|entry| (key, entry.to_string()))
}
