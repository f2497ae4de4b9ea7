//! Ctrl-C and Ctrl-Break, from the harness to a command's console.

use std::io::{BufRead as _, BufReader};

use ringfence_backend::CommandId;
use ringfence_backend::windows::runner::{Ended, Event, InterruptKey};

use super::roles::Role;
use super::{begin, next, start, through_a_runner};

/// What a command that listens was told, and its end.
fn told(key: InterruptKey) -> (String, Event) {
    let mut session = through_a_runner();
    let mut lines = BufReader::new(begin(&mut session, start(1, Role::Listener))).lines();
    assert!(matches!(next(&mut session), Event::Started { .. }));
    let mut said = || {
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with('@')));
        line.and_then(Result::ok).unwrap_or_default()
    };
    assert_eq!(said().trim(), "@listens");
    session.interrupt(CommandId(1), key).unwrap();
    (said(), next(&mut session))
}

#[test]
fn plumbing_only_ctrl_c_reaches_the_commands_console() {
    let (said, event) = told(InterruptKey::CtrlC);
    assert_eq!(said.trim(), "@[CtrlC]");
    assert!(
        matches!(
            event,
            Event::Ended {
                how: Ended::Exited(42),
                ..
            }
        ),
        "{event:?}"
    );
}

/// wine knows no Ctrl-Break.
#[test]
fn plumbing_only_ctrl_break_reaches_the_commands_console_or_the_command_is_ended() {
    let (said, event) = told(InterruptKey::CtrlBreak);
    if said.is_empty() {
        let killed = matches!(
            event,
            Event::Ended {
                how: Ended::Killed,
                ..
            }
        );
        assert!(killed, "{event:?}");
        return;
    }
    assert_eq!(said.trim(), "@[CtrlBreak]");
    assert!(
        matches!(
            event,
            Event::Ended {
                how: Ended::Exited(42),
                ..
            }
        ),
        "{event:?}"
    );
}
