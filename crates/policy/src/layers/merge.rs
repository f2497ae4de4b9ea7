//! The merge itself: one value per key, with the layer that said it.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Context, Layer, LayerKind, ResolveError, ResolveFault, Sourced, text};
use crate::allow::AllowRule;
use crate::document::PolicyDocument;
use crate::escape::escape;
use crate::path::AbsolutePath;
use crate::policy::{ApprovalsPolicy, EnvironmentPolicy, Limits, NetworkPolicy, Policy};

mod filesystem;

/// What holds where no layer says anything.
pub(super) mod defaults {
    use crate::document::{
        EnvironmentMode, GitAccess, HardLinks, Loopback, Mode, NetworkMode, NewRepositories,
        Require, Reviewer, WindowsSandbox,
    };
    use crate::units::Span;

    pub(in crate::layers) const MODE: Mode = Mode::WorkspaceWrite;
    pub(in crate::layers) const REQUIRE: Require = Require::Partial;
    pub(in crate::layers) const GIT: GitAccess = GitAccess::ReadOnly;
    pub(in crate::layers) const NEW_REPOSITORIES: NewRepositories = NewRepositories::Clean;
    pub(in crate::layers) const HARD_LINKS: HardLinks = HardLinks::Warn;
    pub(in crate::layers) const NETWORK_MODE: NetworkMode = NetworkMode::Offline;
    pub(in crate::layers) const ASK: bool = false;
    pub(in crate::layers) const ENVIRONMENT_MODE: EnvironmentMode = EnvironmentMode::Filtered;
    pub(in crate::layers) const REVIEWER: Reviewer = Reviewer::Prompt;
    pub(in crate::layers) const APPROVAL_TIMEOUT: Span = Span(120_000);
    pub(in crate::layers) const APPROVAL_DURATION: Span = Span(8 * 3_600_000);
    pub(in crate::layers) const WINDOWS_SANDBOX: WindowsSandbox = WindowsSandbox::Elevated;
    pub(in crate::layers) const WINDOWS_LOOPBACK: Loopback = Loopback::Dynamic;
}

/// Layers on their way to a policy.
struct Merge<'layers> {
    /// Strongest first.
    layers: &'layers [&'layers Layer],
    context: &'layers Context,
    notes: Vec<String>,
}

/// Merges `layers`, strongest first, over the defaults.
pub(super) fn merge(layers: &[&Layer], context: &Context) -> Result<Policy, ResolveError> {
    let mut merge = Merge {
        layers,
        context,
        notes: Vec::new(),
    };
    let filesystem = merge.filesystem()?;
    let network = merge.network()?;
    let environment = merge.environment()?;
    let limits = merge.limits()?;
    let approvals = merge.approvals()?;
    Ok(Policy {
        mode: merge.value("mode", defaults::MODE, |document| document.mode)?,
        require: merge.value("require", defaults::REQUIRE, |document| document.require)?,
        workspace: context.workspace.clone(),
        home: context.home.clone(),
        state: context.state.clone(),
        filesystem,
        network,
        environment,
        limits,
        approvals,
        otlp: merge.fixed(
            "audit.otlp",
            |document| document.audit.otlp.clone(),
            |otlp| otlp.endpoint.clone(),
        )?,
        windows_sandbox: merge.value("windows.sandbox", defaults::WINDOWS_SANDBOX, |document| {
            document.windows.sandbox
        })?,
        windows_loopback: merge.value(
            "windows.loopback",
            defaults::WINDOWS_LOOPBACK,
            |document| document.windows.loopback,
        )?,
        notes: merge.notes,
        layers: layers.iter().map(|layer| layer.kind).collect(),
    })
}

impl<'layers> Merge<'layers> {
    fn managed(&self) -> Option<&'layers Layer> {
        self.layers
            .iter()
            .find(|layer| layer.kind == LayerKind::Managed)
            .copied()
    }

    fn others(&self) -> impl Iterator<Item = &'layers Layer> + use<'layers> {
        self.layers
            .iter()
            .filter(|layer| layer.kind != LayerKind::Managed)
            .copied()
    }

    /// What `layer` asks for and does not get: an error for the command line, a note for a file.
    fn refuse(
        &mut self,
        layer: &Layer,
        managed: &Layer,
        key: &str,
        value: &str,
        limit: &str,
    ) -> Result<(), ResolveError> {
        let place = layer.place(key, value);
        let shown = |text: &str| escape(text.as_bytes()).into_owned();
        let fault = ResolveFault::ManagedRefusal {
            value: shown(value),
            limit: shown(limit),
            managed: shown(&managed.source),
        };
        if layer.kind == LayerKind::CommandLine {
            return Err(ResolveError::new(place, fault));
        }
        self.notes.push(format!("{place}: {fault}; left out"));
        Ok(())
    }

    /// The strongest layer's value, within the managed layer's.
    fn optional<T: Clone + Ord + Display>(
        &mut self,
        key: &str,
        get: impl Fn(&PolicyDocument) -> Option<T>,
    ) -> Result<Option<Sourced<T>>, ResolveError> {
        let limit = self
            .managed()
            .and_then(|managed| Some((managed, get(&managed.document)?)));
        for layer in self.others() {
            let Some(value) = get(&layer.document) else {
                continue;
            };
            match &limit {
                Some((managed, limit)) if value > *limit => {
                    self.refuse(layer, managed, key, &value.to_string(), &limit.to_string())?;
                }
                _ => {
                    return Ok(Some(Sourced {
                        value,
                        layer: layer.kind,
                    }));
                }
            }
        }
        Ok(limit.map(|(_, value)| Sourced {
            value,
            layer: LayerKind::Managed,
        }))
    }

    fn value<T: Clone + Ord + Display>(
        &mut self,
        key: &str,
        default: T,
        get: impl Fn(&PolicyDocument) -> Option<T>,
    ) -> Result<Sourced<T>, ResolveError> {
        let found = self.optional(key, get)?;
        Ok(found.unwrap_or(Sourced {
            value: default,
            layer: LayerKind::Default,
        }))
    }

    /// The strongest layer's value; no other one than the managed layer's where that names one.
    fn fixed<T: Clone + PartialEq>(
        &mut self,
        key: &str,
        get: impl Fn(&PolicyDocument) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Result<Option<Sourced<T>>, ResolveError> {
        let limit = self
            .managed()
            .and_then(|managed| Some((managed, get(&managed.document)?)));
        for layer in self.others() {
            let Some(value) = get(&layer.document) else {
                continue;
            };
            match &limit {
                Some((managed, limit)) if value != *limit => {
                    self.refuse(layer, managed, key, &show(&value), &show(limit))?;
                }
                Some(_) => {}
                None => {
                    return Ok(Some(Sourced {
                        value,
                        layer: layer.kind,
                    }));
                }
            }
        }
        Ok(limit.map(|(_, value)| Sourced {
            value,
            layer: LayerKind::Managed,
        }))
    }

    /// All layers' entries of a list that denies; each once, by the strongest that names it.
    fn denials<T: Clone + PartialEq>(
        &self,
        get: impl Fn(&PolicyDocument) -> Vec<T>,
    ) -> Vec<Sourced<T>> {
        let mut entries: Vec<Sourced<T>> = Vec::new();
        for layer in self.layers {
            for value in get(&layer.document) {
                if entries.iter().all(|entry| entry.value != value) {
                    entries.push(Sourced {
                        value,
                        layer: layer.kind,
                    });
                }
            }
        }
        entries
    }

    /// All layers' entries of a list that grants, read by `read`; within the managed layer's list where it has one.
    fn grants<R: Display, T: Clone + PartialEq>(
        &mut self,
        key: &str,
        list: impl Fn(&PolicyDocument) -> &[R],
        read: impl Fn(&R) -> Result<T, ResolveFault>,
        covers: impl Fn(&T, &T) -> bool,
    ) -> Result<Vec<Sourced<T>>, ResolveError> {
        let mut granted: Vec<Sourced<T>> = Vec::new();
        let mut ceiling: Option<(&Layer, usize)> = None;
        for layer in self.layers {
            let entries = list(&layer.document);
            for entry in entries {
                let words = entry.to_string();
                let value = read(entry)
                    .map_err(|fault| ResolveError::new(layer.place(key, &words), fault))?;
                if let Some((managed, count)) = ceiling {
                    let of_managed = granted.get(..count).unwrap_or_default();
                    if !of_managed.iter().any(|outer| covers(&outer.value, &value)) {
                        self.refuse(layer, managed, key, &words, "what its own list names")?;
                        continue;
                    }
                }
                if granted.iter().all(|known| known.value != value) {
                    granted.push(Sourced {
                        value,
                        layer: layer.kind,
                    });
                }
            }
            if layer.kind == LayerKind::Managed && (!entries.is_empty() || layer.states(key)) {
                ceiling = Some((layer, granted.len()));
            }
        }
        Ok(granted)
    }

    fn network(&mut self) -> Result<NetworkPolicy, ResolveError> {
        let context = self.context;
        let allow = self.grants(
            "network.allow",
            |document| &document.network.allow,
            |rule| match rule.check_allow() {
                Ok(()) => Ok(rule.clone()),
                Err(reason) => Err(ResolveFault::BadHost {
                    host: rule.to_string(),
                    reason,
                }),
            },
            AllowRule::covers,
        )?;
        let publish = self.grants(
            "network.publish",
            |document| &document.network.publish,
            |port| {
                if *port == 0 {
                    Err(ResolveFault::ZeroPort)
                } else {
                    Ok(*port)
                }
            },
            |outer: &u16, inner| outer == inner,
        )?;
        let connect = self.grants(
            "network.connect",
            |document| &document.network.connect,
            |words| text::loopback(words),
            |outer: &std::net::SocketAddr, inner| outer == inner,
        )?;
        let unix_sockets = self.grants(
            "network.unix_sockets",
            |document| &document.network.unix_sockets,
            |words| text::path(words, context),
            |outer: &AbsolutePath, inner| outer == inner,
        )?;
        Ok(NetworkPolicy {
            mode: self.value("network.mode", defaults::NETWORK_MODE, |document| {
                document.network.mode
            })?,
            allow,
            deny: self.denials(|document| document.network.deny.clone()),
            ask: self.value("network.ask", defaults::ASK, |document| {
                document.network.ask
            })?,
            publish,
            connect,
            unix_sockets,
            upstream_proxy: self.fixed(
                "network.upstream_proxy",
                |document| document.network.upstream_proxy.clone(),
                Clone::clone,
            )?,
        })
    }

    fn environment(&mut self) -> Result<EnvironmentPolicy, ResolveError> {
        let pass = self.grants(
            "environment.pass",
            |document| &document.environment.pass,
            |name| text::variable(name).map(|()| name.clone()),
            |outer: &String, inner| outer == inner,
        )?;
        let mut set: BTreeMap<String, Sourced<String>> = BTreeMap::new();
        for layer in self.layers {
            for (name, value) in &layer.document.environment.set {
                let place = || layer.place(&format!("environment.set.{name}"), value);
                text::variable(name).map_err(|fault| ResolveError::new(place(), fault))?;
                if value.contains('\0') {
                    let name = escape(name.as_bytes()).into_owned();
                    let fault = ResolveFault::BadVariable {
                        name,
                        reason: "has a NUL byte in its value",
                    };
                    return Err(ResolveError::new(place(), fault));
                }
                let managed = self.managed().filter(|managed| {
                    let held = managed.document.environment.set.get(name);
                    held.is_some_and(|held| held != value)
                });
                if let Some(managed) = managed {
                    self.refuse(layer, managed, "environment.set", name, "its own value")?;
                }
                set.entry(name.clone()).or_insert_with(|| Sourced {
                    value: value.clone(),
                    layer: layer.kind,
                });
            }
        }
        Ok(EnvironmentPolicy {
            mode: self.value("environment.mode", defaults::ENVIRONMENT_MODE, |document| {
                document.environment.mode
            })?,
            pass,
            set,
        })
    }

    fn limits(&mut self) -> Result<Limits, ResolveError> {
        Ok(Limits {
            memory: self.optional("limits.memory", |document| document.limits.memory)?,
            processes: self.optional("limits.processes", |document| document.limits.processes)?,
            time: self.optional("limits.time", |document| document.limits.time)?,
        })
    }

    fn approvals(&mut self) -> Result<ApprovalsPolicy, ResolveError> {
        // A managed reviewer is the one that answers, or nobody: being asked oneself is no narrower than a program.
        let reviewer = self.reviewer()?;
        let command = self.fixed(
            "approvals.command",
            |document| {
                Some(document.approvals.command.clone()).filter(|command| !command.is_empty())
            },
            |command| command.join(" "),
        )?;
        let none = Sourced {
            value: Vec::new(),
            layer: LayerKind::Default,
        };
        Ok(ApprovalsPolicy {
            reviewer,
            command: command.unwrap_or(none),
            timeout: self.value(
                "approvals.timeout",
                defaults::APPROVAL_TIMEOUT,
                |document| document.approvals.timeout,
            )?,
            max_duration: self.value(
                "approvals.max_duration",
                defaults::APPROVAL_DURATION,
                |document| document.approvals.max_duration,
            )?,
        })
    }

    fn reviewer(&mut self) -> Result<Sourced<crate::document::Reviewer>, ResolveError> {
        use crate::document::Reviewer;
        let key = "approvals.reviewer";
        let limit = self
            .managed()
            .and_then(|managed| Some((managed, managed.document.approvals.reviewer?)));
        for layer in self.others() {
            let Some(value) = layer.document.approvals.reviewer else {
                continue;
            };
            match limit {
                Some((managed, limit)) if value != limit && value != Reviewer::None => {
                    self.refuse(layer, managed, key, value.word(), limit.word())?;
                }
                _ => {
                    return Ok(Sourced {
                        value,
                        layer: layer.kind,
                    });
                }
            }
        }
        Ok(match limit {
            Some((_, value)) => Sourced {
                value,
                layer: LayerKind::Managed,
            },
            None => Sourced {
                value: defaults::REVIEWER,
                layer: LayerKind::Default,
            },
        })
    }
}
