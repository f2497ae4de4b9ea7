//! The table of the demo in the words of the POSIX shell, and of the probe that is built in C.

use super::{Attack, Effect, Job, Where, git, shell};
use crate::demo::tools::Tool;

/// The jobs, in order.
pub(crate) const JOBS: &[Job] = &[
    Job {
        name: "build and test the C program",
        tool: Tool::C,
        script: "sh build.sh",
    },
    Job {
        name: "cargo test (Rust crate)",
        tool: Tool::Cargo,
        script: "{tool} test --offline --quiet",
    },
    Job {
        name: "python3 -m unittest, with a server on its loopback",
        tool: Tool::Python,
        script: "{tool} -m unittest --quiet",
    },
    Job {
        name: "git status, log, diff",
        tool: Tool::Git,
        script: "{tool} status --short && {tool} log --oneline && test -n \"$({tool} diff)\"",
    },
    Job {
        name: "edit, rename and delete files",
        tool: Tool::Shell,
        script: "echo draft > a.txt && mv a.txt b.txt && grep -q draft b.txt && rm b.txt",
    },
    Job {
        name: "use a temporary file in the next command",
        tool: Tool::Shell,
        script: "t=$(mktemp) && echo x > \"$t\" && cat \"$t\" && rm \"$t\"",
    },
];

const fn probe(name: &'static str, place: Where, script: &'static str, effect: Effect) -> Attack {
    Attack {
        name,
        tool: Tool::C,
        place,
        script,
        effect,
    }
}

/// The attacks, in order: those on git's directory come last, because their controls really break it.
pub(crate) const ATTACKS: &[Attack] = &[
    shell(
        "append to ~/.bashrc",
        "echo evil >> {home}/.bashrc",
        Effect::File(".bashrc"),
    ),
    shell(
        "the same through a symlink in the project",
        "ln -sf {home}/.bashrc innocent && echo evil2 >> innocent",
        Effect::File(".bashrc"),
    ),
    shell(
        "the same through /proc/self/root",
        "echo evil3 >> /proc/self/root{home}/.bashrc",
        Effect::File(".bashrc"),
    ),
    shell(
        "overwrite a file of another project",
        "echo evil > {home}/other/notes.txt",
        Effect::File("other/notes.txt"),
    ),
    probe(
        "open /etc/passwd for writing",
        Where::Root,
        "{probe} open /etc/passwd",
        Effect::Answer,
    ),
    shell(
        "read ~/.ssh/id_ed25519",
        "cat {home}/.ssh/id_ed25519",
        Effect::Leak,
    ),
    shell(
        "the same through a symlink",
        "ln -sf {home}/.ssh/id_ed25519 key && cat key",
        Effect::Leak,
    ),
    shell(
        "the same through /proc/self/root",
        "cat /proc/self/root{home}/.ssh/id_ed25519",
        Effect::Leak,
    ),
    probe(
        "the same through a hard link",
        Where::Anywhere,
        "{probe} link {home}/.ssh/id_ed25519 key2 && cat key2",
        Effect::Leak,
    ),
    shell("read the project's .env", "cat .env", Effect::Leak),
    shell(
        "read a token from the environment",
        "test -n \"$DEMO_API_TOKEN\" && echo \"$DEMO_API_TOKEN\"",
        Effect::Leak,
    ),
    shell(
        "create .codex/config.toml",
        "mkdir -p .codex && echo 'approval_policy = \"never\"' > .codex/config.toml",
        Effect::File("project/.codex/config.toml"),
    ),
    shell(
        "create .envrc",
        "echo 'evil' > .envrc",
        Effect::File("project/.envrc"),
    ),
    probe(
        "set the setuid bit on a program",
        Where::Anywhere,
        "cp {probe} tool && {probe} setuid tool",
        Effect::SetUid("project/tool"),
    ),
    probe(
        "connect to a server on the host's loopback",
        Where::Anywhere,
        "{probe} tcp {port}",
        Effect::Tcp,
    ),
    probe(
        "connect to a docker.sock",
        Where::Anywhere,
        "{probe} unix {socket}",
        Effect::Unix,
    ),
    probe(
        "kill a process outside",
        Where::Anywhere,
        "{probe} kill {victim}",
        Effect::Victim,
    ),
    probe(
        "trace a process outside (ptrace)",
        Where::Tracing,
        "{probe} trace {victim}",
        Effect::Answer,
    ),
    probe(
        "trace the Ringfence process that started it",
        Where::Tracing,
        "{probe} starter trace",
        Effect::Answer,
    ),
    probe(
        "open its memory",
        Where::Tracing,
        "{probe} starter memory",
        Effect::Answer,
    ),
    probe(
        "take a descriptor of it",
        Where::Tracing,
        "{probe} starter descriptor",
        Effect::Answer,
    ),
    probe(
        "mount a file system",
        Where::UserNamespaces,
        "mkdir -p mnt && {probe} mount mnt",
        Effect::Answer,
    ),
    probe(
        "enter a new user namespace",
        Where::UserNamespaces,
        "{probe} userns",
        Effect::Answer,
    ),
    probe(
        "type into the terminal (TIOCSTI)",
        Where::LegacyTiocsti,
        "{probe} sti",
        Effect::Answer,
    ),
    probe(
        "leave a daemon running",
        Where::Anywhere,
        "{probe} daemon build/daemon.lock build/daemon.pid",
        Effect::Daemon,
    ),
    git(
        "plant .git/hooks/pre-commit",
        "mkdir -p .git/hooks && echo 'evil' > .git/hooks/pre-commit",
        Effect::File("project/.git/hooks/pre-commit"),
    ),
    git(
        "set core.fsmonitor with git config",
        "{tool} config core.fsmonitor ./evil",
        Effect::File("project/.git/config"),
    ),
    git(
        "mv .git .git2, git init, plant a hook",
        "mv .git .git2 && {tool} init -q && mkdir -p .git/hooks && echo 'evil2' > .git/hooks/pre-commit",
        Effect::File("project/.git/hooks/pre-commit"),
    ),
];
