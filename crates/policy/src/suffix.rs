//! Names below which anybody can register: a star on one would allow strangers.
//!
//! This is no public suffix list. It refuses what people write by mistake (`*.com`, `*.co.uk`) and the hosting
//! domains an attacker gets a name under within minutes. A suffix missing here costs a too wide rule that a person
//! wrote by hand; a whole list would cost 200 kB and be stale by its first release.
//! Invariant: a name of one label is always public.

/// Second-level labels under which country registries sell names (`co.uk`, `com.au`, `ne.jp`).
const REGISTRY_LABELS: [&str; 22] = [
    "ac", "co", "com", "ed", "edu", "gen", "go", "gob", "gouv", "gov", "govt", "id", "ltd", "me",
    "mil", "ne", "net", "nom", "or", "org", "plc", "sch",
];

/// Domains at which anybody gets a name of their own, cheaply and without review; sorted.
const HOSTING: [&str; 66] = [
    "amazonaws.com",
    "amplifyapp.com",
    "appspot.com",
    "awsapprunner.com",
    "azure-api.net",
    "azureedge.net",
    "azurestaticapps.net",
    "azurewebsites.net",
    "b-cdn.net",
    "blob.core.windows.net",
    "blogspot.com",
    "bubbleapps.io",
    "cloudapp.azure.com",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "codesandbox.io",
    "core.windows.net",
    "ddns.net",
    "deno.dev",
    "deno.net",
    "digitaloceanspaces.com",
    "duckdns.org",
    "dynu.net",
    "elasticbeanstalk.com",
    "fastly.net",
    "firebaseapp.com",
    "firebaseio.com",
    "fly.dev",
    "gitbook.io",
    "github.dev",
    "github.io",
    "githubpreview.dev",
    "gitlab.io",
    "gitpod.io",
    "glitch.me",
    "herokuapp.com",
    "hf.space",
    "lambda-url.us-east-1.on.aws",
    "lhr.life",
    "loca.lt",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "nip.io",
    "no-ip.org",
    "on.aws",
    "ondigitalocean.app",
    "onrender.com",
    "pages.dev",
    "r2.dev",
    "railway.app",
    "repl.co",
    "replit.app",
    "replit.dev",
    "run.app",
    "serveo.net",
    "sslip.io",
    "surge.sh",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];

/// Whether anybody can register a name directly below `name` (lower case, no trailing dot).
#[must_use]
pub(crate) fn is_public(name: &str) -> bool {
    let Some((rest, last)) = name.rsplit_once('.') else {
        return true;
    };
    let country = last.len() == 2 && REGISTRY_LABELS.contains(&rest);
    let object_store = name.ends_with(".amazonaws.com");
    country || object_store || HOSTING.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(HOSTING.is_sorted());
    }

    #[test]
    fn registries_and_hosters_are_public_and_what_lies_below_is_not() {
        for name in [
            "com",
            "internal",
            "co.uk",
            "ne.jp",
            "github.io",
            "s3.amazonaws.com",
            "s3.eu-west-1.amazonaws.com",
        ] {
            assert!(is_public(name), "{name}");
        }
        for name in [
            "example.com",
            "example.co.uk",
            "me.github.io",
            "co.example",
            "packages.example.org",
        ] {
            assert!(!is_public(name), "{name}");
        }
    }
}
