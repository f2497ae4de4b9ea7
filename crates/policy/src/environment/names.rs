//! Variables known by name.
//!
//! A table of words for secrets, and two of whole names with a reason each. Says nothing of values.
//! Invariant: the tables are sorted, for they are searched by halves.

use super::WithheldReason;

/// A variable and why it is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedVariable {
    /// Its name; a trailing `*` stands for any ending.
    pub name: &'static str,
    /// Why it is withheld.
    pub why: &'static str,
}

const fn named(name: &'static str, why: &'static str) -> NamedVariable {
    NamedVariable { name, why }
}

/// Words that mark a secret when they stand as whole words in a name, between `_`, `-`, `.` or the name's ends.
///
/// `API_TOKEN` and `APIKEY` are marked; `AUTHOR`, `KEYBOARD_LAYOUT` and `TOKENIZERS_PARALLELISM` are not.
pub const SECRET_WORDS: [&str; 29] = [
    "ACCESSKEY",
    "ACCESSTOKEN",
    "APIKEY",
    "APITOKEN",
    "AUTH",
    "AUTHKEY",
    "AUTHTOKEN",
    "BEARER",
    "CLIENTSECRET",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "JWT",
    "PASS",
    "PASSCODE",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PASSWORDS",
    "PAT",
    "PRIVATEKEY",
    "PSK",
    "PWD",
    "SECRET",
    "SECRETKEY",
    "SECRETS",
    "TOKEN",
    "TOKENS",
];

/// Words after which `KEY` or `KEYS` makes a secret: `API_KEY`, `OPENAI_PROJECT_KEY`.
const KEY_WORDS: [&str; 30] = [
    "ACCESS",
    "ACCOUNT",
    "ADMIN",
    "ANTHROPIC",
    "API",
    "APP",
    "COHERE",
    "DEEPSEEK",
    "DEPLOY",
    "ENCRYPTION",
    "GEMINI",
    "GROQ",
    "HMAC",
    "LICENSE",
    "MAILGUN",
    "MASTER",
    "MISTRAL",
    "OPENAI",
    "OPENROUTER",
    "PRIVATE",
    "PROJECT",
    "SECRET",
    "SENDGRID",
    "SERVICE",
    "SESSION",
    "SIGNING",
    "SSH",
    "STORAGE",
    "STRIPE",
    "TWILIO",
];

/// Addresses that hold their own secret, by their last words.
const SECRET_ADDRESSES: [&str; 4] = ["CONNECTION_STRING", "DSN", "WEBHOOK", "WEBHOOK_URL"];

/// Names with a marked word that hold no secret. `PWD` and `OLDPWD` are directories.
const HARMLESS: [&str; 3] = ["GCM_CREDENTIAL_STORE", "OLDPWD", "PWD"];

/// Sockets and displays of agents and daemons that act for the person.
#[rustfmt::skip]
pub const AGENT_SOCKETS: [NamedVariable; 33] = [
    named("BUILDKIT_HOST", "a build daemon, often root"),
    named("CONTAINERD_ADDRESS", "a container daemon: equals root"),
    named("CONTAINER_HOST", "a container daemon"),
    named("DBUS_SESSION_BUS_ADDRESS", "starts programs outside the boundary, reaches the keyring"),
    named("DBUS_STARTER_ADDRESS", "a message bus"),
    named("DBUS_SYSTEM_BUS_ADDRESS", "a message bus"),
    named("DISPLAY", "X11: reads every key and types into every window"),
    named("DOCKER_HOST", "a container daemon: equals root"),
    named("DOCKER_SOCK", "a container daemon: equals root"),
    named("GNOME_KEYRING_CONTROL", "the keyring"),
    named("GNOME_KEYRING_PID", "the keyring"),
    named("GPG_AGENT_INFO", "signs and decrypts with the person's keys"),
    named("I3SOCK", "the window manager starts programs on request"),
    named("INCUS_SOCKET", "a container daemon: equals root"),
    named("KITTY_LISTEN_ON", "the terminal starts programs on request"),
    named("LISTEN_FDS", "descriptors that are not passed on"),
    named("LISTEN_PID", "descriptors that are not passed on"),
    named("LXD_SOCKET", "a container daemon: equals root"),
    named("NOTIFY_SOCKET", "the service manager of the caller"),
    named("NVIM", "the editor runs commands on request"),
    named("NVIM_LISTEN_ADDRESS", "the editor runs commands on request"),
    named("PODMAN_SOCK", "a container daemon"),
    named("PULSE_SERVER", "records the microphone"),
    named("SESSION_MANAGER", "the desktop session"),
    named("SSH_AGENT_LAUNCHER", "belongs to an agent that is not there"),
    named("SSH_AGENT_PID", "belongs to an agent that is not there"),
    named("SSH_AUTH_SOCK", "signs in as the person on other machines"),
    named("SWAYSOCK", "the window manager starts programs on request"),
    named("TMUX", "the multiplexer types into every pane"),
    named("VSCODE_IPC_HOOK_CLI", "the editor runs commands on request"),
    named("WAYLAND_DISPLAY", "the desktop: clipboard and windows"),
    named("WAYLAND_SOCKET", "the desktop: clipboard and windows"),
    named("XAUTHORITY", "the key to the X11 display"),
];

/// Variables by which a loader, an interpreter or a tool runs something that was not asked for.
///
/// They would not widen the boundary; but what a person set for their own shell must not steer a confined command,
/// and what they name often lies where the target can write. What only names search paths of ordinary use
/// (`LD_LIBRARY_PATH`, `PYTHONPATH`, `NODE_PATH`) passes: builds need it. [`loads_code`] judges options by their value.
/// `XDG_RUNTIME_DIR` and `KUBECONFIG` pass too: the places they name are hidden, and tools complain without them.
#[rustfmt::skip]
pub const LOADERS: [NamedVariable; 34] = [
    named("BASH_ENV", "bash runs it before every script"),
    named("DYLD_*", "macOS's loader: libraries and search paths"),
    named("ENV", "sh runs it at each interactive start"),
    named("GCONV_PATH", "the C library loads converters from it"),
    named("GIT_ASKPASS", "git runs it to ask for a password"),
    named("GIT_CONFIG_COUNT", "git configuration, with commands in it"),
    named("GIT_CONFIG_GLOBAL", "git configuration, with commands in it"),
    named("GIT_CONFIG_KEY_*", "git configuration, with commands in it"),
    named("GIT_CONFIG_PARAMETERS", "git configuration, with commands in it"),
    named("GIT_CONFIG_SYSTEM", "git configuration, with commands in it"),
    named("GIT_CONFIG_VALUE_*", "git configuration, with commands in it"),
    named("GIT_EXEC_PATH", "git runs its own commands from it"),
    named("GIT_EXTERNAL_DIFF", "git runs it for each diff"),
    named("GIT_PROXY_COMMAND", "git runs it to connect"),
    named("GIT_SSH", "git runs it to connect"),
    named("GIT_SSH_COMMAND", "git runs it to connect"),
    named("GIT_TEMPLATE_DIR", "hooks of each new repository come from it"),
    named("LD_AUDIT", "the loader runs it in every program"),
    named("LD_PRELOAD", "the loader runs it in every program"),
    named("LD_PROFILE*", "the loader writes where it says"),
    named("LESSCLOSE", "less runs it"),
    named("LESSOPEN", "less runs it on each file"),
    named("LOCPATH", "the C library loads locales from it"),
    named("NIS_PATH", "the C library looks names up by it"),
    named("PERL5DB", "perl runs it in the debugger"),
    named("PERL5OPT", "perl options, which load modules"),
    named("PROMPT_COMMAND", "bash runs it before each prompt"),
    named("PYTHONBREAKPOINT", "python runs it at a breakpoint"),
    named("PYTHONSTARTUP", "python runs it at each interactive start"),
    named("RUBYOPT", "ruby options, which load files"),
    named("SSH_ASKPASS", "ssh runs it to ask for a password"),
    named("SUDO_ASKPASS", "sudo runs it to ask for a password"),
    named("VIMINIT", "vim runs it at each start"),
    named("ZDOTDIR", "zsh runs the files in it at each start"),
];

/// Whether options for an interpreter, in the variable `name`, make it load code beside the program.
pub(super) fn loads_code(name: &[u8], value: &[u8]) -> bool {
    let flags: &[&[u8]] = match name {
        b"NODE_OPTIONS" => &[
            b"-r",
            b"--require",
            b"--import",
            b"--loader",
            b"--experimental-loader",
        ],
        b"JAVA_TOOL_OPTIONS" | b"_JAVA_OPTIONS" | b"JDK_JAVA_OPTIONS" => {
            &[b"-javaagent:", b"-agentlib:", b"-agentpath:"]
        }
        _ => return false,
    };
    value
        .split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\''))
        .any(|word| {
            flags.iter().any(|flag| {
                word.strip_prefix(*flag)
                    .is_some_and(|rest| flag.ends_with(b":") || matches!(rest, [] | [b'=', ..]))
            })
        })
}

/// What every mode keeps.
const BASICS: [&[u8]; 8] = [
    b"HOME", b"LANG", b"LOGNAME", b"PATH", b"SHELL", b"TERM", b"TZ", b"USER",
];

/// Whether a name is one of the basics: PATH HOME USER LOGNAME SHELL LANG LC_* TERM TZ.
pub(super) fn is_basic(name: &[u8]) -> bool {
    BASICS.binary_search(&name).is_ok() || name.starts_with(b"LC_")
}

/// Why a variable is withheld for its name.
pub(super) fn judge_name(name: &[u8]) -> Option<WithheldReason> {
    let upper = name.to_ascii_uppercase();
    let spelt_out = split_capitals(name);
    if contains(&AGENT_SOCKETS, &upper) {
        return Some(WithheldReason::AgentSocket);
    }
    if contains(&LOADERS, &upper) {
        return Some(WithheldReason::Loader);
    }
    (is_secret_name(&upper) || is_secret_name(&spelt_out)).then_some(WithheldReason::SecretName)
}

/// `awsSecretAccessKey` as `AWS_SECRET_ACCESS_KEY`: a capital after a small letter begins a word.
fn split_capitals(name: &[u8]) -> Vec<u8> {
    let mut words = Vec::with_capacity(name.len() + 8);
    let mut previous = 0_u8;
    for byte in name {
        if byte.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            words.push(b'_');
        }
        words.push(byte.to_ascii_uppercase());
        previous = *byte;
    }
    words
}

fn contains(table: &[NamedVariable], name: &[u8]) -> bool {
    // A prefix entry sorts at or before every name that begins with it.
    let end = table.partition_point(|entry| entry.name.trim_end_matches('*').as_bytes() <= name);
    end.checked_sub(1)
        .and_then(|index| table.get(index))
        .is_some_and(|entry| match entry.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()),
            None => entry.name.as_bytes() == name,
        })
}

/// Whether `upper`, an upper-case name, is a secret's.
fn is_secret_name(upper: &[u8]) -> bool {
    if HARMLESS.iter().any(|name| name.as_bytes() == upper) {
        return false;
    }
    let addresses = SECRET_ADDRESSES.iter().map(|words| words.as_bytes());
    if addresses
        .filter_map(|words| upper.strip_suffix(words))
        .any(|before| {
            before
                .last()
                .is_none_or(|byte| matches!(byte, b'_' | b'-' | b'.'))
        })
    {
        return true;
    }
    let mut previous: &[u8] = b"";
    for word in upper.split(|byte| matches!(byte, b'_' | b'-' | b'.')) {
        let word = trim_digits(word);
        if is_secret_word(word) {
            return true;
        }
        let key = matches!(word, b"KEY" | b"KEYS");
        if key && KEY_WORDS.iter().any(|before| before.as_bytes() == previous) {
            return true;
        }
        previous = word;
    }
    false
}

/// A marked word, also run together with another: `GITHUBTOKEN`, `DBPASSWORD`, `PGPASSWORD`, `MYSQLPWD`.
fn is_secret_word(word: &[u8]) -> bool {
    const ENDINGS: [&[u8]; 8] = [
        b"TOKEN",
        b"SECRET",
        b"PASSWORD",
        b"PASSWD",
        b"PASSPHRASE",
        b"APIKEY",
        b"CREDENTIALS",
        b"SECRETKEY",
    ];
    SECRET_WORDS
        .binary_search_by(|marked| marked.as_bytes().cmp(word))
        .is_ok()
        || ENDINGS.iter().any(|ending| word.ends_with(ending))
}

fn trim_digits(word: &[u8]) -> &[u8] {
    let end = word
        .iter()
        .rposition(|byte| !byte.is_ascii_digit())
        .map_or(0, |last| last + 1);
    word.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str) -> Option<WithheldReason> {
        judge_name(name.as_bytes())
    }

    #[test]
    fn the_tables_are_sorted() {
        for table in [&AGENT_SOCKETS[..], &LOADERS[..]] {
            assert!(
                table.is_sorted_by(|left, right| left.name.trim_end_matches('*')
                    < right.name.trim_end_matches('*'))
            );
        }
        assert!(SECRET_WORDS.is_sorted());
        assert!(BASICS.is_sorted());
    }

    #[test]
    fn names_of_secrets_are_withheld() {
        for name in [
            "GITHUB_TOKEN",
            "API_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "OPENAI_API_KEY",
            "MYSQL_PWD",
            "PGPASSWORD",
            "DB_PASSWORD",
            "db_password",
            "NPM_CONFIG__AUTH",
            "npm_config_//example.com/:_authToken",
            "PRIVATE_KEY",
            "STRIPE_SECRET",
            "TOKEN",
            "GITHUBTOKEN",
            "MY_TOKEN2",
            "SESSION_COOKIE",
            "GH_PAT",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "VAULT_PASS",
            "KEY_PASSPHRASE",
            "SSH_KEY",
            "DOCKER_AUTH_CONFIG",
            "OPENAI_KEY",
            "STRIPE_KEY",
            "awsSecretAccessKey",
            "stripeKey",
            "SENTRY_DSN",
            "SLACK_WEBHOOK_URL",
            "AZURE_STORAGE_CONNECTION_STRING",
        ] {
            assert_eq!(verdict(name), Some(WithheldReason::SecretName), "{name}");
        }
    }

    #[test]
    fn names_that_only_sound_alike_pass() {
        for name in [
            "AUTHOR",
            "GIT_AUTHOR_NAME",
            "KEYBOARD_LAYOUT",
            "TOKENIZERS_PARALLELISM",
            "PWD",
            "OLDPWD",
            "PATH",
            "COMPASS_HOME",
            "PATTERN",
            "PASSTHROUGH",
            "SECRETARY",
            "KEYMAP",
            "XDG_SESSION_ID",
            "HOST_KEY_CHECKING",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "XDG_RUNTIME_DIR",
            "KUBECONFIG",
            "GIT_EDITOR",
            "EDITOR",
            "CARGO_HOME",
            "LANG",
            "ENVIRONMENT",
            "DISPLAY_NAME",
            "TMUX_PANE",
            "BASH_ENVIRONMENT",
            "GIT_SSH_VARIANT",
            "KeyboardLayout",
            "PROJECT_KEYBOARD",
            "SORT_KEY",
            "CACHE_KEY",
            "WEBHOOKS_DIR",
            "dotnetCliHome",
        ] {
            assert_eq!(verdict(name), None, "{name}");
        }
    }

    #[test]
    fn options_that_load_code_are_told_from_others() {
        for (name, value, expected) in [
            ("NODE_OPTIONS", "--require /w/evil.js", true),
            ("NODE_OPTIONS", "--no-warnings -r ./x", true),
            ("NODE_OPTIONS", "--import=file:///w/x.mjs", true),
            ("NODE_OPTIONS", "--max-old-space-size=4096", false),
            ("NODE_OPTIONS", "--report-dir=/r", false),
            ("JAVA_TOOL_OPTIONS", "-Xmx2g -javaagent:/w/a.jar", true),
            ("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8", false),
            ("OTHER", "--require x", false),
        ] {
            let found = loads_code(name.as_bytes(), value.as_bytes());
            assert_eq!(found, expected, "{name}={value}");
        }
    }

    #[test]
    fn every_entry_of_a_table_is_withheld_for_its_own_reason() {
        for entry in AGENT_SOCKETS {
            assert_eq!(
                verdict(entry.name),
                Some(WithheldReason::AgentSocket),
                "{}",
                entry.name
            );
        }
        for entry in LOADERS {
            let name = entry.name.replace('*', "X");
            assert_eq!(verdict(&name), Some(WithheldReason::Loader), "{name}");
        }
        assert_eq!(verdict("GIT_CONFIG_KEY_0"), Some(WithheldReason::Loader));
        assert_eq!(
            verdict("DYLD_INSERT_LIBRARIES"),
            Some(WithheldReason::Loader)
        );
    }
}
