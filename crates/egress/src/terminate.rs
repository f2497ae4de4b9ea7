//! Both ends of a terminated TLS connection: the session's own certificate inside, the system's roots outside.
//!
//! The key is made for one session, in memory, and written nowhere. Does no I/O but reading the system's roots.
//! Invariant: a certificate is made only for hosts whose requests a rule limits, and the authority that signs it is
//! of no use for others: it is constrained to their names.

mod authority;
mod java;
mod roots;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ringfence_policy::allow::AllowRule;
use ringfence_policy::host::Host;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::proxy::lock;
use authority::{Authority, Leaf};

pub use roots::{Roots, RootsError, java_trust_store};

/// The only protocol that is spoken inside: its requests can be decided one by one.
const PROTOCOL: &[u8] = b"http/1.1";

/// Hosts whose certificates are remembered; the names are the target's choice where a rule has a star.
const MAX_LEAVES: usize = 256;

/// Why TLS can't be terminated.
#[derive(Debug, thiserror::Error)]
pub enum TerminateError {
    /// The processor lacks what the cryptography needs (README of graviola, "Architectures").
    #[error(
        "this processor lacks instructions that reading TLS needs (x86-64: AES, AVX2, ADX, BMI2, PCLMULQDQ)"
    )]
    Processor,
    /// The system's roots can't be read, so that no origin could be verified.
    #[error("no origin's certificate could be verified")]
    Roots(#[source] RootsError),
    /// No key could be made.
    #[error("no key could be made: {0}")]
    Key(String),
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Certificate(String),
    /// The protocol could not be set up.
    #[error("TLS could not be set up")]
    Protocol(#[source] rustls::Error),
    /// A host that no certificate can name.
    #[error("no certificate can name {0}")]
    Host(String),
}

impl TerminateError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Processor => "write the rules of `network.allow` without methods and paths",
            Self::Roots(_) => {
                "install the system's certificates (`ca-certificates`), or name a file in SSL_CERT_FILE"
            }
            Self::Key(_) | Self::Certificate(_) | Self::Protocol(_) | Self::Host(_) => {
                "please report this; rules without methods and paths need no certificate"
            }
        }
    }
}

/// Terminates the TLS of one session.
pub struct Terminator {
    provider: Arc<CryptoProvider>,
    client: Arc<ClientConfig>,
    authority: Authority,
    leaves: Mutex<HashMap<Host, Arc<ServerConfig>>>,
}

impl Terminator {
    /// A terminator for the hosts of `rules`, which trusts `roots` outside.
    ///
    /// # Errors
    /// [`TerminateError`]; without a terminator every such connection is refused.
    pub fn new<'a>(
        rules: impl Iterator<Item = &'a AllowRule>,
        roots: &Roots,
    ) -> Result<Self, TerminateError> {
        if !graviola::util::is_cpu_supported() {
            return Err(TerminateError::Processor);
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut trusted = RootCertStore::empty();
        let (added, _) = trusted.add_parsable_certificates(roots.certificates().iter().cloned());
        if added == 0 {
            return Err(TerminateError::Roots(RootsError::None));
        }
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TerminateError::Protocol)?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        let patterns = rules.map(|rule| rule.host().pattern().clone()).collect();
        Ok(Self {
            provider,
            client: Arc::new(client),
            authority: Authority::make(patterns)?,
            leaves: Mutex::default(),
        })
    }

    /// The certificate that the session's programs have to trust, as PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.authority.certificate()
    }

    /// A session with a client that believes to talk to `host`.
    ///
    /// # Errors
    /// [`TerminateError`].
    ///
    /// # Security
    /// The target chooses the host, among those whose requests a rule limits.
    pub(crate) fn accept(&self, host: &Host) -> Result<ServerConnection, TerminateError> {
        let known = lock(&self.leaves).get(host).cloned();
        let config = match known {
            Some(config) => config,
            None => self.make_leaf(host)?,
        };
        ServerConnection::new(config).map_err(TerminateError::Protocol)
    }

    fn make_leaf(&self, host: &Host) -> Result<Arc<ServerConfig>, TerminateError> {
        let Leaf { chain, key } = self.authority.issue(host)?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TerminateError::Protocol)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TerminateError::Protocol)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let config = Arc::new(config);
        let mut leaves = lock(&self.leaves);
        if leaves.len() >= MAX_LEAVES {
            leaves.clear();
        }
        leaves.insert(host.clone(), Arc::clone(&config));
        Ok(config)
    }

    /// A session with the origin, whose certificate must be valid for `host`.
    ///
    /// # Errors
    /// [`TerminateError`].
    pub(crate) fn connect(&self, host: &Host) -> Result<ClientConnection, TerminateError> {
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
                .map_err(|_| TerminateError::Host(host.to_string()))?,
            Host::Address(address) => ServerName::from(IpAddr::to_canonical(address)),
        };
        ClientConnection::new(Arc::clone(&self.client), name).map_err(TerminateError::Protocol)
    }
}

impl std::fmt::Debug for Terminator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Terminator").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
