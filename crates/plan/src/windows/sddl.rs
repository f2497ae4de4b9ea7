//! Descriptors as SDDL in JSON, so that a person can read stored facts.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use ringfence_nt::SecurityDescriptor;

#[expect(clippy::ref_option, reason = "serde's `with` hands the field over so")]
pub(crate) fn serialize<S: Serializer>(
    descriptor: &Option<SecurityDescriptor>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match descriptor {
        Some(descriptor) => serializer.serialize_some(&descriptor.to_sddl()),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecurityDescriptor>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| SecurityDescriptor::from_sddl(&text).map_err(D::Error::custom))
        .transpose()
}
