//! A policy as a person reads it: each setting, its value, and the layer that said it.

use std::fmt::Display;

use ringfence_policy::policy::HiddenKind;
use ringfence_policy::{LayerKind, Policy, Sourced};

use crate::render::style::Colour;
use crate::render::table::{self, Cell};

/// Rows of a table that says where each setting comes from.
struct Settings(Vec<[Cell; 3]>);

impl Settings {
    fn one(&mut self, key: &str, setting: &Sourced<impl Display>) {
        self.row(key, &setting.value.to_string(), Some(setting.layer));
    }

    fn list<'a, T: Display + 'a>(
        &mut self,
        key: &str,
        settings: impl IntoIterator<Item = &'a Sourced<T>>,
    ) {
        for setting in settings {
            self.one(key, setting);
        }
    }

    fn row(&mut self, key: &str, value: &str, layer: Option<LayerKind>) {
        let layer = layer.map_or("", layer_name);
        self.0.push([key.into(), layer.into(), value.into()]);
    }
}

/// Renders every setting; of the built-in secrets only their number.
pub(crate) fn render(policy: &Policy, colour: Colour) -> String {
    let mut settings = Settings(Vec::new());
    settings.one("mode", &policy.mode);
    settings.one("require", &policy.require);
    settings.row("workspace", &policy.workspace.to_string(), None);
    filesystem(&mut settings, policy);
    network(&mut settings, policy);
    environment(&mut settings, policy);
    limits(&mut settings, policy);
    table::render(["SETTING", "FROM", "VALUE"], &settings.0, colour)
}

fn filesystem(settings: &mut Settings, policy: &Policy) {
    let rules = &policy.filesystem;
    settings.list("filesystem.writable_roots", &rules.writable_roots);
    let built_in: Vec<_> = rules
        .hidden
        .iter()
        .filter(|hidden| hidden.kind == HiddenKind::BuiltIn)
        .collect();
    settings.row(
        "filesystem.deny_read",
        &format!("{} built-in secrets (--json lists them)", built_in.len()),
        Some(LayerKind::Default),
    );
    for hidden in rules
        .hidden
        .iter()
        .filter(|hidden| hidden.kind == HiddenKind::DenyRead)
    {
        settings.row("filesystem.deny_read", &hidden.name, Some(hidden.layer));
    }
    let (default, added): (Vec<_>, Vec<_>) = rules
        .protected
        .iter()
        .partition(|name| name.layer == LayerKind::Default);
    let names: Vec<_> = default.iter().map(|name| name.value.as_str()).collect();
    settings.row(
        "filesystem.protected",
        &names.join(" "),
        Some(LayerKind::Default),
    );
    settings.list("filesystem.protected", added);
    settings.one("filesystem.git", &rules.git);
    settings.one("filesystem.new_repositories", &rules.new_repositories);
    settings.one("filesystem.hard_links", &rules.hard_links);
}

fn network(settings: &mut Settings, policy: &Policy) {
    let network = &policy.network;
    settings.one("network.mode", &network.mode);
    settings.list("network.allow", &network.allow);
    settings.list("network.deny", &network.deny);
    settings.one("network.ask", &network.ask);
    settings.list("network.publish", &network.publish);
    settings.list("network.connect", &network.connect);
    settings.list("network.unix_sockets", &network.unix_sockets);
    settings.list("network.upstream_proxy", &network.upstream_proxy);
}

fn environment(settings: &mut Settings, policy: &Policy) {
    let environment = &policy.environment;
    settings.one("environment.mode", &environment.mode);
    settings.list("environment.pass", &environment.pass);
    for (name, value) in &environment.set {
        settings.row(
            "environment.set",
            &format!("{name}={}", value.value),
            Some(value.layer),
        );
    }
}

fn limits(settings: &mut Settings, policy: &Policy) {
    settings.list("limits.memory", &policy.limits.memory);
    settings.list("limits.processes", &policy.limits.processes);
    settings.list("limits.time", &policy.limits.time);
}

/// A layer's name, as events and documents spell it.
pub(crate) fn layer_name(layer: LayerKind) -> &'static str {
    match layer {
        LayerKind::Managed => "managed",
        LayerKind::CommandLine => "command line",
        LayerKind::User => "user",
        LayerKind::Project => "project",
        LayerKind::Default => "default",
    }
}
