//! Whose a connection to the proxy is: the system's table on one side, the session's answer on the other.
//!
//! The table names a process by its number, and numbers are used again. Both sides know since when: a process that is
//! younger than the connection did not make it. Invariant: what is not certain is nobody's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::session::Members;
use ringfence_backend::windows::runner::{Member, Request};

use super::engine::Engine;
use super::line::Line;
use crate::sys::connections::TcpConnection;

/// How long a runner may take for an answer; later it is no answer, and nobody waits for the next one before it has
/// spoken again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This command's.
    Command(CommandId),
    /// Nobody's: refuse it.
    Nobody,
}

/// Asks a session whose processes are whose, from any thread, for as long as it lives.
#[derive(Clone, Debug)]
pub struct Callers(Arc<Way>);

#[derive(Debug)]
enum Way {
    /// The runner knows.
    Runner(Questions),
    /// This process knows.
    Here(Engine),
}

impl Callers {
    pub(super) fn through(questions: Questions) -> Self {
        Self(Arc::new(Way::Runner(questions)))
    }

    pub(super) fn here(engine: Engine) -> Self {
        Self(Arc::new(Way::Here(engine)))
    }

    /// The command whose process is at the local end of `connection`.
    ///
    /// # Security
    /// Any program of the machine may connect, and may end at once so that its number goes to another.
    #[must_use]
    pub fn whose(&self, connection: &TcpConnection) -> Answer {
        let command = self.command_of(connection.process, connection.created);
        command.map_or(Answer::Nobody, Answer::Command)
    }
}

impl Members for Callers {
    fn command_of(&self, process: u32, since: u64) -> Option<CommandId> {
        if process == 0 {
            return None;
        }
        let member = match &*self.0 {
            Way::Runner(questions) => questions.ask(process),
            Way::Here(engine) => engine.whose(process),
        };
        command_of(member, since)
    }
}

/// The command of a process that the session knows, where it is as old as what it is said to have done.
fn command_of(member: Option<Member>, since: u64) -> Option<CommandId> {
    // Something without a time proves nothing of a number.
    member
        .filter(|member| since != 0 && member.created <= since)
        .map(|member| member.command)
}

/// Questions to a runner that wait for their answers.
#[derive(Clone, Debug)]
pub(super) struct Questions(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    line: Arc<Line>,
    last: AtomicU64,
    /// Whether the last question had no answer in time, and none has come since.
    hung: AtomicBool,
    waiting: Mutex<HashMap<u64, Sender<Option<Member>>>>,
}

impl Questions {
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self(Arc::new(Asked {
            line,
            last: AtomicU64::new(0),
            hung: AtomicBool::new(false),
            waiting: Mutex::default(),
        }))
    }

    fn ask(&self, process: u32) -> Option<Member> {
        self.ask_within(process, PATIENCE)
    }

    fn ask_within(&self, process: u32, patience: Duration) -> Option<Member> {
        if self.0.hung.load(Ordering::Relaxed) {
            return None;
        }
        let question = self.0.last.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        self.waiting().insert(question, sender);
        let told = self.0.line.send(&Request::Whose { question, process });
        let member = match told {
            Ok(()) => receiver.recv_timeout(patience).unwrap_or_else(|_| {
                self.0.hung.store(true, Ordering::Relaxed);
                None
            }),
            Err(_) => None,
        };
        self.waiting().remove(&question);
        member
    }

    /// Hands an answer to who asked; one that nobody waits for is dropped.
    pub(super) fn answered(&self, question: u64, member: Option<Member>) {
        self.0.hung.store(false, Ordering::Relaxed);
        if let Some(sender) = self.waiting().remove(&question) {
            let _ = sender.send(member);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Sender<Option<Member>>>> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ringfence_nt::SecurityDescriptor;

    use super::*;
    use crate::sys::pipe::{PipeName, PipeServer, connect};

    // enforced-by-wine: pipes. A runner that says nothing costs one wait, and not one for each connection.
    #[test]
    fn a_runner_that_does_not_answer_is_not_waited_for_again_before_it_speaks() {
        const LONG: Duration = Duration::from_hours(24);
        let all = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
        let name = PipeName::random().unwrap();
        let server = PipeServer::new(name.clone(), &all).unwrap();
        let client = std::thread::spawn(move || connect(&name).unwrap());
        let runner = server.accept(60_000).unwrap();
        let here = client.join().unwrap();
        let questions = Questions::new(Arc::new(Line::new(&Arc::new(here.stream))));
        let member = Member {
            command: CommandId(3),
            created: 100,
        };
        assert_eq!(questions.ask_within(7, Duration::from_millis(50)), None);
        // It would wait for a day.
        assert_eq!(questions.ask_within(8, LONG), None);
        // A late answer is nobody's, and shows that the runner lives.
        questions.answered(0, Some(member));
        let asking = questions.clone();
        let asked = std::thread::spawn(move || asking.ask_within(9, LONG));
        while questions.waiting().is_empty() {
            std::thread::yield_now();
        }
        questions.answered(1, Some(member));
        assert_eq!(asked.join().unwrap(), Some(member));
        drop(runner);
    }

    #[test]
    fn a_process_that_is_younger_than_its_connection_did_not_make_it() {
        let member = Member {
            command: CommandId(3),
            created: 100,
        };
        let whose = |since| command_of(Some(member), since);
        assert_eq!(whose(100), Some(CommandId(3)));
        assert_eq!(whose(99), None);
        assert_eq!(whose(0), None);
        assert_eq!(command_of(None, 101), None);
    }
}
