//! Whose a connection to the proxy is: the table's row on one side, the session's answer on the other.
//!
//! The table names a process by its number, and numbers are used again. Both sides know since when: a process that is
//! younger than the connection did not make it. Invariant: what is not certain is nobody's.

use ringfence_backend::CommandId;
use ringfence_backend::windows::runner::Member;

use crate::sys::connections::TcpConnection;

/// The answer for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This command's.
    Command(CommandId),
    /// Nobody's: refuse it.
    Nobody,
}

/// Puts `connection`, whose process is at the caller's end, and the session's answer for that process together.
///
/// # Security
/// Any program of the machine may connect, and may end at once so that its number goes to another.
#[must_use]
pub fn answer(connection: &TcpConnection, member: Option<Member>) -> Answer {
    match member {
        // A row without a time proves nothing of a number.
        Some(member) if connection.created != 0 && member.created <= connection.created => {
            Answer::Command(member.command)
        }
        Some(_) | None => Answer::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_younger_than_its_connection_did_not_make_it() {
        let at = |created| TcpConnection {
            local: "127.0.0.1:50000".parse().unwrap(),
            remote: "127.0.0.1:7000".parse().unwrap(),
            process: 7,
            created,
        };
        let member = Member {
            command: CommandId(3),
            created: 100,
        };
        assert_eq!(
            answer(&at(100), Some(member)),
            Answer::Command(CommandId(3))
        );
        assert_eq!(answer(&at(99), Some(member)), Answer::Nobody);
        assert_eq!(answer(&at(0), Some(member)), Answer::Nobody);
        assert_eq!(answer(&at(101), None), Answer::Nobody);
    }
}
