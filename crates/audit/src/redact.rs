//! Arguments of a command without the secrets in them, recognised by shape.
//!
//! It can't know every secret; it knows option names that announce one and values with the shape of a known token.
//! Invariant: the number of arguments stays the same, and an argument is never lengthened by what it hid.

/// What stands for a secret.
pub const REDACTED: &str = "[redacted]";

/// Words that, as the last part of an option's or variable's name, announce a secret as its value.
const SECRET_WORDS: [&str; 14] = [
    "password",
    "passwd",
    "pass",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "private-key",
];

/// Beginnings of well-known tokens.
const TOKEN_PREFIXES: [&str; 18] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "AKIA",
    "ASIA",
    "AIza",
    "npm_",
    "eyJ",
];

/// The shortest value that is taken for a token by its beginning.
const TOKEN_LENGTH: usize = 16;

/// The arguments, with what looks like a secret replaced.
#[must_use]
pub fn redact_arguments<S: AsRef<str>>(arguments: &[S]) -> Vec<String> {
    let mut secret_follows = false;
    let mut user_follows = false;
    arguments
        .iter()
        .map(|argument| {
            let argument = argument.as_ref();
            if std::mem::take(&mut secret_follows) && !argument.starts_with('-') {
                return REDACTED.to_owned();
            }
            secret_follows = announces_secret(argument);
            let is_user = std::mem::replace(&mut user_follows, matches!(argument, "-u" | "--user"));
            match argument.split_once(':') {
                Some((name, _)) if is_user => format!("{name}:{REDACTED}"),
                Some(_) | None => redact_one(argument),
            }
        })
        .collect()
}

fn announces_secret(argument: &str) -> bool {
    argument.starts_with("--") && !argument.contains('=') && is_secret_name(argument)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| {
        name == *word
            || name
                .strip_suffix(word)
                .is_some_and(|before| before.ends_with(['-', '_', '.']))
    })
}

fn redact_one(argument: &str) -> String {
    if let Some((name, value)) = argument.split_once('=')
        && !value.is_empty()
        && !name.contains(char::is_whitespace)
        && is_secret_name(name)
    {
        return format!("{name}={REDACTED}");
    }
    redact_words(&redact_header(&redact_url(argument)))
}

/// `scheme://user:secret@host` loses the secret.
fn redact_url(argument: &str) -> String {
    let Some(start) = argument.find("://").map(|index| index + 3) else {
        return argument.to_owned();
    };
    let (scheme, rest) = argument.split_at(start);
    let authority_end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((user, host)) = authority.rsplit_once('@') else {
        return argument.to_owned();
    };
    let name = user.split_once(':').map_or("", |(name, _)| name);
    let colon = if name.is_empty() { "" } else { ":" };
    format!("{scheme}{name}{colon}{REDACTED}@{host}{path}")
}

/// `Authorization: Bearer x` and its like lose everything after the colon.
fn redact_header(argument: &str) -> String {
    match argument.split_once(':') {
        Some((name, value))
            if !value.is_empty()
                && !name.contains(char::is_whitespace)
                && !name.contains('/')
                && is_secret_name(name) =>
        {
            format!("{name}: {REDACTED}")
        }
        Some(_) | None => argument.to_owned(),
    }
}

/// Tokens anywhere in a text (`bash -c "curl -H … ghp_…"`).
fn redact_words(argument: &str) -> String {
    let mut output = String::with_capacity(argument.len());
    let mut rest = argument;
    while !rest.is_empty() {
        let word_end = rest
            .find(|c: char| !is_token_character(c))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        let is_token = word.len() >= TOKEN_LENGTH
            && TOKEN_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        output.push_str(if is_token { REDACTED } else { word });
        let separator = after.chars().next().map_or(0, char::len_utf8);
        let (separator, next) = after.split_at(separator);
        output.push_str(separator);
        rest = next;
    }
    output
}

fn is_token_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(arguments: &[&str]) -> Vec<String> {
        redact_arguments(arguments)
    }

    #[test]
    fn ordinary_arguments_stay_as_they_are() {
        let arguments = [
            "cargo",
            "test",
            "--",
            "--nocapture",
            "-p",
            "--author=me",
            "https://example.com/a?b=c",
            "a=b",
            "src/main.rs:10:2",
            "--pass-through",
            "tokenizer",
        ];
        let kept: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        assert_eq!(redact(&arguments), kept);
    }

    #[test]
    fn a_secret_is_hidden_in_each_form() {
        let token = "ghp_0123456789abcdefghij";
        for (arguments, expected) in [
            (
                vec!["x", "--token", "hunter2"],
                vec!["x", "--token", REDACTED],
            ),
            (
                vec!["x", "--db-password=hunter2"],
                vec!["x", "--db-password=[redacted]"],
            ),
            (
                vec!["env", "API_TOKEN=hunter2", "x"],
                vec!["env", "API_TOKEN=[redacted]", "x"],
            ),
            (
                vec!["curl", "-u", "me:hunter2"],
                vec!["curl", "-u", "me:[redacted]"],
            ),
            (
                vec!["curl", "-H", "Authorization: Bearer hunter2"],
                vec!["curl", "-H", "Authorization: [redacted]"],
            ),
            (
                vec!["git", "https://me:hunter2@example.com/x"],
                vec!["git", "https://me:[redacted]@example.com/x"],
            ),
            (
                vec!["git", "https://hunter2@example.com/x"],
                vec!["git", "https://[redacted]@example.com/x"],
            ),
            (
                vec!["bash", "-c", &format!("echo {token}|x")],
                vec!["bash", "-c", "echo [redacted]|x"],
            ),
        ] {
            let seen = redact(&arguments);
            assert_eq!(seen, expected);
            assert!(!seen.join(" ").contains("hunter2"));
        }
    }

    #[test]
    fn an_option_after_a_secret_option_is_no_secret() {
        assert_eq!(
            redact(&["x", "--token", "--verbose"]),
            ["x", "--token", "--verbose"]
        );
    }
}
