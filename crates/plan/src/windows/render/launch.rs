//! The launch specification in words.

use std::fmt::Write as _;

use ringfence_nt::FilterFlags;

use ringfence_policy::escape::escape_again;

use super::{Names, ace_words, render_descriptor};
use crate::windows::egress::ProxyPorts;
use crate::windows::launch::{Identity, LaunchSpec, Network, WriteClassRule};
use crate::windows::step::{AccountRole, PortRange};

/// How commands start.
pub(super) fn render(text: &mut String, launch: &LaunchSpec, names: &Names) {
    let identity = match launch.identity {
        Identity::Account(AccountRole::Offline) => "OFFLINE",
        Identity::Account(AccountRole::Online) => "ONLINE",
        Identity::Person => "PERSON",
    };
    let network = match launch.network {
        Network::Filtered => "filtered: the proxy, and loopback's dynamic ports",
        Network::ProxyOnly => "filtered: the proxy alone",
        Network::Open => "open",
        Network::Advisory => "advisory",
    };
    let rule = match launch.write_class {
        WriteClassRule::Boundary => "DELETE, WRITE_DAC, WRITE_OWNER",
        WriteClassRule::SameUser => "DELETE, WRITE_DAC, WRITE_OWNER, FILE_DELETE_CHILD",
    };
    let _ = writeln!(text, "\nlaunch");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "       {name:<14} {value}");
    };
    row("runs as", identity);
    row("network", network);
    match (launch.proxy, launch.network) {
        (Some(ports), _) => row("proxy", &proxy(ports)),
        (None, Network::Advisory) => row(
            "proxy",
            "none; variables name a port of loopback that the session keeps closed",
        ),
        (None, Network::Filtered | Network::ProxyOnly | Network::Open) => {}
    }
    row(
        "runs only if",
        &format!("restricted tokens are checked for {rule}"),
    );
    row("directory", &launch.directory.printable());
    row("token flags", &flags(launch.token.flags));
    for sid in &launch.token.deny_only {
        row("deny-only", &names.of_sid(*sid));
    }
    for one in &launch.token.restricting {
        row(
            "restricting",
            &format!("{}: {}", names.of_sid(one.sid), escape_again(&one.why)),
        );
    }
    for ace in &launch.token.default_dacl.aces {
        row("default list", &ace_words(ace, names));
    }
    if let Some(memory) = launch.job.memory_bytes {
        row("job memory", &format!("{memory} bytes"));
    }
    if let Some(count) = launch.job.processes {
        row("job processes", &count.to_string());
    }
    row("job", "killed on close, no breakaway");
    row("desktop limits", &launch.job.ui_limits.join(" "));
    row("handles", "standard input, output, error, and no other");
    for (name, path) in &launch.shells {
        row(
            "shell",
            &format!("{} {}", escape_again(name), path.printable()),
        );
    }
    objects(text, launch, names);
    let _ = writeln!(text, "\nenvironment");
    for (name, value) in &launch.environment {
        let _ = writeln!(
            text,
            "       {}={}",
            escape_again(name),
            escape_again(value)
        );
    }
}

fn proxy(ports: ProxyPorts) -> String {
    match ports {
        ProxyPorts::Reserved(PortRange { first, last }) => {
            format!("on the first free port of loopback from {first} to {last}")
        }
        ProxyPorts::Any => "on a free port of loopback".to_owned(),
    }
}

fn objects(text: &mut String, launch: &LaunchSpec, names: &Names) {
    let mut object = |name: &str, descriptor| {
        let _ = writeln!(text, "       {name}");
        render_descriptor(text, descriptor, names);
    };
    object("token", &launch.token.descriptor);
    object("window station, without a name", &launch.station);
    object("desktop", &launch.desktop);
    if let Some(pipe) = &launch.pipe {
        object("pipe", &pipe.descriptor);
    }
    if let Some(runner) = &launch.runner {
        object("runner's process", &runner.process);
        object("runner's threads", &runner.thread);
        object("runner's token", &runner.token);
    }
}

fn flags(flags: FilterFlags) -> String {
    let known = [
        (FilterFlags::DISABLE_MAX_PRIVILEGE, "DISABLE_MAX_PRIVILEGE"),
        (FilterFlags::LUA_TOKEN, "LUA_TOKEN"),
        (FilterFlags::WRITE_RESTRICTED, "WRITE_RESTRICTED"),
    ];
    let set = known.iter().filter(|(flag, _)| flags.contains(*flag));
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}
