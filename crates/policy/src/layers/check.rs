//! What makes no sense: contradictions within a layer, and between layers.

use std::path::Path;

use super::error::ForbiddenRoot;
use super::{Context, Layer, LayerKind, ResolveError, ResolveFault, text};
use crate::document::{Mode, NetworkMode, Reviewer};
use crate::escape::{escape, escape_os};
use crate::path::AbsolutePath;
use crate::policy::Policy;
use crate::units::LEAST_MEMORY;

/// Faults of one document by itself.
pub(super) fn within_layer(layer: &Layer, context: &Context) -> Result<(), ResolveError> {
    contradictions(layer, context)?;
    small_limits(layer)?;
    urls(layer)?;
    roots(layer, context)
}

/// The same object on both sides of one document.
fn contradictions(layer: &Layer, context: &Context) -> Result<(), ResolveError> {
    let document = &layer.document;
    let files = &document.filesystem;
    let contradiction = |key: &str, entry: &str, other| {
        let object = escape(entry.as_bytes()).into_owned();
        let fault = ResolveFault::Contradiction { object, other };
        Err(ResolveError::new(layer.place(key, entry), fault))
    };
    for words in &files.allow_read {
        let pattern = text::hidden(words, context).ok();
        let denied = files.deny_read.iter().any(|other| {
            other == words || (pattern.is_some() && text::hidden(other, context).ok() == pattern)
        });
        if denied {
            return contradiction("filesystem.allow_read", words, "filesystem.deny_read");
        }
    }
    for words in &files.unprotected {
        let name = text::name(words).ok();
        if files
            .protected
            .iter()
            .any(|other| text::name(other).ok() == name)
        {
            return contradiction("filesystem.unprotected", words, "filesystem.protected");
        }
    }
    for rule in &document.network.allow {
        if document.network.deny.contains(rule.host()) {
            return contradiction("network.allow", &rule.to_string(), "network.deny");
        }
    }
    for name in &document.environment.pass {
        if document.environment.set.contains_key(name) {
            return contradiction("environment.pass", name, "environment.set");
        }
    }
    Ok(())
}

fn small_limits(layer: &Layer) -> Result<(), ResolveError> {
    let limits = &layer.document.limits;
    let approvals = &layer.document.approvals;
    for (key, limit) in [
        ("limits.memory", limits.memory.map(|size| size.0)),
        ("limits.processes", limits.processes.map(u64::from)),
        ("limits.time", limits.time.map(|span| span.0)),
        ("approvals.timeout", approvals.timeout.map(|span| span.0)),
        (
            "approvals.max_duration",
            approvals.max_duration.map(|span| span.0),
        ),
    ] {
        if limit == Some(0) {
            return Err(ResolveError::new(
                layer.place(key, ""),
                ResolveFault::ZeroLimit,
            ));
        }
    }
    match limits.memory {
        Some(size) if size < LEAST_MEMORY => Err(ResolveError::new(
            layer.place("limits.memory", ""),
            ResolveFault::MemoryTooSmall(size),
        )),
        Some(_) | None => Ok(()),
    }
}

fn urls(layer: &Layer) -> Result<(), ResolveError> {
    let proxy = layer.document.network.upstream_proxy.as_deref();
    let otlp = layer
        .document
        .audit
        .otlp
        .as_ref()
        .map(|otlp| otlp.endpoint.as_str());
    let web = "`http://HOST:PORT` or `https://HOST:PORT`";
    for (key, url, schemes, expected) in [
        (
            "network.upstream_proxy",
            proxy,
            &["http"][..],
            "`http://HOST:PORT`",
        ),
        ("audit.otlp.endpoint", otlp, &["http", "https"][..], web),
    ] {
        if let Some(url) = url {
            text::url(url, schemes, expected)
                .map_err(|fault| ResolveError::new(layer.place(key, url), fault))?;
        }
    }
    Ok(())
}

fn roots(layer: &Layer, context: &Context) -> Result<(), ResolveError> {
    for words in &layer.document.filesystem.writable_roots {
        let at = |fault| ResolveError::new(layer.place("filesystem.writable_roots", words), fault);
        let root = text::path(words, context).map_err(at)?;
        if let Some(reason) = forbidden_root(&root, context) {
            let path = escape_os(root.as_path());
            return Err(at(ResolveFault::ForbiddenRoot { path, reason }));
        }
    }
    Ok(())
}

/// Why `root` can't be writable, by its letters; the executor asks again of the object behind it.
#[must_use]
pub(super) fn forbidden_root(root: &AbsolutePath, context: &Context) -> Option<ForbiddenRoot> {
    let root: &Path = root.as_path();
    if root.parent().is_none() {
        Some(ForbiddenRoot::FileSystemRoot)
    } else if root == context.home.as_path() {
        Some(ForbiddenRoot::Home)
    } else if context.home.as_path().starts_with(root) {
        Some(ForbiddenRoot::AboveHome)
    } else if context.state.as_path().starts_with(root) {
        Some(ForbiddenRoot::HoldsState)
    } else if root.starts_with(context.state.as_path()) {
        Some(ForbiddenRoot::InsideState)
    } else if crate::system::is_system(root) {
        Some(ForbiddenRoot::System)
    } else {
        None
    }
}

/// Why `policy` can't have `root` as a further writable root, by its letters.
#[must_use]
pub fn refuse_root(policy: &Policy, root: &AbsolutePath) -> Option<ForbiddenRoot> {
    forbidden_root(root, &context_of(policy))
}

/// What `policy` was resolved against, as far as roots are judged by it.
fn context_of(policy: &Policy) -> Context {
    Context {
        home: policy.home.clone(),
        workspace: policy.workspace.clone(),
        state: policy.state.clone(),
        platform: crate::secrets::Platform::Linux,
    }
}

/// Faults that only show when all layers are merged.
pub(super) fn across_layers(policy: &Policy, layers: &[&Layer]) -> Result<(), ResolveError> {
    let layer_of = |kind: LayerKind| layers.iter().find(|layer| layer.kind == kind);
    let place = |kind: LayerKind, key: &str, entry: &str| match layer_of(kind) {
        Some(layer) => layer.place(key, entry),
        None => crate::place::Place {
            source: kind.word().to_owned(),
            key: key.to_owned(),
            spot: None,
        },
    };
    workspace(policy)?;
    if policy.network.ask.value && policy.network.mode.value != NetworkMode::Allowlist {
        return Err(ResolveError::new(
            place(policy.network.ask.layer, "network.ask", "true"),
            ResolveFault::AskWithoutAllowlist(policy.network.mode.value),
        ));
    }
    let scoped = policy
        .network
        .allow
        .iter()
        .find(|rule| rule.value.scope().is_some());
    if let Some(scoped) = scoped.filter(|_| policy.network.mode.value == NetworkMode::Open) {
        let rule = scoped.value.to_string();
        return Err(ResolveError::new(
            place(scoped.layer, "network.allow", &rule),
            ResolveFault::ScopeInOpenMode(rule),
        ));
    }
    for allowed in policy
        .network
        .allow
        .iter()
        .filter(|rule| rule.layer == LayerKind::CommandLine)
    {
        let denied = policy
            .network
            .deny
            .iter()
            .find(|denied| denied.value == *allowed.value.host());
        if let Some(denied) = denied {
            let host = allowed.value.to_string();
            let fault = if denied.layer == LayerKind::Managed {
                ResolveFault::ManagedRefusal {
                    value: host.clone(),
                    limit: format!("a denial of `{host}`"),
                    managed: place(LayerKind::Managed, "", "").source,
                }
            } else {
                ResolveFault::DeniedElsewhere {
                    host: host.clone(),
                    denied_by: denied.layer.word(),
                }
            };
            return Err(ResolveError::new(
                place(allowed.layer, "network.allow", &host),
                fault,
            ));
        }
    }
    allow_offline(policy, &place)?;
    let approvals = &policy.approvals;
    let reason = match (approvals.reviewer.value, approvals.command.value.is_empty()) {
        (Reviewer::Command, true) => "the reviewer is a command, and none is named",
        (Reviewer::Command, false) | (Reviewer::None | Reviewer::Prompt, _) => return Ok(()),
    };
    let place = place(approvals.reviewer.layer, "approvals.reviewer", "command");
    Err(ResolveError::new(place, ResolveFault::BadReviewer(reason)))
}

/// A host that is allowed and not reached: by an option of this very command, or because nobody chose a mode.
fn allow_offline(
    policy: &Policy,
    place: &dyn Fn(LayerKind, &str, &str) -> crate::place::Place,
) -> Result<(), ResolveError> {
    let network = &policy.network;
    if network.mode.value != NetworkMode::Offline {
        return Ok(());
    }
    let unmeant = network.allow.iter().find(|rule| {
        rule.layer == LayerKind::CommandLine || network.mode.layer == LayerKind::Default
    });
    let Some(rule) = unmeant else { return Ok(()) };
    let host = rule.value.to_string();
    let place = place(rule.layer, "network.allow", &host);
    Err(ResolveError::new(place, ResolveFault::AllowOffline(host)))
}

/// The workspace is a writable root too, unless nothing is written or nothing is held.
fn workspace(policy: &Policy) -> Result<(), ResolveError> {
    match policy.mode.value {
        Mode::ReadOnly | Mode::FullAccess => return Ok(()),
        Mode::WorkspaceWrite => {}
    }
    let Some(reason) = refuse_root(policy, &policy.workspace) else {
        return Ok(());
    };
    let place = crate::place::Place {
        source: LayerKind::CommandLine.word().to_owned(),
        key: "--workspace".to_owned(),
        spot: None,
    };
    let path = escape_os(policy.workspace.as_path());
    Err(ResolveError::new(
        place,
        ResolveFault::ForbiddenRoot { path, reason },
    ))
}
