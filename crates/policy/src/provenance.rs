//! Who said what: every effective value of a policy with the layer that set it, for `ringfence policy check`.
//!
//! Invariant: every key of a policy is listed, at least by its default, or by nothing where it is an empty list.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::layers::{LayerKind, Sourced};
use crate::policy::Policy;

/// One effective value: a key's, or one entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The dotted key; built-in secrets stand under `filesystem.deny_read`, built-in names under `filesystem.protected`.
    pub key: String,
    /// The value in the words of a policy file. Not escaped.
    pub value: String,
    /// The layer that set it.
    pub layer: LayerKind,
}

/// Settings on their way into a list.
struct Settings(Vec<Setting>);

impl Settings {
    fn add(&mut self, key: &str, value: &dyn Display, layer: LayerKind) {
        self.0.push(Setting {
            key: key.to_owned(),
            value: value.to_string(),
            layer,
        });
    }

    fn one<T: Display>(&mut self, key: &str, value: &Sourced<T>) {
        self.add(key, &value.value, value.layer);
    }

    fn maybe<T: Display>(&mut self, key: &str, value: Option<&Sourced<T>>) {
        if let Some(value) = value {
            self.one(key, value);
        }
    }

    fn list<T: Display>(&mut self, key: &str, values: &[Sourced<T>]) {
        for value in values {
            self.one(key, value);
        }
    }
}

impl Policy {
    /// Every effective value and the layer that set it, in the order of the policy file.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Settings(Vec::new());
        settings.one("mode", &self.mode);
        settings.one("require", &self.require);
        let files = &self.filesystem;
        settings.list("filesystem.writable_roots", &files.writable_roots);
        for hidden in &files.hidden {
            settings.add("filesystem.deny_read", &hidden.name, hidden.layer);
        }
        settings.list("filesystem.protected", &files.protected);
        settings.one("filesystem.git", &files.git);
        settings.one("filesystem.new_repositories", &files.new_repositories);
        settings.one("filesystem.hard_links", &files.hard_links);
        let network = &self.network;
        settings.one("network.mode", &network.mode);
        settings.list("network.allow", &network.allow);
        settings.list("network.deny", &network.deny);
        settings.one("network.ask", &network.ask);
        settings.list("network.publish", &network.publish);
        settings.list("network.connect", &network.connect);
        settings.list("network.unix_sockets", &network.unix_sockets);
        settings.maybe("network.upstream_proxy", network.upstream_proxy.as_ref());
        settings.one("environment.mode", &self.environment.mode);
        settings.list("environment.pass", &self.environment.pass);
        for (name, value) in &self.environment.set {
            settings.one(&format!("environment.set.{name}"), value);
        }
        settings.maybe("limits.memory", self.limits.memory.as_ref());
        settings.maybe("limits.processes", self.limits.processes.as_ref());
        settings.maybe("limits.time", self.limits.time.as_ref());
        let approvals = &self.approvals;
        settings.one("approvals.reviewer", &approvals.reviewer);
        for word in &approvals.command.value {
            settings.add("approvals.command", word, approvals.command.layer);
        }
        settings.one("approvals.timeout", &approvals.timeout);
        settings.one("approvals.max_duration", &approvals.max_duration);
        if let Some(otlp) = &self.otlp {
            settings.add("audit.otlp.endpoint", &otlp.value.endpoint, otlp.layer);
            settings.add("audit.otlp.protocol", &otlp.value.protocol, otlp.layer);
        }
        settings.one("windows.sandbox", &self.windows_sandbox);
        settings.one("windows.loopback", &self.windows_loopback);
        settings.0
    }
}
