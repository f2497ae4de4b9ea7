//! The system's table of TCP connections: which process holds which end, and since when.
//!
//! Source: learn.microsoft.com `GetExtendedTcpTable`, `MIB_TCPROW_OWNER_MODULE`. Invariant: the table is of one moment
//! per family, and nothing of it is believed beyond its own length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP6ROW_OWNER_MODULE, MIB_TCP6TABLE_OWNER_MODULE,
    MIB_TCPROW_OWNER_MODULE, MIB_TCPTABLE_OWNER_MODULE, TCP_TABLE_OWNER_MODULE_CONNECTIONS,
};
use windows_sys::Win32::Networking::WinSock::{ADDRESS_FAMILY, AF_INET, AF_INET6};

use super::error::{CallError, Win32Error};

/// One TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// The end that the process holds.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The process; 0 where the system no longer knows it.
    pub process: u32,
    /// When the end was made, in 100 nanoseconds since 1601; 0 where the system does not say.
    pub created: u64,
}

/// All TCP connections of both families.
///
/// # Errors
/// `GetExtendedTcpTable`'s.
pub fn tcp_connections() -> Result<Vec<TcpConnection>, CallError> {
    let mut connections = Vec::new();
    let four = Table::read(AF_INET)?;
    let behind = std::mem::offset_of!(MIB_TCPTABLE_OWNER_MODULE, table);
    connections.extend(four.rows::<MIB_TCPROW_OWNER_MODULE>(behind).map(|row| {
        let address = |bytes: u32| IpAddr::V4(Ipv4Addr::from(bytes.to_ne_bytes()));
        TcpConnection {
            local: SocketAddr::new(address(row.dwLocalAddr), port(row.dwLocalPort)),
            remote: SocketAddr::new(address(row.dwRemoteAddr), port(row.dwRemotePort)),
            process: row.dwOwningPid,
            created: u64::try_from(row.liCreateTimestamp).unwrap_or(0),
        }
    }));
    let six = Table::read(AF_INET6)?;
    let behind = std::mem::offset_of!(MIB_TCP6TABLE_OWNER_MODULE, table);
    connections.extend(six.rows::<MIB_TCP6ROW_OWNER_MODULE>(behind).map(|row| {
        let address = |bytes: [u8; 16]| IpAddr::V6(Ipv6Addr::from(bytes));
        TcpConnection {
            local: SocketAddr::new(address(row.ucLocalAddr), port(row.dwLocalPort)),
            remote: SocketAddr::new(address(row.ucRemoteAddr), port(row.dwRemotePort)),
            process: row.dwOwningPid,
            created: u64::try_from(row.liCreateTimestamp).unwrap_or(0),
        }
    }));
    Ok(connections)
}

/// The low half holds the port, in the order of the network.
fn port(stored: u32) -> u16 {
    let [first, second, ..] = stored.to_ne_bytes();
    u16::from_be_bytes([first, second])
}

/// A table as the system wrote it, aligned for its rows.
struct Table {
    memory: Vec<u64>,
    bytes: usize,
}

impl Table {
    fn read(family: ADDRESS_FAMILY) -> Result<Self, CallError> {
        const CALL: &str = "GetExtendedTcpTable";
        let mut bytes: u32 = 64 << 10;
        // It grows while it is read: a few tries, each with the room that the last one asked for.
        for _ in 0..8 {
            let room = usize::try_from(bytes).unwrap_or(0);
            let mut memory = vec![0_u64; room.div_ceil(size_of::<u64>())];
            // SAFETY: the memory has as many bytes as is said.
            let status = unsafe {
                GetExtendedTcpTable(
                    memory.as_mut_ptr().cast(),
                    &raw mut bytes,
                    0,
                    u32::from(family),
                    TCP_TABLE_OWNER_MODULE_CONNECTIONS,
                    0,
                )
            };
            match status {
                NO_ERROR => {
                    return Ok(Self {
                        memory,
                        bytes: room,
                    });
                }
                ERROR_INSUFFICIENT_BUFFER => bytes = bytes.saturating_add(bytes / 4),
                error => return Err(CallError::new(CALL, family, Win32Error(error))),
            }
        }
        Err(CallError::new(
            CALL,
            family,
            Win32Error(ERROR_INSUFFICIENT_BUFFER),
        ))
    }

    /// The rows `behind` the count: no more than are there.
    fn rows<T: Copy>(&self, behind: usize) -> impl Iterator<Item = T> + '_ {
        let start: *const u8 = self.memory.as_ptr().cast();
        // The table begins with its count.
        let [a, b, c, d, ..] = self.memory.first().copied().unwrap_or(0).to_ne_bytes();
        let count = u32::from_ne_bytes([a, b, c, d]);
        let room = self.bytes.saturating_sub(behind) / size_of::<T>();
        let count = usize::try_from(count).unwrap_or(0).min(room);
        (0..count).map(move |index| {
            // SAFETY: the row lies within the memory: `count` is no more than fit in behind the count.
            let row = unsafe { start.add(behind + index * size_of::<T>()) };
            // SAFETY: as above; a row is plain numbers, and any bytes are some of it.
            unsafe { row.cast::<T>().read_unaligned() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    // plumbing-only: both ends are there; wine does not always know the process, and says so by 0.
    #[test]
    fn a_connection_is_found_from_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        let rows = tcp_connections().unwrap();
        for (local, remote) in [(near, far), (far, near)] {
            let found: Vec<_> = rows
                .iter()
                .filter(|row| row.local == local && row.remote == remote)
                .collect();
            assert_eq!(found.len(), 1, "{local} {remote}");
            assert!([0, std::process::id()].contains(&found[0].process));
        }
    }

    #[test]
    fn a_count_that_claims_more_rows_than_fit_is_cut() {
        let table = Table {
            memory: vec![u64::from(u32::MAX); 40],
            bytes: 320,
        };
        assert!(table.rows::<MIB_TCPROW_OWNER_MODULE>(8).count() <= 2);
    }
}
