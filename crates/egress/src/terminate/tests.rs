//! A small world of certificates for tests, and tests of the session's own authority.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyUsagePurpose, SanType, SigningKey,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::authority::{Key, parameters};
use super::*;

const DAY: Duration = Duration::from_hours(24);

/// When a test's certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Valid {
    Now,
    Before,
    Later,
}

/// An authority that the tests' roots have, or have not.
pub(crate) struct TestAuthority {
    issuer: Issuer<'static, Key>,
    certificate: CertificateDer<'static>,
}

impl TestAuthority {
    pub(crate) fn make() -> Self {
        let key = Key::generate().unwrap();
        let mut parameters = parameters("test authority", &key).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = parameters.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(parameters, key),
            certificate,
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::of(vec![self.certificate.clone()])
    }

    /// What a server for `name` needs.
    pub(crate) fn server(&self, name: &str, valid: Valid) -> Arc<ServerConfig> {
        let key = Key::generate().unwrap();
        let leaf = leaf(name, valid, &key).signed_by(&key, &self.issuer);
        server(leaf.unwrap().der(), &key)
    }
}

/// What a server for `name` needs that signs its own certificate.
pub(crate) fn self_signed(name: &str) -> Arc<ServerConfig> {
    let key = Key::generate().unwrap();
    let leaf = leaf(name, Valid::Now, &key).self_signed(&key);
    server(leaf.unwrap().der(), &key)
}

fn leaf(name: &str, valid: Valid, key: &Key) -> CertificateParams {
    let mut parameters = parameters("test server", key).unwrap();
    parameters.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    let now = SystemTime::now();
    (parameters.not_before, parameters.not_after) = match valid {
        Valid::Now => ((now - DAY).into(), (now + DAY).into()),
        Valid::Before => ((now - 9 * DAY).into(), (now - DAY).into()),
        Valid::Later => ((now + DAY).into(), (now + 9 * DAY).into()),
    };
    parameters
}

fn server(leaf: &CertificateDer<'static>, key: &Key) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.clone()], key.to_pkcs8().unwrap());
    Arc::new(config.unwrap())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls_graviola::default_provider())
}

/// A program that trusts `pem` and offers `protocols`.
pub(crate) fn client(pem: &str, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(from_pem(pem)).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn from_pem(pem: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub(crate) fn terminator(rules: &[&str], roots: &Roots) -> Terminator {
    let rules: Vec<AllowRule> = rules.iter().map(|text| text.parse().unwrap()).collect();
    Terminator::new(rules.iter(), roots).unwrap()
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).unwrap()
}

/// Whether a program that trusts `pem` accepts `leaf` for `name`.
fn is_accepted(pem: &str, leaf: &CertificateDer<'_>, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(from_pem(pem)).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .build()
        .unwrap()
        .verify_server_cert(leaf, &[], &name, &[], UnixTime::now())
        .is_ok()
}

#[test]
fn a_certificate_is_made_for_the_hosts_of_the_rules_alone() {
    let rules = [
        "api.example.com GET",
        "*.tree.example.com GET",
        "11.22.33.44 GET",
    ];
    let patterns = rules.map(|text| {
        let rule: AllowRule = text.parse().unwrap();
        rule.host().pattern().clone()
    });
    let authority = Authority::make(patterns.to_vec()).unwrap();
    for name in ["api.example.com", "a.tree.example.com", "11.22.33.44"] {
        let leaf = authority.issue(&host(name)).unwrap();
        assert!(
            is_accepted(&authority.certificate(), &leaf.chain[0], name),
            "{name}"
        );
        assert!(!is_accepted(
            &authority.certificate(),
            &leaf.chain[0],
            "other.example"
        ));
    }
    for name in [
        "example.com",
        "x.api.example.com",
        "tree.example.com",
        "11.22.33.45",
    ] {
        assert!(authority.issue(&host(name)).is_err(), "{name}");
    }
}

/// Even its key would make no certificate for another host: programs that trust the authority refuse it.
#[test]
fn the_authority_is_of_no_use_for_other_hosts() {
    let rule: AllowRule = "api.example.com GET".parse().unwrap();
    let authority = Authority::make(vec![rule.host().pattern().clone()]).unwrap();
    let forge = |name: SanType| {
        let key = Key::generate().unwrap();
        let mut forged = parameters("forged", &key).unwrap();
        forged.subject_alt_names = vec![name];
        forged
            .signed_by(&key, &authority.issuer)
            .unwrap()
            .der()
            .clone()
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let pem = authority.certificate();
    let control = forge(dns("api.example.com"));
    assert!(is_accepted(&pem, &control, "api.example.com"));
    for name in ["www.example.com", "example.com", "bank.example"] {
        assert!(!is_accepted(&pem, &forge(dns(name)), name), "{name}");
    }
    let address = "11.22.33.44".parse().unwrap();
    assert!(!is_accepted(
        &pem,
        &forge(SanType::IpAddress(address)),
        "11.22.33.44"
    ));
}

#[test]
fn two_sessions_have_nothing_in_common() {
    let roots = TestAuthority::make().roots();
    let pems = [(); 2].map(|()| terminator(&["api.example.com GET"], &roots).certificate());
    assert_ne!(pems[0], pems[1]);
    assert!(!pems[0].contains("PRIVATE"));
    let bundle = roots.bundle(&pems[0]);
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(bundle.ends_with(&pems[0]));
}

#[test]
fn without_roots_nothing_is_terminated() {
    let rule: AllowRule = "api.example.com GET".parse().unwrap();
    let made = Terminator::new([rule].iter(), &Roots::of(Vec::new()));
    assert!(matches!(made, Err(TerminateError::Roots(_))));
}

#[test]
fn a_signature_is_one_of_its_key() {
    let key = Key::generate().unwrap();
    let other = Key::generate().unwrap();
    assert_ne!(key.sign(b"a").unwrap(), other.sign(b"a").unwrap());
}
