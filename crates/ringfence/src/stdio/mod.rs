//! The three standard streams of a command: checked, and relayed where they can't be handed over.
//!
//! A descriptor keeps the mount it was opened on: through `/proc/self/fd` a command could open a file for writing
//! that its view has read-only. A socket can carry descriptors in, and a terminal lets its holder type for the
//! person. So a command gets pipes, files of its own writable roots, a pseudo-terminal of the session, or
//! `/dev/null`; everything else passes through this process. Invariant: no descriptor is handed over that was not
//! classified here, and what is handed over is no more than the policy lets the command open itself.

pub(crate) mod relay;
pub(crate) mod terminal;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ringfence_backend::Stream;
use ringfence_policy::{Decision, FilesystemRules, Operation, RuleId};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use self::relay::{Relay, Transfer};
use self::terminal::Terminal;

/// Which of the three streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl StreamName {
    const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Error];

    /// As a person says it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
            Self::Error => "standard error",
        }
    }
}

/// Why the streams can't be given to a command; nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A stream could not be examined.
    #[error("{} could not be examined", stream.words())]
    Examine {
        /// Which.
        stream: StreamName,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A stream is something that no command gets.
    #[error("{} is {what}", stream.words())]
    Refused {
        /// Which.
        stream: StreamName,
        /// What it is.
        what: &'static str,
    },
    /// A relay could not be made.
    #[error("{} could not be relayed", stream.words())]
    Relay {
        /// Which.
        stream: StreamName,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl StreamError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Refused { stream, .. } => {
                let redirection = match stream {
                    StreamName::Input => "</dev/null",
                    StreamName::Output => ">/dev/null",
                    StreamName::Error => "2>/dev/null",
                };
                format!("give it a file, a pipe or a terminal, for example {redirection}")
            }
            Self::Examine { .. } | Self::Relay { .. } => {
                "check the limit on open files (ulimit -n)".to_owned()
            }
        }
    }
}

/// A descriptor for the command.
#[derive(Debug)]
enum Given {
    /// One of our own streams, as it is.
    Own(usize),
    /// The other end of a relay.
    Pipe(OwnedFd),
    /// The same as an earlier stream's.
    Same(usize),
}

/// Streams that are ready for a command.
#[derive(Debug)]
pub(crate) struct Streams {
    /// What each is.
    pub(crate) kinds: [Stream; 3],
    given: [Option<Given>; 3],
    /// What we read for the command.
    pub(crate) input: Option<Relay>,
    /// What we write for the command.
    pub(crate) outputs: Vec<Relay>,
    /// Our terminal, where at least one stream is one.
    pub(crate) terminal: Option<Terminal>,
}

impl Streams {
    /// Checks `own` (input, output, error) and prepares what the command gets instead.
    ///
    /// # Errors
    /// [`StreamError`]; nothing was changed.
    pub(crate) fn prepare(
        own: [BorrowedFd<'_>; 3],
        rules: &FilesystemRules,
    ) -> Result<Self, StreamError> {
        let mut streams = Self {
            kinds: [Stream::Null; 3],
            given: [None, None, None],
            input: None,
            outputs: Vec::new(),
            terminal: None,
        };
        let mut relayed: Vec<(usize, (u64, u64))> = Vec::new();
        for (index, (name, fd)) in StreamName::ALL.into_iter().zip(own).enumerate() {
            let examine = |errno: Errno| StreamError::Examine {
                stream: name,
                source: errno.into(),
            };
            let stat = rustix::fs::fstat(fd).map_err(examine)?;
            let class = classify(name, fd, &stat, rules)?;
            let (kind, given) = match class {
                Class::Null => (Stream::Null, None),
                Class::Terminal => (Stream::Terminal, None),
                Class::Passed => (Stream::Descriptor, Some(Given::Own(index))),
                Class::Relayed(transfer) => {
                    let identity = (stat.st_dev, stat.st_ino);
                    let earlier = relayed.iter().find(|(earlier, seen)| {
                        name != StreamName::Input && *earlier > 0 && *seen == identity
                    });
                    let given = if let Some((earlier, _)) = earlier {
                        // One pipe for both, so that what is written to both keeps its order.
                        Given::Same(*earlier)
                    } else {
                        let relay_error = |errno: Errno| StreamError::Relay {
                            stream: name,
                            source: errno.into(),
                        };
                        let (relay, end) = open_relay(name, fd, transfer).map_err(relay_error)?;
                        match name {
                            StreamName::Input => streams.input = Some(relay),
                            StreamName::Output | StreamName::Error => streams.outputs.push(relay),
                        }
                        relayed.push((index, identity));
                        Given::Pipe(end)
                    };
                    (Stream::Descriptor, Some(given))
                }
            };
            if let (Some(slot), Some(place)) =
                (streams.kinds.get_mut(index), streams.given.get_mut(index))
            {
                (*slot, *place) = (kind, given);
            }
        }
        let is_terminal = streams.kinds.map(|kind| kind == Stream::Terminal);
        streams.terminal = Terminal::new(own, is_terminal).map_err(|errno| StreamError::Relay {
            stream: StreamName::Input,
            source: errno.into(),
        })?;
        Ok(streams)
    }

    /// Why output of the command was lost, if some was.
    pub(crate) fn lost_output(&self) -> Option<io::Error> {
        let fault = self.outputs.iter().find_map(Relay::fault);
        fault.map(io::Error::from)
    }

    /// The descriptors that travel with the request, in the order of the streams.
    pub(crate) fn descriptors<'a>(&'a self, own: [BorrowedFd<'a>; 3]) -> Vec<BorrowedFd<'a>> {
        let resolve = |given: &'a Given| match given {
            Given::Own(index) | Given::Same(index) => match self.given.get(*index) {
                Some(Some(Given::Pipe(end))) => Some(end.as_fd()),
                _ => own.get(*index).copied(),
            },
            Given::Pipe(end) => Some(end.as_fd()),
        };
        self.given.iter().flatten().filter_map(resolve).collect()
    }

    /// Closes our copies of the command's ends: a relay ends when the command's side is closed.
    pub(crate) fn close_given(&mut self) {
        self.given = [None, None, None];
    }
}

/// What is done with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Null,
    Terminal,
    Passed,
    Relayed(Transfer),
}

fn classify(
    name: StreamName,
    fd: BorrowedFd<'_>,
    stat: &Stat,
    rules: &FilesystemRules,
) -> Result<Class, StreamError> {
    let refused = |what| Err(StreamError::Refused { stream: name, what });
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Ok(Class::Passed),
        FileType::Socket => Ok(Class::Relayed(Transfer::Socket)),
        FileType::RegularFile if lies_in_writable_root(fd, stat, rules) => Ok(Class::Passed),
        FileType::CharacterDevice if rustix::termios::isatty(fd) => Ok(Class::Terminal),
        FileType::CharacterDevice if is_null(stat) => Ok(Class::Null),
        FileType::RegularFile | FileType::CharacterDevice => Ok(Class::Relayed(Transfer::File)),
        FileType::Directory => refused("a directory"),
        FileType::BlockDevice => refused("a block device"),
        FileType::Symlink => refused("a symbolic link"),
        FileType::Unknown => refused("a special descriptor"),
    }
}

/// `/dev/null`: character device 1:3 on Linux (kernel document `admin-guide/devices`).
fn is_null(stat: &Stat) -> bool {
    rustix::fs::stat("/dev/null").is_ok_and(|null| null.st_rdev == stat.st_rdev)
}

/// Whether the file is one that the command may open for writing itself, under the name it has now.
fn lies_in_writable_root(fd: BorrowedFd<'_>, stat: &Stat, rules: &FilesystemRules) -> bool {
    let Some(path) = path_of(fd) else {
        return false;
    };
    let same = rustix::fs::lstat(&path)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino));
    same && matches!(
        rules.decide(Operation::Write, &path),
        Decision::Allow {
            rule: RuleId::WritableRoot,
            ..
        }
    )
}

fn path_of(fd: BorrowedFd<'_>) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = rustix::fs::readlink(link, Vec::new()).ok()?;
    let path = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
    path.is_absolute().then(|| path.to_owned())
}

fn open_relay(
    name: StreamName,
    fd: BorrowedFd<'_>,
    transfer: Transfer,
) -> Result<(Relay, OwnedFd), Errno> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let own = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
    match name {
        StreamName::Input => {
            set_nonblocking(&writer)?;
            Ok((
                Relay::new((own, transfer), (writer, Transfer::Pipe)),
                reader,
            ))
        }
        StreamName::Output | StreamName::Error => {
            set_nonblocking(&reader)?;
            Ok((
                Relay::new((reader, Transfer::Pipe), (own, transfer)),
                writer,
            ))
        }
    }
}

/// Only for our own end of a pipe: the flag belongs to the open file, which a caller's stream shares with its caller.
fn set_nonblocking(fd: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK)
}

#[cfg(test)]
mod tests;
