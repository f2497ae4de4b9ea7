//! An echo request, as `ping` sends it.
//!
//! Source: learn.microsoft.com `IcmpSendEcho`, "IP Helper ICMP error codes". Invariant: only a reply counts as one.

use std::mem::size_of;
use std::net::Ipv4Addr;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    ICMP_ECHO_REPLY, IP_SUCCESS, IcmpCloseHandle, IcmpCreateFile, IcmpSendEcho,
};

use super::error::{CallError, Win32Error};

struct Port(HANDLE);

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: IcmpCreateFile gave it, and nobody else closes it.
        unsafe { IcmpCloseHandle(self.0) };
    }
}

/// Asks `address` for an echo, and waits for it.
///
/// # Errors
/// The calls': 11050 (`IP_GENERAL_FAILURE`) where a filter refuses it, 11010 where nobody answers.
pub fn echo(address: Ipv4Addr, milliseconds: u32) -> Result<(), CallError> {
    const REQUEST: &[u8] = b"ringfence";
    const CALL: &str = "IcmpSendEcho";
    // SAFETY: the call has no precondition.
    let port = unsafe { IcmpCreateFile() };
    if port == INVALID_HANDLE_VALUE || port.is_null() {
        return Err(CallError::last("IcmpCreateFile", address));
    }
    let port = Port(port);
    // Room for one reply with its data, and for an error's eight bytes; aligned for the structure.
    let mut reply = [0_u64; 16];
    let room = u32::try_from(size_of::<[u64; 16]>()).unwrap_or(0);
    // SAFETY: the port is open; request and reply live for the call and have the lengths that are said; no options.
    let count = unsafe {
        IcmpSendEcho(
            port.0,
            u32::from_ne_bytes(address.octets()),
            REQUEST.as_ptr().cast(),
            u16::try_from(REQUEST.len()).unwrap_or(0),
            std::ptr::null(),
            reply.as_mut_ptr().cast(),
            room,
            milliseconds,
        )
    };
    if count == 0 {
        return Err(CallError::last(CALL, address));
    }
    // SAFETY: the call has written a reply there; the buffer is larger, aligned, and lives.
    let status = unsafe { (*reply.as_ptr().cast::<ICMP_ECHO_REPLY>()).Status };
    if status == IP_SUCCESS {
        return Ok(());
    }
    Err(CallError::new(CALL, address, Win32Error(status)))
}
