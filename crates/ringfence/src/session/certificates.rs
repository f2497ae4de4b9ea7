//! What a session's programs trust beside the system's certificates, where the proxy reads TLS for them.
//!
//! The session's certificate lies, with the system's, in files that commands can read; its key stays in this process.
//! Invariant: without a rule that limits requests there is neither a key nor a file.

#[cfg_attr(windows, path = "certificates/place_windows.rs")]
mod place;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfence_egress::terminate::{Roots, TerminateError, Terminator, java_trust_store};
#[cfg(target_os = "linux")]
use ringfence_policy::AbsolutePath;
use ringfence_policy::policy::NetworkPolicy;

/// Variables that name a file of certificates instead of the usual one, or beside it.
const VARIABLES: [&str; 10] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "npm_config_cafile",
];

/// Options of every Java virtual machine.
pub(super) const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";
/// What names a file of settings for wget, in place of the person's own.
const WGET_SETTINGS: &str = "WGETRC";

/// The largest file of further certificates that is read.
const MAX_FURTHER: u64 = 4 * 1024 * 1024;

/// Why the proxy can't read TLS although a rule needs it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate or what it needs could not be made.
    #[error("read TLS for the rules of `network.allow` with methods or paths")]
    Terminate(#[source] TerminateError),
    #[cfg(target_os = "linux")]
    /// The plan has no private directory to put the certificates into.
    #[error("find the session's private /tmp, for its certificates")]
    Place,
    #[cfg(target_os = "linux")]
    /// The directory could not be made.
    #[error("make the directory {path} for the session's certificates")]
    Directory {
        /// Which.
        path: AbsolutePath,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("write the session's certificates to {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl CertificateError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Terminate(error) => error.hint().to_owned(),
            #[cfg(target_os = "linux")]
            Self::Place | Self::Directory { .. } => without(),
            Self::Write { .. } => without(),
        }
    }
}

fn without() -> String {
    "see `ringfence doctor`, or write the rules without methods and paths".to_owned()
}

/// The certificates of one session. Dropped, their file is gone.
#[derive(Debug)]
pub(super) struct Certificates {
    terminator: Arc<Terminator>,
    /// As this process sees it, without an ending.
    path: PathBuf,
    /// As the session sees it.
    inside: String,
}

/// The files of a session: certificates as text, the same for Java, and the settings by which wget finds them.
const ENDINGS: [&str; 3] = ["pem", "jks", "wgetrc"];

impl Certificates {
    /// The certificates that `policy` needs, if it needs any: `locate` answers where their files lie, without an
    /// ending, and as what programs know that; `write` makes one.
    fn make_with(
        policy: &NetworkPolicy,
        locate: impl FnOnce() -> Result<(PathBuf, String), CertificateError>,
        write: impl Fn(&Path, &[u8]) -> io::Result<()>,
    ) -> Result<Option<Self>, CertificateError> {
        if policy.scoped_rules().next().is_none() {
            return Ok(None);
        }
        let failed = CertificateError::Terminate;
        let roots = Roots::observe().map_err(|error| failed(TerminateError::Roots(error)))?;
        let terminator = Terminator::new(policy.scoped_rules(), &roots).map_err(failed)?;
        let mut further = further_certificates();
        further.push_str(&terminator.certificate());
        let (path, inside) = locate()?;
        let certificates = Self {
            terminator: Arc::new(terminator),
            path,
            inside,
        };
        let bundle = roots.bundle(&further);
        let settings = format!("ca_certificate = {}\n", certificates.inside("pem"));
        let store = java_trust_store(&bundle);
        let contents = [bundle.as_bytes(), &store, settings.as_bytes()];
        for (ending, content) in ENDINGS.into_iter().zip(contents) {
            let path = certificates.path.with_extension(ending);
            write(&path, content).map_err(|source| CertificateError::Write { path, source })?;
        }
        Ok(Some(certificates))
    }

    fn inside(&self, ending: &str) -> String {
        format!("{}.{ending}", self.inside)
    }

    /// What reads TLS.
    pub(super) fn terminator(&self) -> Arc<Terminator> {
        Arc::clone(&self.terminator)
    }

    /// The variables by which programs find the files.
    ///
    /// A person's own trust store for Java stays, and so do their settings for wget.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let named = VARIABLES.map(|name| (name.to_owned(), self.inside("pem")));
        let options = std::env::var(JAVA_OPTIONS).unwrap_or_default();
        let java = (!options.contains("javax.net.ssl.trustStore")).then(|| {
            let store = format!("-Djavax.net.ssl.trustStore={}", self.inside("jks"));
            let all = [options, store];
            let all: Vec<_> = all.into_iter().filter(|part| !part.is_empty()).collect();
            (JAVA_OPTIONS.to_owned(), all.join(" "))
        });
        let has_settings = std::env::var_os(WGET_SETTINGS).is_some()
            || std::env::home_dir().is_some_and(|home| home.join(".wgetrc").exists());
        let wget = (!has_settings).then(|| (WGET_SETTINGS.to_owned(), self.inside("wgetrc")));
        named.into_iter().chain(java).chain(wget)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // They hold no secret, and what the target has put in their place is the target's: age takes it away.
        for ending in ENDINGS {
            let _ = fs::remove_file(self.path.with_extension(ending));
        }
    }
}

/// The certificates of the files that the caller's own variables name, such as a company's: nothing else of them.
fn further_certificates() -> String {
    let mut paths: Vec<PathBuf> = VARIABLES
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .collect();
    paths.sort();
    paths.dedup();
    let mut found = String::new();
    for path in paths {
        // What can't be read is no use to the caller's programs either.
        let Ok(text) = read_bounded(&path) else {
            continue;
        };
        append_certificates(&text, &mut found);
    }
    found
}

fn read_bounded(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(MAX_FURTHER).read_to_string(&mut text)?;
    Ok(text)
}

/// The blocks of `text` that are certificates: a key beside them stays where it is.
fn append_certificates(text: &str, found: &mut String) {
    const END: &str = "-----END CERTIFICATE-----";
    for part in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        if let Some((body, _)) = part.split_once(END)
            && body
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte))
        {
            found.push_str("-----BEGIN CERTIFICATE-----");
            found.push_str(body);
            found.push_str(END);
            found.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ringfence_policy::document::NetworkMode;
    use ringfence_policy::layers::{LayerKind, Sourced};

    use super::*;

    #[test]
    fn a_rule_with_methods_makes_an_authority_beside_the_systems_own() {
        let sourced = |text: &str| Sourced {
            value: serde_json::from_str(text).unwrap(),
            layer: LayerKind::User,
        };
        let mut policy = NetworkPolicy::offline();
        policy.mode.value = NetworkMode::Allowlist;
        let files = RefCell::new(Vec::new());
        let make = |policy: &NetworkPolicy| {
            let locate = || Ok((PathBuf::from("no such file"), "inside".to_owned()));
            Certificates::make_with(policy, locate, |_, content| {
                files.borrow_mut().push(content.to_vec());
                Ok(())
            })
        };
        policy.allow = vec![sourced(r#""example.com""#)];
        assert!(make(&policy).unwrap().is_none(), "no rule needs one");
        assert!(files.borrow().is_empty());
        policy.allow = vec![sourced(r#"{"host": "example.com", "methods": ["GET"]}"#)];
        let certificates = make(&policy).unwrap().unwrap();
        let bundle = String::from_utf8(files.borrow()[0].clone()).unwrap();
        assert!(bundle.matches("-----BEGIN CERTIFICATE-----").count() > 1);
        assert_eq!(files.borrow().len(), ENDINGS.len());
        for content in files.borrow().iter() {
            let key = b"PRIVATE KEY";
            assert!(!content.windows(key.len()).any(|part| part == key));
        }
        assert!(
            certificates
                .variables()
                .all(|(_, value)| value.contains("inside"))
        );
    }

    #[test]
    fn of_a_file_only_certificates_are_taken() {
        let block = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        let mut found = String::new();
        append_certificates(
            &format!("# a comment\n{key}{block}{key}{block}"),
            &mut found,
        );
        assert_eq!(found, block.repeat(2));
        found.clear();
        for bad in [
            "-----BEGIN CERTIFICATE-----\nQUJD\n",
            &format!("-----BEGIN CERTIFICATE-----\n{key}-----END CERTIFICATE-----"),
            "",
        ] {
            append_certificates(bad, &mut found);
        }
        assert_eq!(found, "");
    }
}
