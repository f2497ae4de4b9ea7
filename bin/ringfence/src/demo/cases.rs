//! The table of the demo: the jobs that must work and the attacks that must not.
//!
//! Each is a few words of shell, as an agent would type them. The tables of all systems are in every program, so that
//! each can be looked at anywhere. Invariant: nothing here says how a case ends; that is seen when it runs.

mod unix;
mod windows;

use super::shell::Shell;
use super::tools::Tool;

/// The cases of one system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// Whose words they are.
    pub(crate) shell: Shell,
    /// What they are made with, beside the shell.
    pub(crate) tools: &'static [Tool],
    /// The jobs, in order.
    pub(crate) jobs: &'static [Job],
    /// The attacks, in order.
    pub(crate) attacks: &'static [Attack],
}

/// Those of Unix.
pub(crate) const UNIX: System = System {
    shell: Shell::Posix,
    tools: &[Tool::Git, Tool::C, Tool::Cargo, Tool::Python],
    jobs: unix::JOBS,
    attacks: unix::ATTACKS,
};

/// Those of Windows.
pub(crate) const WINDOWS: System = System {
    shell: Shell::Cmd,
    tools: &[Tool::Git, Tool::Cargo, Tool::Python, Tool::PowerShell],
    jobs: windows::JOBS,
    attacks: windows::ATTACKS,
};

/// This one's.
pub(crate) const HERE: System = if cfg!(windows) { WINDOWS } else { UNIX };

/// A job that must work inside as it does outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// For a person.
    pub(crate) name: &'static str,
    /// What it needs.
    pub(crate) tool: Tool,
    /// The shell script; `{tool}` is the tool's program.
    pub(crate) script: &'static str,
}

/// How it is seen from outside that an attack has worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// This file (below the home) is another than before.
    File(&'static str),
    /// This file (below the home) has the setuid bit.
    SetUid(&'static str),
    /// The secret is in the output.
    Leak,
    /// The TCP server was reached.
    Tcp,
    /// The Unix server was reached.
    Unix,
    /// The victim has ended.
    Victim,
    /// A daemon holds its lock.
    Daemon,
    /// It can't be seen from outside: the system's answer to the attack decides.
    Answer,
}

/// A host on which the control of an attack can work at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Any.
    Anywhere,
    /// For root or an administrator: another user is refused without any boundary.
    Root,
    /// Where user namespaces are open, or for root.
    UserNamespaces,
    /// Where one may trace one's own processes (Yama's `ptrace_scope` is 0), or for root.
    Tracing,
    /// Where TIOCSTI exists (`dev.tty.legacy_tiocsti`), or for root.
    LegacyTiocsti,
}

/// What a hostile agent tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// For a person.
    pub(crate) name: &'static str,
    /// What it needs.
    pub(crate) tool: Tool,
    /// Where its control can work.
    pub(crate) place: Where,
    /// The shell script, started in the project; [`Shell::fill`] knows its placeholders.
    pub(crate) script: &'static str,
    /// How it is seen.
    pub(crate) effect: Effect,
}

/// An attack that any host lets happen without a boundary.
const fn anywhere(tool: Tool, name: &'static str, script: &'static str, effect: Effect) -> Attack {
    Attack {
        name,
        tool,
        place: Where::Anywhere,
        script,
        effect,
    }
}

const fn shell(name: &'static str, script: &'static str, effect: Effect) -> Attack {
    anywhere(Tool::Shell, name, script, effect)
}

const fn git(name: &'static str, script: &'static str, effect: Effect) -> Attack {
    anywhere(Tool::Git, name, script, effect)
}
