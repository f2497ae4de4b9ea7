//! Values of the machine's registry, in the keys that set-up may touch.
//!
//! Invariant: nothing is written outside of our own key and the list of hidden accounts.

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::{KeyBefore, StoredValue};
use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::machine::{HIDDEN_ACCOUNTS, OWN_KEY};
use ringfence_plan::windows::step::RegistryValue;

use crate::files::failure;
use crate::sys::key::{Key, KeyAccess, Root};
use crate::sys::random;

/// `ERROR_ACCESS_DENIED`
const REFUSED: u32 = 5;

fn is_own(key: &str) -> bool {
    key.get(..OWN_KEY.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OWN_KEY))
        && key
            .get(OWN_KEY.len()..)
            .is_some_and(|rest| rest.starts_with('\\'))
}

fn check(key: &str) -> Result<(), CallFailure> {
    if is_own(key) || key.eq_ignore_ascii_case(HIDDEN_ACCOUNTS) {
        return Ok(());
    }
    Err(CallFailure::new("not a key of ours", key, REFUSED))
}

pub(super) fn observe_key(key: &str) -> Result<Option<SecurityDescriptor>, CallFailure> {
    let opened = Key::open(Root::Machine, key, KeyAccess::Read).map_err(failure)?;
    opened
        .map(|key| key.descriptor())
        .transpose()
        .map_err(failure)
}

pub(super) fn observe_value(key: &str, name: &str) -> Result<Option<StoredValue>, CallFailure> {
    let opened = Key::open(Root::Machine, key, KeyAccess::Read).map_err(failure)?;
    match opened {
        Some(key) => key.value(name).map_err(failure),
        None => Ok(None),
    }
}

pub(super) fn set_value(
    key: &str,
    name: &str,
    value: &RegistryValue,
    descriptor: Option<&SecurityDescriptor>,
) -> Result<(), CallFailure> {
    check(key)?;
    let stored = match value {
        RegistryValue::Dword(number) => StoredValue::Dword(*number),
        RegistryValue::Text(text) => StoredValue::Text(text.clone()),
        RegistryValue::Random(length) => {
            let mut bytes = vec![0; usize::from(*length)];
            random::fill(&mut bytes).map_err(failure)?;
            StoredValue::Binary(bytes)
        }
    };
    let opened = Key::make(key, descriptor).map_err(failure)?;
    // Closed before the value is in it, where it was there.
    if let Some(descriptor) = descriptor {
        opened.protect(descriptor).map_err(failure)?;
    }
    opened.set(name, &stored).map_err(failure)
}

pub(super) fn restore_value(
    key: &str,
    name: &str,
    before: Option<&StoredValue>,
    key_before: KeyBefore,
) -> Result<(), CallFailure> {
    check(key)?;
    let Some(opened) = Key::open(Root::Machine, key, KeyAccess::Write).map_err(failure)? else {
        return Ok(());
    };
    match before {
        Some(before) => opened.set(name, before).map_err(failure)?,
        None => opened.remove(name).map_err(failure)?,
    }
    let empty = opened.count().map_err(failure)? == 0;
    drop(opened);
    if empty && key_before == KeyBefore::Absent {
        Key::delete(key).map_err(failure)?;
        if is_own(key) {
            remove_if_empty(OWN_KEY)?;
        }
    }
    Ok(())
}

/// The key above ours goes with the last person's.
fn remove_if_empty(key: &str) -> Result<(), CallFailure> {
    let Some(opened) = Key::open(Root::Machine, key, KeyAccess::Read).map_err(failure)? else {
        return Ok(());
    };
    if opened.count().map_err(failure)? == 0 {
        drop(opened);
        return Key::delete(key).map_err(failure);
    }
    Ok(())
}
