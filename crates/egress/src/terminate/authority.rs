//! The session's certificate authority: one key, one certificate, and leaves for the hosts it may name.
//!
//! Signs with P-256. Says nothing on the wire. Invariant: neither key leaves this process, and no leaf is made for a
//! host that no pattern matches.

use std::time::{Duration, SystemTime};

use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey as EcdsaKey};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use ringfence_policy::host::{Host, HostPattern};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::TerminateError;
use super::roots::to_pem;

/// The clock inside a virtual machine may be a little behind.
const BEFORE: Duration = Duration::from_hours(24);

/// Longer than any session, and short enough for clients that limit it.
const VALIDITY: Duration = Duration::from_hours(90 * 24);

/// The bytes of an uncompressed point of P-256 (SEC 1, 2.3.3), which end its public key's encoding.
const POINT_BYTES: usize = 65;

/// The authority of one session.
pub(super) struct Authority {
    patterns: Vec<HostPattern>,
    pub(super) issuer: Issuer<'static, Key>,
    certificate: CertificateDer<'static>,
    /// All leaves have the same key.
    leaf_key: Key,
}

/// What a server shows.
pub(super) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(super) fn make(patterns: Vec<HostPattern>) -> Result<Self, TerminateError> {
        let key = Key::generate()?;
        let mut parameters = parameters("Ringfence session", &key)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.name_constraints = Some(constraints(&patterns));
        let made = parameters
            .self_signed(&key)
            .map_err(|error| TerminateError::Certificate(error.to_string()))?;
        Ok(Self {
            patterns,
            certificate: made.der().clone(),
            issuer: Issuer::new(parameters, key),
            leaf_key: Key::generate()?,
        })
    }

    pub(super) fn certificate(&self) -> String {
        to_pem(&self.certificate)
    }

    /// A certificate for `host`.
    pub(super) fn issue(&self, host: &Host) -> Result<Leaf, TerminateError> {
        if !self.patterns.iter().any(|pattern| pattern.matches(host)) {
            return Err(TerminateError::Host(host.to_string()));
        }
        let mut parameters = parameters("Ringfence session, host", &self.leaf_key)?;
        parameters.subject_alt_names = vec![match host {
            Host::Address(address) => SanType::IpAddress(address.to_canonical()),
            Host::Name(name) => SanType::DnsName(
                name.as_str()
                    .try_into()
                    .map_err(|_| TerminateError::Host(host.to_string()))?,
            ),
        }];
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let leaf = parameters
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(|error| TerminateError::Certificate(error.to_string()))?;
        Ok(Leaf {
            chain: vec![leaf.der().clone()],
            key: self.leaf_key.to_pkcs8()?,
        })
    }
}

pub(super) fn parameters(name: &str, key: &Key) -> Result<CertificateParams, TerminateError> {
    let now = SystemTime::now();
    let mut parameters = CertificateParams::default();
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    parameters.distinguished_name = distinguished_name;
    parameters.not_before = (now - BEFORE).into();
    parameters.not_after = (now + VALIDITY).into();
    let mut serial = [0; 16];
    graviola::random::fill(&mut serial)
        .map_err(|error| TerminateError::Key(format!("{error:?}")))?;
    // A positive number of full length (RFC 5280, 4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    // Any identifier that differs from key to key does (RFC 5280, 4.2.1.2).
    let identifier = key.point.get(1..21).unwrap_or_default().to_vec();
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
    Ok(parameters)
}

/// The names that the authority may sign, and no address that no rule names.
fn constraints(patterns: &[HostPattern]) -> NameConstraints {
    let mut permitted: Vec<GeneralSubtree> = patterns
        .iter()
        .map(|pattern| match pattern {
            HostPattern::Exact(name) | HostPattern::Subdomains(name) | HostPattern::Tree(name) => {
                GeneralSubtree::DnsName(name.as_str().to_owned())
            }
            HostPattern::Address(address) => {
                let address = address.to_canonical();
                let bits = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
            }
        })
        .collect();
    let has = |wanted: fn(&GeneralSubtree) -> bool| permitted.iter().any(wanted);
    // A kind of name of which none is permitted is not constrained at all, unless all of it is excluded.
    let mut excluded = Vec::new();
    if !has(|subtree| matches!(subtree, GeneralSubtree::IpAddress(_))) {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    if !has(|subtree| matches!(subtree, GeneralSubtree::DnsName(_))) {
        permitted.push(GeneralSubtree::DnsName("invalid".to_owned()));
    }
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded,
    }
}

/// A key pair of P-256.
pub(super) struct Key {
    pair: EcdsaKey<P256>,
    point: Vec<u8>,
}

impl Key {
    pub(super) fn generate() -> Result<Self, TerminateError> {
        let failed = |error| TerminateError::Key(format!("{error:?}"));
        let pair = EcdsaKey::<P256>::generate().map_err(failed)?;
        let mut buffer = [0; 256];
        let encoded = pair.to_spki_der(&mut buffer).map_err(failed)?;
        let point = encoded
            .last_chunk::<POINT_BYTES>()
            .ok_or_else(|| TerminateError::Key("its encoding is too short".to_owned()))?
            .to_vec();
        Ok(Self { pair, point })
    }

    pub(super) fn to_pkcs8(&self) -> Result<PrivateKeyDer<'static>, TerminateError> {
        let mut buffer = [0; 512];
        let encoded = self
            .pair
            .to_pkcs8_der(&mut buffer)
            .map_err(|error| TerminateError::Key(format!("{error:?}")))?;
        Ok(PrivatePkcs8KeyDer::from(encoded.to_vec()).into())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut buffer = [0; 256];
        self.pair
            .sign_asn1::<Sha256>(&[message], &mut buffer)
            .map(<[u8]>::to_vec)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
