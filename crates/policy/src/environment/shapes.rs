//! Values known by their shape.
//!
//! Small matchers by hand: a prefix and an alphabet, each value looked at once. Knows no names.
//! Invariant: the work is linear in the value's length.

/// A prefix that a provider gives its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How it begins.
    pub prefix: &'static str,
    /// How many characters of letters, digits, `_` and `-` follow at least.
    pub length: usize,
    /// What it is.
    pub what: &'static str,
}

const fn shape(prefix: &'static str, length: usize, what: &'static str) -> Shape {
    Shape {
        prefix,
        length,
        what,
    }
}

/// Every known prefix, sorted.
#[rustfmt::skip]
pub const SHAPES: [Shape; 50] = [
    shape("AGE-SECRET-KEY-1", 40, "an age key"),
    shape("AIza", 35, "a Google API key"),
    shape("AKIA", 16, "an AWS access key"),
    shape("ASIA", 16, "an AWS temporary access key"),
    shape("ATATT3", 40, "an Atlassian token"),
    shape("EAACEdEose0cBA", 10, "a Facebook token"),
    shape("GOCSPX-", 20, "a Google client secret"),
    shape("SG.", 20, "a SendGrid key"),
    shape("cio", 32, "a Cargo registry token"),
    shape("ctx7sk", 20, "an API key"),
    shape("dapi", 32, "a Databricks token"),
    shape("dckr_pat_", 20, "a Docker token"),
    shape("doo_v1_", 40, "a DigitalOcean token"),
    shape("dop_v1_", 40, "a DigitalOcean token"),
    shape("dp.pt.", 40, "a Doppler token"),
    shape("fig_", 32, "a Figma token"),
    shape("figd_", 32, "a Figma token"),
    shape("flyv1_", 30, "a Fly.io token"),
    shape("gho_", 30, "a GitHub token"),
    shape("ghp_", 30, "a GitHub token"),
    shape("ghr_", 30, "a GitHub token"),
    shape("ghs_", 30, "a GitHub token"),
    shape("ghu_", 30, "a GitHub token"),
    shape("github_pat_", 30, "a GitHub token"),
    shape("glpat-", 20, "a GitLab token"),
    shape("glptt-", 20, "a GitLab token"),
    shape("glrt-", 20, "a GitLab token"),
    shape("gsk_", 40, "a Groq key"),
    shape("hf_", 30, "a model hub token"),
    shape("hvs.", 24, "a Vault token"),
    shape("key-", 32, "a Mailgun key"),
    shape("lin_api_", 32, "a Linear key"),
    shape("npm_", 36, "an npm token"),
    shape("ntn_", 40, "a Notion token"),
    shape("nvapi-", 40, "an NVIDIA key"),
    shape("pplx-", 40, "a Perplexity key"),
    shape("pul-", 40, "a Pulumi token"),
    shape("pypi-", 50, "a PyPI token"),
    shape("rk_live_", 20, "a Stripe key"),
    shape("rubygems_", 40, "a RubyGems token"),
    shape("sbp_", 40, "a Supabase token"),
    shape("shpat_", 32, "a Shopify token"),
    shape("sk-", 20, "a model provider's key"),
    shape("sk_live_", 20, "a Stripe key"),
    shape("sk_test_", 20, "a Stripe key"),
    shape("sntrys_", 40, "a Sentry token"),
    shape("tskey-", 20, "a Tailscale key"),
    shape("whsec_", 20, "a webhook secret"),
    shape("xai-", 40, "a model provider's key"),
    shape("ya29.", 30, "a Google access token"),
];

/// Slack's tokens differ in the letter after `xox`.
const SLACK: &[u8] = b"xox";

/// Whether `value` holds something of a known secret's shape, whole or as a part.
pub(super) fn looks_secret(value: &[u8]) -> bool {
    // Nothing secret is shorter than this, and most variables are.
    value.len() >= 12
        && (has_pem(value)
            || has_url_password(value)
            || has_webhook(value)
            || has_assigned_secret(value)
            || words(value).any(is_secret))
}

/// The runs of token characters; a dot belongs to them, as JSON Web Tokens have two.
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| !is_token(*byte) && *byte != b'.')
        .filter(|word| word.len() >= 12)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_secret(word: &[u8]) -> bool {
    has_known_prefix(word) || is_slack(word) || is_json_web_token(word)
}

fn has_known_prefix(word: &[u8]) -> bool {
    // All candidates share the word's first byte; the table is sorted, so they stand together.
    let Some(first) = word.first() else {
        return false;
    };
    let first_of = |shape: &Shape| shape.prefix.as_bytes().first().copied().unwrap_or(0);
    let start = SHAPES.partition_point(|shape| first_of(shape) < *first);
    SHAPES
        .get(start..)
        .unwrap_or_default()
        .iter()
        .take_while(|shape| first_of(shape) == *first)
        .any(|shape| {
            word.strip_prefix(shape.prefix.as_bytes())
                .is_some_and(|rest| {
                    rest.iter()
                        .take(shape.length)
                        .filter(|byte| is_token(**byte) || **byte == b'.')
                        .count()
                        == shape.length
                })
                && looks_random(word, shape)
        })
}

/// Short prefixes begin plain words too (`cioppino-restaurant…`): then a digit or a capital must follow.
fn looks_random(word: &[u8], shape: &Shape) -> bool {
    let rest = word.get(shape.prefix.len()..).unwrap_or_default();
    rest.iter()
        .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn is_slack(word: &[u8]) -> bool {
    word.strip_prefix(SLACK)
        .is_some_and(|rest| matches!(rest, [b'a'..=b'z', b'-', tail @ ..] if tail.len() >= 10))
}

/// `eyJ…` `.` `eyJ…` `.` signature: two parts that begin as JSON in base 64.
fn is_json_web_token(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b'.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else {
        return false;
    };
    header.starts_with(b"eyJ") && payload.starts_with(b"eyJ") && header.len() >= 10
}

/// A PEM block of a private key, or of anything that calls itself private.
fn has_pem(value: &[u8]) -> bool {
    find_all(value, b"-----BEGIN ").any(|rest| {
        let label = rest.get(..64.min(rest.len())).unwrap_or_default();
        let label = label.split(|byte| *byte == b'-').next().unwrap_or_default();
        label.windows(7).any(|part| part == b"PRIVATE")
    })
}

/// `scheme://user:password@host`: what lies between `//` and the next `/` holds a password and an `@`.
fn has_url_password(value: &[u8]) -> bool {
    find_all(value, b"://").any(|rest| {
        let authority = rest
            .split(|byte| matches!(byte, b'/' | b'?' | b'#' | b' ' | b'\n' | b'"' | b'\''))
            .next()
            .unwrap_or_default();
        let Some(at) = authority.iter().rposition(|byte| *byte == b'@') else {
            return false;
        };
        let user = authority.get(..at).unwrap_or_default();
        let password = user.iter().position(|byte| *byte == b':');
        password.is_some_and(|colon| colon + 1 < user.len())
    })
}

/// Addresses that whoever knows them may post to.
fn has_webhook(value: &[u8]) -> bool {
    const HOOKS: [&[u8]; 4] = [
        b"hooks.slack.com/",
        b"discord.com/api/webhooks/",
        b"discordapp.com/api/webhooks/",
        b"webhook.office.com/",
    ];
    find_all(value, b"://").any(|rest| {
        HOOKS.iter().any(|hook| {
            let host = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            let named = hook.split(|byte| *byte == b'/').next().unwrap_or_default();
            // A tenant's own name may come before the host's.
            let start = host.len().checked_sub(named.len());
            start.is_some_and(|start| rest.get(start..).is_some_and(|rest| rest.starts_with(hook)))
        })
    })
}

/// A connection string, `Server=…;Password=…;`: parts between semicolons, one of which assigns a secret.
fn has_assigned_secret(value: &[u8]) -> bool {
    const KEYS: [&[u8]; 7] = [
        b"accountkey",
        b"password",
        b"pwd",
        b"secret",
        b"sharedaccesskey",
        b"sharedaccesssignature",
        b"sharedsecret",
    ];
    value.contains(&b';')
        && value.split(|byte| *byte == b';').any(|part| {
            let mut sides = part.splitn(2, |byte| *byte == b'=');
            let name = sides.next().unwrap_or_default().trim_ascii();
            let assigned = sides
                .next()
                .is_some_and(|value| !value.trim_ascii().is_empty());
            assigned && KEYS.iter().any(|key| name.eq_ignore_ascii_case(key))
        })
}

/// What follows each occurrence of `needle`.
fn find_all<'value>(
    value: &'value [u8],
    needle: &'static [u8],
) -> impl Iterator<Item = &'value [u8]> {
    let first = needle.first().copied().unwrap_or(0);
    value
        .iter()
        .enumerate()
        .filter(move |(_, byte)| **byte == first)
        .filter_map(move |(start, _)| value.get(start..)?.strip_prefix(needle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Nothing here is a real secret; each is put together so that no scanner takes it for one.
    fn filler(length: usize) -> String {
        "a1B2c3D4e5".chars().cycle().take(length).collect()
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(SHAPES.is_sorted_by(|left, right| left.prefix < right.prefix));
    }

    #[test]
    fn every_known_shape_is_found_alone_and_inside_a_value() {
        for shape in SHAPES {
            let secret = format!("{}{}", shape.prefix, filler(shape.length));
            assert!(looks_secret(secret.as_bytes()), "{secret}");
            assert!(
                looks_secret(format!("Authorization: Bearer {secret};").as_bytes()),
                "{secret}"
            );
        }
        assert!(looks_secret(format!("xoxb-{}", filler(20)).as_bytes()));
        assert!(looks_secret(
            format!("eyJ{}.eyJ{}.{}", filler(20), filler(20), filler(20)).as_bytes()
        ));
    }

    #[test]
    fn private_keys_and_passwords_in_urls_are_found() {
        for value in [
            "-----BEGIN PRIVATE KEY-----\nMIIE",
            "x\n-----BEGIN OPENSSH PRIVATE KEY-----\n",
            "postgres://ann:hunter2@db.example.com/app",
            "redis://:hunter2@localhost:6379",
            "HTTP_PROXY=http://ann:p@ss@proxy.example.com:8080",
        ] {
            assert!(looks_secret(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn addresses_and_strings_that_hold_their_own_secret_are_found() {
        for value in [
            "https://hooks.slack.com/services/T0/B0/x",
            "https://discord.com/api/webhooks/1/x",
            "https://ann.webhook.office.com/webhookb2/x",
            "Server=db.example.com;User Id=ann;Password=hunter2;",
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=x==;EndpointSuffix=example.net",
            "Endpoint=sb://a.example.net/;SharedAccessKeyName=n;SharedAccessKey=x",
        ] {
            assert!(looks_secret(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn ordinary_values_pass() {
        for value in [
            "https://example.com/hooks.slack.com/x",
            "https://evilhooks.example.com/services",
            "a=1;password=;b=2",
            "no;such=thing;passwordless=yes",
            "/usr/local/bin:/usr/bin:/bin",
            "-----BEGIN CERTIFICATE-----\nMIIE",
            "https://example.com/a:b@c",
            "postgres://ann@db.example.com/app",
            "ssh://git@example.com:22/repo",
            "sk-learn-is-a-library-for-everybody",
            "cioppino-restaurant-in-the-old-harbour-of-nowhere",
            "key-value-store-with-very-long-descriptive-words",
            "npm_config_registry_is_a_name_of_a_variable_here",
            "3f786850e387550fdab836ed7e6dc881de23001b",
            "en_US.UTF-8",
            "xterm-256color",
            "AKIA",
            "",
        ] {
            assert!(!looks_secret(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_large_hostile_value_is_looked_at_once() {
        for part in [
            "-----BEGIN ",
            "a;",
            "password=;",
            "://hooks.",
            "://",
            "eyJ.",
            "sk-",
            "a:b@",
            "://a:",
        ] {
            let value = part.repeat((1 << 20) / part.len());
            let _ = looks_secret(value.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value: Vec<u8>) {
            let _ = looks_secret(&value);
        }
    }
}
