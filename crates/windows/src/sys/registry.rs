//! Values of `HKEY_LOCAL_MACHINE` and `HKEY_CURRENT_USER`, read only.
//!
//! Source: learn.microsoft.com `RegGetValueW`, `RegEnumKeyExW`.

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, KEY_READ, REG_ROUTINE_FLAGS, RRF_RT_REG_BINARY,
    RRF_RT_REG_DWORD, RRF_RT_REG_SZ, RegCloseKey, RegEnumKeyExW, RegGetValueW, RegOpenKeyExW,
};

use super::error::{CallError, Win32Error};
use super::wide::WideText;

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hive {
    /// `HKEY_LOCAL_MACHINE`
    Machine,
    /// `HKEY_CURRENT_USER`
    Person,
}

impl Hive {
    const fn key(self) -> HKEY {
        match self {
            Self::Machine => HKEY_LOCAL_MACHINE,
            Self::Person => HKEY_CURRENT_USER,
        }
    }
}

fn wide(text: &str, call: &'static str) -> Result<WideText, CallError> {
    WideText::new(text).map_err(|error| CallError::new(call, error, Win32Error(87)))
}

/// A number; `None` where there is none of this name.
///
/// # Errors
/// `RegGetValueW`'s.
pub fn number(hive: Hive, key: &str, value: &str) -> Result<Option<u32>, CallError> {
    let mut data = [0_u8; 4];
    let found = get(hive, key, value, RRF_RT_REG_DWORD, &mut data)?;
    Ok(found.map(|_| u32::from_le_bytes(data)))
}

/// A text, its variables expanded; `None` where there is none of this name.
///
/// # Errors
/// `RegGetValueW`'s.
pub fn text(hive: Hive, key: &str, value: &str) -> Result<Option<String>, CallError> {
    let mut data = vec![0_u8; 64 * 1024];
    // REG_EXPAND_SZ counts as REG_SZ: the call expands it.
    let Some(length) = get(hive, key, value, RRF_RT_REG_SZ, &mut data)? else {
        return Ok(None);
    };
    let units: Vec<u16> = data
        .get(..length)
        .unwrap_or_default()
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .take_while(|unit| *unit != 0)
        .collect();
    Ok(Some(String::from_utf16_lossy(&units)))
}

/// Bytes; `None` where there are none of this name.
///
/// # Errors
/// `RegGetValueW`'s.
pub fn binary(hive: Hive, key: &str, value: &str) -> Result<Option<Vec<u8>>, CallError> {
    let mut data = vec![0_u8; 64 * 1024];
    let Some(length) = get(hive, key, value, RRF_RT_REG_BINARY, &mut data)? else {
        return Ok(None);
    };
    data.truncate(length);
    Ok(Some(data))
}

/// Reads a value; its length in bytes.
fn get(
    hive: Hive,
    key: &str,
    value: &str,
    flags: REG_ROUTINE_FLAGS,
    data: &mut [u8],
) -> Result<Option<usize>, CallError> {
    const CALL: &str = "RegGetValueW";
    let (key_name, value_name) = (wide(key, CALL)?, wide(value, CALL)?);
    let mut length = u32::try_from(data.len()).unwrap_or(0);
    // SAFETY: the hive is a predefined key; both names end in a zero; the buffer has the length that is said.
    let status = unsafe {
        RegGetValueW(
            hive.key(),
            key_name.as_ptr(),
            value_name.as_ptr(),
            flags,
            std::ptr::null_mut(),
            data.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match status {
        ERROR_SUCCESS => Ok(Some(usize::try_from(length).unwrap_or(0))),
        ERROR_FILE_NOT_FOUND => Ok(None),
        status => Err(CallError::new(
            CALL,
            format_args!("{key}\\{value}"),
            Win32Error(status),
        )),
    }
}

/// The names of the keys below a key; none where it is absent.
///
/// # Errors
/// `RegOpenKeyExW`'s and `RegEnumKeyExW`'s.
pub fn keys(hive: Hive, key: &str) -> Result<Vec<String>, CallError> {
    const CALL: &str = "RegOpenKeyExW";
    let name = wide(key, CALL)?;
    let mut opened: HKEY = std::ptr::null_mut();
    // SAFETY: the hive is a predefined key; the name ends in a zero; the result is ours to write.
    let status = unsafe { RegOpenKeyExW(hive.key(), name.as_ptr(), 0, KEY_READ, &raw mut opened) };
    match status {
        ERROR_SUCCESS => {}
        ERROR_FILE_NOT_FOUND => return Ok(Vec::new()),
        status => return Err(CallError::new(CALL, key, Win32Error(status))),
    }
    let opened = Key(opened);
    let mut names = Vec::new();
    for index in 0.. {
        // The longest name of a key has 255 units.
        let mut buffer = [0_u16; 256];
        let mut length = 256;
        // SAFETY: the key is open; the buffer has the length that is said; what is not asked for is null.
        let status = unsafe {
            RegEnumKeyExW(
                opened.0,
                index,
                buffer.as_mut_ptr(),
                &raw mut length,
                std::ptr::null(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        match status {
            ERROR_SUCCESS => {
                let length = usize::try_from(length).unwrap_or(0);
                names.push(String::from_utf16_lossy(
                    buffer.get(..length).unwrap_or_default(),
                ));
            }
            ERROR_NO_MORE_ITEMS => break,
            status => return Err(CallError::new("RegEnumKeyExW", key, Win32Error(status))),
        }
    }
    Ok(names)
}

struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: RegOpenKeyExW gave it, and nobody else closes it.
        unsafe { RegCloseKey(self.0) };
    }
}
