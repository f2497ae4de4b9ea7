//! The certificates that this system trusts, to verify origins with, and as text for the session's programs.
//!
//! Reads the system's store, or the file and directory that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
//! Invariant: what cannot be read is not trusted, and nothing at all is an error.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::java;

/// The width of a line of PEM (RFC 7468).
const LINE: usize = 64;

/// Why no origin could be verified.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The store holds no certificate that can be read.
    #[error("this system's store holds no certificate")]
    None,
    /// The store can't be read.
    #[error("this system's store can't be read: {0}")]
    Store(String),
}

/// Certificates that are trusted.
#[derive(Clone, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// The certificates that this system trusts.
    ///
    /// # Errors
    /// [`RootsError`] when there is none.
    pub fn observe() -> Result<Self, RootsError> {
        let mut found = rustls_native_certs::load_native_certs();
        match (found.certs.is_empty(), found.errors.pop()) {
            (false, _) => Ok(Self(found.certs)),
            (true, None) => Err(RootsError::None),
            (true, Some(error)) => Err(RootsError::Store(error.to_string())),
        }
    }

    /// These certificates and no others.
    #[must_use]
    pub fn of(certificates: Vec<CertificateDer<'static>>) -> Self {
        Self(certificates)
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// All of them and `further`, which is PEM, as one text of PEM.
    #[must_use]
    pub fn bundle(&self, further: &str) -> String {
        let mut text: String = self.0.iter().map(to_pem).collect();
        text.push_str(further);
        text
    }
}

/// The certificates of a text of PEM as a trust store that Java reads; what is none is left out.
#[must_use]
pub fn java_trust_store(bundle: &str) -> Vec<u8> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .flatten()
        .collect();
    java::trust_store(certificates.iter().map(AsRef::as_ref))
}

/// A certificate as PEM.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let encoded = encode(certificate);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Base 64 with padding (RFC 4648, 4).
fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| group.get(index).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * position) & 0x3f).unwrap_or_default();
            let letter = ALPHABET.get(index).copied().map_or('=', char::from);
            text.push(if position <= group.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_padded_and_broken() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe", "//4="),
        ] {
            assert_eq!(encode(bytes), text);
        }
        let text = to_pem(&CertificateDer::from(vec![7; 100]));
        assert!(text.lines().all(|line| line.len() <= LINE));
        assert_eq!(text.lines().count(), 2 + 3);
    }
}
