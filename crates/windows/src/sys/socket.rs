//! Sockets where std has no word for them: made before one acts as somebody else, and raw ones.
//!
//! Source: learn.microsoft.com `socket`, `connect`, "TCP/IP Raw Sockets". Invariant: the library of sockets was started
//! by std before, which each function sees to.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use windows_sys::Win32::Networking::WinSock::{
    AF_INET, IN_ADDR, IN_ADDR_0, INVALID_SOCKET, IPPROTO_ICMP, IPPROTO_TCP, SOCK_RAW, SOCK_STREAM,
    SOCKADDR, SOCKADDR_IN, SOCKET, WINSOCK_SOCKET_TYPE, WSAGetLastError, closesocket, connect,
    socket,
};

/// A socket.
#[derive(Debug)]
pub struct RawSocket(SOCKET);

impl Drop for RawSocket {
    fn drop(&mut self) {
        // SAFETY: it is open and nobody else's.
        unsafe { closesocket(self.0) };
    }
}

fn last() -> io::Error {
    // SAFETY: the call has no precondition.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

impl RawSocket {
    fn new(kind: WINSOCK_SOCKET_TYPE, protocol: i32) -> io::Result<Self> {
        // std starts the library with its first socket, and this one's end leaves it started.
        drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        // SAFETY: the library is started.
        let made = unsafe { socket(i32::from(AF_INET), kind, protocol) };
        if made == INVALID_SOCKET {
            return Err(last());
        }
        Ok(Self(made))
    }

    /// A TCP socket, not connected.
    ///
    /// # Errors
    /// `socket`'s.
    pub fn stream() -> io::Result<Self> {
        Self::new(SOCK_STREAM, IPPROTO_TCP)
    }

    /// A raw socket for ICMP.
    ///
    /// # Errors
    /// `socket`'s: 10013 where it is refused.
    pub fn raw() -> io::Result<Self> {
        Self::new(SOCK_RAW, IPPROTO_ICMP)
    }

    /// Connects it, as long as the system takes.
    ///
    /// # Errors
    /// `connect`'s.
    pub fn connect(&self, to: SocketAddrV4) -> io::Result<()> {
        let address = SOCKADDR_IN {
            sin_family: AF_INET,
            sin_port: to.port().to_be(),
            sin_addr: IN_ADDR {
                S_un: IN_ADDR_0 {
                    S_addr: u32::from_ne_bytes(to.ip().octets()),
                },
            },
            ..SOCKADDR_IN::default()
        };
        let length = i32::try_from(size_of::<SOCKADDR_IN>()).unwrap_or(0);
        let name: *const SOCKADDR = (&raw const address).cast();
        // SAFETY: the socket is open; the address lives for the call and has the length that is said.
        if unsafe { connect(self.0, name, length) } == 0 {
            return Ok(());
        }
        Err(last())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn a_socket_connects_where_somebody_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("it was bound to an address of version 4");
        };
        RawSocket::stream().unwrap().connect(address).unwrap();
        drop(listener);
        let refused = RawSocket::stream().unwrap().connect(address).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(10061));
    }
}
