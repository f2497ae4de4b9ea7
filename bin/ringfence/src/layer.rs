//! The command line as a layer of the policy.
//!
//! Invariant: every field of [`PolicyOptions`] that mirrors a key ends up in the document; the pattern below names
//! them all, so that a new option can't be forgotten.

use ringfence_policy::PolicyDocument;

use crate::cli::{Limit, PolicyOptions, Variable};

/// Writes the options as the policy file that they stand for.
pub(crate) fn document(options: &PolicyOptions) -> PolicyDocument {
    let PolicyOptions {
        mode,
        workspace: _,
        writable_root,
        deny_read,
        allow_read,
        protect,
        unprotect,
        git,
        network,
        allow_host,
        deny_host,
        ask,
        publish,
        connect,
        unix_socket,
        env,
        limit,
        require,
        config: _,
    } = options.clone();
    let mut document = PolicyDocument {
        mode,
        require,
        ..PolicyDocument::default()
    };
    let filesystem = &mut document.filesystem;
    filesystem.writable_roots = writable_root;
    filesystem.deny_read = deny_read;
    filesystem.allow_read = allow_read;
    filesystem.protected = protect;
    filesystem.unprotected = unprotect;
    filesystem.git = git;
    let section = &mut document.network;
    section.mode = network;
    section.allow = allow_host;
    section.deny = deny_host;
    section.ask = ask.then_some(true);
    section.publish = publish;
    section.connect = connect.iter().map(ToString::to_string).collect();
    section.unix_sockets = unix_socket;
    for variable in env {
        match variable {
            Variable::Pass(name) => document.environment.pass.push(name),
            Variable::Set(name, value) => {
                document.environment.set.insert(name, value);
            }
        }
    }
    for limit in limit {
        match limit {
            Limit::Memory(size) => document.limits.memory = Some(size),
            Limit::Processes(count) => document.limits.processes = Some(count),
            Limit::Time(span) => document.limits.time = Some(span),
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, CommandLine};
    use clap::Parser;
    use ringfence_policy::document::{GitAccess, Mode, NetworkMode, Require};
    use ringfence_policy::units::{ByteSize, Span};

    #[test]
    fn every_option_reaches_its_key() {
        let line = CommandLine::try_parse_from([
            "ringfence",
            "run",
            "--mode",
            "read-only",
            "--require",
            "full",
            "--writable-root",
            "/a",
            "--deny-read",
            "/b",
            "--allow-read",
            "~/.npmrc",
            "--protect",
            "c",
            "--unprotect",
            "AGENTS.md",
            "--git",
            "commit",
            "--network",
            "open",
            "--allow-host",
            "example.com:1",
            "--deny-host",
            "example.net",
            "--ask",
            "--publish",
            "3000",
            "--connect",
            "127.0.0.1:5432",
            "--unix-socket",
            "/s",
            "--env",
            "CI",
            "--env",
            "A=b",
            "--limit",
            "memory=1GiB",
            "--limit",
            "processes=9",
            "--limit",
            "time=30m",
            "--",
            "true",
        ])
        .unwrap();
        let Command::Run(run) = line.command else {
            panic!("not run")
        };
        let document = document(&run.policy);
        assert_eq!(document.mode, Some(Mode::ReadOnly));
        assert_eq!(document.require, Some(Require::Full));
        assert_eq!(document.filesystem.writable_roots, ["/a"]);
        assert_eq!(document.filesystem.deny_read, ["/b"]);
        assert_eq!(document.filesystem.allow_read, ["~/.npmrc"]);
        assert_eq!(document.filesystem.protected, ["c"]);
        assert_eq!(document.filesystem.unprotected, ["AGENTS.md"]);
        assert_eq!(document.filesystem.git, Some(GitAccess::Commit));
        assert_eq!(document.network.mode, Some(NetworkMode::Open));
        assert_eq!(document.network.allow, ["example.com:1".parse().unwrap()]);
        assert_eq!(document.network.deny, ["example.net".parse().unwrap()]);
        assert_eq!(document.network.ask, Some(true));
        assert_eq!(document.network.publish, [3000]);
        assert_eq!(document.network.connect, ["127.0.0.1:5432"]);
        assert_eq!(document.network.unix_sockets, ["/s"]);
        assert_eq!(document.environment.pass, ["CI"]);
        assert_eq!(document.environment.set["A"], "b");
        assert_eq!(document.limits.memory, Some(ByteSize(1 << 30)));
        assert_eq!(document.limits.processes, Some(9));
        assert_eq!(document.limits.time, Some(Span(1_800_000)));
    }
}
