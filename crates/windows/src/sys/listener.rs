//! A listener on loopback that nobody else can join or take over, and a port that nobody can listen on at all.
//!
//! Source: learn.microsoft.com "Using `SO_REUSEADDR` and `SO_EXCLUSIVEADDRUSE`": without the latter another program of the
//! same user may bind the same port and get its connections. Invariant: the socket was exclusive before it had an
//! address.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::windows::io::{AsRawSocket as _, FromRawSocket as _, OwnedSocket, RawSocket};

use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, IN_ADDR, IN_ADDR_0, IN6_ADDR, IN6_ADDR_0, INVALID_SOCKET, IPPROTO_TCP,
    SO_EXCLUSIVEADDRUSE, SOCK_STREAM, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6, SOCKET, SOL_SOCKET,
    WSA_FLAG_NO_HANDLE_INHERIT, WSA_FLAG_OVERLAPPED, WSADATA, WSAGetLastError, WSASocketW,
    WSAStartup, bind, listen, setsockopt,
};

use super::error::{CallError, Win32Error};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Version 2.2 of the socket library.
const VERSION: u16 = 0x0202;

/// Listens at `address`, exclusively.
///
/// # Errors
/// The call that failed: 10013 or 10048 where somebody has the port, 10047 or 10049 where the family is not there.
pub fn listen_exclusively(address: SocketAddr) -> Result<TcpListener, CallError> {
    let socket = bind_exclusively(address)?;
    // SAFETY: the socket is open and bound.
    let listening = unsafe { listen(handle(&socket), BACKLOG) };
    check(listening, "listen", address)?;
    Ok(TcpListener::from(socket))
}

/// A port of this machine on which nobody listens, and nobody can while it is held: who connects is refused at once.
///
/// # Security
/// It is bound to every address: beside a socket with one address, even an exclusive one, others may bind them all, and
/// get what nobody listens for (learn.microsoft.com "Sharing Transport Addresses").
#[derive(Debug)]
pub struct ClosedPort {
    port: u16,
    _socket: OwnedSocket,
}

impl ClosedPort {
    /// Takes a port that is free.
    ///
    /// # Errors
    /// The call that failed.
    pub fn take() -> Result<Self, CallError> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let bound = TcpListener::from(bind_exclusively(any)?);
        let address = bound.local_addr();
        let port = address
            .map_err(|_| CallError::last("getsockname", any))?
            .port();
        Ok(Self {
            port,
            _socket: bound.into(),
        })
    }

    /// Its address on loopback.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

fn bind_exclusively(address: SocketAddr) -> Result<OwnedSocket, CallError> {
    start_up(address)?;
    let socket = stream_socket(address)?;
    let raw = handle(&socket);
    let on = 1_i32.to_ne_bytes();
    let length = i32::try_from(on.len()).unwrap_or(0);
    // SAFETY: the socket is open; the value has as many bytes as is said.
    let set = unsafe { setsockopt(raw, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, on.as_ptr(), length) };
    check(set, "setsockopt", address)?;
    bind_to(raw, address)?;
    Ok(socket)
}

/// The library counts: each call is one more user, and this process has some until it ends.
fn start_up(address: SocketAddr) -> Result<(), CallError> {
    let mut about = WSADATA::default();
    // SAFETY: the description is ours to write.
    match unsafe { WSAStartup(VERSION, &raw mut about) } {
        0 => Ok(()),
        error => Err(CallError::new(
            "WSAStartup",
            address,
            Win32Error(i32::cast_unsigned(error)),
        )),
    }
}

fn stream_socket(address: SocketAddr) -> Result<OwnedSocket, CallError> {
    let family = match address {
        SocketAddr::V4(_) => AF_INET,
        SocketAddr::V6(_) => AF_INET6,
    };
    let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: the library was started; plain numbers, and no protocol of anybody's.
    let socket = unsafe {
        WSASocketW(
            i32::from(family),
            SOCK_STREAM,
            IPPROTO_TCP,
            std::ptr::null(),
            0,
            flags,
        )
    };
    let raw = RawSocket::try_from(socket).unwrap_or(RawSocket::MAX);
    if socket == INVALID_SOCKET {
        return Err(last("WSASocketW", address));
    }
    // SAFETY: it was just made, and nobody else has it.
    Ok(unsafe { OwnedSocket::from_raw_socket(raw) })
}

fn bind_to(socket: SOCKET, address: SocketAddr) -> Result<(), CallError> {
    let bound = match address {
        SocketAddr::V4(four) => {
            let name = SOCKADDR_IN {
                sin_family: AF_INET,
                sin_port: four.port().to_be(),
                sin_addr: IN_ADDR {
                    S_un: IN_ADDR_0 {
                        S_addr: u32::from_ne_bytes(four.ip().octets()),
                    },
                },
                ..SOCKADDR_IN::default()
            };
            let length = i32::try_from(size_of::<SOCKADDR_IN>()).unwrap_or(0);
            // SAFETY: the socket is open; the name has as many bytes as is said.
            unsafe { bind(socket, (&raw const name).cast::<SOCKADDR>(), length) }
        }
        SocketAddr::V6(six) => {
            let name = SOCKADDR_IN6 {
                sin6_family: AF_INET6,
                sin6_port: six.port().to_be(),
                sin6_addr: IN6_ADDR {
                    u: IN6_ADDR_0 {
                        Byte: six.ip().octets(),
                    },
                },
                ..SOCKADDR_IN6::default()
            };
            let length = i32::try_from(size_of::<SOCKADDR_IN6>()).unwrap_or(0);
            // SAFETY: the socket is open; the name has as many bytes as is said.
            unsafe { bind(socket, (&raw const name).cast::<SOCKADDR>(), length) }
        }
    };
    check(bound, "bind", address)
}

fn handle(socket: &OwnedSocket) -> SOCKET {
    SOCKET::try_from(socket.as_raw_socket()).unwrap_or(INVALID_SOCKET)
}

fn check(result: i32, call: &'static str, address: SocketAddr) -> Result<(), CallError> {
    if result == 0 {
        return Ok(());
    }
    Err(last(call, address))
}

fn last(call: &'static str, address: SocketAddr) -> CallError {
    // SAFETY: the call has no precondition.
    let error = unsafe { WSAGetLastError() };
    CallError::new(call, address, Win32Error(i32::cast_unsigned(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    // plumbing-only: the address is taken, and what is sent arrives.
    #[test]
    fn a_port_is_had_once_and_serves() {
        let listener = listen_exclusively("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = listen_exclusively(address).unwrap_err();
        assert_eq!(taken.call, "bind");
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        client.write_all(b"a").unwrap();
        let mut read = [0];
        server.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"a");
        drop((client, server, listener));
        // The control: it was the listener that was in the way.
        assert!(listen_exclusively("127.0.0.1:0".parse().unwrap()).is_ok());
    }

    // plumbing-only: who connects is refused, and nobody can listen there in its place.
    #[test]
    fn a_closed_port_refuses_and_is_nobody_elses_while_it_is_held() {
        let closed = ClosedPort::take().unwrap();
        let address = closed.address();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        for taken in [address, everywhere] {
            assert!(TcpListener::bind(taken).is_err(), "{taken}");
            assert!(listen_exclusively(taken).is_err(), "{taken}");
        }
        drop(closed);
        // The control: it was held.
        let listener = listen_exclusively(address).unwrap();
        assert!(TcpStream::connect(address).is_ok());
        drop(listener);
    }
}
