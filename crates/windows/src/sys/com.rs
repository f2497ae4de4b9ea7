//! Just enough of COM to speak to one system library: an object, its methods by their place in its table, and texts.
//!
//! Why by hand: see docs/decisions. Invariant: what was referenced is released once, and no text outlives its owner.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use windows_sys::Win32::Foundation::{SysAllocStringLen, SysFreeString, SysStringLen};
use windows_sys::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, COINIT_APARTMENTTHREADED, CoCreateInstance, CoInitializeEx,
    CoUninitialize,
};
use windows_sys::core::{BSTR, GUID, HRESULT};

use super::error::{CallError, Win32Error};

/// `RPC_E_CHANGED_MODE`: this thread speaks COM in another way already, which does as well.
const OTHER_MODE: HRESULT = 0x8001_0106_u32.cast_signed();

/// COM on this thread, until it is dropped.
#[derive(Debug)]
pub(super) struct Apartment {
    /// Only the thread that began may end.
    _thread: std::marker::PhantomData<*const ()>,
    ours: bool,
}

impl Apartment {
    pub(super) fn enter() -> Result<Self, CallError> {
        // SAFETY: the first argument is reserved and null.
        let result =
            unsafe { CoInitializeEx(std::ptr::null(), COINIT_APARTMENTTHREADED.cast_unsigned()) };
        if result != OTHER_MODE {
            succeeded(result, "CoInitializeEx", "")?;
        }
        Ok(Self {
            _thread: std::marker::PhantomData,
            ours: result != OTHER_MODE,
        })
    }
}

impl Drop for Apartment {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: `enter` succeeded on this very thread.
            unsafe { CoUninitialize() };
        }
    }
}

/// Turns a result into an error with its number.
pub(super) fn succeeded(
    result: HRESULT,
    call: &'static str,
    object: &str,
) -> Result<(), CallError> {
    if result >= 0 {
        return Ok(());
    }
    Err(CallError::new(
        call,
        object,
        Win32Error(result.cast_unsigned()),
    ))
}

/// An object, released when dropped.
#[derive(Debug)]
pub(super) struct Object(NonNull<c_void>);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: `Release` is the third method of every object.
        let release: unsafe extern "system" fn(*mut c_void) -> u32 = unsafe { self.method(2) };
        // SAFETY: the reference is ours, and given back once.
        unsafe { release(self.as_ptr()) };
    }
}

impl Object {
    /// Makes an object of a class of this process.
    pub(super) fn new(
        class: &GUID,
        interface: &GUID,
        call: &'static str,
    ) -> Result<Self, CallError> {
        let mut object = null_mut();
        // SAFETY: both ids live for the call; the result is ours to write.
        let result = unsafe {
            CoCreateInstance(
                class,
                null_mut(),
                CLSCTX_INPROC_SERVER,
                interface,
                &raw mut object,
            )
        };
        succeeded(result, "CoCreateInstance", call)?;
        // SAFETY: the call succeeded: it is a reference of ours, or null.
        unsafe { Self::adopt(object, call) }
    }

    /// Takes over a reference.
    ///
    /// # Safety
    /// `object` is null, or a reference to an object that nobody else releases.
    pub(super) unsafe fn adopt(object: *mut c_void, call: &'static str) -> Result<Self, CallError> {
        NonNull::new(object)
            .map(Self)
            .ok_or_else(|| CallError::new(call, "no object", Win32Error(6)))
    }

    pub(super) const fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// A method by its place in the object's table.
    ///
    /// # Safety
    /// `F` is the type of the method that the object's interface has at that place.
    pub(super) unsafe fn method<F: Copy>(&self, place: usize) -> F {
        const { assert!(size_of::<F>() == size_of::<usize>()) };
        // SAFETY: an object begins with a pointer to the table of its methods.
        let table = unsafe { *self.0.as_ptr().cast::<*const *const c_void>() };
        // SAFETY: the caller promises that the table has such a place.
        let entry = unsafe { table.add(place) };
        // SAFETY: as above, and that the method is of this type.
        unsafe { entry.cast::<F>().read() }
    }

    /// The same object by another interface; none where it has not got that.
    pub(super) fn cast(&self, interface: &GUID) -> Result<Self, CallError> {
        type Query =
            unsafe extern "system" fn(*mut c_void, *const GUID, *mut *mut c_void) -> HRESULT;
        const CALL: &str = "QueryInterface";
        let mut other = null_mut();
        // SAFETY: `QueryInterface` is the first method of every object.
        let query: Query = unsafe { self.method(0) };
        // SAFETY: the object lives; the id too; the result is ours to write.
        let result = unsafe { query(self.as_ptr(), interface, &raw mut other) };
        succeeded(result, CALL, "")?;
        // SAFETY: the call succeeded: it is a reference of ours.
        unsafe { Self::adopt(other, CALL) }
    }
}

/// A text that crosses COM.
#[derive(Debug)]
pub(super) struct Text(BSTR);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let units: Vec<u16> = text.encode_utf16().collect();
        let length = u32::try_from(units.len()).unwrap_or(0);
        // SAFETY: the units live for the call and are as many as is said. Null, for want of memory, is an empty text.
        Self(unsafe { SysAllocStringLen(units.as_ptr(), length) })
    }

    /// Takes over a text that a method has given.
    ///
    /// # Safety
    /// It is null, or a text that nobody else frees.
    pub(super) const unsafe fn adopt(text: BSTR) -> Self {
        Self(text)
    }

    pub(super) const fn as_ptr(&self) -> BSTR {
        self.0
    }

    pub(super) fn read(&self) -> String {
        if self.0.is_null() {
            return String::new();
        }
        // SAFETY: it is a text.
        let length = usize::try_from(unsafe { SysStringLen(self.0) }).unwrap_or(0);
        // SAFETY: it has that many units.
        let units = unsafe { std::slice::from_raw_parts(self.0, length) };
        String::from_utf16_lossy(units)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: it is ours, or null, which is taken too.
        unsafe { SysFreeString(self.0) };
    }
}
