//! The trust store that Java reads: a Java virtual machine knows no file of PEM.
//!
//! Written only; the format is that of `sun.security.provider.JavaKeyStore`, which every such machine reads whatever
//! its usual type is. Invariant: it holds certificates alone, which need no password.

/// A "JKS", version 2.
const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
/// An entry that is a certificate which is trusted.
const TRUSTED: u32 = 2;

/// A trust store of `certificates` (DER).
///
/// Its digest, which only a password could check, is left empty: who reads certificates gives none.
pub(super) fn trust_store<'c>(certificates: impl IntoIterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut count: u32 = 0;
    for certificate in certificates {
        // A certificate of 4 GiB is none.
        let Ok(length) = u32::try_from(certificate.len()) else {
            continue;
        };
        entries.extend(TRUSTED.to_be_bytes());
        push_text(&mut entries, &count.to_string());
        entries.extend(0_u64.to_be_bytes()); // when it was made
        push_text(&mut entries, "X.509");
        entries.extend(length.to_be_bytes());
        entries.extend(certificate);
        count += 1;
    }
    let mut store = Vec::with_capacity(12 + entries.len() + 20);
    for number in [MAGIC, VERSION, count] {
        store.extend(number.to_be_bytes());
    }
    store.extend(entries);
    store.extend([0; 20]);
    store
}

/// A short text of ASCII, behind its length.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or_default();
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_java_reads_it() {
        let store = trust_store([&b"one"[..], b"second"]);
        let expected = [
            &b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x02"[..],
            b"\0\0\0\x02\0\x010\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03one",
            b"\0\0\0\x02\0\x011\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x06second",
            &[0; 20],
        ];
        assert_eq!(store, expected.concat());
    }
}
