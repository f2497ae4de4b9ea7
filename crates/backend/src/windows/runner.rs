//! Messages between the harness and a session's runner on Windows.
//!
//! The pipe between them carries [`FORMAT`]'s frames. Handles do not travel in messages: the harness, which holds the
//! runner's process, puts copies into it and sends their values. What the runner could not do it answers as data.
//! Invariant: what the harness learns from a message it could learn from a hostile runner; nothing in one is acted
//! upon beyond the session's own record.

use std::ffi::OsString;

use ringfence_nt::{AccessMask, Sid, WriteClass};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::launch::LaunchSpec;
use ringfence_plan::windows::step::Object;
use serde::{Deserialize, Serialize};

use crate::call::CallFailure;
use crate::command::{CommandId, TerminalSize};
use crate::frame::Format;

use super::codes::explain_code;

/// The protocol's frames. The environment and the command line of Windows are below 128 KiB together.
pub const FORMAT: Format = Format {
    version: 1,
    max_body: 1 << 20,
};

/// From the harness to the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Protect yourself and make ready. The first message, once.
    Open(Box<Opening>),
    /// Start a command, with this input and output.
    Start(Box<Start>, Streams),
    /// A command's terminal has another size.
    Resize {
        /// Which command.
        command: CommandId,
        /// The size.
        size: TerminalSize,
    },
    /// Tell a command's console what a person's keyboard would tell it.
    Interrupt {
        /// Which command.
        command: CommandId,
        /// What.
        key: InterruptKey,
    },
    /// End a command with all it has started.
    Kill {
        /// Which command.
        command: CommandId,
    },
    /// Which command a process belongs to.
    Whose {
        /// The number that the answer carries.
        question: u64,
        /// The process.
        process: u32,
    },
    /// End everything; [`Event::Closed`] follows.
    Close,
}

/// A session, before its first command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// How its commands start.
    pub launch: LaunchSpec,
    /// What stands in for [`ringfence_plan::windows::sids::Placeholder::Session`].
    pub session: Sid,
    /// The person, who gets back what a command has closed to them.
    pub person: Sid,
    /// `station\desktop`, made by the harness.
    pub desktop: String,
    /// The directories that commands may write, the private home among them.
    pub roots: Vec<Object>,
    /// Directories in them that must stay what they are, and could be made junctions while they are empty.
    #[serde(default)]
    pub stay: Vec<Object>,
}

/// What a console tells every process on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptKey {
    /// Ctrl-C: what elsewhere is SIGINT.
    CtrlC,
    /// Ctrl-Break: what elsewhere is SIGQUIT. Programs can't switch it off as they can Ctrl-C.
    CtrlBreak,
}

/// A handle's value in the runner's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HandleValue(pub u64);

/// What a command's input and output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Streams {
    /// Standard input, output and error as they are.
    Direct([HandleValue; 3]),
    /// A terminal of its own: what is written to `input` is typed, what it shows can be read from `output`.
    Terminal {
        /// The end of a pipe that the terminal reads.
        input: HandleValue,
        /// The end of a pipe that it writes.
        output: HandleValue,
        /// Its first size.
        size: TerminalSize,
    },
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its number, used once.
    pub command: CommandId,
    /// The program: an absolute path, or a name that is looked for in the command's own `PATH` with its `PATHEXT`.
    pub program: OsString,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// Its variables; those of the launch take their place where both are set.
    pub variables: Vec<(OsString, OsString)>,
    /// Where it starts; the launch's directory where not given.
    pub directory: Option<WindowsPath>,
    /// After how many milliseconds it is ended.
    pub time_limit: Option<u64>,
}

/// From the runner to the harness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Commands may be started.
    Ready(Ready),
    /// The session was refused: nothing ran.
    Refused(Refusal),
    /// A command runs.
    Started {
        /// Which command.
        command: CommandId,
        /// Its first process.
        process: u32,
    },
    /// A command was not started.
    NotStarted {
        /// Which command.
        command: CommandId,
        /// Why.
        why: NotStarted,
    },
    /// A command has ended, and every process of it.
    Ended {
        /// Which command.
        command: CommandId,
        /// How.
        how: Ended,
        /// User plus system time of all its processes, in microseconds.
        cpu_microseconds: u64,
    },
    /// Something that a command left was tended, before its end is said. Where several run, what another left may be
    /// tended with it.
    Tended {
        /// The command that has ended.
        command: CommandId,
        /// The object.
        path: String,
        /// What was done.
        what: Tended,
    },
    /// The answer to [`Request::Whose`].
    Belongs {
        /// The question's number.
        question: u64,
        /// Whose it is; none for a process of no command.
        member: Option<Member>,
    },
    /// Every command has ended, and the runner ends.
    Closed,
}

/// What a session holds that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What the second pass of its tokens covers, as measured.
    pub write_class: WriteClass,
    /// What the launch asks for and this machine does not give.
    pub lacking: Vec<Lacking>,
    /// How each layer was proven, one line each.
    pub proven: Vec<String>,
}

/// Something that is not essential and can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lacking {
    /// The limits on windows, clipboard and settings: a job with them can't be nested, and the session's limits or
    /// the runner's own job need nested ones.
    DesktopLimits,
    /// The network is discouraged, and nothing holds it: same-user mode.
    NetworkBoundary,
    /// What the person may read, commands may read: same-user mode.
    Secrets,
    /// Directories of the session are not watched: what a command has closed is looked for everywhere.
    Watch,
}

impl Lacking {
    /// What every record and screen says of it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::DesktopLimits => "desktop limits: none",
            Self::NetworkBoundary => "network: advisory",
            Self::Secrets => "secrets: readable",
            Self::Watch => "watch: none",
        }
    }
}

/// Why a session was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The first message was another, or came twice.
    #[error("the harness did not open the session first")]
    OutOfOrder,
    /// The launch asks for something that this program does not know.
    #[error("the launch asks for {0}, which this program can't do")]
    Unknown(String),
    /// The logon has a temporary profile: something keeps the account's own from being loaded.
    #[error("the sandbox account was given a temporary profile")]
    TemporaryProfile,
    /// A protection was set, and is not there.
    #[error("not enforced: {0}")]
    NotEnforced(String),
    /// Restricted tokens do not cover what the boundary needs.
    #[error("not enforced: the second check of restricted tokens covers {covered} only")]
    WriteClass {
        /// What it covers.
        covered: AccessMask,
        /// The hypothesis that this is, if it is one.
        class: Option<WriteClass>,
    },
    /// A call failed.
    #[error(transparent)]
    Call(#[from] Called),
}

/// A call of the runner's that failed. It says the cause and the cure of its code, where they are known: what reads it
/// is another program, and shows it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{call} failed for `{object}` (code {code}{}", meaning(*code))]
pub struct Called {
    /// The call's name.
    pub call: String,
    /// What it was for.
    pub object: String,
    /// The system's code.
    pub code: u32,
}

fn meaning(code: u32) -> String {
    explain_code(code).map_or_else(
        || ")".to_owned(),
        |meaning| format!(", {}): {}; {}", meaning.name, meaning.cause, meaning.cure),
    )
}

impl From<CallFailure> for Called {
    fn from(failure: CallFailure) -> Self {
        Self {
            call: failure.call.to_owned(),
            object: failure.object,
            code: failure.code,
        }
    }
}

/// Why a command was not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NotStarted {
    /// No such program.
    #[error("the program was not found")]
    NotFound,
    /// It was found, and is nothing that can be started.
    #[error("the program can't be executed: {0}")]
    NotExecutable(String),
    /// The number was used before, or arguments or variables can't be handed over.
    #[error("the command is malformed: {0}")]
    Malformed(String),
    /// What was started was not what was asked for, and was ended before its first instruction.
    #[error("not enforced: {0}")]
    NotEnforced(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] Called),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// By itself, with all 32 bits of its status.
    Exited(u32),
    /// By [`Request::Kill`] or [`Request::Close`].
    Killed,
    /// By its time limit.
    TimeLimit,
    /// By itself, as a failure, after the session ran into its limit on memory.
    MemoryLimit,
    /// By itself, as a failure, after the session ran into its limit on processes.
    ProcessLimit,
}

/// What was done with something that a command left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tended {
    /// Its list kept the person out; they have full access again.
    Opened,
    /// It was made a link to somewhere else; it is a plain directory again.
    Unlinked,
    /// This many more objects were tended than are named one by one.
    More(u64),
    /// It could not be tended: its list leaves its owner nothing, or a call failed.
    Left(Called),
}

/// A process of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which command.
    pub command: CommandId,
    /// When it was created, in 100 nanoseconds since 1601: numbers of processes are used again.
    pub created: u64,
}

#[cfg(test)]
mod tests {
    use super::super::codes::CODES;
    use super::*;
    use crate::frame::FrameError;
    use proptest::prelude::*;

    #[test]
    fn a_call_that_failed_with_a_known_code_says_its_cause_and_its_cure() {
        let said = |code| {
            Called {
                call: "CreateProcessAsUserW".to_owned(),
                object: "x.exe".to_owned(),
                code,
            }
            .to_string()
        };
        for meaning in CODES {
            let said = said(meaning.code);
            assert!(
                said.contains(meaning.name) && said.ends_with(meaning.cure),
                "{said}"
            );
        }
        assert_eq!(said(0), "CreateProcessAsUserW failed for `x.exe` (code 0)");
    }

    fn events() -> Vec<Event> {
        let command = CommandId(7);
        let called = Called {
            call: "CreateProcessAsUserW".to_owned(),
            object: "C:\\x.exe".to_owned(),
            code: 5,
        };
        vec![
            Event::Ready(Ready {
                write_class: WriteClass::H2,
                lacking: vec![Lacking::DesktopLimits, Lacking::Watch],
                proven: vec!["a line".to_owned()],
            }),
            Event::Refused(Refusal::WriteClass {
                covered: AccessMask(0x116),
                class: Some(WriteClass::H1),
            }),
            Event::Refused(Refusal::Call(called.clone())),
            Event::Started {
                command,
                process: 9,
            },
            Event::NotStarted {
                command,
                why: NotStarted::Call(called.clone()),
            },
            Event::Ended {
                command,
                how: Ended::Exited(0xc000_0005),
                cpu_microseconds: u64::MAX,
            },
            Event::Tended {
                command,
                path: "C:\\ws\\x".to_owned(),
                what: Tended::Left(called),
            },
            Event::Belongs {
                question: 1,
                member: Some(Member {
                    command,
                    created: 2,
                }),
            },
            Event::Closed,
        ]
    }

    fn start() -> Request {
        let start = Start {
            command: CommandId(1),
            program: OsString::from("cmd"),
            arguments: vec![OsString::from("/c"), OsString::from("exit")],
            variables: vec![(OsString::from("A"), OsString::from("1"))],
            directory: Some(WindowsPath::parse("C:\\ws").unwrap()),
            time_limit: Some(1000),
        };
        let streams = Streams::Direct([HandleValue(4), HandleValue(8), HandleValue(u64::MAX)]);
        Request::Start(Box::new(start), streams)
    }

    fn frame<T: Serialize>(message: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        FORMAT.encode(message, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn messages_arrive_as_they_were_sent() {
        for event in events() {
            let read = FORMAT.read(&mut frame(&event).as_slice()).unwrap();
            assert_eq!(read, Some(event));
        }
        let interrupt = Request::Interrupt {
            command: CommandId(1),
            key: InterruptKey::CtrlBreak,
        };
        for request in [start(), interrupt] {
            let read = FORMAT.read(&mut frame(&request).as_slice()).unwrap();
            assert_eq!(read, Some(request));
        }
    }

    #[test]
    fn a_command_that_no_process_could_have_is_not_sent() {
        let Request::Start(mut start, streams) = start() else {
            panic!("no start");
        };
        start.arguments = vec![OsString::from("x".repeat(FORMAT.max_body))];
        let mut bytes = Vec::new();
        let sent = FORMAT.encode(&Request::Start(start, streams), &mut bytes);
        assert!(matches!(sent, Err(FrameError::TooLong(_))));
    }

    proptest! {
        /// A runner that a target took over, and a harness that is none: each reads anything to an answer.
        #[test]
        fn changed_frames_are_messages_errors_or_waits(
            which in 0_usize..10,
            at in any::<prop::sample::Index>(),
            bits in 1_u8..,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = events().get(which).map_or_else(|| frame(&start()), frame);
            let place = at.index(bytes.len());
            bytes[place] ^= bits;
            let _ = FORMAT.take::<Event>(&mut bytes.clone());
            let _ = FORMAT.take::<Request>(&mut bytes.clone());
            bytes.truncate(cut.index(bytes.len()));
            let _ = FORMAT.take::<Event>(&mut bytes.clone());
            let _ = FORMAT.take::<Request>(&mut bytes);
        }

        #[test]
        fn arbitrary_bodies_are_messages_or_errors(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
            bytes.extend(FORMAT.version.to_le_bytes());
            bytes.extend(body);
            let event = FORMAT.take::<Event>(&mut bytes.clone());
            prop_assert!(matches!(event, Ok(Some(_)) | Err(FrameError::Body)));
            let request = FORMAT.take::<Request>(&mut bytes);
            prop_assert!(matches!(request, Ok(Some(_)) | Err(FrameError::Body)));
        }
    }
}
