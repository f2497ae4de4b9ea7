//! Ctrl-C and Ctrl-Break for a command that has a console of its own.
//!
//! Only a process on a console can tell it so, and a console's host is a program of the target's making: it may do as
//! it likes with who is on it. So it is not the runner that goes there, but a small program that is started for the
//! purpose with the command's token, in the command's job, and is as confined as the command.
//!
//! Invariant: [`interrupt`] does nothing beside what its arguments say.

use std::ffi::OsString;

use ringfence_backend::windows::runner::InterruptKey;

use crate::sys::CallError;
use crate::sys::console_event::type_on_console_of;

/// The argument that makes the runner's program such a program; the key and a process follow.
pub const INTERRUPT_ROLE: &str = "--interrupt";

/// What is typed on whose console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// What.
    pub key: InterruptKey,
    /// A process on the console.
    pub process: u32,
}

impl Interrupt {
    /// The arguments that say it.
    pub(super) fn arguments(self) -> [OsString; 2] {
        let key = match self.key {
            InterruptKey::CtrlC => "ctrl-c",
            InterruptKey::CtrlBreak => "ctrl-break",
        };
        [
            OsString::from(key),
            OsString::from(self.process.to_string()),
        ]
    }

    /// What two arguments say.
    #[must_use]
    pub fn parse(key: &OsString, process: &OsString) -> Option<Self> {
        let key = match key.to_str()? {
            "ctrl-c" => InterruptKey::CtrlC,
            "ctrl-break" => InterruptKey::CtrlBreak,
            _ => return None,
        };
        let process = process.to_str()?.parse().ok()?;
        Some(Self { key, process })
    }
}

/// Does it.
///
/// # Errors
/// [`type_on_console_of`]'s.
pub fn interrupt(order: Interrupt) -> Result<(), CallError> {
    type_on_console_of(order.process, order.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_and_nothing_else() {
        for key in [InterruptKey::CtrlC, InterruptKey::CtrlBreak] {
            let order = Interrupt { key, process: 4711 };
            let [first, second] = order.arguments();
            assert_eq!(Interrupt::parse(&first, &second), Some(order));
        }
        for (key, process) in [
            ("ctrl-c", "-1"),
            ("ctrl-c", "all"),
            ("ctrl-z", "1"),
            ("", "1"),
        ] {
            assert_eq!(Interrupt::parse(&key.into(), &process.into()), None);
        }
    }
}
