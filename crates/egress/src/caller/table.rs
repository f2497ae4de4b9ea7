//! Attribution where one loopback serves the whole machine: the system's table of connections says which process holds
//! the other end, and the session's runner knows its processes.
//!
//! Reading the table and knowing the processes are somebody else's ([`ConnectionTable`], [`Processes`]); here is only
//! the comparison. Invariant: a connection that the table shows not at all, twice, or without a process is nobody's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringfence_policy::decision::Process;

use super::{Attribution, Ends, Transport, UnknownCaller};
use crate::decide::Subject;

/// One TCP connection in the system's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    /// The end that the process holds.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The process; 0 where the system no longer knows it.
    pub process: u32,
    /// When the end was made, in 100 nanoseconds since 1601; 0 where the system does not say.
    pub created: u64,
}

/// The system's table of TCP connections of both families.
pub trait ConnectionTable: Send + Sync {
    /// All rows of this moment.
    ///
    /// # Errors
    /// What the system said; the connection in question is refused then.
    fn rows(&self) -> io::Result<Vec<ConnectionRow>>;
}

/// Knows the processes of a session.
pub trait Processes: Send + Sync {
    /// Whose process holds the local end of `row`; `None` when it belongs to no command of the session.
    ///
    /// # Security
    /// Numbers are used again: the answer must come from something that holds the process, as a job object does, and
    /// must not name a process that is younger than the connection.
    fn subject(&self, row: &ConnectionRow) -> Option<Subject>;

    /// The path of the program of `process`, escaped, where it can be told.
    fn program(&self, process: u32) -> Option<String> {
        let _ = process;
        None
    }
}

/// Attribution by the system's table.
#[derive(Clone)]
pub struct ByTable {
    table: Arc<dyn ConnectionTable>,
    processes: Arc<dyn Processes>,
}

impl ByTable {
    /// Looks callers up in `table`, and their processes in `processes`.
    #[must_use]
    pub fn new(table: Arc<dyn ConnectionTable>, processes: Arc<dyn Processes>) -> Self {
        Self { table, processes }
    }

    fn row(&self, ends: Ends) -> Option<ConnectionRow> {
        // The table holds no packets: a connection with the same numbers is somebody else's.
        if ends.transport != Transport::Tcp {
            return None;
        }
        let rows = self.table.rows().ok()?;
        find_row(&rows, ends)
    }
}

impl Attribution for ByTable {
    fn subject(&self, ends: Ends) -> Result<Subject, UnknownCaller> {
        self.row(ends)
            .and_then(|row| self.processes.subject(&row))
            .ok_or(UnknownCaller { peer: ends.peer })
    }

    fn process(&self, ends: Ends) -> Option<Process> {
        let id = self.row(ends)?.process;
        let program = self.processes.program(id)?;
        Some(Process { id, program })
    }
}

/// The row of the caller's end of a connection; none without a process.
///
/// # Security
/// Both ends are compared: a port alone may be in use at another address by somebody else.
#[must_use]
pub fn find_row(rows: &[ConnectionRow], ends: Ends) -> Option<ConnectionRow> {
    let same = |one: SocketAddr, other: SocketAddr| {
        one.ip().to_canonical() == other.ip().to_canonical() && one.port() == other.port()
    };
    let mut found = rows
        .iter()
        .filter(|row| same(row.local, ends.peer) && same(row.remote, ends.local));
    match (found.next(), found.next()) {
        (Some(row), None) if row.process != 0 => Some(*row),
        (Some(_) | None, Some(_) | None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A stored table: local end, remote end, process.
    const STORED: &str = "
        127.0.0.1:50001 127.0.0.1:7000 41
        127.0.0.1:7000 127.0.0.1:50001 9
        127.0.0.2:50001 127.0.0.1:7000 42
        127.0.0.1:50001 127.0.0.1:7001 43
        127.0.0.1:50002 127.0.0.1:7000 0
        127.0.0.1:50003 127.0.0.1:7000 44
        127.0.0.1:50003 127.0.0.1:7000 45
        [::1]:50001 [::1]:7000 46
        [::ffff:127.0.0.1]:50004 [::ffff:127.0.0.1]:7000 47
    ";

    fn stored() -> Vec<ConnectionRow> {
        let row = |line: &str| {
            let mut words = line.split_whitespace();
            ConnectionRow {
                local: words.next().unwrap().parse().unwrap(),
                remote: words.next().unwrap().parse().unwrap(),
                process: words.next().unwrap().parse().unwrap(),
                created: 7,
            }
        };
        let lines = STORED.lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(row).collect()
    }

    fn ends(peer: &str, local: &str) -> Ends {
        Ends {
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
            transport: Transport::Tcp,
        }
    }

    #[test]
    fn the_row_is_found_by_both_ends() {
        for (peer, local, process) in [
            ("127.0.0.1:50001", "127.0.0.1:7000", Some(41)),
            ("127.0.0.2:50001", "127.0.0.1:7000", Some(42)),
            ("127.0.0.1:50001", "127.0.0.1:7001", Some(43)),
            ("[::1]:50001", "[::1]:7000", Some(46)),
            ("127.0.0.1:50004", "127.0.0.1:7000", Some(47)),
            // No longer known, twice there, and not there.
            ("127.0.0.1:50002", "127.0.0.1:7000", None),
            ("127.0.0.1:50003", "127.0.0.1:7000", None),
            ("127.0.0.1:50005", "127.0.0.1:7000", None),
            ("127.0.0.1:50001", "[::1]:7000", None),
        ] {
            let found = find_row(&stored(), ends(peer, local));
            assert_eq!(found.map(|row| row.process), process, "{peer} {local}");
        }
    }

    struct Stored;

    impl ConnectionTable for Stored {
        fn rows(&self) -> io::Result<Vec<ConnectionRow>> {
            Ok(stored())
        }
    }

    struct Unreadable;

    impl ConnectionTable for Unreadable {
        fn rows(&self) -> io::Result<Vec<ConnectionRow>> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    struct Known(HashMap<u32, Subject>);

    impl Processes for Known {
        fn subject(&self, row: &ConnectionRow) -> Option<Subject> {
            self.0.get(&row.process).cloned()
        }

        fn program(&self, process: u32) -> Option<String> {
            Some(format!("program of {process}"))
        }
    }

    #[test]
    fn only_processes_of_the_session_are_served() {
        let subject = Subject {
            session: "a".to_owned(),
            command: Some(3),
        };
        let processes = Arc::new(Known(HashMap::from([(41, subject.clone())])));
        let by_table = ByTable::new(
            Arc::new(Stored),
            Arc::clone(&processes) as Arc<dyn Processes>,
        );
        let ours = ends("127.0.0.1:50001", "127.0.0.1:7000");
        let other = ends("127.0.0.2:50001", "127.0.0.1:7000");
        assert_eq!(by_table.subject(ours), Ok(subject));
        assert_eq!(
            by_table.subject(other),
            Err(UnknownCaller { peer: other.peer })
        );
        // A stranger is named in the record all the same.
        let stranger = Process {
            id: 42,
            program: "program of 42".to_owned(),
        };
        assert_eq!(by_table.process(other), Some(stranger));
        let blind = ByTable::new(Arc::new(Unreadable), processes);
        assert_eq!(blind.subject(ours), Err(UnknownCaller { peer: ours.peer }));
    }
}
