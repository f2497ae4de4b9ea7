//! Registry keys that set-up reads and writes, below `HKEY_LOCAL_MACHINE` and `HKEY_USERS`.
//!
//! Source: learn.microsoft.com "Registry Functions". Keys are opened themselves, never what a symbolic link among them
//! leads to. Invariant: the 64-bit view, whatever this program is.

use std::ptr::{null, null_mut};

use ringfence_backend::windows::StoredValue;
use ringfence_nt::SecurityDescriptor;
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INSUFFICIENT_BUFFER, ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS,
    ERROR_SUCCESS,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION,
    SECURITY_ATTRIBUTES,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, HKEY_USERS, KEY_ENUMERATE_SUB_KEYS, KEY_QUERY_VALUE, KEY_SET_VALUE,
    KEY_WOW64_64KEY, REG_BINARY, REG_DWORD, REG_OPTION_NON_VOLATILE, REG_OPTION_OPEN_LINK, REG_SZ,
    RegCloseKey, RegCreateKeyExW, RegDeleteKeyExW, RegDeleteValueW, RegEnumKeyExW, RegEnumValueW,
    RegGetKeySecurity, RegOpenKeyExW, RegQueryInfoKeyW, RegQueryValueExW, RegSetKeySecurity,
    RegSetValueExW,
};

use super::access::descriptor_bytes;
use super::error::{CallError, Win32Error};
use super::wide::WideText;

/// `READ_CONTROL | WRITE_DAC | WRITE_OWNER`
const SECURITY: u32 = 0x000e_0000;
/// `WRITE_DAC`
const WRITE_DAC: u32 = 0x0004_0000;
/// `READ_CONTROL`
const LOOK: u32 = 0x0002_0000;
/// The longest value that is read, in bytes.
const MAX_VALUE: u32 = 1 << 16;

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `HKEY_LOCAL_MACHINE`
    Machine,
    /// `HKEY_USERS`
    Users,
}

/// What a key is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// To read it, its descriptor and what is below it.
    Read,
    /// To set values as well.
    Write,
    /// To read it, and to replace its DACL: another owner's key as well.
    Close,
    /// To set values and its descriptor as well.
    Protect,
}

/// An open key.
#[derive(Debug)]
pub struct Key {
    handle: HKEY,
    name: String,
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: a call of this module opened it, and nobody else closes it.
        unsafe { RegCloseKey(self.handle) };
    }
}

fn wide(text: &str, call: &'static str) -> Result<WideText, CallError> {
    WideText::new(text).map_err(|error| CallError::new(call, error, Win32Error(87)))
}

fn rights(access: KeyAccess) -> u32 {
    let read = KEY_QUERY_VALUE | KEY_ENUMERATE_SUB_KEYS | LOOK;
    KEY_WOW64_64KEY
        | match access {
            KeyAccess::Read => read,
            KeyAccess::Write => read | KEY_SET_VALUE,
            KeyAccess::Close => read | WRITE_DAC,
            KeyAccess::Protect => read | KEY_SET_VALUE | SECURITY,
        }
}

impl Key {
    /// Opens a key; none where there is none.
    ///
    /// # Errors
    /// `RegOpenKeyExW`'s.
    pub fn open(root: Root, name: &str, access: KeyAccess) -> Result<Option<Self>, CallError> {
        let parent = match root {
            Root::Machine => HKEY_LOCAL_MACHINE,
            Root::Users => HKEY_USERS,
        };
        Self::open_below(parent, name, name, access)
    }

    /// Opens a key below this one; none where there is none.
    ///
    /// # Errors
    /// `RegOpenKeyExW`'s.
    pub fn child(&self, name: &str, access: KeyAccess) -> Result<Option<Self>, CallError> {
        let full = format!("{}\\{name}", self.name);
        Self::open_below(self.handle, name, &full, access)
    }

    fn open_below(
        parent: HKEY,
        name: &str,
        full: &str,
        access: KeyAccess,
    ) -> Result<Option<Self>, CallError> {
        const CALL: &str = "RegOpenKeyExW";
        let text = wide(name, CALL)?;
        let mut handle: HKEY = null_mut();
        // SAFETY: the parent is open or predefined; the name ends in a zero; the handle is ours to write.
        let code = unsafe {
            RegOpenKeyExW(
                parent,
                text.as_ptr(),
                REG_OPTION_OPEN_LINK,
                rights(access),
                &raw mut handle,
            )
        };
        match code {
            ERROR_SUCCESS => Ok(Some(Self {
                handle,
                name: full.to_owned(),
            })),
            ERROR_FILE_NOT_FOUND => Ok(None),
            code => Err(CallError::new(CALL, full, Win32Error(code))),
        }
    }

    /// Opens a key of the machine, or makes it and those above it; one that is made has the descriptor from its first
    /// moment on.
    ///
    /// # Errors
    /// `RegCreateKeyExW`'s.
    pub fn make(name: &str, descriptor: Option<&SecurityDescriptor>) -> Result<Self, CallError> {
        const CALL: &str = "RegCreateKeyExW";
        let text = wide(name, CALL)?;
        let bytes = descriptor
            .map(|descriptor| descriptor_bytes(descriptor, CALL))
            .transpose()?;
        let attributes = bytes.as_ref().map(|bytes| SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
            lpSecurityDescriptor: bytes.as_ptr().cast_mut().cast(),
            bInheritHandle: 0,
        });
        let mut handle: HKEY = null_mut();
        // SAFETY: the parent is predefined; the name ends in a zero; attributes and descriptor live for the call;
        // class, attributes and disposition may be null.
        let code = unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                text.as_ptr(),
                0,
                null(),
                REG_OPTION_NON_VOLATILE,
                rights(KeyAccess::Protect),
                attributes.as_ref().map_or(null(), std::ptr::from_ref),
                &raw mut handle,
                null_mut(),
            )
        };
        if code == ERROR_SUCCESS {
            let name = name.to_owned();
            return Ok(Self { handle, name });
        }
        Err(CallError::new(CALL, name, Win32Error(code)))
    }

    /// Deletes a key of the machine that has no key below it; what is not there is gone.
    ///
    /// # Errors
    /// `RegDeleteKeyExW`'s.
    pub fn delete(name: &str) -> Result<(), CallError> {
        const CALL: &str = "RegDeleteKeyExW";
        let text = wide(name, CALL)?;
        // SAFETY: the parent is predefined; the name ends in a zero.
        match unsafe { RegDeleteKeyExW(HKEY_LOCAL_MACHINE, text.as_ptr(), KEY_WOW64_64KEY, 0) } {
            ERROR_SUCCESS | ERROR_FILE_NOT_FOUND => Ok(()),
            code => Err(CallError::new(CALL, name, Win32Error(code))),
        }
    }

    fn done(&self, code: u32, call: &'static str) -> Result<(), CallError> {
        if code == ERROR_SUCCESS {
            return Ok(());
        }
        Err(CallError::new(call, &self.name, Win32Error(code)))
    }

    /// A value; none where there is none of that name.
    ///
    /// # Errors
    /// `RegQueryValueExW`'s; 13 (invalid data) for a value of another kind.
    pub fn value(&self, name: &str) -> Result<Option<StoredValue>, CallError> {
        const CALL: &str = "RegQueryValueExW";
        let text = wide(name, CALL)?;
        let mut bytes = vec![0_u8; usize::try_from(MAX_VALUE).unwrap_or(0)];
        let (mut kind, mut length) = (0, MAX_VALUE);
        // SAFETY: the key is open; the name ends in a zero; the buffer has as many bytes as is said.
        let code = unsafe {
            RegQueryValueExW(
                self.handle,
                text.as_ptr(),
                null(),
                &raw mut kind,
                bytes.as_mut_ptr(),
                &raw mut length,
            )
        };
        if code == ERROR_FILE_NOT_FOUND {
            return Ok(None);
        }
        self.done(code, CALL)?;
        bytes.truncate(usize::try_from(length).unwrap_or(0));
        let other = || CallError::new(CALL, format_args!("{}\\{name}", self.name), Win32Error(13));
        Ok(Some(match kind {
            REG_DWORD => {
                let number: [u8; 4] = bytes.as_slice().try_into().map_err(|_| other())?;
                StoredValue::Dword(u32::from_le_bytes(number))
            }
            REG_SZ => {
                let units: Vec<u16> = bytes
                    .chunks_exact(2)
                    .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
                    .take_while(|unit| *unit != 0)
                    .collect();
                StoredValue::Text(String::from_utf16_lossy(&units))
            }
            REG_BINARY => StoredValue::Binary(bytes),
            _ => return Err(other()),
        }))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// `RegSetValueExW`'s.
    pub fn set(&self, name: &str, value: &StoredValue) -> Result<(), CallError> {
        const CALL: &str = "RegSetValueExW";
        let text = wide(name, CALL)?;
        let (kind, bytes) = match value {
            StoredValue::Dword(number) => (REG_DWORD, number.to_le_bytes().to_vec()),
            StoredValue::Text(text) => {
                let units = text.encode_utf16().chain([0]);
                (REG_SZ, units.flat_map(u16::to_le_bytes).collect())
            }
            StoredValue::Binary(bytes) => (REG_BINARY, bytes.clone()),
        };
        let length = u32::try_from(bytes.len())
            .map_err(|_| CallError::new(CALL, &self.name, Win32Error(87)))?;
        // SAFETY: the key is open; the name ends in a zero; the bytes live for the call and are as many as is said.
        let code =
            unsafe { RegSetValueExW(self.handle, text.as_ptr(), 0, kind, bytes.as_ptr(), length) };
        self.done(code, CALL)
    }

    /// Removes a value; what is not there is gone.
    ///
    /// # Errors
    /// `RegDeleteValueW`'s.
    pub fn remove(&self, name: &str) -> Result<(), CallError> {
        const CALL: &str = "RegDeleteValueW";
        let text = wide(name, CALL)?;
        // SAFETY: the key is open; the name ends in a zero.
        match unsafe { RegDeleteValueW(self.handle, text.as_ptr()) } {
            ERROR_FILE_NOT_FOUND => Ok(()),
            code => self.done(code, CALL),
        }
    }

    /// How many keys and values are in it.
    ///
    /// # Errors
    /// `RegQueryInfoKeyW`'s.
    pub fn count(&self) -> Result<u32, CallError> {
        let (mut keys, mut values) = (0, 0);
        // SAFETY: the key is open; both numbers are ours to write; the rest may be null.
        let code = unsafe {
            RegQueryInfoKeyW(
                self.handle,
                null_mut(),
                null_mut(),
                null(),
                &raw mut keys,
                null_mut(),
                null_mut(),
                &raw mut values,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
            )
        };
        self.done(code, "RegQueryInfoKeyW")?;
        Ok(keys.saturating_add(values))
    }

    /// The names of the keys below it.
    ///
    /// # Errors
    /// `RegEnumKeyExW`'s.
    pub fn keys(&self) -> Result<Vec<String>, CallError> {
        self.names("RegEnumKeyExW", |index, units, length| {
            // SAFETY: the key is open; the text has room for as many units as is said; the rest may be null.
            unsafe {
                RegEnumKeyExW(
                    self.handle,
                    index,
                    units,
                    length,
                    null(),
                    null_mut(),
                    null_mut(),
                    null_mut(),
                )
            }
        })
    }

    /// The names of its values.
    ///
    /// # Errors
    /// `RegEnumValueW`'s.
    pub fn values(&self) -> Result<Vec<String>, CallError> {
        self.names("RegEnumValueW", |index, units, length| {
            // SAFETY: as in `keys`.
            unsafe {
                RegEnumValueW(
                    self.handle,
                    index,
                    units,
                    length,
                    null(),
                    null_mut(),
                    null_mut(),
                    null_mut(),
                )
            }
        })
    }

    fn names(
        &self,
        call: &'static str,
        next: impl Fn(u32, *mut u16, *mut u32) -> u32,
    ) -> Result<Vec<String>, CallError> {
        // A key's name has at most 255 units, a value's 16,383.
        let mut units = vec![0_u16; 1 << 14];
        let mut names = Vec::new();
        for index in 0.. {
            let mut length = u32::try_from(units.len()).unwrap_or(0);
            match next(index, units.as_mut_ptr(), &raw mut length) {
                ERROR_NO_MORE_ITEMS => break,
                ERROR_SUCCESS | ERROR_MORE_DATA => {
                    let name = units.get(..usize::try_from(length).unwrap_or(0));
                    names.push(String::from_utf16_lossy(name.unwrap_or_default()));
                }
                code => return Err(CallError::new(call, &self.name, Win32Error(code))),
            }
        }
        Ok(names)
    }

    /// Its owner, group and DACL.
    ///
    /// # Errors
    /// `RegGetKeySecurity`'s; 1338 for a descriptor that is not understood.
    pub fn descriptor(&self) -> Result<SecurityDescriptor, CallError> {
        const CALL: &str = "RegGetKeySecurity";
        let parts =
            OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        let mut room: u32 = 1 << 10;
        loop {
            let mut bytes = vec![0_u8; usize::try_from(room).unwrap_or(0)];
            let mut length = room;
            // SAFETY: the key is open; the buffer has as many bytes as is said.
            let code = unsafe {
                RegGetKeySecurity(
                    self.handle,
                    parts,
                    bytes.as_mut_ptr().cast(),
                    &raw mut length,
                )
            };
            match code {
                ERROR_INSUFFICIENT_BUFFER if length > room && length <= 1 << 18 => room = length,
                code => {
                    self.done(code, CALL)?;
                    return SecurityDescriptor::from_bytes(&bytes)
                        .map_err(|error| CallError::new(CALL, error, Win32Error(1338)));
                }
            }
        }
    }

    /// Sets its owner, group and DACL.
    ///
    /// # Errors
    /// `RegSetKeySecurity`'s.
    pub fn protect(&self, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
        let owner = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION;
        self.set_security(owner | DACL_SECURITY_INFORMATION, descriptor)
    }

    /// Sets its DACL alone.
    ///
    /// # Errors
    /// `RegSetKeySecurity`'s.
    pub fn set_dacl(&self, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
        self.set_security(DACL_SECURITY_INFORMATION, descriptor)
    }

    fn set_security(&self, parts: u32, descriptor: &SecurityDescriptor) -> Result<(), CallError> {
        const CALL: &str = "RegSetKeySecurity";
        let bytes = descriptor_bytes(descriptor, CALL)?;
        // SAFETY: the key is open; the descriptor lives for the call, which only reads it.
        let code =
            unsafe { RegSetKeySecurity(self.handle, parts, bytes.as_ptr().cast_mut().cast()) };
        self.done(code, CALL)
    }
}
